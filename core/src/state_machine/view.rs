//! Looking at the store.

use std::sync::Arc;

use bytes::Bytes;

use super::lease::{LeaseRecord, LeaseTime};
use super::mvcc::ReadAt;
use super::record::Record;
use super::store::Store;
use crate::digest::Digest;
use crate::proto::{etcdserverpb as pb, mvccpb};
use crate::types::{ClusterId, LeaseId, LogIndex, NodeId, Revision};

/// The store at one applied index: immutable, O(1) to clone, readable from any thread.
#[derive(Clone, Debug, Default)]
pub struct StoreView {
    pub(crate) store: Arc<Store>,
}

impl StoreView {
    /// The cluster that this store belongs to.
    pub fn cluster_id(&self) -> ClusterId {
        self.store.cluster_id
    }

    /// The last entry that this store contains.
    pub fn applied(&self) -> LogIndex {
        self.store.applied
    }

    /// The current revision.
    pub fn revision(&self) -> Revision {
        self.store.mvcc.revision()
    }

    /// The compacted revision: older ones cannot be read, this one can. 0 if there was no compaction yet.
    pub fn compacted(&self) -> Revision {
        self.store.mvcc.compacted().max(0)
    }

    /// Whether records of a compaction wait to be removed.
    pub fn is_sweeping(&self) -> bool {
        self.store.mvcc.is_sweeping()
    }

    /// Whether the sweep has removed what a compaction at `revision` made unreadable.
    pub(crate) fn has_swept(&self, revision: Revision) -> bool {
        self.store.mvcc.sweep_next().revision > revision
    }

    /// The events of the revisions from `first` on, in order of (revision, sub-revision), without previous values;
    /// each with its revision in `kv.mod_revision`. None before the compacted revision, whose own are still there.
    pub fn events_since(&self, first: Revision) -> impl Iterator<Item = mvccpb::Event> + '_ {
        self.events_between(first, Revision::MAX)
    }

    /// The events of the revisions `first..=last`, else like [`StoreView::events_since`].
    pub fn events_between(&self, first: Revision, last: Revision) -> impl Iterator<Item = mvccpb::Event> + '_ {
        self.store.mvcc.events(first, last).map(|record| record.to_event())
    }

    /// What the events of [`StoreView::events_between`] are made from: nothing is copied.
    ///
    /// They are gathered at once, for that is much quicker than to ask for one after the other: they stand in rows of
    /// rows, and whoever asks for the next one has to find out each time in which.
    pub fn records_between(&self, first: Revision, last: Revision) -> Vec<&Record> {
        let revisions = (last.min(self.revision()) - first.max(self.compacted())).saturating_add(1);
        // Most revisions have one.
        let mut records = Vec::with_capacity(usize::try_from(revisions).unwrap_or(0));
        self.store.mvcc.events(first, last).for_each(|record| records.push(record));
        records
    }

    /// The key as it is now.
    pub fn get(&self, key: &Bytes) -> Option<mvccpb::KeyValue> {
        self.store.mvcc.get(key, ReadAt::Latest).map(|record| record.to_key_value())
    }

    /// The key as it was just before `revision`: the previous value of an event there. None if it did not exist, or if
    /// that is compacted away.
    pub fn value_before(&self, key: &Bytes, revision: Revision) -> Option<mvccpb::KeyValue> {
        let before = revision.checked_sub(1)?;
        if before < self.compacted() {
            return None;
        }
        self.store.mvcc.get(key, ReadAt::Revision(before)).map(|record| record.to_key_value())
    }

    /// A lease, if it exists.
    pub fn lease(&self, id: LeaseId) -> Option<LeaseRecord> {
        self.store.leases.get(id).cloned()
    }

    /// The ids of all leases, in order.
    pub fn leases(&self) -> impl Iterator<Item = LeaseId> + '_ {
        self.store.leases.ids()
    }

    /// The leases after `after`, by id, and how long each has.
    pub fn leases_after(&self, after: Option<LeaseId>) -> impl Iterator<Item = (LeaseId, LeaseTime)> + '_ {
        self.store.leases.after(after).map(|(id, lease)| (id, lease.time()))
    }

    /// How long a lease has, if it exists.
    pub fn lease_time(&self, id: LeaseId) -> Option<LeaseTime> {
        self.store.leases.get(id).map(LeaseRecord::time)
    }

    /// How long a lease lives without being renewed, in seconds, if it exists.
    pub fn lease_ttl_s(&self, id: LeaseId) -> Option<i64> {
        self.store.leases.get(id).map(|lease| lease.ttl_s)
    }

    /// The alarms that are on, by kind and member.
    pub fn alarms(&self) -> Vec<pb::AlarmMember> {
        self.store.alarms.list(pb::AlarmType::None.into())
    }

    /// Whether a member has its alarm NOSPACE on.
    pub(crate) fn has_space_alarm(&self, node: NodeId) -> bool {
        self.store.alarms.is_on((pb::AlarmType::Nospace.into(), node))
    }

    /// Whether any member has its alarm CORRUPT on: the cluster refuses what clients would change, and compactions.
    pub(crate) fn is_corrupt(&self) -> bool {
        self.store.alarms.any(pb::AlarmType::Corrupt)
    }

    /// All members, by id.
    pub fn members(&self) -> impl Iterator<Item = &pb::Member> + '_ {
        self.store.members.iter()
    }

    /// The size of the store with its history, and without, in bytes by the measure that all members share. It is
    /// replicated, so members never disagree.
    pub fn logical_bytes(&self) -> (i64, i64) {
        self.store.mvcc.logical_bytes()
    }

    /// The digest of everything in the store: equal on all members at the same applied index. O(1).
    pub fn digest(&self) -> Digest {
        self.store.digest()
    }

    /// The same digest, computed from the contents. O(n).
    pub fn recompute_digest(&self) -> Digest {
        self.store.recompute_digest()
    }
}
