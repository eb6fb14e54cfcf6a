//! Transactions: nested ones, compares that hold and that do not, and those that have to be refused.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::proto::mvccpb::KeyValue;

use super::{key, key_range, kv, lease_of, value};
use crate::differential::dice::Dice;
use crate::differential::known::Version;
use crate::differential::world::World;

/// How deep transactions are nested.
const DEPTH_MAX: u64 = 3;

/// etcd's `--max-txn-ops` unless it is told otherwise (contract, section 4).
const OPS_MAX: usize = 128;

const RESULTS: [CompareResult; 4] =
    [CompareResult::Equal, CompareResult::Greater, CompareResult::Less, CompareResult::NotEqual];
const TARGETS: [CompareTarget; 5] =
    [CompareTarget::Version, CompareTarget::Create, CompareTarget::Mod, CompareTarget::Value, CompareTarget::Lease];

/// A transaction.
pub(super) fn txn(dice: &mut Dice, world: &World, etcd: Version) -> pb::TxnRequest {
    let shape = dice.below(100);
    let mut request = if shape < 20 { reads(dice, world, etcd) } else { body(dice, world, etcd, DEPTH_MAX) };
    match shape {
        96 => crowd(dice, world, &mut request),
        97 => request.success.push(pb::RequestOp { request: None }),
        98 => request = pb::TxnRequest { compare: request.compare, ..Default::default() },
        99 => request.compare.push(pb::Compare::default()),
        _ => {}
    }
    request
}

/// A transaction that only reads; a third of them only what is serializable.
fn reads(dice: &mut Dice, world: &World, etcd: Version) -> pb::TxnRequest {
    let serializable = dice.chance(33);
    let branch = |dice: &mut Dice| {
        let ranges = 1 + dice.below(3);
        let range = |_| {
            let mut range = kv::range(dice, world, etcd);
            range.serializable |= serializable;
            pb::RequestOp { request: Some(Op::RequestRange(range)) }
        };
        (0..ranges).map(range).collect()
    };
    let (success, failure) = (branch(dice), branch(dice));
    pb::TxnRequest { compare: compares(dice, world), success, failure }
}

/// A transaction of all kinds of operations, with `depth` levels at most.
fn body(dice: &mut Dice, world: &World, etcd: Version, depth: u64) -> pb::TxnRequest {
    let compare = compares(dice, world);
    let success = branch(dice, world, etcd, depth);
    let failure = branch(dice, world, etcd, depth);
    pb::TxnRequest { compare, success, failure }
}

fn branch(dice: &mut Dice, world: &World, etcd: Version, depth: u64) -> Vec<pb::RequestOp> {
    let operations = dice.below(4);
    (0..operations).map(|_| pb::RequestOp { request: Some(operation(dice, world, etcd, depth)) }).collect()
}

fn operation(dice: &mut Dice, world: &World, etcd: Version, depth: u64) -> Op {
    match dice.below(100) {
        0..=29 => Op::RequestRange(kv::range(dice, world, etcd)),
        30..=64 => Op::RequestPut(kv::put(dice, world)),
        65..=79 => Op::RequestDeleteRange(kv::delete_range(dice)),
        _ if depth > 1 => Op::RequestTxn(body(dice, world, etcd, depth - 1)),
        _ => Op::RequestPut(kv::put(dice, world)),
    }
}

/// Puts so many operations into the transaction, at its top or one level down, that they are just as many as are
/// allowed, or one more.
fn crowd(dice: &mut Dice, world: &World, request: &mut pb::TxnRequest) {
    let extra = usize::from(dice.chance(70));
    let range = |_| pb::RequestOp {
        request: Some(Op::RequestRange(pb::RangeRequest { key: Bytes::from_static(b"a/1"), ..Default::default() })),
    };
    if dice.chance(50) {
        request.failure = (0..OPS_MAX + extra).map(range).collect();
    } else {
        // The level above has taken one operation already.
        let success = (0..OPS_MAX - 1 + extra).map(range).collect();
        let nested = pb::TxnRequest { success, ..Default::default() };
        let success = vec![pb::RequestOp { request: Some(Op::RequestTxn(nested)) }];
        *request = pb::TxnRequest { compare: vec![compare(dice, world)], success, failure: Vec::new() };
    }
}

fn compares(dice: &mut Dice, world: &World) -> Vec<pb::Compare> {
    let compares = dice.weighted(&[(2, 0), (6, 1), (2, 2), (1, 3)]);
    (0..compares).map(|_| compare(dice, world)).collect()
}

/// A compare; in most cases its operand is near what is there.
fn compare(dice: &mut Dice, world: &World) -> pb::Compare {
    let keys: Vec<&Bytes> = world.live.keys().collect();
    let (mut key, mut range_end) = (key(dice), Bytes::new());
    if !keys.is_empty() && dice.chance(60) {
        key = dice.pick(&keys).clone();
    }
    if dice.chance(20) {
        (key, range_end) = key_range(dice);
    }
    if dice.chance(1) {
        key = Bytes::new();
    }
    let target = dice.pick(&TARGETS);
    let target_union = Some(operand(dice, world, target, world.live.get(&key)));
    let (mut target, mut result) = (target as i32, dice.pick(&RESULTS) as i32);
    if dice.chance(3) {
        // What does not exist is taken, too, and so is an operand of another kind than the target.
        (target, result) = dice.pick(&[(9, result), (target, 9), ((target + 1) % 5, result)]);
    }
    pb::Compare { result, target, key, target_union, range_end }
}

fn operand(dice: &mut Dice, world: &World, target: CompareTarget, pair: Option<&KeyValue>) -> TargetUnion {
    let mut near = |number: fn(&KeyValue) -> i64| pair.map_or(0, number) + dice.pick(&[0, 0, 0, 0, -1, 1]);
    match target {
        CompareTarget::Version => TargetUnion::Version(near(|pair| pair.version)),
        CompareTarget::Create => TargetUnion::CreateRevision(near(|pair| pair.create_revision)),
        CompareTarget::Mod => TargetUnion::ModRevision(near(|pair| pair.mod_revision)),
        CompareTarget::Value => match pair {
            Some(pair) if dice.chance(60) => TargetUnion::Value(pair.value.clone()),
            _ => TargetUnion::Value(value(dice)),
        },
        CompareTarget::Lease => match pair {
            Some(pair) if dice.chance(60) => TargetUnion::Lease(pair.lease),
            _ => TargetUnion::Lease(lease_of(dice, world)),
        },
    }
}
