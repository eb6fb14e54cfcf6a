//! raft-rs's view of the log: the entries since some point, in memory. Older ones are gone, and a follower that needs
//! them gets a snapshot.

use std::collections::VecDeque;

use raft::eraftpb::{self, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::convert;
use crate::log::{HardState, SnapshotMeta};
use crate::types::{LogIndex, Term};

/// The log that raft-rs reads. Entries stand here as soon as they are handed to the disk, durable or not.
pub(super) struct LogCache {
    /// The entry before the first one here.
    base: (LogIndex, Term),
    entries: VecDeque<eraftpb::Entry>,
    bytes: u64,
    /// What a restart began with; raft-rs reads it once.
    hard_state: HardState,
    /// What a follower gets when it needs entries that are gone: always the state as applied.
    snapshot: SnapshotMeta,
}

impl LogCache {
    /// A log that begins after `base`, with the state applied up to `applied`.
    pub(super) fn new(base: (LogIndex, Term), applied: SnapshotMeta, hard_state: HardState) -> LogCache {
        assert!(base.0 <= applied.index, "the state stands before the log begins");
        LogCache { base, entries: VecDeque::new(), bytes: 0, hard_state, snapshot: applied }
    }

    /// Puts entries in, cutting off what they overwrite.
    pub(super) fn append(&mut self, entries: &[eraftpb::Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.0.0, "an entry from before the log's beginning");
        let keep = first.index - self.base.0.0 - 1;
        assert!(keep <= self.entries.len() as u64, "a gap in the log");
        while self.entries.len() as u64 > keep {
            let cut = self.entries.pop_back().expect("counted");
            self.bytes -= cut.data.len() as u64;
        }
        for entry in entries {
            self.bytes += entry.data.len() as u64;
            self.entries.push_back(entry.clone());
        }
    }

    /// Forgets entries up to and including `index`, which must be applied.
    pub(super) fn compact(&mut self, index: LogIndex) {
        assert!(index <= self.snapshot.index, "entries that are not applied cannot be forgotten");
        while self.base.0 < index {
            self.forget_oldest();
        }
    }

    /// Forgets entries until the others take no more than `bytes`, but none behind `at_most`, which must be applied.
    pub(super) fn compact_to_bytes(&mut self, bytes: u64, at_most: LogIndex) {
        assert!(at_most <= self.snapshot.index, "entries that are not applied cannot be forgotten");
        while self.bytes > bytes && self.base.0 < at_most {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let entry = self.entries.pop_front().expect("applied entries are in the log");
        self.bytes -= entry.data.len() as u64;
        self.base = (LogIndex(entry.index), Term(entry.term));
    }

    /// Replaces everything by a snapshot.
    pub(super) fn install(&mut self, meta: SnapshotMeta) {
        self.entries.clear();
        self.bytes = 0;
        self.base = (meta.index, meta.term);
        self.snapshot = meta;
    }

    /// Says what state a snapshot would have from now on.
    pub(super) fn applied(&mut self, meta: SnapshotMeta) {
        assert!(meta.index >= self.snapshot.index, "the state does not go back");
        self.snapshot = meta;
    }

    /// The state as applied.
    pub(super) fn snapshot_meta(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    /// The entry before the first one here.
    pub(super) fn base(&self) -> LogIndex {
        self.base.0
    }

    /// The last entry.
    pub(super) fn last(&self) -> LogIndex {
        LogIndex(self.base.0.0 + self.entries.len() as u64)
    }

    /// The payload bytes in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The term of an entry, if the log knows it.
    pub(super) fn term_of(&self, index: LogIndex) -> Option<Term> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        let position = index.0.checked_sub(self.base.0.0 + 1)?;
        self.entries.get(usize::try_from(position).ok()?).map(|entry| Term(entry.term))
    }
}

impl Storage for LogCache {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState {
            hard_state: convert::hard_state_to_raft(self.hard_state),
            conf_state: convert::conf_state_to_raft(&self.snapshot.conf_state),
        })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        let first = self.base.0.0 + 1;
        if low < first {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        assert!(high <= self.last().0 + 1, "raft-rs asked for entries {low}..{high} of a log that ends before");
        let max_size = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let mut entries = Vec::new();
        for index in low..high {
            let position = usize::try_from(index - first).expect("the log fits in memory");
            let entry = &self.entries[position];
            size += entry.data.len() as u64 + ENTRY_OVERHEAD_BYTES;
            if size > max_size && !entries.is_empty() {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.base.0.0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        self.term_of(LogIndex(index)).map(|term| term.0).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.0.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().0)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        if self.snapshot.index.0 < request_index {
            return Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(Snapshot { data: Vec::new(), metadata: Some(convert::meta_to_raft(&self.snapshot)) })
    }
}

/// What an entry costs in a message beyond its payload, about.
const ENTRY_OVERHEAD_BYTES: u64 = 24;
