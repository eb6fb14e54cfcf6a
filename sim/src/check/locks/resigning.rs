//! Giving a lock back by a transaction: the call `Resign` of the Election service.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::types::Revision;

/// The key that a transaction deletes if, and only if, it is still the one that was created at the revision.
pub(super) fn resigned(txn: &pb::TxnRequest) -> Option<(&Bytes, Revision)> {
    let ([compare], [delete]) = (&txn.compare[..], &txn.success[..]) else { return None };
    let Some(TargetUnion::CreateRevision(created)) = compare.target_union else { return None };
    let Some(Op::RequestDeleteRange(delete)) = &delete.request else { return None };
    let is_its_own = compare.result == CompareResult::Equal as i32
        && compare.target == CompareTarget::Create as i32
        && compare.key == delete.key
        && compare.range_end.is_empty()
        && delete.range_end.is_empty();
    is_its_own.then_some((&delete.key, created))
}
