//! What can happen in the world.

use bytes::Bytes;
use detcd_core::api::{ReadRequest, Request, Response, Status};
use detcd_core::proto::etcdserverpb::{ResponseHeader, WatchRequest};
use detcd_core::proto::v3electionpb::{
    CampaignRequest, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ResignRequest,
};
use detcd_core::proto::v3lockpb::{LockRequest, UnlockRequest};
use detcd_core::types::{CallId, DiskOp, Revision, StreamId};
use detcd_core::watch::WatchMessage;
use detcd_core::{DiskError, DiskReply, StoreView};

use crate::disk::Durable;
use crate::observe::NodeIndex;

/// When an event's cause left its member, and in which of the member's lives: a crash before that undoes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub node: NodeIndex,
    pub boot: u32,
    pub at: u64,
}

/// A read that is confirmed and waits for its thread.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub request: ReadRequest,
    pub view: StoreView,
    pub header: ResponseHeader,
}

/// What a client gets for an attempt.
#[derive(Debug)]
pub(super) enum Answer {
    /// The member's answer.
    Result(Box<Result<Response, Status>>),
    /// Nobody listens there: nothing was done.
    Refused,
    /// The connection broke: nobody knows.
    Reset,
}

/// What a watching client says.
#[derive(Debug)]
pub(super) enum StreamIn {
    Open(Box<WatchRequest>),
    Request(Box<WatchRequest>),
    Credit(u64),
    Close(StreamId, u32),
}

/// What a watching client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchTimer {
    /// To try again.
    Reopen,
    /// The creation was not confirmed for too long.
    Unanswered,
    /// The stream broke some time ago; now the client notices.
    Broken,
    /// To ask for another watcher on the same stream.
    Another,
    /// To ask for the progress.
    AskProgress,
    /// The client has seen enough.
    Enough,
}

/// What a lock worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockTimer {
    /// To do the next thing; the number tells whether it was planned anew since.
    Act(u64),
    /// To keep its session alive.
    Keep,
}

/// What a client asks a member's lock service for.
#[derive(Debug)]
pub(super) enum LockAsked {
    Lock(LockRequest),
    Unlock(UnlockRequest),
    /// To lead the election of the lock's name, which is the same as to own the lock.
    Campaign(CampaignRequest),
    Resign(ResignRequest),
    /// To say something else as the leader.
    Proclaim(ProclaimRequest),
    /// Who owns the lock.
    Leader(LeaderRequest),
    /// To be told who owns the lock, and what each owner says, until one waits no longer.
    Observe(LeaderRequest),
}

/// What it gets for that.
#[derive(Debug)]
pub(super) enum LockTold {
    /// It owns the lock by this key. Others were before it, or not. That it was created at this revision a lock service
    /// does not say, and who needs that reads the key; an election service does, with the leader's other names.
    Locked { key: Bytes, created: Revision, waited: bool, elected: Option<Box<LeaderKey>> },
    /// What it asked for is done: it has given the lock back, or has proclaimed something.
    Done,
    /// Somebody owns the lock. An observer is told so again and again.
    Led(Box<LeaderResponse>),
    /// The service failed.
    Failed(Status),
    /// Nobody listens there: nothing was done.
    Refused,
    /// The connection broke: nobody knows.
    Reset,
}

/// What happens to a conversation that a member holds for a client of its lock service.
#[derive(Debug)]
pub(super) enum Word {
    /// The client of this lock worker asks for it. Boxed, since every event has room for the largest.
    Begins { worker: u32, asked: Box<LockAsked> },
    /// The member answers its call.
    Answered { call: CallId, result: Box<Result<Response, Status>> },
    /// Its watchers tell something.
    Watched { stream: StreamId, batch: Vec<WatchMessage> },
    /// Its watchers tell nothing any more.
    Interrupted { stream: StreamId, why: Status },
    /// Its answer leaves for the client.
    Leaves,
    /// The client waits no longer.
    Hangup,
    /// To try again to take back what it did.
    Undo,
}

#[derive(Debug)]
pub(super) enum Event {
    Wake { node: NodeIndex, token: u64 },
    Frame { from: Departure, to: NodeIndex, frame: Bytes },
    LinkHint { node: NodeIndex, peer: NodeIndex, up: bool },
    DiskDone { node: NodeIndex, boot: u32, op: DiskOp, reply: Result<DiskReply, DiskError>, durable: Option<Durable> },
    ReadDue { node: NodeIndex, boot: u32, call: CallId, read: Box<PendingRead> },
    Arrive { client: u32, attempt: u64, node: NodeIndex, request: Box<Request> },
    Hangup { node: NodeIndex, client: u32, attempt: u64 },
    Answer { client: u32, attempt: u64, from: Departure, answer: Answer },
    GiveUp { client: u32 },
    Retry { client: u32, attempt: u64 },
    OpDue { index: usize },
    StreamIn { session: usize, generation: u64, node: NodeIndex, what: StreamIn },
    StreamOut { session: usize, generation: u64, from: Departure, batch: Vec<WatchMessage> },
    StreamEnded { session: usize, generation: u64, from: Departure },
    Watch { session: usize, generation: u64, timer: WatchTimer },
    Lock { worker: u32, session: u64, timer: LockTimer },
    Conversation { node: NodeIndex, number: u64, word: Word },
    LockTold { worker: u32, number: u64, from: Departure, told: LockTold },
    FaultStart { index: usize },
    FaultEnd { index: usize },
    Flap { index: usize },
    Start { node: NodeIndex, boot: u32 },
    PowerReturns { node: NodeIndex },
    Heal,
    Check,
}
