//! The hosts side by side: committed entries per second of CPU time.

#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "figures for people decide nothing")]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use rustix::time::{ClockId, clock_gettime};

use crate::member::{Load, Outcome};
use crate::{kernel, on_madsim, on_turmoil};

/// As the binaries that simulate have it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOAD: Load = Load { members: 5, proposals: 5_000, interval: Duration::from_millis(2), bytes: 104, seed: 1 };
/// How often each host is measured before criterion does.
const ROUNDS: u32 = 5;

/// A host's name, and what it makes of a load.
type Host = (&'static str, fn(Load) -> Outcome);

const HOSTS: [Host; 3] = [("kernel", kernel::run), ("madsim", on_madsim::run), ("turmoil", on_turmoil::run)];

/// Seconds that this thread was on a CPU. The machine may be shared: time of the clock would count others' work.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Runs the load, which has to be committed to the last entry, and says how long that took.
fn measured(run: fn(Load) -> Outcome) -> (Outcome, f64) {
    let start = cpu_s();
    let outcome = run(LOAD);
    let took_s = cpu_s() - start;
    assert_eq!(outcome.commits, LOAD.proposals, "every entry is committed by every member");
    (outcome, took_s)
}

fn compare(criterion: &mut Criterion) {
    let mut best: Vec<(Outcome, f64)> = HOSTS.iter().map(|(_, run)| measured(*run)).collect();
    // In turn, and the best of each: what else the machine does can only slow any of them down.
    for _ in 1..ROUNDS {
        for ((_, run), best) in HOSTS.iter().zip(&mut best) {
            best.1 = best.1.min(measured(*run).1);
        }
    }
    for ((name, _), (outcome, took_s)) in HOSTS.iter().zip(&best) {
        println!(
            "{name:>8}: {} entries committed by all, {:8.0} a second of CPU; {:5.2} messages each; \
             {:6.0} times real time",
            outcome.commits,
            outcome.commits as f64 / took_s,
            outcome.messages as f64 / outcome.commits as f64,
            LOAD.end().as_secs_f64() / took_s,
        );
    }
    let mut group = criterion.benchmark_group("raft-rs cluster on");
    group.sample_size(10);
    group.throughput(Throughput::Elements(LOAD.proposals));
    for (name, run) in HOSTS {
        group.bench_function(name, |bencher| bencher.iter(|| run(LOAD).commits));
    }
    group.finish();
}

criterion_group!(hosts, compare);
