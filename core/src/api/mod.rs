//! The client contract as values: requests, responses, etcd's errors, and the pure functions that any thread may run.

pub mod quota;
pub mod read;
pub mod read_stream;
mod status;
pub mod validate;

pub use status::{Code, Status};

use im::OrdSet;

use crate::proto::etcdserverpb as pb;
use crate::time::Instant;
use crate::types::LeaseId;

/// A client's request.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the etcd request of that name")]
pub enum Request {
    Range(pb::RangeRequest),
    Put(pb::PutRequest),
    DeleteRange(pb::DeleteRangeRequest),
    Txn(pb::TxnRequest),
    Compact(pb::CompactionRequest),
    LeaseGrant(pb::LeaseGrantRequest),
    LeaseRevoke(pb::LeaseRevokeRequest),
    LeaseKeepAlive(pb::LeaseKeepAliveRequest),
    LeaseTimeToLive(pb::LeaseTimeToLiveRequest),
    LeaseLeases(pb::LeaseLeasesRequest),
    MemberList(pb::MemberListRequest),
    Status(pb::StatusRequest),
    Alarm(pb::AlarmRequest),
    Defragment(pb::DefragmentRequest),
    Hash(pb::HashRequest),
    HashKv(pb::HashKvRequest),
}

/// The answer to a request of the same name.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "each variant is the etcd response of that name")]
pub enum Response {
    Range(pb::RangeResponse),
    Put(pb::PutResponse),
    DeleteRange(pb::DeleteRangeResponse),
    Txn(pb::TxnResponse),
    Compact(pb::CompactionResponse),
    LeaseGrant(pb::LeaseGrantResponse),
    LeaseRevoke(pb::LeaseRevokeResponse),
    LeaseKeepAlive(pb::LeaseKeepAliveResponse),
    LeaseTimeToLive(pb::LeaseTimeToLiveResponse),
    LeaseLeases(pb::LeaseLeasesResponse),
    MemberList(pb::MemberListResponse),
    Status(pb::StatusResponse),
    Alarm(pb::AlarmResponse),
    Defragment(pb::DefragmentResponse),
    Hash(pb::HashResponse),
    HashKv(pb::HashKvResponse),
}

/// A request that is answered from a view.
#[derive(Clone, Debug, PartialEq)]
pub enum ReadRequest {
    /// Keys and values.
    Range(pb::RangeRequest),
    /// A transaction that only reads (contract, section 1.1).
    Txn(pb::TxnRequest),
    /// All leases.
    LeaseLeases {
        /// Those whose end the member knows, in the order of their ends: all if it leads, but for some just after its
        /// leadership began, else none. They are told first, and the others by id (contract, section 1.3).
        by_deadline: OrdSet<(Instant, LeaseId)>,
    },
    /// A lease's keys and times; the remaining time comes from the leader's clock.
    LeaseTimeToLive {
        /// What the client asked.
        request: pb::LeaseTimeToLiveRequest,
        /// Whole seconds left by the leader's clock, less than 0 if its end is that long ago and not revoked yet;
        /// `None` if the lease is unknown there.
        remaining_ttl_s: Option<i64>,
    },
    /// The members.
    MemberList,
    /// The alarms that are on, of one kind or of all.
    Alarm(pb::AlarmRequest),
    /// A hash of the whole state.
    Hash,
    /// A hash of the keys at a revision.
    HashKv(pb::HashKvRequest),
}

/// The version that status calls and `/version` report: that of the etcd whose contract is kept (contract, section 0).
pub const VERSION: &str = "3.7.1";

/// The storage version that goes with it.
pub const STORAGE_VERSION: &str = "3.7.0";

impl Request {
    /// Whether it changes something: asked again without knowing what became of it, it may do so twice, and when its
    /// time is over, it may have done so.
    pub fn is_write(&self) -> bool {
        match self {
            Request::Put(_)
            | Request::DeleteRange(_)
            | Request::Txn(_)
            | Request::Compact(_)
            | Request::LeaseGrant(_)
            | Request::LeaseRevoke(_)
            | Request::Alarm(_) => true,
            Request::Range(_)
            | Request::LeaseKeepAlive(_)
            | Request::LeaseTimeToLive(_)
            | Request::LeaseLeases(_)
            | Request::MemberList(_)
            | Request::Status(_)
            | Request::Defragment(_)
            | Request::Hash(_)
            | Request::HashKv(_) => false,
        }
    }
}

impl Response {
    /// The response's header.
    pub fn header_mut(&mut self) -> &mut Option<pb::ResponseHeader> {
        match self {
            Response::Range(response) => &mut response.header,
            Response::Put(response) => &mut response.header,
            Response::DeleteRange(response) => &mut response.header,
            Response::Txn(response) => &mut response.header,
            Response::Compact(response) => &mut response.header,
            Response::LeaseGrant(response) => &mut response.header,
            Response::LeaseRevoke(response) => &mut response.header,
            Response::LeaseKeepAlive(response) => &mut response.header,
            Response::LeaseTimeToLive(response) => &mut response.header,
            Response::LeaseLeases(response) => &mut response.header,
            Response::MemberList(response) => &mut response.header,
            Response::Status(response) => &mut response.header,
            Response::Alarm(response) => &mut response.header,
            Response::Defragment(response) => &mut response.header,
            Response::Hash(response) => &mut response.header,
            Response::HashKv(response) => &mut response.header,
        }
    }
}
