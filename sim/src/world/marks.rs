//! Rare places that no member can know of by itself: they take what several members did, or what a client saw.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::proto::etcdserverpb::response_op::Response as OpResponse;
use detcd_core::types::{CallId, LeaseId, LogIndex, NodeId, Term};
use detcd_core::{Note, Role};
use smallvec::SmallVec;

use super::World;
use crate::history::{HistoryEvent, OpId, Outcome};
use crate::observe::NodeIndex;
use crate::open::OpenOps;

const LEASE_AFTER_LEADER: &str = "lease: expired after a change of leader";
const READ_ACROSS_ELECTION: &str = "read: confirmed across an election";
const UNKNOWN_WRITE_SEEN: &str = "client: a write of unknown outcome was seen later";

/// What has to be remembered to tell them.
#[derive(Debug, Default)]
pub(super) struct RarePlaces {
    leases: LeaseEnds,
    writes: UnknownWrites,
    /// When the leader of each term began to lead, and who it is.
    elected: BTreeMap<Term, (u64, NodeId)>,
}

impl World<'_> {
    /// A rare place was reached.
    pub(super) fn mark(&mut self, mark: &'static str) {
        *self.marks.entry(mark).or_default() += 1;
    }

    /// Learns from what happened in a step of a member that notes something rare.
    pub(super) fn learn_notes(&mut self, node: NodeIndex, notes: &[Note]) {
        let mut entry_term = Term(0);
        for note in notes {
            match note {
                Note::Mark(mark) => self.mark(mark),
                Note::Applied { term, .. } => entry_term = *term,
                Note::Role { role: Role::Leader, term, leader } => {
                    self.rare.elected.entry(*term).or_insert((self.now, *leader));
                }
                Note::ReadConfirmed { call, term } => self.read_confirmed(node, *call, *term),
                _ => {}
            }
            let leads = |term: Term| self.rare.elected.get(&term).map(|(_, leader)| *leader);
            if self.rare.leases.note(note, entry_term, leads) {
                self.mark(LEASE_AFTER_LEADER);
            }
        }
    }

    /// A read was confirmed that its member took for one of an earlier term.
    fn read_confirmed(&mut self, node: NodeIndex, call: CallId, term: Term) {
        let caller = self.hosts[node].calls.get(call);
        if caller.is_some_and(|caller| is_across_election(&self.rare.elected, caller.arrived_at, term)) {
            self.mark(READ_ACROSS_ELECTION);
        }
    }

    /// Learns from what a client did or saw.
    pub(super) fn learn_history(&mut self, event: &HistoryEvent) {
        if let HistoryEvent::Invoke { request: Request::LeaseRevoke(revoke), .. } = event {
            self.rare.leases.asked.insert(LeaseId(revoke.id));
        }
        for _ in 0..self.rare.writes.history(event) {
            self.mark(UNKNOWN_WRITE_SEEN);
        }
    }
}

/// Whether the leader of `term` was elected after something arrived, and another one before. A member that is behind
/// its time takes an old election for a new one.
fn is_across_election(elected: &BTreeMap<Term, (u64, NodeId)>, arrived_at: u64, term: Term) -> bool {
    let is_later = elected.get(&term).is_some_and(|(at, _)| arrived_at < *at);
    is_later && elected.range(..term).any(|(_, (at, _))| *at <= arrived_at)
}

/// Leases that the clock of one leader ended, and that were granted under another.
#[derive(Debug, Default)]
struct LeaseEnds {
    /// The newest entry that granted or ended one: other members tell of the same again.
    newest: LogIndex,
    /// In which term each living lease was granted.
    granted: BTreeMap<LeaseId, Term>,
    /// In which term a leader's clock last said that it ended.
    expired: BTreeMap<LeaseId, Term>,
    /// Those that a client asked to revoke: what ended them cannot be told.
    asked: BTreeSet<LeaseId>,
}

impl LeaseEnds {
    /// Whether a note of a member, in an entry of this term if it is about one, ends such a lease. `leads` knows who
    /// leads a term.
    fn note(&mut self, note: &Note, entry_term: Term, leads: impl Fn(Term) -> Option<NodeId>) -> bool {
        match note {
            Note::LeaseGranted { lease, index } if *index > self.newest => {
                self.newest = *index;
                self.granted.insert(*lease, entry_term);
                false
            }
            Note::LeaseExpired { lease, term } => {
                self.expired.insert(*lease, *term);
                false
            }
            Note::LeaseGone { lease, index } if *index > self.newest => {
                self.newest = *index;
                let (granted, expired) = (self.granted.remove(lease), self.expired.remove(lease));
                let by_clock = expired == Some(entry_term) && !self.asked.contains(lease);
                by_clock && granted.is_some_and(|granted| leads(granted) != leads(entry_term))
            }
            _ => false,
        }
    }
}

/// What an operation writes, most of the time one value.
type Values = SmallVec<[Bytes; 1]>;

/// Writes whose clients do not know what became of them.
#[derive(Debug, Default)]
struct UnknownWrites {
    /// The values of operations under way; no two writes of a run have the same.
    open: OpenOps<Values>,
    /// The values of those that ended without an answer, and whose they are.
    unknown: BTreeMap<Bytes, OpId>,
}

impl UnknownWrites {
    /// How many of them a client saw the effect of by this event, for the first time.
    fn history(&mut self, event: &HistoryEvent) -> usize {
        match event {
            HistoryEvent::Invoke { op, request, .. } => {
                let mut values = Values::new();
                put_values(request, &mut values);
                if !values.is_empty() {
                    self.open.insert(*op, values);
                }
                0
            }
            HistoryEvent::Return { op, outcome } => {
                let written = self.open.remove(*op);
                match outcome {
                    Outcome::Unknown => {
                        self.unknown.extend(written.into_iter().flatten().map(|value| (value, *op)));
                        0
                    }
                    Outcome::Ok(_) if self.unknown.is_empty() => 0,
                    Outcome::Ok(Response::Range(found)) => self.seen_range(found),
                    Outcome::Ok(Response::Txn(done)) => self.seen_txn(done),
                    Outcome::Ok(_) | Outcome::Failed(_) => 0,
                }
            }
            HistoryEvent::WatchReceive { response, .. } if !self.unknown.is_empty() => {
                let kvs = response.events.iter().flat_map(|event| &event.kv);
                kvs.map(|kv| self.seen(&kv.value)).sum()
            }
            _ => 0,
        }
    }

    fn seen(&mut self, value: &Bytes) -> usize {
        let Some(op) = self.unknown.get(value).copied() else { return 0 };
        self.unknown.retain(|_, other| *other != op);
        1
    }

    fn seen_range(&mut self, found: &pb::RangeResponse) -> usize {
        found.kvs.iter().map(|kv| self.seen(&kv.value)).sum()
    }

    fn seen_txn(&mut self, done: &pb::TxnResponse) -> usize {
        let seen = |response: &pb::ResponseOp| match &response.response {
            Some(OpResponse::ResponseRange(found)) => self.seen_range(found),
            Some(OpResponse::ResponseTxn(nested)) => self.seen_txn(nested),
            _ => 0,
        };
        done.responses.iter().map(seen).sum()
    }
}

fn put_values(request: &Request, values: &mut Values) {
    match request {
        Request::Put(put) if !put.ignore_value => values.push(put.value.clone()),
        Request::Txn(txn) => txn_values(txn, values),
        _ => {}
    }
}

fn txn_values(txn: &pb::TxnRequest, values: &mut Values) {
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Op::RequestPut(put)) if !put.ignore_value => values.push(put.value.clone()),
            Some(Op::RequestTxn(nested)) => txn_values(nested, values),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::observations::{
        answered, bytes, failed, invoke, invoke_get, put_answered, range_answered, unknown,
    };
    use detcd_core::api::Status;
    use detcd_core::proto::mvccpb::KeyValue;

    const L: LeaseId = LeaseId(7);

    fn granted(index: u64) -> Note {
        Note::LeaseGranted { lease: L, index: LogIndex(index) }
    }

    fn gone(index: u64) -> Note {
        Note::LeaseGone { lease: L, index: LogIndex(index) }
    }

    fn expired(term: u64) -> Note {
        Note::LeaseExpired { lease: L, term: Term(term) }
    }

    /// Notes with the terms of their entries; member 1 leads the odd terms, member 2 the even ones.
    fn ends(ends: &mut LeaseEnds, notes: &[(Note, u64)]) -> usize {
        let leads = |term: Term| Some(NodeId(2 - term.0 % 2));
        notes.iter().filter(|(note, term)| ends.note(note, Term(*term), leads)).count()
    }

    #[test]
    fn a_lease_that_another_leaders_clock_ended_counts_once() {
        let told = [(granted(5), 1), (granted(5), 1), (expired(2), 0), (gone(9), 2), (gone(9), 2)];
        assert_eq!(ends(&mut LeaseEnds::default(), &told), 1);
    }

    #[test]
    fn a_lease_that_ended_under_the_same_leader_or_by_a_client_does_not_count() {
        let told = |notes: &[(Note, u64)]| ends(&mut LeaseEnds::default(), notes);
        assert_eq!(told(&[(granted(5), 1), (expired(1), 0), (gone(9), 1)]), 0, "the same leader");
        assert_eq!(told(&[(granted(5), 1), (expired(3), 0), (gone(9), 3)]), 0, "the same leader in a later term");
        assert_eq!(told(&[(granted(5), 1), (gone(9), 2)]), 0, "no clock said so");
        assert_eq!(told(&[(granted(5), 1), (expired(2), 0), (gone(9), 3)]), 0, "another proposal than that clock's");
        let mut revoked = LeaseEnds::default();
        revoked.asked.insert(L);
        assert_eq!(ends(&mut revoked, &[(granted(5), 1), (expired(2), 0), (gone(9), 2)]), 0, "a client asked for it");
    }

    #[test]
    fn an_election_before_a_read_arrived_is_not_one_that_it_waited_through() {
        let elected = [(Term(1), (10, NodeId(1))), (Term(3), (50, NodeId(2)))].into();
        let across = |arrived_at: u64, term: u64| is_across_election(&elected, arrived_at, Term(term));
        assert!(across(10, 3) && across(49, 3));
        assert!(!across(50, 3), "its member only heard late of the election");
        assert!(!across(9, 3), "there had been no leader to turn to");
        assert!(!across(9, 1) && !across(20, 2));
    }

    fn put(op: u64, value: &str) -> HistoryEvent {
        let put = pb::PutRequest { key: bytes("k"), value: bytes(value), ..Default::default() };
        invoke(op, 1, Request::Put(put))
    }

    fn read(op: u64, value: &str) -> [HistoryEvent; 2] {
        let kv = KeyValue { key: bytes("k"), value: bytes(value), ..Default::default() };
        let found = pb::RangeResponse { kvs: vec![kv], ..Default::default() };
        [invoke_get(op, 2, "k"), answered(op, Response::Range(found))]
    }

    fn seen(events: impl IntoIterator<Item = HistoryEvent>) -> usize {
        let mut writes = UnknownWrites::default();
        events.into_iter().map(|event| writes.history(&event)).sum()
    }

    #[test]
    fn a_write_without_an_answer_that_a_client_reads_later_counts_once() {
        let twice = [read(2, "a"), read(3, "a")].into_iter().flatten();
        assert_eq!(seen([put(1, "a"), unknown(1)].into_iter().chain(twice)), 1);
    }

    #[test]
    fn a_write_that_was_answered_or_refused_or_that_nobody_saw_does_not_count() {
        let then_read = |first: Vec<HistoryEvent>| seen(first.into_iter().chain(read(9, "a")));
        assert_eq!(then_read(vec![put(1, "a"), put_answered(1, 5)]), 0);
        assert_eq!(then_read(vec![put(1, "a"), failed(1, Status::NoSpace)]), 0);
        assert_eq!(then_read(vec![put(1, "a")]), 0, "its client still waits");
        assert_eq!(then_read(vec![put(1, "b"), unknown(1)]), 0, "another write was seen");
        assert_eq!(seen([put(1, "a"), unknown(1), invoke_get(2, 2, "k"), range_answered(2, 1, 5)]), 0);
    }
}
