//! Lock workers at work: what a process does with the answers that it gets, when it stands still, and how it ends.

use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::Revision;

use super::World;
use super::client::Role;
use super::event::{Event, LockTimer};
use super::lock_worker::{Keeps, LockSession, Stage, Turn};
use crate::history::{ClientId, Outcome};
use crate::observe::{LockEvent, Observation};
use crate::weather::{below, nth, permille};
use crate::workload::OpKind;
use crate::workload::locks::{self, Mutex, Round, Tried};

const MS: u64 = 1_000_000;

impl World<'_> {
    /// A session of a worker is due.
    pub(super) fn lock_session_due(&mut self, index: usize) {
        let worker = self.plan.ops[index].client;
        self.workers[worker as usize].waiting.push_back(index);
        self.begin_lock_session(worker);
    }

    /// The clients of a worker: the one that asks, and the one that keeps its session alive.
    pub(super) fn clients_of(&self, worker: u32) -> (u32, u32) {
        let all = u32::try_from(self.clients.len()).expect("few clients");
        let first = all - 2 * self.plan.workload.locks.workers + 2 * worker;
        (first, first + 1)
    }

    /// Begins the next session that is due, if the worker has none and nothing of the last one is on its way.
    fn begin_lock_session(&mut self, worker: u32) {
        let (asks, keeps) = self.clients_of(worker);
        let is_free = |client: u32| self.clients[client as usize].open.is_none();
        if self.workers[worker as usize].session.is_some() || !is_free(asks) || !is_free(keeps) {
            return;
        }
        while let Some(index) = self.workers[worker as usize].waiting.pop_front() {
            let op = &self.plan.ops[index];
            let OpKind::LockSession { until } = op.kind else { unreachable!("only sessions are due here") };
            if self.now >= until {
                continue;
            }
            let (number, draw) = (op.id, op.draw);
            let (lease, request) = locks::grant(draw);
            let skew_ppm = below(nth(draw, 4), self.plan.workload.locks.skew_ppm + 1);
            let rate_ppm = if permille(nth(draw, 5), 500) { 1_000_000 + skew_ppm } else { 1_000_000 - skew_ppm };
            let session = LockSession {
                number,
                draw,
                until,
                lease,
                ttl_ns: 0,
                rate_ppm,
                asked_at: 0,
                kept_at: 0,
                over_at: 0,
                is_lost: false,
                paused_until: 0,
                has_slept: false,
                stage: Stage::Granting,
                rounds: 0,
                steps: 0,
                ticket: 0,
                asked: None,
                lock_lease: None,
            };
            self.workers[worker as usize].session = Some(session);
            self.lock_asks(worker, request);
            return;
        }
    }

    pub(super) fn lock_session(&mut self, worker: u32) -> &mut LockSession {
        self.workers[worker as usize].session.as_mut().expect("it has a session")
    }

    /// The worker asks for something.
    fn lock_asks(&mut self, worker: u32, request: Request) {
        let (asks, _) = self.clients_of(worker);
        let now = self.now;
        let session = self.lock_session(worker);
        let Some(op) = session.next_op() else { return self.end_lock_session(worker) };
        session.asked_at = now;
        let draw = nth(nth(session.draw, 7), now);
        self.begin(asks, op, draw, request);
    }

    /// The worker does the next thing after a while, or when its process goes on.
    pub(super) fn lock_waits(&mut self, worker: u32, wait_ns: u64) {
        let at = self.now + wait_ns;
        let session = self.lock_session(worker);
        session.ticket += 1;
        let (number, ticket, at) = (session.number, session.ticket, at.max(session.paused_until));
        self.queue.push(at, Event::Lock { worker, session: number, timer: LockTimer::Act(ticket) });
    }

    fn lock_keeps(&mut self, worker: u32, wait_ns: u64) {
        let session = self.lock_session(worker);
        let (number, paused_until) = (session.number, session.paused_until);
        let at = (self.now + wait_ns).max(paused_until);
        self.queue.push(at, Event::Lock { worker, session: number, timer: LockTimer::Keep });
    }

    /// The session is over for its process; what was left undone is left to the lease.
    pub(super) fn end_lock_session(&mut self, worker: u32) {
        self.workers[worker as usize].session = None;
        self.begin_lock_session(worker);
    }

    /// A worker's time has come.
    pub(super) fn lock_timer(&mut self, worker: u32, number: u64, timer: LockTimer) {
        let Some(session) = &mut self.workers[worker as usize].session else { return };
        if session.number != number {
            return;
        }
        if session.paused_until > self.now {
            let at = session.paused_until;
            self.queue.push(at, Event::Lock { worker, session: number, timer });
            return;
        }
        match timer {
            LockTimer::Act(ticket) if ticket == session.ticket => self.lock_acts(worker),
            LockTimer::Act(_) => {}
            LockTimer::Keep => self.keep_lock_session(worker),
        }
    }

    fn keep_lock_session(&mut self, worker: u32) {
        let (_, keeps) = self.clients_of(worker);
        let is_busy = self.clients[keeps as usize].open.is_some();
        let now = self.now;
        let session = self.lock_session(worker);
        if session.is_lost || is_busy {
            return;
        }
        let id = session.lease;
        let Some(op) = session.next_op() else { return };
        session.kept_at = now;
        let draw = nth(nth(session.draw, 8), now);
        self.begin(keeps, op, draw, Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id }));
    }

    /// The keeper's answer arrives.
    fn keeper_answered(&mut self, worker: u32, outcome: &Outcome) {
        let Some(session) = &mut self.workers[worker as usize].session else {
            // The next one has waited for this.
            return self.begin_lock_session(worker);
        };
        let again_ns = match outcome {
            Outcome::Ok(Response::LeaseKeepAlive(told)) if told.ttl > 0 => {
                let kept_at = session.kept_at;
                session.is_alive_from(kept_at);
                session.ttl_ns / 3
            }
            Outcome::Ok(_) => {
                session.is_lost = true;
                return;
            }
            Outcome::Failed(_) | Outcome::Unknown => 50 * MS + below(nth(session.draw, self.now), 100 * MS),
        };
        self.lock_keeps(worker, again_ns);
    }

    /// The worker's answer arrives.
    fn locker_answered(&mut self, worker: u32, outcome: &Outcome) {
        let stage = std::mem::replace(&mut self.lock_session(worker).stage, Stage::Idle);
        match stage {
            Stage::Granting => self.lease_granted(worker, outcome),
            Stage::Idle | Stage::Asking(_) | Stage::Returning | Stage::Proclaiming(..) | Stage::Following(..) => {
                unreachable!("it has asked no client for anything")
            }
            Stage::Acquiring(turn) => self.lock_tried(worker, turn, outcome),
            Stage::Waiting(turn, own) => {
                let is_first = matches!(outcome, Outcome::Ok(response) if Mutex::is_first(response));
                let wait_ns = turn.round.wait_ns(self.now);
                if is_first {
                    let request = turn.mutex.own();
                    self.lock_session(worker).stage = Stage::Confirming(turn, own);
                    self.lock_asks(worker, request);
                } else {
                    self.lock_session(worker).stage = Stage::Waiting(turn, own);
                    self.lock_waits(worker, wait_ns);
                }
            }
            Stage::Confirming(turn, own) => match outcome {
                Outcome::Ok(response) if Mutex::is_alive(response, own) => {
                    self.mark("lock: owned after waiting for others");
                    self.lock_owned(worker, turn, own);
                }
                Outcome::Ok(_) => {
                    self.mark("lock: a waiter lost its lease in the queue");
                    self.end_lock_session(worker);
                }
                Outcome::Failed(_) | Outcome::Unknown => {
                    self.lock_session(worker).stage = Stage::Confirming(turn, own);
                    self.lock_waits(worker, 50 * MS);
                }
            },
            Stage::Writing(turn, own, keeps) => {
                if LockSession::is_fenced_off(outcome) {
                    self.mark("lock: a former owner could not write");
                    return self.end_lock_session(worker);
                }
                let wait_ns = turn.round.wait_ns(self.now) / 2;
                self.lock_session(worker).stage = Stage::Holding(turn, own, keeps);
                self.lock_waits(worker, wait_ns);
            }
            Stage::Holding(..) => unreachable!("an owner that asks for nothing has nothing to hear"),
            Stage::Releasing if matches!(outcome, Outcome::Ok(_)) => self.lock_waits(worker, 10 * MS),
            // Who does not know whether it gave the lock back must not take it again with the same key.
            Stage::Releasing => self.revoke_lock_session(worker),
            Stage::Revoking => self.end_lock_session(worker),
        }
    }

    fn lease_granted(&mut self, worker: u32, outcome: &Outcome) {
        let Outcome::Ok(Response::LeaseGrant(granted)) = outcome else { return self.end_lock_session(worker) };
        let session = self.lock_session(worker);
        session.ttl_ns = u64::try_from(granted.ttl).expect("a positive TTL") * 1_000 * MS;
        let asked_at = session.asked_at;
        session.is_alive_from(asked_at);
        let third_ns = session.ttl_ns / 3;
        self.lock_keeps(worker, third_ns);
        self.lock_waits(worker, 0);
    }

    /// Does what the stage asks for next.
    fn lock_acts(&mut self, worker: u32) {
        if self.stays_to_observe(worker) {
            return;
        }
        let now = self.now;
        let mut has_gone = self.leave_lock_service(worker);
        let session = self.lock_session(worker);
        if matches!(session.stage, Stage::Following(..)) {
            (session.stage, has_gone) = (Stage::Idle, false);
        }
        if has_gone || now >= session.until {
            // One in three processes just dies, and leaves what it has to its lease.
            let dies = below(nth(session.draw, 6), 3) == 0;
            return if dies { self.end_lock_session(worker) } else { self.revoke_lock_session(worker) };
        }
        match session.stage.clone() {
            Stage::Idle => self.next_lock(worker),
            Stage::Acquiring(turn) => self.try_lock(worker, turn),
            Stage::Waiting(turn, own) => self.lock_asks(worker, turn.mutex.before(own)),
            Stage::Confirming(turn, _) => self.lock_asks(worker, turn.mutex.own()),
            Stage::Holding(turn, own, keeps) => self.lock_held(worker, turn, own, keeps),
            Stage::Granting | Stage::Writing(..) | Stage::Releasing | Stage::Revoking => {
                unreachable!("it waits for an answer")
            }
            Stage::Asking(_) | Stage::Returning | Stage::Proclaiming(..) | Stage::Following(..) => {
                unreachable!("it has just left the lock service")
            }
        }
    }

    fn next_lock(&mut self, worker: u32) {
        let (asks, _) = self.clients_of(worker);
        let session = self.lock_session(worker);
        if session.is_lost {
            return self.end_lock_session(worker);
        }
        session.rounds += 1;
        let (round, lease) = (Round::new(session.draw, session.rounds), session.lease);
        let mutex = Mutex::new(round.lock(&self.plan.workload.locks), lease);
        let turn = Turn { mutex, round, by: ClientId(asks), elected: None };
        match round.looks_on(&self.plan.workload.locks) {
            Some(how) => self.look_on(worker, turn, how),
            None => self.try_lock(worker, turn),
        }
    }

    fn try_lock(&mut self, worker: u32, turn: Turn) {
        if turn.round.by_service(&self.plan.workload.locks) {
            return self.ask_for_lock(worker, turn);
        }
        self.observe(Observation::Lock(LockEvent::Wants { mutex: &turn.mutex, worker: turn.by }));
        let session = self.lock_session(worker);
        let request = turn.mutex.acquire(session.next_value());
        session.stage = Stage::Acquiring(turn);
        self.lock_asks(worker, request);
    }

    fn lock_tried(&mut self, worker: u32, turn: Turn, outcome: &Outcome) {
        let tried = match outcome {
            Outcome::Ok(response) => Mutex::acquired(response),
            Outcome::Failed(Status::LeaseNotFound) => return self.end_lock_session(worker),
            Outcome::Failed(_) | Outcome::Unknown => Tried::Again,
        };
        let wait_ns = turn.round.wait_ns(self.now);
        match tried {
            Tried::Owns(own) => return self.lock_owned(worker, turn, own),
            Tried::Waits(own) => {
                self.pause_lock_worker(worker, turn.round, false);
                self.lock_session(worker).stage = Stage::Waiting(turn, own);
            }
            Tried::Again => self.lock_session(worker).stage = Stage::Acquiring(turn),
        }
        self.lock_waits(worker, wait_ns);
    }

    /// Now and then the process stands still: neither does it ask for anything, nor does it keep its session alive.
    pub(super) fn pause_lock_worker(&mut self, worker: u32, round: Round, owns: bool) {
        let ttl_ns = self.lock_session(worker).ttl_ns;
        let pause_ns = round.pause_ns(&self.plan.workload.locks, owns, ttl_ns);
        let until = self.now + pause_ns;
        let session = self.lock_session(worker);
        session.paused_until = until;
        session.has_slept = owns && pause_ns > 0;
    }

    /// The worker takes itself for the owner from now on.
    pub(super) fn lock_owned(&mut self, worker: u32, turn: Turn, own: Revision) {
        let (asks, _) = self.clients_of(worker);
        self.record.begin(self.now, 20, None);
        self.record.number(u64::from(worker));
        self.record.number(own.unsigned_abs());
        self.record.say(|| format!("c{asks} owns {:?} by revision {own}", turn.mutex.key));
        self.observe(Observation::Lock(LockEvent::Owns { mutex: &turn.mutex, created: own, worker: turn.by }));
        let hold_ns = turn.round.hold_ns(&self.plan.workload.locks);
        let keeps = Keeps { until: self.now + hold_ns, writes: turn.round.writes() };
        self.pause_lock_worker(worker, turn.round, true);
        self.lock_session(worker).stage = Stage::Holding(turn, own, keeps);
        self.lock_waits(worker, hold_ns / 4);
    }

    fn lock_held(&mut self, worker: u32, turn: Turn, own: Revision, keeps: Keeps) {
        let now = self.now;
        let session = self.lock_session(worker);
        let has_slept = session.has_slept;
        if session.has_to_stop(now) {
            return self.end_lock_session(worker);
        }
        let writes = if has_slept { keeps.writes.max(1) } else { keeps.writes };
        let by_service = turn.round.by_service(&self.plan.workload.locks);
        if writes > 0 && (now < keeps.until || has_slept) {
            let keeps = Keeps { writes: writes - 1, ..keeps };
            if by_service && turn.round.proclaims(writes) {
                return self.proclaim(worker, turn, own, keeps);
            }
            let session = self.lock_session(worker);
            let value = session.next_value();
            let event = LockEvent::Writes { mutex: &turn.mutex, created: own, value: &value };
            self.observe(Observation::Lock(event));
            let request = turn.mutex.write(own, value);
            self.lock_session(worker).stage = Stage::Writing(turn, own, keeps);
            return self.lock_asks(worker, request);
        }
        if now < keeps.until {
            return self.lock_waits(worker, keeps.until - now);
        }
        if by_service {
            return self.return_lock(worker, &turn);
        }
        self.lock_session(worker).stage = Stage::Releasing;
        self.lock_asks(worker, turn.mutex.unlock());
    }

    pub(super) fn revoke_lock_session(&mut self, worker: u32) {
        let session = self.lock_session(worker);
        session.stage = Stage::Revoking;
        // The session's own lease ends by itself soon enough, if there is another one.
        let id = session.lock_lease.take().unwrap_or(session.lease);
        self.lock_asks(worker, Request::LeaseRevoke(pb::LeaseRevokeRequest { id }));
    }

    /// Gives an answer to the lock worker whose client got it, if it is one's.
    pub(super) fn answer_to_lock_worker(&mut self, role: Role, outcome: &Outcome) {
        match role {
            Role::Locker(worker) => self.locker_answered(worker, outcome),
            Role::Keeper(worker) => self.keeper_answered(worker, outcome),
            Role::Usual | Role::Prober => {}
        }
    }
}
