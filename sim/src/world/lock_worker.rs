//! What a lock worker knows: its session, and how far it is with a lock.

use std::collections::VecDeque;

use bytes::Bytes;
use detcd_core::api::Response;
use detcd_core::proto::v3electionpb::LeaderKey;
use detcd_core::types::Revision;

use crate::history::{ClientId, OpId, Outcome};
use crate::observe::NodeIndex;
use crate::workload::locks::{LooksOn, Mutex, Round, STEPS_MAX};
use crate::workload::padded;

/// One process that takes locks. It has two connections: one for its requests, one that keeps its session alive.
#[derive(Debug, Default)]
pub(super) struct LockWorker {
    /// Sessions that are due, by their places in the plan's list of operations.
    pub waiting: VecDeque<usize>,
    pub session: Option<LockSession>,
}

impl LockWorker {
    /// What it waits for from a lock service, if that is the conversation of this number.
    pub fn asked(&mut self, number: u64) -> Option<&mut Asked> {
        self.session.as_mut()?.asked.as_mut().filter(|asked| asked.number == number)
    }
}

/// A session, from the request for its lease to the end of the process that has it.
#[derive(Debug)]
pub(super) struct LockSession {
    /// The number of its operation; those that it does are numbered from there on.
    pub number: u64,
    pub draw: u64,
    /// When it is to end.
    pub until: u64,
    pub lease: i64,
    /// How long the lease lives, by the worker's own clock; 0 until it is granted.
    pub ttl_ns: u64,
    /// The rate of the worker's clock; a million is right.
    pub rate_ppm: u64,
    /// When the worker, and when its keeper, last asked for something.
    pub asked_at: u64,
    pub kept_at: u64,
    /// The lease must be taken for ended from then on, by the worker's own clock.
    pub over_at: u64,
    /// The keeper was told that the lease has ended.
    pub is_lost: bool,
    /// The process stands still until then.
    pub paused_until: u64,
    /// It has stood still, and does not know yet.
    pub has_slept: bool,
    pub stage: Stage,
    pub rounds: u64,
    pub steps: u64,
    /// Counts its timers: only the last one counts.
    pub ticket: u64,
    /// What it waits for from a lock service.
    pub asked: Option<Asked>,
    /// The lease that a member has made for the lock that it owns.
    pub lock_lease: Option<i64>,
}

/// How far a session is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    /// It waits for its lease.
    Granting,
    /// It wants no lock at present.
    Idle,
    /// It asks for a lock.
    Acquiring(Turn),
    /// It waits until a lock service says that it owns a lock.
    Asking(Turn),
    /// It waits until a lock service says that it has given a lock back.
    Returning,
    /// Its key was created at this revision, and it waits for those that were created before.
    Waiting(Turn, Revision),
    /// Nobody is before it any more; is its own key still there?
    Confirming(Turn, Revision),
    /// It owns the lock until then, and is to write so often.
    Holding(Turn, Revision, Keeps),
    /// It writes to what the lock protects.
    Writing(Turn, Revision, Keeps),
    /// It waits until an election service says that it has proclaimed something as the owner.
    Proclaiming(Turn, Revision, Keeps, Bytes),
    /// It asks a lock service who owns the lock.
    Following(Turn, LooksOn),
    /// It gives the lock back.
    Releasing,
    /// It ends its session.
    Revoking,
}

/// One lock of a session.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    pub mutex: Mutex,
    pub round: Round,
    /// Whose requests decide who owns it: the worker's client, or that of a member's conversation for it.
    pub by: ClientId,
    /// How the election service that says so calls its owner.
    pub elected: Option<Box<LeaderKey>>,
}

/// A request to a lock service that is under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// The conversation's number.
    pub number: u64,
    pub node: NodeIndex,
    /// When the request arrives.
    pub arrives_at: u64,
    /// What the service tells arrives in order.
    pub told_at: u64,
    /// Something that it told was lost with the connection.
    pub is_broken: bool,
}

/// What an owner still does.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keeps {
    pub until: u64,
    pub writes: u64,
}

impl LockSession {
    /// The number of its next operation; none if it has done so many that it has to end.
    pub fn next_op(&mut self) -> Option<OpId> {
        self.steps += 1;
        (self.steps < STEPS_MAX).then_some(OpId(self.number + self.steps))
    }

    /// What the next operation writes: no other one of the run writes the same.
    pub fn next_value(&self) -> Bytes {
        padded(self.number + self.steps + 1, 0, 0)
    }

    /// The lease was acknowledged to live for its whole time from `asked_at` on.
    pub fn is_alive_from(&mut self, asked_at: u64) {
        let own_ns = u128::from(self.ttl_ns) * 1_000_000 / u128::from(self.rate_ppm);
        let own_ns = u64::try_from(own_ns).expect("a lease of a worker is short");
        self.over_at = self.over_at.max(asked_at + own_ns);
    }

    /// Whether an owner has to take its lease for ended, as far as it knows. Who has just stood still does not look at
    /// its clock before it does what it was about to do.
    pub fn has_to_stop(&mut self, now: u64) -> bool {
        if std::mem::take(&mut self.has_slept) {
            return false;
        }
        self.is_lost || now >= self.over_at
    }

    /// Whether it has come to its end, and only goes on to be told who owns a lock.
    pub fn stays(&self, now: u64) -> bool {
        matches!(self.stage, Stage::Following(_, LooksOn::Observes)) && self.is_lost && now >= self.until
    }

    /// Whether the answer to a write says that the lock has gone.
    pub fn is_fenced_off(outcome: &Outcome) -> bool {
        matches!(outcome, Outcome::Ok(Response::Txn(done)) if !done.succeeded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> LockSession {
        LockSession {
            number: 1 << 20,
            draw: 0,
            until: 0,
            lease: 7,
            ttl_ns: 1_000,
            rate_ppm: 1_250_000,
            asked_at: 0,
            kept_at: 0,
            over_at: 0,
            is_lost: false,
            paused_until: 0,
            has_slept: false,
            stage: Stage::Idle,
            rounds: 0,
            steps: 0,
            ticket: 0,
            asked: None,
            lock_lease: None,
        }
    }

    #[test]
    fn an_owner_stops_when_its_own_clock_says_so_but_not_right_after_it_has_slept() {
        let mut session = session();
        session.is_alive_from(100);
        assert_eq!(session.over_at, 900, "a clock that is a quarter too fast measures 1000 ns in 800");
        assert!(!session.has_to_stop(899) && session.has_to_stop(900));
        session.is_alive_from(50);
        assert_eq!(session.over_at, 900, "an older acknowledgement takes nothing back");
        session.has_slept = true;
        assert!(!session.has_to_stop(5_000), "it does not know yet");
        assert!(session.has_to_stop(5_000));
    }

    #[test]
    fn a_session_does_not_do_more_than_it_has_numbers_for() {
        let mut session = session();
        let ops: Vec<OpId> = std::iter::from_fn(|| session.next_op()).collect();
        assert_eq!((ops.len() as u64, ops[0].0), (STEPS_MAX - 1, session.number + 1));
        assert!(ops.last().is_some_and(|op| op.0 < session.number + STEPS_MAX));
    }
}
