//! Whether a refusal can be true at some place between an operation's invocation and its return.

use detcd_core::api::{Request, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::Revision;
use pb::request_op::Request as Op;

use super::leases::LeaseLives;
use super::operation::{Operation, is_linearizable};
use crate::check::model::{NEVER_COMPACTED, Refused, Store, defects, execute};
use crate::history::OpId;

/// Where a refusal is judged.
pub(super) struct Place<'a> {
    pub(super) store: &'a Store,
    pub(super) leases: &'a LeaseLives,
    pub(super) txn_ops_max: usize,
    /// The newest compaction that may have happened by now.
    pub(super) compacted_possible: Revision,
    pub(super) now: u64,
    pub(super) steps: &'a mut u64,
}

impl Place<'_> {
    /// Whether `status` is a legal answer.
    ///
    /// # Errors
    /// Why it is not.
    pub(super) fn allows(&mut self, op: OpId, operation: &Operation, status: Status) -> Result<(), String> {
        if defects(&operation.request, self.txn_ops_max).contains(&status) {
            return Ok(());
        }
        let allowed = match status {
            Status::EmptyKey
            | Status::ValueProvided
            | Status::LeaseProvided
            | Status::TooManyOps
            | Status::DuplicateKey
            | Status::InvalidSortOption
            | Status::LeaseTtlTooLarge => return Err("the request has no such defect".into()),
            Status::KeyNotFound => self.somewhere(operation, status, NEVER_COMPACTED),
            Status::Compacted => self.compacted(operation),
            Status::FutureRevision => self.future(operation),
            Status::LeaseNotFound => names_a_lease(&operation.request),
            Status::LeaseExists => match &operation.request {
                Request::LeaseGrant(grant) => self.leases.may_exist(grant.id, op, operation.invoked),
                _ => false,
            },
            _ => true,
        };
        if allowed { Ok(()) } else { Err(format!("nothing up to position {} of the history allows that", self.now)) }
    }

    /// Whether a sequential etcd would refuse the operation so on the state of some revision at which it may have been.
    fn somewhere(&mut self, operation: &Operation, status: Status, compacted: Revision) -> bool {
        let oldest = if is_linearizable(&operation.request) { operation.floor } else { self.store.floor() };
        if oldest < self.store.floor() {
            return true; // Forgotten: nobody can judge it any more.
        }
        // The newest first: it is nearly always the one.
        (oldest..=self.store.head()).rev().any(|base| {
            *self.steps += 1;
            let refused = execute(self.store, base, compacted, &operation.request, None).err();
            refused == Some(Refused::With(status))
        })
    }

    fn compacted(&mut self, operation: &Operation) -> bool {
        match &operation.request {
            Request::Compact(compact) => compact.revision <= self.compacted_possible,
            Request::Range(range) => range.revision > 0 && range.revision < self.compacted_possible,
            Request::HashKv(hash) => hash.revision > 0 && hash.revision < self.compacted_possible,
            Request::Txn(_) => self.somewhere(operation, Status::Compacted, self.compacted_possible),
            _ => false,
        }
    }

    fn future(&mut self, operation: &Operation) -> bool {
        // What is not linearizable may have been answered by a member as far back as the empty store.
        let oldest = if is_linearizable(&operation.request) { operation.floor } else { 1 };
        match &operation.request {
            Request::Compact(compact) => compact.revision > oldest,
            Request::Range(range) => range.revision > oldest,
            Request::HashKv(hash) => hash.revision > oldest,
            Request::Txn(txn) if is_linearizable(&operation.request) => {
                txn_reads_after(txn, oldest) && self.somewhere(operation, Status::FutureRevision, NEVER_COMPACTED)
            }
            Request::Txn(txn) => txn_reads_after(txn, oldest),
            _ => false,
        }
    }
}

fn txn_reads_after(txn: &pb::TxnRequest, revision: Revision) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestRange(range)) => range.revision > revision,
        Some(Op::RequestTxn(nested)) => txn_reads_after(nested, revision),
        _ => false,
    })
}

fn names_a_lease(request: &Request) -> bool {
    match request {
        Request::Put(put) => put.lease != 0,
        Request::Txn(txn) => txn_names_a_lease(txn),
        Request::LeaseRevoke(_) | Request::LeaseTimeToLive(_) | Request::LeaseKeepAlive(_) => true,
        _ => false,
    }
}

fn txn_names_a_lease(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestPut(put)) => put.lease != 0,
        Some(Op::RequestTxn(nested)) => txn_names_a_lease(nested),
        _ => false,
    })
}
