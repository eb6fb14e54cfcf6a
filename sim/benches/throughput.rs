//! The full simulated cluster, with its disks, network, clients and every checker, against a bare raft-rs loop:
//! committed client operations per second of CPU time, and messages per commit, of both.

#![expect(clippy::disallowed_types, reason = "figures for people decide nothing")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use detcd_sim::{RunOptions, Scenario, Verdict, run};

mod bare_raft;
mod measured;
use bare_raft::BareLoad;
use measured::measured;

/// As the binaries that simulate have it; for both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: u64 = 5;
const VALUE_BYTES: usize = 64;
const OPS_PER_SECOND: u64 = 40_000;
const DELAY_US: u64 = 500;
/// How often each side is measured.
const ROUNDS: u32 = 6;

/// Puts only: every operation is a proposal, as in the bare loop.
fn scenario() -> Scenario {
    let text = format!(
        "name = \"throughput\"\nwhy = \"how fast\"\nnodes = {NODES}\n\
         [phases]\nwarmup_ms = 1_200\nfaults_ms = 100\n\
         [knobs]\nheartbeat_interval_ms = 50\nelection_timeout_ms = 300\n\
         [network]\ndelay_min_us = {DELAY_US}\ndelay_spread_us = {DELAY_US}\ntail_permille = 0\n\
         [workload]\nclients = 250\nops_per_second = {OPS_PER_SECOND}\nkeys = 1_000\nvalue_bytes = {VALUE_BYTES}\n\
         long_values_permille = 0\n\
         mix = {{ put = 1, get = 0, range = 0, history = 0, serializable = 0, delete = 0, delete_range = 0, \
         compare_and_swap = 0, multi_txn = 0, read_txn = 0, nested_txn = 0, compact = 0, hash = 0, lease = 0, \
         watch = 0 }}\n"
    );
    Scenario::parse("throughput.toml", &text).expect("a good scenario")
}

fn throughput(criterion: &mut Criterion) {
    let scenario = scenario();
    let (report, mut full_s) = measured(1, || run(&scenario, 1, &RunOptions::default()));
    assert_eq!(report.verdict, Verdict::Ok);

    // The same number of proposals of the same size at the same rate, and messages that take as long.
    let load = BareLoad {
        nodes: NODES,
        proposals: report.ops,
        interval_ns: 1_000_000_000 / OPS_PER_SECOND,
        bytes: VALUE_BYTES + 40,
        delay_ns: DELAY_US * 1_000,
    };
    let (bare, mut bare_s) = measured(1, || bare_raft::run(load));
    assert_eq!(bare.commits, report.ops);
    // In turn, and the best of each: what else the machine does can only slow either down.
    for _ in 0..ROUNDS {
        full_s = full_s.min(measured(1, || run(&scenario, 1, &RunOptions::default())).1);
        bare_s = bare_s.min(measured(5, || bare_raft::run(load)).1);
    }

    let ops = report.ops as f64;
    let (messages, events) = (report.messages as f64 / ops, report.events as f64 / ops);
    println!("full: {:9.0} ops/s of CPU, {messages:5.2} messages a commit, {events:.2} events", ops / full_s);
    println!("bare: {:9.0} ops/s of CPU, {:5.2} messages a commit", ops / bare_s, bare.messages as f64 / ops);
    println!("ratio: {:.3}; {:.0} times real time", bare_s / full_s, report.sim_ms as f64 / 1_000.0 / full_s);

    let mut group = criterion.benchmark_group("committed operations");
    group.sample_size(10);
    group.throughput(Throughput::Elements(report.ops));
    group.bench_function("full cluster, all checkers", |bencher| {
        bencher.iter(|| run(&scenario, 1, &RunOptions::default()).digest);
    });
    group.bench_function("bare raft-rs", |bencher| {
        bencher.iter(|| bare_raft::run(load).commits);
    });
    group.finish();
}

criterion_group!(benches, throughput);
criterion_main!(benches);
