//! To whom each revision belongs.
//!
//! A revision waits until no operation is open that was there when it came. If nobody acknowledged it by then, it needs
//! an operation of unknown outcome that would have done exactly that. Each of those can own one revision only, so the
//! assignment is a matching: the first free operation that fits gets the revision, those that can do least are asked
//! first, and only where none is free others are moved to their alternatives (an augmenting path). An operation that is
//! the only possible owner of a revision is settled with it and forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::{Event, event::EventType};
use detcd_core::types::Revision;
use pb::request_op::Request as Op;

use super::operation::{Operation, may_write};
use crate::check::model::{KeyRange, NEVER_COMPACTED, Store, execute, show_kv};
use crate::history::OpId;

#[derive(Debug)]
struct Unsettled {
    /// The position of the revision in the history.
    seq: u64,
    owner: Option<OpId>,
    /// It looks like the end of a lease.
    ends_lease: bool,
}

/// Where an operation of unknown outcome is found: by something that it would write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Mark {
    /// It puts this value under this key, and does nothing else.
    Put(Bytes, Bytes),
    /// It puts this key with the value that it has, and does nothing else.
    PutAgain(Bytes),
    /// It deletes this key, and does nothing else.
    Delete(Bytes),
    /// A transaction that may put this value under this key.
    TxnPut(Bytes, Bytes),
    /// A transaction that may put this key with the value that it has.
    TxnPutAgain(Bytes),
    /// A transaction that may delete this key.
    TxnDelete(Bytes),
    /// It may delete a range of keys.
    DeleteRange,
}

/// An operation of unknown outcome.
#[derive(Debug)]
struct Unknown {
    operation: Operation,
    /// The revision that it has got for now, and that one's position in the history.
    owns: Option<(Revision, u64)>,
}

/// What comes of looking for an owner among those that have a revision already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    Found,
    /// None, as far as the states are known; some are forgotten.
    Forgotten,
    None,
}

/// The owners of all revisions.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    unsettled: VecDeque<Unsettled>,
    /// The revision before the first unsettled one; 1, the empty store, at first.
    settled: Option<Revision>,
    unknown: BTreeMap<OpId, Unknown>,
    /// Operations without a revision.
    free: BTreeSet<(Mark, OpId)>,
    /// Operations with a revision that they may still exchange.
    taken: BTreeSet<(Mark, OpId)>,
    /// Revisions whose ownership hangs on states that are forgotten.
    unjudged: u64,
}

impl Ownership {
    /// The newest settled revision.
    pub(super) fn settled(&self) -> Revision {
        self.settled.unwrap_or(1)
    }

    /// Revisions that nobody seems to own, but whose owner may be one that got an older, forgotten one.
    pub(super) fn unjudged(&self) -> u64 {
        self.unjudged
    }

    fn slot(&mut self, revision: Revision) -> Option<&mut Unsettled> {
        let place = usize::try_from(revision - self.settled() - 1).ok()?;
        self.unsettled.get_mut(place)
    }

    /// A revision came at position `seq` of the history.
    pub(super) fn add_revision(&mut self, seq: u64, ends_lease: bool) {
        self.unsettled.push_back(Unsettled { seq, owner: None, ends_lease });
    }

    /// `op` was acknowledged as the one that made `revision`.
    pub(super) fn claim(&mut self, revision: Revision, op: OpId) -> Result<(), String> {
        let Some(slot) = self.slot(revision) else {
            return Err(format!("it claims revision {revision}, which came before it began"));
        };
        match slot.owner {
            Some(other) => Err(format!("it claims revision {revision}, which operation {} made", other.0)),
            None => {
                slot.owner = Some(op);
                Ok(())
            }
        }
    }

    /// Nobody knows how `op` ended: from now on any revision may turn out to be its.
    pub(super) fn add_unknown(&mut self, op: OpId, operation: Operation) {
        // The end of a lease needs no operation, so revocations are not looked for.
        if !may_write(&operation.request) || matches!(operation.request, Request::LeaseRevoke(_)) {
            return;
        }
        for mark in marks(&operation.request) {
            self.free.insert((mark, op));
        }
        self.unknown.insert(op, Unknown { operation, owns: None });
    }

    /// Settles the revisions that came before `open_since`, the position of the oldest open operation's invocation.
    pub(super) fn settle(&mut self, open_since: u64, store: &Store, steps: &mut u64) -> Result<(), String> {
        while self.unsettled.front().is_some_and(|front| front.seq < open_since) {
            let Some(front) = self.unsettled.pop_front() else { break };
            let revision = self.settled() + 1;
            self.settled = Some(revision);
            if front.owner.is_none() && !front.ends_lease {
                self.find_owner(revision, front.seq, store, steps)?;
            }
        }
        Ok(())
    }

    fn find_owner(&mut self, revision: Revision, seq: u64, store: &Store, steps: &mut u64) -> Result<(), String> {
        let marks = self.marks_of(revision, store);
        if let Some(op) = self.free_owner(&marks, revision, seq, store, steps) {
            let alternatives =
                marks.iter().flat_map(|mark| in_index(&self.free, mark).chain(in_index(&self.taken, mark)));
            if alternatives.take(2).all(|other| other == op) {
                self.forget(op);
            } else {
                self.take(op, revision, seq);
            }
            return Ok(());
        }
        let mut tried = BTreeSet::new();
        match self.exchange(revision, seq, store, &mut tried, steps) {
            Exchange::Found => Ok(()),
            Exchange::Forgotten => {
                self.unjudged += 1;
                Ok(())
            }
            Exchange::None => {
                let first = store.events(revision).first().and_then(|event| event.kv.as_ref());
                let shown = first.map_or(String::new(), show_kv);
                let taken = self.needed_elsewhere(revision, seq, &tried, store, steps);
                Err(format!("revision {revision} belongs to no operation: {shown}{taken}"))
            }
        }
    }

    /// A free operation that would have made the revision.
    fn free_owner(&self, marks: &[Mark], revision: Revision, seq: u64, store: &Store, steps: &mut u64) -> Option<OpId> {
        let mut candidates = marks.iter().flat_map(|mark| in_index(&self.free, mark));
        candidates.find(|op| self.fits(*op, revision, seq, store, steps))
    }

    fn fits(&self, op: OpId, revision: Revision, seq: u64, store: &Store, steps: &mut u64) -> bool {
        let operation = &self.unknown[&op].operation;
        *steps += 1;
        operation.invoked < seq
            && operation.floor < revision
            && execute(store, revision - 1, NEVER_COMPACTED, &operation.request, None)
                .is_ok_and(|done| done.events == store.events(revision))
    }

    /// Gives the revision to an operation that has another one, which finds another owner.
    fn exchange(
        &mut self,
        revision: Revision,
        seq: u64,
        store: &Store,
        tried: &mut BTreeSet<OpId>,
        steps: &mut u64,
    ) -> Exchange {
        let marks = self.marks_of(revision, store);
        let candidates: Vec<OpId> = marks.iter().flat_map(|mark| in_index(&self.taken, mark)).collect();
        let mut result = Exchange::None;
        for op in candidates {
            if !tried.insert(op) || !self.fits(op, revision, seq, store, steps) {
                continue;
            }
            let Some((other, other_seq)) = self.unknown[&op].owns else { continue };
            if other <= store.floor() {
                result = Exchange::Forgotten;
                continue;
            }
            let marks = self.marks_of(other, store);
            let moved = match self.free_owner(&marks, other, other_seq, store, steps) {
                Some(successor) => {
                    self.take(successor, other, other_seq);
                    Exchange::Found
                }
                None => self.exchange(other, other_seq, store, tried, steps),
            };
            match moved {
                Exchange::Found => {
                    self.take(op, revision, seq);
                    return Exchange::Found;
                }
                Exchange::Forgotten => result = Exchange::Forgotten,
                Exchange::None => {}
            }
        }
        result
    }

    /// Names the operations that could have made `revision`, or a revision of one that could, and so on, all of which
    /// have revisions that nobody else could have made: one operation less than there are revisions.
    fn needed_elsewhere(
        &self,
        revision: Revision,
        seq: u64,
        tried: &BTreeSet<OpId>,
        store: &Store,
        steps: &mut u64,
    ) -> String {
        let mut revisions = vec![(revision, seq)];
        let mut needed: Vec<(OpId, Revision)> = Vec::new();
        while let Some((revision, seq)) = revisions.pop() {
            for op in tried {
                let new = needed.iter().all(|(other, _)| other != op);
                if let Some(owned) = self.unknown[op].owns
                    && new
                    && self.fits(*op, revision, seq, store, steps)
                {
                    needed.push((*op, owned.0));
                    revisions.push(owned);
                }
            }
        }
        let shown: Vec<String> =
            needed.iter().map(|(op, owned)| format!("operation {} made revision {owned}", op.0)).collect();
        if shown.is_empty() { String::new() } else { format!("; {}", shown.join(", ")) }
    }

    fn take(&mut self, op: OpId, revision: Revision, seq: u64) {
        let Some(unknown) = self.unknown.get_mut(&op) else { return };
        unknown.owns = Some((revision, seq));
        for mark in marks(&unknown.operation.request) {
            let entry = (mark, op);
            self.free.remove(&entry);
            self.taken.insert(entry);
        }
    }

    fn forget(&mut self, op: OpId) {
        if let Some(unknown) = self.unknown.remove(&op) {
            for mark in marks(&unknown.operation.request) {
                self.free.remove(&(mark, op));
            }
        }
    }

    /// Where to look for whoever may have made the revision: where those are that can do least.
    fn marks_of(&self, revision: Revision, store: &Store) -> Vec<Mark> {
        let events = store.events(revision);
        let of = |event: &Event| -> Vec<Mark> {
            let Some(kv) = &event.kv else { return Vec::new() };
            match (event.r#type(), events.len()) {
                (EventType::Put, 1) => vec![
                    Mark::Put(kv.key.clone(), kv.value.clone()),
                    Mark::PutAgain(kv.key.clone()),
                    Mark::TxnPut(kv.key.clone(), kv.value.clone()),
                    Mark::TxnPutAgain(kv.key.clone()),
                ],
                (EventType::Put, _) => {
                    vec![Mark::TxnPut(kv.key.clone(), kv.value.clone()), Mark::TxnPutAgain(kv.key.clone())]
                }
                (EventType::Delete, 1) => {
                    vec![Mark::Delete(kv.key.clone()), Mark::TxnDelete(kv.key.clone()), Mark::DeleteRange]
                }
                (EventType::Delete, _) => vec![Mark::TxnDelete(kv.key.clone()), Mark::DeleteRange],
            }
        };
        // Whoever made the revision made each of its events, so the one with the fewest candidates will do.
        let candidates = |marks: &Vec<Mark>| {
            marks.iter().flat_map(|mark| in_index(&self.free, mark).chain(in_index(&self.taken, mark))).take(8).count()
        };
        events.iter().take(8).map(of).min_by_key(candidates).unwrap_or_default()
    }
}

fn in_index<'a>(index: &'a BTreeSet<(Mark, OpId)>, mark: &Mark) -> impl Iterator<Item = OpId> + use<'a> {
    index.range((mark.clone(), OpId(0))..=(mark.clone(), OpId(u64::MAX))).map(|(_, op)| *op)
}

fn marks(request: &Request) -> Vec<Mark> {
    let mut found = Vec::new();
    match request {
        Request::Put(put) if put.ignore_value => found.push(Mark::PutAgain(put.key.clone())),
        Request::Put(put) => found.push(Mark::Put(put.key.clone(), put.value.clone())),
        Request::DeleteRange(delete) => found.push(match KeyRange::new(&delete.key, &delete.range_end).point() {
            Some(key) => Mark::Delete(key.clone()),
            None => Mark::DeleteRange,
        }),
        Request::Txn(txn) => txn_marks(txn, &mut found),
        _ => {}
    }
    found
}

fn txn_marks(txn: &pb::TxnRequest, found: &mut Vec<Mark>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Op::RequestPut(put)) if put.ignore_value => found.push(Mark::TxnPutAgain(put.key.clone())),
            Some(Op::RequestPut(put)) => found.push(Mark::TxnPut(put.key.clone(), put.value.clone())),
            Some(Op::RequestDeleteRange(delete)) => {
                found.push(match KeyRange::new(&delete.key, &delete.range_end).point() {
                    Some(key) => Mark::TxnDelete(key.clone()),
                    None => Mark::DeleteRange,
                });
            }
            Some(Op::RequestTxn(nested)) => txn_marks(nested, found),
            _ => {}
        }
    }
}
