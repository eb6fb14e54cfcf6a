//! Checks of a request that need no store; the proposer makes them before anything enters the log. And the shape in
//! which a write enters it.

use prost::encoding::encoded_len_varint;

use super::{Request, Status};
use crate::config::NodeConfig;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::state_machine::LEASE_TTL_MAX_S;
use crate::types::{LeaseId, NodeId};

mod overlap;
#[cfg(test)]
mod tests;

/// How deep transactions may be nested. Far beyond what clients do, and low enough that what a client could send can
/// also be decoded from the log, which wraps it once more.
const TXN_DEPTH_MAX: usize = 32;

/// The limits that requests are held to. Each member's own: they are checked before the log, never when applying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A transaction may have this many compares or operations in one branch, nested ones included.
    pub txn_ops_max: usize,
    /// An encoded proposal may be this many bytes long.
    pub request_bytes_max: usize,
}

impl Limits {
    /// The limits of a node.
    pub fn of(config: &NodeConfig) -> Limits {
        Limits { txn_ops_max: config.txn_ops_max, request_bytes_max: config.request_bytes_max }
    }
}

/// Checks everything about a request that needs no store, in etcd's order (contract, sections 1.1 and 1.3).
pub fn validate(request: &Request, limits: &Limits) -> Result<(), Status> {
    match request {
        Request::Range(request) => check_range(request),
        Request::Put(request) => check_put(request),
        Request::DeleteRange(request) => check_delete_range(request),
        Request::Txn(request) => {
            check_txn(request, limits.txn_ops_max, TXN_DEPTH_MAX)?;
            overlap::check(&request.success)?;
            overlap::check(&request.failure)
        }
        Request::LeaseGrant(request) if request.ttl > LEASE_TTL_MAX_S => Err(Status::LeaseTtlTooLarge),
        Request::LeaseGrant(_)
        | Request::Compact(_)
        | Request::LeaseRevoke(_)
        | Request::LeaseKeepAlive(_)
        | Request::LeaseTimeToLive(_)
        | Request::LeaseLeases(_)
        | Request::MemberList(_)
        | Request::Status(_)
        | Request::Alarm(_)
        | Request::Defragment(_)
        | Request::Hash(_)
        | Request::HashKv(_) => Ok(()),
    }
}

/// How long etcd's own encoding of a proposal is that takes so many bytes here: it does not name the proposer, and the
/// number that it gives to a proposal has ten bytes, or, as it begins with the end of the member's id, nine at every
/// other member. That is the length which is limited.
pub fn etcd_bytes(encoded_bytes: usize, proposer: NodeId, id: u64) -> usize {
    const ETCD_ID_BYTES: usize = 10;
    let proposer_bytes = 1 + encoded_len_varint(proposer.0);
    encoded_bytes - proposer_bytes - encoded_len_varint(id) + ETCD_ID_BYTES
}

/// Checks the length of etcd's encoding of a proposal.
pub fn check_size(encoded_bytes: usize, limits: &Limits) -> Result<(), Status> {
    if encoded_bytes > limits.request_bytes_max { Err(Status::RequestTooLarge) } else { Ok(()) }
}

/// Checks a range.
pub fn check_range(request: &pb::RangeRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(Status::EmptyKey);
    }
    let order = pb::range_request::SortOrder::try_from(request.sort_order);
    let target = pb::range_request::SortTarget::try_from(request.sort_target);
    if order.is_err() || target.is_err() { Err(Status::InvalidSortOption) } else { Ok(()) }
}

fn check_put(request: &pb::PutRequest) -> Result<(), Status> {
    if request.key.is_empty() {
        return Err(Status::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Status::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Status::LeaseProvided);
    }
    Ok(())
}

fn check_delete_range(request: &pb::DeleteRangeRequest) -> Result<(), Status> {
    if request.key.is_empty() { Err(Status::EmptyKey) } else { Ok(()) }
}

/// Nested transactions get what the ones around them leave of the operations.
fn check_txn(request: &pb::TxnRequest, ops_max: usize, depth_max: usize) -> Result<(), Status> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    if ops > ops_max || depth_max == 0 {
        return Err(Status::TooManyOps);
    }
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Status::EmptyKey);
    }
    for operation in request.success.iter().chain(&request.failure) {
        match &operation.request {
            Some(Op::RequestRange(request)) => check_range(request)?,
            Some(Op::RequestPut(request)) => check_put(request)?,
            Some(Op::RequestDeleteRange(request)) => check_delete_range(request)?,
            Some(Op::RequestTxn(nested)) => check_txn(nested, ops_max - ops, depth_max - 1)?,
            None => return Err(Status::KeyNotFound),
        }
    }
    Ok(())
}

/// Whether a transaction only reads, so that it needs no place in the log. A nested transaction makes it a write.
pub fn is_read_only(request: &pb::TxnRequest) -> bool {
    all_ranges(request, |_| true)
}

/// Whether a transaction may be answered from any member's store as it is: all its operations are serializable
/// ranges. One without operations is.
pub fn is_serializable(request: &pb::TxnRequest) -> bool {
    all_ranges(request, |range| range.serializable)
}

fn all_ranges(request: &pb::TxnRequest, accept: impl Fn(&pb::RangeRequest) -> bool) -> bool {
    let mut operations = request.success.iter().chain(&request.failure);
    operations.all(|operation| matches!(&operation.request, Some(Op::RequestRange(range)) if accept(range)))
}

/// What the proposer adds to a write, so that applying it needs nothing but the entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Names the proposal; never used twice by one member.
    pub id: u64,
    /// A lease id that the proposer drew, for grants that leave it open; positive.
    pub drawn_lease: LeaseId,
    /// Shorter leases are raised to this, in seconds.
    pub lease_ttl_min_s: i64,
}

/// The entry's content for a write; `None` for what is no write. A transaction that [`is_read_only`], or a request to
/// list alarms, is not asked for.
pub fn propose(request: Request, proposal: Proposal) -> Option<pb::InternalRaftRequest> {
    let header = pb::RequestHeader { id: proposal.id, ..pb::RequestHeader::default() };
    let mut entry = pb::InternalRaftRequest { header: Some(header), ..pb::InternalRaftRequest::default() };
    match request {
        Request::Put(put) => entry.put = Some(put),
        Request::DeleteRange(delete) => entry.delete_range = Some(delete),
        Request::Txn(txn) => entry.txn = Some(txn),
        Request::Compact(compaction) => entry.compaction = Some(compaction),
        Request::LeaseGrant(grant) => entry.lease_grant = Some(normalise_grant(grant, proposal)),
        Request::LeaseRevoke(revoke) => entry.lease_revoke = Some(revoke),
        Request::Alarm(alarm) => entry.alarm = Some(alarm),
        Request::Range(_)
        | Request::LeaseKeepAlive(_)
        | Request::LeaseTimeToLive(_)
        | Request::LeaseLeases(_)
        | Request::MemberList(_)
        | Request::Status(_)
        | Request::Defragment(_)
        | Request::Hash(_)
        | Request::HashKv(_) => return None,
    }
    Some(entry)
}

/// An open id gets the drawn one, a short TTL is raised (contract, section 1.3).
fn normalise_grant(grant: pb::LeaseGrantRequest, proposal: Proposal) -> pb::LeaseGrantRequest {
    let id = if grant.id == 0 { proposal.drawn_lease.0 } else { grant.id };
    assert!(grant.id != 0 || id > 0, "a drawn lease id is positive");
    pb::LeaseGrantRequest { id, ttl: grant.ttl.max(proposal.lease_ttl_min_s) }
}
