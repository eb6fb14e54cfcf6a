//! The quota: how large the store may get before it takes no more (contract, section 1.5 NOSPACE).
//!
//! The member that is asked to write looks at its own quota and at the size of the store, which is replicated. If the
//! write would reach the quota, it is refused and an alarm is proposed; the alarm is part of the state, so that all
//! members refuse the same entries from there on, whatever their own quotas are. What was proposed before it was seen
//! may exceed the quota by as much as may be uncommitted at once.

use super::member::Member;
use crate::api::{Status, quota};
use crate::effect::Outputs;
use crate::proto::etcdserverpb as etcd;

impl Member {
    /// Whether the store may grow by a write. If it may not, an alarm is proposed.
    pub(super) fn check_quota(&mut self, entry: &etcd::InternalRaftRequest, out: &mut Outputs) -> Result<(), Status> {
        let cost_bytes = quota::of_entry(entry);
        let quota_bytes = self.config.quota_bytes;
        if cost_bytes == 0 || quota_bytes < 0 {
            return Ok(());
        }
        let (logical_bytes, _) = self.state.as_view().logical_bytes();
        if logical_bytes.saturating_add(cost_bytes) < quota_bytes {
            return Ok(());
        }
        out.mark("quota: a write was refused");
        self.propose_quota_alarm(etcd::QuotaReached { member_id: self.config.node_id.0, quota_bytes, cost_bytes }, out);
        Err(Status::NoSpace)
    }

    fn propose_quota_alarm(&mut self, reached: etcd::QuotaReached, out: &mut Outputs) {
        let is_on = self.state.as_view().has_space_alarm(self.config.node_id);
        if is_on || self.stopping.is_some() || self.is_under_way(self.quota_alarm) {
            return;
        }
        let entry = etcd::InternalRaftRequest { quota_reached: Some(reached), ..Default::default() };
        self.quota_alarm = self.propose_own(self.quota_alarm, entry, out);
    }
}
