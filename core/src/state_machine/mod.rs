//! The replicated state: a function of the entries applied, and of nothing else.
//!
//! Knows revision, key, lease, member; does not know term, leader, peer, disk or time.

pub(crate) mod alarm;
mod command;
pub(crate) mod hash;
mod history;
mod index_key;
pub(crate) mod key_range;
pub(crate) mod lease;
pub(crate) mod members;
pub(crate) mod mvcc;
mod packed;
mod plain_put;
mod put;
pub(crate) mod range;
pub(crate) mod record;
pub(crate) mod store;
pub(crate) mod txn;
mod view;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use command::encode_request;
pub use command::{Command, CommandError, MemberAction, MemberAttributes, MemberChange, PlainPut, bootstrap_entries};
pub use key_range::KeyRange;
pub use lease::{LEASE_TTL_MAX_S, LeaseRecord, LeaseTime};
pub use mvcc::SWEEP_RECORDS_MAX;
pub use put::Put;
pub use record::{Contents, Position, Record};
pub use view::StoreView;

use crate::api::{Response, Status};
use crate::config::Member;
use crate::digest::Digest;
use crate::types::{ClusterId, LeaseId, LogIndex};
use members::Members;
use store::Store;

/// What applying an entry gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// What whoever proposed the entry is told. The header carries only the revision. An entry that asks for nothing
    /// is answered with the members.
    pub result: Result<Response, Status>,
    /// What happened to leases, in order; the leader's clock wants to know.
    pub leases: Vec<LeaseChange>,
}

/// Whether whoever proposed an entry waits where it is applied. Every member applies it, and one of them answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asker {
    /// The answer will be sent.
    Waits,
    /// Nobody hears it: what it would say of former values and of what was read is left out.
    IsElsewhere,
}

/// What happened to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseChange {
    /// It was granted.
    Granted {
        /// The lease.
        id: LeaseId,
        /// How long it lives without being renewed, in seconds.
        ttl_s: i64,
    },
    /// A checkpoint of its remaining time was applied.
    Checkpointed {
        /// The lease.
        id: LeaseId,
        /// What a leader that takes it over grants it, in seconds; 0 for its full time.
        remaining_s: i64,
    },
    /// It was revoked, with its keys.
    Gone {
        /// The lease.
        id: LeaseId,
    },
}

/// The replicated state machine. **The law of apply**: what an entry does depends on the state and the entry alone.
#[derive(Clone, Debug)]
pub struct StateMachine {
    /// Written in place while nobody else holds it, else copied where it is written.
    view: StoreView,
    digest: Digest,
}

impl Default for StateMachine {
    fn default() -> StateMachine {
        StateMachine::from_store(Store::default())
    }
}

impl StateMachine {
    /// The state in which every founder begins: that after [`bootstrap_entries`], without applying them.
    pub fn genesis(cluster_id: ClusterId, members: &[Member]) -> StateMachine {
        let applied = LogIndex(members.len() as u64);
        let members = Members::founded_by(members);
        StateMachine::from_store(Store { cluster_id, applied, members, ..Store::default() })
    }

    pub(crate) fn from_store(store: Store) -> StateMachine {
        StateMachine { digest: store.digest(), view: StoreView { store: Arc::new(store) } }
    }

    /// Applies the entry at `index`, which must be the one after the last; panics otherwise, for that is our mistake.
    pub fn apply(&mut self, index: LogIndex, command: &Command<'_>) -> Applied {
        self.apply_for(index, command, Asker::Waits)
    }

    /// The same, with an answer that is whole only if somebody waits for it here. The state does not depend on that.
    pub fn apply_for(&mut self, index: LogIndex, command: &Command<'_>, asker: Asker) -> Applied {
        let store = Arc::make_mut(&mut self.view.store);
        let applied = store.apply(index, command, asker);
        self.digest = store.digest();
        applied
    }

    /// The state as it is now, for good: O(1).
    pub fn view(&self) -> StoreView {
        self.view.clone()
    }

    /// The state as it is now, until the next entry is applied. Who keeps a clone of it makes that entry dearer.
    pub(crate) fn as_view(&self) -> &StoreView {
        &self.view
    }

    /// The last entry applied.
    pub fn applied(&self) -> LogIndex {
        self.view.store.applied
    }

    /// The digest of the state: equal on all members at the same applied index. O(1).
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The same digest, computed from the contents. O(n).
    pub fn recompute_digest(&self) -> Digest {
        self.view.store.recompute_digest()
    }
}
