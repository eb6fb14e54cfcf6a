//! Linearizable reads: rounds that confirm leadership, shared by all reads that wait.
//!
//! A read joins only a round that starts after it arrived. The leader's rounds are raft-rs's ReadIndex with contexts of
//! our own; a follower asks the leader by a message of our own and shares the answer likewise. A confirmed read waits
//! until its index is applied here. Renewing a lease and asking for its remaining time are confirmed like reads.

use crate::api::ReadRequest;
use crate::time::Instant;
use crate::types::{CallId, LeaseId, LogIndex, NodeId, Revision, Term};

/// What waits for a confirmed index.
#[derive(Clone, Debug)]
pub(super) enum Waiter {
    /// A client's read.
    Read {
        /// Its call.
        call: CallId,
        /// What it reads.
        request: ReadRequest,
        /// The term in which it arrived.
        since: Term,
    },
    /// A lease operation of a client of this member, which leads.
    Lease {
        /// Its call.
        call: CallId,
        /// What it wants.
        op: LeaseOp,
    },
    /// A request of another member.
    Forwarded {
        /// Which member.
        peer: NodeId,
        /// Its life.
        boot: u64,
        /// Its request.
        sequence: u64,
        /// `None` for a read index.
        lease: Option<LeaseOp>,
        /// After this nobody waits for the answer any more: the member asks again under another sequence.
        until: Instant,
    },
}

/// What is wanted of the leader's lease clock.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum LeaseOp {
    /// Renew it.
    KeepAlive {
        /// Which.
        lease: LeaseId,
        /// This member's revision when its client asked: the answer's, so that none names a revision after the renewal
        /// (contract, section 1.3). Without meaning when another member asks.
        revision: Revision,
    },
    /// How long has it to live, and which keys?
    TimeToLive(crate::proto::etcdserverpb::LeaseTimeToLiveRequest),
}

impl LeaseOp {
    /// Which lease.
    pub(super) fn lease(&self) -> LeaseId {
        match self {
            LeaseOp::KeepAlive { lease, .. } => *lease,
            LeaseOp::TimeToLive(request) => LeaseId(request.id),
        }
    }
}

/// A round on its way.
pub(super) struct Round {
    /// Names it; never used twice in a life.
    pub(super) id: u64,
    /// The term it asks in.
    pub(super) term: Term,
    /// When it is given up and its reads start anew.
    pub(super) until: Instant,
    waiters: Vec<Waiter>,
}

/// Reads by how far they are.
#[derive(Default)]
pub(super) struct Reads {
    waiting: Vec<Waiter>,
    round: Option<Round>,
    confirmed: Vec<(LogIndex, Waiter)>,
    parked: Vec<Waiter>,
    /// Something changed that who is parked may wait for.
    unpark_wanted: bool,
}

impl Reads {
    /// A read arrives; the next round that starts will carry it.
    pub(super) fn arrive(&mut self, waiter: Waiter) {
        self.waiting.push(waiter);
    }

    /// Whether a round should start now.
    pub(super) fn wants_round(&self) -> bool {
        self.round.is_none() && !self.waiting.is_empty()
    }

    /// Starts a round with everything that waits. `id` names it; it is never used twice in a life.
    pub(super) fn start_round(&mut self, id: u64, term: Term, until: Instant) {
        assert!(self.wants_round(), "a round without need");
        let waiters = std::mem::take(&mut self.waiting);
        self.round = Some(Round { id, term, until, waiters });
    }

    /// A round came back. Rounds that were given up change nothing. Gives the reads that arrived in an earlier term
    /// than the one in which they are confirmed now, and the latter.
    pub(super) fn confirm(&mut self, id: u64, index: LogIndex) -> Vec<(CallId, Term)> {
        if self.round.as_ref().is_none_or(|round| round.id != id) {
            return Vec::new();
        }
        let round = self.round.take().expect("looked at");
        let waited = |waiter: &Waiter| match waiter {
            Waiter::Read { call, since, .. } if *since < round.term => Some((*call, round.term)),
            Waiter::Read { .. } | Waiter::Lease { .. } | Waiter::Forwarded { .. } => None,
        };
        let waited = round.waiters.iter().filter_map(waited).collect();
        self.confirmed.extend(round.waiters.into_iter().map(|waiter| (index, waiter)));
        waited
    }

    /// The round is given up if its time is over or its term is; its reads wait for the next one.
    pub(super) fn give_up_stale(&mut self, now: Instant, term: Term) {
        if self.round.as_ref().is_some_and(|round| round.until <= now || round.term != term) {
            self.give_up();
        }
    }

    fn give_up(&mut self) {
        if let Some(round) = self.round.take() {
            self.waiting.splice(0..0, round.waiters);
        }
    }

    /// Who was asked refuses the round: its reads ask again after the next tick, or as soon as somebody else leads.
    pub(super) fn refused(&mut self, id: u64) {
        if self.round.as_ref().is_some_and(|round| round.id == id) {
            let round = self.round.take().expect("looked at");
            self.parked.extend(round.waiters);
        }
    }

    /// This member does not lead any more: what other members asked is theirs to ask again elsewhere. Lease operations
    /// of its own clients have to be confirmed anew, by a leader whose clock they are to be judged by.
    pub(super) fn step_down(&mut self) {
        self.give_up();
        let (leases, rest) = std::mem::take(&mut self.confirmed)
            .into_iter()
            .partition(|(_, waiter)| matches!(waiter, Waiter::Lease { .. }));
        self.confirmed = rest;
        self.waiting.extend(Vec::into_iter(leases).map(|(_, waiter)| waiter));
        let own = |waiter: &Waiter| !matches!(waiter, Waiter::Forwarded { .. });
        self.waiting.retain(own);
        self.parked.retain(own);
        self.confirmed.retain(|(_, waiter)| own(waiter));
    }

    /// Takes out everything whose index is applied.
    pub(super) fn release(&mut self, applied: LogIndex) -> Vec<(LogIndex, Waiter)> {
        if self.confirmed.iter().all(|(index, _)| *index > applied) {
            return Vec::new();
        }
        let (ready, rest) = std::mem::take(&mut self.confirmed).into_iter().partition(|(index, _)| *index <= applied);
        self.confirmed = rest;
        ready
    }

    /// Lease operations of this member's clients that have no round yet, taken out to be forwarded to the leader.
    pub(super) fn take_lease_ops(&mut self) -> Vec<(CallId, LeaseOp)> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let (leases, rest) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|waiter| matches!(waiter, Waiter::Lease { .. }));
        self.waiting = rest;
        let op = |waiter| match waiter {
            Waiter::Lease { call, op } => (call, op),
            Waiter::Read { .. } | Waiter::Forwarded { .. } => unreachable!("partitioned"),
        };
        leases.into_iter().map(op).collect()
    }

    /// A lease operation's forwarded answer is confirmed at `index`.
    pub(super) fn confirmed_elsewhere(&mut self, index: LogIndex, waiter: Waiter) {
        self.confirmed.push((index, waiter));
    }

    /// A read that cannot be answered yet, although it is confirmed, asks again after the next tick, or as soon as
    /// somebody else leads.
    pub(super) fn park(&mut self, waiter: Waiter) {
        self.parked.push(waiter);
    }

    /// Keeps the calls for which `wants` holds, and what other members still wait for at `now`.
    pub(super) fn retain(&mut self, now: Instant, wants: impl Fn(CallId) -> bool) {
        let wanted = |waiter: &Waiter| match waiter {
            Waiter::Read { call, .. } | Waiter::Lease { call, .. } => wants(*call),
            Waiter::Forwarded { until, .. } => now < *until,
        };
        self.waiting.retain(wanted);
        self.parked.retain(wanted);
        if let Some(round) = &mut self.round {
            round.waiters.retain(wanted);
        }
        self.confirmed.retain(|(_, waiter)| wanted(waiter));
    }

    /// Whether none waits, at whatever stage.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.round.is_none() && self.confirmed.is_empty() && self.parked.is_empty()
    }

    /// How many wait, at whatever stage.
    pub(super) fn len(&self) -> usize {
        let in_round = self.round.as_ref().map_or(0, |round| round.waiters.len());
        self.waiting.len() + in_round + self.confirmed.len() + self.parked.len()
    }

    /// A tick went by, or somebody else leads.
    pub(super) fn unpark(&mut self) {
        self.waiting.append(&mut self.parked);
        self.unpark_wanted = false;
    }

    /// What somebody who is parked may wait for has happened, and more of it may follow at once.
    pub(super) fn unpark_soon(&mut self) {
        self.unpark_wanted = true;
    }

    /// Nothing more of that follows at once.
    pub(super) fn unpark_if_wanted(&mut self) {
        if self.unpark_wanted {
            self.unpark();
        }
    }

    /// When the round is to be given up.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        self.round.as_ref().map(|round| round.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(call: u64) -> Waiter {
        Waiter::Lease { call: CallId(call), op: LeaseOp::KeepAlive { lease: LeaseId(1), revision: 1 } }
    }

    fn forwarded(sequence: u64, until_ms: u64) -> Waiter {
        let until = Instant::from_millis(until_ms);
        Waiter::Forwarded { peer: NodeId(2), boot: 1, sequence, lease: None, until }
    }

    /// Reads at every stage: two wait, two are in a round, two are confirmed, two are parked.
    fn at_every_stage() -> Reads {
        let mut reads = Reads::default();
        reads.arrive(own(1));
        reads.arrive(forwarded(1, 10));
        reads.start_round(1, Term(1), Instant::NEVER);
        reads.confirm(1, LogIndex(5));
        reads.arrive(own(2));
        reads.arrive(forwarded(2, 20));
        reads.start_round(2, Term(1), Instant::NEVER);
        reads.arrive(own(3));
        reads.arrive(forwarded(3, 30));
        reads.park(own(4));
        reads.park(forwarded(4, 40));
        assert_eq!(reads.len(), 8);
        reads
    }

    #[test]
    fn what_other_members_asked_a_leader_goes_with_its_leadership_at_every_stage() {
        let mut reads = at_every_stage();
        reads.step_down();
        assert_eq!(reads.len(), 4);
        reads.confirm(2, LogIndex(6));
        assert!(reads.release(LogIndex(9)).is_empty(), "neither the round nor what it had confirmed counts any more");
        assert_eq!(reads.take_lease_ops().len(), 3, "the next leader is asked");
        reads.unpark();
        assert_eq!(reads.take_lease_ops().len(), 1);
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn what_nobody_waits_for_any_more_is_forgotten_at_every_stage() {
        let mut reads = at_every_stage();
        reads.retain(Instant::from_millis(25), |call| call.0 > 2);
        assert_eq!(reads.len(), 4);
        reads.retain(Instant::from_millis(40), |_| false);
        assert_eq!(reads.len(), 0);
    }

    #[test]
    fn a_read_that_arrived_in_an_earlier_term_than_its_round_is_told_of() {
        let read = |call: u64, since: u64| {
            let request = ReadRequest::MemberList;
            Waiter::Read { call: CallId(call), request, since: Term(since) }
        };
        let mut reads = Reads::default();
        reads.arrive(read(1, 3));
        reads.start_round(7, Term(3), Instant::NEVER);
        assert!(reads.confirm(7, LogIndex(5)).is_empty(), "its term has not changed");
        reads.arrive(read(2, 3));
        reads.start_round(8, Term(3), Instant::NEVER);
        reads.give_up_stale(Instant::from_millis(1), Term(4));
        assert!(reads.confirm(8, LogIndex(5)).is_empty(), "the round is given up");
        reads.arrive(read(3, 4));
        reads.start_round(9, Term(4), Instant::NEVER);
        assert_eq!(reads.confirm(9, LogIndex(6)), [(CallId(2), Term(4))]);
        assert_eq!(reads.release(LogIndex(6)).len(), 3);
    }

    #[test]
    fn a_refused_round_waits_for_a_tick() {
        let mut reads = Reads::default();
        reads.arrive(own(1));
        reads.start_round(1, Term(1), Instant::NEVER);
        reads.refused(7);
        assert!(reads.round.is_some(), "another one was refused");
        reads.refused(1);
        assert!(!reads.wants_round());
        reads.unpark();
        assert!(reads.wants_round());
    }
}
