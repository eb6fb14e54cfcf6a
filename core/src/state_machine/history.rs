//! All records in the order in which they were written, which is the order of events, too.

use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use im::OrdMap;

use super::record::{Contents, Lineage, Position, Record};
use crate::digest::Digest;
use crate::types::Revision;

/// How many versions of a key lie between two from which old ones are reached in few hops.
const MILESTONE: u32 = 8;

/// How many records stand in one row. A row is what is copied when a record is written while somebody looks at the
/// store, and one place in the map: more would make the one dearer, fewer the other.
const ROW: usize = 32;

/// Records that were written one after the other, in order, without those that were swept.
type Row = Vec<Record>;

/// The record of a key before another one: where it stands, and its own predecessors.
#[derive(Clone, Copy, Debug)]
pub(super) struct Predecessor {
    pub at: Position,
    pub lineage: Lineage,
}

impl Predecessor {
    pub fn of(record: &Record) -> Predecessor {
        Predecessor { at: record.at(), lineage: record.lineage() }
    }
}

/// All records that are stored, with their digest and their size.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// By the place of the first record that each row had. No row is empty.
    rows: OrdMap<Position, Arc<Row>>,
    /// The last row, with the place of the first record that it had: it is written to without a search. Empty only if
    /// nothing was written after the rows before it, or that was swept.
    last: (Position, Arc<Row>),
    len: usize,
    digest: Digest,
    logical_bytes: i64,
}

impl History {
    /// Adds a record at the end; `previous` is the one of the same key before it.
    pub(crate) fn append(&mut self, contents: &Contents<'_>, previous: Option<Predecessor>) -> Record {
        let at = contents.at;
        let lineage = previous.map_or(Lineage::default(), |previous| self.lineage_after(previous));
        let record = Record::new(contents, lineage);
        self.digest = self.digest.with(contents.digest());
        self.logical_bytes += record.logical_bytes();
        self.len += 1;
        if self.last.1.is_empty() || self.last.1.len() >= ROW {
            let (first, row) = std::mem::replace(&mut self.last, (at, Arc::new(Row::with_capacity(ROW))));
            if !row.is_empty() {
                self.rows.insert(first, row);
            }
        }
        Arc::make_mut(&mut self.last.1).push(record.clone());
        record
    }

    /// The record at `at`, if it is still there.
    fn get(&self, at: Position) -> Option<&Record> {
        let row = if at >= self.last.0 { &self.last.1 } else { self.rows.get_prev(&at)?.1 };
        row.get(place_in(row, at)?)
    }

    /// The lineage of a record that follows `previous`. Every eighth record of a key is a milestone. The others jump to
    /// the milestone before them, which they have from `previous`. The milestone of number m jumps to that whose number
    /// is m without its lowest bit, over the jumps of the milestones between: to look at them costs a search each, but
    /// on average there is one in every eight records.
    fn lineage_after(&self, previous: Predecessor) -> Lineage {
        let Predecessor { at: previous, lineage: before } = previous;
        let depth = before.depth.saturating_add(1);
        let mut jump = if before.depth.is_multiple_of(MILESTONE) { previous } else { before.jump };
        if depth.is_multiple_of(MILESTONE) {
            let target = without_lowest_bit(depth / MILESTONE);
            let mut reached = depth / MILESTONE - 1;
            while reached > target
                && let Some(milestone) = self.get(jump)
            {
                jump = milestone.lineage().jump;
                reached = without_lowest_bit(reached);
            }
        }
        Lineage { depth, previous, jump }
    }

    /// Removes a record, if it is still there.
    pub(crate) fn forget(&mut self, at: Position) {
        let is_last = at >= self.last.0;
        let row = if is_last { Some((&self.last.0, &mut self.last.1)) } else { self.rows.get_prev_mut(&at) };
        let Some((first, row)) = row else { return };
        let Some(place) = place_in(row, at) else { return };
        let first = *first;
        let row = Arc::make_mut(row);
        let record = row.remove(place);
        if row.len() * 4 <= row.capacity() {
            row.shrink_to_fit();
        }
        if row.is_empty() && !is_last {
            self.rows.remove(&first);
        }
        self.len -= 1;
        self.digest = self.digest.without(record.digest());
        self.logical_bytes -= record.logical_bytes();
    }

    /// The next record on the way from a newer one to what was there at `revision`: as far back as is sure not to miss
    /// it. What is newer than `revision` is there; what is not may have been swept, and did not exist then.
    pub(crate) fn hop(&self, record: &Record, revision: Revision) -> Option<&Record> {
        let Lineage { previous, jump, .. } = record.lineage();
        self.get(if jump.revision > revision { jump } else { previous })
    }

    /// The first record that stands at `at` or later.
    pub(crate) fn next_from(&self, at: Position) -> Option<&Record> {
        self.range(at..).next()
    }

    /// The records within `positions`, in order.
    pub(crate) fn range(&self, positions: impl RangeBounds<Position>) -> impl Iterator<Item = &Record> {
        let end = positions.end_bound().cloned();
        let (first, is_wanted) = match positions.start_bound().cloned() {
            Bound::Included(first) => (first, true),
            Bound::Excluded(first) => (first, false),
            Bound::Unbounded => (Position::default(), true),
        };
        let stands_before = |record: &Record| record.at() < first || (record.at() == first && !is_wanted);
        // Most of the time somebody asks for what is new, which stands in the last row.
        let is_last = first >= self.last.0;
        let before = if is_last { None } else { self.rows.get_prev(&first) };
        let (row_start, row) = before.map_or((first, &self.last.1), |(start, row)| (*start, row));
        let skipped = if is_last || before.is_some() {
            match place_in(row, first) {
                Some(place) => place + usize::from(!is_wanted),
                None => row.partition_point(stands_before),
            }
        } else {
            0
        };
        let rows = (!is_last).then(|| self.rows.range(row_start..)).into_iter().flatten();
        let records = rows.flat_map(|(_, row)| row.iter()).chain(self.last.1.iter()).skip(skipped);
        records.take_while(move |record| match end {
            Bound::Included(last) => record.at() <= last,
            Bound::Excluded(end) => record.at() < end,
            Bound::Unbounded => true,
        })
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// What all records take by the replicated measure.
    pub(crate) fn logical_bytes(&self) -> i64 {
        self.logical_bytes
    }

    /// The digest of all records, kept up to date by each change.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The same, computed from the records; makes sure that their order, number and size agree with them.
    pub(crate) fn recompute_digest(&self) -> Digest {
        let (mut digest, mut len, mut logical_bytes) = (Digest::default(), 0, 0);
        let mut before = Position::default();
        let last = (!self.last.1.is_empty()).then_some((&self.last.0, &self.last.1));
        for (first, row) in self.rows.iter().chain(last) {
            assert!((1..=ROW).contains(&row.len()) && row[0].at() >= *first, "rows are neither empty nor too long");
            for record in row.iter() {
                assert!(record.at() > before, "records stand in order");
                before = record.at();
                len += 1;
                logical_bytes += record.logical_bytes();
                digest = digest.with(record.digest());
            }
        }
        assert_eq!((self.len, self.logical_bytes), (len, logical_bytes), "number and size are those of the records");
        digest
    }
}

/// Where the record that stands at `at` is in its row.
fn place_in(row: &Row, at: Position) -> Option<usize> {
    // Most revisions are one record, and most of those are there.
    let first = row.first()?.at().revision;
    let guess = usize::try_from(at.revision - first).unwrap_or(usize::MAX);
    if row.get(guess).is_some_and(|record| record.at() == at) {
        return Some(guess);
    }
    row.binary_search_by_key(&at, |record| record.at()).ok()
}

fn without_lowest_bit(number: u32) -> u32 {
    number & number.wrapping_sub(1)
}
