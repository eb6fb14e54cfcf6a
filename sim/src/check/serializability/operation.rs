//! What is remembered of an operation, and what kind of operation it is.

use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::Revision;
use pb::request_op::Request as Op;

use crate::check::model::show;
use crate::history::OpId;

/// An operation from its invocation until it is judged.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) request: Request,
    /// The position of its invocation in the history.
    pub(super) invoked: u64,
    /// It cannot have happened before this revision existed.
    pub(super) floor: Revision,
    /// The newest revision that somebody had been answered with before it began.
    pub(super) returned: Known,
    /// The newest compaction that was acknowledged before it began.
    pub(super) compacted: Known,
}

/// A revision, and the operation by whose answer it is known, if it was an operation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) revision: Revision,
    pub(super) by: Option<OpId>,
}

impl Known {
    /// Takes a newer one.
    pub(super) fn raise(&mut self, revision: Revision, by: Option<OpId>) {
        if revision > self.revision {
            *self = Known { revision, by };
        }
    }
}

/// Names the operation by which something is known.
pub(super) fn named(by: Option<OpId>) -> String {
    by.map_or(String::new(), |op| format!(", by operation {}", op.0))
}

impl Operation {
    /// What existed before it began and is newer than `revision`: by the answer of an operation, if there is one.
    pub(super) fn existed(&self, revision: Revision) -> String {
        match self.returned {
            Known { revision: returned, by: Some(op) } if returned > revision => {
                format!("{returned} existed before it began: operation {} had been answered with it", op.0)
            }
            _ => format!("{} existed before it began", self.floor),
        }
    }

    /// The request in a few words.
    pub(super) fn summary(&self) -> String {
        match &self.request {
            Request::Range(range) => format!(
                "range {}..{} at {}{}",
                show(&range.key),
                show(&range.range_end),
                range.revision,
                if range.serializable { ", serializable" } else { "" }
            ),
            Request::Put(put) => format!("put {}={}", show(&put.key), show(&put.value)),
            Request::DeleteRange(delete) => format!("delete {}..{}", show(&delete.key), show(&delete.range_end)),
            Request::Txn(txn) => format!(
                "txn of {} compares, {} and {} operations",
                txn.compare.len(),
                txn.success.len(),
                txn.failure.len()
            ),
            Request::Compact(compact) => format!("compact at {}", compact.revision),
            Request::LeaseGrant(grant) => format!("grant lease {:x}", grant.id),
            Request::LeaseRevoke(revoke) => format!("revoke lease {:x}", revoke.id),
            Request::LeaseKeepAlive(keep) => format!("keep lease {:x} alive", keep.id),
            Request::LeaseTimeToLive(ask) => format!("time to live of lease {:x}", ask.id),
            Request::LeaseLeases(_) => "list leases".into(),
            Request::MemberList(_) => "list members".into(),
            Request::Status(_) => "status".into(),
            Request::Alarm(alarm) => format!("alarm {} of {:x}", alarm.action().as_str_name(), alarm.member_id),
            Request::Defragment(_) => "defragment".into(),
            Request::Hash(_) => "hash".into(),
            Request::HashKv(hash) => format!("hash of keys at {}", hash.revision),
        }
    }
}

/// Whether the operation may make a revision.
pub(super) fn may_write(request: &Request) -> bool {
    match request {
        Request::Put(_) | Request::DeleteRange(_) | Request::LeaseRevoke(_) => true,
        Request::Txn(txn) => !is_read_only(txn),
        _ => false,
    }
}

/// Whether it only reads; a nested transaction makes it a write (contract, section 1.1).
fn is_read_only(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| matches!(op.request, Some(Op::RequestRange(_))))
}

/// Whether all that it does is serializable reads, or nothing at all.
fn is_serializable(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).all(|op| match &op.request {
        Some(Op::RequestRange(range)) => range.serializable,
        _ => false,
    })
}

/// Whether its header has to be new enough for real time. A keepalive's header is that of the member that was asked,
/// taken before the renewal (contract, section 1.3); lists of leases, status and hashes are local.
pub(super) fn is_linearizable(request: &Request) -> bool {
    match request {
        Request::Range(range) => !range.serializable,
        Request::Txn(txn) => !is_serializable(txn),
        Request::Put(_)
        | Request::DeleteRange(_)
        | Request::Compact(_)
        | Request::LeaseGrant(_)
        | Request::LeaseRevoke(_)
        | Request::Alarm(_) => true,
        Request::LeaseKeepAlive(_)
        | Request::LeaseTimeToLive(_)
        | Request::LeaseLeases(_)
        | Request::MemberList(_)
        | Request::Status(_)
        | Request::Defragment(_)
        | Request::Hash(_)
        | Request::HashKv(_) => false,
    }
}

/// The revision in a response's header; `None` for the calls that leave it unset. A missing header counts as 0.
pub(in crate::check) fn header_revision(response: &Response) -> Option<Revision> {
    header(response).map(|header| header.map_or(0, |header| header.revision))
}

/// The header of a response that has to have one with a revision.
pub(in crate::check) fn header(response: &Response) -> Option<Option<&pb::ResponseHeader>> {
    match response {
        Response::Range(response) => Some(response.header.as_ref()),
        Response::Put(response) => Some(response.header.as_ref()),
        Response::DeleteRange(response) => Some(response.header.as_ref()),
        Response::Txn(response) => Some(response.header.as_ref()),
        Response::Compact(response) => Some(response.header.as_ref()),
        Response::LeaseGrant(response) => Some(response.header.as_ref()),
        Response::LeaseRevoke(response) => Some(response.header.as_ref()),
        Response::LeaseKeepAlive(response) => Some(response.header.as_ref()),
        Response::LeaseTimeToLive(response) => Some(response.header.as_ref()),
        Response::LeaseLeases(response) => Some(response.header.as_ref()),
        Response::Status(response) => Some(response.header.as_ref()),
        Response::Alarm(response) => Some(response.header.as_ref()),
        Response::Hash(response) => Some(response.header.as_ref()),
        Response::HashKv(response) => Some(response.header.as_ref()),
        Response::MemberList(_) | Response::Defragment(_) => None,
    }
}
