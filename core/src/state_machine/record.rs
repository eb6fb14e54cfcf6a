//! One version of one key.

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

/// A value that a key got, or its deletion. Immutable; shared by the store, its views and whoever reads them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The key.
    pub key: Bytes,
    /// The value; empty for a deletion.
    pub value: Bytes,
    /// Where it was written.
    pub at: Position,
    /// The revision that created the key, this time; 0 for a deletion.
    pub create_revision: Revision,
    /// How many times the key was written since it was created; 0 for a deletion.
    pub version: i64,
    /// The lease that the key hangs on; 0 for none.
    pub lease: i64,
    digest: Digest,
}

impl Record {
    /// A record of these contents; computes its digest.
    pub fn new(key: Bytes, value: Bytes, at: Position, create_revision: Revision, version: i64, lease: i64) -> Record {
        let mut record = Record { key, value, at, create_revision, version, lease, digest: Digest::default() };
        record.digest = record.recompute_digest();
        record
    }

    /// The record of a deletion.
    pub fn tombstone(key: Bytes, at: Position) -> Record {
        Record::new(key, Bytes::new(), at, 0, 0, 0)
    }

    /// Whether this is a deletion.
    pub fn is_tombstone(&self) -> bool {
        self.version == 0
    }

    /// The record's digest, computed when it was made.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The record's digest, computed from its contents now.
    pub fn recompute_digest(&self) -> Digest {
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

    /// What this record takes by the measure that all members share: key, value and a flat share for the rest, in bytes.
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
