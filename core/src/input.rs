//! Everything that can happen to a node, and who makes it happen.

use bytes::Bytes;

use crate::api::Request;
use crate::proto::etcdserverpb::WatchRequest;
use crate::time::Instant;
use crate::types::{CallId, DiskOp, NodeId, StreamId};

/// One thing that happened to a node.
#[derive(Clone, Debug)]
pub enum Input {
    /// The time that [`crate::Node::next_wakeup`] named has come. Made by the driver's timer; being early is harmless.
    Wakeup,
    /// A frame from another member, encoded as `detcdpeer.Frame`. Made by the network.
    Peer {
        /// Who the network says sent it; the frame has to agree.
        from: NodeId,
        /// The frame.
        frame: Bytes,
    },
    /// The link to a member came up or went down. Made by the network; a hint, never needed for safety.
    Link {
        /// The other end.
        peer: NodeId,
        /// Whether it is up now.
        up: bool,
    },
    /// A client's request. Answered by exactly one `Reply` or `Read`, unless it is cancelled or the node stops.
    Call {
        /// Names the call in the answer.
        call: CallId,
        /// When the client, or the contract, stops waiting.
        deadline: Instant,
        /// What is asked.
        request: Request,
    },
    /// The client of a call went away; no answer is wanted any more. A write may still take effect.
    Cancel {
        /// The call.
        call: CallId,
    },
    /// Something about a watch stream.
    Stream {
        /// The stream.
        stream: StreamId,
        /// What about it.
        op: StreamOp,
    },
    /// A disk operation ended.
    DiskDone {
        /// Which.
        op: DiskOp,
        /// How.
        result: Result<DiskReply, DiskError>,
    },
    /// Stop cleanly: hand leadership on, finish writes, then say [`crate::Effect::Stopped`].
    Stop,
}

/// What a driver says about a watch stream.
#[derive(Clone, Debug)]
pub enum StreamOp {
    /// A client opened it. It starts without credit.
    Open,
    /// The client asked for something on it.
    Request(WatchRequest),
    /// The driver can take this many more bytes of pushed responses.
    Credit(u64),
    /// The client is gone.
    Close,
}

/// What a disk operation gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskReply {
    /// It is done.
    Done,
    /// The bytes read: as many as were asked for, fewer only at the end of the file.
    Data(Bytes),
}

/// Why a disk operation failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DiskError {
    /// No room. Only `Allocate` may say so, and then nothing has happened.
    NoSpace,
    /// Anything else, in the words of the operating system. Never retried.
    Io(String),
}

/// The files of a data directory when a node is opened: names and sizes, nothing read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// File name, relative to the data directory with `/` between the parts, and size in bytes.
    pub files: Vec<(String, u64)>,
}
