//! Everything that is replicated, and the writes on it.

use super::alarm::Alarms;
use super::command::{Command, MemberChange};
use super::key_range::KeyRange;
use super::lease::Leases;
use super::members::Members;
use super::mvcc::{Mvcc, SWEEP_RECORDS_PER_ENTRY};
use super::put::Put;
use super::record::Record;
use super::txn;
use super::{Applied, Asker, LeaseChange};
use crate::api::{Response, Status};
use crate::digest::Digest;
use crate::proto::etcdserverpb as pb;
use crate::types::{ClusterId, LeaseId, LogIndex, NodeId, Revision};

/// A response's header as the state machine knows it: the node adds cluster, member and term.
pub(crate) fn header(revision: Revision) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() })
}

/// Everything that is replicated. Cloning is O(1).
#[derive(Clone, Debug, Default)]
pub(crate) struct Store {
    pub(crate) cluster_id: ClusterId,
    pub(crate) applied: LogIndex,
    pub(crate) mvcc: Mvcc,
    pub(crate) leases: Leases,
    pub(crate) alarms: Alarms,
    pub(crate) members: Members,
}

impl Store {
    /// Applies the entry at `index`, which follows the last one.
    pub(crate) fn apply(&mut self, index: LogIndex, command: &Command<'_>, asker: Asker) -> Applied {
        assert_eq!(index, self.applied.next(), "entries are applied in order, each once");
        let mut leases = Vec::new();
        let result = match command {
            Command::Empty => Ok(self.member_list()),
            Command::ConfChange(change) => self.change_member(change),
            Command::Put(put) => self.put_alone(&put.put, asker),
            Command::Request(request) => self.request(request, asker, &mut leases),
        };
        // Every entry, whatever its kind and outcome, counts as applied (zoo, row 15), and drives the sweep.
        self.applied = index;
        self.mvcc.sweep(SWEEP_RECORDS_PER_ENTRY);
        Applied { result, leases }
    }

    fn request(
        &mut self,
        request: &pb::InternalRaftRequest,
        asker: Asker,
        changes: &mut Vec<LeaseChange>,
    ) -> Result<Response, Status> {
        if let Some(put) = &request.put {
            return self.put_alone(&Put::from(put), asker);
        }
        self.alarms.admit(request)?;
        if let Some(delete) = &request.delete_range {
            let response = self.delete_range(delete, asker);
            self.mvcc.commit();
            Ok(Response::DeleteRange(response))
        } else if let Some(txn) = &request.txn {
            txn::txn(self, txn, asker).map(Response::Txn)
        } else if let Some(compaction) = &request.compaction {
            self.mvcc.compact(compaction.revision)?;
            Ok(Response::Compact(pb::CompactionResponse { header: header(self.mvcc.revision()) }))
        } else if let Some(grant) = &request.lease_grant {
            self.grant(grant, changes)
        } else if let Some(revoke) = &request.lease_revoke {
            self.revoke(revoke, changes)
        } else if let Some(alarm) = &request.alarm {
            let alarms = self.alarms.request(alarm);
            Ok(Response::Alarm(pb::AlarmResponse { header: header(self.mvcc.revision()), alarms }))
        } else {
            if let Some(checkpoint) = &request.lease_checkpoint {
                self.checkpoint_leases(checkpoint, changes);
            }
            if let Some(sweep) = &request.sweep {
                self.mvcc.sweep(sweep.records);
            }
            if let Some(reached) = &request.quota_reached {
                self.quota_reached(reached);
            }
            if let Some(publish) = &request.cluster_member_attr_set
                && let Some(attributes) = &publish.member_attributes
            {
                self.members.publish(NodeId(publish.member_id), attributes);
            }
            // A kind that this version does not know changes nothing.
            Ok(self.member_list())
        }
    }

    /// A put that is no part of a transaction.
    fn put_alone(&mut self, put: &Put<'_>, asker: Asker) -> Result<Response, Status> {
        self.alarms.admit_put(put)?;
        txn::check_put(self, put)?;
        let previous = self.put(put, asker);
        let response = self.put_response(previous);
        self.mvcc.commit();
        Ok(Response::Put(response))
    }

    /// Runs a put that [`txn::check_put`] let pass, in the transaction in progress; what was there before, if that is
    /// to be told.
    pub(crate) fn put(&mut self, put: &Put<'_>, asker: Asker) -> Option<Record> {
        let value = (!put.ignore_value).then_some(put.value);
        let lease = (!put.ignore_lease).then_some(put.lease);
        let (previous, former_lease) = self.mvcc.put(put.key, value, lease).unzip();
        let former_lease = former_lease.unwrap_or(0);
        let new_lease = lease.unwrap_or(former_lease);
        self.leases.attach(put.key, former_lease, new_lease);
        previous.filter(|_| put.prev_kv && asker == Asker::Waits)
    }

    /// The answer to a put that has just run. Apart from it: it is put together where it goes.
    #[inline]
    pub(crate) fn put_response(&self, previous: Option<Record>) -> pb::PutResponse {
        let prev_kv = previous.map(|previous| previous.to_key_value());
        pb::PutResponse { header: header(self.mvcc.newest_revision()), prev_kv }
    }

    /// Runs a deletion in the transaction in progress.
    pub(crate) fn delete_range(&mut self, request: &pb::DeleteRangeRequest, asker: Asker) -> pb::DeleteRangeResponse {
        let deleted = self.mvcc.delete_range(&KeyRange::new(&request.key, &request.range_end));
        for record in deleted.iter().filter(|record| record.lease() != 0) {
            self.leases.detach(record.key(), record.lease());
        }
        let tells = request.prev_kv && asker == Asker::Waits;
        let prev_kvs = if tells { deleted.iter().map(|r| r.to_key_value()).collect() } else { Vec::new() };
        let deleted = i64::try_from(deleted.len()).expect("fewer keys than 2^63");
        pb::DeleteRangeResponse { header: header(self.mvcc.newest_revision()), deleted, prev_kvs }
    }

    fn grant(&mut self, request: &pb::LeaseGrantRequest, changes: &mut Vec<LeaseChange>) -> Result<Response, Status> {
        let (id, ttl_s) = (LeaseId(request.id), request.ttl);
        self.leases.grant(id, ttl_s, self.applied.next())?;
        changes.push(LeaseChange::Granted { id, ttl_s });
        let header = header(self.mvcc.revision());
        Ok(Response::LeaseGrant(pb::LeaseGrantResponse { header, id: id.0, ttl: ttl_s, error: String::new() }))
    }

    /// The remaining times of leases, as their leader's clock had them; no revision comes of it. Leases that are gone
    /// are passed over. The leader hears of every other one, also that it changed nothing: it waits for that.
    fn checkpoint_leases(&mut self, request: &pb::LeaseCheckpointRequest, changes: &mut Vec<LeaseChange>) {
        for checkpoint in &request.checkpoints {
            let id = LeaseId(checkpoint.id);
            self.leases.checkpoint(id, checkpoint.remaining_ttl, LogIndex(request.seen_index));
            if let Some(lease) = self.leases.get(id) {
                changes.push(LeaseChange::Checkpointed { id, remaining_s: lease.remaining_s });
            }
        }
    }

    /// A lease ends and its keys with it, in byte order and in one revision (contract, section 1.3; zoo, row 38).
    fn revoke(&mut self, request: &pb::LeaseRevokeRequest, changes: &mut Vec<LeaseChange>) -> Result<Response, Status> {
        let id = LeaseId(request.id);
        let lease = self.leases.revoke(id)?;
        for key in &lease.keys {
            let deleted = self.mvcc.delete_key(key);
            assert!(deleted.is_some_and(|record| record.lease() == id.0), "a lease holds the keys that hang on it");
        }
        self.mvcc.commit();
        changes.push(LeaseChange::Gone { id });
        Ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: header(self.mvcc.revision()) }))
    }

    /// A member with a quota saw the store so large; it may have shrunk since.
    fn quota_reached(&mut self, reached: &pb::QuotaReached) {
        let (logical_bytes, _) = self.mvcc.logical_bytes();
        if logical_bytes.saturating_add(reached.cost_bytes) >= reached.quota_bytes {
            self.alarms.activate((pb::AlarmType::Nospace.into(), NodeId(reached.member_id)));
        }
    }

    fn change_member(&mut self, change: &MemberChange) -> Result<Response, Status> {
        self.members.apply(change)?;
        Ok(self.member_list())
    }

    /// The members; responses about the cluster leave the revision unset (contract, section 1).
    pub(crate) fn member_list(&self) -> Response {
        let members = self.members.iter().cloned().collect();
        Response::MemberList(pb::MemberListResponse { header: header(0), members })
    }

    /// The digest of everything in here: equal on all members at the same applied index.
    pub(crate) fn digest(&self) -> Digest {
        let contents = self.mvcc.digest().with(self.leases.digest()).with(self.alarms.digest());
        contents.with(self.members.digest()).with(self.scalars_digest())
    }

    /// The same, computed from the contents.
    pub(crate) fn recompute_digest(&self) -> Digest {
        let contents = self.mvcc.recompute_digest().with(self.leases.recompute_digest());
        let contents = contents.with(self.alarms.recompute_digest());
        contents.with(self.members.recompute_digest()).with(self.scalars_digest())
    }

    fn scalars_digest(&self) -> Digest {
        let mut bytes = [0u8; 20];
        bytes[0..4].copy_from_slice(b"sto1");
        bytes[4..12].copy_from_slice(&self.cluster_id.0.to_le_bytes());
        bytes[12..20].copy_from_slice(&self.applied.0.to_le_bytes());
        Digest::of(&bytes)
    }
}
