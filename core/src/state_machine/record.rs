//! One version of one key.

use std::ops::Deref;

use bytes::Bytes;

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

/// What is written: a value that a key gets, or its deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// The key.
    pub key: Bytes,
    /// The value; empty for a deletion.
    pub value: Bytes,
    /// Where it is written.
    pub at: Position,
    /// The revision that created the key, this time; 0 for a deletion.
    pub create_revision: Revision,
    /// How many times the key was written since it was created; 0 for a deletion.
    pub version: i64,
    /// The lease that the key hangs on; 0 for none.
    pub lease: i64,
}

/// A value that a key got, or its deletion. Immutable; shared by the store, its views and whoever reads them.
#[derive(Clone, Debug)]
pub struct Record {
    contents: Contents,
    lineage: Lineage,
}

impl Deref for Record {
    type Target = Contents;

    fn deref(&self) -> &Contents {
        &self.contents
    }
}

impl Contents {
    /// A deletion.
    pub fn tombstone(key: Bytes, at: Position) -> Contents {
        Contents { key, value: Bytes::new(), at, create_revision: 0, version: 0, lease: 0 }
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
        bytes[40..56].copy_from_slice(&Digest::of(&self.key).0.to_le_bytes());
        bytes[56..72].copy_from_slice(&Digest::of(&self.value).0.to_le_bytes());
        Digest::of(&bytes)
    }

    /// What this record takes by the measure that all members share, in bytes: key, value and a flat share for the
    /// rest.
    pub fn logical_bytes(&self) -> i64 {
        const FLAT_BYTES: usize = 64;
        i64::try_from(self.key.len() + self.value.len() + FLAT_BYTES).expect("a record fits in memory")
    }

    /// The record as clients see it; of a deletion only key and revision (contract, section 1.2).
    pub fn to_key_value(&self) -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: self.key.clone(),
            create_revision: self.create_revision,
            mod_revision: self.at.revision,
            version: self.version,
            value: self.value.clone(),
            lease: self.lease,
        }
    }

    /// The record as watchers see it, without the previous value.
    pub fn to_event(&self) -> mvccpb::Event {
        let kind = if self.is_tombstone() { mvccpb::event::EventType::Delete } else { mvccpb::event::EventType::Put };
        mvccpb::Event { r#type: kind.into(), kv: Some(self.to_key_value()), prev_kv: None }
    }
}

impl Record {
    /// A record of these contents.
    pub fn new(contents: Contents, lineage: Lineage) -> Record {
        Record { contents, lineage }
    }

    /// Where its predecessors stand.
    pub fn lineage(&self) -> Lineage {
        self.lineage
    }
}
