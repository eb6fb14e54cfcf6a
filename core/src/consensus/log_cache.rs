//! The log in memory: the entries since some point. Older ones are gone; a follower that needs them gets a snapshot.
//! raft-rs reads it as its storage, and sees everything of an entry but its data (see [`wire`]).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use raft::eraftpb::{self, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::wire::Payload;
use super::{convert, wire};
use crate::log::{ConfState, Entry, EntryKind, HardState, SnapshotMeta};
use crate::types::{LogIndex, Term};

/// The log that raft-rs reads. Entries stand here as soon as they are handed to the disk, durable or not.
pub(super) struct LogCache {
    /// The entry before the first one here.
    base: (LogIndex, Term),
    entries: VecDeque<Entry>,
    /// Entries with data that raft-rs has taken and not yet handed on, with rising indexes.
    fresh: VecDeque<Entry>,
    /// What is left of the block of memory that the data of entries is written to.
    block: BytesMut,
    bytes: u64,
    /// How much is read at once where there is to be a limit, in bytes.
    read_bytes_max: u64,
    /// What a restart began with; raft-rs reads it once.
    hard_state: HardState,
    /// What a follower gets when it needs entries that are gone: always the state as applied.
    snapshot: SnapshotMeta,
}

impl LogCache {
    /// A log that begins after `base`, with the state applied up to `applied`.
    pub(super) fn new(
        base: (LogIndex, Term),
        applied: SnapshotMeta,
        hard_state: HardState,
        read_bytes_max: u64,
    ) -> LogCache {
        assert!(base.0 <= applied.index, "the state stands before the log begins");
        let (entries, fresh) = (VecDeque::new(), VecDeque::new());
        let block = BytesMut::new();
        LogCache { base, entries, fresh, block, bytes: 0, read_bytes_max, hard_state, snapshot: applied }
    }

    /// Keeps entries with data that raft-rs has just put into its log, until it hands them on. They came together, with
    /// rising indexes.
    pub(super) fn keep(&mut self, payloads: &[Payload<'_>]) {
        if payloads.is_empty() {
            return;
        }
        let mut owned = self.own(payloads);
        for payload in payloads {
            let data = owned.split_to(payload.data.len());
            self.keep_one(payload.term, payload.index, data);
        }
    }

    fn keep_one(&mut self, term: Term, index: LogIndex, data: Bytes) {
        if self.fresh.back().is_some_and(|last| last.index >= index) {
            let place = self.fresh.partition_point(|kept| kept.index < index);
            if (self.fresh[place].index, self.fresh[place].term) == (index, term) {
                return;
            }
            self.fresh.truncate(place);
        }
        self.fresh.push_back(Entry { term, index, kind: EntryKind::Normal, data });
    }

    /// The data of entries, one after the other, in memory of the log: the buffer that it came in may be larger, and
    /// entries that came one after the other are forgotten one after the other.
    fn own(&mut self, payloads: &[Payload<'_>]) -> Bytes {
        let len = payloads.iter().map(|payload| payload.data.len()).sum();
        let is_long = len > BLOCK_BYTES / 4;
        if !is_long && self.block.capacity() < len {
            self.block = BytesMut::with_capacity(BLOCK_BYTES);
        }
        let mut apart = BytesMut::new();
        let block = if is_long { &mut apart } else { &mut self.block };
        block.reserve(len);
        payloads.iter().for_each(|payload| block.extend_from_slice(payload.data));
        block.split().freeze()
    }

    /// Takes what raft-rs hands on, each entry with its data again.
    ///
    /// # Panics
    /// The data of an entry was never kept.
    pub(super) fn complete(&mut self, entries: Vec<eraftpb::Entry>) -> Vec<Entry> {
        let complete = |entry: eraftpb::Entry| {
            if !wire::is_elsewhere(&entry) {
                return convert::entry_from_raft(entry);
            }
            let (index, term) = (LogIndex(entry.index), Term(entry.term));
            while self.fresh.front().is_some_and(|kept| kept.index < index) {
                self.fresh.pop_front();
            }
            let kept = self.fresh.pop_front().filter(|kept| kept.index == index && kept.term == term);
            kept.expect("the data of every entry is kept until raft-rs hands the entry on")
        };
        let entries = entries.into_iter().map(complete).collect();
        self.fresh.clear();
        entries
    }

    /// Puts entries in, cutting off what they overwrite.
    pub(super) fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(first.index > self.base.0, "an entry from before the log's beginning");
        let keep = first.index.0 - self.base.0.0 - 1;
        assert!(keep <= self.entries.len() as u64, "a gap in the log");
        while self.entries.len() as u64 > keep {
            let cut = self.entries.pop_back().expect("counted");
            self.bytes -= cut.data.len() as u64;
        }
        self.bytes += entries.iter().map(|entry| entry.data.len() as u64).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
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
        self.base = (entry.index, entry.term);
    }

    /// Replaces everything by a snapshot.
    pub(super) fn install(&mut self, meta: SnapshotMeta) {
        self.entries.clear();
        self.fresh.clear();
        self.bytes = 0;
        self.base = (meta.index, meta.term);
        self.snapshot = meta;
    }

    /// Says which entry a snapshot would stand at from now on.
    pub(super) fn applied_to(&mut self, index: LogIndex, term: Term) {
        assert!(index >= self.snapshot.index, "the state does not go back");
        (self.snapshot.index, self.snapshot.term) = (index, term);
    }

    /// Says what configuration a snapshot would have from now on.
    pub(super) fn reconfigured(&mut self, conf_state: ConfState) {
        self.snapshot.conf_state = conf_state;
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
        self.at(index).map(|entry| entry.term)
    }

    /// The entry that has this index and this term, if the log has it: two entries that agree in both are the same
    /// (Raft, section 5.3).
    pub(super) fn entry(&self, index: LogIndex, term: Term) -> Option<&Entry> {
        self.at(index).filter(|entry| entry.term == term)
    }

    fn at(&self, index: LogIndex) -> Option<&Entry> {
        let position = index.0.checked_sub(self.base.0.0 + 1)?;
        self.entries.get(usize::try_from(position).ok()?)
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
        let max_size = max_size.into().map_or(u64::MAX, |max| max.min(self.read_bytes_max));
        let mut size = 0;
        let place = |index: u64| usize::try_from(index - first).expect("the log fits in memory");
        let wanted = self.entries.range(place(low)..place(high.max(low)));
        let mut entries = Vec::with_capacity(wanted.len().min(wire::ENTRIES_AT_ONCE));
        for entry in wanted {
            size += entry.data.len() as u64 + ENTRY_OVERHEAD_BYTES;
            if size > max_size && !entries.is_empty() {
                break;
            }
            entries.push(convert::entry_to_raft(entry));
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

/// The data of entries is written to blocks of this size.
const BLOCK_BYTES: usize = 64 << 10;

/// What an entry costs in a message beyond its payload, about.
const ENTRY_OVERHEAD_BYTES: u64 = 24;
