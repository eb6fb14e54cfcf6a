//! What applying and reading cost, on a store of 10,000 keys with 256-byte values.

mod measured;
mod requests;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use detcd_core::log::EntryKind;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::state_machine::Command;
use prost::Message;

use measured::{CpuTime, by_cpu_time};
use requests::{Numbers, apply, execute, guarded_update, key, loaded, put, row};

const KEYS: u64 = 10_000;

fn writes(criterion: &mut Criterion<CpuTime>) {
    let mut numbers = Numbers::below(KEYS);

    // As a step of a node does it: decode, apply, take the digest, publish the view.
    let mut machine = loaded(KEYS);
    let mut published = machine.view();
    criterion.bench_function("put: decode, apply, digest, view", |bencher| {
        bencher.iter_batched(
            || Bytes::from(put(numbers.draw()).encode_to_vec()),
            |data| {
                let index = machine.applied().next();
                let command = Command::decode(EntryKind::Normal, &data).expect("encoded above");
                black_box(machine.apply(index, &command));
                black_box(machine.digest());
                published = machine.view();
            },
            BatchSize::SmallInput,
        );
    });
    drop(published);

    let mut machine = loaded(KEYS);
    criterion.bench_function("put: apply", |bencher| {
        bencher.iter_batched(|| put(numbers.draw()), |request| apply(&mut machine, request), BatchSize::SmallInput);
    });

    // Compacts every 5,000 revisions, as Kubernetes does with time: the sweep and its end are part of the cost.
    let mut machine = loaded(KEYS);
    criterion.bench_function("put: apply, with compactions", |bencher| {
        bencher.iter_batched(
            || put(numbers.draw()),
            |request| {
                apply(&mut machine, request);
                let revision = machine.view().revision();
                if revision % 5_000 == 0 {
                    let compaction = Some(pb::CompactionRequest { revision: revision - 1_000, physical: false });
                    apply(&mut machine, pb::InternalRaftRequest { compaction, ..Default::default() });
                }
            },
            BatchSize::SmallInput,
        );
    });

    let mut machine = loaded(KEYS);
    criterion.bench_function("txn: one compare, one put", |bencher| {
        bencher.iter_batched(
            || guarded_update(numbers.draw(), None),
            |request| apply(&mut machine, request),
            BatchSize::SmallInput,
        );
    });
}

fn reads(criterion: &mut Criterion<CpuTime>) {
    let mut numbers = Numbers::below(KEYS);
    let mut machine = loaded(KEYS);
    let first = machine.view().revision();
    for _ in 0..KEYS {
        apply(&mut machine, put(numbers.draw()));
    }
    let view = machine.view();
    criterion.bench_function("get", |bencher| {
        bencher.iter(|| execute(&view, pb::RangeRequest { key: key(numbers.draw()), ..Default::default() }));
    });
    criterion.bench_function("get at a past revision", |bencher| {
        bencher.iter(|| {
            let key = key(numbers.draw());
            execute(&view, pb::RangeRequest { key, revision: first, ..Default::default() });
        });
    });
    let mut starts = Numbers::below(KEYS - 100);
    criterion.bench_function("range of 100", |bencher| {
        bencher.iter(|| execute(&view, row(starts.draw(), 100)));
    });
    criterion.bench_function("range of 100 at a past revision", |bencher| {
        bencher.iter(|| execute(&view, pb::RangeRequest { revision: first, ..row(starts.draw(), 100) }));
    });
}

criterion_group!(name = benches; config = by_cpu_time(); targets = writes, reads);
criterion_main!(benches);
