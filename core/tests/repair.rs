//! A member whose log has a rotten tail: it may have acknowledged what it lost, and must not help to forget it.

#[allow(dead_code, reason = "more than these tests need")]
mod cluster;

use cluster::Cluster;
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb::{PutRequest, RangeRequest};
use detcd_core::{HaltReason, Phase, Role};

fn put(key: &str) -> Request {
    Request::Put(PutRequest { key: key.to_owned().into(), value: "value".into(), ..PutRequest::default() })
}

fn count(cluster: &mut Cluster, at: usize, key: &str) -> i64 {
    let range = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    match cluster.ask(at, Request::Range(range)) {
        Ok(Response::Range(range)) => range.count,
        other => panic!("{other:?}"),
    }
}

/// Puts a key and gives control back at once, before a mark is written.
fn put_quickly(cluster: &mut Cluster, at: usize, key: &str) {
    // A tick has just passed.
    cluster.run_ms(120);
    let call = cluster.call(at, put(key));
    for _ in 0..20 {
        cluster.run_ms(1);
        if let Some(answer) = cluster.answers.remove(&call) {
            assert!(answer.is_ok(), "{answer:?}");
            return;
        }
    }
    panic!("no answer");
}

/// Flips a bit of the last record of a log.
fn rot(cluster: &mut Cluster, at: usize) -> (String, u64) {
    let is_segment = |(name, _): &(&String, &mut Vec<u8>)| name.ends_with(".wal");
    let (name, content) = cluster.disks[at].iter_mut().filter(is_segment).last().expect("a segment");
    let last = content.iter().rposition(|&byte| byte != 0).expect("a record");
    content[last - 4] ^= 4;
    (name.clone(), last as u64)
}

fn phase(cluster: &Cluster, at: usize) -> Phase {
    cluster.node(at).status().phase
}

fn leads(cluster: &Cluster) -> bool {
    cluster.nodes.iter().flatten().any(|node| node.status().role == Role::Leader)
}

#[test]
fn a_rotten_tail_comes_back_from_the_others() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let rotten = (leader + 1) % 3;
    put_quickly(&mut cluster, leader, "k");
    cluster.run_ms(3);
    cluster.kill(rotten);
    let before = cluster.node(leader).status();
    rot(&mut cluster, rotten);
    cluster.open(rotten);
    cluster.run_ms(3);
    assert!(cluster.marked(rotten, "wal: a rotten tail was cut"));
    assert_eq!(phase(&cluster, rotten), Phase::Repairing);
    assert!(cluster.node(rotten).status().last < before.last, "something is cut off");
    let mut waited_ms = 0;
    while phase(&cluster, rotten) != Phase::Serving {
        cluster.run_ms(100);
        waited_ms += 100;
        assert!(waited_ms < 20_000, "{:?}", cluster.node(rotten).status());
    }
    assert!(cluster.marked(rotten, "repair: over"));
    let now = cluster.node(rotten).status();
    assert!(now.term > before.term, "a leader that relies on old acknowledgements cannot repair");
    assert!(now.last > before.last);
    assert_eq!(count(&mut cluster, rotten, "k"), 1);

    // Its vote counts again, and nothing of the loss is left.
    let other = (0..3).find(|at| *at != rotten).expect("there are three");
    cluster.kill(other);
    cluster.leader();
    cluster.kill(rotten);
    cluster.open(rotten);
    cluster.run_ms(3);
    assert_eq!(phase(&cluster, rotten), Phase::Serving);
    cluster.leader();
}

#[test]
fn a_member_that_may_have_lost_a_committed_entry_does_not_elect_one_that_lacks_it() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let (rotten, behind) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(behind);
    put_quickly(&mut cluster, leader, "k");
    cluster.run_ms(3);
    cluster.kill(leader);
    cluster.kill(rotten);
    rot(&mut cluster, rotten);
    cluster.open(rotten);
    cluster.open(behind);
    for _ in 0..40 {
        cluster.run_ms(500);
        assert!(!leads(&cluster), "these two do not have the entry that was acknowledged");
    }
    // Being killed again changes nothing.
    cluster.kill(rotten);
    cluster.open(rotten);
    for _ in 0..40 {
        cluster.run_ms(500);
        assert!(!leads(&cluster) && phase(&cluster, rotten) == Phase::Repairing);
    }
    cluster.open(leader);
    assert_ne!(cluster.leader(), rotten, "it has no vote, not even for itself");
    cluster.run_ms(2_000);
    assert_eq!(phase(&cluster, rotten), Phase::Serving);
    for at in 0..3 {
        assert_eq!(count(&mut cluster, at, "k"), 1);
    }
}

#[test]
fn a_leader_whose_tail_rots_does_not_lead_again_before_it_has_it_back() {
    let mut cluster = Cluster::new(3, |_| {});
    let rotten = cluster.leader();
    put_quickly(&mut cluster, rotten, "k");
    cluster.run_ms(3);
    cluster.kill(rotten);
    rot(&mut cluster, rotten);
    cluster.open(rotten);
    let leader = cluster.leader();
    assert_ne!(leader, rotten);
    cluster.run_ms(2_000);
    assert_eq!(phase(&cluster, rotten), Phase::Serving);
    assert_eq!(count(&mut cluster, rotten, "k"), 1);
}

#[test]
fn without_enough_others_a_rotten_tail_is_refused_and_nothing_is_written() {
    for size in [1, 2] {
        let mut cluster = Cluster::new(size, |_| {});
        let leader = cluster.leader();
        put_quickly(&mut cluster, leader, "k");
        cluster.run_ms(3);
        cluster.kill(leader);
        let (name, last) = rot(&mut cluster, leader);
        let disk = cluster.disks[leader].clone();
        cluster.open(leader);
        cluster.run_ms(100);
        let Some(reason @ HaltReason::Damaged { file, offset, .. }) = &cluster.halted[leader] else {
            panic!("{:?}", cluster.halted[leader])
        };
        assert_eq!(*file, name);
        assert!(*offset < last);
        let told = reason.to_string();
        assert!(told.contains("may have been acknowledged") && !told.contains('\n'), "{told}");
        assert!(disk == cluster.disks[leader], "something was written");
    }
}
