//! Every error of the contract that the key, lease, watch and maintenance services can give, through the port: code and
//! text to the letter, since clients compare both (contract, section 2).

use std::collections::BTreeSet;

use detcd_core::api::Status;
use pb::alarm_request::AlarmAction;
use pb::request_op::Request as Op;

use super::*;

/// Errors that no request to a lone member brings about, and where they are shown.
const ELSEWHERE: &[Status] = &[
    // Changes of the members are not served yet; the state machine's own tests show these.
    Status::MemberNotFound,
    Status::MemberExists,
    Status::PeerUrlExists,
    Status::MemberNotLearner,
    // Twenty thousand calls at once: the tests of `calls`.
    Status::TooManyRequests,
    // A member of three without the others: here, below.
    Status::NoLeader,
    Status::Timeout,
    // A call that comes in while the member stops is a race: the tests of core's stopping.
    Status::Stopped,
    // Leaders that fail and links that break: the tests of core's members.
    Status::TimeoutLeaderFail,
    Status::TimeoutConnectionLost,
    // Never told: a read whose leader is gone is asked again of the next one.
    Status::LeaderChanged,
    // The Lock and Election services have tests of their own.
    Status::DeadlineExceeded,
    Status::LockKeyLost,
    Status::NobodyElected,
    Status::NotElected,
    Status::LeaderMissing,
];

fn key_put() -> pb::PutRequest {
    put("k", "v")
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn txn(success: Vec<pb::RequestOp>) -> pb::TxnRequest {
    pb::TxnRequest { success, ..Default::default() }
}

fn activate(kind: pb::AlarmType) -> pb::AlarmRequest {
    pb::AlarmRequest { action: AlarmAction::Activate.into(), member_id: 1, alarm: kind.into() }
}

/// What was answered, and what should have been.
struct Told {
    expected: BTreeSet<Status>,
}

impl Told {
    fn refused<T>(&mut self, expected: Status, answer: Result<T, tonic::Status>) {
        let Err(error) = answer else { panic!("{expected:?} was expected, and it was done") };
        assert_eq!((error.code() as i32, error.message()), (expected.code() as i32, expected.message()));
        self.expected.insert(expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_comes_with_its_code_and_its_text() {
    let more = "--max-txn-ops 3 --max-request-bytes 3000 --quota-backend-bytes 4000";
    let plan = Plan { more: more.into(), ..Plan::new(1) };
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let mut kv = KvClient::new(channel.clone());
    let mut leases = LeaseClient::new(channel.clone());
    let mut maintenance = MaintenanceClient::new(channel.clone());
    let mut told = Told { expected: BTreeSet::new() };
    let last = kv.put(key_put()).await.expect("it is put").into_inner().header.expect("a header").revision;

    told.refused(Status::EmptyKey, kv.put(put("", "v")).await);
    told.refused(Status::EmptyKey, kv.range(get("")).await);
    told.refused(Status::EmptyKey, kv.delete_range(pb::DeleteRangeRequest::default()).await);
    told.refused(Status::EmptyKey, kv.txn(txn(vec![op(Op::RequestPut(put("", "v")))])).await);
    let compare = pb::TxnRequest { compare: vec![pb::Compare::default()], ..Default::default() };
    told.refused(Status::EmptyKey, kv.txn(compare).await);
    told.refused(Status::KeyNotFound, kv.put(pb::PutRequest { ignore_value: true, ..put("absent", "") }).await);
    told.refused(Status::KeyNotFound, kv.put(pb::PutRequest { ignore_lease: true, ..put("absent", "v") }).await);
    told.refused(Status::KeyNotFound, kv.txn(txn(vec![pb::RequestOp { request: None }])).await);
    told.refused(Status::ValueProvided, kv.put(pb::PutRequest { ignore_value: true, ..key_put() }).await);
    let leased = pb::PutRequest { ignore_lease: true, lease: 5, ..key_put() };
    told.refused(Status::LeaseProvided, kv.put(leased).await);
    told.refused(Status::TooManyOps, kv.txn(txn(vec![op(Op::RequestRange(get("k"))); 4])).await);
    told.refused(Status::DuplicateKey, kv.txn(txn(vec![op(Op::RequestPut(key_put())); 2])).await);
    told.refused(Status::InvalidSortOption, kv.range(pb::RangeRequest { sort_order: 3, ..get("k") }).await);
    told.refused(Status::InvalidSortOption, kv.range(pb::RangeRequest { sort_target: 5, ..get("k") }).await);
    told.refused(Status::RequestTooLarge, kv.put(put("k", vec![b'v'; 3_000])).await);
    told.refused(Status::FutureRevision, kv.range(pb::RangeRequest { revision: last + 1, ..get("k") }).await);
    told.refused(Status::FutureRevision, maintenance.hash_kv(pb::HashKvRequest { revision: last + 1 }).await);
    let compact = |revision| pb::CompactionRequest { revision, physical: false };
    told.refused(Status::FutureRevision, kv.compact(compact(last + 1)).await);
    kv.compact(compact(last)).await.expect("it is there");
    told.refused(Status::Compacted, kv.compact(compact(last)).await);
    told.refused(Status::Compacted, kv.range(pb::RangeRequest { revision: last - 1, ..get("k") }).await);
    told.refused(Status::Compacted, maintenance.hash_kv(pb::HashKvRequest { revision: last - 1 }).await);

    let grant = |id, ttl| pb::LeaseGrantRequest { id, ttl };
    told.refused(Status::LeaseTtlTooLarge, leases.lease_grant(grant(5, 9_000_000_001)).await);
    told.refused(Status::LeaseNotFound, kv.put(pb::PutRequest { lease: 5, ..key_put() }).await);
    told.refused(Status::LeaseNotFound, leases.lease_revoke(pb::LeaseRevokeRequest { id: 5 }).await);
    leases.lease_grant(grant(5, 60)).await.expect("it is granted");
    told.refused(Status::LeaseExists, leases.lease_grant(grant(5, 60)).await);

    kv.put(put("k", vec![b'v'; 1_800])).await.expect("room for one");
    told.refused(Status::NoSpace, kv.put(put("k", vec![b'v'; 1_900])).await);
    maintenance.alarm(activate(pb::AlarmType::Corrupt)).await.expect("it is put on");
    told.refused(Status::Corrupt, kv.put(key_put()).await);
    told.refused(Status::Corrupt, leases.lease_revoke(pb::LeaseRevokeRequest { id: 5 }).await);

    let missing: Vec<&Status> =
        Status::ALL.iter().filter(|status| !told.expected.contains(status) && !ELSEWHERE.contains(status)).collect();
    assert!(missing.is_empty(), "nothing here provokes {missing:?}");
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_calls_end_with_what_etcd_says() {
    let plan = Plan { more: "--heartbeat-interval 10 --election-timeout 50".into(), ..Plan::new(3) };
    let member = plan.start(0).await;
    let channel = plan.channel(0).await;
    let mut kv = KvClient::new(channel.clone());
    let mut told = Told { expected: BTreeSet::new() };
    let begun = tokio::time::Instant::now();
    told.refused(Status::Timeout, kv.put(key_put()).await);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(5), "5 s and two election timeouts, not {waited:?}");
    let mut request = tonic::Request::new(key_put());
    request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
    told.refused(Status::NoLeader, kv.put(request).await);
    drop(member);
}
