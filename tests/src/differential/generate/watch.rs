//! Requests on watch streams.

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::watch_create_request::FilterType;
use detcd_core::proto::etcdserverpb::watch_request::RequestUnion;

use super::{end_of_prefix, key_range};
use crate::differential::dice::Dice;
use crate::differential::known::{self, Version};
use crate::differential::step::Step;
use crate::differential::world::{STREAMS, World};

/// A stream with so many watchers gets no more.
const WATCHERS_MAX: usize = 6;

/// How long each of the values is that are too long to be sent together: three and a half of them are more than a
/// message may carry before it is cut (contract, section 1.2).
const LONG_VALUE_BYTES: usize = 600 << 10;

/// The stream that such values are watched on.
const FRAGMENTS_STREAM: usize = 0;

/// The id that their watcher asks for; nobody else does.
const FRAGMENTS_ID: i64 = 7_000_000;

/// A request on one of the streams.
pub(super) fn watch(dice: &mut Dice, world: &World, etcd: Version) -> Step {
    let stream = usize::try_from(dice.below(STREAMS as u64)).expect("few streams");
    let ids: Vec<i64> = world.watchers[stream].iter().copied().collect();
    let full = ids.len() >= WATCHERS_MAX;
    let union = match dice.below(100) {
        0..=64 if !full => RequestUnion::CreateRequest(create(dice, world, etcd, &ids)),
        0..=84 => {
            let watch_id = if ids.is_empty() || dice.chance(10) { 4_321 } else { dice.pick(&ids) };
            RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })
        }
        85..=95 => RequestUnion::ProgressRequest(pb::WatchProgressRequest {}),
        96 => return Step::Watch { stream, request: pb::WatchRequest { request_union: None } },
        _ => return Step::Reopen { stream },
    };
    Step::Watch { stream, request: pb::WatchRequest { request_union: Some(union) } }
}

fn create(dice: &mut Dice, world: &World, etcd: Version, taken: &[i64]) -> pb::WatchCreateRequest {
    let (mut key, range_end) = key_range(dice);
    if dice.chance(5) {
        key = Bytes::new();
    }
    let filters = match dice.below(10) {
        0 => vec![FilterType::Noput as i32],
        1 => vec![FilterType::Nodelete as i32],
        2 => vec![FilterType::Nodelete as i32, FilterType::Noput as i32],
        // What does not exist filters nothing.
        3 => vec![9],
        _ => Vec::new(),
    };
    let watch_id = match dice.below(10) {
        0 if !taken.is_empty() => dice.pick(taken),
        1..=2 => dice.pick(&[1, 2, 3, 100, -3, i64::MAX]),
        _ => 0,
    };
    pb::WatchCreateRequest {
        key,
        range_end,
        start_revision: start_revision(dice, world, etcd),
        progress_notify: dice.chance(20),
        filters,
        prev_kv: dice.chance(50),
        watch_id,
        fragment: dice.chance(20),
    }
}

/// Where a watcher begins: now, in the future, in the past that can be read, at its edge, or before it.
fn start_revision(dice: &mut Dice, world: &World, etcd: Version) -> i64 {
    let first = world.compacted.max(1);
    match dice.below(20) {
        0 if known::refuses_negative_starts(etcd) => -1,
        0..=7 => 0,
        8..=10 => world.head + dice.between(1, 20),
        11..=12 => first,
        13 => dice.between(1, first),
        14..=17 => dice.between(first.max(world.head - 100), world.head),
        _ => dice.between(first, world.head),
    }
}

/// A watcher that takes fragments, and a deletion of values that are too long together for one message.
pub(super) fn fragments() -> Vec<Step> {
    let key = Bytes::from_static(b"long/");
    let range_end = end_of_prefix(&key);
    let on_stream =
        |union| Step::Watch { stream: FRAGMENTS_STREAM, request: pb::WatchRequest { request_union: Some(union) } };
    let put = |number: u8| {
        let key = Bytes::from([&key[..], &[b'0' + number]].concat());
        let value = Bytes::from(vec![b'l'; LONG_VALUE_BYTES]);
        Step::Call(Request::Put(pb::PutRequest { key, value, ..Default::default() }))
    };
    let create = pb::WatchCreateRequest {
        key: key.clone(),
        range_end: range_end.clone(),
        watch_id: FRAGMENTS_ID,
        fragment: true,
        prev_kv: true,
        ..Default::default()
    };
    let mut steps = vec![on_stream(RequestUnion::CreateRequest(create))];
    steps.extend((0..5).map(put));
    steps.push(Step::Call(Request::DeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: false })));
    let cancel = pb::WatchCancelRequest { watch_id: FRAGMENTS_ID };
    steps.push(on_stream(RequestUnion::CancelRequest(cancel)));
    steps
}
