//! What a request adds to the store, by the measure that quotas are held to (contract, section 1.5 NOSPACE).

use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::request_op::Request as Op;

/// What a put costs beside its key and value, in bytes.
const PUT_BYTES: i64 = 256;

/// What a lease costs, in bytes.
pub const GRANT_BYTES: i64 = 64;

/// The quota of a member that is given none, in bytes.
pub const DEFAULT_BYTES: i64 = 2 << 30;

/// What a put costs, in bytes.
pub fn of_put(request: &pb::PutRequest) -> i64 {
    of_put_bytes(request.key.len() + request.value.len())
}

/// What a put costs whose key and value have so many bytes, in bytes.
pub fn of_put_bytes(contents: usize) -> i64 {
    PUT_BYTES + i64::try_from(contents).expect("a request fits in memory")
}

/// What a transaction may cost, in bytes: its larger branch. 0 if it puts nothing, whichever branch it takes.
pub fn of_txn(request: &pb::TxnRequest) -> i64 {
    let branch = |operations: &[pb::RequestOp]| operations.iter().map(of_operation).sum::<i64>();
    branch(&request.success).max(branch(&request.failure))
}

fn of_operation(operation: &pb::RequestOp) -> i64 {
    match &operation.request {
        Some(Op::RequestPut(put)) => of_put(put),
        Some(Op::RequestTxn(nested)) => of_txn(nested),
        Some(Op::RequestRange(_) | Op::RequestDeleteRange(_)) | None => 0,
    }
}

/// What a write costs, in bytes; 0 for one that only frees, or that adds nothing of a client's.
pub fn of_entry(entry: &pb::InternalRaftRequest) -> i64 {
    if let Some(put) = &entry.put {
        of_put(put)
    } else if let Some(txn) = &entry.txn {
        of_txn(txn)
    } else if entry.lease_grant.is_some() {
        GRANT_BYTES
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(request: Op) -> pb::RequestOp {
        pb::RequestOp { request: Some(request) }
    }

    fn put(value: &'static str) -> pb::PutRequest {
        pb::PutRequest { key: "key".into(), value: value.into(), ..Default::default() }
    }

    #[test]
    fn the_larger_branch_counts_with_what_is_nested_in_it() {
        let nested = pb::TxnRequest { failure: vec![op(Op::RequestPut(put("")))], ..Default::default() };
        let txn = pb::TxnRequest {
            success: vec![op(Op::RequestPut(put("12345"))), op(Op::RequestTxn(nested))],
            failure: vec![op(Op::RequestPut(put("123456"))), op(Op::RequestDeleteRange(Default::default()))],
            ..Default::default()
        };
        assert_eq!(of_txn(&txn), 256 + 8 + 256 + 3);
        let entry = pb::InternalRaftRequest { txn: Some(txn), ..Default::default() };
        assert_eq!(of_entry(&entry), 523);
    }

    #[test]
    fn what_only_reads_or_frees_costs_nothing() {
        let reads = pb::TxnRequest { success: vec![op(Op::RequestRange(Default::default()))], ..Default::default() };
        assert_eq!(of_txn(&reads), 0);
        let frees = pb::InternalRaftRequest { delete_range: Some(Default::default()), ..Default::default() };
        assert_eq!(of_entry(&frees), 0);
        let grants = pb::InternalRaftRequest { lease_grant: Some(Default::default()), ..Default::default() };
        assert_eq!(of_entry(&grants), 64);
    }
}
