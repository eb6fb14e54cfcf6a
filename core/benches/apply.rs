//! What applying and reading cost, on a store of 10,000 keys with 256-byte values.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use detcd_core::StoreView;
use detcd_core::api::{ReadRequest, read};
use detcd_core::log::EntryKind;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::seed::draw;
use detcd_core::state_machine::{Command, StateMachine};
use detcd_core::types::ClusterId;
use prost::Message;

const KEYS: u64 = 10_000;

fn key(number: u64) -> Bytes {
    Bytes::from(format!("/registry/things/{:08}", number % KEYS))
}

fn value() -> Bytes {
    Bytes::from(vec![b'v'; 256])
}

fn put(number: u64) -> pb::InternalRaftRequest {
    let put = pb::PutRequest { key: key(number), value: value(), ..pb::PutRequest::default() };
    pb::InternalRaftRequest { put: Some(put), ..pb::InternalRaftRequest::default() }
}

fn apply(machine: &mut StateMachine, request: pb::InternalRaftRequest) {
    let index = machine.applied().next();
    black_box(machine.apply(index, &Command::Request(request)));
}

fn loaded() -> StateMachine {
    let mut machine = StateMachine::genesis(ClusterId(1), &[]);
    for number in 0..KEYS {
        apply(&mut machine, put(number));
    }
    machine
}

/// Random, and the same in every run.
fn random(counter: &mut u64) -> u64 {
    *counter += 1;
    draw(1, &[*counter])
}

fn guarded_update(number: u64) -> pb::InternalRaftRequest {
    let compare = pb::Compare {
        target: pb::compare::CompareTarget::Mod.into(),
        result: pb::compare::CompareResult::Greater.into(),
        key: key(number),
        target_union: Some(pb::compare::TargetUnion::ModRevision(1)),
        ..pb::Compare::default()
    };
    let put = pb::PutRequest { key: key(number), value: value(), ..pb::PutRequest::default() };
    let get = pb::RangeRequest { key: key(number), ..pb::RangeRequest::default() };
    let operation = |request| vec![pb::RequestOp { request: Some(request) }];
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: operation(Op::RequestPut(put)),
        failure: operation(Op::RequestRange(get)),
    };
    pb::InternalRaftRequest { txn: Some(txn), ..pb::InternalRaftRequest::default() }
}

fn writes(criterion: &mut Criterion) {
    let mut counter = 0;

    // As a step of a node does it: decode, apply, take the digest, publish the view.
    let mut machine = loaded();
    let mut published = machine.view();
    criterion.bench_function("put: decode, apply, digest, view", |bencher| {
        bencher.iter_batched(
            || Bytes::from(put(random(&mut counter)).encode_to_vec()),
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

    let mut machine = loaded();
    criterion.bench_function("put: apply", |bencher| {
        bencher.iter_batched(
            || put(random(&mut counter)),
            |request| apply(&mut machine, request),
            BatchSize::SmallInput,
        );
    });

    // Compacts every 5,000 revisions, as Kubernetes does with time: the sweep and its end are part of the cost.
    let mut machine = loaded();
    criterion.bench_function("put: apply, with compactions", |bencher| {
        bencher.iter_batched(
            || put(random(&mut counter)),
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

    let mut machine = loaded();
    criterion.bench_function("txn: one compare, one put", |bencher| {
        bencher.iter_batched(
            || guarded_update(random(&mut counter)),
            |request| apply(&mut machine, request),
            BatchSize::SmallInput,
        );
    });
}

fn execute(view: &StoreView, request: pb::RangeRequest) {
    let header = pb::ResponseHeader::default();
    black_box(read::execute(view, &ReadRequest::Range(request), header).expect("the request is valid"));
}

fn reads(criterion: &mut Criterion) {
    let mut counter = 0;
    let mut machine = loaded();
    let first = machine.view().revision();
    for _ in 0..KEYS {
        apply(&mut machine, put(random(&mut counter)));
    }
    let view = machine.view();
    criterion.bench_function("get", |bencher| {
        bencher.iter(|| execute(&view, pb::RangeRequest { key: key(random(&mut counter)), ..Default::default() }));
    });
    criterion.bench_function("get at a past revision", |bencher| {
        bencher.iter(|| {
            let key = key(random(&mut counter));
            execute(&view, pb::RangeRequest { key, revision: first, ..Default::default() });
        });
    });
    let hundred = |number: u64, revision| {
        let start = number % (KEYS - 100);
        pb::RangeRequest { key: key(start), range_end: key(start + 100), revision, ..Default::default() }
    };
    criterion.bench_function("range of 100", |bencher| {
        bencher.iter(|| execute(&view, hundred(random(&mut counter), 0)));
    });
    criterion.bench_function("range of 100 at a past revision", |bencher| {
        bencher.iter(|| execute(&view, hundred(random(&mut counter), first)));
    });
}

criterion_group!(benches, writes, reads);
criterion_main!(benches);
