//! To whom each revision belongs.
//!
//! A revision waits until no operation is open that was there when it came. If nobody acknowledged it by then, it needs
//! an operation of unknown outcome that would have done exactly that; since each of those can own one revision only,
//! the assignment is a matching, extended by one augmenting path at a time. An operation that is the only possible owner
//! of a revision is settled with it and forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::event::EventType;
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
    /// It may put this value under this key.
    Put(Bytes, Bytes),
    /// It may put some value under this key.
    PutAny(Bytes),
    /// It may delete this key.
    Delete(Bytes),
    /// It may delete a range of keys.
    DeleteSome,
}

/// The owners of all revisions.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    unsettled: VecDeque<Unsettled>,
    /// The revision before the first unsettled one; 1, the empty store, at first.
    settled: Option<Revision>,
    unknown: BTreeMap<OpId, Operation>,
    index: BTreeSet<(Mark, OpId)>,
    /// Revisions with an owner that may still be exchanged, and whom they could have.
    candidates: BTreeMap<Revision, Vec<OpId>>,
    matched: BTreeMap<OpId, Revision>,
}

impl Ownership {
    /// The newest settled revision.
    pub(super) fn settled(&self) -> Revision {
        self.settled.unwrap_or(1)
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
            self.index.insert((mark, op));
        }
        self.unknown.insert(op, operation);
    }

    fn forget_unknown(&mut self, op: OpId) {
        if let Some(operation) = self.unknown.remove(&op) {
            for mark in marks(&operation.request) {
                self.index.remove(&(mark, op));
            }
        }
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
        let nobody = || {
            let first = store.events(revision).first().and_then(|event| event.kv.as_ref());
            let key = first.map_or(String::new(), show_kv);
            format!("revision {revision} belongs to no operation: {key}")
        };
        let able: Vec<OpId> = self
            .candidates_for(revision, store)
            .into_iter()
            .filter(|op| {
                let operation = &self.unknown[op];
                *steps += 1;
                operation.invoked < seq
                    && operation.floor < revision
                    && execute(store, revision - 1, NEVER_COMPACTED, &operation.request, None)
                        .is_ok_and(|done| done.events == store.events(revision))
            })
            .collect();
        let only = if let [only] = able.as_slice() { Some(*only) } else { None };
        self.candidates.insert(revision, able);
        if !self.augment(revision, &mut BTreeSet::new(), steps) {
            return Err(nobody());
        }
        if let Some(op) = only {
            self.candidates.remove(&revision);
            self.matched.remove(&op);
            self.forget_unknown(op);
        }
        Ok(())
    }

    /// Gives `revision` an owner, moving others to their alternatives if need be.
    fn augment(&mut self, revision: Revision, tried: &mut BTreeSet<OpId>, steps: &mut u64) -> bool {
        for op in self.candidates.get(&revision).cloned().unwrap_or_default() {
            *steps += 1;
            if !self.unknown.contains_key(&op) || !tried.insert(op) {
                continue;
            }
            let free = match self.matched.get(&op).copied() {
                None => true,
                Some(other) => self.augment(other, tried, steps),
            };
            if free {
                self.matched.insert(op, revision);
                return true;
            }
        }
        false
    }

    /// The operations that would write the first event of the revision, or something like it.
    fn candidates_for(&self, revision: Revision, store: &Store) -> BTreeSet<OpId> {
        let mut found = BTreeSet::new();
        let Some(first) = store.events(revision).first() else { return found };
        let Some(kv) = &first.kv else { return found };
        let wanted = match first.r#type() {
            EventType::Put => [Mark::Put(kv.key.clone(), kv.value.clone()), Mark::PutAny(kv.key.clone())],
            EventType::Delete => [Mark::Delete(kv.key.clone()), Mark::DeleteSome],
        };
        for mark in wanted {
            let from = (mark.clone(), OpId(0));
            found.extend(self.index.range(from..=(mark, OpId(u64::MAX))).map(|(_, op)| *op));
        }
        found
    }
}

fn marks(request: &Request) -> Vec<Mark> {
    let mut found = Vec::new();
    match request {
        Request::Put(put) => found.push(put_mark(put)),
        Request::DeleteRange(delete) => found.push(delete_mark(delete)),
        Request::Txn(txn) => txn_marks(txn, &mut found),
        _ => {}
    }
    found
}

fn txn_marks(txn: &pb::TxnRequest, found: &mut Vec<Mark>) {
    for op in txn.success.iter().chain(&txn.failure) {
        match &op.request {
            Some(Op::RequestPut(put)) => found.push(put_mark(put)),
            Some(Op::RequestDeleteRange(delete)) => found.push(delete_mark(delete)),
            Some(Op::RequestTxn(nested)) => txn_marks(nested, found),
            _ => {}
        }
    }
}

fn put_mark(put: &pb::PutRequest) -> Mark {
    if put.ignore_value { Mark::PutAny(put.key.clone()) } else { Mark::Put(put.key.clone(), put.value.clone()) }
}

fn delete_mark(delete: &pb::DeleteRangeRequest) -> Mark {
    match KeyRange::new(&delete.key, &delete.range_end).point() {
        Some(key) => Mark::Delete(key.clone()),
        None => Mark::DeleteSome,
    }
}
