//! What observers of a run are told. Observers draw nothing and change nothing.

use detcd_core::{NodeStatus, Note, StoreView};

use crate::history::{HistoryEvent, Nanos};

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
        notes: &'a [Note],
        /// How it stands now.
        status: NodeStatus,
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
    /// Faults have ended: from here on a core of the cluster has to converge.
    Healed,
}

/// An observation and its time.
#[derive(Debug)]
pub struct Observed<'a> {
    /// When, in virtual time.
    pub at: Nanos,
    /// What.
    pub what: Observation<'a>,
}
