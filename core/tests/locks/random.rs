//! Contenders in every order of steps that chance finds: one owner at a time, in order, and nothing left behind.

use bytes::Bytes;
use detcd_core::StoreView;
use detcd_core::api::{Request, Status};
use detcd_core::locks::{Ask, Lock};
use detcd_core::proto::v3lockpb::LockRequest;
use proptest::prelude::*;

use super::world::{FIRST_DRAWN, Talk, World, keys_below};

const LEASES: i64 = 4;

#[derive(Clone, Debug)]
enum Step {
    /// Another call of `Lock` with this lease; 0 for none.
    Begin(i64),
    /// One of the calls goes on a bit.
    GoOn(prop::sample::Index),
    /// One of the calls is told that the member did not answer, whether or not it did what it was asked.
    Fail(prop::sample::Index, bool),
    /// The caller of one of the calls goes away.
    Leave(prop::sample::Index),
    /// The owner gives the lock back.
    Release,
    /// A lease ends, and comes back.
    Renew(i64),
    /// Somebody deletes a lease's key.
    Delete(i64),
    /// The history is compacted.
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<prop::sample::Index>;
    prop_oneof![
        4 => (0..=LEASES).prop_map(Step::Begin),
        10 => any().prop_map(Step::GoOn),
        1 => (any(), prop::bool::ANY).prop_map(|(which, done)| Step::Fail(which, done)),
        1 => any().prop_map(Step::Leave),
        2 => Just(Step::Release),
        1 => (1..=LEASES).prop_map(Step::Renew),
        1 => (1..=LEASES).prop_map(Step::Delete),
        1 => Just(Step::Compact),
    ]
}

/// The lock's keys in the order of their create revisions.
fn queue(view: &StoreView) -> Vec<(i64, Bytes)> {
    let mut queue: Vec<_> = keys_below(view, b"n/", b"n0").into_iter().map(|kv| (kv.create_revision, kv.key)).collect();
    queue.sort();
    queue
}

struct Contest {
    world: World,
    calls: Vec<Talk<Lock>>,
}

impl Contest {
    fn new() -> Contest {
        let mut world = World::new();
        (1..=LEASES).for_each(|lease| world.grant(lease));
        Contest { world, calls: Vec::new() }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Begin(lease) => {
                let request = LockRequest { name: "n".into(), lease: *lease };
                self.calls.push(Talk::begin(Lock::new(&request)));
            }
            Step::GoOn(which) if !self.calls.is_empty() => self.go_on(which.index(self.calls.len())),
            Step::Fail(which, done) if !self.calls.is_empty() => {
                let which = which.index(self.calls.len());
                let call = &mut self.calls[which];
                // An undo that fails is left to the end of the lease.
                if matches!(&call.ask, Ask::Call(request) if !matches!(request, Request::LeaseRevoke(_))) {
                    call.fail(&mut self.world, *done, Status::Timeout);
                }
            }
            Step::Leave(which) if !self.calls.is_empty() => {
                let call = self.calls.remove(which.index(self.calls.len()));
                call.leave(&mut self.world);
            }
            Step::Release => {
                let owner = queue(&self.world.view()).into_iter().next();
                owner.into_iter().for_each(|(_, key)| self.world.delete(&key));
            }
            Step::Renew(lease) => {
                self.world.revoke(*lease);
                self.world.grant(*lease);
            }
            Step::Delete(lease) => self.world.delete(format!("n/{lease:x}").as_bytes()),
            Step::Compact => self.world.compact(),
            Step::GoOn(_) | Step::Fail(..) | Step::Leave(_) => {}
        }
    }

    /// One step of a call. If it says that the lock is owned, that is so at this moment.
    fn go_on(&mut self, which: usize) {
        let call = &mut self.calls[which];
        let over = call.outcome().is_some();
        call.step(&mut self.world);
        if let (false, Some(Ok(done))) = (over, call.outcome()) {
            let view = self.world.view();
            let queue = queue(&view);
            assert_eq!(queue.first().map(|(_, key)| key), Some(&done.key), "owned by another: {queue:?}");
            assert_eq!(done.header.expect("a header").revision, view.revision());
        }
    }

    /// Everybody goes on, and who owns the lock gives it back: all calls come to an end.
    fn settle(&mut self) {
        loop {
            for which in 0..self.calls.len() {
                while self.calls[which].step(&mut self.world) {}
            }
            if self.calls.iter().all(|call| call.outcome().is_some()) {
                return;
            }
            let (_, owner) = queue(&self.world.view()).into_iter().next().expect("somebody is waited for");
            self.world.delete(&owner);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn a_lock_has_one_owner_at_a_time_and_every_call_ends(steps in prop::collection::vec(step(), 1..60)) {
        let mut contest = Contest::new();
        steps.iter().for_each(|step| contest.take(step));
        contest.settle();
        // What is left is under leases that callers have; one that was made for a call goes with whoever was not told.
        let told: Vec<Bytes> =
            contest.calls.iter().filter_map(|call| Some(call.outcome()?.as_ref().ok()?.key.clone())).collect();
        for (_, key) in queue(&contest.world.view()) {
            let digits = std::str::from_utf8(&key[2..]).expect("digits");
            let lease = i64::from_str_radix(digits, 16).expect("a number");
            prop_assert!(lease < FIRST_DRAWN || told.contains(&key), "{key:?} was left behind");
        }
    }

    #[test]
    fn callers_that_leave_leave_the_lock_to_others(steps in prop::collection::vec(step(), 1..40)) {
        let mut contest = Contest::new();
        let calm = |step: &&Step| matches!(step, Step::Begin(_) | Step::GoOn(_) | Step::Compact);
        steps.iter().filter(calm).for_each(|step| contest.take(step));
        // Who waits, on whatever lease, goes away; who owns the lock gives it back.
        let (owners, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut contest.calls)
            .into_iter()
            .partition(|call| matches!(call.outcome(), Some(Ok(_))));
        waiting.into_iter().for_each(|call| call.leave(&mut contest.world));
        for owner in owners {
            let Some(Ok(done)) = owner.outcome() else { panic!("an owner") };
            contest.world.delete(&done.key);
        }
        let left = queue(&contest.world.view());
        // At most the one that has it already and was not told yet, which finds it when it asks again.
        prop_assert!(left.len() <= 1, "{left:?}");
    }
}
