//! The Raft log's values as the rest of the core knows them; only `consensus` knows raft-rs's own.

use bytes::Bytes;

use crate::types::{LogIndex, NodeId, Term};

/// What an entry means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// An encoded `InternalRaftRequest`, or empty: the entry that opens a leader's term.
    Normal,
    /// An encoded `raftpb.ConfChange` with etcd's numbers.
    ConfChange,
    /// An encoded `raftpb.ConfChangeV2`; empty means "leave the joint configuration".
    ConfChangeV2,
}

/// One entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The term of the leader that appended it.
    pub term: Term,
    /// Its position.
    pub index: LogIndex,
    /// What `data` means.
    pub kind: EntryKind,
    /// The payload.
    pub data: Bytes,
}

/// What a member must never forget (Raft, figure 2), and how far it knew the log to be committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The newest term the member has seen.
    pub term: Term,
    /// Whom it voted for in that term; 0 for nobody.
    pub vote: NodeId,
    /// The commit index it knew.
    pub commit: LogIndex,
}

/// The members of a configuration, each list sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfState {
    /// Who votes.
    pub voters: Vec<NodeId>,
    /// Who only learns.
    pub learners: Vec<NodeId>,
    /// In a joint configuration: who voted before.
    pub voters_outgoing: Vec<NodeId>,
    /// In a joint configuration: voters who become learners when it is left.
    pub learners_next: Vec<NodeId>,
    /// In a joint configuration: whether the leader leaves it by itself.
    pub auto_leave: bool,
}

impl ConfState {
    /// Whether one voter decides alone.
    pub fn is_alone(&self) -> bool {
        self.voters.len() == 1 && self.voters_outgoing.is_empty()
    }
}

/// Where a snapshot stands in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// The last entry that the snapshot contains.
    pub index: LogIndex,
    /// That entry's term.
    pub term: Term,
    /// The configuration exactly at `index`.
    pub conf_state: ConfState,
}
