//! What leases cost a member: one that is alone, with 100,000 of them.

mod measured;
mod member;

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;

use measured::{CpuTime, by_cpu_time};
use member::Single;

const LEASES: i64 = 100_000;

/// How long a lease lives, in seconds: longer than the member's clock gets.
const TTL_S: i64 = 1_000_000;

fn grant(single: &mut Single, id: i64) {
    single.ask(Request::LeaseGrant(pb::LeaseGrantRequest { ttl: TTL_S, id }));
}

fn leases(criterion: &mut Criterion<CpuTime>) {
    let mut single = Single::leading();
    (1..=LEASES).for_each(|id| grant(&mut single, id));
    let mut group = criterion.benchmark_group("100,000 leases");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(30);
    let mut number = 0;
    // From one end to the other and over, in strides that no cache likes.
    group.bench_function("keepalive: call, answer", |bencher| {
        bencher.iter(|| {
            number = (number + 7_919) % LEASES;
            match single.ask(Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: number + 1 })) {
                Response::LeaseKeepAlive(renewed) => assert_eq!(renewed.ttl, TTL_S),
                other => panic!("that is no answer to a keepalive: {other:?}"),
            }
        });
    });
    let mut id = LEASES;
    group.bench_function("grant: call, log, apply, answer", |bencher| {
        bencher.iter(|| {
            id += 1;
            grant(&mut single, id);
        });
    });
    group.finish();
}

criterion_group!(name = benches; config = by_cpu_time(); targets = leases);
criterion_main!(benches);
