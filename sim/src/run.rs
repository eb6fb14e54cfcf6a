//! One run: a scenario, a seed, a verdict.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::check::{CheckConfig, Checker};
use crate::observe::NodeIndex;
use crate::report::{RunReport, TraceLine};
use crate::scenario::Scenario;
use crate::trail::DigestTrail;
use crate::world::World;
pub use crate::world::{CrashPoint, Moment};

/// What is different from a plain run.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// Operations that are left out, by their numbers; nothing else changes its place.
    pub removed_ops: BTreeSet<u64>,
    /// Faults that are left out, by their numbers; nothing else changes its place.
    pub removed_faults: BTreeSet<u64>,
    /// The digests that the run should have; the report names the first that differs.
    pub expected: Option<DigestTrail>,
    /// A crash beside the faults of the plan.
    pub crash: Option<CrashPoint>,
    /// Whether the report lists the fate of every message between members.
    pub record_fates: bool,
}

/// Runs `scenario` with `seed`.
///
/// The same arguments give the same report, on every machine and in every build.
pub fn run(scenario: &Scenario, seed: u64, options: &RunOptions) -> RunReport {
    World::new(scenario, seed, options, None).run()
}

/// Runs `scenario` with `seed` and gives `sink` a line for every event.
pub fn run_traced(scenario: &Scenario, seed: u64, options: &RunOptions, sink: &mut dyn FnMut(&TraceLine)) -> RunReport {
    World::new(scenario, seed, options, Some(sink)).run()
}

/// Runs `scenario` with `seed` and lets no checker look: for benchmarks, to tell what the checkers cost. Only what the
/// kernel sees by itself is judged.
pub fn run_unjudged(scenario: &Scenario, seed: u64, options: &RunOptions) -> RunReport {
    let mut world = World::new(scenario, seed, options, None);
    world.dismiss_checkers();
    world.run()
}

/// Runs `scenario` with `seed`; the report lists the moments for a crash of the member at `node` in a window of virtual
/// time, in nanoseconds.
pub fn run_scouting(scenario: &Scenario, seed: u64, node: NodeIndex, window: Range<u64>) -> RunReport {
    let mut world = World::new(scenario, seed, &RunOptions::default(), None);
    world.scout(node, window.start, window.end);
    world.run()
}

/// Runs `scenario` with `seed` under the eyes of one checker more, which is made from what checkers have to know.
pub fn run_observed<'a>(
    scenario: &Scenario,
    seed: u64,
    options: &RunOptions,
    observer: impl FnOnce(&CheckConfig) -> Box<dyn Checker + 'a>,
) -> RunReport {
    let mut world = World::new(scenario, seed, options, None);
    world.add_checker(observer(&world.check_config()));
    world.run()
}
