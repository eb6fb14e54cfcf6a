//! One version of one key.

use bytes::Bytes;

use super::packed::{self, Numbers, Packed};
use crate::digest::Digest;
use crate::proto::mvccpb;
use crate::types::Revision;

/// Where a record stands in the store's history: the transaction that wrote it, and its place in there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The revision that the transaction made.
    pub revision: Revision,
    /// The place among the writes of that transaction, from 0.
    pub sub: u32,
}

impl Position {
    /// The first place of a revision.
    pub const fn first_of(revision: Revision) -> Position {
        Position { revision, sub: 0 }
    }

    /// The last place of a revision.
    pub const fn last_of(revision: Revision) -> Position {
        Position { revision, sub: u32::MAX }
    }

    /// The place after this one in the same revision.
    pub const fn next(self) -> Position {
        Position { revision: self.revision, sub: self.sub + 1 }
    }
}

/// Where a record's predecessors of the same key stand. Follows from the records themselves and is part of no digest;
/// what stands there may be compacted away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// How many predecessors there were, as far as was known when the record was written.
    pub depth: u32,
    /// The record before; the default position if there is none.
    pub previous: Position,
    /// One further back, so that old ones are found in few hops; the default position if there is none.
    pub jump: Position,
}

/// What is written: a value that a key gets, or its deletion. A [`Record`] keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The value; empty for a deletion.
    pub value: &'a [u8],
    /// Where it is written.
    pub at: Position,
    /// The revision that created the key, this time; 0 for a deletion.
    pub create_revision: Revision,
    /// How many times the key was written since it was created; 0 for a deletion.
    pub version: i64,
    /// The lease that the key hangs on; 0 for none.
    pub lease: i64,
}

impl<'a> Contents<'a> {
    /// A deletion.
    pub fn tombstone(key: &'a [u8], at: Position) -> Contents<'a> {
        Contents { key, value: &[], at, create_revision: 0, version: 0, lease: 0 }
    }

    /// Whether this is a deletion.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// The digest of all of this.
    pub fn digest(&self) -> Digest {
        let mut bytes = [0u8; 72];
        bytes[0..8].copy_from_slice(&self.at.revision.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.at.sub.to_le_bytes());
        bytes[12..16].copy_from_slice(b"rec1");
        bytes[16..24].copy_from_slice(&self.create_revision.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.version.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.lease.to_le_bytes());
        bytes[40..56].copy_from_slice(&Digest::of(self.key).0.to_le_bytes());
        bytes[56..72].copy_from_slice(&Digest::of(self.value).0.to_le_bytes());
        Digest::of(&bytes)
    }
}

/// A value that a key got, or its deletion. Immutable; shared by the store, its views and whoever reads them.
///
/// There is one for every version of every key, so that its size is most of what the store takes: key, value and
/// numbers stand in one piece of memory of its own, since a slice of a request would keep the whole buffer that it came
/// in, and most numbers are small.
#[derive(Clone, Debug)]
pub struct Record {
    /// The key, after it the value, after that the packed numbers.
    data: Bytes,
    revision: Revision,
    key_len: u32,
    /// Where the value ends, from the beginning of the key.
    value_end: u32,
}

impl Record {
    /// A record of these contents, whose predecessors stand where `lineage` says.
    pub fn new(contents: &Contents<'_>, lineage: Lineage) -> Record {
        let Contents { key, value, at, create_revision, version, lease } = *contents;
        let numbers = Numbers { sub: at.sub, create_revision, version, lease, lineage };
        let packed = Packed::new(&numbers, at.revision);
        let offset = |len: usize| u32::try_from(len).expect("a request is shorter than 4 GiB");
        Record {
            data: [key, value, packed.as_bytes()].concat().into(),
            revision: at.revision,
            key_len: offset(key.len()),
            value_end: offset(key.len() + value.len()),
        }
    }

    /// What was written.
    pub fn contents(&self) -> Contents<'_> {
        let Numbers { sub, create_revision, version, lease, .. } = self.numbers();
        let at = Position { revision: self.revision, sub };
        Contents { key: self.key(), value: self.value(), at, create_revision, version, lease }
    }

    fn packed(&self) -> &[u8] {
        &self.data[self.value_end as usize..]
    }

    fn numbers(&self) -> Numbers {
        packed::unpack(self.packed(), self.revision)
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.data[..self.key_len as usize]
    }

    /// The value; empty for a deletion.
    #[inline]
    pub fn value(&self) -> &[u8] {
        &self.data[self.key_len as usize..self.value_end as usize]
    }

    /// Where it was written.
    #[inline]
    pub fn at(&self) -> Position {
        Position { revision: self.revision, sub: packed::sub(self.packed()) }
    }

    /// The revision that created the key, this time; 0 for a deletion.
    pub fn create_revision(&self) -> Revision {
        self.numbers().create_revision
    }

    /// How many times the key was written since it was created; 0 for a deletion.
    pub fn version(&self) -> i64 {
        self.numbers().version
    }

    /// The lease that the key hangs on; 0 for none.
    pub fn lease(&self) -> i64 {
        self.numbers().lease
    }

    /// Whether this is a deletion.
    pub fn is_tombstone(&self) -> bool {
        self.version() == 0
    }

    /// Where its predecessors stand.
    pub fn lineage(&self) -> Lineage {
        self.numbers().lineage
    }

    /// The digest of what was written.
    pub fn digest(&self) -> Digest {
        self.contents().digest()
    }

    /// What this record takes by the measure that all members share, in bytes: key, value and a flat share for the
    /// rest.
    pub fn logical_bytes(&self) -> i64 {
        const FLAT_BYTES: usize = 64;
        i64::try_from(self.value_end as usize + FLAT_BYTES).expect("a record fits in memory")
    }

    /// The record as clients see it; of a deletion only key and revision (contract, section 1.2).
    pub fn to_key_value(&self) -> mvccpb::KeyValue {
        let (key_len, value_end) = (self.key_len as usize, self.value_end as usize);
        let Numbers { create_revision, version, lease, .. } = self.numbers();
        mvccpb::KeyValue {
            key: self.data.slice(..key_len),
            create_revision,
            mod_revision: self.revision,
            version,
            value: self.data.slice(key_len..value_end),
            lease,
        }
    }

    /// The record as watchers see it, without the previous value.
    pub fn to_event(&self) -> mvccpb::Event {
        let kind = if self.is_tombstone() { mvccpb::event::EventType::Delete } else { mvccpb::event::EventType::Put };
        mvccpb::Event { r#type: kind.into(), kv: Some(self.to_key_value()), prev_kv: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the two counters of an `Arc`, 64 bytes: a size that allocators have.
    #[test]
    fn a_record_leaves_no_gaps() {
        assert_eq!(size_of::<Record>(), size_of::<Bytes>() + size_of::<Revision>() + 2 * size_of::<u32>());
    }

    #[test]
    fn a_record_gives_back_what_was_written() {
        let at = Position { revision: 7, sub: 2 };
        let lineage = Lineage { depth: 3, previous: Position::first_of(6), jump: Position { revision: 5, sub: 1 } };
        let put = Contents { key: b"key", value: b"value", at, create_revision: 5, version: 2, lease: 9 };
        for contents in [put, Contents { value: b"", ..put }, Contents::tombstone(b"key", at)] {
            let record = Record::new(&contents, lineage);
            assert_eq!((record.contents(), record.lineage()), (contents, lineage));
            let kv = record.to_key_value();
            assert_eq!((&kv.key[..], &kv.value[..]), (contents.key, contents.value));
        }
    }
}
