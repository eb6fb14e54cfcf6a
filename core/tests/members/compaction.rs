//! What becomes of a compaction after it is decided, and compactions that nobody asks for.

use std::time::Duration;

use detcd_core::Note;
use detcd_core::api::{Request, Response, Status};
use detcd_core::config::AutoCompaction;
use detcd_core::proto::etcdserverpb as pb;

use crate::cluster::Cluster;
use crate::put;

fn compact(revision: i64, physical: bool) -> Request {
    Request::Compact(pb::CompactionRequest { revision, physical })
}

/// Puts one key `count` times; the revision of the last put.
fn write(cluster: &mut Cluster, at: usize, count: usize) -> i64 {
    let mut revision = 0;
    for n in 0..count {
        let Ok(Response::Put(response)) = cluster.ask(at, put("k", &n.to_string())) else { panic!("it is put") };
        revision = response.header.expect("a header").revision;
    }
    revision
}

#[test]
fn what_is_compacted_is_gone_soon_though_nobody_writes() {
    let mut cluster = Cluster::new(3, |_| {});
    cluster.leader();
    let last = write(&mut cluster, 0, 300);
    assert!(matches!(cluster.ask(0, compact(last, false)), Ok(Response::Compact(_))));
    cluster.run_ms(200);
    for at in 0..3 {
        let view = cluster.node(at).view();
        assert!(!view.is_sweeping());
        assert_eq!(view.events_since(0).count(), 1);
    }
}

#[test]
fn a_physical_compaction_is_answered_when_its_records_are_gone() {
    let mut cluster = Cluster::new(3, |config| {
        config.sweep_records = 1;
        config.sweep_interval = Duration::from_secs(1);
    });
    let leader = cluster.leader();
    let follower = (leader + 1) % 3;
    let last = write(&mut cluster, leader, 300);
    // Longer than a request may take otherwise: each second an entry sweeps a record more than every entry does.
    let calls = [cluster.call(leader, compact(last, true)), cluster.call(follower, compact(last, true))];
    cluster.run_ms(10_000);
    assert!(cluster.node(leader).view().is_sweeping());
    assert!(calls.iter().all(|call| !cluster.answers.contains_key(call)), "both wait, the one that came second too");
    assert_eq!(cluster.ask(leader, compact(last, false)), Err(Status::Compacted), "who does not ask for it need not");
    while cluster.node(leader).view().is_sweeping() || cluster.node(follower).view().is_sweeping() {
        assert!(calls.iter().any(|call| !cluster.answers.contains_key(call)));
        cluster.run_ms(100);
    }
    cluster.run_ms(10);
    let mut answers: Vec<_> = calls.iter().map(|call| cluster.answers.remove(call).expect("answered")).collect();
    answers.sort_by_key(Result::is_err);
    assert!(matches!(answers[..], [Ok(Response::Compact(_)), Err(Status::Compacted)]), "{answers:?}");
    assert!(cluster.marked(leader, "compaction: a physical one waited for its sweep"));
}

#[test]
fn a_cluster_compacts_itself_and_goes_on_under_another_leader() {
    let mut cluster =
        Cluster::new(3, |config| config.auto_compaction = AutoCompaction::Periodic(Duration::from_secs(5)));
    let leader = cluster.leader();
    let mut last = 0;
    for round in 0..20 {
        if round == 8 {
            cluster.kill(leader);
            cluster.run_ms(5_000);
        }
        last = write(&mut cluster, (leader + 1) % 3, 10);
    }
    let view = cluster.node((leader + 1) % 3).view();
    // Ten writes take a second or more here.
    assert!((last - 70..last).contains(&view.compacted()), "{} of {last}", view.compacted());
    assert!(cluster.marked(leader, "compaction: proposed without being asked"));
}

/// A compaction: revision, proposer, request.
type Compaction = (i64, u64, u64);

/// The compactions that a member noted as its own proposals, and those that it applied.
fn noted(cluster: &Cluster, at: usize) -> (Vec<Compaction>, Vec<Compaction>) {
    let own = |note: &Note| match *note {
        Note::CompactionProposed { revision, request } => Some((revision, at as u64 + 1, request)),
        _ => None,
    };
    let applied = |note: &Note| match *note {
        Note::Compacted { revision, proposer, request } => Some((revision, proposer.0, request)),
        _ => None,
    };
    let notes = &cluster.notes[at];
    (notes.iter().filter_map(own).collect(), notes.iter().filter_map(applied).collect())
}

#[test]
fn what_is_compacted_names_the_member_that_proposed_it_and_its_request() {
    let mut cluster =
        Cluster::new(3, |config| config.auto_compaction = AutoCompaction::Periodic(Duration::from_secs(5)));
    let leader = cluster.leader();
    let asked = (leader + 1) % 3;
    let last = write(&mut cluster, asked, 150);
    let (proposed, applied) = noted(&cluster, leader);
    assert!(!applied.is_empty() && applied.iter().all(|compaction| proposed.contains(compaction)), "{applied:?}");
    assert!(noted(&cluster, asked).0.is_empty(), "it does not lead");
    assert!(matches!(cluster.ask(asked, compact(last, false)), Ok(Response::Compact(_))));
    for at in 0..3 {
        let (proposed, applied) = noted(&cluster, at);
        let (revision, proposer, request) = *applied.last().expect("one that was asked for");
        assert_eq!((revision, proposer), (last, asked as u64 + 1));
        assert!(request > 0 && !proposed.contains(&(revision, proposer, request)));
    }
}

/// A compaction is refused then like a write (contract, section 1.5).
#[test]
fn a_corrupt_cluster_is_not_asked_to_compact_itself_until_the_alarm_is_off() {
    use detcd_core::proto::etcdserverpb::alarm_request::AlarmAction;
    let mut cluster =
        Cluster::new(3, |config| config.auto_compaction = AutoCompaction::Periodic(Duration::from_secs(5)));
    let leader = cluster.leader();
    write(&mut cluster, leader, 20);
    let alarm = |action: AlarmAction| {
        let alarm = pb::AlarmType::Corrupt.into();
        Request::Alarm(pb::AlarmRequest { action: action.into(), member_id: 1, alarm })
    };
    cluster.ask(leader, alarm(AlarmAction::Activate)).expect("it is on");
    cluster.run_ms(1_000);
    let last = cluster.node(leader).status().last;
    let compacted = cluster.node(leader).view().compacted();
    cluster.run_ms(20_000);
    assert_eq!(cluster.node(leader).status().last, last, "nothing is written");
    cluster.ask(leader, alarm(AlarmAction::Deactivate)).expect("it is off");
    cluster.run_ms(10_000);
    assert!(cluster.node(leader).view().compacted() > compacted, "it goes on");
}
