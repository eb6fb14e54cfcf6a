//! What observers of a run are told. Observers draw nothing and change nothing.

use bytes::Bytes;
use detcd_core::proto::v3electionpb::LeaderResponse;
use detcd_core::types::Revision;
use detcd_core::{NodeStatus, Note, StoreView};

use crate::history::{ClientId, HistoryEvent, Nanos};
use crate::workload::locks::{LooksOn, Mutex};

/// The place of a member in the simulated cluster, counted from 0; its `NodeId` is that plus 1.
pub type NodeIndex = usize;

/// One thing that happened in the simulated world.
#[derive(Debug)]
pub enum Observation<'a> {
    /// A node was opened on what its disk holds.
    Opened {
        /// Which.
        node: NodeIndex,
    },
    /// A node took a step.
    Stepped {
        /// Which.
        node: NodeIndex,
        /// What happened inside.
        notes: Notes<'a>,
        /// How it stands now.
        status: &'a NodeStatus,
        /// Its store now.
        view: &'a StoreView,
    },
    /// A node lost its memory, and its disk what was not synced.
    Crashed {
        /// Which.
        node: NodeIndex,
    },
    /// A node's disk, while it was down, lost what it had promised to keep, in a way that the node can notice.
    Damaged {
        /// Which.
        node: NodeIndex,
    },
    /// A client did or saw something, or the store reached a new revision.
    History(&'a HistoryEvent),
    /// A lock worker did something about a lock that no request shows.
    Lock(LockEvent<'a>),
    /// Faults have ended: from here on a core of the cluster has to converge.
    Healed,
}

/// How much there is to tell of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// Nothing: there are no notes, and status and revisions are as after the member's step before in the same life.
    None,
    /// Nothing but entries that were appended, applied or made durable, or a change that only the status shows.
    Plain,
    /// Something else, too.
    Rare,
}

/// What happened inside a node in one step.
#[derive(Clone, Copy, Debug)]
pub struct Notes<'a> {
    all: &'a [Note],
    novelty: Novelty,
}

impl<'a> Notes<'a> {
    /// The notes of a step, in order.
    pub fn new(all: &'a [Note]) -> Notes<'a> {
        let is_rare =
            |note: &Note| !matches!(note, Note::Appended { .. } | Note::Applied { .. } | Note::Durable { .. });
        Notes { all, novelty: if all.iter().any(is_rare) { Novelty::Rare } else { Novelty::Plain } }
    }

    /// Those of a step that changed nothing: none.
    pub fn of_idle_step() -> Notes<'a> {
        Notes { all: &[], novelty: Novelty::None }
    }

    /// All of them.
    pub fn all(self) -> &'a [Note] {
        self.all
    }

    /// How much there is to tell.
    pub fn novelty(self) -> Novelty {
        self.novelty
    }

    /// All of them if a rare one is among them, else none: whoever looks for rare ones finds them here, and most of the
    /// time nothing to look through.
    pub fn with_rare(self) -> &'a [Note] {
        if self.novelty == Novelty::Rare { self.all } else { &[] }
    }
}

/// What a lock worker does about a lock beside its requests.
#[derive(Clone, Copy, Debug)]
pub enum LockEvent<'a> {
    /// It is about to ask for the lock.
    Wants {
        /// The lock, and the worker's key.
        mutex: &'a Mutex,
        /// The client that asks for it: the worker's, or that of the conversation which a member holds for it.
        worker: ClientId,
    },
    /// It takes itself for the lock's owner from now on, because of the answer that it got last.
    Owns {
        /// The lock, and the worker's key.
        mutex: &'a Mutex,
        /// At which revision its key was created.
        created: Revision,
        /// The client that asked for it.
        worker: ClientId,
    },
    /// It is about to write to what the lock protects, if it still owns the lock.
    Writes {
        /// The lock, and the worker's key.
        mutex: &'a Mutex,
        /// At which revision its key was created.
        created: Revision,
        /// What it writes; nobody else writes the same.
        value: &'a Bytes,
    },
    /// It is about to proclaim something as the lock's owner, if it still is.
    Proclaims {
        /// The lock, and the worker's key.
        mutex: &'a Mutex,
        /// At which revision its key was created.
        created: Revision,
        /// What it proclaims; nobody else writes the same.
        value: &'a Bytes,
    },
    /// An election service said that what it proclaimed is proclaimed.
    Proclaimed {
        /// The lock, and the worker's key.
        mutex: &'a Mutex,
        /// What it proclaimed.
        value: &'a Bytes,
    },
    /// It is about to ask who owns the lock.
    LooksOn {
        /// The lock.
        mutex: &'a Mutex,
        /// The client of the conversation that a member holds for it.
        worker: ClientId,
    },
    /// It is told who owns the lock.
    ToldLeader {
        /// The lock.
        mutex: &'a Mutex,
        /// The client of the conversation.
        worker: ClientId,
        /// It is told so again and again, or because it asked.
        how: LooksOn,
        /// What it is told; `None`: nobody.
        leader: Option<&'a LeaderResponse>,
    },
    /// Everything is quiet, and it is still told of who owns the lock.
    StillObserves {
        /// The lock.
        mutex: &'a Mutex,
        /// The client of the conversation.
        worker: ClientId,
    },
}

/// An observation and its time.
#[derive(Debug)]
pub struct Observed<'a> {
    /// When, in virtual time.
    pub at: Nanos,
    /// What.
    pub what: Observation<'a>,
}
