//! Small histories, each about one rule.

use bytes::Bytes;
use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::{Event, KeyValue};

use super::{judge, judge_as};
use crate::check::Witness;
use crate::check::observations::{answered, bytes, failed, header, invoke, put_answered, unknown};
use crate::history::HistoryEvent;

fn put(op: u64, key: &str, value: &str) -> HistoryEvent {
    let put = pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
    invoke(op, u32::try_from(op).expect("small"), Request::Put(put))
}

fn put_with(op: u64, key: &str, lease: i64) -> HistoryEvent {
    let put = pb::PutRequest { key: bytes(key), lease, ..Default::default() };
    invoke(op, u32::try_from(op).expect("small"), Request::Put(put))
}

fn delete(op: u64, key: &str) -> HistoryEvent {
    let delete = pb::DeleteRangeRequest { key: bytes(key), ..Default::default() };
    invoke(op, u32::try_from(op).expect("small"), Request::DeleteRange(delete))
}

fn get(op: u64, serializable: bool) -> HistoryEvent {
    let range = pb::RangeRequest { key: bytes("k"), serializable, ..Default::default() };
    invoke(op, u32::try_from(op).expect("small"), Request::Range(range))
}

fn got(op: u64, revision: i64, kv: Option<KeyValue>) -> HistoryEvent {
    let count = i64::from(kv.is_some());
    let kvs = kv.into_iter().collect();
    answered(op, Response::Range(pb::RangeResponse { header: header(1, revision), kvs, more: false, count }))
}

fn kv(value: &str, create_revision: i64, mod_revision: i64, version: i64) -> KeyValue {
    KeyValue { key: bytes("k"), value: bytes(value), create_revision, mod_revision, version, lease: 0 }
}

fn revision(kvs: &[KeyValue]) -> HistoryEvent {
    let events: Vec<Event> = kvs
        .iter()
        .map(|kv| Event { r#type: i32::from(kv.version == 0), kv: Some(kv.clone()), prev_kv: None })
        .collect();
    HistoryEvent::Revision { revision: kvs[0].mod_revision, events: events.into() }
}

fn gone(key: &str, mod_revision: i64) -> KeyValue {
    KeyValue { key: bytes(key), mod_revision, ..Default::default() }
}

fn refusal(history: &[HistoryEvent]) -> String {
    judge(history).expect_err("a violation")
}

#[test]
fn a_read_that_misses_a_write_acknowledged_before_it_began_is_stale() {
    let history = |serializable| {
        vec![put(1, "k", "a"), revision(&[kv("a", 2, 2, 1)]), put_answered(1, 2), get(2, serializable), got(2, 1, None)]
    };
    assert!(refusal(&history(false)).contains("existed before it began"));
    assert_eq!(judge(&history(true)), Ok(()));
}

#[test]
fn a_read_that_overlaps_a_write_may_see_it_or_not() {
    let told = |revision_seen: i64, kv_seen: Option<KeyValue>| {
        judge(&[
            put(1, "k", "a"),
            get(2, false),
            revision(&[kv("a", 2, 2, 1)]),
            put_answered(1, 2),
            got(2, revision_seen, kv_seen),
        ])
    };
    assert_eq!(told(1, None), Ok(()));
    assert_eq!(told(2, Some(kv("a", 2, 2, 1))), Ok(()));
    assert!(told(2, None).is_err());
    assert!(told(1, Some(kv("a", 2, 2, 1))).is_err());
}

#[test]
fn an_answer_from_a_revision_that_does_not_exist_is_refused() {
    let history = [put(1, "k", "a"), put_answered(1, 2), revision(&[kv("a", 2, 2, 1)])];
    assert!(refusal(&history).contains("the newest is 1"));
    // A recorded witness may tell late.
    assert_eq!(judge_as(Witness::Recorded, &history), Ok(()));
    assert!(judge_as(Witness::Recorded, &history[..2]).is_err());
}

#[test]
fn a_revision_without_an_operation_is_refused_and_one_of_unknown_outcome_is_enough() {
    let history = |value: &str| vec![put(1, "k", value), unknown(1), revision(&[kv("a", 2, 2, 1)])];
    assert_eq!(judge(&history("a")), Ok(()));
    assert!(refusal(&history("b")).contains("belongs to no operation"));
    assert!(refusal(&history("a")[2..]).contains("belongs to no operation"));
}

#[test]
fn an_operation_of_unknown_outcome_may_take_effect_much_later_but_only_once() {
    let mut history = vec![put(1, "k", "a"), unknown(1), put(2, "k", "b"), revision(&[kv("b", 2, 2, 1)])];
    history.extend([put_answered(2, 2), revision(&[kv("a", 2, 3, 2)])]);
    assert_eq!(judge(&history), Ok(()));
    history.push(revision(&[kv("a", 2, 4, 3)]));
    assert!(refusal(&history).contains("belongs to no operation"));
}

#[test]
fn an_operation_cannot_take_effect_before_it_began() {
    let history = [revision(&[kv("a", 2, 2, 1)]), put(1, "k", "a"), unknown(1)];
    assert!(refusal(&history).contains("belongs to no operation"));
}

#[test]
fn owners_of_unknown_outcome_are_exchanged_when_that_makes_room() {
    // The deletion of any key fits the first revision as well; only the other order fits both.
    let any = pb::DeleteRangeRequest { key: bytes("a"), range_end: bytes("\0"), prev_kv: false };
    let of = |key: &str, mod_revision, version| KeyValue {
        key: bytes(key),
        create_revision: mod_revision,
        mod_revision,
        version,
        ..Default::default()
    };
    let mut history = Vec::new();
    for (op, key) in [(1, "k"), (2, "l")] {
        let at = i64::try_from(op).expect("small") + 1;
        history.extend([put(op, key, ""), revision(&[of(key, at, 1)]), put_answered(op, at)]);
    }
    history.extend([invoke(3, 3, Request::DeleteRange(any)), unknown(3), delete(4, "l"), unknown(4)]);
    history.extend([revision(&[gone("l", 4)]), revision(&[gone("k", 5)])]);
    assert_eq!(judge(&history), Ok(()));
    history.extend([put(5, "k", ""), revision(&[of("k", 6, 1)]), put_answered(5, 6), revision(&[gone("k", 7)])]);
    assert!(refusal(&history).contains("revision 7 belongs to no operation"));
}

#[test]
fn a_failed_write_never_owns_a_revision() {
    let history = [put(1, "k", "a"), revision(&[kv("a", 2, 2, 1)]), failed(1, Status::NoLeader)];
    assert!(refusal(&history).contains("belongs to no operation"));
}

#[test]
fn two_acknowledged_writes_cannot_share_a_revision() {
    let history =
        [put(1, "k", "a"), put(2, "k", "a"), revision(&[kv("a", 2, 2, 1)]), put_answered(1, 2), put_answered(2, 2)];
    assert!(refusal(&history).contains("which operation 1 made"));
}

fn grant(op: u64, id: i64) -> [HistoryEvent; 2] {
    let told = pb::LeaseGrantResponse { header: header(1, 1), id, ttl: 5, error: String::new() };
    [invoke(op, 9, Request::LeaseGrant(pb::LeaseGrantRequest { ttl: 5, id })), answered(op, Response::LeaseGrant(told))]
}

fn leased(key: &str, at: i64, lease: i64) -> KeyValue {
    KeyValue { key: bytes(key), value: Bytes::new(), create_revision: at, mod_revision: at, version: 1, lease }
}

#[test]
fn the_end_of_a_lease_owns_a_revision_that_deletes_all_its_keys_in_byte_order() {
    let mut history = grant(1, 7).to_vec();
    history.extend([put_with(2, "a", 7), revision(&[leased("a", 2, 7)]), put_answered(2, 2)]);
    history.extend([put_with(3, "b", 7), revision(&[leased("b", 3, 7)]), put_answered(3, 3)]);
    let told = |end: &[KeyValue]| {
        let mut history = history.clone();
        history.push(revision(end));
        judge(&history)
    };
    assert_eq!(told(&[gone("a", 4), gone("b", 4)]), Ok(()));
    assert!(told(&[gone("b", 4), gone("a", 4)]).is_err());
    assert!(told(&[gone("a", 4)]).is_err());
}

fn keys_of(op: u64, lease: i64) -> HistoryEvent {
    invoke(op, 9, Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id: lease, keys: true }))
}

fn has_keys(op: u64, at: i64, ttl: i64, granted_ttl: i64, keys: &[&str]) -> HistoryEvent {
    let keys = keys.iter().map(|key| bytes(key)).collect();
    answered(
        op,
        Response::LeaseTimeToLive(pb::LeaseTimeToLiveResponse { header: header(1, at), id: 7, ttl, granted_ttl, keys }),
    )
}

#[test]
fn what_is_told_of_a_lease_is_that_of_one_revision() {
    let mut begun = grant(1, 7).to_vec();
    begun.extend([put_with(2, "b", 7), revision(&[leased("b", 2, 7)]), put_answered(2, 2)]);
    begun.extend([put_with(3, "a", 7), revision(&[leased("a", 3, 7)]), put_answered(3, 3)]);
    begun.extend([put_with(4, "b", 0), revision(&[KeyValue { create_revision: 2, version: 2, ..leased("b", 4, 0) }])]);
    let told = |answer| judge(&[&begun[..], &[keys_of(5, 7), answer]].concat());
    for (at, keys) in [(1, &[][..]), (2, &["b"]), (3, &["a", "b"]), (4, &["a"])] {
        assert_eq!(told(has_keys(5, at, 9, 10, keys)), Ok(()), "{at}");
    }
    let wrong = told(has_keys(5, 4, 9, 10, &["a", "b"])).expect_err("b has left it");
    assert!(wrong.ends_with("at revision 4 it has the keys [\"a\" \"b\"], not [\"a\"]"), "{wrong}");
    assert_eq!(told(has_keys(5, 3, 9, 10, &["b", "a"])), Ok(()), "in any order");
    assert!(told(has_keys(5, 3, 9, 10, &["a", "b", "a"])).is_err(), "one is there twice");
    assert!(told(has_keys(5, 3, 9, 10, &["a"])).is_err(), "one is missing");
    assert_eq!(told(has_keys(5, 4, -1, 0, &[])), Ok(()), "unknown: nothing is told");
    assert!(told(has_keys(5, 4, -1, 10, &[])).is_err(), "its end is due, but it is there with its keys");
}

#[test]
fn leases_that_nobody_asked_for_are_not_listed() {
    let list = |id| {
        let leases = vec![pb::LeaseStatus { id }];
        let told = pb::LeaseLeasesResponse { header: header(1, 1), leases };
        [invoke(2, 9, Request::LeaseLeases(pb::LeaseLeasesRequest {})), answered(2, Response::LeaseLeases(told))]
    };
    let begun = grant(1, 7);
    assert_eq!(judge(&[&begun[..], &list(7)].concat()), Ok(()));
    assert!(refusal(&[&begun[..], &list(8)].concat()).contains("it lists lease 8, which nobody asked for"));
}

#[test]
fn a_put_with_a_lease_that_was_revoked_before_it_began_is_refused() {
    let revoke = [
        invoke(2, 9, Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 7 })),
        answered(2, Response::LeaseRevoke(pb::LeaseRevokeResponse { header: header(1, 1) })),
    ];
    let write = [put_with(3, "a", 7), revision(&[leased("a", 2, 7)]), put_answered(3, 2)];
    let [granted, revoked, written] = [grant(1, 7).to_vec(), revoke.to_vec(), write.to_vec()];
    assert!(refusal(&[granted.clone(), revoked.clone(), written.clone()].concat()).contains("was revoked before"));
    let again = grant(4, 7).to_vec();
    assert_eq!(judge(&[granted.clone(), revoked, again, written.clone()].concat()), Ok(()));
    assert!(refusal(&written).contains("nobody asked for"));
    assert_eq!(judge(&[granted, written].concat()), Ok(()));
}

fn compact(op: u64, at: i64) -> HistoryEvent {
    invoke(op, 9, Request::Compact(pb::CompactionRequest { revision: at, physical: false }))
}

fn compacted(op: u64, revision: i64) -> HistoryEvent {
    answered(op, Response::Compact(pb::CompactionResponse { header: header(1, revision) }))
}

fn get_at(op: u64, at: i64) -> HistoryEvent {
    invoke(op, 8, Request::Range(pb::RangeRequest { key: bytes("k"), revision: at, ..Default::default() }))
}

#[test]
fn a_compacted_revision_cannot_be_read_and_the_compaction_s_own_can() {
    let start = vec![
        put(1, "k", "a"),
        revision(&[kv("a", 2, 2, 1)]),
        put_answered(1, 2),
        put(2, "k", "b"),
        revision(&[kv("b", 2, 3, 2)]),
        put_answered(2, 3),
    ];
    let told = |more: &[HistoryEvent]| judge(&[start.clone(), more.to_vec()].concat());
    let (read_2, read_3) = (got(4, 3, Some(kv("a", 2, 2, 1))), got(4, 3, Some(kv("b", 2, 3, 2))));
    assert_eq!(told(&[get_at(4, 2), read_2.clone()]), Ok(()));
    assert_eq!(told(&[compact(3, 2), compacted(3, 3), get_at(4, 2), read_2.clone()]), Ok(()));
    assert!(told(&[compact(3, 3), compacted(3, 3), get_at(4, 2), read_2.clone()]).is_err());
    assert_eq!(told(&[compact(3, 3), compacted(3, 3), get_at(4, 3), read_3]), Ok(()));
    // One of unknown outcome may have happened, or not.
    assert_eq!(told(&[compact(3, 3), unknown(3), get_at(4, 2), read_2]), Ok(()));
    assert_eq!(told(&[compact(3, 3), unknown(3), get_at(4, 2), failed(4, Status::Compacted)]), Ok(()));
    assert!(told(&[get_at(4, 2), failed(4, Status::Compacted)]).is_err());
    assert!(told(&[compact(3, 3), compacted(3, 3), get_at(4, 3), failed(4, Status::Compacted)]).is_err());
    // The same revision twice, or one that does not exist.
    assert!(told(&[compact(3, 3), compacted(3, 3), compact(4, 3), compacted(4, 3)]).is_err());
    assert_eq!(told(&[compact(3, 3), compacted(3, 3), compact(4, 3), failed(4, Status::Compacted)]), Ok(()));
    assert!(told(&[compact(3, 4), compacted(3, 3)]).is_err());
    assert_eq!(told(&[compact(3, 4), failed(3, Status::FutureRevision)]), Ok(()));
}

#[test]
fn a_refusal_needs_its_reason() {
    let future = |at| judge(&[get_at(1, at), failed(1, Status::FutureRevision)]);
    assert_eq!(future(2), Ok(()));
    assert!(future(1).is_err());
    assert!(judge(&[put(1, "k", "a"), failed(1, Status::EmptyKey)]).is_err());
    assert_eq!(judge(&[put(1, "", "a"), failed(1, Status::EmptyKey)]), Ok(()));
    assert!(judge(&[put(1, "k", "a"), failed(1, Status::LeaseNotFound)]).is_err());
    assert_eq!(judge(&[put_with(1, "k", 7), failed(1, Status::LeaseNotFound)]), Ok(()));
    let ignore = pb::PutRequest { key: bytes("k"), ignore_value: true, ..Default::default() };
    let ignore = invoke(2, 2, Request::Put(ignore));
    assert_eq!(judge(&[ignore.clone(), failed(2, Status::KeyNotFound)]), Ok(()));
    let exists = [put(1, "k", "a"), revision(&[kv("a", 2, 2, 1)]), put_answered(1, 2)];
    assert!(judge(&[exists.to_vec(), vec![ignore, failed(2, Status::KeyNotFound)]].concat()).is_err());
    let again = |seconds: bool| {
        let first = if seconds { grant(1, 7).to_vec() } else { Vec::new() };
        let second = invoke(2, 2, Request::LeaseGrant(pb::LeaseGrantRequest { ttl: 5, id: 7 }));
        judge(&[first, vec![second, failed(2, Status::LeaseExists)]].concat())
    };
    assert_eq!(again(true), Ok(()));
    assert!(again(false).is_err());
}

#[test]
fn a_request_that_had_to_be_refused_must_not_succeed() {
    let twice = pb::TxnRequest { success: vec![put_op("k", "a"), put_op("k", "b")], ..Default::default() };
    let told = pb::TxnResponse { header: header(1, 2), succeeded: true, responses: vec![put_done(2), put_done(2)] };
    let history = [invoke(1, 1, Request::Txn(twice)), revision(&[kv("b", 2, 2, 1)]), answered(1, Response::Txn(told))];
    assert!(refusal(&history).contains("duplicate key"));
}

fn put_op(key: &str, value: &str) -> pb::RequestOp {
    let put = pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
    pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
}

fn put_done(revision: i64) -> pb::ResponseOp {
    let put = pb::PutResponse { header: header(0, revision), prev_kv: None };
    pb::ResponseOp { response: Some(pb::response_op::Response::ResponsePut(put)) }
}

#[test]
fn half_a_transaction_is_refused() {
    let txn = pb::TxnRequest { success: vec![put_op("k", "a"), put_op("l", "b")], ..Default::default() };
    let told = pb::TxnResponse { header: header(1, 2), succeeded: true, responses: vec![put_done(2), put_done(2)] };
    let other = KeyValue { key: bytes("l"), ..kv("b", 2, 2, 1) };
    let history = |kvs: &[KeyValue]| {
        judge(&[invoke(1, 1, Request::Txn(txn.clone())), revision(kvs), answered(1, Response::Txn(told.clone()))])
    };
    assert_eq!(history(&[kv("a", 2, 2, 1), other.clone()]), Ok(()));
    assert!(history(&[kv("a", 2, 2, 1)]).is_err());
    assert!(history(&[other, kv("a", 2, 2, 1)]).is_err());
}

#[test]
fn nothing_is_written_in_the_revision_of_the_empty_store() {
    assert!(refusal(&[put(1, "k", "a"), put_answered(1, 1)]).contains("the empty store"));
}

#[test]
fn a_compaction_at_a_revision_that_never_was_excuses_nothing_and_forbids_nothing() {
    let read = |at| {
        let range = pb::RangeRequest { key: bytes("k"), revision: at, ..Default::default() };
        let op = pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(range)) };
        invoke(2, 2, Request::Txn(pb::TxnRequest { success: vec![op], ..Default::default() }))
    };
    // Inside a transaction a negative revision is older than the sentinel of a store that was never compacted.
    let told = |at| judge(&[compact(1, -4), unknown(1), read(at), failed(2, Status::Compacted)]);
    assert_eq!(told(-3), Ok(()));
    assert!(told(-1).is_err());
}

#[test]
fn a_verdict_names_the_operation_that_forbids_the_order() {
    let mut history = vec![put(1, "k", "a"), revision(&[kv("a", 2, 2, 1)]), put_answered(1, 2)];
    history.extend([get(2, false), got(2, 1, None)]);
    assert!(refusal(&history).contains("operation 1 had been answered with it"));
    let twice = [compact(3, 2), compacted(3, 2), compact(4, 2), compacted(4, 2)];
    let history = [&history[..3], &twice[..]].concat();
    assert!(refusal(&history).contains("2 was compacted before it began, by operation 3"));
}
