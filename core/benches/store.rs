//! What a large store costs: one million keys with 256-byte values, loaded once for all.

mod measured;
mod requests;

use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;

use measured::{CpuTime, by_cpu_time};
use requests::{Numbers, apply, execute, guarded_update, key, loaded, put, row};

const KEYS: u64 = 1_000_000;

/// How many keys a range reads.
const ROW: u64 = 1_000;

/// How long a lease lives, in seconds; nothing ends one here.
const TTL_S: i64 = 60;

fn store(criterion: &mut Criterion<CpuTime>) {
    let mut machine = loaded(KEYS);
    let mut numbers = Numbers::below(KEYS);
    let mut starts = Numbers::below(KEYS - ROW);
    let mut group = criterion.benchmark_group("a million keys");
    // Every write stays in the history, so that long measurements would be about an ever larger store.
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);

    let view = machine.view();
    group.bench_function("get", |bencher| {
        bencher.iter(|| execute(&view, pb::RangeRequest { key: key(numbers.draw()), ..Default::default() }));
    });
    group.throughput(Throughput::Elements(ROW));
    group.bench_function("range of 1,000", |bencher| {
        bencher.iter(|| execute(&view, row(starts.draw(), ROW)));
    });
    // A view that is kept would make each write copy what it shares with it, over and over.
    drop(view);

    group.throughput(Throughput::Elements(1));
    group.bench_function("put: apply", |bencher| {
        bencher.iter_batched(|| put(numbers.draw()), |request| apply(&mut machine, request), BatchSize::SmallInput);
    });
    // As a member does it, after each step.
    let mut published = machine.view();
    group.bench_function("put: apply, view", |bencher| {
        bencher.iter_batched(
            || put(numbers.draw()),
            |request| {
                apply(&mut machine, request);
                published = machine.view();
            },
            BatchSize::SmallInput,
        );
    });
    drop(published);
    group.bench_function("txn: one compare, one put, a range of ten", |bencher| {
        bencher.iter_batched(
            || guarded_update(numbers.draw(), Some(Op::RequestRange(row(starts.draw(), 10)))),
            |request| apply(&mut machine, request),
            BatchSize::SmallInput,
        );
    });
    let mut lease = 0;
    group.bench_function("lease grant: apply", |bencher| {
        bencher.iter_batched(
            || {
                lease += 1;
                let lease_grant = Some(pb::LeaseGrantRequest { ttl: TTL_S, id: lease });
                pb::InternalRaftRequest { lease_grant, ..Default::default() }
            },
            |request| apply(&mut machine, request),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(name = benches; config = by_cpu_time(); targets = store);
criterion_main!(benches);
