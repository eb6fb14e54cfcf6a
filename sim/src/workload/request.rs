//! From a planned operation to a request: what is left open depends on what the client has seen.

use bytes::{BufMut, Bytes, BytesMut};
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::types::Revision;

use super::seen::Seen;
use super::{OpKind, PlannedOp, Workload, below_i64, lease_id};
use crate::weather::{below, nth, permille};

/// More digits no number has.
const DIGITS_MAX: usize = 20;

/// How many keys there are that few operations touch.
const WIDE_KEYS: u64 = 400;

/// The request of an operation.
///
/// # Panics
/// If the operation is a watch or a session: these are no calls.
pub fn request(op: &PlannedOp, load: &Workload, seen: &mut Seen) -> Request {
    let key = || key(nth(op.draw, 0), load);
    match op.kind {
        OpKind::Put => Request::Put(keeping(put(op, load, 0), nth(op.draw, 8))),
        OpKind::Get => Request::Range(get(key(), op.draw)),
        OpKind::Range => Request::Range(filtered(range(op.draw, load), nth(op.draw, 12), seen)),
        OpKind::History => Request::Range(filtered(history(op.draw, load, seen), nth(op.draw, 12), seen)),
        OpKind::Serializable => {
            let range = if permille(nth(op.draw, 1), 700) { get(key(), op.draw) } else { range(op.draw, load) };
            Request::Range(pb::RangeRequest { serializable: true, ..range })
        }
        OpKind::Delete => Request::DeleteRange(delete(key(), op.draw)),
        OpKind::DeleteRange => {
            let (key, range_end) = span(nth(op.draw, 0), load);
            Request::DeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv: permille(nth(op.draw, 2), 300) })
        }
        OpKind::CompareAndSwap => Request::Txn(compare_and_swap(op, load, seen.in_order())),
        OpKind::MultiTxn => Request::Txn(multi_txn(op, load, seen.in_order(), 0)),
        OpKind::ReadTxn => Request::Txn(read_txn(op.draw, load, seen.in_order())),
        OpKind::NestedTxn => Request::Txn(nested_txn(op, load, seen.in_order())),
        OpKind::Compact => Request::Compact(compact(op.draw, seen)),
        OpKind::LeaseGrant { lease, ttl_s } => Request::LeaseGrant(pb::LeaseGrantRequest { ttl: ttl_s, id: lease }),
        OpKind::LeaseAttach { lease } => Request::Put(pb::PutRequest { lease, ..put(op, load, 0) }),
        OpKind::LeaseKeepAlive { lease } => Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: lease }),
        OpKind::LeaseTimeToLive { lease } => {
            Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id: lease, keys: permille(nth(op.draw, 1), 500) })
        }
        OpKind::LeaseRevoke { lease } => Request::LeaseRevoke(pb::LeaseRevokeRequest { id: lease }),
        OpKind::LeaseLeases => Request::LeaseLeases(pb::LeaseLeasesRequest {}),
        OpKind::MemberList => Request::MemberList(pb::MemberListRequest { linearizable: true }),
        OpKind::HashKv => Request::HashKv(hash_kv(op.draw, seen)),
        OpKind::Alarm { member } => Request::Alarm(alarm(op.draw, load, member)),
        OpKind::AlarmOff { member } => Request::Alarm(pb::AlarmRequest {
            action: pb::alarm_request::AlarmAction::Deactivate.into(),
            ..alarm(op.draw, load, member)
        }),
        OpKind::Watch { .. } | OpKind::LockSession { .. } => unreachable!("this is no call"),
    }
}

/// Two of three are put on, the others listed. Where there are no leases, some are of the kind that forbids even that
/// leases end.
fn alarm(draw: u64, load: &Workload, member_id: u64) -> pb::AlarmRequest {
    use pb::alarm_request::AlarmAction;
    let action = if below(nth(draw, 5), 3) > 0 { AlarmAction::Activate } else { AlarmAction::Get };
    let is_corrupt = load.mix.lease == 0 && below(nth(draw, 6), 3) == 0;
    let alarm = if is_corrupt { pb::AlarmType::Corrupt } else { pb::AlarmType::Nospace };
    pb::AlarmRequest { action: action.into(), member_id, alarm: alarm.into() }
}

/// Of the present, or of a revision that was seen, which may be compacted meanwhile.
fn hash_kv(draw: u64, seen: &Seen) -> pb::HashKvRequest {
    let revision = if permille(nth(draw, 1), 500) { 0 } else { seen.older(nth(draw, 2), 40) };
    pb::HashKvRequest { revision }
}

/// The write that proves that the cluster makes progress again where alarms may be on: it puts one off.
pub fn probe_alarm(member_id: u64) -> Request {
    let action = pb::alarm_request::AlarmAction::Deactivate.into();
    Request::Alarm(pb::AlarmRequest { action, member_id, alarm: pb::AlarmType::Nospace.into() })
}

/// The write that proves that the cluster makes progress again.
pub fn probe_put(id: u64) -> Request {
    let key = Bytes::from_static(b"probe");
    Request::Put(pb::PutRequest { key, value: padded(id, 0, 0), ..Default::default() })
}

/// What a watch asks for first.
pub fn watch_create(draw: u64, load: &Workload, seen: &Seen) -> pb::WatchCreateRequest {
    let (key, range_end) = match below(nth(draw, 0), 4) {
        0 => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
        1 => span(nth(draw, 1), load),
        _ => (key(nth(draw, 1), load), Bytes::new()),
    };
    let start_revision = match below(nth(draw, 2), 6) {
        0..=2 => 0,
        3 | 4 => seen.older(nth(draw, 3), 60),
        _ => seen.revision + 1 + below_i64(nth(draw, 3), 20),
    };
    let filters = match below(nth(draw, 4), 12) {
        0 => vec![pb::watch_create_request::FilterType::Noput as i32],
        1 => vec![pb::watch_create_request::FilterType::Nodelete as i32],
        2 => vec![1, 0],
        _ => Vec::new(),
    };
    pb::WatchCreateRequest {
        key,
        range_end,
        start_revision,
        filters,
        progress_notify: permille(nth(draw, 5), 500),
        prev_kv: permille(nth(draw, 6), 400),
        fragment: permille(nth(draw, 7), 400),
        ..Default::default()
    }
}

/// Mostly a hot key, sometimes one of many.
fn key(draw: u64, load: &Workload) -> Bytes {
    let mut key = Vec::with_capacity(8);
    write_key(draw, load, &mut key);
    Bytes::from(key)
}

fn write_key(draw: u64, load: &Workload, out: &mut Vec<u8>) {
    if permille(nth(draw, 0), 900) {
        write_hot_key(below(nth(draw, 1), load.keys), out);
    } else {
        out.extend_from_slice(format!("wide/{:03}", below(nth(draw, 1), WIDE_KEYS)).as_bytes());
    }
}

/// One of the keys that most operations are about.
fn hot_key(number: u64) -> Bytes {
    let mut key = Vec::with_capacity(8);
    write_hot_key(number, &mut key);
    Bytes::from(key)
}

fn write_hot_key(number: u64, out: &mut Vec<u8>) {
    out.push(b'k');
    write_digits(number, out);
}

/// Writes a number in decimal digits; without the machinery that formats anything, for every write has some.
fn write_digits(number: u64, out: &mut Vec<u8>) {
    if number < 10 {
        return out.push(b'0' + number as u8);
    }
    let mut digits = [0; DIGITS_MAX];
    let (mut rest, mut place) = (number, DIGITS_MAX);
    loop {
        place -= 1;
        digits[place] = b'0' + u8::try_from(rest % 10).expect("one digit");
        rest /= 10;
        if rest == 0 {
            return out.extend_from_slice(&digits[place..]);
        }
    }
}

/// A range of keys, in each of etcd's ways to say one.
fn span(draw: u64, load: &Workload) -> (Bytes, Bytes) {
    let hot = |n: u64| hot_key(below(nth(draw, n), load.keys));
    match below(nth(draw, 0), 5) {
        0 => (Bytes::from_static(b"k"), Bytes::from_static(b"l")),
        1 => (hot(1), Bytes::from_static(b"\0")),
        2 => (hot(1).min(hot(2)), hot(1).max(hot(2))),
        3 => (Bytes::from_static(b"wide/1"), Bytes::from_static(b"wide/2")),
        _ => {
            let mut end = BytesMut::from(&hot(1)[..]);
            end.put_u8(0);
            (hot(1), end.freeze())
        }
    }
}

/// A value that no other write of the run has.
fn value(id: u64, place: u64, load: &Workload) -> Bytes {
    padded(id, place, value_bytes(id, place, load))
}

/// How long the value of a write is at least; now and then it is a long one.
fn value_bytes(id: u64, place: u64, load: &Workload) -> u64 {
    let draw = nth(id, place);
    let is_long = permille(draw, load.long_values_permille);
    load.value_bytes + if is_long { 500 + below(nth(draw, 0), 4_000) } else { 0 }
}

/// A value of at least so many bytes that no other operation or place in it has.
pub fn padded(id: u64, place: u64, bytes: u64) -> Bytes {
    let mut text = Vec::new();
    write_padded(id, place, bytes, &mut text);
    Bytes::from(text)
}

fn write_padded(id: u64, place: u64, bytes: u64, out: &mut Vec<u8>) {
    let end = out.len() + usize::try_from(bytes).expect("a value fits into memory");
    write_digits(id, out);
    out.push(b'.');
    write_digits(place, out);
    out.resize(end.max(out.len()), b'.');
}

/// Key and value are parts of one message, as in what a server receives.
fn put(op: &PlannedOp, load: &Workload, place: u64) -> pb::PutRequest {
    let bytes = value_bytes(op.id, place, load);
    let mut text = Vec::with_capacity(128);
    write_key(nth(op.draw, 16 * place), load, &mut text);
    let key_bytes = text.len();
    write_padded(op.id, place, bytes, &mut text);
    let mut key = Bytes::from(text);
    let value = key.split_off(key_bytes);
    pb::PutRequest { key, value, prev_kv: permille(nth(op.draw, 16 * place + 1), 200), ..Default::default() }
}

/// Now and then a put that keeps the value or the lease that the key has, if there is one.
fn keeping(put: pb::PutRequest, draw: u64) -> pb::PutRequest {
    match below(draw, 40) {
        0 => pb::PutRequest { value: Bytes::new(), ignore_value: true, ..put },
        1 => pb::PutRequest { ignore_lease: true, ..put },
        _ => put,
    }
}

fn get(key: Bytes, draw: u64) -> pb::RangeRequest {
    pb::RangeRequest { key, keys_only: permille(nth(draw, 3), 50), ..Default::default() }
}

fn delete(key: Bytes, draw: u64) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key, range_end: Bytes::new(), prev_kv: permille(nth(draw, 2), 300) }
}

fn range(draw: u64, load: &Workload) -> pb::RangeRequest {
    let (key, range_end) = span(nth(draw, 4), load);
    let limit = if permille(nth(draw, 5), 300) { 1 + below_i64(nth(draw, 6), 4) } else { 0 };
    let asked = pb::RangeRequest { key, range_end, limit, ..Default::default() };
    match below(nth(draw, 7), 20) {
        0 | 1 => pb::RangeRequest { count_only: true, ..asked },
        2 => pb::RangeRequest { keys_only: true, ..asked },
        3 | 4 => sorted(asked, nth(draw, 11)),
        _ => asked,
    }
}

/// A range in another order than that of its keys.
fn sorted(asked: pb::RangeRequest, draw: u64) -> pb::RangeRequest {
    let small = |n: u64, bound: u64| i32::try_from(below(nth(draw, n), bound)).expect("a small bound");
    pb::RangeRequest { sort_order: small(0, 3), sort_target: small(1, 5), ..asked }
}

/// Now and then only what was made or changed within some revisions, of which any bound may be left out, and which may
/// be none.
fn filtered(asked: pb::RangeRequest, draw: u64, seen: &Seen) -> pb::RangeRequest {
    if !permille(draw, 150) {
        return asked;
    }
    let bound = |n: u64| if permille(nth(draw, n), 400) { seen.older(nth(draw, 10 + n), 60) } else { 0 };
    pb::RangeRequest {
        min_mod_revision: bound(0),
        max_mod_revision: bound(1),
        min_create_revision: bound(2),
        max_create_revision: bound(3),
        ..asked
    }
}

/// A transaction that only reads, so that it goes past the log; now and then one that any member may answer from what
/// it has.
fn read_txn(draw: u64, load: &Workload, seen: &Seen) -> pb::TxnRequest {
    let serializable = permille(nth(draw, 1), 250);
    let read = |n: u64| {
        let revision = if permille(nth(draw, 20 + n), 200) { past(nth(draw, 30 + n), seen) } else { 0 };
        op_of(Op::RequestRange(pb::RangeRequest { revision, serializable, ..range(nth(draw, 40 + n), load) }))
    };
    pb::TxnRequest {
        compare: (0..below(nth(draw, 2), 3)).map(|n| compare(nth(draw, 60 + n), load, seen)).collect(),
        success: (0..below(nth(draw, 3), 3)).map(read).collect(),
        failure: (10..10 + below(nth(draw, 4), 3)).map(read).collect(),
    }
}

/// A read at an older revision; now and then at one that does not exist yet.
fn history(draw: u64, load: &Workload, seen: &Seen) -> pb::RangeRequest {
    let base = if permille(nth(draw, 8), 500) { get(key(nth(draw, 0), load), draw) } else { range(draw, load) };
    pb::RangeRequest { revision: past(nth(draw, 9), seen), ..base }
}

/// An older revision; now and then one that does not exist yet, or that may just have come to exist.
fn past(draw: u64, seen: &Seen) -> Revision {
    match below(nth(draw, 0), 40) {
        0 => seen.revision + 1_000,
        1..=3 => seen.revision + 1 + below_i64(nth(draw, 1), 8),
        _ => seen.older(nth(draw, 1), 50),
    }
}

fn compact(draw: u64, seen: &Seen) -> pb::CompactionRequest {
    let back = if permille(nth(draw, 1), 300) { 1 } else { 30 };
    pb::CompactionRequest { revision: seen.older(nth(draw, 2), back), physical: permille(nth(draw, 3), 300) }
}

fn compare_mod(key: Bytes, revision: Revision) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Mod as i32,
        key,
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::ModRevision(revision)),
    }
}

/// A condition of any kind, on one key or on some.
fn compare(draw: u64, load: &Workload, seen: &Seen) -> pb::Compare {
    let key = key(nth(draw, 0), load);
    let last = seen.modified(&key);
    if permille(nth(draw, 1), 600) {
        return compare_mod(key, last);
    }
    let result = i32::try_from(below(nth(draw, 2), 4)).expect("a small bound");
    let small = below_i64(nth(draw, 3), 3);
    let (target, operand) = match below(nth(draw, 4), 5) {
        0 => (CompareTarget::Version, TargetUnion::Version(small)),
        1 => (CompareTarget::Create, TargetUnion::CreateRevision(if small == 0 { 0 } else { last })),
        2 => (CompareTarget::Value, TargetUnion::Value(padded(below(draw, 1 << 20), 0, 0))),
        3 => (CompareTarget::Lease, TargetUnion::Lease(0)),
        _ => (CompareTarget::Mod, TargetUnion::ModRevision(seen.older(draw, 50))),
    };
    let (key, range_end) = if permille(nth(draw, 5), 300) { span(nth(draw, 6), load) } else { (key, Bytes::new()) };
    pb::Compare { result, target: target as i32, key, range_end, target_union: Some(operand) }
}

fn op_of(op: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(op) }
}

/// Swap a key's value if it is as the client last saw it; else read it.
fn compare_and_swap(op: &PlannedOp, load: &Workload, seen: &Seen) -> pb::TxnRequest {
    let put = put(op, load, 0);
    let last = seen.modified(&put.key);
    let read = get(put.key.clone(), op.draw);
    pb::TxnRequest {
        compare: vec![compare_mod(put.key.clone(), last)],
        success: vec![op_of(Op::RequestPut(put))],
        failure: vec![op_of(Op::RequestRange(read))],
    }
}

/// Writes two or three hot keys, each once, and reads in between; some only under conditions. Now and then there is
/// something among it that may not be.
fn multi_txn(op: &PlannedOp, load: &Workload, seen: &Seen, place: u64) -> pb::TxnRequest {
    let draw = nth(op.draw, 40 + place);
    let mut success = Vec::new();
    let first = below(nth(draw, 0), load.keys);
    for n in 0..load.keys.min(2 + below(nth(draw, 1), 2)) {
        let key = Bytes::from(format!("k{}", (first + n) % load.keys));
        success.push(op_of(match below(nth(draw, 10 + n), 4) {
            0 => Op::RequestDeleteRange(delete(key, nth(draw, 20 + n))),
            _ => Op::RequestPut(pb::PutRequest { key, value: value(op.id, 8 * place + n, load), ..Default::default() }),
        }));
        if permille(nth(draw, 30 + n), 400) {
            success.push(op_of(Op::RequestRange(range(nth(draw, 40 + n), load))));
        }
    }
    if permille(nth(draw, 5), 120) {
        let at = usize::try_from(below(nth(draw, 6), success.len() as u64 + 1)).expect("a small bound");
        let odd_value = value(op.id, 8 * place + 7, load);
        let odd = odd_op(Bytes::from(format!("k{first}")), odd_value, nth(draw, 7), load, seen);
        success.insert(at, op_of(odd));
    }
    let conditions = below(nth(draw, 2), 4).saturating_sub(1);
    let compare = (0..conditions).map(|n| compare(nth(draw, 60 + n), load, seen)).collect();
    let failure = vec![op_of(Op::RequestRange(range(nth(draw, 4), load)))];
    pb::TxnRequest { compare, success, failure }
}

/// An operation that may make its whole transaction impossible: only the state tells, or it writes what another one
/// writes, too.
fn odd_op(written: Bytes, value: Bytes, draw: u64, load: &Workload, seen: &Seen) -> Op {
    let any = key(nth(draw, 1), load);
    let put = |key: Bytes| pb::PutRequest { key, value: value.clone(), ..Default::default() };
    match below(nth(draw, 0), 6) {
        0 => Op::RequestRange(pb::RangeRequest { revision: past(nth(draw, 2), seen), ..range(draw, load) }),
        1 => Op::RequestPut(pb::PutRequest { lease: lease_id(nth(draw, 2)), ..put(any) }),
        2 => Op::RequestPut(pb::PutRequest { value: Bytes::new(), ignore_value: true, ..put(any) }),
        3 => Op::RequestPut(put(written)),
        4 => {
            let range_end = Bytes::from_static(b"\0");
            Op::RequestDeleteRange(pb::DeleteRangeRequest { key: written, range_end, prev_kv: false })
        }
        _ => {
            let nested = pb::TxnRequest { success: vec![op_of(Op::RequestPut(put(written)))], ..Default::default() };
            Op::RequestTxn(nested)
        }
    }
}

/// A transaction whose one branch has another in it.
fn nested_txn(op: &PlannedOp, load: &Workload, seen: &Seen) -> pb::TxnRequest {
    let inner = multi_txn(op, load, seen, 1);
    let outer_key = Bytes::from(format!("wide/{:03}", below(nth(op.draw, 0), WIDE_KEYS)));
    let put = pb::PutRequest { key: outer_key, value: value(op.id, 0, load), ..Default::default() };
    let key = key(nth(op.draw, 1), load);
    let last = seen.modified(&key);
    let read = op_of(Op::RequestRange(range(nth(op.draw, 2), load)));
    let nested = vec![op_of(Op::RequestPut(put)), op_of(Op::RequestTxn(inner)), read.clone()];
    if permille(nth(op.draw, 3), 500) {
        pb::TxnRequest { compare: vec![compare_mod(key, last)], success: nested, failure: vec![read] }
    } else {
        pb::TxnRequest { compare: vec![compare_mod(key, last)], success: vec![read], failure: nested }
    }
}
