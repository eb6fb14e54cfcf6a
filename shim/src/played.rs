//! For tests: the asynchronous side with a node that the test plays, through the inbox.

use std::sync::Arc;
use std::time::Duration;

use detcd_core::digest::Digest;
use detcd_core::types::{LogIndex, NodeId, Term};
use detcd_core::{NodeStatus, Phase, Role, StoreView};

use crate::calls::Calls;
use crate::driver::Published;
use crate::host::Host;
use crate::inbox::{Inbox, Item};

/// Calls without a node behind them.
pub struct Played {
    inbox: Arc<Inbox>,
    published: Arc<Published>,
    /// What the services use.
    pub calls: Arc<Calls>,
}

fn status(leader: u64) -> NodeStatus {
    NodeStatus {
        phase: Phase::Serving,
        role: Role::Follower,
        term: Term(1),
        leader: NodeId(leader),
        commit: LogIndex(0),
        applied: LogIndex(0),
        last: LogIndex(0),
        durable: LogIndex(0),
        state: Digest(0),
    }
}

impl Played {
    /// A member that knows a leader and lets `calls_max` calls wait.
    pub fn new(calls_max: usize) -> Played {
        let inbox = Arc::new(Inbox::default());
        let published = Arc::new(Published::new(StoreView::default(), status(1)));
        let timeout = Duration::from_secs(7);
        let calls = Calls::new(Host::start(), Arc::clone(&inbox), Arc::clone(&published), timeout, calls_max);
        Played { inbox, published, calls: Arc::new(calls) }
    }

    /// What came for the node.
    pub fn take(&self) -> Vec<Item> {
        let mut items = Vec::new();
        self.inbox.take(Duration::ZERO, &mut items);
        items
    }

    /// Changes the leader; 0 for nobody.
    pub fn lead(&self, leader: u64) {
        self.published.publish(StoreView::default(), status(leader));
    }
}
