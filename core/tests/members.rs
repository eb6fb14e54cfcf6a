//! Members through their door: what no client may notice, and what an operator is told.

mod cluster;
#[path = "members/compaction.rs"]
mod compaction;
#[path = "members/expiry.rs"]
mod expiry;
#[path = "members/lease_checkpoints.rs"]
mod lease_checkpoints;
#[path = "members/quota.rs"]
mod quota;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use cluster::{Cluster, snapshots_soon};
use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::{CallId, ClusterId, NodeId, Term};
use detcd_core::{HaltReason, Input, Instant, Note, Role};

fn put(key: &str, value: &str) -> Request {
    Request::Put(pb::PutRequest { key: key.to_string().into(), value: value.to_string().into(), ..Default::default() })
}

fn get(key: &str) -> Request {
    Request::Range(pb::RangeRequest { key: key.to_string().into(), ..Default::default() })
}

fn value_of(answer: Result<Response, Status>) -> Option<String> {
    let Ok(Response::Range(range)) = answer else { panic!("{answer:?}") };
    range.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

#[test]
fn every_member_takes_writes_and_reads_them_back() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.leader();
    for at in 0..3 {
        cluster.ask(at, put("k", &format!("v{at}"))).unwrap();
        for reader in 0..3 {
            assert_eq!(value_of(cluster.ask(reader, get("k"))), Some(format!("v{at}")));
        }
    }
}

#[test]
fn a_forwarded_write_that_arrives_twice_is_applied_once() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.filter(|kind| if kind == "forward-propose" { 3 } else { 1 });
    let follower = (leader + 1) % 3;
    let Ok(Response::Put(first)) = cluster.ask(follower, put("k", "v")) else { panic!("not written") };
    cluster.run_ms(1000);
    let Ok(Response::Range(range)) = cluster.ask(leader, get("k")) else { panic!("not read") };
    assert_eq!(range.kvs[0].version, 1);
    assert_eq!(first.header.unwrap().revision, range.header.unwrap().revision);
    assert!(cluster.marked(leader, "forward: a duplicate was not appended twice"));
}

#[test]
fn a_member_that_lags_behind_the_log_gets_a_snapshot_although_messages_are_lost() {
    let mut cluster = Cluster::new(3, |config| {
        snapshots_soon(config);
        config.checkpoint_growth_percent = 0;
    });
    let leader = cluster.leader();
    let behind = (leader + 1) % 3;
    cluster.kill(behind);
    for n in 0..60 {
        cluster.ask(leader, put(&format!("k{}", n % 7), &format!("v{n}"))).unwrap();
    }
    // The first announcement is lost, and every third chunk: raft-rs alone would wait for ever.
    let (announced, chunks) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
    let counted = announced.clone();
    cluster.filter(move |kind| match kind {
        "snapshot" => {
            counted.set(counted.get() + 1);
            usize::from(counted.get() > 1)
        }
        "snapshot-chunk" => {
            chunks.set(chunks.get() + 1);
            usize::from(chunks.get() % 3 != 0)
        }
        _ => 1,
    });
    cluster.open(behind);
    cluster.run_ms(20_000);
    assert!(announced.get() > 1, "the lost announcement was made again");
    assert!(cluster.marked(behind, "snapshot: installed"));
    assert_eq!(cluster.node(behind).status().state, cluster.node(leader).status().state);
    assert_eq!(value_of(cluster.ask(behind, get("k3"))), Some("v59".to_string()));
}

#[test]
fn a_snapshot_over_a_longer_log_and_one_over_a_shorter_are_told_apart() {
    let over_longer = "snapshot: installed over a longer log";
    for tail in [60, 3] {
        let mut cluster = Cluster::new(3, |config| {
            snapshots_soon(config);
            config.checkpoint_growth_percent = 0;
        });
        let old = cluster.leader();
        let others = [(old + 1) % 3, (old + 2) % 3];
        others.iter().for_each(|at| cluster.kill(*at));
        for n in 0..tail {
            cluster.call(old, put("lost", &format!("v{n}")));
        }
        cluster.run_ms(100);
        cluster.kill(old);
        others.iter().for_each(|at| cluster.open(*at));
        let leader = cluster.leader();
        for n in 0..30 {
            cluster.ask(leader, put("kept", &format!("v{n}"))).unwrap();
        }
        cluster.open(old);
        cluster.run_ms(5000);
        assert_eq!(cluster.node(old).status().state, cluster.node(leader).status().state);
        assert_eq!(
            (cluster.marked(old, over_longer), cluster.marked(old, "snapshot: installed")),
            (tail == 60, tail == 3)
        );
    }
}

#[test]
fn a_read_that_waits_through_an_election_is_told_of_and_others_are_not() {
    let confirmed = |cluster: &Cluster, at: usize| -> Vec<(CallId, Term)> {
        let told = |note: &Note| match note {
            Note::ReadConfirmed { call, term } => Some((*call, *term)),
            _ => None,
        };
        cluster.notes[at].iter().filter_map(told).collect()
    };
    let mut cluster = Cluster::new(3, |_| {});
    let old = cluster.leader();
    let (asked, other) = ((old + 1) % 3, (old + 2) % 3);
    cluster.ask(asked, get("k")).unwrap();
    assert!(confirmed(&cluster, asked).is_empty());
    let before = cluster.node(asked).status().term;
    cluster.kill(old);
    let call = cluster.call(asked, get("k"));
    for _ in 0..200 {
        cluster.run_ms(100);
    }
    assert!(matches!(cluster.answers.get(&call), Some(Ok(Response::Range(_)))), "{:?}", cluster.answers.get(&call));
    let term = cluster.node(other).status().term;
    assert!(term > before);
    assert_eq!(confirmed(&cluster, asked), [(call, term)]);
}

#[test]
fn a_member_tells_of_each_segment_that_it_begins_and_of_room_that_comes_back() {
    let mut cluster = Cluster::new(1, |_| {});
    let leader = cluster.leader();
    cluster.ask(leader, put("k", "v")).unwrap();
    assert!(!cluster.marked(leader, "wal: a segment was rotated"));
    cluster.full[leader] = true;
    fill(&mut cluster, leader);
    assert_eq!(cluster.marks(leader, "wal: a segment was rotated"), 1, "the room for one had been taken before");
    cluster.run_ms(1000);
    assert!(!cluster.marked(leader, "wal: room ran out and came back"));
    cluster.full[leader] = false;
    cluster.run_ms(1000);
    // It has to be asked for again although a shorter write than the one that was refused would have fit.
    cluster.ask(leader, put("k", &"v".repeat(1000))).unwrap();
    assert_eq!(cluster.marks(leader, "wal: room ran out and came back"), 1);

    // A disk that is full for a while, and nobody notices.
    let mut cluster = Cluster::new(1, |_| {});
    let leader = cluster.leader();
    cluster.full[leader] = true;
    while !cluster.marked(leader, "wal: a segment was rotated") {
        cluster.ask(leader, put("k", &"v".repeat(1000))).unwrap();
    }
    cluster.full[leader] = false;
    cluster.run_ms(1000);
    assert!(!cluster.marked(leader, "wal: room ran out and came back"));
}

#[test]
fn a_checkpoint_is_due_by_bytes_too_and_waits_until_the_log_has_outgrown_the_state() {
    let mut cluster = Cluster::new(1, |config| {
        config.checkpoint_entries = 1_000_000;
        config.log_bytes_max = 4_000;
    });
    let leader = cluster.leader();
    let begun = |cluster: &Cluster| cluster.marks(leader, "checkpoint: begun");
    let value = "v".repeat(1_000);
    for n in 0..3 {
        cluster.ask(leader, put(&format!("k{n}"), &value)).unwrap();
    }
    assert_eq!(begun(&cluster), 0, "the log is short");
    for n in 3..8 {
        cluster.ask(leader, put(&format!("k{n}"), &value)).unwrap();
    }
    assert!(begun(&cluster) > 0, "4,000 bytes of log are enough for a first one");
    for n in 8..200 {
        cluster.ask(leader, put(&format!("k{n}"), &value)).unwrap();
    }
    // One whenever the log since the last has grown as large as the state was then: 4, 8, 16, 32 kB and so on, until
    // sixteen times the bound is enough whatever the state is.
    assert!((5..=9).contains(&begun(&cluster)), "{} checkpoints", begun(&cluster));
}

#[test]
fn a_snapshot_is_begun_anew_when_its_sender_lost_patience_before_its_receiver() {
    let mut cluster = Cluster::new(3, |config| {
        snapshots_soon(config);
        let ms = if config.node_id.0 == 3 { 5000 } else { 600 };
        config.election_timeout = Duration::from_millis(ms);
    });
    let (leader, behind) = (cluster.leader(), 2);
    assert_ne!(leader, behind, "it waits longest");
    cluster.kill(behind);
    for n in 0..60 {
        cluster.ask(leader, put(&format!("k{n}"), &format!("v{n}"))).unwrap();
    }
    // After four chunks nothing is asked for any more, until the sender begins another attempt.
    let (chunks, is_cut) = (Cell::new(0), Rc::new(Cell::new(true)));
    let cut = is_cut.clone();
    cluster.filter(move |kind| {
        chunks.set(chunks.get() + usize::from(kind == "snapshot-chunk"));
        usize::from(!(cut.get() && chunks.get() >= 4 && kind == "snapshot-fetch"))
    });
    cluster.open(behind);
    cluster.run_ms(2500);
    is_cut.set(false);
    cluster.run_ms(4000);
    assert!(cluster.marked(leader, "snapshot: an attempt was ended because its follower was ahead of it"));
    assert!(cluster.marked(behind, "snapshot: installed"));
}

#[test]
fn a_cluster_comes_back_from_its_disks_with_the_same_state() {
    let mut cluster = Cluster::new(3, |config| {
        config.checkpoint_entries = 25;
        config.checkpoint_growth_percent = 0;
    });
    let leader = cluster.leader();
    for n in 0..90 {
        cluster.ask(leader, put(&format!("k{}", n % 11), &format!("v{n}"))).unwrap();
    }
    cluster.run_ms(1000);
    let before = cluster.node(leader).view();
    (0..3).for_each(|at| cluster.kill(at));
    (0..3).for_each(|at| cluster.open(at));
    let leader = cluster.leader();
    assert_eq!(cluster.node(leader).view().revision(), before.revision());
    assert_eq!(value_of(cluster.ask(leader, get("k1"))), Some("v89".to_string()));
    cluster.run_ms(1000);
    let states: Vec<_> = (0..3).map(|at| cluster.node(at).status().state).collect();
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
}

#[test]
fn a_data_directory_knows_its_cluster_and_its_members_with_and_without_a_checkpoint() {
    for checkpoint_entries in [10, 1_000_000] {
        let mut cluster = Cluster::new(3, |config| config.checkpoint_entries = checkpoint_entries);
        let leader = cluster.leader();
        for n in 0..50 {
            cluster.ask(leader, put("k", &format!("v{n}"))).unwrap();
        }
        cluster.run_ms(1000);
        assert_eq!(cluster.marked(leader, "checkpoint: durable"), checkpoint_entries == 10);
        for at in 0..3 {
            cluster.kill(at);
            // What each is told now names nobody but itself, as a cluster of its own, and by another name.
            let config = cluster.config_mut(at);
            config.members.retain(|member| member.id == config.node_id);
            config.members[0].name = format!("again-{at}");
            config.cluster_id = ClusterId(99);
        }
        (0..3).for_each(|at| cluster.open(at));
        let leader = cluster.leader();
        let Ok(Response::Range(range)) = cluster.ask(leader, get("k")) else { panic!("not read") };
        assert_eq!(range.header.unwrap().cluster_id, 7);
        assert_eq!(range.kvs[0].value, "v49");
        cluster.run_ms(1000);
        let members = Request::MemberList(pb::MemberListRequest { linearizable: true });
        let Ok(Response::MemberList(list)) = cluster.ask(leader, members) else { panic!("not listed") };
        let names: Vec<&str> = list.members.iter().map(|member| &*member.name).collect();
        assert_eq!(names, ["again-0", "again-1", "again-2"], "a member is called what it is told to be called");
        let states: Vec<_> = (0..3).map(|at| cluster.node(at).status().state).collect();
        assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
    }
}

#[test]
fn a_member_that_is_killed_while_its_data_directory_is_made_begins_anew() {
    for steps in 0.. {
        let mut cluster = Cluster::new(1, |_| {});
        cluster.kill(0);
        cluster.disks[0].clear();
        cluster.held[0] = true;
        cluster.open(0);
        let mut done = 0;
        while done < steps && !cluster.withheld[0].is_empty() {
            cluster.release(0, 1);
            cluster.run_ms(1);
            done += 1;
        }
        if done < steps {
            assert!(steps > 10, "{steps}");
            return;
        }
        cluster.kill(0);
        cluster.held[0] = false;
        cluster.open(0);
        cluster.leader();
        assert_eq!(cluster.halted[0], None, "after {steps} operations");
        assert!(cluster.ask(0, put("k", "v")).is_ok(), "after {steps} operations");
    }
}

#[test]
fn a_leader_that_stops_hands_leadership_on_first() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.input(leader, Input::Stop);
    cluster.run_ms(300);
    assert!(cluster.stopped[leader]);
    cluster.kill(leader);
    let leads = |at: &usize| cluster.node(*at).status().role == Role::Leader;
    let successor = (0..3).filter(|at| *at != leader).find(leads);
    assert!(successor.is_some(), "sooner than any election timeout");
    cluster.open(leader);
    cluster.run_ms(1000);
    assert_eq!(cluster.halted[leader], None);
    assert_eq!(cluster.node(leader).status().role, Role::Follower);
}

/// A leader that stops, and cannot hand leadership on for as long as it waits for a successor.
fn with_a_leader_that_refuses() -> (Cluster, usize, usize) {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.filter(|kind| usize::from(kind != "timeout-now"));
    cluster.input(leader, Input::Stop);
    cluster.run_ms(10);
    assert_eq!(cluster.node(leader).status().role, Role::Leader);
    (cluster, leader, (leader + 1) % 3)
}

#[test]
fn a_write_that_a_leader_refuses_is_written_by_the_next_one() {
    let (mut cluster, leader, follower) = with_a_leader_that_refuses();
    let call = cluster.call(follower, put("k", "v"));
    cluster.run_ms(6500);
    assert!(cluster.marked(follower, "forward: a refused proposal waits for another leader"));
    assert!(cluster.stopped[leader]);
    let answer = cluster.answers.remove(&call);
    assert!(matches!(answer, Some(Ok(_))), "{answer:?}");
}

#[test]
fn a_read_that_a_leader_refuses_is_asked_again_once_a_tick() {
    let (mut cluster, leader, follower) = with_a_leader_that_refuses();
    let asked = Rc::new(Cell::new(0));
    let counted = asked.clone();
    cluster.filter(move |kind| {
        counted.set(counted.get() + usize::from(kind == "forward-read-index"));
        usize::from(kind != "timeout-now")
    });
    let call = cluster.call(follower, get("k"));
    cluster.run_ms(500);
    assert_eq!(cluster.node(leader).status().role, Role::Leader);
    assert!((3..=6).contains(&asked.get()), "{}", asked.get());
    cluster.run_ms(5000);
    assert!(matches!(cluster.answers.remove(&call), Some(Ok(_))), "the next leader is asked");
}

#[test]
fn a_member_without_a_leader_sleeps_although_it_has_something_to_forward() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    cluster.filter(|kind| usize::from(kind != "forward-propose"));
    let left = (leader + 1) % 3;
    cluster.call(left, put("k", "v"));
    cluster.run_ms(1);
    (0..3).filter(|at| *at != left).for_each(|at| cluster.kill(at));
    for _ in 0..4000 {
        cluster.run_ms(1);
        let wakeup = cluster.node(left).next_wakeup();
        assert!(wakeup.at > Instant::from_millis(cluster.now_ms), "{wakeup:?}");
    }
    assert_ne!(cluster.node(left).status().role, Role::Leader);
}

#[test]
fn a_leader_hands_on_when_one_write_takes_too_long_although_an_older_one_is_done() {
    let mut cluster = Cluster::new(3, |config| config.wal_writes_in_flight_max = 2);
    let leader = cluster.leader();
    cluster.held[leader] = true;
    cluster.call(leader, put("k", "v1"));
    cluster.run_ms(10);
    let first = cluster.withheld[leader].len();
    cluster.call(leader, put("k", "v2"));
    cluster.run_ms(10);
    assert!(cluster.withheld[leader].len() > first);
    cluster.release(leader, first);
    cluster.run_ms(1500);
    assert!(cluster.marked(leader, "leader: handed on because its disk could not write"));
}

#[test]
fn a_write_whose_time_is_over_is_told_what_the_cause_may_be() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let [follower, third] = [(leader + 1) % 3, (leader + 2) % 3];
    let peer = |at: usize| NodeId(at as u64 + 1);
    let time_out = |cluster: &mut Cluster, at: usize, filter: fn(&'static str) -> usize| {
        cluster.filter(filter);
        let answer = cluster.ask(at, put("k", "v"));
        cluster.filter(|_| 1);
        cluster.run_ms(3_000);
        answer
    };
    // A forwarded proposal is never heard of, and nothing else is wrong.
    let lost = |kind| usize::from(kind != "forward-propose");
    assert_eq!(time_out(&mut cluster, follower, lost), Err(Status::Timeout));
    cluster.input(follower, Input::Link { peer: peer(leader), up: false });
    assert_eq!(time_out(&mut cluster, follower, lost), Err(Status::TimeoutConnectionLost));
    cluster.input(follower, Input::Link { peer: peer(leader), up: true });
    cluster.run_ms(10);
    assert_eq!(time_out(&mut cluster, follower, lost), Err(Status::Timeout), "it is up again since before that");
    // The leader fails while it has the write, and there is another one soon after.
    cluster.filter(lost);
    let call = cluster.call(follower, put("k", "v"));
    cluster.run_ms(100);
    cluster.kill(leader);
    cluster.filter(|_| 1);
    cluster.run_ms(10_000);
    assert_eq!(cluster.answers.remove(&call), Some(Err(Status::TimeoutLeaderFail)));
    assert!(cluster.node(third).status().leader != peer(leader));
}

#[test]
fn a_keepalive_names_no_revision_after_the_question() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let grant = Request::LeaseGrant(pb::LeaseGrantRequest { id: 5, ttl: 60 });
    assert!(cluster.ask(follower, grant).is_ok());
    for asked in [leader, follower] {
        let Ok(Response::Put(before)) = cluster.ask(asked, put("k", "v")) else { panic!("it is put") };
        cluster.filter(|kind| usize::from(kind != "forward-reply" && kind != "heartbeat-reply"));
        let call = cluster.call(asked, Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: 5 }));
        cluster.run_ms(10);
        assert!(!cluster.answers.contains_key(&call), "nobody confirms it yet");
        assert!(cluster.ask(asked, put("k", "w")).is_ok());
        cluster.filter(|_| 1);
        cluster.run_ms(3_000);
        let Some(Ok(Response::LeaseKeepAlive(kept))) = cluster.answers.remove(&call) else { panic!("it is kept") };
        assert_eq!((kept.ttl, kept.header.map(|header| header.revision)), (60, before.header.map(|h| h.revision)));
    }
}

/// Puts until the leader has no room, which every disk denies that is full; the number of puts.
fn fill(cluster: &mut Cluster, leader: usize) -> usize {
    for n in 0..400 {
        match cluster.ask(leader, put(&format!("k{n}"), &"v".repeat(1000))) {
            Ok(_) => {}
            Err(Status::NoSpace) => return n,
            Err(status) => panic!("{status:?}"),
        }
    }
    panic!("it never gets full");
}

fn delete(key: &str) -> Request {
    let key = key.to_string().into();
    Request::DeleteRange(pb::DeleteRangeRequest { key, ..Default::default() })
}

/// Asks the leader, whoever that is, until it has time: leadership is handed on without room.
fn ask_leader(cluster: &mut Cluster, request: &Request) -> Result<Response, Status> {
    for _ in 0..100 {
        let leader = cluster.leader();
        match cluster.ask(leader, request.clone()) {
            Err(Status::TooManyRequests | Status::Timeout) => {}
            answer => return answer,
        }
    }
    panic!("nobody leads for long enough");
}

#[test]
fn members_without_room_refuse_writes_and_go_on_reading_and_deleting() {
    for size in [1, 3] {
        let mut cluster = Cluster::new(size, |_| {});
        let leader = cluster.leader();
        cluster.full = vec![true; size];
        let count = fill(&mut cluster, leader);
        assert!(count > 60, "{count}");
        cluster.run_ms(5000);
        for n in 0..20 {
            let deleted = ask_leader(&mut cluster, &delete(&format!("k{n}")));
            assert!(matches!(&deleted, Ok(Response::DeleteRange(done)) if done.deleted == 1), "{deleted:?}");
        }
        assert_eq!(ask_leader(&mut cluster, &put("k", "v")), Err(Status::NoSpace));
        assert_eq!(value_of(ask_leader(&mut cluster, &get("k19"))), None);
        assert_eq!(value_of(ask_leader(&mut cluster, &get("k20"))).map(|value| value.len()), Some(1000));
        let revision = i64::try_from(count).unwrap();
        let compact = Request::Compact(pb::CompactionRequest { revision, physical: false });
        assert!(matches!(ask_leader(&mut cluster, &compact), Ok(Response::Compact(_))));
        cluster.full = vec![false; size];
        cluster.run_ms(1000);
        assert!(matches!(ask_leader(&mut cluster, &put("k", "v")), Ok(Response::Put(_))));
        assert!(cluster.halted.iter().all(Option::is_none));
    }
}

#[test]
fn a_leader_with_room_for_small_writes_only_asks_for_more_and_hands_on() {
    for size in [1, 3] {
        let mut cluster = Cluster::new(size, |_| {});
        let leader = cluster.leader();
        cluster.full[leader] = true;
        fill(&mut cluster, leader);
        if size == 1 {
            assert!(cluster.ask(leader, put("small", "v")).is_ok(), "it is too little for a large one only");
            assert_eq!(cluster.ask(leader, put("large", &"v".repeat(1000))), Err(Status::NoSpace));
        }
        cluster.run_ms(500);
        assert_eq!(cluster.marked(leader, "leader: handed on because its disk could not write"), size > 1);
        cluster.full[leader] = false;
        cluster.run_ms(500);
        let leader = cluster.leader();
        assert!(cluster.ask(leader, put("large", &"v".repeat(1000))).is_ok());
    }
}

#[test]
fn a_follower_without_room_drops_entries_and_still_follows() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let behind = (leader + 1) % 3;
    cluster.full[behind] = true;
    for n in 0..200 {
        cluster.ask(leader, put(&format!("k{n}"), &"v".repeat(1000))).unwrap();
    }
    assert!(cluster.marked(behind, "peer: entries were dropped without room for them"));
    let (led, last) = (cluster.node(leader).status(), cluster.node(behind).status().last);
    assert!(last < led.last);
    for _ in 0..5000 {
        cluster.run_ms(1);
        let status = cluster.node(behind).status();
        assert_eq!((status.role, status.leader, status.term), (Role::Follower, led.leader, led.term));
    }
    cluster.full[behind] = false;
    cluster.run_ms(1000);
    assert_eq!(cluster.node(behind).status().applied, cluster.node(leader).status().applied);
}

#[test]
fn a_call_without_a_quorum_times_out_with_an_unknown_outcome() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    (0..3).filter(|at| *at != leader).for_each(|at| cluster.kill(at));
    assert_eq!(cluster.ask(leader, put("k", "v")), Err(Status::Timeout));
    assert_eq!(cluster.ask(leader, get("k")), Err(Status::Timeout));
}

#[test]
fn a_data_directory_of_another_member_is_refused_and_not_touched() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.leader();
    cluster.kill(0);
    let (before, writes) = (cluster.disks[0].clone(), cluster.writes);
    let config = cluster.config_mut(0);
    config.node_id = NodeId(8);
    config.members[0].id = NodeId(8);
    cluster.open(0);
    cluster.run_ms(100);
    assert!(matches!(cluster.halted[0], Some(HaltReason::Foreign { .. })), "{:?}", cluster.halted[0]);
    assert_eq!(cluster.disks[0], before);
    assert_eq!(cluster.writes, writes);
}

#[test]
fn a_flipped_byte_in_the_log_is_refused_by_file_and_offset_and_nothing_is_written() {
    let mut cluster = Cluster::new(1, |_| {});
    cluster.leader();
    for n in 0..20 {
        cluster.ask(0, put("k", &format!("v{n}"))).unwrap();
    }
    cluster.input(0, Input::Stop);
    cluster.run_ms(2000);
    assert!(cluster.stopped[0]);
    cluster.kill(0);
    let name = cluster.disks[0].keys().find(|name| name.ends_with(".wal")).unwrap().clone();
    cluster.disks[0].get_mut(&name).unwrap()[700] ^= 0x10;
    let writes = cluster.writes;
    cluster.open(0);
    cluster.run_ms(100);
    let Some(HaltReason::Damaged { file, offset, .. }) = &cluster.halted[0] else { panic!("{:?}", cluster.halted[0]) };
    assert_eq!(*file, name);
    assert!((500..=700).contains(offset), "{offset}");
    assert_eq!(cluster.writes, writes);
}
