//! What clients did and saw: the only thing a real run and a simulated one have in common, and so what the client-side
//! checkers judge.

use std::sync::Arc;

use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use detcd_core::proto::mvccpb;
use detcd_core::types::Revision;

/// Nanoseconds since the run began, on one clock that all clients share (virtual in a simulation).
pub type Nanos = u64;

/// One logical operation of a client. A retry is part of the operation, not a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// A client: it has at most one operation open at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

/// One watcher of one client, from its creation to its end; a client that resumes elsewhere opens a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatcherId(pub u64);

/// One line of a history.
#[derive(Clone, Debug, PartialEq)]
pub enum HistoryEvent {
    /// A client sent a request.
    Invoke {
        /// Which operation.
        op: OpId,
        /// Whose.
        client: ClientId,
        /// What.
        request: Request,
    },
    /// The operation ended for the client.
    Return {
        /// Which operation.
        op: OpId,
        /// How.
        outcome: Outcome,
    },
    /// A client asked for a watcher. Other watchers may be on the same stream; a response about all of it is told as
    /// received by each that is confirmed.
    WatchOpen {
        /// Names the watcher.
        watcher: WatcherId,
        /// Whose.
        client: ClientId,
        /// What it watches.
        request: WatchCreateRequest,
    },
    /// The watcher's client received this.
    WatchReceive {
        /// The watcher.
        watcher: WatcherId,
        /// The response, whole.
        response: WatchResponse,
    },
    /// The watcher ended: its stream broke, or its client closed it.
    WatchEnd {
        /// The watcher.
        watcher: WatcherId,
    },
    /// The store did this at this revision, as told by a trusted witness: in a simulation the first replica that
    /// applies it, in a real run a watcher over all keys from revision 1. Every revision comes exactly once, in order.
    Revision {
        /// The revision.
        revision: Revision,
        /// Its events in order of their sub-revisions, without previous values. Shared: several checkers keep them.
        events: Arc<[mvccpb::Event]>,
    },
    /// The store is compacted up to this revision, as told by the witness of a simulation at the moment at which the
    /// first replica applies it, after the revisions of that moment. Recorded histories need none: without it, what
    /// clients asked for is all that is known.
    Compaction {
        /// The revision; it stays readable itself.
        revision: Revision,
    },
}

/// How an operation ended for its client.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With this response.
    Ok(Response),
    /// With an error that says that nothing was done.
    Failed(Status),
    /// Nobody knows: it may have taken effect, or may yet, at any time later.
    Unknown,
}
