//! What is wrong with a request by itself, whatever the store holds (contract, sections 1.1 and 1.3).

use std::collections::BTreeSet;

use bytes::Bytes;
use detcd_core::api::{Request, Status};
use detcd_core::proto::etcdserverpb as pb;
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request as Op;

use super::KeyRange;

/// The longest lease, in seconds.
const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// Every reason for which etcd may refuse `request` before it looks at the store. `txn_ops_max` is `--max-txn-ops`.
///
/// In no order, some maybe twice: which of several is answered first is not part of the contract.
pub(crate) fn defects(request: &Request, txn_ops_max: usize) -> Vec<Status> {
    // A list, since most of the time it stays empty.
    let mut found = Vec::new();
    match request {
        Request::Range(range) => range_defects(range, &mut found),
        Request::Put(put) => put_defects(put, &mut found),
        Request::DeleteRange(delete) => key_defects(&delete.key, &mut found),
        Request::Txn(txn) => {
            txn_defects(txn, txn_ops_max, &mut found);
            for branch in [&txn.success, &txn.failure] {
                if writes_of(branch).is_none() {
                    found.push(Status::DuplicateKey);
                }
            }
        }
        Request::LeaseGrant(grant) if grant.ttl > LEASE_TTL_MAX_S => {
            found.push(Status::LeaseTtlTooLarge);
        }
        _ => {}
    }
    found
}

fn key_defects(key: &Bytes, found: &mut Vec<Status>) {
    if key.is_empty() {
        found.push(Status::EmptyKey);
    }
}

fn range_defects(range: &pb::RangeRequest, found: &mut Vec<Status>) {
    key_defects(&range.key, found);
    if SortOrder::try_from(range.sort_order).is_err() || SortTarget::try_from(range.sort_target).is_err() {
        found.push(Status::InvalidSortOption);
    }
}

fn put_defects(put: &pb::PutRequest, found: &mut Vec<Status>) {
    key_defects(&put.key, found);
    if put.ignore_value && !put.value.is_empty() {
        found.push(Status::ValueProvided);
    }
    if put.ignore_lease && put.lease != 0 {
        found.push(Status::LeaseProvided);
    }
}

fn txn_defects(txn: &pb::TxnRequest, ops_max: usize, found: &mut Vec<Status>) {
    let ops = txn.compare.len().max(txn.success.len()).max(txn.failure.len());
    if ops > ops_max {
        found.push(Status::TooManyOps);
    }
    for compare in &txn.compare {
        key_defects(&compare.key, found);
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            None => {
                found.push(Status::KeyNotFound);
            }
            Some(Op::RequestRange(range)) => range_defects(range, found),
            Some(Op::RequestPut(put)) => put_defects(put, found),
            Some(Op::RequestDeleteRange(delete)) => key_defects(&delete.key, found),
            Some(Op::RequestTxn(nested)) => txn_defects(nested, ops_max.saturating_sub(ops), found),
        }
    }
}

/// The keys put and the ranges deleted by a branch; `None` if one key could be written twice. The two branches of one
/// nested transaction exclude each other, and so may put the same key; overlapping deletions are fine.
fn writes_of(branch: &[pb::RequestOp]) -> Option<(BTreeSet<Bytes>, Vec<KeyRange>)> {
    let mut puts: BTreeSet<Bytes> = BTreeSet::new();
    let mut deletes: Vec<KeyRange> = Vec::new();
    for op in branch {
        if let Some(Op::RequestDeleteRange(delete)) = &op.request {
            deletes.push(KeyRange::new(&delete.key, &delete.range_end));
        }
    }
    for op in branch {
        let Some(Op::RequestTxn(nested)) = &op.request else { continue };
        let (then_puts, then_deletes) = writes_of(&nested.success)?;
        let (else_puts, else_deletes) = writes_of(&nested.failure)?;
        let nested_puts: BTreeSet<Bytes> = then_puts.union(&else_puts).cloned().collect();
        if nested_puts.iter().any(|key| puts.contains(key) || deletes.iter().any(|range| range.contains(key))) {
            return None;
        }
        let nested_deletes: Vec<KeyRange> = then_deletes.into_iter().chain(else_deletes).collect();
        if puts.iter().any(|key| nested_deletes.iter().any(|range| range.contains(key))) {
            return None;
        }
        puts.extend(nested_puts);
        deletes.extend(nested_deletes);
    }
    for op in branch {
        let Some(Op::RequestPut(put)) = &op.request else { continue };
        if deletes.iter().any(|range| range.contains(&put.key)) || !puts.insert(put.key.clone()) {
            return None;
        }
    }
    Some((puts, deletes))
}
