//! Following an election's leader (contract, section 1.7).

use bytes::Bytes;
use detcd_core::api::Status;
use detcd_core::locks::{Ask, Conversation, Observe};
use detcd_core::proto::v3electionpb::LeaderRequest;

use super::elections::{campaign, elected, proclaim, resign};
use super::locking::with_leases;
use super::world::{Talk, World};

fn observe(name: &str) -> Talk<Observe> {
    Talk::begin(Observe::new(&LeaderRequest { name: Bytes::from(name.to_owned()) }))
}

/// What an observer is told now: key, value, and the revision in the header.
fn told(observe: &mut Talk<Observe>, world: &mut World) -> Vec<(String, String, i64)> {
    assert_eq!(observe.go_on(world), None);
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let shown = observe.conversation.take().into_iter().map(|leader| {
        let kv = leader.kv.expect("a key");
        (text(&kv.key), text(&kv.value), leader.header.expect("a header").revision)
    });
    shown.collect()
}

fn seen(key: &str, value: &str, revision: i64) -> (String, String, i64) {
    (key.to_owned(), value.to_owned(), revision)
}

#[test]
fn an_observer_is_told_who_leads_and_then_who_follows() {
    let mut world = with_leases(&[1, 2]);
    let first = elected(&mut world, "e", 1, "a").leader;
    world.put("other", "", 0);
    let mut observer = observe("e");
    assert_eq!(told(&mut observer, &mut world), [seen("e/1", "a", 3)]);
    let mut second = campaign("e", 2, "b");
    assert!(second.go_on(&mut world).is_none());
    assert_eq!(told(&mut observer, &mut world), [], "a candidate is no leader");
    proclaim(&mut world, first.clone(), "aa").expect("it leads");
    assert_eq!(told(&mut observer, &mut world), [seen("e/1", "aa", 5)]);
    resign(&mut world, first).expect("resigned");
    assert_eq!(told(&mut observer, &mut world), [seen("e/2", "b", 6)]);
}

#[test]
fn an_observer_waits_for_the_first_leader() {
    let mut world = with_leases(&[1, 2]);
    let mut observer = observe("e");
    assert_eq!(told(&mut observer, &mut world), []);
    world.put("e", "not below the prefix", 0);
    world.put("e0", "not either", 0);
    assert_eq!(told(&mut observer, &mut world), []);
    let first = elected(&mut world, "e", 1, "a").leader;
    let came = world.view().revision();
    proclaim(&mut world, first.clone(), "aa").expect("it leads");
    assert!(campaign("e", 2, "b").go_on(&mut world).is_none());
    // All of it is in one response of the watcher.
    let expected = [seen("e/1", "a", came), seen("e/1", "aa", came + 2)];
    assert_eq!(told(&mut observer, &mut world), expected);
}

#[test]
fn a_leader_that_comes_and_goes_before_anybody_looks_is_found_in_the_history() {
    let mut world = with_leases(&[1]);
    let mut observer = observe("e");
    assert_eq!(told(&mut observer, &mut world), []);
    let first = elected(&mut world, "e", 1, "a").leader;
    resign(&mut world, first).expect("resigned");
    assert_eq!(told(&mut observer, &mut world), [seen("e/1", "a", 2)]);
    elected(&mut world, "e", 1, "b");
    assert_eq!(told(&mut observer, &mut world), [seen("e/1", "b", 4)]);
}

#[test]
fn a_compaction_that_overtakes_it_repeats_nothing_and_hides_no_newest_value() {
    let mut world = with_leases(&[1]);
    let first = elected(&mut world, "e", 1, "a").leader;
    let mut observer = observe("e");
    assert_eq!(told(&mut observer, &mut world), [seen("e/1", "a", 2)]);
    world.put("other", "", 0);
    world.put("other", "", 0);
    world.compact();
    assert_eq!(told(&mut observer, &mut world), [], "it looked again, and found the same");
    proclaim(&mut world, first.clone(), "aa").expect("it leads");
    proclaim(&mut world, first.clone(), "aaa").expect("it leads");
    world.compact();
    assert_eq!(told(&mut observer, &mut world), [seen("e/1", "aaa", 6)]);
    resign(&mut world, first).expect("resigned");
    world.put("other", "", 0);
    world.compact();
    assert_eq!(told(&mut observer, &mut world), []);
    // Nobody leads; the watcher of the prefix may be overtaken, too.
    world.put("other", "", 0);
    world.put("other", "", 0);
    world.compact();
    assert_eq!(told(&mut observer, &mut world), []);
    elected(&mut world, "e", 1, "b");
    assert_eq!(told(&mut observer, &mut world).len(), 1);
}

#[test]
fn an_observer_ends_with_the_reason_when_it_can_see_no_more() {
    let mut world = World::new();
    let mut observer = observe("e");
    observer.fail(&mut world, false, Status::Timeout);
    assert!(matches!(observer.ask, Ask::Done(Err(Status::Timeout))));
    let mut observer = observe("e");
    assert_eq!(told(&mut observer, &mut world), []);
    assert!(matches!(observer.conversation.interrupted(Status::Stopped), Ask::Done(Err(Status::Stopped))));
}
