//! Workers that take locks: they get them, lose them, and come back to rest; and leaving out a session moves no other.

use std::collections::{BTreeMap, BTreeSet};

use detcd_sim::check::{Checker, Interest, Violation};
use detcd_sim::history::Nanos;
use detcd_sim::observe::{LockEvent, Observation, Observed};
use detcd_sim::plan::Plan;
use detcd_sim::run::run_observed;
use detcd_sim::workload::OpKind;
use detcd_sim::{RunOptions, Scenario, Verdict, run};

fn scenario(text: &str) -> Scenario {
    with_pauses(250, text)
}

fn with_pauses(pause_permille: u32, text: &str) -> Scenario {
    let pauses = format!("pause_permille = {pause_permille}");
    let locks = format!("[workload.locks]\nworkers = 5\nlocks = 1\nhold_ms = 600\n{pauses}\n");
    let text = format!("name = \"test\"\nwhy = \"test\"\nnodes = 3\n[phases]\nfaults_ms = 20_000\n{locks}{text}");
    Scenario::parse("test.toml", &text).expect("a good scenario")
}

/// Notes who owned which lock, when and by which revision.
#[derive(Default)]
struct Owners<'a>(Option<&'a mut Vec<(Nanos, Vec<u8>, i64)>>);

impl Checker for Owners<'_> {
    fn name(&self) -> &'static str {
        "owners"
    }

    fn interest(&self) -> Interest {
        Interest::CLIENTS
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        if let (Observation::Lock(LockEvent::Owns { mutex, created, .. }), Some(owners)) = (&seen.what, &mut self.0) {
            owners.push((seen.at, mutex.key.to_vec(), *created));
        }
        Ok(())
    }
}

fn owners(scenario: &Scenario, seed: u64, options: &RunOptions) -> Vec<(Nanos, Vec<u8>, i64)> {
    let mut found = Vec::new();
    let report = run_observed(scenario, seed, options, |_| Box::new(Owners(Some(&mut found))));
    assert_eq!(report.verdict, Verdict::Ok, "seed {seed}");
    found
}

#[test]
fn without_faults_many_own_the_lock_in_the_order_in_which_they_asked() {
    let found = owners(&with_pauses(0, ""), 1, &RunOptions::default());
    assert!(found.len() > 30, "{}", found.len());
    let sessions: BTreeSet<&[u8]> = found.iter().map(|(_, key, _)| &key[..]).collect();
    assert!(sessions.len() > 8, "{}", sessions.len());
    assert!(found.is_sorted_by(|one, other| one.2 < other.2), "{found:?}");
}

#[test]
fn workers_pause_lose_the_lock_and_write_no_more() {
    let marks: BTreeMap<&str, u64> =
        (0..12).flat_map(|seed| run(&scenario(""), seed, &RunOptions::default()).marks).collect();
    for mark in ["lock: a former owner could not write", "lock: a waiter lost its lease in the queue"] {
        assert!(marks.contains_key(mark), "{mark}: {marks:?}");
    }
}

#[test]
fn leaving_out_a_session_moves_no_other() {
    let scenario = scenario("");
    let full = Plan::draw(&scenario, 3, &RunOptions::default());
    let is_session = |kind: &OpKind| matches!(kind, OpKind::LockSession { .. });
    let sessions: Vec<u64> = full.ops.iter().filter(|op| is_session(&op.kind)).map(|op| op.id).collect();
    assert!(sessions.len() > 10, "{}", sessions.len());
    let options = RunOptions { removed_ops: [sessions[sessions.len() / 2]].into(), ..RunOptions::default() };
    let less = Plan::draw(&scenario, 3, &options);
    let rest: Vec<_> = full.ops.iter().filter(|op| !options.removed_ops.contains(&op.id)).cloned().collect();
    assert_eq!(less.ops, rest);
    // The others have the same leases, and so the same keys; the run is as good without that one.
    let keys = |options: &RunOptions| -> BTreeSet<Vec<u8>> {
        owners(&scenario, 3, options).into_iter().map(|(_, key, _)| key).collect()
    };
    let (all, without) = (keys(&RunOptions::default()), keys(&options));
    assert!(all.intersection(&without).count() + 3 > all.len(), "{} of {}", without.len(), all.len());
}

#[test]
fn with_members_that_pause_and_are_cut_off_all_is_well_and_a_run_repeats() {
    let faults = "[[faults]]\nkind = \"isolate\"\nplace = \"leader\"\nper_minute = 12\nduration_ms = 2_000\n\
                  [[faults]]\nkind = \"pause\"\nplace = \"any\"\nper_minute = 8\nduration_ms = 3_000\n";
    let scenario = scenario(faults);
    for seed in 0..4 {
        let report = run(&scenario, seed, &RunOptions::default());
        assert_eq!(report.verdict, Verdict::Ok, "seed {seed}");
        assert_eq!(run(&scenario, seed, &RunOptions::default()).digest, report.digest);
    }
}
