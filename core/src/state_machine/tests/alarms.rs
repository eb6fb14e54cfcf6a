//! Alarms and hashes (contract, section 1.5).

use super::*;
use pb::alarm_request::AlarmAction;
use pb::request_op::Request as Op;

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn alarm(action: AlarmAction, member_id: u64, kind: pb::AlarmType) -> pb::AlarmRequest {
    pb::AlarmRequest { action: action.into(), member_id, alarm: kind.into() }
}

impl Machine {
    fn alarm(&mut self, action: AlarmAction, member_id: u64, kind: pb::AlarmType) -> Vec<(u64, pb::AlarmType)> {
        let request = alarm(action, member_id, kind);
        let entry = pb::InternalRaftRequest { alarm: Some(request), ..Default::default() };
        let Ok(Response::Alarm(response)) = self.request(entry) else { panic!("alarms are always answered") };
        assert_eq!(response.header.unwrap().revision, self.machine.view().revision());
        told(response.alarms)
    }

    fn alarms(&self, kind: pb::AlarmType) -> Vec<(u64, pb::AlarmType)> {
        let Ok(Response::Alarm(response)) = self.read(&ReadRequest::Alarm(alarm(AlarmAction::Get, 9, kind))) else {
            panic!("alarms can always be listed");
        };
        told(response.alarms)
    }

    fn quota_reached(&mut self, quota_bytes: i64, cost_bytes: i64) {
        let reached = pb::QuotaReached { member_id: 2, quota_bytes, cost_bytes };
        let entry = pb::InternalRaftRequest { quota_reached: Some(reached), ..Default::default() };
        self.request(entry).unwrap();
    }

    fn hash_kv(&self, revision: i64) -> Result<(u32, i64, i64), Status> {
        self.read(&ReadRequest::HashKv(pb::HashKvRequest { revision })).map(|response| match response {
            Response::HashKv(response) => (response.hash, response.compact_revision, response.hash_revision),
            other => panic!("{other:?}"),
        })
    }

    fn hash(&self) -> u32 {
        let Ok(Response::Hash(response)) = self.read(&ReadRequest::Hash) else { panic!() };
        response.hash
    }
}

fn told(alarms: Vec<pb::AlarmMember>) -> Vec<(u64, pb::AlarmType)> {
    alarms.into_iter().map(|alarm| (alarm.member_id, alarm.alarm())).collect()
}

#[test]
fn alarms_are_put_on_listed_and_put_off() {
    use pb::AlarmType::{Corrupt, None, Nospace};
    let mut machine = Machine::new();
    assert_eq!(machine.alarm(AlarmAction::Activate, 1, None), [], "there is no alarm of no kind");
    assert_eq!(machine.alarm(AlarmAction::Activate, 3, Nospace), [(3, Nospace)]);
    assert_eq!(machine.alarm(AlarmAction::Activate, 3, Nospace), [(3, Nospace)], "it is on already");
    assert_eq!(machine.alarm(AlarmAction::Activate, 1, Corrupt), [(1, Corrupt)]);
    assert_eq!(machine.alarms(None), [(3, Nospace), (1, Corrupt)]);
    assert_eq!(machine.alarms(Corrupt), [(1, Corrupt)], "by kind, whatever member is named");
    assert_eq!(machine.alarm(AlarmAction::Get, 0, Nospace), [(3, Nospace)]);
    assert_eq!(machine.alarm(AlarmAction::Deactivate, 2, Nospace), [], "that member had none");
    assert_eq!(machine.alarm(AlarmAction::Deactivate, 3, Nospace), [(3, Nospace)]);
    assert_eq!(machine.alarms(None), [(1, Corrupt)]);
}

#[test]
fn without_space_only_what_adds_nothing_passes() {
    let mut machine = Machine::new();
    machine.put("k", "v");
    machine.grant(5, 60).unwrap();
    machine.alarm(AlarmAction::Activate, 1, pb::AlarmType::Nospace);
    let before = machine.machine.view().revision();
    assert_eq!(machine.try_put(put("k", "w")), Err(Status::NoSpace));
    assert_eq!(machine.grant(6, 60), Err(Status::NoSpace));
    let puts = pb::TxnRequest { failure: vec![op(Op::RequestPut(put("k", "w")))], ..Default::default() };
    assert_eq!(machine.txn(puts).map(|_| ()), Err(Status::NoSpace), "whichever branch it would take");
    assert_eq!(machine.machine.view().revision(), before, "nothing was done");
    let deletes = pb::TxnRequest { success: vec![op(Op::RequestDeleteRange(delete("k", "")))], ..Default::default() };
    machine.txn(deletes).unwrap();
    machine.compact(before).unwrap();
    machine.revoke(5).unwrap();
    machine.alarm(AlarmAction::Deactivate, 1, pb::AlarmType::Nospace);
    machine.put("k", "w");
}

#[test]
fn a_corrupt_cluster_takes_no_writes_at_all() {
    let mut machine = Machine::new();
    machine.put("k", "v");
    machine.grant(5, 60).unwrap();
    machine.alarm(AlarmAction::Activate, 1, pb::AlarmType::Corrupt);
    machine.alarm(AlarmAction::Activate, 1, pb::AlarmType::Nospace);
    assert_eq!(machine.try_put(put("k", "w")), Err(Status::Corrupt));
    assert_eq!(machine.txn(pb::TxnRequest::default()).map(|_| ()), Err(Status::Corrupt));
    assert_eq!(machine.compact(2), Err(Status::Corrupt));
    assert_eq!(machine.grant(6, 60), Err(Status::Corrupt));
    assert_eq!(machine.revoke(5), Err(Status::Corrupt));
    let entry = pb::InternalRaftRequest { delete_range: Some(delete("k", "")), ..Default::default() };
    assert_eq!(machine.request(entry).map(|_| ()), Err(Status::Corrupt));
}

#[test]
fn a_quota_that_is_no_longer_reached_raises_no_alarm() {
    let mut machine = Machine::new();
    machine.put("k", "v");
    let (logical_bytes, _) = machine.machine.view().logical_bytes();
    machine.quota_reached(logical_bytes + 11, 10);
    assert_eq!(machine.alarms(pb::AlarmType::None), []);
    machine.quota_reached(logical_bytes + 10, 10);
    assert_eq!(machine.alarms(pb::AlarmType::None), [(2, pb::AlarmType::Nospace)]);
}

#[test]
fn the_hash_of_keys_is_the_same_before_and_after_a_sweep() {
    let mut machine = Machine::new();
    for turn in 0..30 {
        machine.put("a", &format!("a{turn}"));
        machine.put("b", "b");
    }
    machine.delete("b", "");
    let compacted = machine.put("c", "c");
    let last = machine.put("c", "d");
    let whole = machine.hash_kv(last).unwrap();
    machine.compact(compacted).unwrap();
    assert!(machine.machine.view().is_sweeping());
    let (hash, compact_revision, hash_revision) = machine.hash_kv(0).unwrap();
    assert_eq!((compact_revision, hash_revision), (compacted, last));
    assert_ne!(hash, whole.0, "compacted records do not count");
    let past = machine.hash_kv(compacted).unwrap();
    while machine.machine.view().is_sweeping() {
        assert_eq!(machine.hash_kv(last), Ok((hash, compacted, last)));
        machine.apply(Command::Empty);
    }
    assert_eq!(machine.hash_kv(last), Ok((hash, compacted, last)));
    assert_eq!(machine.hash_kv(compacted), Ok(past));
    assert_eq!(machine.hash_kv(compacted - 1), Err(Status::Compacted));
    assert_eq!(machine.hash_kv(last + 1), Err(Status::FutureRevision));
}

/// The numbers are what etcd 3.5.1 gives after the same requests.
#[test]
fn the_hash_of_keys_is_etcds() {
    let mut machine = Machine::new();
    for turn in 1..=5 {
        machine.put(&format!("k{turn}"), &format!("v{turn}"));
        machine.put("k1", &format!("x{turn}"));
    }
    machine.delete("k3", "");
    assert_eq!(machine.hash_kv(0).unwrap().0, 749_892_969);
    assert_eq!(machine.hash_kv(5).unwrap().0, 2_685_854_610);
    assert_eq!(machine.hash_kv(-1).unwrap().0, 1_084_519_789, "nothing but the name");
    machine.compact(9).unwrap();
    assert_eq!(machine.hash_kv(0).unwrap().0, 3_954_688_387);
    assert_eq!(machine.hash_kv(10).unwrap().0, 4_130_206_035);
}

#[test]
fn the_hash_of_everything_sees_every_part_of_the_state_but_not_how_many_entries_made_it() {
    let mut machine = Machine::new();
    let mut seen = vec![machine.hash()];
    machine.apply(Command::Empty);
    assert_eq!(machine.hash(), seen[0]);
    machine.put("k", "v");
    seen.push(machine.hash());
    machine.grant(5, 60).unwrap();
    seen.push(machine.hash());
    machine.alarm(AlarmAction::Activate, 1, pb::AlarmType::Nospace);
    seen.push(machine.hash());
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
}
