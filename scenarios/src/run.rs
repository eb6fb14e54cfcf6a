//! `detcd-sim list` and `detcd-sim run`.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::args::{DEFAULT_OUT, EXIT_USAGE, RunArgs, SeedRange, Shard, UsageError, parse_shard};
use crate::campaign::{Plan, Seeds, fresh_seed};
use crate::catalogue::{self, Source};
use crate::fold::{AtLeast, Fold};
use crate::ledger::{Ledger, Past};
use crate::must_fail;
use crate::results::{self, Commit, Head, Line};
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

/// Runs a campaign and prints what comes of it; the exit status.
///
/// # Errors
/// What the user asked for cannot be had; nothing was run and nothing was written.
pub fn run(args: &RunArgs) -> Result<u8, UsageError> {
    let Some(folder) = &args.campaign else {
        let sources = catalogue::select(&args.scenarios)?;
        let plan = plan(args, sources.len(), &Past::default())?;
        let out = args.out.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_OUT));
        make_room(&out)?;
        return Ok(go(args, &sources, &plan, &out, Told::new(args, &sources, &plan)).exit_status());
    };
    // The scenarios and seeds are looked at before the folder is made.
    let checked = plan(args, catalogue::select(&args.scenarios)?.len(), &Past::default())?;
    let (mut ledger, past) = Ledger::open(folder)?;
    let sources = sources_of(args, &past)?;
    let plan = if past.head().is_some() { plan(args, sources.len(), &past)? } else { checked };
    let out = args.out.clone().unwrap_or_else(|| folder.join("failures"));
    make_room(&out)?;
    let commit = args.commit.as_ref().map_or_else(Commit::of_this_build, |name| name.parse().unwrap_or_default());
    let names = sources.iter().map(|source| source.scenario.name.clone()).collect();
    let kept = ledger.keep(&Head::new(&commit, names, plan.seeds, plan.shard.to_string()));
    kept.map_err(|error| UsageError(format!("--campaign {}: {error}", folder.display())))?;
    let mut told = Told::new(args, &sources, &plan);
    told.remember(&past);
    (told.ledger, told.commit) = (Some(ledger), commit);
    told.plant(&past, &out)?;
    Ok(go(args, &sources, &plan, &out, told).exit_status())
}

/// Goes through the plan; what came of it.
fn go(args: &RunArgs, sources: &[Source], plan: &Plan, out: &Path, mut told: Told) -> Fold {
    told.say(&opening(plan, sources));
    let make = |place: usize, seed| trial::make(&sources[place], seed, args.verify_determinism, out);
    plan.go(make, |trial| told.add(&trial));
    told.finish(&args.at_least)
}

/// The scenarios of a campaign that may have begun already.
fn sources_of(args: &RunArgs, past: &Past) -> Result<Vec<Source>, UsageError> {
    let Some(head) = past.head() else { return catalogue::select(&args.scenarios) };
    let wanted = if args.scenarios.is_empty() { &head.scenarios } else { &args.scenarios };
    let sources = catalogue::select(wanted)?;
    let names: Vec<&str> = sources.iter().map(|source| source.scenario.name.as_str()).collect();
    if names != head.scenarios {
        let (was, is) = (head.scenarios.join(", "), names.join(", "));
        return Err(UsageError(format!("--campaign: it was begun with the scenarios {was}, not {is}")));
    }
    Ok(sources)
}

/// What is still to be done.
fn plan(args: &RunArgs, scenarios: usize, past: &Past) -> Result<Plan, UsageError> {
    let one = |seed: u64| match seed.checked_add(1) {
        Some(end) => Seeds::Range(SeedRange { start: seed, end }),
        None => Seeds::From(seed),
    };
    let named = args.seed.map(one).or_else(|| args.seeds.map(Seeds::Range));
    let cores = || std::thread::available_parallelism().map_or(1, usize::from);
    let (mut seeds, mut shard) = (named.unwrap_or_else(|| Seeds::From(fresh_seed())), args.shard);
    if let Some(head) = past.head() {
        if named.is_some_and(|named| named != head.seeds())
            || shard.is_some_and(|shard| shard.to_string() != head.shard)
        {
            let what = "it was begun with other seeds or another shard; leave out --seed, --seeds and --shard to go on";
            return Err(UsageError(format!("--campaign: {what}")));
        }
        seeds = head.seeds();
        shard = Some(parse_shard(&head.shard).map_err(UsageError)?);
    }
    let endless = matches!(seeds, Seeds::From(_)) && (named.is_none() || past.head().is_some());
    let for_time = args.for_time.or(endless.then_some(FOR_DEFAULT));
    let plan = Plan {
        scenarios,
        seeds,
        shard: shard.unwrap_or(Shard::WHOLE),
        for_time: for_time.map(|time| time.saturating_sub(past.spent)),
        jobs: args.jobs.unwrap_or_else(cores),
        begin: past.runs().count() as u64,
    };
    if plan.runs() == Some(0) {
        return Err(UsageError("--shard leaves no seed of those to run".to_string()));
    }
    Ok(plan)
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

/// What is kept of a campaign, and what the user sees of it.
struct Told {
    json: bool,
    bar: ProgressBar,
    fold: Fold,
    commit: Commit,
    ledger: Option<Ledger>,
}

impl Told {
    fn new(args: &RunArgs, sources: &[Source], plan: &Plan) -> Told {
        let bar = if io::stderr().is_terminal() { progress(plan) } else { ProgressBar::hidden() };
        let fold = Fold::of(sources.iter().map(|source| source.scenario.name.clone()));
        Told { json: args.json, bar, fold, commit: Commit::of_this_build(), ledger: None }
    }

    /// Takes in what earlier sittings did.
    fn remember(&mut self, past: &Past) {
        let mut commit = Commit::default();
        for line in &past.lines {
            match line {
                Line::Head(head) => commit = head.commit.parse().unwrap_or_default(),
                Line::Run(told) if told.planted.is_none() => drop(self.fold.add(told, &commit)),
                Line::Run(_) => {}
            }
        }
    }

    /// Runs the planted failure, unless an earlier sitting has reported it.
    fn plant(&mut self, past: &Past, out: &Path) -> Result<(), UsageError> {
        if past.planted() {
            return Ok(());
        }
        let source = catalogue::one(must_fail::NAME)?;
        let trial = trial::make(&source, must_fail::SEED, false, out);
        let reported = must_fail::was_reported(&source, &trial);
        self.keep(&results::Told { planted: Some(reported.is_ok()), ..results::Told::of(&trial) });
        match reported {
            Ok(()) => self.say("the planted failure was reported, as it has to be"),
            Err(what) => self.fold.lacks(format!("the planted failure was not reported: {what}")),
        }
        Ok(())
    }

    /// Keeps a run in the campaign's folder. Without room for results there is no point in going on.
    fn keep(&mut self, told: &results::Told) {
        if let Some(Err(error)) = self.ledger.as_mut().map(|ledger| ledger.keep(told)) {
            let _ = writeln!(io::stderr(), "detcd-sim: cannot write the campaign's results: {error}");
            std::process::exit(i32::from(EXIT_USAGE));
        }
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
                std::process::exit(i32::from(self.fold.worst().exit_status()));
            }
            Err(error) => {
                let _ = writeln!(io::stderr(), "detcd-sim: cannot write to standard output: {error}");
                std::process::exit(i32::from(EXIT_USAGE));
            }
        }
    }

    fn add(&mut self, trial: &Trial) {
        let told = results::Told::of(trial);
        self.keep(&told);
        let is_new = self.fold.add(&told, &self.commit);
        if self.json {
            let line = serde_json::to_string(&trial.row).expect("a row is JSON");
            self.bar.suspend(|| self.print(&line));
        }
        // The same mistake on another seed is counted, and not told again.
        if let Some(notice) = trial.notice.as_ref().filter(|_| is_new) {
            self.say(notice);
        }
        let (runs, failures) = (self.fold.runs(), self.fold.failures());
        self.bar.set_message(format!("{runs} runs, {failures} failed"));
        if self.bar.length() != Some(0) {
            self.bar.inc(1);
        }
    }

    fn finish(mut self, at_least: &[AtLeast]) -> Fold {
        self.bar.finish_and_clear();
        let is_campaign = self.ledger.is_some();
        if let Some(mut ledger) = self.ledger.take() {
            // A sitting that is not counted only makes the campaign longer.
            let _ = ledger.note();
            self.fold.judge_work(at_least);
        }
        self.say(self.fold.text(is_campaign).trim_end());
        self.fold
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
