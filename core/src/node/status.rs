//! What a node shows of itself.

use crate::digest::Digest;
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
    /// Taking part, but without a vote: its disk may have lost what it had acknowledged, and the others have to send it
    /// again.
    Repairing,
    /// Taking part.
    Serving,
    /// Stopping cleanly.
    Stopping,
    /// Will do nothing more.
    Halted,
}

impl Phase {
    /// Whether the node is a member among the others, with a log that grows.
    pub fn takes_part(self) -> bool {
        matches!(self, Phase::Repairing | Phase::Serving | Phase::Stopping)
    }
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

impl Wakeup {
    /// The earlier of the two.
    #[must_use]
    pub(super) fn or(self, at: Instant, why: &'static str) -> Wakeup {
        if at < self.at { Wakeup { at, why } } else { self }
    }
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
    /// The last entry up to which its log, as it stands, is durable.
    pub durable: LogIndex,
    /// The digest of its state.
    pub state: Digest,
}

impl NodeStatus {
    /// A node that does nothing else; all numbers are 0.
    pub fn of_phase(phase: Phase) -> NodeStatus {
        NodeStatus {
            phase,
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
