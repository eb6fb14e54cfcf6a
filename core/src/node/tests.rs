//! Members from inside, where the door shows a mistake only by bad luck.

// The choreographies outside this crate drive the members with the same loop.
#[allow(dead_code)]
#[path = "../../tests/cluster/mod.rs"]
mod cluster;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use cluster::{Cluster, snapshots_soon};

use super::member::Member;
use super::reads::{LeaseOp, Waiter};
use super::{Life, Node};
use crate::api::{Request, Response};
use crate::config::NodeConfig;
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

/// Kills a follower of a cluster that has [`snapshots_soon`], and writes until the log does not reach back to it.
fn kill_one_that_will_need_a_snapshot(cluster: &mut Cluster, leader: usize) -> usize {
    let behind = (leader + 1) % 3;
    cluster.kill(behind);
    for n in 0..60 {
        cluster.ask(leader, put(&format!("k{n}"))).unwrap();
    }
    behind
}

#[test]
fn a_snapshot_that_is_given_up_is_dropped_elsewhere() {
    let mut cluster = Cluster::new(3, snapshots_soon);
    let leader = cluster.leader();
    let behind = kill_one_that_will_need_a_snapshot(&mut cluster, leader);
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

/// A cluster with a follower that needs a snapshot, and that has got a part of it when its disk becomes slow.
struct SlowTransfer {
    cluster: Cluster,
    leader: usize,
    behind: usize,
    /// How many snapshots were announced to it.
    announced: Rc<Cell<usize>>,
}

impl SlowTransfer {
    fn begin(adjust: impl Fn(&mut NodeConfig)) -> SlowTransfer {
        let adjust = |config: &mut NodeConfig| {
            snapshots_soon(config);
            config.append_bytes_max = 200;
            adjust(config);
        };
        let mut cluster = Cluster::new(3, adjust);
        let leader = cluster.leader();
        let behind = kill_one_that_will_need_a_snapshot(&mut cluster, leader);
        let announced = Rc::new(Cell::new(0));
        let (counted, mut chunks) = (announced.clone(), 0);
        // Nothing takes time here but what is lost: the fifth chunk comes only when it is asked for again.
        cluster.filter(move |kind| {
            counted.set(counted.get() + usize::from(kind == "snapshot"));
            chunks += usize::from(kind == "snapshot-chunk");
            usize::from(kind != "snapshot-chunk" || chunks != 5)
        });
        cluster.open(behind);
        cluster.run_ms(1);
        let mut transfer = SlowTransfer { cluster, leader, behind, announced };
        transfer.repeat_until(|transfer| transfer.is_receiving(), |transfer| transfer.cluster.run_ms(1));
        transfer.cluster.held[behind] = true;
        transfer
    }

    fn repeat_until(&mut self, done: impl Fn(&mut SlowTransfer) -> bool, step: impl Fn(&mut SlowTransfer)) {
        for _ in 0..2_000 {
            if done(self) {
                return;
            }
            step(self);
        }
        panic!("it never ends");
    }

    fn is_receiving(&mut self) -> bool {
        !member(&mut self.cluster, self.behind).receiving.is_idle()
    }

    /// Lets the slow disk do an operation.
    fn disk_does_one(&mut self) {
        let waits = !self.cluster.withheld[self.behind].is_empty();
        self.cluster.release(self.behind, usize::from(waits));
        self.cluster.run_ms(1);
    }

    /// The disk becomes fast.
    fn disk_does_all(&mut self) {
        self.cluster.held[self.behind] = false;
        let all = self.cluster.withheld[self.behind].len();
        self.cluster.release(self.behind, all);
    }

    /// Writes so many entries, in so many ms each.
    fn put(&mut self, count: usize, each_ms: u64) {
        for _ in 0..count {
            self.cluster.call(self.leader, put("later"));
            self.cluster.run_ms(each_ms);
        }
    }

    fn commit(&self, at: usize) -> u64 {
        self.cluster.node(at).status().commit.0
    }

    /// How many applied entries the leader has in memory.
    fn kept(&mut self) -> u64 {
        let leading = member(&mut self.cluster, self.leader);
        leading.applied().0 - leading.consensus.log_base().0
    }
}

#[test]
fn a_snapshot_outlives_a_disk_that_stalls_for_longer_than_silence_is_borne() {
    let mut transfer = SlowTransfer::begin(|_| {});
    transfer.repeat_until(
        |transfer| !transfer.is_receiving(),
        |transfer| {
            transfer.cluster.ask(transfer.leader, put("later")).unwrap();
            transfer.cluster.run_ms(6_000);
            transfer.disk_does_one();
        },
    );
    assert!(transfer.cluster.marked(transfer.behind, "snapshot: installed"));
    transfer.disk_does_all();
    transfer.cluster.run_ms(1_000);
    assert_eq!(transfer.commit(transfer.behind), transfer.commit(transfer.leader));
    assert_eq!(transfer.announced.get(), 1, "every chunk, the syncs and the rename stalled: it is still the first one");
}

#[test]
fn what_comes_after_a_snapshot_stays_until_its_follower_has_it() {
    let mut transfer = SlowTransfer::begin(|_| {});
    // Much is written while the snapshot is on its way, and while what was written then is.
    let SlowTransfer { leader, behind, .. } = transfer;
    transfer.put(60, 15);
    transfer.repeat_until(|transfer| !transfer.is_receiving(), |transfer| transfer.disk_does_one());
    let caught_up = transfer.commit(leader);
    transfer.repeat_until(
        |transfer| transfer.commit(behind) >= caught_up,
        |transfer| {
            transfer.put(10, 40);
            transfer.disk_does_one();
        },
    );
    assert_eq!(transfer.announced.get(), 1, "the first snapshot is the last one");
    // With that, the log is as short as it was before.
    transfer.disk_does_all();
    transfer.cluster.run_ms(1_000);
    transfer.put(30, 1);
    transfer.cluster.run_ms(1_000);
    assert!(transfer.kept() <= 50, "{} entries are kept without need", transfer.kept());
}

#[test]
fn what_comes_after_a_snapshot_is_not_kept_for_who_is_gone() {
    let mut transfer = SlowTransfer::begin(|_| {});
    let behind = transfer.behind;
    transfer.put(30, 1);
    transfer.repeat_until(|transfer| !transfer.is_receiving(), |transfer| transfer.disk_does_one());
    transfer.cluster.kill(behind);
    transfer.put(30, 10);
    assert!(transfer.kept() > 50, "it may come back at once: {}", transfer.kept());
    transfer.cluster.run_ms(6_000);
    transfer.put(30, 1);
    assert!(transfer.kept() <= 50, "{} entries are kept for nobody", transfer.kept());
}

#[test]
fn what_comes_after_a_snapshot_is_bounded() {
    let mut transfer = SlowTransfer::begin(|config| config.catchup_entries = 20);
    let mut most = 0;
    for _ in 0..40 {
        transfer.put(30, 1);
        most = most.max(transfer.kept());
    }
    // Eight times what it is otherwise, and no second time for who needs another snapshot in any case.
    assert!((300..=400).contains(&most), "at most {most} entries are kept");
    assert!(transfer.kept() <= 80, "{} entries are kept for who needs another snapshot", transfer.kept());
    transfer.disk_does_all();
    transfer.cluster.run_ms(10_000);
    assert_eq!(transfer.commit(transfer.behind), transfer.commit(transfer.leader));
}

#[test]
fn what_comes_after_a_snapshot_is_bounded_by_bytes() {
    let bytes_max = 500;
    let mut transfer = SlowTransfer::begin(|config| {
        (config.log_bytes_max, config.catchup_entries, config.checkpoint_entries) = (bytes_max, 100_000, 10);
    });
    let mut most = 0;
    for _ in 0..240 {
        transfer.put(5, 1);
        most = most.max(member(&mut transfer.cluster, transfer.leader).consensus.log_bytes());
    }
    assert!((7 * bytes_max..9 * bytes_max).contains(&most), "at most {most} bytes are kept");
    let kept = member(&mut transfer.cluster, transfer.leader).consensus.log_bytes();
    assert!(kept < 2 * bytes_max, "{kept} bytes are kept for who needs another snapshot");
}

#[test]
fn a_lost_acknowledgement_costs_no_second_snapshot() {
    let mut transfer = SlowTransfer::begin(|_| {});
    let SlowTransfer { leader, behind, .. } = transfer;
    transfer.put(30, 1);
    let again = transfer.announced.clone();
    transfer.cluster.filter(move |kind| {
        again.set(again.get() + usize::from(kind == "snapshot"));
        usize::from(kind != "append-reply")
    });
    transfer.disk_does_all();
    transfer.repeat_until(|transfer| !transfer.is_receiving(), |transfer| transfer.cluster.run_ms(1));
    assert!(transfer.cluster.marked(behind, "snapshot: installed"));
    assert!(transfer.commit(behind) < transfer.commit(leader));
    let again = transfer.announced.clone();
    transfer.cluster.filter(move |kind| {
        again.set(again.get() + usize::from(kind == "snapshot"));
        1
    });
    transfer.put(30, 200);
    transfer.cluster.run_ms(1_000);
    assert_eq!(transfer.commit(behind), transfer.commit(leader));
    assert_eq!(transfer.announced.get(), 1);
}

#[test]
fn a_snapshot_that_the_log_makes_needless_is_given_up() {
    let mut transfer = SlowTransfer::begin(|config| {
        // Whoever leads next has the whole log.
        config.catchup_entries = if config.node_id == first_leader() { 5 } else { 100_000 };
    });
    let SlowTransfer { leader, behind, .. } = transfer;
    transfer.cluster.kill(leader);
    transfer.repeat_until(
        |transfer| !transfer.is_receiving(),
        |transfer| {
            transfer.cluster.run_ms(50);
            // Its vote has to become durable, and chunks do not come any more.
            (0..4).for_each(|_| transfer.disk_does_one());
        },
    );
    assert!(transfer.cluster.marked(behind, "snapshot: fetched and not needed any more"));
    assert!(!transfer.cluster.marked(behind, "snapshot: installed"));
    transfer.disk_does_all();
    let leader = transfer.cluster.leader();
    assert_eq!(transfer.commit(behind), transfer.commit(leader));
}

/// Who leads first in a cluster of three.
fn first_leader() -> NodeId {
    NodeId(Cluster::new(3, snapshots_soon).leader() as u64 + 1)
}
