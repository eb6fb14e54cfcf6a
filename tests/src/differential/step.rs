//! What is asked of both servers, and what they answer.

use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;

/// One step of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A request with one answer.
    Call(Request),
    /// A request on the watch stream of this number.
    Watch {
        /// Which stream, from 0.
        stream: usize,
        /// What is asked on it.
        request: pb::WatchRequest,
    },
    /// The watch stream of this number is dropped with its watchers, and a new one takes its place.
    Reopen {
        /// Which stream, from 0.
        stream: usize,
    },
    /// The lease whose id each server drew for itself is revoked.
    RevokeDrawn,
    /// Nothing is asked until this lease has ended by itself on both servers.
    AwaitExpiry {
        /// The lease.
        id: i64,
    },
}

/// Why a server refused a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code of gRPC.
    pub code: tonic::Code,
    /// The text that goes with it.
    pub text: String,
}

impl From<tonic::Status> for Refusal {
    fn from(status: tonic::Status) -> Refusal {
        Refusal { code: status.code(), text: status.message().to_owned() }
    }
}

/// A server's answer to a request.
pub type Answer = Result<Response, Refusal>;

/// What came on a watch stream besides events: a reply, or why the stream ended.
pub type Reply = Result<pb::WatchResponse, Refusal>;
