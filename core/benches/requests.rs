//! What benchmarks of the store write and read, and a store that holds it.

#![allow(dead_code, reason = "not every benchmark needs all of it")]

use std::hint::black_box;

use bytes::Bytes;
use detcd_core::StoreView;
use detcd_core::api::{ReadRequest, read};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::seed::draw;
use detcd_core::state_machine::{Command, StateMachine};
use detcd_core::types::ClusterId;

/// The key with this number, in order of the numbers.
pub fn key(number: u64) -> Bytes {
    Bytes::from(format!("/registry/things/{number:08}"))
}

/// What every key holds.
fn value() -> Bytes {
    Bytes::from(vec![b'v'; 256])
}

/// Numbers below a limit that look random, and are the same in every run.
pub struct Numbers {
    below: u64,
    drawn: u64,
}

impl Numbers {
    /// Numbers below `below`.
    pub fn below(below: u64) -> Numbers {
        Numbers { below, drawn: 0 }
    }

    /// The next one.
    pub fn draw(&mut self) -> u64 {
        self.drawn += 1;
        draw(1, &[self.drawn]) % self.below
    }
}

/// Overwrites the key with this number.
pub fn put(number: u64) -> pb::InternalRaftRequest {
    let put = pb::PutRequest { key: key(number), value: value(), ..pb::PutRequest::default() };
    pb::InternalRaftRequest { put: Some(put), ..pb::InternalRaftRequest::default() }
}

/// Overwrites the key with this number if it exists, reads it otherwise, and does the `further` operations after an
/// overwrite.
pub fn guarded_update(number: u64, further: Option<Op>) -> pb::InternalRaftRequest {
    let compare = pb::Compare {
        target: pb::compare::CompareTarget::Mod.into(),
        result: pb::compare::CompareResult::Greater.into(),
        key: key(number),
        target_union: Some(pb::compare::TargetUnion::ModRevision(1)),
        ..pb::Compare::default()
    };
    let put = pb::PutRequest { key: key(number), value: value(), ..pb::PutRequest::default() };
    let get = pb::RangeRequest { key: key(number), ..pb::RangeRequest::default() };
    let operation = |request| pb::RequestOp { request: Some(request) };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: std::iter::once(Op::RequestPut(put)).chain(further).map(operation).collect(),
        failure: vec![operation(Op::RequestRange(get))],
    };
    pb::InternalRaftRequest { txn: Some(txn), ..pb::InternalRaftRequest::default() }
}

/// Reads `count` keys in a row, from the one with this number on.
pub fn row(first: u64, count: u64) -> pb::RangeRequest {
    pb::RangeRequest { key: key(first), range_end: key(first + count), ..pb::RangeRequest::default() }
}

/// Applies a request as the next entry.
pub fn apply(machine: &mut StateMachine, request: pb::InternalRaftRequest) {
    let index = machine.applied().next();
    black_box(machine.apply(index, &Command::from(request)));
}

/// Reads from a view.
pub fn execute(view: &StoreView, request: pb::RangeRequest) {
    let header = pb::ResponseHeader::default();
    black_box(read::execute(view, &ReadRequest::Range(request), header).expect("the request is valid"));
}

/// A store in which each of the first `keys` keys was written once.
pub fn loaded(keys: u64) -> StateMachine {
    let mut machine = StateMachine::genesis(ClusterId(1), &[]);
    for number in 0..keys {
        apply(&mut machine, put(number));
    }
    machine
}
