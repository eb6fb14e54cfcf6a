//! Members with quotas that differ: one is reached, and all of them take no more until somebody has looked.

use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;

use crate::cluster::Cluster;

fn put(key: &str, value_bytes: usize) -> Request {
    let value = vec![b'x'; value_bytes].into();
    Request::Put(pb::PutRequest { key: key.to_string().into(), value, ..Default::default() })
}

fn delete_all() -> Request {
    let everything = bytes::Bytes::from_static(&[0]);
    let range_end = everything.clone();
    Request::DeleteRange(pb::DeleteRangeRequest { key: everything, range_end, ..Default::default() })
}

fn alarm(action: AlarmAction, member_id: u64) -> Request {
    let kind = pb::AlarmType::Nospace;
    Request::Alarm(pb::AlarmRequest { action: action.into(), member_id, alarm: kind.into() })
}

fn alarms(cluster: &mut Cluster, at: usize) -> Vec<u64> {
    match cluster.ask(at, alarm(AlarmAction::Get, 0)) {
        Ok(Response::Alarm(response)) => response.alarms.iter().map(|alarm| alarm.member_id).collect(),
        other => panic!("{other:?}"),
    }
}

/// Deletes everything and compacts, so that the store holds nothing but what a few entries more sweep away.
fn empty(cluster: &mut Cluster, at: usize) {
    let Ok(Response::DeleteRange(deleted)) = cluster.ask(at, delete_all()) else { panic!("deletions always pass") };
    let revision = deleted.header.expect("a header").revision;
    let compact = Request::Compact(pb::CompactionRequest { revision, physical: false });
    assert!(matches!(cluster.ask(at, compact), Ok(Response::Compact(_))));
}

#[test]
fn a_quota_that_one_member_reaches_stops_all_until_the_alarm_is_put_off() {
    let mut cluster = Cluster::new(3, |config| {
        config.quota_bytes = match config.node_id.0 {
            1 => 100_000,
            2 => 50_000,
            _ => -1,
        };
    });
    cluster.leader();
    for n in 0..4 {
        assert!(cluster.ask(1, put(&format!("k{n}"), 10_000)).is_ok());
    }
    assert_eq!(cluster.ask(1, put("k", 10_000)), Err(Status::NoSpace), "the second member's quota is reached");
    cluster.run_ms(500);
    for at in 0..3 {
        assert_eq!(alarms(&mut cluster, at), [2]);
        assert_eq!(cluster.ask(at, put("small", 1)), Err(Status::NoSpace), "whatever their own quotas");
        let Ok(Response::Status(status)) = cluster.ask(at, Request::Status(pb::StatusRequest {})) else { panic!() };
        assert_eq!(status.errors, ["memberID:2 alarm:NOSPACE "]);
        assert_eq!(status.db_size_quota, [100_000, 50_000, -1][at]);
    }
    empty(&mut cluster, 0);
    assert_eq!(cluster.ask(0, put("small", 1)), Err(Status::NoSpace), "room alone does not end an alarm");
    assert!(cluster.ask(2, alarm(AlarmAction::Deactivate, 2)).is_ok());
    for at in 0..3 {
        assert_eq!(alarms(&mut cluster, at), [0; 0]);
    }
    while cluster.node(1).view().is_sweeping() {
        assert!(cluster.ask(2, delete_all()).is_ok());
    }
    assert!(cluster.ask(1, put("small", 1)).is_ok());
}

#[test]
fn a_member_asks_for_its_alarm_once_and_again_if_it_was_put_off_too_early() {
    let mut cluster = Cluster::new(1, |config| config.quota_bytes = 1_000);
    cluster.leader();
    let before = cluster.node(0).status().last;
    for _ in 0..5 {
        assert_eq!(cluster.ask(0, put("k", 1_000)), Err(Status::NoSpace));
    }
    assert_eq!(cluster.node(0).status().last.0, before.0 + 1, "refused writes are not in the log, one alarm is");
    assert!(cluster.ask(0, alarm(AlarmAction::Deactivate, 1)).is_ok());
    assert!(cluster.ask(0, put("k", 100)).is_ok(), "a smaller one has room");
    assert_eq!(cluster.ask(0, put("k", 1_000)), Err(Status::NoSpace));
    cluster.run_ms(100);
    assert_eq!(alarms(&mut cluster, 0), [1]);
}
