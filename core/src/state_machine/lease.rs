//! Leases: what is replicated of them. Deadlines are the leader's own business (contract, section 1.3).

use bytes::Bytes;
use im::{OrdMap, OrdSet};

use crate::api::Status;
use crate::digest::Digest;
use crate::types::{LeaseId, LogIndex};

/// The longest lease that can be asked for, in seconds (contract, section 1.3).
pub const LEASE_TTL_MAX_S: i64 = 9_000_000_000;

/// A lease as all members know it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// How long it lives without being renewed, in seconds.
    pub ttl_s: i64,
    /// How long it has left at least for a leader that takes it over, in seconds: what the last checkpoint says. 0 for
    /// its full time.
    pub remaining_s: i64,
    /// The entry that granted it: a lease that has the same id later is another one.
    pub granted: LogIndex,
    /// The keys that die with it.
    pub keys: OrdSet<Bytes>,
}

/// How long a lease has, as all members know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseTime {
    /// How long it lives without being renewed, in seconds.
    pub ttl_s: i64,
    /// How long it has left for a leader that takes it over, in seconds; 0 for its full time.
    pub remaining_s: i64,
}

impl LeaseRecord {
    /// How long it has.
    pub(crate) fn time(&self) -> LeaseTime {
        LeaseTime { ttl_s: self.ttl_s, remaining_s: self.remaining_s }
    }
}

/// All leases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leases {
    leases: OrdMap<LeaseId, LeaseRecord>,
    contents: Digest,
}

impl Leases {
    pub(crate) fn grant(&mut self, id: LeaseId, ttl_s: i64, granted: LogIndex) -> Result<(), Status> {
        if id == LeaseId(0) {
            return Err(Status::LeaseNotFound);
        }
        if ttl_s > LEASE_TTL_MAX_S {
            return Err(Status::LeaseTtlTooLarge);
        }
        if self.leases.contains_key(&id) {
            return Err(Status::LeaseExists);
        }
        let lease = LeaseRecord { ttl_s, remaining_s: 0, granted, keys: OrdSet::new() };
        self.contents = self.contents.with(lease_digest(id, &lease));
        self.leases.insert(id, lease);
        Ok(())
    }

    /// A checkpoint of a lease's remaining time, in seconds, made by a leader that had applied the entry `seen`; 0 for
    /// its full time. Whether that is news.
    ///
    /// Between a checkpoint's proposal and its application the lease may have been revoked and its id granted anew.
    /// That one is left alone: it was promised its own full time.
    pub(crate) fn checkpoint(&mut self, id: LeaseId, remaining_s: i64, seen: LogIndex) -> bool {
        let Some(lease) = self.leases.get_mut(&id) else { return false };
        let news = (0..lease.ttl_s).contains(&remaining_s) && lease.granted <= seen && remaining_s != lease.remaining_s;
        if news {
            let contents = self.contents.without(lease_digest(id, lease));
            lease.remaining_s = remaining_s;
            self.contents = contents.with(lease_digest(id, lease));
        }
        news
    }

    /// Takes a lease away and returns what it was. Its keys are the caller's to delete.
    pub(crate) fn revoke(&mut self, id: LeaseId) -> Result<LeaseRecord, Status> {
        let lease = self.leases.remove(&id).ok_or(Status::LeaseNotFound)?;
        self.contents = self.contents.without(lease_digest(id, &lease));
        for key in &lease.keys {
            self.contents = self.contents.without(attachment_digest(id, key));
        }
        Ok(lease)
    }

    /// Moves a key from one lease to another; 0 is none. A lease that is gone has nothing to detach.
    pub(crate) fn attach(&mut self, key: &[u8], from: i64, to: i64) {
        if from == to {
            return;
        }
        if from != 0 {
            self.detach(key, from);
        }
        if to != 0 {
            let id = LeaseId(to);
            let lease = self.leases.get_mut(&id).expect("a key is attached to a lease that exists: checked before");
            // In memory of its own: the key comes in the entry, which stands in a block of the log.
            if lease.keys.insert(Bytes::copy_from_slice(key)).is_none() {
                self.contents = self.contents.with(attachment_digest(id, key));
            }
        }
    }

    /// Takes a key from its lease, if that lease is still there.
    pub(crate) fn detach(&mut self, key: &[u8], from: i64) {
        let id = LeaseId(from);
        if let Some(lease) = self.leases.get_mut(&id)
            && lease.keys.remove(key).is_some()
        {
            self.contents = self.contents.without(attachment_digest(id, key));
        }
    }

    pub(crate) fn get(&self, id: LeaseId) -> Option<&LeaseRecord> {
        self.leases.get(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.leases.len()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.leases.keys().copied()
    }

    /// The leases after `after`, by id.
    pub(crate) fn after(&self, after: Option<LeaseId>) -> impl Iterator<Item = (LeaseId, &LeaseRecord)> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.leases.range((start, Bound::Unbounded)).map(|(id, lease)| (*id, lease))
    }

    pub(crate) fn digest(&self) -> Digest {
        self.contents
    }

    pub(crate) fn recompute_digest(&self) -> Digest {
        self.leases.iter().fold(Digest::default(), |digest, (id, lease)| {
            let digest = digest.with(lease_digest(*id, lease));
            lease.keys.iter().fold(digest, |digest, key| digest.with(attachment_digest(*id, key)))
        })
    }
}

/// The digest of a lease without its keys.
fn lease_digest(id: LeaseId, lease: &LeaseRecord) -> Digest {
    let mut bytes = [0u8; 36];
    bytes[0..4].copy_from_slice(b"lea2");
    bytes[4..12].copy_from_slice(&id.0.to_le_bytes());
    bytes[12..20].copy_from_slice(&lease.ttl_s.to_le_bytes());
    bytes[20..28].copy_from_slice(&lease.remaining_s.to_le_bytes());
    bytes[28..36].copy_from_slice(&lease.granted.0.to_le_bytes());
    Digest::of(&bytes)
}

fn attachment_digest(id: LeaseId, key: &[u8]) -> Digest {
    let mut bytes = [0u8; 28];
    bytes[0..4].copy_from_slice(b"att1");
    bytes[4..12].copy_from_slice(&id.0.to_le_bytes());
    bytes[12..28].copy_from_slice(&Digest::of(key).0.to_le_bytes());
    Digest::of(&bytes)
}
