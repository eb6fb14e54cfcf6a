//! `detcd-sim list` and `detcd-sim run`.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{EXIT_USAGE, RunArgs, SeedRange, Shard, UsageError};
use crate::campaign::{Plan, Seeds, fresh_seed};
use crate::catalogue::{self, Source};
use crate::row::Verdict;
use crate::summary::Summary;
use crate::trial::{self, Trial};

/// How long a campaign goes on when neither seeds nor a time were named.
const FOR_DEFAULT: Duration = Duration::from_secs(60);

/// Prints each scenario of the catalogue and what it puts to the test.
///
/// # Errors
/// A file of the catalogue is wrong.
pub fn list(mut to: impl Write) -> Result<(), UsageError> {
    let sources = catalogue::all()?;
    let width = sources.iter().map(|source| source.scenario.name.len()).max().unwrap_or(0);
    for Source { scenario, .. } in &sources {
        match writeln!(to, "{:<width$}  {}", scenario.name, scenario.why) {
            // Whoever reads the list may have read enough.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(UsageError(format!("cannot write to standard output: {error}")));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Runs a campaign and prints what comes of it; the worst verdict of all its runs.
///
/// # Errors
/// What the user asked for cannot be had; nothing was run and nothing was written.
pub fn run(args: &RunArgs) -> Result<Verdict, UsageError> {
    let sources = catalogue::select(&args.scenarios)?;
    let plan = plan(args, sources.len());
    if plan.runs() == Some(0) {
        return Err(UsageError("--shard leaves no seed of those to run".to_string()));
    }
    make_room(&args.out)?;
    let mut told = Told::new(args, &sources, &plan);
    told.say(&opening(&plan, &sources));
    let make = |place: usize, seed| (place, trial::make(&sources[place], seed, args.verify_determinism, &args.out));
    plan.go(make, |(place, trial)| told.add(place, &trial));
    Ok(told.finish())
}

fn plan(args: &RunArgs, scenarios: usize) -> Plan {
    let one = |seed: u64| match seed.checked_add(1) {
        Some(end) => Seeds::Range(SeedRange { start: seed, end }),
        None => Seeds::From(seed),
    };
    let named = args.seed.map(one).or_else(|| args.seeds.map(Seeds::Range));
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    Plan {
        scenarios,
        seeds: named.unwrap_or_else(|| Seeds::From(fresh_seed())),
        shard: args.shard.unwrap_or(Shard::WHOLE),
        for_time: args.for_time.or(named.is_none().then_some(FOR_DEFAULT)),
        jobs: args.jobs.unwrap_or_else(cores),
    }
}

/// Sees to it that failure files can be written into `out`, before any time is spent. A folder that is not there yet
/// is made with the first failure.
fn make_room(out: &Path) -> Result<(), UsageError> {
    let refused = |error: io::Error| UsageError(format!("--out {}: {error}", out.display()));
    let here = Path::new(".");
    let there = |folder: &&Path| folder.symlink_metadata().is_ok();
    let nearest = out.ancestors().filter(|folder| !folder.as_os_str().is_empty()).find(there).unwrap_or(here);
    if !fs::metadata(nearest).map_err(refused)?.is_dir() {
        return Err(UsageError(format!("--out {}: {} is no folder", out.display(), nearest.display())));
    }
    let probe = nearest.join(format!(".detcd-sim-{}", std::process::id()));
    fs::File::create_new(&probe).and_then(|_| fs::remove_file(&probe)).map_err(refused)
}

fn opening(plan: &Plan, sources: &[Source]) -> String {
    let seeds = match plan.seeds {
        Seeds::Range(SeedRange { start, end }) if start + 1 == end => format!("seed {start}"),
        Seeds::Range(SeedRange { start, end }) => format!("seeds {start}..{end}"),
        Seeds::From(start) => format!("fresh seeds from {start} on"),
    };
    let shard = if plan.shard == Shard::WHOLE {
        String::new()
    } else {
        format!(", part {} of {}", plan.shard.remainder + 1, plan.shard.parts)
    };
    let time = plan.for_time.map_or(String::new(), |time| format!(", for {} s", time.as_secs_f64()));
    let scenarios = match sources {
        [only] => only.scenario.name.clone(),
        all => format!("{} scenarios", all.len()),
    };
    format!("{scenarios}, {seeds}{shard}, {} at once{time}", plan.jobs)
}

/// What the user sees of a campaign.
struct Told {
    json: bool,
    bar: ProgressBar,
    summary: Summary,
}

impl Told {
    fn new(args: &RunArgs, sources: &[Source], plan: &Plan) -> Told {
        let bar = if io::stderr().is_terminal() { progress(plan) } else { ProgressBar::hidden() };
        let summary = Summary::of(sources.iter().map(|source| source.scenario.name.clone()));
        Told { json: args.json, bar, summary }
    }

    /// Prints something for people; with `--json` the standard output belongs to programs.
    fn say(&self, text: &str) {
        self.bar.suspend(|| if self.json { drop(writeln!(io::stderr(), "{text}")) } else { self.print(text) });
    }

    /// Prints to standard output; when that takes no more, the campaign is over: in peace if nobody reads any more.
    fn print(&self, text: &str) {
        let mut out = io::stdout().lock();
        match writeln!(out, "{text}").and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                std::process::exit(i32::from(self.summary.worst().exit_status()));
            }
            Err(error) => {
                let _ = writeln!(io::stderr(), "detcd-sim: cannot write to standard output: {error}");
                std::process::exit(i32::from(EXIT_USAGE));
            }
        }
    }

    fn add(&mut self, place: usize, trial: &Trial) {
        self.summary.add(place, &trial.row, trial.counts);
        if self.json {
            let line = serde_json::to_string(&trial.row).expect("a row is JSON");
            self.bar.suspend(|| self.print(&line));
        }
        if let Some(notice) = &trial.notice {
            self.say(notice);
        }
        let (runs, failures) = (self.summary.runs(), self.summary.failures());
        self.bar.set_message(format!("{runs} runs, {failures} failed"));
        if self.bar.length() != Some(0) {
            self.bar.inc(1);
        }
    }

    fn finish(self) -> Verdict {
        self.bar.finish_and_clear();
        self.say(self.summary.table().trim_end());
        self.summary.worst()
    }
}

/// A bar that fills up with the runs, if it is known how many there will be, and shows the time that went by.
fn progress(plan: &Plan) -> ProgressBar {
    let bounded = plan.runs().filter(|_| plan.for_time.is_none());
    let (bar, form) = match bounded {
        Some(runs) => (ProgressBar::new(runs), "{bar:40} {pos}/{len}  {msg}  {elapsed} (about {eta} to go)"),
        None => (ProgressBar::new_spinner(), "{spinner} {elapsed}  {msg}"),
    };
    bar.set_style(ProgressStyle::with_template(form).expect("the template is right"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
