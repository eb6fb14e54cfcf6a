//! One version of one key.

use std::sync::Arc;

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

/// A value that a key got, or its deletion. Immutable; shared by the store, its views and whoever reads them: a clone
/// is another hold on it.
///
/// There is one for every version of every key, so that its size is most of what the store takes, and that to find it
/// in memory is most of what a write costs. All of it stands in one piece, since a slice of a request would keep the
/// whole buffer that it came in; its numbers, most of which are small, stand where it begins, so that whoever writes
/// the next version of the key need not look at the rest.
#[derive(Clone, Debug)]
pub struct Record {
    /// The head; the packed numbers; the key; the value.
    data: Arc<[u8]>,
}

/// A record begins with its revision, with where its value begins, in four bytes, and where its key does, in one.
const HEAD_BYTES: usize = 8 + 4 + 1;

/// A record that is no longer than this is put together beside the heap.
const SHORT_BYTES_MAX: usize = 512;

impl Record {
    /// A record of these contents, whose predecessors stand where `lineage` says.
    pub fn new(contents: &Contents<'_>, lineage: Lineage) -> Record {
        let Contents { key, value, at, create_revision, version, lease } = *contents;
        let numbers = Numbers { sub: at.sub, create_revision, version, lease, lineage };
        let mut packed = Packed::new(HEAD_BYTES, &numbers, at.revision);
        let head = packed.as_mut_bytes();
        let key_start = head.len();
        let value_start = key_start + key.len();
        head[..8].copy_from_slice(&at.revision.to_le_bytes());
        head[8..12].copy_from_slice(&u32::try_from(value_start).expect("a key is shorter than 4 GiB").to_le_bytes());
        head[12] = u8::try_from(key_start).expect("the numbers take few bytes");
        let fill = |room: &mut [u8]| {
            room[..key_start].copy_from_slice(packed.as_bytes());
            room[key_start..value_start].copy_from_slice(key);
            room[value_start..].copy_from_slice(value);
        };
        let len = value_start + value.len();
        let mut short = [0; SHORT_BYTES_MAX];
        if let Some(room) = short.get_mut(..len) {
            fill(room);
            return Record { data: Arc::from(&*room) };
        }
        let mut data: Arc<[u8]> = std::iter::repeat_n(0, len).collect();
        fill(Arc::get_mut(&mut data).expect("nobody else has it yet"));
        Record { data }
    }

    /// What was written.
    pub fn contents(&self) -> Contents<'_> {
        let Numbers { sub, create_revision, version, lease, .. } = self.told();
        let at = Position { revision: self.revision(), sub };
        Contents { key: self.key(), value: self.value(), at, create_revision, version, lease }
    }

    #[inline]
    pub(super) fn revision(&self) -> Revision {
        Revision::from_le_bytes(self.data[..8].try_into().expect("eight bytes"))
    }

    #[inline]
    fn key_start(&self) -> usize {
        usize::from(self.data[12])
    }

    #[inline]
    fn value_start(&self) -> usize {
        u32::from_le_bytes(self.data[8..12].try_into().expect("four bytes")) as usize
    }

    #[inline]
    fn packed(&self) -> &[u8] {
        &self.data[HEAD_BYTES..self.key_start()]
    }

    /// Everything but key, value and revision: who needs several of them asks once.
    pub(super) fn numbers(&self) -> Numbers {
        packed::unpack(self.packed(), self.revision())
    }

    /// The same without the lineage.
    #[inline]
    fn told(&self) -> Numbers {
        packed::unpack_told(self.packed(), self.revision()).0
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        &self.data[self.key_start()..self.value_start()]
    }

    /// The value; empty for a deletion.
    #[inline]
    pub fn value(&self) -> &[u8] {
        &self.data[self.value_start()..]
    }

    /// Where it was written.
    #[inline]
    pub fn at(&self) -> Position {
        Position { revision: self.revision(), sub: packed::sub(self.packed()) }
    }

    /// The revision that created the key, this time; 0 for a deletion.
    pub fn create_revision(&self) -> Revision {
        self.told().create_revision
    }

    /// How many times the key was written since it was created; 0 for a deletion.
    pub fn version(&self) -> i64 {
        self.told().version
    }

    /// The lease that the key hangs on; 0 for none.
    pub fn lease(&self) -> i64 {
        self.told().lease
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

    /// Whether both are the same, byte by byte: then what was written is, too, and nothing is unpacked to see it.
    /// Of the same that was written, members may have records that are not, if one of them knows of fewer predecessors.
    pub fn is_copy_of(&self, other: &Record) -> bool {
        self.data == other.data
    }

    /// What this record takes by the measure that all members share, in bytes: key, value and a flat share for the
    /// rest.
    pub fn logical_bytes(&self) -> i64 {
        const FLAT_BYTES: usize = 64;
        i64::try_from(self.data.len() - self.key_start() + FLAT_BYTES).expect("a record fits in memory")
    }

    /// The record as clients see it; of a deletion only key and revision (contract, section 1.2).
    pub fn to_key_value(&self) -> mvccpb::KeyValue {
        let Numbers { create_revision, version, lease, .. } = self.told();
        // They keep the record, so that a long value is not copied.
        let data = Bytes::from_owner(self.data.clone());
        mvccpb::KeyValue {
            key: data.slice(self.key_start()..self.value_start()),
            create_revision,
            mod_revision: self.revision(),
            version,
            value: data.slice(self.value_start()..),
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

    #[test]
    fn a_copy_has_the_same_contents_and_the_same_predecessors() {
        let contents = Contents { version: 1, ..Contents::tombstone(b"k", Position::first_of(7)) };
        let record = Record::new(&contents, Lineage::default());
        assert!(record.is_copy_of(&Record::new(&contents, Lineage::default())));
        assert!(!record.is_copy_of(&Record::new(&contents, Lineage { depth: 1, ..Lineage::default() })));
        assert!(!record.is_copy_of(&Record::new(&Contents { lease: 1, ..contents }, Lineage::default())));
        assert!(!record.is_copy_of(&Record::new(&Contents { value: b"v", ..contents }, Lineage::default())));
        let later = Position::first_of(8);
        assert!(!record.is_copy_of(&Record::new(&Contents { at: later, ..contents }, Lineage::default())));
    }

    #[test]
    fn a_record_gives_back_what_was_written() {
        let at = Position { revision: 7, sub: 2 };
        let lineage = Lineage { depth: 3, previous: Position::first_of(6), jump: Position { revision: 5, sub: 1 } };
        let put = Contents { key: b"key", value: b"value", at, create_revision: 5, version: 2, lease: 9 };
        let long = [7; 2 * SHORT_BYTES_MAX];
        let long = Contents { value: &long, ..put };
        for contents in [put, long, Contents { value: b"", ..put }, Contents::tombstone(b"key", at)] {
            let record = Record::new(&contents, lineage);
            assert_eq!((record.contents(), record.lineage()), (contents, lineage));
            let kv = record.to_key_value();
            assert_eq!((&kv.key[..], &kv.value[..]), (contents.key, contents.value));
        }
    }
}
