//! Both sides of each rule, by hand.

use detcd_core::api::Status;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::v3electionpb::LeaderResponse;
use detcd_core::types::LeaseId;

use super::*;
use crate::check::observations::{Script, answered, bytes, failed, header, invoke, unknown};
use crate::workload::locks::LooksOn;

const A: i64 = 0xa;
const B: i64 = 0xb;

/// The client of a lease's session, and its operations' first number.
fn client(lease: i64) -> u32 {
    u32::try_from(lease).expect("a small one")
}

fn mutex(lease: i64) -> Mutex {
    Mutex::new(1, lease)
}

fn script() -> Script {
    Script::new(Box::new(Locks::new(&CheckConfig::new(3))))
}

fn put_event(key: &Bytes, value: &str, created: Revision, revision: Revision) -> Event {
    let kv = KeyValue {
        key: key.clone(),
        value: bytes(value),
        create_revision: created,
        mod_revision: revision,
        ..Default::default()
    };
    Event { kv: Some(kv), ..Default::default() }
}

fn deleted(key: &Bytes) -> Event {
    let kv = KeyValue { key: key.clone(), ..Default::default() };
    Event { r#type: EventType::Delete.into(), kv: Some(kv), ..Default::default() }
}

fn did(revision: Revision, events: impl Into<Vec<Event>>) -> HistoryEvent {
    HistoryEvent::Revision { revision, events: events.into().into() }
}

impl Script {
    /// A session begins, whose lease lives 10 s.
    fn session(&mut self, lease: i64) -> &mut Script {
        let op = u64::from(client(lease)) * 100;
        let grant = pb::LeaseGrantRequest { id: lease, ttl: 10 };
        let told = pb::LeaseGrantResponse { header: header(1, 1), id: lease, ttl: 10, error: String::new() };
        self.history(&invoke(op, client(lease), Request::LeaseGrant(grant)));
        self.history(&answered(op, Response::LeaseGrant(told)));
        let worker = ClientId(client(lease));
        self.tell(Observation::Lock(LockEvent::Wants { mutex: &mutex(lease), worker }))
    }

    fn kept_alive(&mut self, lease: i64, op: u64) -> &mut Script {
        let told = pb::LeaseKeepAliveResponse { header: header(1, 1), id: lease, ttl: 10 };
        self.history(&invoke(op, 99, Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: lease })));
        self.history(&answered(op, Response::LeaseKeepAlive(told)))
    }

    /// Its key is created.
    fn queues(&mut self, lease: i64, revision: Revision) -> &mut Script {
        self.history(&did(revision, [put_event(&mutex(lease).key, "", revision, revision)]))
    }

    fn key_goes(&mut self, lease: i64, revision: Revision) -> &mut Script {
        self.history(&did(revision, [deleted(&mutex(lease).key)]))
    }

    fn lease_goes(&mut self, lease: i64, index: u64) -> &mut Script {
        self.notes(0, &[Note::LeaseGone { lease: LeaseId(lease), index: LogIndex(index) }])
    }

    fn asks(&mut self, lease: i64, op: u64) -> &mut Script {
        self.history(&invoke(op, client(lease), mutex(lease).own()))
    }

    fn owns(&mut self, lease: i64, created: Revision) -> &mut Script {
        let worker = ClientId(client(lease));
        self.tell(Observation::Lock(LockEvent::Owns { mutex: &mutex(lease), created, worker }))
    }

    fn writes(&mut self, lease: i64, op: u64, created: Revision, value: &str) -> &mut Script {
        let value = bytes(value);
        self.tell(Observation::Lock(LockEvent::Writes { mutex: &mutex(lease), created, value: &value }));
        self.history(&invoke(op, client(lease), mutex(lease).write(created, value)))
    }

    fn written(&mut self, value: &str, revision: Revision) -> &mut Script {
        self.history(&did(revision, [put_event(&mutex(A).guarded, value, 5, revision)]))
    }

    fn gives_back(&mut self, lease: i64, op: u64, by: u32) -> &mut Script {
        self.history(&invoke(op, by, mutex(lease).unlock()))
    }

    fn says(&mut self) -> String {
        self.verdict().expect_err("a violation").detail
    }
}

/// Two sessions that begin at 0 ms. The first one's key is created at revision 2 and the second one's at 3.
fn two_queue() -> Script {
    let mut run = script();
    run.at_ms(0).session(A).session(B).queues(A, 2).queues(B, 3);
    run
}

#[test]
fn owners_in_the_order_in_which_their_keys_were_created_are_right() {
    let mut run = two_queue();
    run.at_ms(10).asks(A, 1).owns(A, 2).at_ms(20).writes(A, 3, 2, "a").written("a", 4);
    run.at_ms(30).gives_back(A, 4, client(A)).key_goes(A, 5);
    run.at_ms(40).asks(B, 5).owns(B, 3).writes(B, 6, 3, "b").written("b", 6);
    assert_eq!(run.verdict(), Ok(()));
}

#[test]
fn to_overtake_who_queued_before_is_a_violation() {
    let mut run = two_queue();
    run.at_ms(10).asks(B, 1).owns(B, 3);
    assert!(run.says().contains("while \"held/01/a\" has been there since revision 2"), "{}", run.says());
}

#[test]
fn two_keys_of_one_revision_are_both_first_and_a_violation() {
    let told = |second: Revision| {
        let mut run = script();
        run.session(A).session(B);
        let events = [put_event(&mutex(A).key, "", 2, 2), put_event(&mutex(B).key, "", second, 2)];
        run.history(&did(2, events)).verdict()
    };
    assert!(told(2).expect_err("both").detail.contains("neither is first"));
    assert_eq!(told(1), Ok(()), "the second one was there before");
}

#[test]
fn a_lock_is_not_got_by_a_request_that_was_made_after_the_lease_had_ended() {
    let told = |asked_ms: u64| {
        let mut run = script();
        run.at_ms(0).session(A).queues(A, 2);
        run.at_ms(asked_ms).asks(A, 1).at_ms(11_000).lease_goes(A, 7);
        if asked_ms > 11_000 {
            run.at_ms(asked_ms).asks(A, 2);
        }
        run.at_ms(12_000).owns(A, 2).verdict()
    };
    assert!(told(11_500).expect_err("dead").detail.contains("500 ms after its lease a had ended"));
    assert_eq!(told(10_900), Ok(()), "nobody can know what happens while the answer is on its way");
}

#[test]
fn a_lock_is_not_got_with_a_key_that_was_gone_before_or_never_there() {
    let told = |gone_ms: u64, created: Revision| {
        let mut run = script();
        run.at_ms(0).session(A).queues(A, 2).at_ms(gone_ms.min(500)).asks(A, 1);
        run.at_ms(gone_ms).key_goes(A, 3);
        if gone_ms < 500 {
            run.at_ms(500).asks(A, 2);
        }
        run.at_ms(600).owns(A, created).verdict()
    };
    assert!(told(400, 2).expect_err("gone").detail.contains("had been gone for 100 ms"));
    assert_eq!(told(550, 2), Ok(()), "it went while the answer was on its way");
    assert!(told(550, 4).expect_err("never").detail.contains("never created at revision 4"));
}

/// The second one is told that it owns the lock at a time when the first one's key is gone; what happens first is up to
/// `before`.
fn second_owner(ms: u64, before: impl FnOnce(&mut Script)) -> Result<(), Violation> {
    let mut run = two_queue();
    run.at_ms(10).asks(A, 1).owns(A, 2).at_ms(11);
    before(&mut run);
    run.key_goes(A, 4).at_ms(ms).asks(B, 50).owns(B, 3).verdict()
}

#[test]
fn a_second_owner_before_the_first_ones_lease_may_have_ended_is_a_violation() {
    let early = second_owner(9_999, |_| {}).expect_err("two owners");
    assert!(early.detail.contains("client 10 has owned it by revision 2, and can for 1 ms more"), "{early}");
    assert_eq!(second_owner(10_000, |_| {}), Ok(()));
    let kept_alive = |run: &mut Script| {
        run.at_ms(5_000).kept_alive(A, 40);
    };
    assert!(second_owner(14_999, kept_alive).is_err());
    assert_eq!(second_owner(15_000, kept_alive), Ok(()));
}

#[test]
fn the_lease_is_measured_by_the_fastest_legal_clock() {
    let told = |ms: u64| {
        let config = CheckConfig { clock_skew_ppm_max: 250_000, clock_steps: 1_000_000_000, ..CheckConfig::new(3) };
        let mut run = Script::new(Box::new(Locks::new(&config)));
        run.at_ms(0).session(A).session(B).queues(A, 2).queues(B, 3).asks(A, 1).owns(A, 2).key_goes(A, 4);
        run.at_ms(ms).asks(B, 2).owns(B, 3).verdict()
    };
    assert!(told(6_999).is_err());
    assert_eq!(told(7_000), Ok(()));
}

#[test]
fn a_lock_that_is_given_back_is_owned_no_longer_and_anybody_can_do_that_for_its_owner() {
    let by = |by: u32| {
        move |run: &mut Script| {
            run.gives_back(A, 30, by);
        }
    };
    assert_eq!(second_owner(100, by(client(A))), Ok(()));
    assert_eq!(second_owner(100, by(client(B))), Ok(()));
    let revoke = |by: u32| {
        let request = Request::LeaseRevoke(pb::LeaseRevokeRequest { id: A });
        move |run: &mut Script| {
            run.history(&invoke(30, by, request));
        }
    };
    assert_eq!(second_owner(100, revoke(client(A))), Ok(()));
    assert_eq!(second_owner(100, revoke(client(B))), Ok(()));
}

#[test]
fn who_is_told_late_takes_nothing_from_the_one_after_it_unless_its_own_lease_still_holds() {
    let told = |ms: u64| {
        let mut run = two_queue();
        // The first one's answer is on its way when its key goes and the second one gets the lock.
        run.at_ms(8_000).asks(A, 1).key_goes(A, 4).kept_alive(B, 2).asks(B, 3).owns(B, 3);
        run.at_ms(ms).owns(A, 2).verdict()
    };
    assert!(told(9_999).expect_err("two owners").detail.contains("client 11 has owned it by revision 3"));
    assert_eq!(told(10_000), Ok(()));
}

#[test]
fn other_locks_have_other_owners() {
    let mut run = two_queue();
    let other = Mutex::new(2, B);
    let worker = ClientId(client(B));
    run.tell(Observation::Lock(LockEvent::Wants { mutex: &other, worker }));
    run.history(&did(4, [put_event(&other.key, "", 4, 4)]));
    run.at_ms(10).asks(A, 1).owns(A, 2).asks(B, 2);
    run.tell(Observation::Lock(LockEvent::Owns { mutex: &other, created: 4, worker }));
    assert_eq!(run.verdict(), Ok(()));
}

#[test]
fn a_write_of_a_former_owner_is_a_violation_however_late_it_comes() {
    let told = |gone: bool, outcome: Option<HistoryEvent>| {
        let mut run = two_queue();
        run.at_ms(10).asks(A, 1).owns(A, 2).writes(A, 2, 2, "late");
        if gone {
            run.at_ms(20).key_goes(A, 4);
        }
        run.at_ms(30);
        if let Some(outcome) = outcome {
            run.history(&outcome);
        }
        run.written("late", 5).verdict()
    };
    let late = told(true, None).expect_err("fenced off");
    assert!(late.detail.contains("by revision 2, and \"held/01/b\" of revision 3 owns it"), "{late}");
    assert!(told(true, Some(unknown(2))).is_err(), "what became of it is not known, and it may not happen any more");
    assert_eq!(told(false, None), Ok(()));
    assert_eq!(told(false, Some(unknown(2))), Ok(()));
    // What was refused cannot happen: that it did is for another checker.
    assert_eq!(told(true, Some(failed(2, Status::NoSpace))), Ok(()));
}

#[test]
fn a_write_while_nobody_owns_the_lock_is_a_violation_too_and_writes_of_others_are_not() {
    let mut run = script();
    run.at_ms(0).session(A).queues(A, 2).asks(A, 1).owns(A, 2).writes(A, 2, 2, "late").key_goes(A, 3);
    run.written("other", 4);
    assert_eq!(run.verdict(), Ok(()));
    run.written("late", 5);
    assert!(run.says().contains("nobody owns it"), "{}", run.says());
}

#[test]
fn a_lease_id_that_is_granted_anew_has_a_new_life() {
    let mut run = script();
    run.at_ms(0).session(A).queues(A, 2).at_ms(11_000).lease_goes(A, 5).key_goes(A, 3);
    run.at_ms(12_000).session(A).queues(A, 4).at_ms(12_100).asks(A, 1).owns(A, 4);
    assert_eq!(run.verdict(), Ok(()));
}

/// What a member asks for the call `Resign`, about the key of that session as it was created at a revision.
fn resign(lease: i64, created: Revision) -> Request {
    use detcd_core::locks::{Ask, Conversation, Resign};
    use detcd_core::proto::v3electionpb::{LeaderKey, ResignRequest};
    let leader = LeaderKey { name: mutex(lease).name(), key: mutex(lease).key, rev: created, lease };
    let Ask::Call(request) = Resign::new(ResignRequest { leader: Some(leader) }).begin() else { panic!("it calls") };
    request
}

#[test]
fn who_resigns_owns_it_no_more_if_it_is_about_the_key_that_owned() {
    let resigns = |lease: i64, created: Revision| {
        second_owner(20, move |run| {
            run.history(&invoke(40, client(A), resign(lease, created)));
        })
    };
    assert_eq!(resigns(A, 2), Ok(()));
    assert!(resigns(A, 9).is_err(), "of another election");
    assert!(resigns(B, 2).is_err(), "another's key");
    let other = second_owner(20, |run| {
        let Request::Txn(mut txn) = resign(A, 2) else { panic!("it is a transaction") };
        txn.compare.clear();
        run.history(&invoke(40, client(A), Request::Txn(txn)));
    });
    assert!(other.is_err(), "what deletes the key in any case is no resignation");
}

/// What an owner proclaims is written to the key that it owns by, before it is told so.
#[test]
fn what_is_proclaimed_by_a_later_key_or_not_at_all_is_a_violation() {
    let proclaimed = |written: Option<(Revision, Revision)>| {
        let (mutex, value) = (mutex(A), bytes("me"));
        let mut run = two_queue();
        run.at_ms(10).asks(A, 1).owns(A, 2);
        run.tell(Observation::Lock(LockEvent::Proclaims { mutex: &mutex, created: 2, value: &value }));
        if let Some((created, written)) = written {
            run.history(&did(written, [put_event(&mutex.key, "me", created, written)]));
        }
        run.tell(Observation::Lock(LockEvent::Proclaimed { mutex: &mutex, value: &value })).verdict()
    };
    assert_eq!(proclaimed(Some((2, 4))), Ok(()));
    for another_life in [(4, 5), (4, 4)] {
        let why = proclaimed(Some(another_life)).expect_err("not its key").detail;
        assert!(why.contains("by revision 2 proclaimed something by \"held/01/a\" of revision 4"), "{why}");
    }
    assert!(proclaimed(None).expect_err("nothing").detail.contains("has proclaimed \"me\", which nobody wrote"));
}

/// The rules of who looks on are tested beside them; here, that they are asked.
#[test]
fn who_looks_on_is_judged_by_the_revisions_of_the_lock() {
    let worker = ClientId(9);
    let kv = KeyValue { key: mutex(B).key, create_revision: 3, mod_revision: 3, ..Default::default() };
    let told = LeaderResponse { header: header(1, 3), kv: Some(kv) };
    for (how, why) in [(LooksOn::Asks, "where \"held/01/a\" of revision 2"), (LooksOn::Observes, "who never led")] {
        let led = LockEvent::ToldLeader { mutex: &mutex(A), worker, how, leader: Some(&told) };
        let mut run = two_queue();
        assert!(run.tell(Observation::Lock(led)).says().contains(why), "{}", run.says());
    }
    let mut run = two_queue();
    run.tell(Observation::Lock(LockEvent::LooksOn { mutex: &mutex(A), worker })).at_ms(31_000);
    run.tell(Observation::Lock(LockEvent::StillObserves { mutex: &mutex(A), worker }));
    let violation = run.verdict().expect_err("it has been told nothing");
    assert_eq!(violation.kind, crate::check::ViolationKind::Liveness);
}
