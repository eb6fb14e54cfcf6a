//! The versions of all keys, on persistent maps.
//!
//! A record is in `live` while it is its key's newest and no deletion, else in `history`; it is in `events` too until
//! the sweep has passed it. Loading that only inserts therefore never touches `history`.

use std::sync::Arc;

use bytes::Bytes;
use im::OrdMap;

use super::key_range::KeyRange;
use super::record::{Position, Record};
use crate::api::Status;
use crate::digest::Digest;
use crate::types::Revision;

/// How many records one applied entry sweeps at most. Well above what an entry usually writes, so that the sweep gains
/// on the writers; small enough to leave a step short.
const SWEEP_RECORDS_PER_ENTRY: usize = 16;

/// What [`Mvcc::compacted`] is before the first compaction, as in etcd: it lets a transaction read at −1.
const NEVER_COMPACTED: Revision = -1;

/// The key of a superseded version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct VersionKey {
    pub(crate) key: Bytes,
    pub(crate) at: Position,
}

/// At which revision to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReadAt {
    /// The newest, with what the transaction in progress has written.
    Latest,
    /// As of this revision.
    Revision(Revision),
}

/// The versions of all keys.
#[derive(Clone, Debug)]
pub(crate) struct Mvcc {
    live: OrdMap<Bytes, Arc<Record>>,
    history: OrdMap<VersionKey, Arc<Record>>,
    events: OrdMap<Position, Arc<Record>>,
    /// Its own field, never inferred from records: the newest ones may be compacted away (zoo, row 20).
    revision: Revision,
    /// How many records the transaction in progress has written.
    written: u32,
    compacted: Revision,
    /// The sweep has passed everything before this.
    sweep_next: Position,
    contents: Digest,
    /// What all records take by the replicated measure.
    stored_bytes: i64,
    /// What the live ones among them take.
    live_bytes: i64,
}

impl Default for Mvcc {
    fn default() -> Mvcc {
        Mvcc {
            live: OrdMap::new(),
            history: OrdMap::new(),
            events: OrdMap::new(),
            revision: 1,
            written: 0,
            compacted: NEVER_COMPACTED,
            sweep_next: Position::default(),
            contents: Digest::default(),
            stored_bytes: 0,
            live_bytes: 0,
        }
    }
}

// Writing.
impl Mvcc {
    /// Writes a version of `key` and returns the version that it supersedes. Without `value` or `lease`, the former
    /// ones are kept. Whoever proposes makes sure that there are any; should an entry ask for them where there are
    /// none, all members take an empty value and no lease.
    pub(crate) fn put(&mut self, key: &Bytes, value: Option<&Bytes>, lease: Option<i64>) -> Option<Arc<Record>> {
        let at = self.next_position();
        // Records own their bytes: a slice of a request would keep the whole buffer that it came in alive.
        let copied = value.map(|value| Bytes::copy_from_slice(value));
        let (record, previous) = match self.live.get_mut(key) {
            Some(slot) => {
                let record = Arc::new(Record::new(
                    slot.key.clone(),
                    copied.unwrap_or_else(|| slot.value.clone()),
                    at,
                    slot.create_revision,
                    slot.version + 1,
                    lease.unwrap_or(slot.lease),
                ));
                let previous = std::mem::replace(slot, record.clone());
                (record, Some(previous))
            }
            None => {
                let key = Bytes::copy_from_slice(key);
                let (value, lease) = (copied.unwrap_or_default(), lease.unwrap_or(0));
                let record = Arc::new(Record::new(key, value, at, at.revision, 1, lease));
                self.live.insert(record.key.clone(), record.clone());
                (record, None)
            }
        };
        self.stored_bytes += record.logical_bytes();
        self.live_bytes += record.logical_bytes();
        if let Some(previous) = &previous {
            self.live_bytes -= previous.logical_bytes();
            self.history.insert(VersionKey::of(previous), previous.clone());
        }
        self.contents = self.contents.with(record.digest());
        self.events.insert(at, record);
        previous
    }

    /// Deletes all keys in `range`, in byte order, and returns their last versions.
    pub(crate) fn delete_range(&mut self, range: &KeyRange) -> Vec<Arc<Record>> {
        let mut deleted = Vec::new();
        self.visit(range, ReadAt::Latest, |record| {
            deleted.push(record.clone());
            true
        });
        for record in &deleted {
            self.delete(record);
        }
        deleted
    }

    /// Deletes one key and returns its last version, if it exists.
    pub(crate) fn delete_key(&mut self, key: &Bytes) -> Option<Arc<Record>> {
        let record = self.live.get(key)?.clone();
        self.delete(&record);
        Some(record)
    }

    fn delete(&mut self, record: &Arc<Record>) {
        let tombstone = Arc::new(Record::tombstone(record.key.clone(), self.next_position()));
        let removed = self.live.remove(&record.key);
        assert!(removed.is_some(), "only a live key is deleted");
        self.live_bytes -= record.logical_bytes();
        self.stored_bytes += tombstone.logical_bytes();
        self.history.insert(VersionKey::of(record), record.clone());
        self.history.insert(VersionKey::of(&tombstone), tombstone.clone());
        self.contents = self.contents.with(tombstone.digest());
        self.events.insert(tombstone.at, tombstone);
    }

    fn next_position(&mut self) -> Position {
        let at = Position { revision: self.revision + 1, sub: self.written };
        self.written += 1;
        at
    }

    /// Ends the transaction in progress: if it wrote, its revision is now the current one.
    pub(crate) fn commit(&mut self) {
        if self.written > 0 {
            self.revision += 1;
            self.written = 0;
        }
    }
}

// Compaction.
impl Mvcc {
    /// Makes revisions before `revision` unreadable at once; the sweep removes their records later.
    ///
    /// `Compacted` if that already holds, `FutureRevision` if the revision does not exist yet (contract, section 1.1).
    pub(crate) fn compact(&mut self, revision: Revision) -> Result<(), Status> {
        assert_eq!(self.written, 0, "compaction is never part of a transaction");
        if revision <= self.compacted {
            return Err(Status::Compacted);
        }
        if revision > self.revision {
            return Err(Status::FutureRevision);
        }
        // What the last compaction kept because it stood exactly at its revision is now to be looked at again.
        self.sweep_next = self.sweep_next.min(self.events_floor());
        self.compacted = revision;
        Ok(())
    }

    /// Removes a bounded number of records that no reader and no watcher can ask for any more.
    pub(crate) fn sweep(&mut self) {
        for _ in 0..SWEEP_RECORDS_PER_ENTRY {
            if !self.is_sweeping() {
                return;
            }
            match self.events.get_next(&self.sweep_next).map(|(at, record)| (*at, record.clone())) {
                Some((at, record)) if at.revision <= self.compacted => {
                    self.sweep_record(&record);
                    self.sweep_next = at.next();
                }
                _ => self.sweep_next = Position::first_of(self.compacted + 1),
            }
        }
    }

    /// Whether records wait to be removed.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweep_next.revision <= self.compacted
    }

    /// Every version goes when its successor is swept: so each has at most one predecessor left, and the cost of
    /// compaction is bounded by what was written. What stands exactly at the compacted revision, also a deletion, stays
    /// watchable (zoo, rows 21 and 22).
    fn sweep_record(&mut self, record: &Record) {
        let before = VersionKey::of(record);
        let after_first = VersionKey { key: record.key.clone(), at: Position::default() };
        let predecessor = self.history.range(after_first..before.clone()).next_back().map(|(at, _)| at.clone());
        if let Some(predecessor) = predecessor.filter(|predecessor| predecessor.at.revision < self.compacted) {
            self.forget(&predecessor);
        }
        if record.at.revision < self.compacted {
            self.events.remove(&record.at);
            if record.is_tombstone() {
                self.forget(&before);
            }
        }
    }

    fn forget(&mut self, version: &VersionKey) {
        let record = self.history.remove(version).expect("a version that is swept is still there");
        self.contents = self.contents.without(record.digest());
        self.stored_bytes -= record.logical_bytes();
    }
}

// Reading.
impl Mvcc {
    /// What all records take, and what the live ones among them take, in bytes by the replicated measure.
    pub(crate) fn logical_bytes(&self) -> (i64, i64) {
        (self.stored_bytes, self.live_bytes)
    }

    /// The current revision, without the transaction in progress.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The current revision, counting the transaction in progress if it has written.
    pub(crate) fn newest_revision(&self) -> Revision {
        self.revision + i64::from(self.written > 0)
    }

    /// The compacted revision, or −1.
    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The first place that the sweep has not passed.
    pub(crate) fn sweep_next(&self) -> Position {
        self.sweep_next
    }

    /// No event before this is left.
    pub(crate) fn events_floor(&self) -> Position {
        self.sweep_next.min(Position::first_of(self.compacted.max(0)))
    }

    /// The key's record at a revision, unless it does not exist there.
    pub(crate) fn get(&self, key: &Bytes, at: ReadAt) -> Option<&Arc<Record>> {
        let revision = match at {
            ReadAt::Latest => return self.live.get(key),
            ReadAt::Revision(revision) => revision,
        };
        match self.live.get(key) {
            Some(record) if record.at.revision <= revision => Some(record),
            _ => self.superseded(key, revision),
        }
    }

    /// The newest record of `key` in the history that is no newer than `revision`, unless that is a deletion.
    fn superseded(&self, key: &Bytes, revision: Revision) -> Option<&Arc<Record>> {
        let newest = VersionKey { key: key.clone(), at: Position::last_of(revision) };
        let (version, record) = self.history.get_prev(&newest)?;
        (version.key == *key && !record.is_tombstone()).then_some(record)
    }

    /// Calls `each` for every key in `range` that exists at a revision, in byte order, until it returns false.
    pub(crate) fn visit<'a>(&'a self, range: &KeyRange, at: ReadAt, mut each: impl FnMut(&'a Arc<Record>) -> bool) {
        if range.is_empty() {
            return;
        }
        if let KeyRange::One(key) = range {
            if let Some(record) = self.get(key, at) {
                each(record);
            }
            return;
        }
        match at {
            ReadAt::Latest => {
                for (_, record) in self.live.range::<_, [u8]>(range.bounds()) {
                    if !each(record) {
                        return;
                    }
                }
            }
            ReadAt::Revision(revision) => self.visit_past(range, revision, each),
        }
    }

    /// Walks live keys and superseded keys side by side, so that each key comes once and in order.
    fn visit_past<'a>(&'a self, range: &KeyRange, revision: Revision, mut each: impl FnMut(&'a Arc<Record>) -> bool) {
        let mut live = self.live.range::<_, [u8]>(range.bounds()).map(|(_, record)| record).peekable();
        let mut old = self.next_superseded_key(range, range.start(), true);
        loop {
            let from_live = match (live.peek(), old) {
                (None, None) => return,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (Some(record), Some(key)) => record.key <= *key,
            };
            let found = if from_live {
                let record = live.next().expect("peeked");
                if old == Some(&record.key) {
                    old = self.next_superseded_key(range, &record.key, false);
                }
                if record.at.revision <= revision { Some(record) } else { self.superseded(&record.key, revision) }
            } else {
                let key = old.expect("one of the two is there");
                old = self.next_superseded_key(range, key, false);
                self.superseded(key, revision)
            };
            if let Some(record) = found
                && !each(record)
            {
                return;
            }
        }
    }

    /// The first key in `range` after `key`, or from it on, that has superseded versions.
    fn next_superseded_key(&self, range: &KeyRange, key: &Bytes, inclusive: bool) -> Option<&Bytes> {
        let at = if inclusive { Position::default() } else { Position::last_of(Revision::MAX) };
        let (version, _) = self.history.get_next(&VersionKey { key: key.clone(), at })?;
        range.contains(&version.key).then_some(&version.key)
    }

    /// How many keys of `range` exist at a revision.
    pub(crate) fn count(&self, range: &KeyRange, at: ReadAt) -> usize {
        if at == ReadAt::Latest && matches!(range, KeyRange::From(start) if start.as_ref() <= [0].as_slice()) {
            return self.live.len();
        }
        let mut count = 0;
        self.visit(range, at, |_| {
            count += 1;
            true
        });
        count
    }

    /// The records of the revisions `first..=last`, in order. None before the compacted revision.
    pub(crate) fn events(&self, first: Revision, last: Revision) -> impl Iterator<Item = &Arc<Record>> {
        let first = Position::first_of(first.max(self.compacted));
        let last = Position::last_of(last.min(self.revision));
        let none = last < first;
        self.events.range(first..=last.max(first)).map(|(_, record)| record).filter(move |_| !none)
    }
}

// Contents, for snapshots and digests.
impl Mvcc {
    /// The digest of everything in here, kept up to date by each change.
    pub(crate) fn digest(&self) -> Digest {
        self.contents.with(self.scalars_digest())
    }

    /// The same, computed from the contents.
    pub(crate) fn recompute_digest(&self) -> Digest {
        let records = self.live.values().chain(self.history.values());
        let contents = records.fold(Digest::default(), |digest, record| digest.with(record.recompute_digest()));
        contents.with(self.scalars_digest())
    }

    fn scalars_digest(&self) -> Digest {
        assert_eq!(self.written, 0, "no digest in the middle of a transaction");
        let mut bytes = [0u8; 32];
        bytes[0..4].copy_from_slice(b"mvc1");
        bytes[4..12].copy_from_slice(&self.revision.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.compacted.to_le_bytes());
        bytes[20..28].copy_from_slice(&self.sweep_next.revision.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.sweep_next.sub.to_le_bytes());
        Digest::of(&bytes)
    }

    /// The live records after `after`, in key order.
    pub(crate) fn live_after(&self, after: Option<&Bytes>) -> impl Iterator<Item = &Arc<Record>> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.as_ref()));
        self.live.range::<_, [u8]>((start, Bound::Unbounded)).map(|(_, record)| record)
    }

    /// The superseded records after `after`, in order of (key, position).
    pub(crate) fn history_after(&self, after: Option<&VersionKey>) -> impl Iterator<Item = &Arc<Record>> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.history.range::<_, VersionKey>((start, Bound::Unbounded)).map(|(_, record)| record)
    }

    /// How many live and how many superseded records there are.
    pub(crate) fn lens(&self) -> (usize, usize) {
        (self.live.len(), self.history.len())
    }

    /// An empty store with these scalars, to be filled from a snapshot.
    pub(crate) fn with_scalars(revision: Revision, compacted: Revision, sweep_next: Position) -> Mvcc {
        Mvcc { revision, compacted, sweep_next, ..Mvcc::default() }
    }

    /// Puts a record of a snapshot back.
    pub(crate) fn restore(&mut self, record: Record, live: bool) {
        let record = Arc::new(record);
        self.contents = self.contents.with(record.digest());
        self.stored_bytes += record.logical_bytes();
        self.live_bytes += if live { record.logical_bytes() } else { 0 };
        if record.at >= self.events_floor() {
            self.events.insert(record.at, record.clone());
        }
        if live {
            self.live.insert(record.key.clone(), record);
        } else {
            self.history.insert(VersionKey::of(&record), record);
        }
    }
}

impl VersionKey {
    pub(crate) fn of(record: &Record) -> VersionKey {
        VersionKey { key: record.key.clone(), at: record.at }
    }
}
