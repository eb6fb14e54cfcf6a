//! How long leases live across changes of leader (contract, section 1.3).

use std::time::Duration;

use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::{CallId, LeaseId};

use crate::cluster::Cluster;

const ID: i64 = 7;
const TTL_S: i64 = 60;

/// Three members that checkpoint leases every two seconds, their leader, and a lease that was granted just now.
fn with_a_lease() -> (Cluster, usize) {
    let mut cluster = Cluster::new(3, |config| config.lease_checkpoint_interval = Duration::from_secs(2));
    let leader = cluster.leader();
    cluster.ask(leader, Request::LeaseGrant(pb::LeaseGrantRequest { id: ID, ttl: TTL_S })).expect("granted");
    (cluster, leader)
}

fn keep_alive() -> Request {
    Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: ID })
}

/// The TTL that a keepalive was answered with, if it was.
fn renewed_for(cluster: &mut Cluster, call: CallId) -> Option<i64> {
    let answer = cluster.answers.remove(&call)?;
    let Ok(Response::LeaseKeepAlive(response)) = answer else { panic!("{answer:?}") };
    Some(response.ttl)
}

/// What the members that live say remains of the lease; they have to agree.
fn remaining_s(cluster: &Cluster) -> Option<i64> {
    let mut said = cluster.nodes.iter().flatten().map(|node| node.view().lease_time(LeaseId(ID)));
    let first = said.next().expect("one lives");
    assert!(said.all(|other| other == first), "members differ");
    first.map(|time| time.remaining_s)
}

/// The leader dies, and another one leads; how many milliseconds later.
fn change_leader(cluster: &mut Cluster, leader: usize) -> (usize, u64) {
    let since_ms = cluster.now_ms;
    cluster.kill(leader);
    let next = cluster.leader();
    (next, cluster.now_ms - since_ms)
}

#[test]
fn a_new_leader_ends_a_lease_after_what_remained_of_it_and_not_after_its_full_time() {
    let (mut cluster, leader) = with_a_lease();
    let granted_ms = cluster.now_ms;
    cluster.run_ms(50_000);
    let remaining = remaining_s(&cluster).expect("it lives");
    assert!((10..=12).contains(&remaining), "{remaining} s");
    let (next, took_ms) = change_leader(&mut cluster, leader);
    let ends_ms = granted_ms + TTL_S as u64 * 1_000;
    cluster.run_ms(ends_ms - 200 - cluster.now_ms);
    assert!(remaining_s(&cluster).is_some(), "it is not early");
    cluster.run_ms(200 + took_ms + 2_000 + 1_000);
    assert_eq!(remaining_s(&cluster), None, "it is late by the election, the interval and the extension at most");
    assert!(cluster.marked(next, "lease: resumed from a checkpoint"));
}

#[test]
fn a_lease_that_was_renewed_after_a_checkpoint_lives_its_full_time_under_a_new_leader() {
    for asks_the_leader in [true, false] {
        let (mut cluster, leader) = with_a_lease();
        cluster.run_ms(50_000);
        assert!(remaining_s(&cluster).is_some_and(|remaining| remaining > 0));
        let asked = if asks_the_leader { leader } else { (leader + 1) % 3 };
        let call = cluster.call(asked, keep_alive());
        let renewed_ms = cluster.now_ms;
        while !cluster.answers.contains_key(&call) {
            cluster.run_ms(1);
        }
        assert!(cluster.now_ms - renewed_ms < 50, "it does not wait for a tick");
        assert_eq!(renewed_for(&mut cluster, call), Some(TTL_S));
        // The very moment that the client knows.
        change_leader(&mut cluster, leader);
        assert_eq!(remaining_s(&cluster), Some(0));
        cluster.run_ms(renewed_ms + TTL_S as u64 * 1_000 - cluster.now_ms);
        assert!(remaining_s(&cluster).is_some(), "its time is not over");
        cluster.run_ms(5_000);
        assert_eq!(remaining_s(&cluster), None);
        assert!(cluster.marked(leader, "lease: a checkpoint was cleared before a renewal"));
    }
}

#[test]
fn a_checkpoint_on_its_way_does_not_overtake_a_renewal() {
    for asks_the_leader in [true, false] {
        let (mut cluster, leader) = with_a_lease();
        cluster.run_ms(1_000);
        // Nothing is committed any more, but the leader can confirm that it leads.
        cluster.filter(|kind| usize::from(kind != "append-reply"));
        cluster.run_ms(1_500);
        assert_eq!(remaining_s(&cluster), Some(0), "it is proposed only");
        let asked = if asks_the_leader { leader } else { (leader + 1) % 3 };
        let call = cluster.call(asked, keep_alive());
        cluster.run_ms(500);
        assert_eq!(renewed_for(&mut cluster, call), None, "what is on its way says less");
        cluster.filter(|_| 1);
        cluster.run_ms(500);
        assert_eq!(renewed_for(&mut cluster, call), Some(TTL_S));
        assert_eq!(remaining_s(&cluster), Some(0), "it is cleared");
    }
}

#[test]
fn a_renewal_whose_leader_dies_while_it_waits_is_answered_by_the_next_one() {
    let (mut cluster, leader) = with_a_lease();
    cluster.run_ms(10_000);
    cluster.filter(|kind| usize::from(kind != "append-reply"));
    let call = cluster.call((leader + 1) % 3, keep_alive());
    cluster.run_ms(300);
    assert_eq!(renewed_for(&mut cluster, call), None);
    cluster.filter(|_| 1);
    let (_, took_ms) = change_leader(&mut cluster, leader);
    assert!(took_ms < 5_000);
    cluster.run_ms(1_000);
    assert_eq!(renewed_for(&mut cluster, call), Some(TTL_S));
    assert_eq!(remaining_s(&cluster), Some(0));
}

#[test]
fn a_lease_that_is_kept_alive_is_not_checkpointed_and_a_restart_keeps_what_is() {
    let (mut cluster, leader) = with_a_lease();
    for _ in 0..10 {
        cluster.run_ms(1_000);
        let call = cluster.call(leader, keep_alive());
        cluster.run_ms(10);
        assert_eq!(renewed_for(&mut cluster, call), Some(TTL_S), "at once");
    }
    assert!(!cluster.marked(leader, "lease: a checkpoint was cleared before a renewal"));
    assert_eq!(remaining_s(&cluster), Some(0));
    cluster.run_ms(30_000);
    let remaining = remaining_s(&cluster);
    assert!(remaining.is_some_and(|remaining| (28..=32).contains(&remaining)), "{remaining:?}");
    let follower = (leader + 1) % 3;
    cluster.kill(follower);
    cluster.open(follower);
    cluster.run_ms(500);
    assert_eq!(remaining_s(&cluster), remaining);
}

#[test]
fn a_leader_lists_leases_by_their_ends_and_a_follower_by_id() {
    let (mut cluster, leader) = with_a_lease();
    for (id, ttl) in [(3, 90), (5, 30)] {
        cluster.ask(leader, Request::LeaseGrant(pb::LeaseGrantRequest { id, ttl })).expect("granted");
    }
    cluster.run_ms(500);
    let mut listed = |at: usize| {
        let answer = cluster.ask(at, Request::LeaseLeases(pb::LeaseLeasesRequest {}));
        let Ok(Response::LeaseLeases(response)) = answer else { panic!("{answer:?}") };
        response.leases.iter().map(|lease| lease.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(leader), [5, ID, 3]);
    assert_eq!(listed((leader + 1) % 3), [3, 5, ID]);
}

/// An entry of a former term is applied, and answered, when the new leader's first one is committed, however long that
/// takes.
#[test]
fn a_lease_that_is_granted_late_has_its_time_from_its_answer_on() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.filter(|kind| usize::from(kind != "append-reply"));
    let grant = Request::LeaseGrant(pb::LeaseGrantRequest { id: ID, ttl: 2 });
    let call = cluster.call((leader + 1) % 3, grant);
    cluster.run_ms(300);
    change_leader(&mut cluster, leader);
    cluster.run_ms(3_600);
    assert!(!cluster.answers.contains_key(&call), "nothing is committed yet");
    cluster.filter(|_| 1);
    while !cluster.answers.contains_key(&call) {
        cluster.run_ms(1);
    }
    let Some(Ok(Response::LeaseGrant(granted))) = cluster.answers.remove(&call) else { panic!("it is granted") };
    assert_eq!(granted.ttl, 2);
    cluster.run_ms(1_950);
    assert!(remaining_s(&cluster).is_some(), "its time is not over");
    cluster.run_ms(3_000);
    assert_eq!(remaining_s(&cluster), None);
}
