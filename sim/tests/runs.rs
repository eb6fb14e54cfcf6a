//! Whole runs: they repeat, they converge, and leaving something out changes nothing else.

use std::collections::BTreeMap;

use detcd_sim::report::{MessageFate, MessageKey};
use detcd_sim::{RunOptions, RunReport, Scenario, Verdict, run, run_traced};

fn scenario(text: &str) -> Scenario {
    let text = format!("name = \"test\"\nwhy = \"test\"\n{text}");
    Scenario::parse("test.toml", &text).expect("a good scenario")
}

fn swarm() -> Scenario {
    scenario("nodes = { min = 1, max = 5 }\nswarm = true\n[phases]\nfaults_ms = 15_000")
}

fn plain(scenario: &Scenario, seed: u64) -> RunReport {
    run(scenario, seed, &RunOptions::default())
}

#[test]
fn the_same_seed_gives_the_same_digests_twice() {
    let scenario = swarm();
    for seed in 0..3 {
        let (first, second) = (plain(&scenario, seed), plain(&scenario, seed));
        assert_eq!(first.digest, second.digest, "seed {seed}");
        assert_eq!(first.trail, second.trail);
        assert_eq!(first.marks, second.marks);
        assert!(first.events > 10_000, "{} events", first.events);
    }
}

#[test]
fn another_seed_gives_other_digests() {
    let scenario = swarm();
    assert_ne!(plain(&scenario, 0).digest, plain(&scenario, 1).digest);
}

#[test]
fn watching_a_run_does_not_change_it() {
    let scenario = swarm();
    let mut lines = 0;
    let traced = run_traced(&scenario, 4, &RunOptions::default(), &mut |line| {
        lines += 1;
        assert!(!line.text.contains('\n'), "one line an event: {}", line.text);
        assert_eq!(line.event, lines);
    });
    assert_eq!(traced.digest, plain(&scenario, 4).digest);
    assert_eq!(traced.events, lines);
}

#[test]
fn a_run_that_leaves_its_trail_is_told_where() {
    let scenario = swarm();
    let first = plain(&scenario, 2);
    let options = RunOptions { expected: Some(first.trail.clone()), ..RunOptions::default() };
    assert_eq!(run(&scenario, 2, &options).parting, None);

    let mut bent = first.trail;
    let place = bent.points.len() / 2;
    bent.points[place].0 ^= 1;
    let event = bent.stride * (place as u64 + 1);
    let options = RunOptions { expected: Some(bent), ..RunOptions::default() };
    let parting = run(&scenario, 2, &options).parting.expect("it parts");
    assert_eq!(parting.event, event);
}

#[test]
fn without_faults_every_cluster_size_converges_and_answers_nearly_everything() {
    for nodes in [1, 2, 3, 5, 7] {
        let report = plain(&scenario(&format!("nodes = {nodes}\n[phases]\nfaults_ms = 5_000")), nodes);
        assert_eq!(report.verdict, Verdict::Ok, "{nodes} nodes");
        assert!(report.ops * 100 >= report.ops_planned * 85, "{} of {}", report.ops, report.ops_planned);
        assert_eq!(report.leader_changes, 0);
    }
}

#[test]
fn a_minority_that_is_left_behind_does_not_keep_the_core_from_converging() {
    let text = "nodes = 5\n[phases]\nfaults_ms = 4_000\nminority_left_behind_permille = 1_000";
    for seed in 0..4 {
        let report = plain(&scenario(text), seed);
        assert_eq!(report.verdict, Verdict::Ok, "seed {seed}");
    }
}

#[test]
fn a_cluster_that_cannot_converge_is_a_liveness_violation() {
    // Every message is lost for good: nobody can be elected.
    let text = "nodes = 3\n[phases]\nfaults_ms = 2_000\nconverge_within_ms = 5_000\n\
                [network]\nloss_permille = 1_000\n[workload]\nops_per_second = 5";
    let report = plain(&scenario(text), 1);
    assert_eq!(report.verdict.name(), "liveness");
    let violation = report.verdict.violation().expect("broken");
    assert_eq!(violation.checker, "convergence");
    assert!(violation.detail.contains("nobody leads"), "{}", violation.detail);
    assert_eq!(report.ops, 0);
}

#[test]
fn a_fault_that_a_scenario_fixes_strikes_when_and_whom_it_says() {
    let text = "nodes = 3\n[phases]\nfaults_ms = 12_000\n\
                [[faults]]\nkind = \"crash\"\nplace = \"leader\"\nat_ms = [1_000, 7_000]\nduration_ms = 3_000";
    let mut crashes = Vec::new();
    let report = run_traced(&scenario(text), 3, &RunOptions::default(), &mut |line| {
        if line.text.contains("FAULT crash") {
            crashes.push(line.at / 1_000_000);
        }
    });
    assert_eq!(crashes, [3_000, 9_000], "counted from the end of the warm-up");
    assert_eq!(report.faults, BTreeMap::from([("crash", 2)]));
    assert!(report.leader_changes >= 2);
    assert_eq!(report.verdict, Verdict::Ok);
}

/// The fates of the messages sent after `ms`.
fn later(fates: &BTreeMap<MessageKey, MessageFate>, ms: u64) -> impl Iterator<Item = (&MessageKey, &MessageFate)> {
    fates.iter().filter(move |(key, _)| key.ms > ms)
}

#[test]
fn leaving_out_one_of_two_thousand_operations_leaves_the_later_fates_as_they_were() {
    let text = "nodes = 5\n[phases]\nfaults_ms = 33_000\n\
                [network]\nloss_permille = 10\nduplicate_permille = 10\n\
                [workload]\nops_per_second = 60\nmix = { lease = 0, watch = 0 }";
    let scenario = scenario(text);
    let all = RunOptions { record_fates: true, ..RunOptions::default() };
    let full = run(&scenario, 11, &all);
    assert!(full.ops_planned >= 2_000, "{} operations", full.ops_planned);
    for removed in [500, 1_000, 1_500u64] {
        let options = RunOptions { removed_ops: [removed * 64].into(), ..all.clone() };
        let less = run(&scenario, 11, &options);
        assert_eq!(less.ops_planned, full.ops_planned - 1);
        assert_ne!(less.digest, full.digest, "the operation did something");
        // It was planned for this time; a millisecond or two may pass until it starts.
        let planned_ms = 1_000 + removed * 34_000 / full.ops_planned;
        let total = later(&full.fates, planned_ms).count();
        let same = later(&full.fates, planned_ms).filter(|(key, fate)| less.fates.get(key) == Some(fate)).count();
        let permille = same * 1_000 / total;
        println!("without operation {removed}: {same} of {total} later fates are the same ({permille} permille)");
        assert!(permille >= 950, "{same} of {total}");
    }
}
