//! Leases: contract, section 1.3.

use super::super::LeaseChange;
use super::*;
use crate::types::{LeaseId, LogIndex};

fn put_on(machine: &mut Machine, key: &str, lease: i64) {
    machine.try_put(pb::PutRequest { lease, ..put(key, "v") }).unwrap();
}

fn keys_of(machine: &Machine, id: i64) -> Vec<Bytes> {
    machine.machine.view().lease(LeaseId(id)).unwrap().keys.iter().cloned().collect()
}

#[test]
fn a_lease_is_granted_once_and_not_for_longer_than_allowed() {
    let mut machine = Machine::new();
    let applied = machine.apply(Command::from(pb::InternalRaftRequest {
        lease_grant: Some(pb::LeaseGrantRequest { id: 5, ttl: 60 }),
        ..Default::default()
    }));
    let Ok(Response::LeaseGrant(response)) = applied.result else { panic!() };
    assert_eq!((response.id, response.ttl, revision(&response.header)), (5, 60, 1));
    assert_eq!(applied.leases, [LeaseChange::Granted { id: LeaseId(5), ttl_s: 60 }]);
    assert_eq!(machine.grant(5, 30), Err(Status::LeaseExists));
    assert_eq!(machine.grant(6, 9_000_000_001), Err(Status::LeaseTtlTooLarge));
    assert!(machine.grant(6, 9_000_000_000).is_ok());
    assert_eq!(machine.grant(0, 60), Err(Status::LeaseNotFound));
    assert_eq!(machine.machine.view().leases().collect::<Vec<_>>(), [LeaseId(5), LeaseId(6)]);
}

/// Zoo, row 38.
#[test]
fn a_revoked_lease_takes_its_keys_along_in_byte_order_and_in_one_revision() {
    let mut machine = Machine::new();
    machine.grant(5, 60).unwrap();
    for key in ["c", "a", "b"] {
        put_on(&mut machine, key, 5);
    }
    machine.put("other", "v");
    let lease_revoke = Some(pb::LeaseRevokeRequest { id: 5 });
    let applied = machine.apply(Command::from(pb::InternalRaftRequest { lease_revoke, ..Default::default() }));
    let Ok(Response::LeaseRevoke(response)) = applied.result else { panic!() };
    assert_eq!(revision(&response.header), 6);
    assert_eq!(applied.leases, [LeaseChange::Gone { id: LeaseId(5) }]);
    assert_eq!(machine.events_since(6), ["6-a", "6-b", "6-c"]);
    assert_eq!(machine.machine.view().lease(LeaseId(5)), None);
    assert_eq!(machine.revoke(5), Err(Status::LeaseNotFound));
}

#[test]
fn revoking_a_lease_without_keys_makes_no_revision() {
    let mut machine = Machine::new();
    machine.grant(5, 60).unwrap();
    machine.revoke(5).unwrap();
    assert_eq!(machine.machine.view().revision(), 1);
}

#[test]
fn a_key_hangs_on_the_lease_of_its_last_put_only() {
    let mut machine = Machine::new();
    machine.grant(5, 60).unwrap();
    machine.grant(6, 60).unwrap();
    put_on(&mut machine, "a", 5);
    put_on(&mut machine, "b", 5);
    put_on(&mut machine, "a", 6);
    assert_eq!((keys_of(&machine, 5), keys_of(&machine, 6)), (vec![bytes("b")], vec![bytes("a")]));
    put_on(&mut machine, "b", 0);
    assert!(keys_of(&machine, 5).is_empty(), "a put without a lease detaches the key");
    machine.delete("a", "");
    assert!(keys_of(&machine, 6).is_empty());
    machine.revoke(5).unwrap();
    assert!(machine.get("b").is_some());
}

#[test]
fn time_to_live_of_an_unknown_lease_is_minus_one_and_no_error() {
    let mut machine = Machine::new();
    machine.grant(5, 60).unwrap();
    put_on(&mut machine, "a", 5);
    let ask = |id, keys, remaining_ttl_s| {
        let request = pb::LeaseTimeToLiveRequest { id, keys };
        match machine.read(&ReadRequest::LeaseTimeToLive { request, remaining_ttl_s }) {
            Ok(Response::LeaseTimeToLive(response)) => response,
            other => panic!("{other:?}"),
        }
    };
    let unknown = ask(6, true, None);
    assert_eq!((unknown.id, unknown.ttl, unknown.granted_ttl, unknown.keys.len()), (6, -1, 0, 0));
    let known = ask(5, true, Some(42));
    assert_eq!((known.id, known.ttl, known.granted_ttl, known.keys), (5, 42, 60, vec![bytes("a")]));
    assert!(ask(5, false, Some(42)).keys.is_empty());
    assert_eq!((ask(5, true, None).ttl, ask(5, true, None).granted_ttl), (-1, 0), "the leader knows better");
    let over = ask(5, true, Some(-1));
    assert_eq!((over.ttl, over.granted_ttl, over.keys.len()), (-1, 60, 1), "its end is due, but it is there");
}

#[test]
fn all_leases_are_listed() {
    let mut machine = Machine::new();
    machine.grant(6, 60).unwrap();
    machine.grant(-5, 60).unwrap();
    let request = ReadRequest::LeaseLeases { by_deadline: Default::default() };
    let Ok(Response::LeaseLeases(response)) = machine.read(&request) else { panic!() };
    assert_eq!(response.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [-5, 6]);
}

impl Machine {
    /// Checkpoints, made by a leader that had applied the entry `seen`.
    fn checkpoint(&mut self, seen: LogIndex, remaining: &[(i64, i64)]) -> Vec<LeaseChange> {
        let checkpoint = |&(id, remaining_ttl): &(i64, i64)| pb::LeaseCheckpoint { id, remaining_ttl };
        let checkpoints = remaining.iter().map(checkpoint).collect();
        let lease_checkpoint = Some(pb::LeaseCheckpointRequest { checkpoints, seen_index: seen.0 });
        let applied = self.apply(Command::from(pb::InternalRaftRequest { lease_checkpoint, ..Default::default() }));
        assert!(applied.result.is_ok());
        applied.leases
    }

    fn remaining_s(&self, id: i64) -> i64 {
        self.machine.view().lease_time(LeaseId(id)).unwrap().remaining_s
    }
}

#[test]
fn a_checkpoint_changes_what_remains_of_leases_that_there_are_and_no_revision() {
    let mut machine = Machine::new();
    machine.grant(5, 60).unwrap();
    machine.grant(6, 60).unwrap();
    let (fresh, seen) = (machine.machine.view(), machine.machine.applied());
    let changes = machine.checkpoint(seen, &[(5, 17), (7, 3), (6, 60), (6, -1)]);
    let told = |id, remaining_s| LeaseChange::Checkpointed { id: LeaseId(id), remaining_s };
    assert_eq!(changes, [told(5, 17), told(6, 0), told(6, 0)], "there is no 7, and 6 has its full time at most");
    assert_eq!((machine.remaining_s(5), machine.remaining_s(6)), (17, 0));
    assert_eq!(machine.machine.view().revision(), 1);
    let checkpointed = machine.machine.digest();
    assert_eq!(machine.checkpoint(seen, &[(5, 0)]), [told(5, 0)]);
    assert_eq!(machine.remaining_s(5), 0);
    assert_ne!(machine.machine.digest(), checkpointed);
    assert_eq!(machine.machine.view().store.leases.digest(), fresh.store.leases.digest());
}

#[test]
fn a_checkpoint_does_not_hit_a_lease_that_was_granted_the_same_id_after_it_was_made() {
    let mut machine = Machine::new();
    machine.grant(5, 60).unwrap();
    let seen = machine.machine.applied();
    machine.revoke(5).unwrap();
    machine.grant(5, 60).unwrap();
    assert_eq!(machine.checkpoint(seen, &[(5, 1)]), [LeaseChange::Checkpointed { id: LeaseId(5), remaining_s: 0 }]);
    assert_eq!(machine.remaining_s(5), 0, "it was promised its full time");
    machine.checkpoint(machine.machine.applied(), &[(5, 1)]);
    assert_eq!(machine.remaining_s(5), 1);
}

#[test]
fn leases_are_checkpointed_whatever_alarms_are_on() {
    let mut machine = Machine::new();
    machine.grant(5, 60).unwrap();
    for kind in [pb::AlarmType::Nospace, pb::AlarmType::Corrupt] {
        let action = pb::alarm_request::AlarmAction::Activate.into();
        let alarm = Some(pb::AlarmRequest { action, member_id: 2, alarm: kind.into() });
        machine.request(pb::InternalRaftRequest { alarm, ..Default::default() }).unwrap();
    }
    machine.checkpoint(machine.machine.applied(), &[(5, 9)]);
    assert_eq!(machine.remaining_s(5), 9);
    let lease_checkpoint = Some(pb::LeaseCheckpointRequest::default());
    let entry = pb::InternalRaftRequest { lease_checkpoint, ..Default::default() };
    assert!(Command::from(entry).adds_no_data(), "nor whether there is room");
}
