//! While a core of the cluster holds, something has to be committed; without one, nothing has to.

use detcd_sim::{RunOptions, RunReport, Scenario, Verdict, run};

const WENT_ON: &str = "partition: a core went on throughout a long one";

fn judged(text: &str, seed: u64) -> RunReport {
    let knobs = "[knobs]\nelection_timeout_ms = 300\nheartbeat_interval_ms = 50\n[workload]\ntimeout_ms = 500\n";
    let text = format!("name = \"test\"\nwhy = \"test\"\n{knobs}{text}");
    let (start, rest) = text.split_at(text.find("nodes").expect("given"));
    let (nodes, rest) = rest.split_at(rest.find('\n').expect("a line"));
    let scenario = Scenario::parse("test.toml", &format!("{nodes}\n{start}{rest}")).expect("a good scenario");
    run(&scenario, seed, &RunOptions::default())
}

fn partition(nodes: u64, kind: &str) -> String {
    let fault = format!("[[faults]]\nkind = \"{kind}\"\nplace = \"leader\"\nat_ms = [500]\nduration_ms = 16_000");
    format!("nodes = {nodes}\n[phases]\nfaults_ms = 18_000\n{fault}\n")
}

#[test]
fn a_core_that_commits_nothing_is_a_liveness_violation() {
    let report = judged("nodes = 3\n[phases]\nfaults_ms = 12_000\n[network]\nloss_permille = 1_000\n", 1);
    let violation = report.verdict.violation().expect("nothing was committed");
    assert_eq!((report.verdict.name(), violation.checker), ("liveness", "progress"));
    assert!(violation.detail.contains("nothing was committed"), "{}", violation.detail);
}

#[test]
fn a_core_goes_on_through_partitions_that_stay() {
    for (nodes, kind) in [(5, "isolate"), (5, "bridge"), (5, "ring"), (4, "ring"), (5, "one-way-cut")] {
        for seed in 0..4 {
            let report = judged(&partition(nodes, kind), seed);
            assert_eq!(report.verdict, Verdict::Ok, "{kind} of {nodes}, seed {seed}");
            // A bridge may stand where one side would have been, and then nothing is cut.
            let is_cut = report.faults.contains_key(kind);
            assert!(is_cut || kind == "bridge" || kind == "one-way-cut");
            assert_eq!(report.marks.contains_key(WENT_ON), is_cut, "{kind} of {nodes}, seed {seed}");
        }
    }
}

#[test]
fn without_a_core_nothing_has_to_be_committed() {
    for seed in 0..3 {
        let report = judged(&partition(7, "ring"), seed);
        assert_eq!(report.verdict, Verdict::Ok, "seed {seed}");
        assert!(!report.marks.contains_key(WENT_ON), "three members that reach each other are no quorum of seven");
    }
}
