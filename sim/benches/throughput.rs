//! The full simulated cluster, with its disks, network, clients and every checker, against a bare raft-rs loop: committed
//! client operations per second of CPU time, and messages per commit, of both.

use std::time::Instant;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use detcd_sim::{RunOptions, Scenario, Verdict, run};

mod bare_raft;

const NODES: u64 = 5;
const VALUE_BYTES: usize = 64;

/// Puts only: every operation is a proposal, as in the bare loop.
fn scenario() -> Scenario {
    let text = format!(
        "name = \"throughput\"\nwhy = \"how fast\"\nnodes = {NODES}\n\
         [phases]\nwarmup_ms = 4_000\nfaults_ms = 4_000\n\
         [workload]\nclients = 400\nops_per_second = 10_000\nkeys = 1_000\nvalue_bytes = {VALUE_BYTES}\n\
         mix = {{ put = 1, get = 0, range = 0, history = 0, serializable = 0, delete = 0, delete_range = 0, \
         compare_and_swap = 0, multi_txn = 0, nested_txn = 0, compact = 0, lease = 0, watch = 0 }}\n"
    );
    Scenario::parse("throughput.toml", &text).expect("a good scenario")
}

fn throughput(criterion: &mut Criterion) {
    let scenario = scenario();
    // The process has one thread and does not wait: time of the clock is CPU time.
    let start = Instant::now();
    let report = run(&scenario, 1, &RunOptions::default());
    let full_s = start.elapsed().as_secs_f64();
    assert_eq!(report.verdict, Verdict::Ok);

    // The same number of proposals of the same size, and as many at once as the simulated leader had.
    let proposal_bytes = VALUE_BYTES + 40;
    let start = Instant::now();
    let bare = bare_raft::run(NODES, report.ops, 16, proposal_bytes);
    let bare_s = start.elapsed().as_secs_f64();
    assert_eq!(bare.commits, report.ops);

    let ops = report.ops as f64;
    println!("full: {:9.0} ops/s of CPU, {:5.2} messages a commit", ops / full_s, report.messages as f64 / ops);
    println!("bare: {:9.0} ops/s of CPU, {:5.2} messages a commit", ops / bare_s, bare.messages as f64 / ops);
    println!("ratio: {:.3}; {:.0} times real time", bare_s / full_s, report.sim_ms as f64 / 1_000.0 / full_s);

    let mut group = criterion.benchmark_group("committed operations");
    group.sample_size(10);
    group.throughput(Throughput::Elements(report.ops));
    group.bench_function("full cluster, all checkers", |bencher| {
        bencher.iter(|| run(&scenario, 1, &RunOptions::default()).digest);
    });
    group.bench_function("bare raft-rs", |bencher| {
        bencher.iter(|| bare_raft::run(NODES, report.ops, 16, proposal_bytes).commits);
    });
    group.finish();
}

criterion_group!(benches, throughput);
criterion_main!(benches);
