//! The full simulated cluster, with its disks, network, clients and every checker, against a bare raft-rs loop:
//! committed client operations per second of CPU time, and messages per commit, of both.

#![expect(clippy::disallowed_types, reason = "figures for people decide nothing")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use detcd_sim::{RunOptions, Scenario, Verdict, run};

mod bare_raft;
use bare_raft::BareLoad;

/// As the binaries that simulate have it; for both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NODES: u64 = 5;
const VALUE_BYTES: usize = 64;
const OPS_PER_SECOND: u64 = 40_000;
const DELAY_US: u64 = 500;

/// Puts only: every operation is a proposal, as in the bare loop.
fn scenario() -> Scenario {
    let text = format!(
        "name = \"throughput\"\nwhy = \"how fast\"\nnodes = {NODES}\n\
         [phases]\nwarmup_ms = 1_200\nfaults_ms = 100\n\
         [knobs]\nheartbeat_interval_ms = 50\nelection_timeout_ms = 300\n\
         [network]\ndelay_min_us = {DELAY_US}\ndelay_spread_us = {DELAY_US}\ntail_permille = 0\n\
         [workload]\nclients = 1_000\nops_per_second = {OPS_PER_SECOND}\nkeys = 1_000\nvalue_bytes = {VALUE_BYTES}\n\
         mix = {{ put = 1, get = 0, range = 0, history = 0, serializable = 0, delete = 0, delete_range = 0, \
         compare_and_swap = 0, multi_txn = 0, nested_txn = 0, compact = 0, lease = 0, watch = 0 }}\n"
    );
    Scenario::parse("throughput.toml", &text).expect("a good scenario")
}

/// Nanoseconds that this thread was on a CPU. The machine may be shared: time of the clock would count others' work.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures the real world")]
fn cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
    text.split(' ').next().and_then(|number| number.parse().ok()).expect("it starts with a number")
}

/// What `work` gives, and the seconds of CPU time that it took; the best of three times.
fn measured<T>(mut work: impl FnMut() -> T) -> (T, f64) {
    let mut once = || {
        let start = cpu_ns();
        let result = work();
        (result, (cpu_ns() - start) as f64 / 1e9)
    };
    let tries = [once(), once(), once()];
    tries.into_iter().min_by(|one, other| one.1.total_cmp(&other.1)).expect("three tries")
}

fn throughput(criterion: &mut Criterion) {
    let scenario = scenario();
    let (report, full_s) = measured(|| run(&scenario, 1, &RunOptions::default()));
    assert_eq!(report.verdict, Verdict::Ok);

    // The same number of proposals of the same size at the same rate, and messages that take as long.
    let load = BareLoad {
        nodes: NODES,
        proposals: report.ops,
        interval_ns: 1_000_000_000 / OPS_PER_SECOND,
        bytes: VALUE_BYTES + 40,
        delay_ns: DELAY_US * 1_000,
    };
    let (bare, bare_s) = measured(|| bare_raft::run(load));
    assert_eq!(bare.commits, report.ops);

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
