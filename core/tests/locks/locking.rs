//! Taking locks and giving them back (contract, section 1.7).

use bytes::Bytes;
use detcd_core::api::{Request, Status};
use detcd_core::locks::{Ask, Conversation, Lock, Unlock};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest};

use super::world::{FIRST_DRAWN, Talk, World};

pub fn lock(name: &str, lease: i64) -> Talk<Lock> {
    Talk::begin(Lock::new(&LockRequest { name: Bytes::from(name.to_owned()), lease }))
}

/// The lock is taken at once.
pub fn locked(world: &mut World, name: &str, lease: i64) -> LockResponse {
    lock(name, lease).go_on(world).expect("nobody is before it").clone().expect("locked")
}

pub fn unlock(world: &mut World, key: &Bytes) -> i64 {
    let request = UnlockRequest { key: key.clone() };
    let mut unlock = Talk::begin(Unlock::new(request));
    let done = unlock.go_on(world).expect("it never waits").as_ref().expect("unlocked");
    done.header.expect("a header").revision
}

/// A world with these leases.
pub fn with_leases(leases: &[i64]) -> World {
    let mut world = World::new();
    leases.iter().for_each(|lease| world.grant(*lease));
    world
}

#[test]
fn a_free_lock_is_taken_with_one_call_and_its_key_names_the_lease() {
    let mut world = with_leases(&[0x2a, -0x2a]);
    let mut first = lock("n", 0x2a);
    assert!(first.step(&mut world));
    let locked = first.outcome().expect("one call is enough").clone().expect("locked");
    assert_eq!(locked.key, "n/2a");
    assert_eq!(locked.header.expect("a header").revision, 2);
    let other = self::locked(&mut world, "m", -0x2a);
    assert_eq!(other.key, "m/-2a");
    assert_eq!(world.keys(), ["m/-2a", "n/2a"]);
    assert_eq!(world.view().get(&other.key).expect("the key").lease, -0x2a);
}

#[test]
fn a_lock_without_a_lease_gets_one_of_a_minute() {
    let mut world = World::new();
    let done = locked(&mut world, "n", 0);
    assert_eq!(done.key, format!("n/{FIRST_DRAWN:x}"));
    let lease = detcd_core::types::LeaseId(FIRST_DRAWN);
    assert_eq!(world.view().lease_ttl_s(lease), Some(60));
}

#[test]
fn the_same_lease_locks_again_without_waiting_and_without_a_write() {
    let mut world = with_leases(&[1, 2]);
    let first = locked(&mut world, "n", 1);
    let mut waiting = lock("n", 2);
    assert!(waiting.go_on(&mut world).is_none());
    let before = world.view().revision();
    assert_eq!(locked(&mut world, "n", 1).key, first.key);
    assert_eq!(world.view().revision(), before);
    // Who waits already waits on, with the key that it has.
    let mut again = lock("n", 2);
    assert!(again.go_on(&mut world).is_none());
    assert_eq!(world.view().revision(), before);
    unlock(&mut world, &first.key);
    assert!(waiting.go_on(&mut world).expect("its turn").is_ok());
    assert!(again.go_on(&mut world).expect("its turn").is_ok());
}

#[test]
fn the_lock_goes_to_whoever_was_created_next_and_wakes_nobody_else() {
    let mut world = with_leases(&[1, 2, 3]);
    let first = locked(&mut world, "n", 1);
    let (mut third, mut second) = (lock("n", 3), lock("n", 2));
    assert!(third.go_on(&mut world).is_none());
    assert!(second.go_on(&mut world).is_none());
    let released = unlock(&mut world, &first.key);
    assert!(!second.step(&mut world), "its predecessor is still there");
    let done = third.go_on(&mut world).expect("its turn").clone().expect("locked");
    assert_eq!(done.key, "n/3");
    assert_eq!(done.header.expect("a header").revision, released);
    assert!(second.go_on(&mut world).is_none());
    unlock(&mut world, &done.key);
    assert!(second.go_on(&mut world).expect("its turn").is_ok());
}

#[test]
fn names_with_a_common_beginning_are_different_locks() {
    let mut world = with_leases(&[1, 2]);
    for name in ["", "a", "ab", "a/b"] {
        locked(&mut world, name, 1);
    }
    assert!(lock("a", 2).go_on(&mut world).is_none());
    // A key deeper below the same prefix was created later, and one of another lock does not count.
    assert!(lock("a/b", 2).go_on(&mut world).is_none());
    assert!(lock("abc", 2).go_on(&mut world).is_some());
}

#[test]
fn a_predecessor_that_is_deleted_and_comes_back_is_behind() {
    let mut world = with_leases(&[1, 2]);
    let first = locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    // Both before the watcher is told anything.
    unlock(&mut world, &first.key);
    let mut again = lock("n", 1);
    assert!(again.go_on(&mut world).is_none());
    assert!(second.go_on(&mut world).expect("its turn").is_ok());
    assert!(again.go_on(&mut world).is_none());
}

#[test]
fn a_predecessor_that_leaves_makes_nobody_jump_the_queue() {
    let mut world = with_leases(&[1, 2, 3]);
    let first = locked(&mut world, "n", 1);
    let (mut second, mut third) = (lock("n", 2), lock("n", 3));
    assert!(second.go_on(&mut world).is_none());
    assert!(third.go_on(&mut world).is_none());
    second.leave(&mut world);
    assert!(third.go_on(&mut world).is_none(), "the owner is still there");
    unlock(&mut world, &first.key);
    assert!(third.go_on(&mut world).expect("its turn").is_ok());
}

#[test]
fn a_lease_that_ends_while_it_waits_ends_the_wait_at_once() {
    let mut world = with_leases(&[1, 2]);
    let first = locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    world.revoke(2);
    assert_eq!(second.go_on(&mut world), Some(&Err(Status::LockKeyLost)));
    assert_eq!(world.keys(), [String::from_utf8_lossy(&first.key)]);
}

#[test]
fn a_lock_is_never_taken_on_a_dead_lease() {
    let mut world = with_leases(&[1, 2]);
    let first = locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    // Its turn comes, and before it looks its key goes, too.
    unlock(&mut world, &first.key);
    assert!(matches!(second.ask, Ask::Watch(_)));
    assert!(second.step(&mut world));
    world.revoke(2);
    assert_eq!(second.go_on(&mut world), Some(&Err(Status::LockKeyLost)));
    assert_eq!(world.keys(), [""; 0]);
}

#[test]
fn a_key_that_was_deleted_and_made_anew_is_not_the_one_that_waited() {
    let mut world = with_leases(&[1, 2]);
    locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    world.delete(b"n/2");
    world.put("n/2", "", 2);
    assert_eq!(second.go_on(&mut world), Some(&Err(Status::LockKeyLost)));
    assert_eq!(world.keys(), ["n/1", "n/2"], "what it did not create stays");
}

#[test]
fn a_compaction_that_overtakes_the_watchers_makes_it_look_again() {
    let mut world = with_leases(&[1, 2]);
    let first = locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    let Ask::Watch(before) = second.ask.clone() else { panic!("it waits") };
    world.put("other", "", 0);
    world.put("other", "", 0);
    world.compact();
    assert!(second.go_on(&mut world).is_none(), "the owner is still there");
    let Ask::Watch(after) = &second.ask else { panic!("it waits") };
    assert!(after[0].start_revision > before[0].start_revision);
    unlock(&mut world, &first.key);
    world.put("other", "", 0);
    world.compact();
    assert!(second.go_on(&mut world).expect("its turn").is_ok());
}

#[test]
fn what_it_waits_for_is_the_predecessors_deletion_or_its_own() {
    let mut world = with_leases(&[1, 2, 3]);
    locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    let mut third = lock("n", 3);
    assert!(third.go_on(&mut world).is_none());
    let Ask::Watch(watchers) = &third.ask else { panic!("it waits") };
    let keys: Vec<&Bytes> = watchers.iter().map(|watcher| &watcher.key).collect();
    assert_eq!(keys, ["n/2", "n/3"]);
    // The owner's key may change as it likes.
    world.put("n/2", "another value", 2);
    assert!(!third.step(&mut world));
}

#[test]
fn an_unknown_lease_and_a_key_without_a_name_are_refused_as_the_store_refuses_them() {
    let mut world = World::new();
    assert_eq!(lock("n", 77).go_on(&mut world), Some(&Err(Status::LeaseNotFound)));
    assert_eq!(world.keys(), [""; 0]);
    let mut unlock = Talk::begin(Unlock::new(UnlockRequest::default()));
    assert_eq!(unlock.go_on(&mut world), Some(&Err(Status::EmptyKey)));
}

#[test]
fn unlocking_deletes_one_key_whatever_it_is() {
    let mut world = with_leases(&[1]);
    let done = locked(&mut world, "n", 1);
    let before = world.view().revision();
    assert_eq!(unlock(&mut world, &"nothing".into()), before);
    assert_eq!(unlock(&mut world, &done.key), before + 1);
    assert_eq!(world.keys(), [""; 0]);
}

#[test]
fn a_call_that_fails_while_others_are_before_it_takes_its_key_back() {
    let mut world = with_leases(&[1, 2]);
    locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.step(&mut world), "it enters");
    second.fail(&mut world, false, Status::Timeout);
    assert_eq!(world.keys(), ["n/1", "n/2"]);
    assert_eq!(second.go_on(&mut world), Some(&Err(Status::Timeout)));
    assert_eq!(world.keys(), ["n/1"]);

    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    second.ask = second.conversation.interrupted(Status::Stopped);
    second.fail(&mut world, false, Status::Stopped);
    assert_eq!(second.outcome(), Some(&Err(Status::Stopped)), "it fails as it began to, even if it cannot undo");
}

#[test]
fn a_failure_on_the_way_in_leaves_only_what_the_caller_can_find_again() {
    let mut world = with_leases(&[1]);
    // The answer is lost, the key is there: with the same lease it is found.
    let mut first = lock("n", 1);
    first.fail(&mut world, true, Status::Timeout);
    assert_eq!(first.outcome(), Some(&Err(Status::Timeout)));
    assert_eq!(world.keys(), ["n/1"]);
    assert_eq!(locked(&mut world, "n", 1).key, "n/1");
    // Nobody knows a lease that was made for the call.
    let mut other = lock("m", 0);
    assert!(other.step(&mut world), "it gets its lease");
    other.fail(&mut world, true, Status::Timeout);
    assert!(matches!(&other.ask, Ask::Call(Request::LeaseRevoke(pb::LeaseRevokeRequest { id: FIRST_DRAWN.. }))));
    assert_eq!(other.go_on(&mut world), Some(&Err(Status::Timeout)));
    assert_eq!(world.keys(), ["n/1"]);
    assert_eq!(world.leases().len(), 1);
    let mut none = lock("m", 0);
    none.fail(&mut world, false, Status::NoLeader);
    assert_eq!(none.outcome(), Some(&Err(Status::NoLeader)));
}

#[test]
#[should_panic(expected = "a conversation begins once")]
fn a_conversation_begins_once() {
    let mut lock = lock("n", 1).conversation;
    lock.begin();
}
