//! One run of a campaign: played, judged, and put on file if it failed.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use detcd_core::digest::Digest;
use detcd_sim::check::{CheckConfig, Checker, Violation, ViolationKind};
use detcd_sim::report::{self, RunReport, TraceLine};
use detcd_sim::run::{self, RunOptions};
use detcd_sim::trail::DigestTrail;

use crate::catalogue::Source;
use crate::failure::{Build, Ending, Failure};
use crate::must_fail::{self, Deceived};
use crate::row::{Row, Verdict};

/// Who notices that two runs of one seed differ.
pub const DETERMINISM: &str = "determinism";

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Its line.
    pub row: Row,
    /// What it did not reach of what its scenario expects of one run.
    pub shortfalls: Vec<String>,
    /// How often each rare place was reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// What a human should read, if it failed.
    pub notice: Option<String>,
}

/// Runs `source` on `seed`, twice if `verify`; a failure is written into the folder `out`.
pub fn make(source: &Source, seed: u64, verify: bool, out: &Path) -> Trial {
    let options = RunOptions::default();
    let began = Instant::now();
    let report = play(source, seed, &options);
    let difference = if verify { differs_when_repeated(source, seed, &report) } else { None };
    put_on_file(source, &options, report, difference, began, out)
}

/// Runs `source` on `seed` with `options`; `differs` says how the run differs from what it has to be, if it does.
pub fn make_with(
    source: &Source,
    seed: u64,
    options: &RunOptions,
    out: &Path,
    differs: impl Fn(&RunReport) -> Option<String>,
) -> Trial {
    let began = Instant::now();
    let report = play(source, seed, options);
    let ending = |detail| Ending { kind: Verdict::Safety, checker: DETERMINISM.to_string(), detail, at_ns: 0 };
    let difference = differs(&report).map(ending);
    put_on_file(source, options, report, difference, began, out)
}

fn put_on_file(
    source: &Source,
    options: &RunOptions,
    report: RunReport,
    difference: Option<Ending>,
    began: Instant,
    out: &Path,
) -> Trial {
    let seed = report.seed;
    let ending = difference.or_else(|| ending_of(&report));
    let mut row = Row {
        scenario: report.scenario.clone(),
        seed,
        digest: report.digest.to_string(),
        events: report.events,
        sim_ms: report.sim_ms,
        wall_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        ops: report.ops,
        faults: report.fault_count(),
        leader_changes: report.leader_changes,
        ..Row::default()
    };
    let (shortfalls, marks) = (report.shortfalls.clone(), report.marks.clone());
    row.detail = report.entitled.clone();
    let Some(ending) = ending else { return Trial { row, shortfalls, marks, notice: None } };
    row.verdict = ending.kind;
    row.checker = Some(ending.checker.clone());
    row.detail = Some(ending.detail.clone());
    let said = format!("{} (seed {seed}): {}", row.scenario, said(&ending));
    let notice = match failure_of(source, &report, options, ending).write(out) {
        Ok(path) => {
            let path = path.to_string_lossy().into_owned();
            let notice = format!("{said}\n  again: {}", replay_command(&path));
            row.repro = Some(path);
            notice
        }
        Err(error) => format!("{said}\n  its failure file could not be written: {error}"),
    };
    Trial { row, shortfalls, marks, notice: Some(notice) }
}

/// Runs `source` on `seed`. A panic of the simulator itself (those of nodes it catches) is a crash like any other, so
/// that it does not end a campaign.
pub fn play(source: &Source, seed: u64, options: &RunOptions) -> RunReport {
    let played = catch_unwind(AssertUnwindSafe(|| {
        if must_fail::is_planted(source) {
            return run::run_observed(&source.scenario, seed, options, |config| Box::new(Deceived::new(config)));
        }
        run::run(&source.scenario, seed, options)
    }));
    played.unwrap_or_else(|panic| broken_off(source, seed, &*panic))
}

/// As [`play`] without options; the report lists the moments for a crash of a member in a window of virtual time.
pub fn play_scouting(source: &Source, seed: u64, node: usize, window: Range<u64>) -> RunReport {
    let played = catch_unwind(AssertUnwindSafe(|| run::run_scouting(&source.scenario, seed, node, window)));
    played.unwrap_or_else(|panic| broken_off(source, seed, &*panic))
}

/// As [`play`], under the eyes of one checker more.
pub fn play_observed<'a>(
    source: &Source,
    seed: u64,
    observer: impl FnOnce(&CheckConfig) -> Box<dyn Checker + 'a>,
) -> RunReport {
    let options = RunOptions::default();
    let played = catch_unwind(AssertUnwindSafe(|| run::run_observed(&source.scenario, seed, &options, observer)));
    played.unwrap_or_else(|panic| broken_off(source, seed, &*panic))
}

/// As [`play`], and gives `sink` a line for every event.
pub fn play_traced(source: &Source, seed: u64, options: &RunOptions, sink: &mut dyn FnMut(&TraceLine)) -> RunReport {
    let played = catch_unwind(AssertUnwindSafe(|| run::run_traced(&source.scenario, seed, options, sink)));
    played.unwrap_or_else(|panic| broken_off(source, seed, &*panic))
}

/// How `report` ended, if it ended badly.
pub fn ending_of(report: &RunReport) -> Option<Ending> {
    report.verdict.violation().map(ending)
}

fn ending(violation: &Violation) -> Ending {
    let (checker, detail) = (violation.checker.to_string(), violation.detail.clone());
    Ending { kind: Verdict::of(violation.kind), checker, detail, at_ns: violation.at }
}

/// A violation as people read it.
pub fn said_of(violation: &Violation) -> String {
    said(&ending(violation))
}

/// An ending as people read it.
pub fn said(ending: &Ending) -> String {
    let (ms, ns) = (ending.at_ns / 1_000_000, ending.at_ns % 1_000_000);
    format!("{} violated at {ms}.{ns:06} ms ({}): {}", ending.checker, ending.kind.word(), ending.detail)
}

/// The command that runs a failure file again.
pub fn replay_command(path: &str) -> String {
    let plain = path.chars().all(|c| c.is_alphanumeric() || "/._-+:@".contains(c));
    if plain {
        format!("detcd-replay run {path}")
    } else {
        format!("detcd-replay run '{}'", path.replace('\'', "'\\''"))
    }
}

fn failure_of(source: &Source, report: &RunReport, options: &RunOptions, verdict: Ending) -> Failure {
    Failure {
        scenario: report.scenario.clone(),
        scenario_toml: source.toml.clone(),
        seed: report.seed,
        removed_ops: options.removed_ops.clone(),
        removed_faults: options.removed_faults.clone(),
        crash: options.crash.clone(),
        build: Build::this(),
        verdict,
        digest: report.digest.to_string(),
        events: report.events,
        trail: report.trail.clone(),
    }
}

fn broken_off(source: &Source, seed: u64, panic: &(dyn std::any::Any + Send)) -> RunReport {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let detail = text.unwrap_or("a panic without words").lines().collect::<Vec<_>>().join(" ");
    let violation = Violation { kind: ViolationKind::Crash, checker: "simulator", at: 0, detail };
    RunReport {
        scenario: source.scenario.name.clone(),
        seed,
        digest: Digest::default(),
        trail: DigestTrail::default(),
        events: 0,
        sim_ms: 0,
        ops: 0,
        ops_planned: 0,
        faults: BTreeMap::new(),
        leader_changes: 0,
        messages: 0,
        marks: BTreeMap::new(),
        shortfalls: vec!["the run broke off".to_string()],
        entitled: None,
        verdict: report::Verdict::Broken(violation),
        parting: None,
        fates: BTreeMap::new(),
        moments: Vec::new(),
    }
}

/// Runs the seed again; if that gives anything else, says where the two part.
fn differs_when_repeated(source: &Source, seed: u64, first: &RunReport) -> Option<Ending> {
    let options = RunOptions { expected: Some(first.trail.clone()), ..RunOptions::default() };
    let second = play(source, seed, &options);
    if second.digest == first.digest && second.events == first.events && second.verdict == first.verdict {
        return None;
    }
    let stride = first.trail.stride;
    let last = second.parting.map_or(first.events.min(second.events) + stride, |parting| parting.event);
    let window = last.saturating_sub(stride) + 1..=last;
    let detail = match first_difference(source, seed, &window) {
        Some((one, other)) => format!("two runs of this seed part: \"{one}\" in one is \"{other}\" in the other"),
        None => format!("two runs of this seed part between the events {} and {last}", window.start()),
    };
    let at_ns = second.parting.map_or(0, |parting| parting.at_ms * 1_000_000);
    Some(Ending { kind: Verdict::Safety, checker: DETERMINISM.to_string(), detail, at_ns })
}

/// Two more runs, fully recorded within `window`: the first event in which they differ, as each has it.
fn first_difference(source: &Source, seed: u64, window: &std::ops::RangeInclusive<u64>) -> Option<(String, String)> {
    let record = || {
        let mut lines = Vec::new();
        play_traced(source, seed, &RunOptions::default(), &mut |line| {
            if window.contains(&line.event) {
                lines.push(line.clone());
            }
        });
        lines
    };
    let (one, other) = (record(), record());
    let (a, b) = one.iter().zip(&other).find(|(a, b)| a.digest != b.digest)?;
    Some((format!("event {}: {}", a.event, a.text), format!("event {}: {}", b.event, b.text)))
}
