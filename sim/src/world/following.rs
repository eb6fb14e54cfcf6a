//! Lock workers that look on: they ask an election service who owns a lock, once or to be told all the time.
//!
//! That changes nothing, so who gets no answer just goes on. Who observes when everything has its end, stays until the
//! run is over: it has to know the owner then.

use detcd_core::api::Status;
use detcd_core::proto::v3electionpb::{LeaderRequest, LeaderResponse};

use super::World;
use super::conversation::client_of;
use super::event::{LockAsked, LockTold};
use super::lock_worker::{LockWorker, Stage, Turn};
use crate::history::OpId;
use crate::observe::{LockEvent, Observation};
use crate::workload::locks::LooksOn;

const MS: u64 = 1_000_000;

impl World<'_> {
    /// The worker asks some member who owns a lock.
    pub(super) fn look_on(&mut self, worker: u32, turn: Turn, how: LooksOn) {
        let Some(OpId(number)) = self.lock_session(worker).next_op() else { return self.end_lock_session(worker) };
        let turn = Turn { by: client_of(number), ..turn };
        self.observe(Observation::Lock(LockEvent::LooksOn { mutex: &turn.mutex, worker: turn.by }));
        let request = LeaderRequest { name: turn.mutex.name() };
        let (asked, patience_ns) = match how {
            LooksOn::Asks => (LockAsked::Leader(request), turn.round.patience_ns(self.now)),
            LooksOn::Observes => (LockAsked::Observe(request), turn.round.observes_ns()),
        };
        self.lock_session(worker).stage = Stage::Following(turn, how);
        self.ask_lock_service(worker, number, asked, patience_ns);
    }

    /// An observer is told of an owner, and goes on to observe; other workers have to know what they are told.
    pub(super) fn told_as_observer(&mut self, worker: u32, told: LockTold) -> Option<LockTold> {
        let stage = self.lock_session(worker).stage.clone();
        let (Stage::Following(turn, how @ LooksOn::Observes), LockTold::Led(leader)) = (stage, &told) else {
            return Some(told);
        };
        self.mark("election service: an observer was told of a leader");
        self.tell_leader(&turn, how, Some(leader));
        None
    }

    /// What looking on came to, at its end.
    pub(super) fn looked_on(&mut self, worker: u32, turn: &Turn, how: LooksOn, told: LockTold) {
        let leader = match &told {
            LockTold::Led(leader) => Some(Some(&**leader)),
            LockTold::Failed(Status::NobodyElected) => Some(None),
            _ => None,
        };
        if let Some(leader) = leader {
            self.mark("election service: a leader was asked for");
            self.tell_leader(turn, how, leader);
        }
        let wait_ns = if leader.is_some() { 10 * MS } else { turn.round.wait_ns(self.now) };
        self.lock_waits(worker, wait_ns);
    }

    fn tell_leader(&mut self, turn: &Turn, how: LooksOn, leader: Option<&LeaderResponse>) {
        if let Some(leader) = leader {
            self.record.message(leader);
        }
        let (mutex, worker) = (&turn.mutex, turn.by);
        self.observe(Observation::Lock(LockEvent::ToldLeader { mutex, worker, how, leader }));
    }

    /// A worker whose session has come to its end stays, if it observes and no other session follows.
    pub(super) fn stays_to_observe(&mut self, worker: u32) -> bool {
        let (now, heal_at) = (self.now, self.plan.heal_at);
        let session = self.lock_session(worker);
        let is_heard = session.asked.is_some_and(|asked| !asked.is_broken);
        let is_last = session.until == heal_at && now >= session.until;
        let stays = is_heard && is_last && matches!(session.stage, Stage::Following(_, LooksOn::Observes));
        // Nobody keeps its lease alive any more.
        session.is_lost |= stays;
        stays
    }

    /// Whether a worker has something to end.
    pub(super) fn is_at_work(&self, worker: &LockWorker) -> bool {
        worker.session.as_ref().is_some_and(|session| !session.stays(self.now))
    }

    /// Everything is quiet: who still observes has to know who owns the lock.
    pub(super) fn tell_who_follows(&mut self) {
        if self.convergence.entitled.is_some() {
            return;
        }
        for worker in 0..self.workers.len() {
            let Some(session) = self.workers[worker].session.as_ref().filter(|session| session.stays(self.now)) else {
                continue;
            };
            let (Stage::Following(turn, _), Some(asked)) = (session.stage.clone(), session.asked) else { continue };
            let host = &self.hosts[asked.node];
            let is_held = host.conversations.held.get(&asked.number).is_some_and(|talk| talk.is_observed());
            if is_held && host.client_cuts == 0 && !asked.is_broken {
                self.mark("election service: an observer was there at the end");
                self.observe(Observation::Lock(LockEvent::StillObserves { mutex: &turn.mutex, worker: turn.by }));
            }
        }
    }
}
