//! `detcd-sim crashpoints`: one run, and the same again with a crash at each moment of one member, for each outcome
//! that the disk model allows there.
//!
//! A moment is before or after an effect of the member: whatever it does, it may die just then.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use detcd_sim::disk::{Image, images};
use detcd_sim::report::RunReport;
use detcd_sim::run::{CrashPoint, Moment, RunOptions};
use serde_json::json;

use crate::args::{CrashPointsArgs, DEFAULT_OUT, SeedRange, Shard, UsageError};
use crate::campaign::{Plan, Seeds};
use crate::catalogue::{self, Source};
use crate::fold::Fold;
use crate::results::{Commit, Told};
use crate::row::Verdict;
use crate::trial::{self, Trial};

/// How many outcomes of one moment are tried at most, however few moments there are.
const IMAGES_MAX: usize = 64;

/// What is tried, and what is left out.
#[derive(Debug)]
struct Sweep {
    points: Vec<(Moment, Image)>,
    moments: usize,
    moments_tried: usize,
    /// Of the moments that are tried.
    outcomes: u128,
}

impl Sweep {
    /// At most `max` crashes: moments at even distances, each with as many outcomes as there is room for.
    fn choose(moments: &[Moment], seed: u64, max: usize) -> Sweep {
        // Rather many moments with a few outcomes each than few moments with many.
        let each = (max / moments.len().max(1)).clamp(max.min(4), IMAGES_MAX);
        let mut sweep = Sweep { points: Vec::new(), moments: moments.len(), moments_tried: 0, outcomes: 0 };
        let places = (max / each.max(1)).max(1);
        let step = moments.len().div_ceil(places).max(1);
        for moment in moments.iter().step_by(step) {
            let room = max.saturating_sub(sweep.points.len()).min(each);
            if room == 0 {
                break;
            }
            let (images, total) = images(&moment.unsynced, room, seed ^ moment.number);
            sweep.points.extend(images.into_iter().map(|image| (moment.clone(), image)));
            sweep.moments_tried += 1;
            sweep.outcomes = sweep.outcomes.saturating_add(total);
        }
        sweep
    }

    /// What was tried of what there is.
    fn said(&self) -> String {
        let Sweep { points, moments, moments_tried, outcomes } = self;
        let outcomes = if *outcomes > 1_000_000_000 { "more than a billion".to_string() } else { outcomes.to_string() };
        format!("{moments_tried} of {moments} moments, {} of the {outcomes} outcomes that they can have", points.len())
    }
}

/// Runs the sweep and prints what comes of it; the exit status.
///
/// # Errors
/// What the user asked for cannot be had; nothing was run but the scenario once.
pub fn crashpoints(args: &CrashPointsArgs) -> Result<u8, UsageError> {
    let source = catalogue::one(&args.scenario)?;
    let node = usize::try_from(args.node - 1).map_err(|_| UsageError("--node: too large".to_string()))?;
    if args.node > source.scenario.nodes.max {
        let most = source.scenario.nodes.max;
        return Err(UsageError(format!("--node {}: there are at most {most} members", args.node)));
    }
    let base = scout(&source, args, node)?;
    let sweep = Sweep::choose(&base.moments, args.seed, args.max);
    let out = args.out.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_OUT));
    let fold = strike_all(&source, args, node, &sweep, &out);
    tell(args, &sweep, &fold);
    Ok(fold.exit_status())
}

/// The run without the crash: it has to end well, and to have moments in the window.
fn scout(source: &Source, args: &CrashPointsArgs, node: usize) -> Result<RunReport, UsageError> {
    let ns = |ms: u64| ms.saturating_mul(1_000_000);
    let window = ns(args.from_ms)..args.to_ms.map_or(u64::MAX, ns);
    if window.is_empty() {
        return Err(UsageError(format!("--from-ms {} is not before --to-ms", args.from_ms)));
    }
    let base = trial::play_scouting(source, args.seed, node, window);
    if let Some(ending) = trial::ending_of(&base) {
        let said = trial::said(&ending);
        return Err(UsageError(format!("the run fails without a crash, which detcd-sim run shows: {said}")));
    }
    if base.moments.is_empty() {
        let sim_ms = base.sim_ms;
        return Err(UsageError(format!("m{} does nothing in this window; the run lasts {sim_ms} ms", node + 1)));
    }
    Ok(base)
}

fn strike_all(source: &Source, args: &CrashPointsArgs, node: usize, sweep: &Sweep, out: &Path) -> Fold {
    let strike = |_: usize, number: u64| {
        let (moment, image) = &sweep.points[usize::try_from(number).expect("a place in a list")];
        let crash = CrashPoint { node, moment: moment.number, image: image.clone() };
        let options = RunOptions { crash: Some(crash), ..RunOptions::default() };
        trial::make_with(source, args.seed, &options, out, |report| parts_before_the_crash(report, moment))
    };
    let mut fold = Fold::of([source.scenario.name.clone()]);
    let commit = Commit::of_this_build();
    let tell = |trial: Trial| {
        if fold.add(&Told::of(&trial), &commit)
            && let Some(notice) = trial.notice
        {
            let _ = writeln!(io::stderr(), "{notice}");
        }
    };
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let plan = Plan {
        scenarios: 1,
        seeds: Seeds::Range(SeedRange { start: 0, end: sweep.points.len() as u64 }),
        shard: Shard::WHOLE,
        for_time: None,
        jobs: args.jobs.unwrap_or_else(cores),
        begin: 0,
    };
    plan.go(strike, tell);
    fold
}

/// Up to the crash the run has to be the one without it, event for event.
fn parts_before_the_crash(report: &RunReport, moment: &Moment) -> Option<String> {
    match report.moments.first() {
        Some(struck) if struck == moment => None,
        // A run that breaks off has said why.
        _ if trial::ending_of(report).is_some() => None,
        Some(struck) => Some(format!("the crash came at {struck:?}, not at {moment:?}")),
        None => Some(format!("the crash at {moment:?} did not come")),
    }
}

fn tell(args: &CrashPointsArgs, sweep: &Sweep, fold: &Fold) {
    let text = if args.json {
        let mut value = fold.json();
        value["moments"] = json!({ "all": sweep.moments, "tried": sweep.moments_tried });
        value["outcomes"] = json!({ "all": sweep.outcomes.to_string(), "tried": sweep.points.len() });
        format!("{value}\n")
    } else {
        let verdict = if fold.worst() == Verdict::Ok { "every run was ok" } else { "not every run was ok" };
        format!("m{}: {}; {verdict}\n{}", args.node, sweep.said(), fold.text(true))
    };
    // Without a reader the status has to do.
    let _ = io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(count: u64, unsynced: &[u64]) -> Vec<Moment> {
        let moment =
            |number| Moment { number, at: number, events: 1, digest: Default::default(), unsynced: unsynced.to_vec() };
        (1..=count).map(moment).collect()
    }

    #[test]
    fn a_sweep_that_fits_is_complete() {
        let sweep = Sweep::choose(&moments(10, &[1, 2]), 1, 1_000);
        assert_eq!((sweep.points.len(), sweep.moments_tried, sweep.outcomes), (80, 10, 80));
        assert_eq!(sweep.said(), "10 of 10 moments, 80 of the 80 outcomes that they can have");
    }

    #[test]
    fn a_sweep_that_does_not_fit_says_what_it_leaves_out() {
        let sweep = Sweep::choose(&moments(1_000, &[1, 30]), 1, 100);
        assert_eq!((sweep.points.len(), sweep.moments_tried, sweep.moments), (100, 25, 1_000));
        assert!(sweep.said().starts_with("25 of 1000 moments, 100 of the more than a billion outcomes"));
        assert_eq!(Sweep::choose(&moments(3, &[]), 1, 1).points.len(), 1);
    }
}
