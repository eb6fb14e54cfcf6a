//! Members from inside, where the door shows a mistake only by bad luck.

// The choreographies outside this crate drive the members with the same loop.
#[allow(dead_code)]
#[path = "../../tests/cluster/mod.rs"]
mod cluster;

use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, snapshots_soon};

use super::member::Member;
use super::reads::{LeaseOp, Waiter};
use super::{Life, Node};
use crate::api::{Request, Response};
use crate::effect::{Effect, Outputs};
use crate::input::{DiskError, Input};
use crate::peer::{self, Body};
use crate::proto::detcdpeer as pb;
use crate::proto::etcdserverpb as etcd;
use crate::time::Instant;
use crate::types::{CallId, ClusterId, NodeId};

fn member(cluster: &mut Cluster, at: usize) -> &mut Member {
    match &mut cluster.nodes[at].as_mut().expect("it lives").life {
        Life::Serving(member) => member,
        Life::Opening(_) | Life::Over => panic!("it does not serve"),
    }
}

fn put(key: &str) -> Request {
    Request::Put(etcd::PutRequest { key: key.to_string().into(), ..Default::default() })
}

fn grant(cluster: &mut Cluster, at: usize) -> i64 {
    let request = Request::LeaseGrant(etcd::LeaseGrantRequest { ttl: 60, id: 0 });
    let Ok(Response::LeaseGrant(granted)) = cluster.ask(at, request) else { panic!("not granted") };
    granted.id
}

#[test]
fn the_remaining_time_of_a_lease_is_not_told_by_a_member_whose_clock_stopped_meanwhile() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let id = grant(&mut cluster, leader);
    let time_to_live = LeaseOp::TimeToLive(etcd::LeaseTimeToLiveRequest { id, keys: false });
    let member = member(&mut cluster, leader);
    let applied = member.applied();
    // Confirmed while it led, and released when its leadership is over.
    member.leases.step_down();
    let (call, until) = (CallId(99), Instant::NEVER);
    member.calls.begin(call, until, None);
    member.reads.confirmed_elsewhere(applied, Waiter::Lease { call, op: time_to_live.clone() });
    let forwarded = Waiter::Forwarded { peer: NodeId(9), boot: 1, sequence: 1, lease: Some(time_to_live), until };
    member.reads.confirmed_elsewhere(applied, forwarded);
    let mut out = Outputs::default();
    member.advance_reads(&mut out);
    assert!(out.effects.is_empty(), "{:?}", out.effects);
    assert!(member.reads.wants_round(), "the client's question is asked again, and the other member asks again itself");
}

#[test]
fn nothing_leaves_in_a_step_after_the_disk_failed() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.held[leader] = true;
    cluster.call(leader, put("k"));
    cluster.run_ms(1);
    let Some(Input::DiskDone { op, .. }) = cluster.withheld[leader].pop_front() else { panic!("nothing is written") };
    let node: &mut Node = cluster.nodes[leader].as_mut().unwrap();
    let mut out = Outputs::default();
    // At a time when it would tick, and send heartbeats.
    let now = node.now + Duration::from_millis(200);
    node.step(now, Input::DiskDone { op, result: Err(DiskError::Io("broken".to_string())) }, &mut out);
    assert!(matches!(out.effects[..], [Effect::Halt(_)]), "{:?}", out.effects);
}

#[test]
fn a_leader_refuses_reads_of_other_members_beyond_a_bound() {
    let mut cluster = Cluster::new(3, |config| config.calls_waiting_max = 2);
    let leader = cluster.leader();
    // No round comes back.
    cluster.filter(|kind| usize::from(kind != "heartbeat"));
    let (cluster_id, to, term) = {
        let member = member(&mut cluster, leader);
        (member.config.cluster_id, member.config.node_id, member.consensus.standing().1)
    };
    let from = NodeId((leader as u64 + 1) % 3 + 1);
    let node: &mut Node = cluster.nodes[leader].as_mut().unwrap();
    let mut refused = Vec::new();
    for sequence in 1..=10 {
        let what = Some(pb::forward_request::What::ReadIndex(pb::ReadIndex {}));
        let ask = Body::Forward(pb::ForwardRequest { term: term.0, boot: 1, sequence, what });
        let mut out = Outputs::default();
        node.step(node.now, Input::Peer { from, frame: peer::encode(cluster_id, from, to, ask) }, &mut out);
        refused.extend(out.effects.iter().filter_map(|effect| reason(cluster_id, to, effect)));
    }
    assert_eq!(refused, [pb::refused::Reason::Busy; 6]);
}

/// Why a request was refused, if this effect says that one was.
fn reason(cluster_id: ClusterId, from: NodeId, effect: &Effect) -> Option<pb::refused::Reason> {
    let Effect::Send { to, frame, .. } = effect else { return None };
    let Ok(Body::ForwardReply(reply)) = peer::decode(cluster_id, from, *to, Bytes::clone(frame)) else { return None };
    match reply.what {
        Some(pb::forward_reply::What::Refused(refused)) => Some(refused.reason()),
        _ => None,
    }
}

#[test]
fn a_lease_that_is_unknown_is_told_apart_from_a_clock_that_stands() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.leader();
    let ask = Request::LeaseTimeToLive(etcd::LeaseTimeToLiveRequest { id: 12345, keys: false });
    let Ok(Response::LeaseTimeToLive(answer)) = cluster.ask(0, ask) else { panic!("not answered") };
    assert_eq!((answer.id, answer.ttl), (12345, -1));
}

#[test]
fn a_snapshot_that_is_given_up_is_dropped_elsewhere() {
    let mut cluster = Cluster::new(3, snapshots_soon);
    let leader = cluster.leader();
    let behind = (leader + 1) % 3;
    cluster.kill(behind);
    for n in 0..60 {
        cluster.ask(leader, put(&format!("k{n}"))).unwrap();
    }
    // A few chunks come, and then no more.
    let mut chunks = 0;
    cluster.filter(move |kind| {
        chunks += usize::from(kind == "snapshot-chunk");
        usize::from(kind != "snapshot-chunk" || chunks < 5)
    });
    cluster.open(behind);
    let before = loop {
        cluster.run_ms(1);
        if !member(&mut cluster, behind).receiving.is_idle() {
            break cluster.discarded[behind].len();
        }
    };
    while !member(&mut cluster, behind).receiving.is_idle() {
        cluster.run_ms(1);
    }
    let discarded = &cluster.discarded[behind][before..];
    assert!(discarded.iter().any(|view| view.revision() == cluster.node(leader).view().revision()));
}
