//! The versions of all keys, on persistent maps.
//!
//! All records are in the history, in the order in which they were written, which is the order of events, too. The
//! newest record of each key is also in `live`, or in `deleted` if it is a deletion; from there older ones are reached
//! by their lineage, in few hops however many there are.

use bytes::Bytes;
use im::OrdMap;

use super::history::{History, Predecessor};
use super::index_key::IndexKey;
use super::key_range::KeyRange;
use super::record::{Contents, Position, Record};
use crate::api::Status;
use crate::digest::Digest;
use crate::types::Revision;

/// How many records any applied entry sweeps at most. Well above what an entry usually writes, so that the sweep gains
/// on the writers; small enough to leave a step short.
pub(super) const SWEEP_RECORDS_PER_ENTRY: u32 = 16;

/// How many records an entry may ask to be swept, at most.
pub const SWEEP_RECORDS_MAX: u32 = 10_000;

/// What [`Mvcc::compacted`] is before the first compaction, as in etcd: it lets a transaction read at −1.
const NEVER_COMPACTED: Revision = -1;

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
    live: OrdMap<IndexKey, Record>,
    deleted: OrdMap<IndexKey, Record>,
    pub(super) history: History,
    /// Its own field, never inferred from records: the newest ones may be compacted away (zoo, row 20).
    revision: Revision,
    /// How many records the transaction in progress has written.
    written: u32,
    compacted: Revision,
    /// The sweep has passed everything before this.
    sweep_next: Position,
    /// What the live records take by the replicated measure.
    live_bytes: i64,
}

impl Default for Mvcc {
    fn default() -> Mvcc {
        Mvcc {
            live: OrdMap::new(),
            deleted: OrdMap::new(),
            history: History::default(),
            revision: 1,
            written: 0,
            compacted: NEVER_COMPACTED,
            sweep_next: Position::default(),
            live_bytes: 0,
        }
    }
}

// Writing.
impl Mvcc {
    /// Writes a version of `key` and returns the version that it supersedes, with the lease of that. Without `value` or
    /// `lease`, the former ones are kept. Whoever proposes makes sure that there are any; should an entry ask for them
    /// where there are none, all members take an empty value and no lease.
    pub(crate) fn put(&mut self, key: &[u8], value: Option<&[u8]>, lease: Option<i64>) -> Option<(Record, i64)> {
        let at = self.next_position();
        let newest = match IndexKey::short(key) {
            Some(key) => self.live.get_mut(&key),
            None => self.live.get_mut(key),
        };
        let Some(newest) = newest else {
            let (value, lease) = (value.unwrap_or_default(), lease.unwrap_or(0));
            self.create(&Contents { key, value, at, create_revision: at.revision, version: 1, lease });
            return None;
        };
        let before = newest.numbers();
        let contents = Contents {
            key,
            value: value.unwrap_or(newest.value()),
            at,
            create_revision: before.create_revision,
            version: before.version + 1,
            lease: lease.unwrap_or(before.lease),
        };
        let newest_at = Position { revision: newest.revision(), sub: before.sub };
        let record = self.history.append(&contents, Some(Predecessor { at: newest_at, lineage: before.lineage }));
        self.live_bytes += record.logical_bytes() - newest.logical_bytes();
        Some((std::mem::replace(newest, record), before.lease))
    }

    /// Adds the first version of a key that does not exist, or no longer.
    fn create(&mut self, contents: &Contents<'_>) {
        let buried = if self.deleted.is_empty() { None } else { self.deleted.remove(contents.key) };
        let record = self.history.append(contents, buried.as_ref().map(Predecessor::of));
        self.live_bytes += record.logical_bytes();
        self.live.insert(IndexKey::from(record.key()), record);
    }

    /// Deletes all keys in `range`, in byte order, and returns their last versions.
    pub(crate) fn delete_range(&mut self, range: &KeyRange) -> Vec<Record> {
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
    pub(crate) fn delete_key(&mut self, key: &Bytes) -> Option<Record> {
        let record = self.live.get(&key[..])?.clone();
        self.delete(&record);
        Some(record)
    }

    fn delete(&mut self, record: &Record) {
        let at = self.next_position();
        self.bury(&Contents::tombstone(record.key(), at));
    }

    /// Adds a deletion; there may be nothing to delete, if it comes from a snapshot.
    fn bury(&mut self, tombstone: &Contents<'_>) {
        let former = self.live.remove(tombstone.key);
        self.live_bytes -= former.as_ref().map_or(0, |former| former.logical_bytes());
        let previous = former.as_ref().or_else(|| self.deleted.get(tombstone.key));
        let record = self.history.append(tombstone, previous.map(Predecessor::of));
        self.deleted.insert(IndexKey::from(record.key()), record);
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
        self.sweep_next = self.sweep_next.min(Position::first_of(self.compacted.max(0)));
        self.compacted = revision;
        Ok(())
    }

    /// Looks at so many records, or at the most that is allowed, and removes those that no reader and no watcher can
    /// ask for any more.
    #[inline]
    pub(crate) fn sweep(&mut self, records: u32) {
        // Every entry asks, and most of the time there is nothing to do.
        if self.is_sweeping() {
            self.sweep_some(records);
        }
    }

    fn sweep_some(&mut self, records: u32) {
        for _ in 0..records.min(SWEEP_RECORDS_MAX) {
            if !self.is_sweeping() {
                return;
            }
            match self.history.next_from(self.sweep_next).cloned() {
                Some(record) if record.at().revision <= self.compacted => {
                    self.sweep_record(&record);
                    self.sweep_next = record.at().next();
                }
                _ => self.sweep_next = Position::first_of(self.compacted + 1),
            }
        }
    }

    /// Whether records wait to be removed.
    pub(crate) fn is_sweeping(&self) -> bool {
        self.sweep_next.revision <= self.compacted
    }

    /// Every record goes when its successor is swept: so the cost of compaction is bounded by what was written, not by
    /// what is stored. What stands exactly at the compacted revision, also a deletion, stays watchable (zoo, rows 21
    /// and 22).
    fn sweep_record(&mut self, record: &Record) {
        let previous = record.lineage().previous;
        if previous.revision < self.compacted {
            self.history.forget(previous);
        }
        if record.is_tombstone() && record.at().revision < self.compacted {
            self.history.forget(record.at());
            if self.deleted.get(record.key()).is_some_and(|newest| newest.at() == record.at()) {
                self.deleted.remove(record.key());
            }
        }
    }
}

// Reading.
impl Mvcc {
    /// What all records take, and what the live ones among them take, in bytes by the replicated measure.
    pub(crate) fn logical_bytes(&self) -> (i64, i64) {
        (self.history.logical_bytes(), self.live_bytes)
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

    /// The key's record at a revision, unless it does not exist there.
    pub(crate) fn get(&self, key: &[u8], at: ReadAt) -> Option<&Record> {
        let revision = match at {
            ReadAt::Latest => return self.live.get(key),
            ReadAt::Revision(revision) => revision,
        };
        let newest = self.live.get(key).or_else(|| self.deleted.get(key))?;
        self.as_of(newest, revision)
    }

    /// What the key of `newest`, its newest record, had at a revision that is not compacted.
    fn as_of<'a>(&'a self, newest: &'a Record, revision: Revision) -> Option<&'a Record> {
        assert!(revision >= self.compacted, "what is compacted is not asked for: checked before");
        let mut record = newest;
        while record.at().revision > revision {
            record = self.history.hop(record, revision)?;
        }
        (!record.is_tombstone()).then_some(record)
    }

    /// Calls `each` for every key in `range` that exists at a revision, in byte order, until it returns false.
    pub(crate) fn visit<'a>(&'a self, range: &KeyRange, at: ReadAt, mut each: impl FnMut(&'a Record) -> bool) {
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

    /// Walks live and deleted keys side by side, so that they come in order.
    fn visit_past<'a>(&'a self, range: &KeyRange, revision: Revision, mut each: impl FnMut(&'a Record) -> bool) {
        let mut live = self.live.range::<_, [u8]>(range.bounds()).peekable();
        let mut deleted = self.deleted.range::<_, [u8]>(range.bounds()).peekable();
        loop {
            let is_live_next = match (live.peek(), deleted.peek()) {
                (Some((live, _)), Some((deleted, _))) => live < deleted,
                (live, _) => live.is_some(),
            };
            let Some((_, newest)) = (if is_live_next { live.next() } else { deleted.next() }) else { return };
            if let Some(record) = self.as_of(newest, revision)
                && !each(record)
            {
                return;
            }
        }
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
    pub(crate) fn events(&self, first: Revision, last: Revision) -> impl Iterator<Item = &Record> {
        let first = Position::first_of(first.max(self.compacted));
        let last = Position::last_of(last.min(self.revision));
        let none = last < first;
        self.history.range(first..=last.max(first)).filter(move |_| !none)
    }
}

// Contents, for snapshots and digests.
impl Mvcc {
    /// The digest of everything in here, kept up to date by each change.
    pub(crate) fn digest(&self) -> Digest {
        self.history.digest().with(self.scalars_digest())
    }

    /// The same, computed from the contents; makes sure that indexes and sizes agree with them.
    pub(crate) fn recompute_digest(&self) -> Digest {
        let mut newest = 0;
        for record in self.records_after(None) {
            let index = if record.is_tombstone() { &self.deleted } else { &self.live };
            newest += usize::from(index.get(record.key()).is_some_and(|newest| newest.at() == record.at()));
        }
        assert_eq!(newest, self.live.len() + self.deleted.len(), "the newest records are in one index each");
        let live_bytes = self.live.values().map(|record| record.logical_bytes()).sum::<i64>();
        assert_eq!(self.live_bytes, live_bytes, "the live size is that of the live records");
        self.history.recompute_digest().with(self.scalars_digest())
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

    /// The records after `after`, in order.
    pub(crate) fn records_after(&self, after: Option<Position>) -> impl Iterator<Item = &Record> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.history.range((start, Bound::Unbounded))
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.history.len()
    }

    /// An empty store with these scalars, to be filled from a snapshot.
    pub(crate) fn with_scalars(revision: Revision, compacted: Revision, sweep_next: Position) -> Mvcc {
        Mvcc { revision, compacted, sweep_next, ..Mvcc::default() }
    }

    /// Puts a record of a snapshot back, after all that were written before it.
    pub(crate) fn restore(&mut self, contents: &Contents<'_>) {
        if contents.is_tombstone() {
            self.bury(contents);
        } else if let Some(newest) = self.live.get_mut(contents.key) {
            let record = self.history.append(contents, Some(Predecessor::of(newest)));
            self.live_bytes += record.logical_bytes() - newest.logical_bytes();
            *newest = record;
        } else {
            self.create(contents);
        }
    }
}
