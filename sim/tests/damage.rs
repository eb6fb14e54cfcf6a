//! Disks that do not keep what they promised: members refuse or are repaired, and the others go on if they can.

use std::collections::BTreeMap;

use detcd_sim::{RunOptions, RunReport, Scenario, Verdict, run};

const REFUSED: &str = "disk: a member refused a damaged disk";
const REPAIRED: &str = "repair: over";
const ENTITLED: &str = "run: entitled to be stuck";

/// Runs some seeds of three members whose disks rot; all of them have to end well. What they reached.
fn rotten(seeds: std::ops::Range<u64>, disk: &str) -> (BTreeMap<&'static str, u64>, Vec<RunReport>) {
    let fault = |kind: &str| format!("[[faults]]\nkind = \"{kind}\"\nper_minute = 10\nduration_ms = 500\n");
    let faults: String = ["rot-tail", "rot", "misdirected-write"].map(fault).concat();
    let text = format!("name = \"test\"\nwhy = \"test\"\nnodes = 3\n[phases]\nfaults_ms = 12_000\n{disk}\n{faults}");
    let scenario = Scenario::parse("test.toml", &text).expect("a good scenario");
    let mut marks = BTreeMap::new();
    let reports: Vec<RunReport> = seeds.map(|seed| run(&scenario, seed, &RunOptions::default())).collect();
    for report in &reports {
        assert_eq!(report.verdict, Verdict::Ok, "seed {}", report.seed);
        for (mark, count) in &report.marks {
            *marks.entry(*mark).or_insert(0) += count;
        }
    }
    (marks, reports)
}

#[test]
fn members_with_rotten_disks_refuse_or_are_repaired_and_a_quorum_goes_on() {
    let (marks, reports) = rotten(0..12, "");
    assert!(marks.contains_key(REFUSED), "{marks:?}");
    assert!(marks.contains_key(REPAIRED), "{marks:?}");
    assert!(!marks.contains_key(ENTITLED), "one of three members is damaged, and two go on");
    assert!(reports.iter().all(|report| report.entitled.is_none() && report.sim_ms > 14_000));
}

#[test]
fn a_cluster_whose_quorum_refuses_to_start_is_entitled_to_be_stuck() {
    let (marks, reports) = rotten(0..12, "[disk]\ndamaged_members_max = 3");
    assert!(marks.contains_key(ENTITLED), "{marks:?}");
    let entitled: Vec<&String> = reports.iter().filter_map(|report| report.entitled.as_ref()).collect();
    assert_eq!(entitled.len() as u64, marks[ENTITLED]);
    assert!(entitled.iter().all(|why| why.contains("the others are no quorum")), "{entitled:?}");
}
