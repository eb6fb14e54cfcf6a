//! What a simulated operation costs: as runs get longer, with and without the checkers, against real time, and in
//! memory. One process measures all of it; the small world comes first, so that the peak of the process is its own.

#![expect(clippy::disallowed_types, reason = "figures for people decide nothing")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use detcd_sim::{RunOptions, RunReport, Scenario, Verdict, run, run_unjudged};

mod measured;
use measured::{measured, peak_mib};

/// As the binaries that simulate have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Five members under a mixed load for `ops` operations, at so many a second.
fn scenario(ops: u64, ops_per_second: u64, mix: &str) -> Scenario {
    let faults_ms = ops * 1_000 / ops_per_second;
    let text = format!(
        "name = \"cost\"\nwhy = \"what an operation costs\"\nnodes = 5\n\
         [phases]\nwarmup_ms = 1_000\nfaults_ms = {faults_ms}\n\
         [knobs]\nwal_segment_bytes = 1_000_000\n\
         [workload]\nclients = 250\nops_per_second = {ops_per_second}\nkeys = 50\nvalue_bytes = 64\n\
         long_values_permille = 0\nmix = {{ {mix} }}\n"
    );
    Scenario::parse("cost.toml", &text).expect("a good scenario")
}

fn ok(report: RunReport) -> RunReport {
    assert_eq!(report.verdict, Verdict::Ok);
    report
}

/// One world as campaigns have thousands of: 100 operations a second for a minute.
fn usual_world() {
    let usual = scenario(6_000, 100, "");
    let before_mib = peak_mib();
    let (report, usual_s) = measured(1, || ok(run(&usual, 1, &RunOptions::default())));
    println!("a usual world: {:.0} times real time", report.sim_ms as f64 / 1_000.0 / usual_s);
    println!("a usual world: {} MiB, of which the program {before_mib} MiB", peak_mib());
}

/// The same load for longer and longer: the cost of an operation has to stay what it is. Without watchers, as many of
/// them last to the end of a run, so that there are more of them in a longer one.
fn longer_and_longer() {
    let mut first_us = None;
    for ops in [10_000, 100_000, 1_000_000] {
        let (report, run_s) = measured(1, || ok(run(&longer(ops), 1, &RunOptions::default())));
        let op_us = run_s * 1e6 / report.ops as f64;
        let times = op_us / *first_us.get_or_insert(op_us);
        println!("{:>8} operations: {op_us:6.2} us of CPU each, {times:.2} times the first", report.ops);
    }
}

fn longer(ops: u64) -> Scenario {
    scenario(ops, 1_000, "watch = 0, hash = 0")
}

/// In the usual world, watchers and all.
fn checkers_share() {
    let load = scenario(6_000, 100, "");
    let options = RunOptions::default();
    let (mut judged_s, mut bare_s) = (f64::MAX, f64::MAX);
    for _ in 0..5 {
        let (judged, s) = measured(1, || ok(run(&load, 1, &options)));
        judged_s = judged_s.min(s);
        let (unjudged, s) = measured(1, || ok(run_unjudged(&load, 1, &options)));
        bare_s = bare_s.min(s);
        assert_eq!(judged.digest, unjudged.digest, "checkers change nothing");
    }
    println!("the checkers take {:.0} % of the time", 100.0 * (1.0 - bare_s / judged_s));
}

fn cost(criterion: &mut Criterion) {
    usual_world();
    checkers_share();
    longer_and_longer();
    let mut group = criterion.benchmark_group("simulated operations");
    group.sample_size(10);
    for ops in [10_000, 100_000] {
        let load = longer(ops);
        group.throughput(Throughput::Elements(ops));
        group.bench_function(format!("{ops}"), |bencher| {
            bencher.iter(|| run(&load, 1, &RunOptions::default()).digest);
        });
    }
    group.finish();
}

criterion_group!(benches, cost);
criterion_main!(benches);
