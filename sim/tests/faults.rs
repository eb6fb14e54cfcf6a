//! Each kind of fault does what it says, and ends when it says.

use detcd_sim::{RunOptions, RunReport, Scenario, Verdict, run_traced};

/// A line of a trace: when, in milliseconds, at which member, and what.
type Line = (u64, Option<usize>, String);

fn traced(text: &str, seed: u64) -> (RunReport, Vec<Line>) {
    let text = format!("name = \"test\"\nwhy = \"test\"\n{text}");
    let scenario = Scenario::parse("test.toml", &text).expect("a good scenario");
    let mut lines = Vec::new();
    let report = run_traced(&scenario, seed, &RunOptions::default(), &mut |line| {
        lines.push((line.at / 1_000_000, line.node, line.text.clone()));
    });
    assert_eq!(report.verdict, Verdict::Ok);
    (report, lines)
}

/// Three members and one fault of this kind, from the second 3 on.
fn one_fault(fault: &str) -> (RunReport, Vec<Line>) {
    traced(&format!("nodes = 3\n[phases]\nfaults_ms = 8_000\n[[faults]]\nat_ms = [1_000]\n{fault}"), 5)
}

fn struck(lines: &[Line]) -> usize {
    let (_, node, _) = lines.iter().find(|(_, _, text)| text.contains("FAULT")).expect("it strikes");
    node.expect("at a member")
}

#[test]
fn a_flapping_partition_opens_and_closes_until_it_ends() {
    let (_, lines) = one_fault("kind = \"isolate\"\nduration_ms = 4_000\nflap_ms = 200");
    let times = |what: &str| -> Vec<u64> {
        lines.iter().filter(|(_, _, text)| text.contains(what)).map(|(at, ..)| *at).collect()
    };
    let (opens, closes) = (times(") opens"), times(") closes again"));
    assert!((7..=14).contains(&opens.len()), "{opens:?}");
    assert!(opens.len().abs_diff(closes.len()) <= 1);
    assert!(opens.iter().zip(&closes).all(|(open, close)| open < close), "in turn");
    assert!(opens.iter().chain(&closes).all(|at| (3_000..7_000).contains(at)), "only while it lasts");
}

#[test]
fn a_ring_of_five_cuts_each_member_off_from_two() {
    let (report, _) = traced(
        "nodes = 5\n[phases]\nfaults_ms = 4_000\n[[faults]]\nkind = \"ring\"\nat_ms = [500]\nduration_ms = 3_000",
        1,
    );
    assert_eq!(report.faults.get("ring"), Some(&1));
    let (report, _) = one_fault("kind = \"ring\"\nduration_ms = 3_000");
    assert!(report.faults.is_empty(), "three members in a ring still reach each other");
}

#[test]
fn a_member_that_is_woken_late_is_woken_in_bursts_and_in_time_afterwards() {
    // With one member and hardly any load, nothing but its own wake-ups makes it look at its clock.
    let (_, lines) = traced(
        "nodes = 1\n[phases]\nfaults_ms = 8_000\n[workload]\nops_per_second = 1\n[[faults]]\nat_ms = [1_000]\n\
         kind = \"late-wakeups\"\nduration_ms = 4_000\nstrength = 500",
        5,
    );
    let victim = struck(&lines);
    let wakes = |from: u64, until: u64| -> Vec<u64> {
        let woken = |line: &&Line| line.1 == Some(victim) && line.2.starts_with("to ");
        lines.iter().filter(woken).map(|(at, ..)| *at).filter(|at| (from..until).contains(at)).collect()
    };
    assert!(wakes(3_200, 7_000).iter().all(|at| at % 500 == 0), "{:?}", wakes(3_200, 7_000));
    assert!(wakes(3_200, 7_000).len() >= 6, "{:?}", wakes(3_200, 7_000));
    assert!(wakes(7_000, 9_000).iter().any(|at| at % 500 != 0), "it is over");
}

#[test]
fn a_clock_that_jumps_wakes_its_member_for_everything_that_it_jumped_over() {
    let (report, lines) = one_fault("kind = \"clock-step\"\nplace = \"follower\"\nstrength = 60_000");
    assert_eq!(report.faults.get("clock-step"), Some(&1));
    let victim = struck(&lines);
    let after = lines.iter().skip_while(|(_, _, text)| !text.contains("FAULT"));
    let woken = after.clone().find(|(_, node, text)| *node == Some(victim) && text.starts_with("to "));
    assert_eq!(woken.expect("it wakes").0, 3_000, "at once");
}

#[test]
fn a_sync_that_stalls_holds_back_what_waits_for_it_and_no_other_disk_operation() {
    // With one write of the log under way at a time, a sync that stalls would be the last one for that long.
    let fault = "kind = \"sync-stall\"\nplace = \"leader\"\nduration_ms = 4_000";
    let (_, lines) = one_fault(&format!("{fault}\n[knobs]\nwal_writes_in_flight_max = 8"));
    let victim = struck(&lines);
    let done = |from: u64, until: u64| -> Vec<u64> {
        let then = lines.iter().filter(|(at, node, _)| (from..until).contains(at) && *node == Some(victim));
        then.filter_map(|(_, _, text)| disk_op(text)).collect()
    };
    let meanwhile = done(3_100, 6_900);
    assert!(meanwhile.len() > 10, "other operations complete meanwhile");
    let (oldest, newest) = (meanwhile[0], meanwhile.iter().max().expect("some"));
    assert!(done(6_900, 7_100).iter().any(|op| *op < *newest && *op < oldest + 10), "the one that waited");
}

/// The number of the disk operation whose completion this is.
fn disk_op(text: &str) -> Option<u64> {
    let rest = text.strip_prefix("disk ")?;
    rest.split(|c: char| !c.is_ascii_digit()).find_map(|op| op.parse().ok())
}

#[test]
fn disk_operations_complete_in_another_order_than_they_were_issued_in() {
    let (_, lines) = traced("nodes = 1\n[phases]\nfaults_ms = 3_000\n[disk]\naccess_us = 5_000\nsync_us = 5_000", 2);
    let mut newest = 0;
    let mut overtaken = 0;
    for (_, _, text) in &lines {
        if let Some(op) = disk_op(text) {
            overtaken += u32::from(op < newest);
            newest = newest.max(op);
        }
    }
    assert!(overtaken > 10, "{overtaken} operations were overtaken");
}

#[test]
fn a_member_halts_over_a_failed_write_or_sync_and_is_started_again() {
    for kind in ["write-error", "sync-error"] {
        let (report, lines) = one_fault(&format!("kind = \"{kind}\"\nplace = \"leader\"\nduration_ms = 3_000"));
        let victim = struck(&lines);
        let at_victim = |what: &str| -> Vec<u64> {
            let said = |line: &&Line| line.1 == Some(victim) && line.2.contains(what);
            lines.iter().filter(said).map(|(at, ..)| *at).collect()
        };
        let halts = at_victim("halts: disk failed");
        assert!(halts.len() == 1 && (3_000..3_500).contains(&halts[0]), "{halts:?}");
        let starts = at_victim("starts on");
        assert!(starts.len() == 2 && (6_000..6_100).contains(&starts[1]), "{starts:?}");
        assert_eq!(report.marks.get("disk: a member halted over a failed operation"), Some(&1));
    }
}
