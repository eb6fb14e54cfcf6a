//! The replicated state: a function of the entries applied, and of nothing else.
//!
//! Knows revision, key, lease, member; does not know term, leader, peer, disk or time.

use crate::proto::mvccpb;
use crate::types::{LogIndex, Revision};

/// The store at one applied index: immutable, O(1) to clone, readable from any thread.
#[derive(Clone, Debug, Default)]
pub struct StoreView {}

impl StoreView {
    /// The last entry that this store contains.
    pub fn applied(&self) -> LogIndex {
        LogIndex(0)
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        1
    }

    /// The compacted revision: older ones cannot be read, this one can. 0 if there was no compaction yet.
    pub fn compacted(&self) -> Revision {
        0
    }

    /// The events of the revisions from `first` on, in order of (revision, sub-revision), without previous values;
    /// each with its revision in `kv.mod_revision`.
    pub fn events_since(&self, _first: Revision) -> impl Iterator<Item = mvccpb::Event> + '_ {
        std::iter::empty()
    }
}
