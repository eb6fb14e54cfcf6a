//! Executing a read on a view: pure, on whatever thread.

use std::collections::BTreeSet;

use im::OrdSet;

use super::{ReadRequest, Response, Status};
use crate::proto::etcdserverpb as pb;
use crate::state_machine::StoreView;
use crate::state_machine::hash::{hash, hash_kv};
use crate::state_machine::range::range;
use crate::state_machine::txn::read_txn;
use crate::time::Instant;
use crate::types::LeaseId;

/// Executes `request` on `view`.
///
/// `header` names cluster, member and term; the revision is the view's, and unset for requests about the cluster
/// (contract, section 1). The request must have passed [`super::validate::validate`], and a transaction must be
/// [`super::validate::is_read_only`].
pub fn execute(view: &StoreView, request: &ReadRequest, header: pb::ResponseHeader) -> Result<Response, Status> {
    let with_revision = Some(pb::ResponseHeader { revision: view.revision(), ..header });
    match request {
        ReadRequest::Range(request) => {
            let response = range(&view.store.mvcc, request)?;
            Ok(Response::Range(pb::RangeResponse { header: with_revision, ..response }))
        }
        ReadRequest::Txn(request) => {
            let response = read_txn(&view.store, request)?;
            Ok(Response::Txn(pb::TxnResponse { header: with_revision, ..response }))
        }
        ReadRequest::LeaseLeases { by_deadline } => {
            let leases = all_leases(view, by_deadline);
            Ok(Response::LeaseLeases(pb::LeaseLeasesResponse { header: with_revision, leases }))
        }
        ReadRequest::LeaseTimeToLive { request, remaining_ttl_s } => {
            Ok(Response::LeaseTimeToLive(time_to_live(view, request, *remaining_ttl_s, with_revision)))
        }
        ReadRequest::Alarm(request) => {
            let alarms = view.store.alarms.list(request.alarm);
            Ok(Response::Alarm(pb::AlarmResponse { header: with_revision, alarms }))
        }
        ReadRequest::Hash => Ok(Response::Hash(pb::HashResponse { header: with_revision, hash: hash(&view.store) })),
        ReadRequest::HashKv(request) => {
            let (hash, hash_revision) = hash_kv(&view.store.mvcc, request.revision)?;
            let compact_revision = view.store.mvcc.compacted();
            let header = with_revision;
            Ok(Response::HashKv(pb::HashKvResponse { header, hash, compact_revision, hash_revision }))
        }
        ReadRequest::MemberList => {
            let header = Some(pb::ResponseHeader { revision: 0, ..header });
            let members = view.members().cloned().collect();
            Ok(Response::MemberList(pb::MemberListResponse { header, members }))
        }
    }
}

/// The leases that exist, in the order of their ends as far as these are known, then by id.
fn all_leases(view: &StoreView, by_deadline: &OrdSet<(Instant, LeaseId)>) -> Vec<pb::LeaseStatus> {
    let ordered: BTreeSet<LeaseId> = by_deadline.iter().map(|(_, id)| *id).collect();
    let known = by_deadline.iter().map(|(_, id)| *id).filter(|id| view.lease_time(*id).is_some());
    let others = view.leases().filter(|id| !ordered.contains(id));
    known.chain(others).map(|id| pb::LeaseStatus { id: id.0 }).collect()
}

/// An unknown lease has a TTL of −1 and is no error (contract, section 1.3).
fn time_to_live(
    view: &StoreView,
    request: &pb::LeaseTimeToLiveRequest,
    remaining_ttl_s: Option<i64>,
    header: Option<pb::ResponseHeader>,
) -> pb::LeaseTimeToLiveResponse {
    let unknown = pb::LeaseTimeToLiveResponse { header, id: request.id, ttl: -1, granted_ttl: 0, keys: Vec::new() };
    match view.lease(LeaseId(request.id)).zip(remaining_ttl_s) {
        Some((lease, ttl)) => pb::LeaseTimeToLiveResponse {
            ttl,
            granted_ttl: lease.ttl_s,
            keys: if request.keys { lease.keys.iter().cloned().collect() } else { Vec::new() },
            ..unknown
        },
        None => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state_machine::{Command, StateMachine};

    #[test]
    fn leases_come_by_their_ends_as_far_as_these_are_known_and_then_by_id() {
        let mut state = StateMachine::default();
        for id in [6, -5, 3] {
            let lease_grant = Some(pb::LeaseGrantRequest { id, ttl: 60 });
            let grant = pb::InternalRaftRequest { lease_grant, ..Default::default() };
            state.apply(state.applied().next(), &Command::from(grant)).result.expect("granted");
        }
        let listed = |known: &[(u64, i64)]| {
            let by_deadline = known.iter().map(|&(ms, id)| (Instant::from_millis(ms), LeaseId(id))).collect();
            all_leases(&state.view(), &by_deadline).iter().map(|lease| lease.id).collect::<Vec<_>>()
        };
        assert_eq!(listed(&[]), [-5, 3, 6]);
        assert_eq!(listed(&[(1, 6), (2, -5), (3, 3)]), [6, -5, 3]);
        assert_eq!(listed(&[(1, 9), (2, 6)]), [6, -5, 3], "one is gone, two are not known yet");
    }
}
