//! One simulated world.

use crate::report::{RunReport, TraceLine, Verdict};
use crate::run::RunOptions;
use crate::scenario::Scenario;
use crate::trail::DigestTrail;
use std::collections::BTreeMap;

/// A world of one scenario and seed.
pub(crate) struct World {
    report: RunReport,
}

impl World {
    pub(crate) fn new(scenario: &Scenario, seed: u64, _options: &RunOptions) -> World {
        let report = RunReport {
            scenario: scenario.name.clone(),
            seed,
            digest: Default::default(),
            trail: DigestTrail::default(),
            events: 0,
            sim_ms: 0,
            ops: 0,
            ops_planned: 0,
            faults: BTreeMap::new(),
            leader_changes: 0,
            messages: 0,
            marks: BTreeMap::new(),
            shortfalls: vec!["the kernel runs nothing yet".into()],
            verdict: Verdict::Ok,
            parting: None,
            fates: BTreeMap::new(),
        };
        World { report }
    }

    pub(crate) fn run(self, _sink: Option<&mut dyn FnMut(&TraceLine)>) -> RunReport {
        self.report
    }
}
