//! Strict serializability of everything that clients did (LIN).
//!
//! etcd names the place of every operation in the one order itself: the revision in its response's header. So nothing
//! is searched: the witness tells what each revision did, a sequential model ([`super::model`]) replays each operation
//! at the place that its header names, and real time is compared with that order. Work per operation is that of the
//! operation itself; only revisions that nobody acknowledged need a (small, incremental) matching with the operations
//! of unknown outcome.
//!
//! Rules and their sources:
//! * Revisions come one by one; each event is what an etcd can do to the state before (contract 1.1 Put, DeleteRange).
//! * An acknowledged write has a revision of its own, and did there, as a whole, exactly what the witness told; its
//!   response is that of a sequential execution on the state before (contract 1.1 Put, Txn, DeleteRange).
//! * A write that changed nothing, a linearizable read and a read of an old revision equal the state at their header's
//!   revision (contract 1.1: the header always has the current revision, also for historic reads).
//! * Real time: an operation's place is not before any revision that was returned to anybody, or (witness told live)
//!   applied anywhere, before it was invoked: what one replica applied is committed, and a linearizable read that
//!   starts later sees it (Raft thesis 6.4). It is not after what existed when it returned.
//! * Serializable reads, and transactions whose reads all are, may be stale: any revision that exists will do (contract
//!   1.1). A transaction without operations counts as serializable.
//! * Every revision belongs to exactly one operation. One that nobody acknowledged needs an operation of unknown
//!   outcome that would have done exactly that there, or is the end of a lease: all its keys, in byte order, and
//!   nothing else (contract 1.3). Unknown stays possible for ever; an operation that failed never owns a revision.
//! * Refusals are judged too: a validation error needs the defect, and a defect forbids success; "compacted" needs a
//!   compaction that may have happened, "future" a place where the revision did not exist yet, "key not found" a place
//!   without the key, "lease already exists" another grant; "lease not found" needs a lease in the request (whether it
//!   comes too early is for [`super::leases`]).
//! * Errors of availability claim only that nothing was done.
//!
//! A verdict names the smallest set of operations that cannot be ordered, given what the witness told: one whose answer
//! fits no place; two that claim one revision, or of which the one that was over before the other began has to come
//! after it; or, for a revision that nobody acknowledged, those that could have made it and are needed elsewhere.

mod lease_keys;
mod leases;
mod open_writes;
mod operation;
mod ownership;
mod refusals;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::mvccpb::Event;
use detcd_core::types::Revision;

use self::leases::LeaseLives;
use self::open_writes::OpenWrites;
use self::operation::{Known, named};
use self::operation::{Operation, is_linearizable, may_write};
pub(super) use self::operation::{header, header_revision};
use self::ownership::Ownership;
use super::model::{NEVER_COMPACTED, Refused, Store, defects, execute, has_effect};
use super::{CheckConfig, Checker, Interest, Violation, Witness};
use crate::history::{HistoryEvent, Nanos, OpId, Outcome};
use crate::observe::{Observation, Observed};
use crate::open::OpenOps;

/// The checker's name.
pub const NAME: &str = "serializability";

/// How many revisions before the newest one are kept for stale reads once a compaction has passed them.
const WINDOW_REVISIONS: Revision = 20_000;

/// An answer that names a revision of which the witness has not told yet (recorded histories only).
#[derive(Debug)]
struct Early {
    op: OpId,
    operation: Box<Operation>,
    response: Response,
}

/// A refusal that nothing known so far allows (recorded histories only, where the witness may lag).
#[derive(Debug)]
struct Suspect {
    op: OpId,
    operation: Operation,
    status: Status,
}

/// Judges a history.
#[derive(Debug)]
pub struct Serializability {
    witness: Witness,
    txn_ops_max: usize,
    store: Store,
    /// The position in the history.
    seq: u64,
    steps: u64,
    unjudged: u64,
    /// The newest revision in any answer so far.
    returned_max: Known,
    /// Boxed, so that the table is small and they need not be moved.
    open: OpenOps<Box<Operation>>,
    /// Open operations that may still claim a revision.
    open_writes: OpenWrites,
    ownership: Ownership,
    leases: LeaseLives,
    early: BTreeMap<Revision, Vec<Early>>,
    suspects: Vec<Suspect>,
    /// The newest compacted revision that was acknowledged, or that the witness told.
    compacted_certain: Known,
    /// How far the store is compacted as the witness tells, whoever asked for it.
    compacted_told: Revision,
    /// Compactions that may have happened, newest revision last; the ones acknowledged and the ones unknown.
    compacted_possible: BTreeSet<(Revision, OpId)>,
}

impl Serializability {
    /// A checker for a run from an empty store.
    pub fn new(config: &CheckConfig) -> Serializability {
        Serializability {
            witness: config.witness,
            txn_ops_max: config.txn_ops_max,
            store: Store::new(),
            seq: 0,
            steps: 0,
            unjudged: 0,
            returned_max: Known { revision: 1, by: None },
            open: OpenOps::default(),
            open_writes: OpenWrites::default(),
            ownership: Ownership::default(),
            leases: LeaseLives::default(),
            early: BTreeMap::new(),
            suspects: Vec::new(),
            compacted_certain: Known { revision: NEVER_COMPACTED, by: None },
            compacted_told: NEVER_COMPACTED,
            compacted_possible: BTreeSet::new(),
        }
    }

    /// Work done so far, in executions of an operation on a state.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// What could not be judged: answers staler than what is kept, and revisions whose ownership hangs on what is not.
    pub fn unjudged(&self) -> u64 {
        self.unjudged + self.ownership.unjudged()
    }

    /// Judges one line of a history.
    ///
    /// # Errors
    /// What this line proves to be wrong, in one line.
    pub fn take(&mut self, event: &HistoryEvent) -> Result<(), String> {
        self.seq += 1;
        match event {
            HistoryEvent::Invoke { op, request, .. } => self.invoke(*op, request),
            HistoryEvent::Return { op, outcome } => self.end(*op, outcome),
            HistoryEvent::Revision { revision, events } => self.revision(*revision, events),
            HistoryEvent::Compaction { revision } => {
                self.compacted_told = self.compacted_told.max(*revision);
                self.compacted_certain.raise(*revision, None);
                Ok(())
            }
            HistoryEvent::WatchReceive { response, .. } => {
                let newest = response.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
                self.returned_max.raise(newest, None);
                Ok(())
            }
            HistoryEvent::WatchOpen { .. } | HistoryEvent::WatchEnd { .. } => Ok(()),
        }
    }

    /// The history is over.
    ///
    /// # Errors
    /// What its end proves to be wrong, in one line.
    pub fn close(&mut self) -> Result<(), String> {
        if let Some((revision, early)) = self.early.first_key_value() {
            let ops: Vec<String> = early.iter().map(|early| early.op.0.to_string()).collect();
            return Err(format!(
                "operation {} was answered with revision {revision}, but the newest is {}",
                ops.join(", "),
                self.store.head()
            ));
        }
        for suspect in std::mem::take(&mut self.suspects) {
            self.judge_refusal(suspect.op, &suspect.operation, suspect.status, true)?;
        }
        for (op, operation) in std::mem::take(&mut self.open).into_sorted() {
            self.outcome_unknown(op, *operation);
        }
        self.open_writes = OpenWrites::default();
        self.settle()
    }

    fn invoke(&mut self, op: OpId, request: &Request) -> Result<(), String> {
        let told = match self.witness {
            Witness::Live => self.store.head(),
            Witness::Recorded => 1,
        };
        let operation = Operation {
            request: request.clone(),
            invoked: self.seq,
            floor: told.max(self.returned_max.revision),
            returned: self.returned_max,
            compacted: self.compacted_certain,
        };
        if may_write(request) {
            self.open_writes.begin(self.seq);
        }
        self.leases.invoked(op, self.seq, request);
        if let Request::Compact(compact) = request {
            self.compacted_possible.insert((compact.revision, op));
        }
        match self.open.insert(op, Box::new(operation)) {
            None => Ok(()),
            Some(_) => Err(format!("operation {} was invoked twice", op.0)),
        }
    }

    fn end(&mut self, op: OpId, outcome: &Outcome) -> Result<(), String> {
        let Some(operation) = self.open.remove(op) else {
            return Err(format!("operation {} returned without being open", op.0));
        };
        self.open_writes.end(operation.invoked);
        match outcome {
            Outcome::Ok(response) => self.answered(op, operation, response)?,
            Outcome::Failed(status) => {
                self.leases.failed(op, &operation.request);
                if let Request::Compact(compact) = &operation.request {
                    self.compacted_possible.remove(&(compact.revision, op));
                }
                self.judge_refusal(op, &operation, *status, self.witness == Witness::Live)?;
            }
            Outcome::Unknown => self.outcome_unknown(op, *operation),
        }
        self.settle()
    }

    fn outcome_unknown(&mut self, op: OpId, operation: Operation) {
        self.leases.unknown(op, &operation.request);
        self.ownership.add_unknown(op, operation);
    }

    fn answered(&mut self, op: OpId, operation: Box<Operation>, response: &Response) -> Result<(), String> {
        let Some(header) = header_revision(response) else {
            return Ok(()); // Cluster calls leave the revision unset (contract, section 1).
        };
        if header < 1 {
            return Err(format!("operation {} was answered with header revision {header}", op.0));
        }
        self.leases.answered(op, self.seq, &operation.request, response);
        self.returned_max.raise(header, Some(op));
        if header <= self.store.head() {
            return self.judge(op, &operation, response, header);
        }
        match self.witness {
            Witness::Live => Err(format!(
                "operation {} was answered with revision {header}, but the newest is {}",
                op.0,
                self.store.head()
            )),
            Witness::Recorded => {
                let response = response.clone();
                self.early.entry(header).or_default().push(Early { op, operation, response });
                Ok(())
            }
        }
    }

    fn revision(&mut self, revision: Revision, events: &Arc<[Event]>) -> Result<(), String> {
        let ends_lease = self.store.ends_a_lease(events);
        self.store.append(revision, events)?;
        self.ownership.add_revision(self.seq, ends_lease);
        for early in self.early.remove(&revision).unwrap_or_default() {
            self.judge(early.op, &early.operation, &early.response, revision)?;
        }
        for suspect in std::mem::take(&mut self.suspects) {
            self.judge_refusal(suspect.op, &suspect.operation, suspect.status, false)?;
        }
        self.settle()
    }

    /// Judges an answer whose header's revision exists.
    fn judge(&mut self, op: OpId, operation: &Operation, response: &Response, header: Revision) -> Result<(), String> {
        let wrong = |what: String| format!("operation {} ({}): {what}", op.0, operation.summary());
        if let Some(status) = defects(&operation.request, self.txn_ops_max).iter().min() {
            return Err(wrong(format!("it succeeded, but had to be refused: {status}")));
        }
        if has_effect(response) && header == 1 {
            return Err(wrong("it wrote something in revision 1, that of the empty store".to_string()));
        }
        if is_linearizable(&operation.request) && header < operation.floor {
            // If it fits no place even by itself, no other operation is needed to say so.
            self.fits_alone(operation, response, header).map_err(wrong)?;
            let existed = operation.existed(header);
            return Err(wrong(format!("it was answered with revision {header}, but {existed}")));
        }
        match (&operation.request, response) {
            (Request::Compact(compact), Response::Compact(_)) => {
                self.judge_compaction(operation, compact.revision, header).map_err(wrong)?;
                self.compacted_certain.raise(compact.revision, Some(op));
                self.forget();
                Ok(())
            }
            (Request::LeaseGrant(_), Response::LeaseGrant(_)) => Ok(()),
            (Request::LeaseRevoke(revoke), Response::LeaseRevoke(_)) => {
                self.leases.judge_use(revoke.id, operation.invoked).map_err(wrong)?;
                self.judge_revocation(revoke.id, header).map_err(wrong)
            }
            (Request::LeaseTimeToLive(asked), Response::LeaseTimeToLive(told)) => {
                self.judge_keys(asked.keys, told, header).map_err(wrong)
            }
            (Request::LeaseLeases(_), Response::LeaseLeases(told)) => {
                // A member that lags lists leases that are long gone, but none that nobody asked for.
                told.leases.iter().try_for_each(|lease| self.leases.judge_existence(lease.id)).map_err(wrong)
            }
            (Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) | Request::Txn(_), _) => {
                self.judge_kv(op, operation, response, header).map_err(wrong)
            }
            _ => Ok(()),
        }
    }

    /// Whether the answer is that of the revision that its header names, whenever that was.
    fn fits_alone(&mut self, operation: &Operation, response: &Response, header: Revision) -> Result<(), String> {
        let base = header - Revision::from(has_effect(response));
        let is_kv = matches!(
            operation.request,
            Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) | Request::Txn(_)
        );
        if !is_kv || base < self.store.floor() {
            return Ok(());
        }
        self.steps += 1;
        match execute(&self.store, base, NEVER_COMPACTED, &operation.request, Some(response)) {
            Ok(done) if has_effect(response) && done.events != self.store.events(header) => {
                Err(differs(header, &done.events, self.store.events(header)))
            }
            Ok(_) => Ok(()),
            Err(Refused::With(status)) => Err(format!("at revision {header} it had to be refused: {status}")),
            Err(Refused::Otherwise(what)) => Err(format!("at revision {header} {what}")),
        }
    }

    fn judge_compaction(&self, operation: &Operation, revision: Revision, header: Revision) -> Result<(), String> {
        if revision > header {
            return Err(format!("it compacted at {revision}, a future revision at {header}"));
        }
        let Known { revision: compacted, by } = operation.compacted;
        if revision <= compacted {
            return Err(format!("it succeeded, but {compacted} was compacted before it began{}", named(by)));
        }
        Ok(())
    }

    fn judge_kv(
        &mut self,
        op: OpId,
        operation: &Operation,
        response: &Response,
        header: Revision,
    ) -> Result<(), String> {
        let effect = has_effect(response);
        let base = if effect { header - 1 } else { header };
        if base < self.store.floor() {
            self.unjudged += 1;
            return Ok(());
        }
        let before = operation.compacted;
        let compacted = if is_linearizable(&operation.request) { before.revision } else { NEVER_COMPACTED };
        self.steps += 1;
        let done =
            execute(&self.store, base, compacted, &operation.request, Some(response)).map_err(
                |refused| match refused {
                    Refused::With(status) => {
                        let by = named(before.by.filter(|_| status == Status::Compacted));
                        format!("at revision {header} it had to be refused: {status}{by}")
                    }
                    Refused::Otherwise(what) => format!("at revision {header} {what}"),
                },
            )?;
        for lease in done.leases {
            self.leases.judge_use(lease, operation.invoked)?;
        }
        if !effect {
            return Ok(());
        }
        if done.events != self.store.events(header) {
            return Err(differs(header, &done.events, self.store.events(header)));
        }
        if header <= operation.floor {
            return Err(format!("it wrote revision {header}, but {}", operation.existed(header - 1)));
        }
        self.ownership.claim(header, op)
    }

    fn judge_refusal(&mut self, op: OpId, operation: &Operation, status: Status, last: bool) -> Result<(), String> {
        let legal = refusals::Place {
            store: &self.store,
            leases: &self.leases,
            txn_ops_max: self.txn_ops_max,
            compacted_possible: self
                .compacted_possible
                .last()
                .map_or(self.compacted_told, |(revision, _)| self.compacted_told.max(*revision)),
            now: self.seq,
            steps: &mut self.steps,
        }
        .allows(op, operation, status);
        match legal {
            Ok(()) => Ok(()),
            Err(why) if last => {
                Err(format!("operation {} ({}) was refused with \"{status}\", but {why}", op.0, operation.summary()))
            }
            Err(_) => {
                self.suspects.push(Suspect { op, operation: operation.clone(), status });
                Ok(())
            }
        }
    }

    /// Settles every revision that no open operation can own any more.
    fn settle(&mut self) -> Result<(), String> {
        let open_since = self.open_writes.since().unwrap_or(u64::MAX);
        self.ownership.settle(open_since, &self.store, &mut self.steps)?;
        self.forget();
        Ok(())
    }

    fn forget(&mut self) {
        let settled = self.ownership.settled();
        let limit = self.compacted_certain.revision.min(settled).min(self.store.head() - WINDOW_REVISIONS);
        if limit > self.store.floor() {
            self.store.forget_below(limit);
        }
    }
}

fn differs(header: Revision, done: &[Event], told: &[Event]) -> String {
    format!("it claims revision {header}, which did something else ({} events, not {})", told.len(), done.len())
}

impl Checker for Serializability {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::HISTORY
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        match seen.what {
            Observation::History(event) => self.take(event).map_err(|detail| Violation::safety(NAME, seen.at, detail)),
            _ => Ok(()),
        }
    }

    fn finish(&mut self, at: Nanos) -> Result<(), Violation> {
        self.close().map_err(|detail| Violation::safety(NAME, at, detail))
    }
}
