//! Whether a lease can have existed, from what clients did. Expiry is always possible here: whether it came too early
//! is for `check::leases`.

use std::collections::{BTreeMap, BTreeSet};

use detcd_core::api::{Request, Response};

use super::operation::named;
use crate::history::OpId;

/// What is known of one lease id.
#[derive(Debug, Default)]
struct Life {
    /// Grants of this id that may have happened and have not ended: open ones, and those of unknown outcome.
    loose_grants: BTreeSet<OpId>,
    /// The position at which the first grant of this id was invoked that did not fail.
    granted_from: Option<u64>,
    /// The position at which the newest acknowledged grant returned.
    granted_until: u64,
    /// Invocation and return of the newest acknowledged revocation, and its number.
    revoked: Option<(u64, u64, OpId)>,
}

/// All leases of a history.
#[derive(Debug, Default)]
pub(super) struct LeaseLives {
    lives: BTreeMap<i64, Life>,
    open: BTreeMap<OpId, u64>,
    /// Grants that leave the choice of the id to the server, while open or of unknown outcome: any id may be theirs.
    anonymous: BTreeSet<OpId>,
}

impl LeaseLives {
    pub(super) fn invoked(&mut self, op: OpId, seq: u64, request: &Request) {
        match request {
            Request::LeaseGrant(grant) if grant.id == 0 => {
                self.open.insert(op, seq);
                self.anonymous.insert(op);
            }
            Request::LeaseGrant(grant) => {
                self.open.insert(op, seq);
                let life = self.lives.entry(grant.id).or_default();
                life.loose_grants.insert(op);
                life.granted_from.get_or_insert(seq);
            }
            Request::LeaseRevoke(_) => {
                self.open.insert(op, seq);
            }
            _ => {}
        }
    }

    pub(super) fn failed(&mut self, op: OpId, request: &Request) {
        self.open.remove(&op);
        if let Request::LeaseGrant(grant) = request {
            self.anonymous.remove(&op);
            if let Some(life) = self.lives.get_mut(&grant.id) {
                life.loose_grants.remove(&op);
            }
        }
    }

    pub(super) fn unknown(&mut self, op: OpId, request: &Request) {
        if !matches!(request, Request::LeaseGrant(_)) {
            self.open.remove(&op);
        }
    }

    pub(super) fn answered(&mut self, op: OpId, seq: u64, request: &Request, response: &Response) {
        match (request, response) {
            (Request::LeaseGrant(grant), Response::LeaseGrant(told)) => {
                let invoked = self.open.remove(&op).unwrap_or(seq);
                self.anonymous.remove(&op);
                if let Some(life) = self.lives.get_mut(&grant.id) {
                    life.loose_grants.remove(&op);
                }
                let life = self.lives.entry(told.id).or_default();
                life.granted_from.get_or_insert(invoked);
                life.granted_until = life.granted_until.max(seq);
            }
            (Request::LeaseRevoke(revoke), Response::LeaseRevoke(_)) => {
                let invoked = self.open.remove(&op).unwrap_or(seq);
                self.lives.entry(revoke.id).or_default().revoked = Some((invoked, seq, op));
            }
            _ => {}
        }
    }

    /// Judges that an operation invoked at `invoked` found the lease alive.
    pub(super) fn judge_use(&self, lease: i64, invoked: u64) -> Result<(), String> {
        if !self.anonymous.is_empty() {
            return Ok(());
        }
        let Some(life) = self.lives.get(&lease).filter(|life| life.granted_from.is_some()) else {
            return Err(format!("it used lease {lease:x}, which nobody asked for"));
        };
        match life.revoked {
            Some((from, until, by)) if until < invoked && life.granted_until < from && life.loose_grants.is_empty() => {
                Err(format!("it used lease {lease:x}, which was revoked before it began{}", named(Some(by))))
            }
            _ => Ok(()),
        }
    }

    /// Judges that somebody asked for the lease, whatever became of it.
    pub(super) fn judge_existence(&self, lease: i64) -> Result<(), String> {
        let is_asked_for = self.lives.get(&lease).is_some_and(|life| life.granted_from.is_some());
        if is_asked_for || !self.anonymous.is_empty() {
            return Ok(());
        }
        Err(format!("it lists lease {lease:x}, which nobody asked for"))
    }

    /// Whether the lease may exist for a grant that is refused because it does.
    pub(super) fn may_exist(&self, lease: i64, op: OpId, invoked: u64) -> bool {
        let Some(life) = self.lives.get(&lease) else { return !self.anonymous.is_empty() };
        let others = life.loose_grants.iter().any(|other| *other != op) || !self.anonymous.is_empty();
        let granted = life.granted_until > 0;
        let revoked = life.revoked.is_some_and(|(from, until, _)| until < invoked && life.granted_until < from);
        others || (granted && !revoked)
    }
}
