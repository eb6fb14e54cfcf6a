//! Checkpoints of leases: what a leader writes down for the next one's clock, and takes back when a lease is renewed.

use super::member::Member;
use super::proposals::request_id;
use crate::effect::Outputs;
use crate::lease_clock::Renewal;
use crate::log::Entry;
use crate::proto::etcdserverpb as etcd;
use crate::types::LeaseId;

impl Member {
    /// An entry is about to be applied. If it is the first one of this leader's term, the clock begins: the state has
    /// all that former leaders wrote down and were told, and nothing about leases was answered in this term before.
    /// What was granted by entries of former terms, and is answered only now, counts from now like the others.
    pub(super) fn begin_lease_clock(&mut self, entry: &Entry) {
        if self.leads_in == Some(entry.term) {
            self.leases.lead(self.now);
            self.leads_in = None;
        }
    }

    /// Proposes what the leader's clock has to write down of leases.
    pub(super) fn checkpoint_leases(&mut self) {
        if !self.consensus.leads_with_commit() {
            return;
        }
        let mut due = Vec::new();
        self.leases.checkpoints_due(self.now, &mut due);
        if !due.is_empty() && !self.propose_lease_checkpoint(&due) {
            for (lease, _) in due {
                self.leases.not_checkpointed(lease, self.now + self.config.heartbeat_interval);
            }
        }
    }

    /// Renews a lease by the leader's clock. If a checkpoint stands in the way, it is cleared, and whoever asked has to
    /// wait: [`Reads::park`](super::reads::Reads::park).
    pub(super) fn renew_lease(&mut self, lease: LeaseId, out: &mut Outputs) -> Renewal {
        let renewal = self.leases.renew(lease, self.now);
        if renewal == (Renewal::Checkpointed { clear: true }) {
            out.mark("lease: a checkpoint was cleared before a renewal");
            if !self.propose_lease_checkpoint(&[(lease, 0)]) {
                self.leases.not_cleared(lease);
            }
        }
        renewal
    }

    /// A checkpoint is applied. Who waits for one that cleared a lease's need not wait for a tick.
    pub(super) fn lease_checkpointed(&mut self, lease: LeaseId, remaining_s: i64) {
        self.leases.checkpointed(lease, remaining_s, self.now);
        if remaining_s == 0 && self.consensus.is_leader() {
            self.reads.unpark_soon();
        }
    }

    /// Whether a checkpoint with the remaining seconds of leases was taken for the log. Only this leader may say so:
    /// nothing is forwarded, and while it leads, nothing that was taken is lost.
    fn propose_lease_checkpoint(&mut self, remaining: &[(LeaseId, i64)]) -> bool {
        let checkpoint = |(LeaseId(id), remaining_ttl): &(LeaseId, i64)| etcd::LeaseCheckpoint {
            id: *id,
            remaining_ttl: *remaining_ttl,
        };
        let checkpoints = remaining.iter().map(checkpoint).collect();
        let id = request_id(self.boot, self.proposals.next_sequence());
        let data = self.encode_entry(etcd::InternalRaftRequest {
            header: Some(etcd::RequestHeader { id, ..Default::default() }),
            lease_checkpoint: Some(etcd::LeaseCheckpointRequest { checkpoints, seen_index: self.applied().0 }),
            ..Default::default()
        });
        self.try_propose(data).is_ok()
    }
}
