//! All records in the order in which they were written, which is the order of events, too.

use std::ops::RangeBounds;
use std::sync::Arc;

use im::OrdMap;

use super::record::{Contents, Lineage, Position, Record};
use crate::digest::Digest;
use crate::types::Revision;

/// How many versions of a key lie between two from which old ones are reached in few hops.
const MILESTONE: u32 = 8;

/// All records that are stored, with their digest and their size.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    records: OrdMap<Position, Arc<Record>>,
    digest: Digest,
    logical_bytes: i64,
}

impl History {
    /// Adds a record at the end; `previous` is the one of the same key before it.
    pub(crate) fn append(&mut self, contents: Contents, previous: Option<&Arc<Record>>) -> Arc<Record> {
        let at = contents.at;
        let lineage = previous.map_or(Lineage::default(), |previous| self.lineage_after(previous));
        let record = Arc::new(Record::new(contents, lineage));
        self.digest = self.digest.with(record.digest());
        self.logical_bytes += record.logical_bytes();
        self.records.insert(at, record.clone());
        record
    }

    /// The lineage of a record that follows `previous`. Every eighth record of a key is a milestone. The others jump to
    /// the milestone before them, which they have from `previous`. The milestone of number m jumps to that whose number
    /// is m without its lowest bit, over the jumps of the milestones between: to look at them costs a search each, but
    /// on average there is one in every eight records.
    fn lineage_after(&self, previous: &Arc<Record>) -> Lineage {
        let depth = previous.lineage().depth.saturating_add(1);
        let before = previous.lineage();
        let mut jump = if before.depth.is_multiple_of(MILESTONE) { previous.at } else { before.jump };
        if depth.is_multiple_of(MILESTONE) {
            let target = without_lowest_bit(depth / MILESTONE);
            let mut reached = depth / MILESTONE - 1;
            while reached > target
                && let Some(milestone) = self.records.get(&jump)
            {
                jump = milestone.lineage().jump;
                reached = without_lowest_bit(reached);
            }
        }
        Lineage { depth, previous: previous.at, jump }
    }

    /// Removes a record, if it is still there.
    pub(crate) fn forget(&mut self, at: Position) {
        if let Some(record) = self.records.remove(&at) {
            self.digest = self.digest.without(record.digest());
            self.logical_bytes -= record.logical_bytes();
        }
    }

    /// The next record on the way from a newer one to what was there at `revision`: as far back as is sure not to miss
    /// it. What is newer than `revision` is there; what is not may have been swept, and did not exist then.
    pub(crate) fn hop(&self, record: &Record, revision: Revision) -> Option<&Arc<Record>> {
        let Lineage { previous, jump, .. } = record.lineage();
        self.records.get(if jump.revision > revision { &jump } else { &previous })
    }

    /// The first record that stands at `at` or later.
    pub(crate) fn next_from(&self, at: Position) -> Option<&Arc<Record>> {
        self.records.get_next(&at).map(|(_, record)| record)
    }

    /// The records within `positions`, in order.
    pub(crate) fn range(&self, positions: impl RangeBounds<Position>) -> impl Iterator<Item = &Arc<Record>> {
        self.records.range(positions).map(|(_, record)| record)
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// What all records take by the replicated measure.
    pub(crate) fn logical_bytes(&self) -> i64 {
        self.logical_bytes
    }

    /// The digest of all records, kept up to date by each change.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The same, computed from the records; makes sure that places and size agree with them.
    pub(crate) fn recompute_digest(&self) -> Digest {
        let mut logical_bytes = 0;
        let digest = self.records.iter().fold(Digest::default(), |digest, (at, record)| {
            assert_eq!(*at, record.at, "a record stands where it says");
            logical_bytes += record.logical_bytes();
            digest.with(record.recompute_digest())
        });
        assert_eq!(self.logical_bytes, logical_bytes, "the size is that of the records");
        digest
    }
}

fn without_lowest_bit(number: u32) -> u32 {
    number & number.wrapping_sub(1)
}
