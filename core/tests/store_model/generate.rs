//! Random operations over few keys, so that they meet.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::compare::TargetUnion;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use proptest::prelude::*;

#[derive(Clone, Debug)]
pub enum Step {
    Put(pb::PutRequest),
    Delete(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    /// How far behind the current revision.
    Compact(i64),
    Grant(i64, i64),
    Revoke(i64),
    Empty,
    Read(pb::RangeRequest),
    ReadTxn(pb::TxnRequest),
}

const KEYS: &[&[u8]] = &[b"a", b"aa", b"ab", b"b", b"c", b"\xff"];
const VALUES: &[&[u8]] = &[b"", b"1", b"2", b"3"];
const ENDS: &[&[u8]] = &[b"", b"", b"", b"\0", b"b", b"c", b"ab", b"a", b"\xff\xff"];

fn key() -> impl Strategy<Value = Bytes> {
    proptest::sample::select(KEYS).prop_map(Bytes::from_static)
}

fn end() -> impl Strategy<Value = Bytes> {
    proptest::sample::select(ENDS).prop_map(Bytes::from_static)
}

fn value() -> impl Strategy<Value = Bytes> {
    proptest::sample::select(VALUES).prop_map(Bytes::from_static)
}

/// 0 half of the time; else one of four ids, of which some are granted.
fn lease() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 1 => 1..4i64]
}

fn put() -> impl Strategy<Value = pb::PutRequest> {
    (key(), value(), lease(), any::<bool>(), 0..8u8).prop_map(|(key, value, lease, prev_kv, ignore)| pb::PutRequest {
        key,
        value: if ignore == 1 || ignore == 2 { Bytes::new() } else { value },
        lease: if ignore == 2 || ignore == 3 { 0 } else { lease },
        prev_kv,
        ignore_value: ignore == 1 || ignore == 2,
        ignore_lease: ignore == 2 || ignore == 3,
    })
}

fn delete() -> impl Strategy<Value = pb::DeleteRangeRequest> {
    (key(), end(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| pb::DeleteRangeRequest {
        key,
        range_end,
        prev_kv,
    })
}

/// 0 mostly, else a revision that may or may not exist.
fn revision() -> impl Strategy<Value = i64> {
    prop_oneof![3 => Just(0), 3 => 1..30i64, 1 => -2..0i64]
}

fn filter() -> impl Strategy<Value = i64> {
    prop_oneof![8 => Just(0), 1 => 1..20i64]
}

pub fn range() -> impl Strategy<Value = pb::RangeRequest> {
    let filters = (filter(), filter(), filter(), filter());
    let flags = (any::<bool>(), 0..6u8, 0..6u8);
    (key(), end(), prop_oneof![2 => Just(0), 1 => 1..5i64], revision(), 0..3i32, 0..5i32, flags, filters).prop_map(
        |(key, range_end, limit, revision, sort_order, sort_target, flags, filters)| pb::RangeRequest {
            key,
            range_end,
            limit,
            revision,
            sort_order,
            sort_target,
            serializable: flags.0,
            keys_only: flags.1 == 0,
            count_only: flags.2 == 0,
            min_mod_revision: filters.0,
            max_mod_revision: filters.1,
            min_create_revision: filters.2,
            max_create_revision: filters.3,
        },
    )
}

fn compare() -> impl Strategy<Value = pb::Compare> {
    let operand = prop_oneof![
        (0..4i64).prop_map(TargetUnion::Version),
        (0..20i64).prop_map(TargetUnion::CreateRevision),
        (0..20i64).prop_map(TargetUnion::ModRevision),
        value().prop_map(TargetUnion::Value),
        (0..3i64).prop_map(TargetUnion::Lease),
    ];
    (key(), end(), 0..4i32, operand).prop_map(|(key, range_end, result, operand)| pb::Compare {
        result,
        target: match operand {
            TargetUnion::Version(_) => 0,
            TargetUnion::CreateRevision(_) => 1,
            TargetUnion::ModRevision(_) => 2,
            TargetUnion::Value(_) => 3,
            TargetUnion::Lease(_) => 4,
        },
        key,
        range_end,
        target_union: Some(operand),
    })
}

fn operation(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn branches(operations: BoxedStrategy<pb::RequestOp>) -> impl Strategy<Value = pb::TxnRequest> {
    let branch = || proptest::collection::vec(operations.clone(), 0..4);
    (proptest::collection::vec(compare(), 0..3), branch(), branch())
        .prop_map(|(compare, success, failure)| pb::TxnRequest { compare, success, failure })
}

pub fn txn() -> impl Strategy<Value = pb::TxnRequest> {
    let simple = prop_oneof![
        3 => put().prop_map(Op::RequestPut),
        2 => delete().prop_map(Op::RequestDeleteRange),
        2 => range().prop_map(Op::RequestRange),
    ];
    let leaf = simple.prop_map(operation).boxed();
    let deep = leaf.prop_recursive(2, 12, 3, |inner| {
        branches(inner.boxed()).prop_map(|txn| operation(Op::RequestTxn(txn))).boxed()
    });
    branches(deep.boxed())
}

fn read_txn() -> impl Strategy<Value = pb::TxnRequest> {
    branches(range().prop_map(Op::RequestRange).prop_map(operation).boxed())
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => put().prop_map(Step::Put),
        3 => delete().prop_map(Step::Delete),
        5 => txn().prop_map(Step::Txn),
        2 => (-1..12i64).prop_map(Step::Compact),
        2 => (1..4i64, 1..9i64).prop_map(|(id, ttl)| Step::Grant(id, ttl)),
        1 => (1..5i64).prop_map(Step::Revoke),
        1 => Just(Step::Empty),
        6 => range().prop_map(Step::Read),
        2 => read_txn().prop_map(Step::ReadTxn),
    ];
    proptest::collection::vec(step, 1..60)
}
