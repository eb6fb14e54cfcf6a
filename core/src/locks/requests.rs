//! What conversations ask the store, and what they read from its answers.

use bytes::Bytes;

use crate::api::{Request, Response};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::response_op::Response as OpResponse;
use crate::proto::etcdserverpb::watch_create_request::FilterType;
use crate::proto::mvccpb::KeyValue;
use crate::types::Revision;

/// How long a lease lives that is made because the caller gave none, in seconds (contract, section 1.7).
const LEASE_TTL_S: i64 = 60;

/// What stands between a name and a lease in a key, and so ends every prefix.
const SEPARATOR: u8 = b'/';

/// Everything below this belongs to the lock or election of that name.
pub fn prefix_of(name: &[u8]) -> Bytes {
    [name, &[SEPARATOR]].concat().into()
}

/// The key of the contender with this lease: the prefix, and the lease in hexadecimal digits as Go prints a signed
/// number, with a minus in front of a negative one.
pub fn key_of(prefix: &[u8], lease: i64) -> Bytes {
    let sign = if lease < 0 { "-" } else { "" };
    let digits = format!("{sign}{:x}", lease.unsigned_abs());
    [prefix, digits.as_bytes()].concat().into()
}

/// Makes a lease for a caller without one. The member draws its id.
pub fn grant() -> Request {
    Request::LeaseGrant(pb::LeaseGrantRequest { ttl: LEASE_TTL_S, id: 0 })
}

/// Ends a lease, with its keys.
pub fn revoke(lease: i64) -> Request {
    Request::LeaseRevoke(pb::LeaseRevokeRequest { id: lease })
}

/// Creates a contender's key unless it is there, reads it if it is, and tells in either case whose key was created
/// first.
pub fn enter(prefix: &Bytes, key: &Bytes, value: &Bytes, lease: i64) -> Request {
    let first = op(Op::RequestRange(pb::RangeRequest { keys_only: true, ..first(prefix) }));
    Request::Txn(pb::TxnRequest {
        compare: vec![created_at(key, 0)],
        success: vec![put(key, value, lease), first.clone()],
        failure: vec![op(Op::RequestRange(single(key))), first],
    })
}

/// Reads at one revision who was created last before the contender with this key, and the contender itself.
pub fn look(prefix: &Bytes, key: &Bytes, created: Revision) -> Request {
    let before = pb::RangeRequest {
        max_create_revision: created - 1,
        sort_order: SortOrder::Descend as i32,
        keys_only: true,
        ..first(prefix)
    };
    let own = pb::RangeRequest { keys_only: true, ..single(key) };
    let success = vec![op(Op::RequestRange(before)), op(Op::RequestRange(own))];
    Request::Txn(pb::TxnRequest { success, ..pb::TxnRequest::default() })
}

/// Gives a contender's key another value, if it is still the one that was created then.
pub fn proclaim(key: &Bytes, created: Revision, value: &Bytes, lease: i64) -> Request {
    let (compare, success) = (vec![created_at(key, created)], vec![put(key, value, lease)]);
    Request::Txn(pb::TxnRequest { compare, success, failure: Vec::new() })
}

/// Deletes a contender's key, if it is still the one that was created then.
pub fn resign(key: &Bytes, created: Revision) -> Request {
    let delete = pb::DeleteRangeRequest { key: key.clone(), ..pb::DeleteRangeRequest::default() };
    let (compare, success) = (vec![created_at(key, created)], vec![op(Op::RequestDeleteRange(delete))]);
    Request::Txn(pb::TxnRequest { compare, success, failure: Vec::new() })
}

/// Reads the key below the prefix that was created first.
pub fn first(prefix: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest {
        key: prefix.clone(),
        range_end: end_of(prefix),
        limit: 1,
        sort_order: SortOrder::Ascend as i32,
        sort_target: SortTarget::Create as i32,
        ..pb::RangeRequest::default()
    }
}

/// Watches a key from this revision on, and skips what the filter names.
pub fn watch_key(key: &Bytes, from: Revision, skip: Option<FilterType>) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest {
        key: key.clone(),
        start_revision: from,
        filters: skip.map(|filter| filter as i32).into_iter().collect(),
        ..pb::WatchCreateRequest::default()
    }
}

/// Watches everything below a prefix from this revision on for keys that are written.
pub fn watch_prefix(prefix: &Bytes, from: Revision) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { range_end: end_of(prefix), ..watch_key(prefix, from, Some(FilterType::Nodelete)) }
}

fn end_of(prefix: &Bytes) -> Bytes {
    let name = prefix.strip_suffix(&[SEPARATOR]).expect("a prefix ends with the separator");
    [name, &[SEPARATOR + 1]].concat().into()
}

fn created_at(key: &Bytes, revision: Revision) -> pb::Compare {
    pb::Compare {
        result: CompareResult::Equal as i32,
        target: CompareTarget::Create as i32,
        key: key.clone(),
        range_end: Bytes::new(),
        target_union: Some(TargetUnion::CreateRevision(revision)),
    }
}

fn put(key: &Bytes, value: &Bytes, lease: i64) -> pb::RequestOp {
    let (key, value) = (key.clone(), value.clone());
    op(Op::RequestPut(pb::PutRequest { key, value, lease, ..pb::PutRequest::default() }))
}

fn single(key: &Bytes) -> pb::RangeRequest {
    pb::RangeRequest { key: key.clone(), ..pb::RangeRequest::default() }
}

fn op(op: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(op) }
}

/// The transaction's answer.
pub fn txn_of(response: Response) -> pb::TxnResponse {
    match response {
        Response::Txn(txn) => txn,
        other => unreachable!("a transaction is answered by a transaction, not {other:?}"),
    }
}

/// The lease that was granted.
pub fn lease_of(response: &Response) -> i64 {
    match response {
        Response::LeaseGrant(granted) => granted.id,
        other => unreachable!("a grant is answered by a grant, not {other:?}"),
    }
}

/// What the range at this place of a transaction found, of at most one key.
pub fn found_at(txn: &pb::TxnResponse, place: usize) -> Option<&KeyValue> {
    match txn.responses.get(place).map(|response| &response.response) {
        Some(Some(OpResponse::ResponseRange(found))) => found.kvs.first(),
        other => unreachable!("a range is answered by a range, not {other:?}"),
    }
}

/// The revision in an answer's header.
pub fn revision_of(header: Option<&pb::ResponseHeader>) -> Revision {
    header.expect("every answer has a header").revision
}
