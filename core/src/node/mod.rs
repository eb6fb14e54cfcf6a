//! The door. Routes, decides nothing.

use crate::config::NodeConfig;
use crate::digest::Digest;
use crate::effect::Outputs;
use crate::input::{Input, Listing};
use crate::state_machine::StoreView;
use crate::time::Instant;
use crate::types::{LogIndex, NodeId, Term};

/// What a node is doing with its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Reading checkpoint and log; answers nobody yet.
    Loading {
        /// Bytes read so far.
        read_bytes: u64,
        /// Bytes to read.
        total_bytes: u64,
    },
    /// Taking part.
    Serving,
    /// Stopping cleanly.
    Stopping,
    /// Will do nothing more.
    Halted,
}

/// What a member is to its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Follows, or does not know whom to follow.
    #[default]
    Follower,
    /// Asks whether it could win.
    PreCandidate,
    /// Asks for votes.
    Candidate,
    /// Leads.
    Leader,
}

/// When a node wants to be woken, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wakeup {
    /// When; [`Instant::NEVER`] for not at all.
    pub at: Instant,
    /// Why, for traces.
    pub why: &'static str,
}

/// A look at a node from outside, for status calls, checkers and metrics. Cheap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// What the node is doing with its life.
    pub phase: Phase,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: Term,
    /// Who leads, as far as it knows; 0 for nobody.
    pub leader: NodeId,
    /// The commit index it knows.
    pub commit: LogIndex,
    /// The last entry it applied.
    pub applied: LogIndex,
    /// The last entry in its log.
    pub last: LogIndex,
    /// The last entry that is durable here.
    pub durable: LogIndex,
    /// The digest of its state.
    pub state: Digest,
}

/// A cluster member without its body: the driver supplies time, bytes and seeds, and carries out the effects.
pub struct Node {
    _private: (),
}

impl Node {
    /// Opens a data directory from the names and sizes of its files; everything else happens in [`Node::step`].
    pub fn open(_config: NodeConfig, _listing: Listing, _now: Instant, _out: &mut Outputs) -> Node {
        Node { _private: () }
    }

    /// Takes one input at time `now` and appends effects and notes to `out`. Never fails, never blocks; bounded work.
    ///
    /// `now` never goes back.
    pub fn step(&mut self, _now: Instant, _input: Input, _out: &mut Outputs) {}

    /// When [`Input::Wakeup`] is wanted next.
    pub fn next_wakeup(&self) -> Wakeup {
        Wakeup { at: Instant::NEVER, why: "nothing to do" }
    }

    /// The store as of the last step: immutable, O(1), to be published before the effects of that step are performed.
    pub fn view(&self) -> StoreView {
        StoreView::default()
    }

    /// A look from outside.
    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            phase: Phase::Halted,
            role: Role::Follower,
            term: Term(0),
            leader: NodeId(0),
            commit: LogIndex(0),
            applied: LogIndex(0),
            last: LogIndex(0),
            durable: LogIndex(0),
            state: Digest(0),
        }
    }
}
