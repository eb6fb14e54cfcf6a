//! Leases: contract, section 1.3.

use super::super::LeaseChange;
use super::*;
use crate::types::LeaseId;

fn put_on(machine: &mut Machine, key: &str, lease: i64) {
    machine.try_put(pb::PutRequest { lease, ..put(key, "v") }).unwrap();
}

fn keys_of(machine: &Machine, id: i64) -> Vec<Bytes> {
    machine.machine.view().lease(LeaseId(id)).unwrap().keys.iter().cloned().collect()
}

#[test]
fn a_lease_is_granted_once_and_not_for_longer_than_allowed() {
    let mut machine = Machine::new();
    let applied = machine.apply(Command::Request(pb::InternalRaftRequest {
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
    let applied = machine.apply(Command::Request(pb::InternalRaftRequest { lease_revoke, ..Default::default() }));
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
    let Ok(Response::LeaseLeases(response)) = machine.read(&ReadRequest::LeaseLeases) else { panic!() };
    assert_eq!(response.leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [-5, 6]);
}
