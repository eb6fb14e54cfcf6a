//! The command line of `detcd-sim`, and the values that its flags take.

use std::fmt;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::fold::AtLeast;
use crate::summary::AMOUNTS;

/// Fault-injection scenarios for a simulated detcd cluster, from seeds.
#[derive(Debug, Parser)]
#[command(name = "detcd-sim", version)]
pub struct Cli {
    /// What to do; without a word: `run`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `detcd-sim` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists the scenarios of the catalogue
    List,
    /// Runs scenarios on seeds: without SCENARIO all of the catalogue, without seeds fresh ones for a minute
    Run(RunArgs),
    /// Runs SCENARIO on a seed again and again, with a crash of one member at every moment and every outcome of it
    #[command(name = "crashpoints")]
    CrashPoints(CrashPointsArgs),
    /// Folds the results of campaigns, or of the shards of one, into one summary
    Merge(MergeArgs),
    /// Judges the history of a cluster, real or simulated, that was recorded in FILE (scenarios/HISTORY.md)
    Check(CheckArgs),
    /// Runs SCENARIO on a seed and records what its clients did and saw, as `check` reads it
    Record(RecordArgs),
}

/// What `detcd-sim crashpoints` takes.
#[derive(Args, Debug)]
pub struct CrashPointsArgs {
    /// A name from `detcd-sim list`, or the path of a .toml file
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// The seed
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: u64,
    /// The member that crashes, counted from 1
    #[arg(long, value_name = "M", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub node: u64,
    /// Leave out the moments before this virtual time
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub from_ms: u64,
    /// Leave out the moments from this virtual time on
    #[arg(long, value_name = "MS")]
    pub to_ms: Option<u64>,
    /// Run so many crashes at most: moments at even distances, a few outcomes of each
    #[arg(long, value_name = "RUNS", default_value_t = 1_000, value_parser = parse_runs)]
    pub max: usize,
    /// Run so many at once; as many as there are cores by default
    #[arg(long, value_name = "N", value_parser = parse_jobs)]
    pub jobs: Option<usize>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Put failure files there; target/failures by default
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// What `detcd-sim merge` takes.
#[derive(Args, Debug)]
pub struct MergeArgs {
    /// Files of results: DIR/results.jsonl of `run --campaign DIR`, or the output of `run --json`
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Fail if less was done: runs=1000, ops=100000, faults=.., leader-changes=.., events=.., sim-s=.., mark:NAME=..
    #[arg(long, value_name = "WHAT=N", value_parser = parse_at_least)]
    pub at_least: Vec<AtLeast>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What `detcd-sim check` takes.
#[derive(Args, Debug)]
pub struct CheckArgs {
    /// The history, one JSON object a line; - for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
}

/// What `detcd-sim record` takes.
#[derive(Args, Debug)]
pub struct RecordArgs {
    /// A name from `detcd-sim list`, or the path of a .toml file
    #[arg(value_name = "SCENARIO")]
    pub scenario: String,
    /// The seed
    #[arg(long, value_name = "N", value_parser = parse_seed)]
    pub seed: u64,
    /// Write the history there instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
}

/// What `detcd-sim run` takes.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// Names from `detcd-sim list`, or paths of .toml files
    #[arg(value_name = "SCENARIO")]
    pub scenarios: Vec<String>,
    /// Run this seed only
    #[arg(long, value_name = "N", value_parser = parse_seed, conflicts_with = "seeds")]
    pub seed: Option<u64>,
    /// Run the seeds from A up to, and without, B
    #[arg(long, value_name = "A..B", value_parser = parse_seeds)]
    pub seeds: Option<SeedRange>,
    /// Start no run after this time: 500ms, 60s, 10m, 2h
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub for_time: Option<Duration>,
    /// Run this many seeds at once; as many as there are cores by default
    #[arg(long, value_name = "N", value_parser = parse_jobs)]
    pub jobs: Option<usize>,
    /// Take part I of N of the seeds, I from 1 to N
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub shard: Option<Shard>,
    /// Run everything twice and compare the digests
    #[arg(long)]
    pub verify_determinism: bool,
    /// Print one JSON object a run, a line each
    #[arg(long)]
    pub json: bool,
    /// Put failure files there; target/failures by default, or failures in the campaign's folder
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Keep the results in this folder, and go on where they end if there are some
    #[arg(long, value_name = "DIR")]
    pub campaign: Option<PathBuf>,
    /// With --campaign: fail if less was done: runs=1000, ops=.., faults=.., leader-changes=.., events=.., sim-s=..,
    /// mark:NAME=..
    #[arg(long, value_name = "WHAT=N", value_parser = parse_at_least, requires = "campaign")]
    pub at_least: Vec<AtLeast>,
    /// With --campaign: what is run is called so in its results; the commit that was built by default
    #[arg(long, value_name = "NAME", requires = "campaign")]
    pub commit: Option<String>,
}

impl Default for RunArgs {
    /// What `detcd-sim run` means without more words.
    fn default() -> RunArgs {
        RunArgs {
            scenarios: Vec::new(),
            seed: None,
            seeds: None,
            for_time: None,
            jobs: None,
            shard: None,
            verify_determinism: false,
            json: false,
            out: None,
            campaign: None,
            at_least: Vec::new(),
            commit: None,
        }
    }
}

/// Where failure files go when nothing else is said.
pub const DEFAULT_OUT: &str = "target/failures";

/// Seeds from `start` up to, and without, `end`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedRange {
    /// The first.
    pub start: u64,
    /// The one after the last.
    pub end: u64,
}

/// One part of a campaign that is spread over machines: the seeds that leave `remainder` when divided by `parts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    /// Which seeds, below `parts`.
    pub remainder: u64,
    /// Into how many parts the seeds are cut.
    pub parts: u64,
}

impl Shard {
    /// The whole.
    pub const WHOLE: Shard = Shard { remainder: 0, parts: 1 };
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.remainder + 1, self.parts)
    }
}

/// Something that the user asked for and cannot have: one line that says what, and what is possible.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(pub String);

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<clap::Error> for UsageError {
    /// Clap explains in paragraphs; the first says what is wrong.
    fn from(error: clap::Error) -> UsageError {
        let text = error.to_string();
        let first: Vec<&str> = text.lines().take_while(|line| !line.trim().is_empty()).map(str::trim).collect();
        UsageError(first.join(" ").trim_start_matches("error: ").to_string())
    }
}

/// Reads a command line. Otherwise says why not, or what was asked for, and how the process ends.
///
/// # Errors
/// The exit status, when everything is told: success after `--help` and `--version`, else [`EXIT_USAGE`].
pub fn parse<C: Parser>() -> Result<C, ExitCode> {
    C::try_parse().map_err(|error| {
        if error.use_stderr() {
            return refuse::<C>(&UsageError::from(error));
        }
        // Whoever asked for it may have read enough.
        let _ = error.print();
        ExitCode::SUCCESS
    })
}

/// Tells what the user cannot have, in one line that begins with the program's name, and gives [`EXIT_USAGE`].
pub fn refuse<C: Parser>(error: &UsageError) -> ExitCode {
    // Without a reader the status has to do.
    let _ = writeln!(io::stderr(), "{}: {error}", C::command().get_name());
    ExitCode::from(EXIT_USAGE)
}

/// Exit status of a usage or configuration error (`EX_USAGE` of sysexits).
pub const EXIT_USAGE: u8 = 64;

/// A seed: a decimal number of 64 bits.
///
/// # Errors
/// A sentence that says what a seed is.
pub fn parse_seed(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| format!("a seed is a number from 0 to {}", u64::MAX))
}

fn parse_seeds(text: &str) -> Result<SeedRange, String> {
    let form = || format!("seeds are A..B with numbers from 0 to {}, for example 0..200", u64::MAX);
    let (start, end) = text.split_once("..").ok_or_else(form)?;
    let range = SeedRange { start: start.parse().map_err(|_| form())?, end: end.parse().map_err(|_| form())? };
    if range.start >= range.end {
        return Err(format!("there is no seed from {} up to, and without, {}", range.start, range.end));
    }
    Ok(range)
}

/// A time with its unit: `500ms`, `60s`, `10m`, `2h`.
///
/// # Errors
/// A sentence that says what a time is.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let form = || "a time is a whole number with its unit: 500ms, 60s, 10m, 2h".to_string();
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(form)?;
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| form())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(form()),
    };
    let time = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(form)?;
    if time.is_zero() { Err("no time is not enough for anything: at least 1ms".into()) } else { Ok(time) }
}

fn parse_at_least(text: &str) -> Result<AtLeast, String> {
    let form = || format!("the least of something is WHAT=N, where WHAT is {} or mark:NAME", AMOUNTS.join(", "));
    let (what, least) = text.rsplit_once('=').ok_or_else(form)?;
    if !AMOUNTS.contains(&what) && !what.starts_with("mark:") {
        return Err(form());
    }
    Ok(AtLeast { what: what.to_string(), least: least.parse().map_err(|_| form())? })
}

fn parse_runs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(runs) if (1..=100_000_000).contains(&runs) => Ok(runs),
        _ => Err("the number of runs is from 1 to 100000000".to_string()),
    }
}

fn parse_jobs(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(jobs) if (1..=1024).contains(&jobs) => Ok(jobs),
        _ => Err("the number of runs at once is from 1 to 1024".to_string()),
    }
}

/// Part I of N: `2/8`.
///
/// # Errors
/// A sentence that says what a shard is.
pub fn parse_shard(text: &str) -> Result<Shard, String> {
    let form = || "a shard is I/N with I from 1 to N, for example 2/8".to_string();
    let (part, parts) = text.split_once('/').ok_or_else(form)?;
    let part: u64 = part.parse().map_err(|_| form())?;
    let parts: u64 = parts.parse().map_err(|_| form())?;
    if part == 0 || part > parts {
        return Err(form());
    }
    Ok(Shard { remainder: part - 1, parts })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["60", "s", "", "-1s", "1.5s", "1d", "99999999999999999999s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong:?} is no time");
        }
    }

    #[test]
    fn seed_ranges_are_half_open_and_never_empty() {
        assert_eq!(parse_seeds("0..200"), Ok(SeedRange { start: 0, end: 200 }));
        for wrong in ["5..5", "7..3", "1..", "..9", "1-9", "a..b", "0..-1"] {
            assert!(parse_seeds(wrong).is_err(), "{wrong:?} is no range");
        }
    }

    #[test]
    fn shards_count_from_one() {
        assert_eq!(parse_shard("2/8"), Ok(Shard { remainder: 1, parts: 8 }));
        assert_eq!(parse_shard("8/8"), Ok(Shard { remainder: 7, parts: 8 }));
        for wrong in ["0/8", "9/8", "1", "1/0", "x/2"] {
            assert!(parse_shard(wrong).is_err(), "{wrong:?} is no shard");
        }
    }

    #[test]
    fn errors_of_the_command_line_fit_on_one_line() {
        let error = Cli::try_parse_from(["detcd-sim", "run", "--seed", "x"]).expect_err("x is no seed");
        let line = UsageError::from(error).to_string();
        assert!(!line.contains('\n'), "{line}");
        assert!(line.contains("'x'") && line.contains("a seed is a number"), "{line}");
    }
}
