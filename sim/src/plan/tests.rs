//! What a plan promises.

use super::*;

fn scenario(text: &str) -> Scenario {
    Scenario::parse("test.toml", &format!("name = \"test\"\nwhy = \"test\"\n{text}")).expect("good")
}

#[test]
fn the_same_seed_gives_the_same_plan_and_another_one_another() {
    let scenario = scenario("nodes = { min = 1, max = 7 }\nswarm = true");
    let plan = |seed| format!("{:?}", Plan::draw(&scenario, seed, &RunOptions::default()));
    assert_eq!(plan(5), plan(5));
    assert_ne!(plan(5), plan(6));
}

#[test]
fn leaving_out_an_operation_or_a_fault_moves_no_other() {
    let scenario = scenario("nodes = 5\nswarm = true");
    let full = Plan::draw(&scenario, 9, &RunOptions::default());
    let (op, fault) = (full.ops[full.ops.len() / 2].id, full.faults[1].id);
    let options = RunOptions { removed_ops: [op].into(), removed_faults: [fault].into(), ..RunOptions::default() };
    let less = Plan::draw(&scenario, 9, &options);
    let rest: Vec<_> = full.ops.iter().filter(|planned| planned.id != op).cloned().collect();
    assert_eq!(less.ops, rest);
    assert_eq!(less.ops.len(), full.ops.len() - 1);
    let rest: Vec<_> = full.faults.iter().filter(|episode| episode.id != fault).copied().collect();
    assert_eq!(less.faults, rest);
}

#[test]
fn a_quorum_is_never_left_behind() {
    let scenario = scenario("nodes = { min = 1, max = 7 }\n[phases]\nminority_left_behind_permille = 1000");
    let mut left_behind = 0;
    for seed in 0..100 {
        let core = Plan::draw(&scenario, seed, &RunOptions::default()).core;
        let healthy = core.iter().filter(|member| **member).count();
        assert!(healthy > core.len() / 2);
        left_behind += core.len() - healthy;
    }
    assert!(left_behind > 50);
}

#[test]
fn what_a_scenario_fixes_is_as_it_says() {
    let scenario = scenario("nodes = 3\n[knobs]\ncheckpoint_entries = 7\n[clock]\nskew_ppm = 0");
    let plan = Plan::draw(&scenario, 1, &RunOptions::default());
    assert_eq!(plan.nodes.len(), 3);
    assert!(plan.nodes.iter().all(|node| node.checkpoint_entries == 7 && node.wal_segment_bytes == 64_000_000));
    assert_eq!(plan.clock_ppm, [1_000_000; 3]);
    assert!(plan.faults.is_empty());
}

#[test]
fn no_member_writes_chunks_so_small_that_a_snapshot_outlasts_the_run() {
    // Seed 113 once had chunks of 221 bytes: 325 kB of state, a lost chunk every tenth of a second, and 60 s over.
    let scenario = scenario("nodes = { min = 1, max = 7 }\nswarm = true");
    for seed in 0..300 {
        let plan = Plan::draw(&scenario, seed, &RunOptions::default());
        let smallest = plan.nodes.iter().map(|node| node.checkpoint_chunk_bytes).min();
        assert!(smallest >= Some(CHUNK_BYTES_MIN as usize), "seed {seed} has {smallest:?}");
    }
}

#[test]
fn leases_are_checkpointed_in_half_of_the_swarms_runs_and_some_live_long_enough_for_that() {
    let scenario = scenario("nodes = 3\nswarm = true");
    let (mut runs, mut with_long_leases) = (0, 0);
    for seed in 0..100 {
        let plan = Plan::draw(&scenario, seed, &RunOptions::default());
        let interval = plan.nodes[0].lease_checkpoint_interval;
        if interval > Duration::from_secs(3) {
            continue;
        }
        runs += 1;
        let long_s = 2 * i64::try_from(interval.as_secs()).expect("short");
        let long = |op: &PlannedOp| matches!(op.kind, workload::OpKind::LeaseGrant { ttl_s, .. } if ttl_s > long_s);
        with_long_leases += usize::from(plan.ops.iter().any(long));
    }
    assert!((35..65).contains(&runs) && with_long_leases > runs / 2, "{runs} runs, {with_long_leases} with leases");
}
