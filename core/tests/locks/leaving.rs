//! Callers that go away, in each state of what they began.

use detcd_core::api::{Request, Response, Status};
use detcd_core::locks::{Ask, Conversation, Left};

use super::elections::{campaign, elected};
use super::locking::{lock, locked, with_leases};
use super::world::{Talk, World};

/// Lets a conversation of each kind of lease wait behind an owner, go `steps` far, and be left there.
fn left_after(lease: i64, steps: usize) -> World {
    let mut world = with_leases(&[1, 2]);
    locked(&mut world, "n", 1);
    let mut second = lock("n", lease);
    for step in 0..steps {
        assert!(second.step(&mut world), "it goes on until step {step}");
    }
    second.leave(&mut world);
    world
}

#[test]
fn who_leaves_before_its_turn_leaves_no_key() {
    // With a lease of the caller's: entering, looking, waiting.
    for steps in 0..=2 {
        let world = left_after(2, steps);
        assert_eq!(world.keys(), ["n/1"], "after {steps} steps");
        assert_eq!(world.leases().len(), 2, "the caller's lease is the caller's");
    }
    // With one that the member made: granting, entering, looking, waiting.
    for steps in 0..=3 {
        let world = left_after(0, steps);
        assert_eq!(world.keys(), ["n/1"], "after {steps} steps");
        assert_eq!(world.leases().len(), 2, "nobody knows the lease");
    }
}

#[test]
fn who_leaves_between_its_turn_and_the_look_at_it_leaves_no_key() {
    let mut world = with_leases(&[1, 2, 3]);
    locked(&mut world, "n", 1);
    let (mut second, mut third) = (lock("n", 2), lock("n", 3));
    assert!(second.go_on(&mut world).is_none());
    assert!(third.go_on(&mut world).is_none());
    world.delete(b"n/1");
    assert!(second.step(&mut world), "its predecessor is gone");
    assert!(matches!(second.ask, Ask::Call(_)));
    second.leave(&mut world);
    assert_eq!(world.keys(), ["n/3"]);
    assert!(third.go_on(&mut world).expect("its turn").is_ok());
}

#[test]
fn who_is_gone_when_its_turn_has_come_leaves_no_key() {
    for lease in [2, 0] {
        let mut world = with_leases(&[1, 2]);
        locked(&mut world, "n", 1);
        let mut second = lock("n", lease);
        assert!(second.go_on(&mut world).is_none());
        world.delete(b"n/1");
        assert!(second.go_on(&mut world).expect("its turn").is_ok());
        second.leave(&mut world);
        assert_eq!(world.keys(), [""; 0]);
        assert_eq!(world.leases().len(), 2);
    }
}

#[test]
fn an_owner_that_asks_again_and_leaves_keeps_its_lock() {
    let mut world = with_leases(&[1]);
    locked(&mut world, "n", 1);
    let entering = lock("n", 1);
    entering.leave(&mut world);
    let mut done = lock("n", 1);
    assert!(done.go_on(&mut world).is_some());
    done.leave(&mut world);
    assert_eq!(world.keys(), ["n/1"]);
    elected(&mut world, "e", 1, "a");
    let mut proclaiming = campaign("e", 1, "b");
    assert!(proclaiming.step(&mut world), "it finds its key");
    proclaiming.leave(&mut world);
    assert_eq!(world.keys(), ["e/1", "n/1"]);
}

#[test]
fn a_lock_that_nobody_was_told_of_stays_only_where_it_can_be_found_again() {
    let mut world = with_leases(&[1]);
    lock("n", 1).leave(&mut world);
    assert_eq!(world.keys(), ["n/1"]);
    assert_eq!(locked(&mut world, "n", 1).key, "n/1");
    let mut own = lock("m", 0);
    assert!(own.step(&mut world), "it gets its lease");
    own.leave(&mut world);
    assert_eq!(world.keys(), ["n/1"]);
    assert_eq!(world.leases().len(), 1);
}

#[test]
fn a_candidate_that_waits_with_another_value_leaves_no_key() {
    let mut world = with_leases(&[1, 2]);
    elected(&mut world, "e", 1, "a");
    let mut first = campaign("e", 2, "b");
    assert!(first.go_on(&mut world).is_none());
    let mut proclaiming = campaign("e", 2, "c");
    assert!(proclaiming.step(&mut world), "it finds its key");
    proclaiming.leave(&mut world);
    assert_eq!(world.keys(), ["e/1"]);
}

#[test]
fn nothing_is_undone_where_nothing_is_known_or_all_is_over() {
    let mut world = with_leases(&[1, 2]);
    locked(&mut world, "n", 1);
    // Left while it entered, and the answer is that it may have.
    let second = lock("n", 2);
    let Left::Undecided(pending) = second.conversation.leave() else { panic!("it enters") };
    assert_eq!(pending.answered(Err(Status::Timeout)), None);
    // The same with the lease that is to be made.
    let granting = lock("n", 0);
    let Left::Undecided(pending) = granting.conversation.leave() else { panic!("it needs a lease") };
    assert_eq!(pending.answered(Err(Status::NoLeader)), None);
    // A lease of its own goes, whatever is known of the key.
    let mut entering = lock("n", 0);
    assert!(entering.step(&mut world));
    let Left::Undecided(pending) = entering.conversation.leave() else { panic!("it enters") };
    let undo = pending.answered(Err(Status::Timeout)).expect("an undo");
    assert!(matches!(world.call(&undo), Ok(Response::LeaseRevoke(_))), "{undo:?}");
    // It failed already.
    let mut failed = lock("n", 77);
    assert!(failed.go_on(&mut world).is_some());
    assert_eq!(failed.conversation.leave(), Left::Nothing);
}

#[test]
fn an_undo_that_is_interrupted_is_made_again() {
    let mut world = with_leases(&[1, 2]);
    locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    second.ask = second.conversation.interrupted(Status::TooManyRequests);
    let Ask::Call(undo) = second.ask.clone() else { panic!("it takes its key back") };
    assert_eq!(second.conversation.leave(), Left::Undo(undo));
}

#[test]
fn an_undo_spares_the_key_that_somebody_made_anew() {
    let mut world = with_leases(&[1, 2]);
    locked(&mut world, "n", 1);
    let mut second = lock("n", 2);
    assert!(second.go_on(&mut world).is_none());
    world.delete(b"n/2");
    let mut again = lock("n", 2);
    assert!(again.go_on(&mut world).is_none());
    second.leave(&mut world);
    assert_eq!(world.keys(), ["n/1", "n/2"]);
}

#[test]
fn calls_that_never_wait_leave_nothing_to_undo() {
    let leader = Talk::begin(detcd_core::locks::Leader::new(Default::default()));
    assert!(matches!(leader.ask, Ask::Call(Request::Range(_))));
    assert_eq!(leader.conversation.leave(), Left::Nothing);
}
