//! Lock workers that ask a member's Lock service for a lock, or its Election service for the same key, and what they
//! make of its answer, if there is one.
//!
//! Who gets none does not know whether it owns the lock, nor what the member still does for it. So it never asks for a
//! lock with the same lease again: it ends its session.

use bytes::Bytes;
use detcd_core::api::Status;
use detcd_core::proto::v3electionpb::{CampaignRequest, ProclaimRequest, ResignRequest};
use detcd_core::proto::v3lockpb::{LockRequest, UnlockRequest};
use detcd_core::types::Revision;

use super::World;
use super::conversation::client_of;
use super::event::{Departure, Event, LockAsked, LockTold, Word};
use super::lock_worker::{Asked, Keeps, Stage, Turn};
use crate::history::OpId;
use crate::observe::{LockEvent, NodeIndex, Observation};
use crate::weather::{below, nth};
use crate::workload::locks::Mutex;

const MS: u64 = 1_000_000;
/// What a candidate would have others know.
const PROCLAIMED: Bytes = Bytes::from_static(b"me");
/// When a member notices by itself that a client is gone which it cannot hear.
const UNHEARD_NS: u64 = 5_000 * MS;

impl World<'_> {
    /// The worker asks some member for a lock. Now and then its process stands still meanwhile.
    pub(super) fn ask_for_lock(&mut self, worker: u32, turn: Turn) {
        let Some(OpId(number)) = self.lock_session(worker).next_op() else { return self.end_lock_session(worker) };
        let mutex = if turn.round.by_own_lease() { Mutex { lease: 0, ..turn.mutex } } else { turn.mutex };
        let turn = Turn { mutex, by: client_of(number), ..turn };
        self.observe(Observation::Lock(LockEvent::Wants { mutex: &turn.mutex, worker: turn.by }));
        let (name, lease) = (turn.mutex.name(), turn.mutex.lease);
        let asked = if turn.round.by_election() {
            LockAsked::Campaign(CampaignRequest { name, lease, value: PROCLAIMED })
        } else {
            LockAsked::Lock(LockRequest { name, lease })
        };
        self.pause_lock_worker(worker, turn.round, false);
        let patience_ns = turn.round.patience_ns(self.now);
        self.lock_session(worker).stage = Stage::Asking(turn);
        self.ask_lock_service(worker, number, asked, patience_ns);
    }

    /// The worker gives a lock back, perhaps at another member than the one that gave it the lock.
    pub(super) fn return_lock(&mut self, worker: u32, turn: &Turn) {
        let session = self.lock_session(worker);
        let Some(OpId(number)) = session.next_op() else { return self.end_lock_session(worker) };
        session.stage = Stage::Returning;
        let asked = if turn.round.by_election() {
            LockAsked::Resign(ResignRequest { leader: turn.elected.as_deref().cloned() })
        } else {
            LockAsked::Unlock(UnlockRequest { key: turn.mutex.key.clone() })
        };
        let patience_ns = turn.round.patience_ns(self.now);
        self.ask_lock_service(worker, number, asked, patience_ns);
    }

    /// The worker says something as the elected owner, perhaps at another member than the one that told it so.
    pub(super) fn proclaim(&mut self, worker: u32, turn: Turn, created: Revision, keeps: Keeps) {
        let session = self.lock_session(worker);
        let value = session.next_value();
        let Some(OpId(number)) = session.next_op() else { return self.end_lock_session(worker) };
        let event = LockEvent::Proclaims { mutex: &turn.mutex, created, value: &value };
        self.observe(Observation::Lock(event));
        let leader = turn.elected.as_deref().cloned();
        let asked = LockAsked::Proclaim(ProclaimRequest { leader, value: value.clone() });
        let patience_ns = turn.round.patience_ns(self.now);
        self.lock_session(worker).stage = Stage::Proclaiming(turn, created, keeps, value);
        self.ask_lock_service(worker, number, asked, patience_ns);
    }

    /// The worker asks some member's service for something, and is impatient after a while.
    pub(super) fn ask_lock_service(&mut self, worker: u32, number: u64, asked: LockAsked, patience_ns: u64) {
        let (client, _) = self.clients_of(worker);
        let (now, nodes) = (self.now, self.hosts.len() as u64);
        let session = self.lock_session(worker);
        // Who stands still is not impatient meanwhile.
        let patience_ns = patience_ns + session.paused_until.saturating_sub(now);
        let patience_ns = patience_ns.min(session.until.saturating_sub(now));
        let node = usize::try_from(below(nth(nth(session.draw, 9), now), nodes)).expect("few members");
        let arrives_at = now + self.watch_delay_ns(client, node, 5);
        self.lock_session(worker).asked = Some(Asked { number, node, arrives_at, told_at: 0, is_broken: false });
        self.record.begin(now, 26, None);
        self.record.number(number);
        self.record.number(node as u64);
        self.record.say(|| format!("c{client} asks m{} in conversation {number}: {asked:?}", node + 1));
        if self.hosts[node].client_cuts == 0 {
            let word = Word::Begins { worker, asked: Box::new(asked) };
            self.queue.push(arrives_at, Event::Conversation { node, number, word });
        }
        self.lock_waits(worker, patience_ns);
    }

    /// The worker waits for a lock service no longer, if it did; says whether.
    pub(super) fn leave_lock_service(&mut self, worker: u32) -> bool {
        let Some(Asked { number, node, arrives_at, .. }) = self.lock_session(worker).asked.take() else { return false };
        let (client, _) = self.clients_of(worker);
        let heard = self.hosts[node].client_cuts == 0;
        let wait_ns = if heard { self.watch_delay_ns(client, node, 6) } else { UNHEARD_NS };
        // On one connection nothing overtakes.
        let at = (self.now + wait_ns).max(arrives_at + 1);
        self.queue.push(at, Event::Conversation { node, number, word: Word::Hangup });
        true
    }

    /// A member tells a worker something, or its machine does.
    pub(super) fn tell_lock_worker(&mut self, node: NodeIndex, number: u64, worker: u32, told: LockTold) {
        let (client, _) = self.clients_of(worker);
        let delay_ns = self.watch_delay_ns(client, node, 7);
        let from = self.departure(node, delay_ns);
        let mut at = self.now + delay_ns;
        if let Some(asked) = self.workers[worker as usize].asked(number) {
            at = at.max(asked.told_at + 1);
            asked.told_at = at;
        }
        self.queue.push(at, Event::LockTold { worker, number, from, told });
    }

    /// That arrives, unless its member died before it left, or cannot be heard.
    pub(super) fn lock_service_told(&mut self, worker: u32, number: u64, from: Departure, told: LockTold) {
        let host = &self.hosts[from.node];
        let has_left = matches!(told, LockTold::Refused | LockTold::Reset) || host.let_go(&from);
        let is_heard = has_left && host.client_cuts == 0;
        let Some(asked) = self.workers[worker as usize].asked(number) else { return };
        asked.is_broken |= !is_heard;
        if asked.is_broken {
            return;
        }
        let at = self.lock_session(worker).paused_until;
        if at > self.now {
            self.queue.push(at, Event::LockTold { worker, number, from, told });
            return;
        }
        self.record.begin(self.now, 27, None);
        self.record.number(number);
        self.record.say(|| format!("conversation {number} tells: {told:?}"));
        if let Some(told) = self.told_as_observer(worker, told) {
            self.lock_service_ended(worker, told);
        }
    }

    /// The worker has its answer.
    fn lock_service_ended(&mut self, worker: u32, told: LockTold) {
        let session = self.lock_session(worker);
        (session.asked, session.ticket) = (None, session.ticket + 1);
        let stage = std::mem::replace(&mut session.stage, Stage::Idle);
        match (stage, told) {
            (Stage::Asking(turn), LockTold::Locked { key, created, waited, elected }) => {
                self.mark_ownership(&turn, waited);
                let has_none = turn.mutex.lease == 0;
                let mutex = turn.mutex.with_key(key);
                self.lock_session(worker).lock_lease = has_none.then_some(mutex.lease);
                self.lock_owned(worker, Turn { mutex, elected, ..turn }, created);
            }
            (Stage::Asking(turn), LockTold::Refused) => {
                let wait_ns = turn.round.wait_ns(self.now);
                self.lock_session(worker).stage = Stage::Acquiring(turn);
                self.lock_waits(worker, wait_ns);
            }
            (Stage::Asking(_), LockTold::Failed(Status::LockKeyLost | Status::NotElected)) => {
                self.mark("lock service: a waiter lost its lease in the queue");
                self.end_lock_session(worker);
            }
            (Stage::Asking(_), LockTold::Failed(Status::LeaseNotFound)) => self.end_lock_session(worker),
            (Stage::Proclaiming(turn, own, keeps, value), LockTold::Done) => {
                self.mark("election service: a leader proclaimed something");
                self.observe(Observation::Lock(LockEvent::Proclaimed { mutex: &turn.mutex, value: &value }));
                let wait_ns = turn.round.wait_ns(self.now) / 2;
                self.lock_session(worker).stage = Stage::Holding(turn, own, keeps);
                self.lock_waits(worker, wait_ns);
            }
            (Stage::Proclaiming(..), LockTold::Failed(Status::NotElected)) => {
                self.mark("election service: a former leader could not proclaim");
                self.end_lock_session(worker);
            }
            (Stage::Following(turn, how), told) => self.looked_on(worker, &turn, how, told),
            (Stage::Returning, LockTold::Done) => {
                self.lock_session(worker).lock_lease = None;
                self.lock_waits(worker, 10 * MS);
            }
            _ => self.revoke_lock_session(worker),
        }
    }

    fn mark_ownership(&mut self, turn: &Turn, waited: bool) {
        if waited && turn.round.by_election() {
            self.mark("election service: elected after waiting");
        } else if waited {
            self.mark("lock service: owned after waiting");
        }
        if turn.mutex.lease == 0 {
            self.mark("lock service: owned by a lease that was made for it");
        }
    }
}
