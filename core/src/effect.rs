//! Everything a node can ask of its driver. **Whatever is here may be performed at once**: the node withholds what is
//! not yet safe.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::api::{ReadRequest, Response, Status};
use crate::digest::Digest;
use crate::proto::etcdserverpb::ResponseHeader;
use crate::state_machine::StoreView;
use crate::types::{CallId, DiskOp, LeaseId, LogIndex, NodeId, Revision, StreamId, Term};
use crate::watch::WatchMessage;

/// The name of a file, relative to the data directory, with `/` between the parts; cheap to clone.
pub type FileName = Arc<str>;

/// One thing that the driver has to do. Effects are in order; the disk actions among them are issued in that order.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Send a frame to another member. It may be lost, late, doubled or out of order.
    Send {
        /// To whom.
        to: NodeId,
        /// What kind of message, for statistics and for faults that pick their victims.
        kind: &'static str,
        /// The encoded `detcdpeer.Frame`.
        frame: Bytes,
    },
    /// Answer a call.
    Reply {
        /// The call.
        call: CallId,
        /// The answer, complete with its header.
        result: Result<Response, Status>,
    },
    /// Answer a call by [`crate::api::read::execute`] on this view, now or later, on any thread.
    Read {
        /// The call.
        call: CallId,
        /// What to read.
        request: ReadRequest,
        /// Where to read; confirmed to be new enough for the request.
        view: StoreView,
        /// The header's cluster, member and term; its revision comes from the view.
        header: ResponseHeader,
    },
    /// Write responses to a watch stream, in order. Counted against its credit.
    Push {
        /// The stream.
        stream: StreamId,
        /// The responses.
        batch: Vec<WatchMessage>,
    },
    /// End a watch stream with this status: the node stops, or the client asks without reading. Nothing more comes for
    /// it, and whatever the driver still hands in about it is ignored.
    EndStream {
        /// The stream.
        stream: StreamId,
        /// What its client is told.
        status: Status,
    },
    /// Do something to the data directory and answer with `DiskDone`.
    Disk {
        /// Names the operation in the answer.
        op: DiskOp,
        /// What to do.
        action: DiskAction,
    },
    /// Drop this elsewhere: it may be large.
    Discard(Garbage),
    /// The node has stopped cleanly and will do nothing more.
    Stopped,
    /// The node must not go on. It will do nothing more.
    Halt(HaltReason),
}

/// Something large whose destruction takes time.
#[derive(Clone, Debug)]
pub struct Garbage(pub StoreView);

/// An operation on one file of the data directory, or on its directory.
///
/// Actions are issued in order and complete in any order; those on one file take effect in that order, so that a name
/// may be used again without waiting. `Sync` covers exactly the writes to its file that were issued before it; a
/// creation or rename is durable only after `SyncDir`; nothing else is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiskAction {
    /// Create the file if it is absent and reserve room, filled with zeros, so that it is `size_bytes` long.
    Allocate {
        /// The file.
        file: FileName,
        /// Its size afterwards.
        size_bytes: u64,
    },
    /// Write bytes at an offset of an existing file, within its allocated size or at its end.
    Append {
        /// The file.
        file: FileName,
        /// Where, in bytes from its start.
        offset: u64,
        /// What.
        bytes: Bytes,
    },
    /// Read bytes.
    Read {
        /// The file.
        file: FileName,
        /// From where, in bytes from its start.
        offset: u64,
        /// How many at most.
        len: u64,
    },
    /// Give a file another name in the same directory, replacing what has that name.
    Rename {
        /// The name it has.
        from: FileName,
        /// The name it gets.
        to: FileName,
    },
    /// Remove a file; its absence is no error.
    Remove {
        /// The file.
        file: FileName,
    },
    /// Make all writes to the file that were issued before this durable. If it fails, they may never be, although they
    /// may still be read, and another sync may succeed.
    Sync {
        /// The file.
        file: FileName,
    },
    /// Make creations, renames and removals in a directory durable.
    SyncDir {
        /// The directory, relative to the data directory.
        dir: FileName,
    },
}

/// Why a node must not go on; an operator reads this.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HaltReason {
    /// The disk failed an operation that the node cannot do without.
    Disk {
        /// What was attempted, on which file.
        what: String,
        /// What the operating system said.
        error: String,
    },
    /// A file is damaged in a way that a crash cannot explain. Nothing was written.
    Damaged {
        /// The file.
        file: String,
        /// Where, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The data directory belongs to another member or cluster. Nothing was written.
    Foreign {
        /// What does not fit.
        what: String,
    },
    /// A message proves that this member lost what it had acknowledged; it must be replaced.
    LostAcknowledged {
        /// How it is known.
        what: String,
    },
}

impl fmt::Display for HaltReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HaltReason::Disk { what, error } => write!(f, "disk failed: {what}: {error}"),
            HaltReason::Damaged { file, offset, what } => {
                write!(f, "data is damaged: {file} at offset {offset}: {what}; nothing was written")
            }
            HaltReason::Foreign { what } => write!(f, "data directory does not fit: {what}; nothing was written"),
            HaltReason::LostAcknowledged { what } => {
                write!(f, "this member lost data that it had acknowledged: {what}; remove it and add it anew")
            }
        }
    }
}

/// What a step gives: effects in order, and notes that only observers read. Owned by the caller and used again.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    /// What to do, in order.
    pub effects: Vec<Effect>,
    /// What happened inside. A driver may ignore them; they change nothing.
    pub notes: Vec<Note>,
}

impl Outputs {
    /// Empties both lists and keeps their room.
    pub fn clear(&mut self) {
        self.effects.clear();
        self.notes.clear();
    }

    /// Notes that a rare place was reached; see `scenarios/MARKS.md`.
    pub fn mark(&mut self, mark: &'static str) {
        self.notes.push(Note::Mark(mark));
    }
}

/// Something that happened inside a node, for checkers, traces and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The member granted a real vote and the vote is durable.
    Voted {
        /// In which term.
        term: Term,
        /// To whom.
        candidate: NodeId,
    },
    /// The member became leader, follower or candidate.
    Role {
        /// What it is now.
        role: crate::node::Role,
        /// In which term.
        term: Term,
        /// Who leads, as far as it knows; 0 for nobody.
        leader: NodeId,
    },
    /// An entry stands in the member's log from now on, and none after it.
    Appended {
        /// Its position.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// The digest of kind and data.
        entry: Digest,
    },
    /// An entry was applied.
    Applied {
        /// Its position.
        index: LogIndex,
        /// Its term.
        term: Term,
        /// The digest of the state afterwards.
        state: Digest,
    },
    /// A snapshot replaced log and state.
    Installed {
        /// The last entry that it contains.
        index: LogIndex,
        /// That entry's term.
        term: Term,
        /// The digest of the state afterwards.
        state: Digest,
    },
    /// The member's log, as it stands, is durable up to here, with this term and vote.
    Durable {
        /// The last durable entry. What a write under way overwrites counts no more, though the disk still has it.
        index: LogIndex,
        /// The durable term.
        term: Term,
        /// The durable vote.
        vote: NodeId,
    },
    /// A round confirmed a read that arrived at its member in an earlier term.
    ReadConfirmed {
        /// The read's call.
        call: CallId,
        /// The term of the leader who confirmed it.
        term: Term,
    },
    /// A lease was granted by an applied entry.
    LeaseGranted {
        /// The lease.
        lease: LeaseId,
        /// The entry.
        index: LogIndex,
    },
    /// The leader's clock says that a lease ended; it proposes to revoke it.
    LeaseExpired {
        /// The lease.
        lease: LeaseId,
        /// The term in which it proposes that.
        term: Term,
    },
    /// A lease ended by an applied entry, with its keys.
    LeaseGone {
        /// The lease.
        lease: LeaseId,
        /// The entry.
        index: LogIndex,
    },
    /// The member, which leads, proposes a compaction that no client asked for.
    CompactionProposed {
        /// Up to which revision.
        revision: Revision,
        /// The id of the request, unique among all of this member's, in all its lives.
        request: u64,
    },
    /// The store was compacted by an applied entry.
    Compacted {
        /// Up to which revision; it stays readable itself.
        revision: Revision,
        /// Whose proposal the entry was: for a client of that member, or its own.
        proposer: NodeId,
        /// The id that the proposer gave the request.
        request: u64,
    },
    /// The node left one phase of its life for another.
    Phase(crate::node::Phase),
    /// A rare place was reached.
    Mark(&'static str),
}
