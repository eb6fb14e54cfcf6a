//! Requests of the service KV, without transactions.

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::range_request::{SortOrder, SortTarget};

use super::{few_keys, key, key_range, lease_of, value};
use crate::differential::dice::Dice;
use crate::differential::known::{self, Version};
use crate::differential::step::Step;
use crate::differential::world::World;

/// etcd's `--max-request-bytes` unless it is told otherwise (contract, section 4).
const REQUEST_BYTES_MAX: usize = 1_572_864;

const ORDERS: [SortOrder; 3] = [SortOrder::None, SortOrder::Ascend, SortOrder::Descend];
const TARGETS: [SortTarget; 5] =
    [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value];

/// A range request; each option is on in a part of them, so that they meet each other.
pub(super) fn range(dice: &mut Dice, world: &World, etcd: Version) -> pb::RangeRequest {
    let (key, range_end) = key_range(dice);
    let mut request = pb::RangeRequest { key, range_end, ..Default::default() };
    if dice.chance(1) {
        request.key = Bytes::new();
    }
    if dice.chance(30) {
        request.limit = dice.pick(&[1, 2, 3, 5, 10, 1_000, i64::MAX, -1]);
    }
    if dice.chance(30) {
        request.revision = revision(dice, world);
    }
    if dice.chance(45) {
        request.sort_order = dice.pick(&ORDERS) as i32;
        request.sort_target = dice.pick(&TARGETS) as i32;
        if dice.chance(2) && known::takes_invalid_sorts(etcd) {
            request.sort_order = dice.pick(&[3, -1, 0]);
            request.sort_target = dice.pick(&[5, -1]);
        }
    }
    request.serializable = dice.chance(40);
    request.keys_only = dice.chance(15);
    request.count_only = dice.chance(10);
    if request.keys_only && request.sort_target == SortTarget::Value as i32 {
        // What is sorted by values that are not told is compared where ties have an order: among few keys.
        (request.key, request.range_end) = few_keys(known::STABLE_MAX);
    }
    if dice.chance(20) {
        let bound = |dice: &mut Dice| {
            let odd = dice.chance(5);
            if odd { dice.pick(&[-1, i64::MAX]) } else { dice.between(world.head - 60, world.head + 2) }
        };
        match dice.below(4) {
            0 => request.min_mod_revision = bound(dice),
            1 => request.max_mod_revision = bound(dice),
            2 => request.min_create_revision = bound(dice),
            _ => request.max_create_revision = bound(dice),
        }
        if dice.chance(30) {
            request.max_mod_revision = bound(dice);
            request.min_create_revision = bound(dice).saturating_sub(50);
        }
    }
    request
}

/// A revision of any standing: now, past, compacted, the compacted one itself, future, none at all.
pub(super) fn revision(dice: &mut Dice, world: &World) -> i64 {
    let first = world.compacted.max(1);
    match dice.below(20) {
        0 => world.head + dice.between(1, 3),
        1 => -dice.between(1, 3),
        2 => dice.between(1, first),
        3..=4 => first,
        5..=6 => world.head,
        7..=13 => dice.between(first.max(world.head - 60), world.head),
        _ => dice.between(first, world.head),
    }
}

/// A put.
pub(super) fn put(dice: &mut Dice, world: &World) -> pb::PutRequest {
    let mut request = pb::PutRequest { key: key(dice), value: value(dice), ..Default::default() };
    if dice.chance(1) {
        request.key = Bytes::new();
    }
    if dice.chance(25) {
        request.lease = lease_of(dice, world);
    }
    request.prev_kv = dice.chance(30);
    if dice.chance(12) {
        request.ignore_value = true;
        if dice.chance(90) {
            request.value = Bytes::new();
        }
    }
    if dice.chance(12) {
        request.ignore_lease = true;
        if dice.chance(90) {
            request.lease = 0;
        }
    }
    request
}

/// A deletion. Those of everything are rare, since most requests want to find something.
pub(super) fn delete_range(dice: &mut Dice) -> pb::DeleteRangeRequest {
    let (mut key, mut range_end) = key_range(dice);
    if !range_end.is_empty() && dice.chance(60) {
        range_end = Bytes::new();
    }
    if dice.chance(1) {
        key = Bytes::new();
    }
    pb::DeleteRangeRequest { key, range_end, prev_kv: dice.chance(40) }
}

/// A compaction, usually of a part of the history.
pub(super) fn compaction(dice: &mut Dice, world: &World) -> pb::CompactionRequest {
    let revision = match dice.below(20) {
        0 => dice.between(-2, 0),
        1 => world.head + dice.between(1, 5),
        2 => world.compacted,
        3 => dice.between(0, world.compacted),
        4 => world.head,
        _ => dice.between(world.compacted + 1, world.head - (world.head - world.compacted) / 3),
    };
    pb::CompactionRequest { revision, physical: dice.chance(40) }
}

/// Puts that are just not too long for a proposal, too long for it, and too long for a message (contract, section 1).
pub(super) fn oversize() -> Vec<Step> {
    let key = Bytes::from_static(b"a/long");
    let put = |value_bytes| {
        let (key, value) = (key.clone(), Bytes::from(vec![b'l'; value_bytes]));
        Step::Call(Request::Put(pb::PutRequest { key, value, ..Default::default() }))
    };
    let mut steps = [REQUEST_BYTES_MAX - 200, REQUEST_BYTES_MAX, REQUEST_BYTES_MAX + (512 << 10)].map(put).to_vec();
    steps.push(Step::Call(Request::DeleteRange(pb::DeleteRangeRequest { key, ..Default::default() })));
    steps
}
