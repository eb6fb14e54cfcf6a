//! What a write is told whose time is over before its outcome is known: what the cause may be, by what this member
//! knows of leaders and links (contract, section 2).

use std::collections::BTreeMap;

use super::member::Member;
use crate::api::Status;
use crate::time::Instant;
use crate::types::NodeId;

/// What may have held up writes.
#[derive(Default)]
pub(super) struct Causes {
    /// When this member last learnt of a leader that was not the one before.
    elected_at: Option<Instant>,
    /// The last leader.
    leader: NodeId,
    /// The links that were told to be down, or up again, and since when. Of others nothing is known.
    links: BTreeMap<NodeId, (bool, Instant)>,
}

impl Causes {
    /// This member follows, or is, that leader; 0 for none.
    pub(super) fn leader(&mut self, leader: NodeId, now: Instant) {
        if leader != NodeId(0) && leader != self.leader {
            (self.leader, self.elected_at) = (leader, Some(now));
        }
    }

    /// A link to another member went up or down.
    pub(super) fn link(&mut self, peer: NodeId, up: bool, now: Instant) {
        self.links.insert(peer, (up, now));
    }

    /// Whether nothing is known of a break of the link since then.
    fn was_connected(&self, peer: NodeId, since: Instant) -> bool {
        self.links.get(&peer).is_none_or(|(up, at)| *up && *at < since)
    }
}

impl Member {
    /// What a write is told that began then.
    pub(super) fn timeout_of_write(&self, begun: Instant) -> Status {
        let election = 2 * self.config.election_timeout;
        if self.causes.elected_at.is_some_and(|elected| begun < elected && elected < begun + election) {
            return Status::TimeoutLeaderFail;
        }
        let (_, _, leader) = self.consensus.standing();
        let connected = if leader == self.config.node_id {
            let voters = &self.consensus.applied().conf_state.voters;
            let reached = |id: &&NodeId| **id == leader || self.causes.was_connected(**id, begun);
            voters.iter().filter(reached).count() > voters.len() / 2
        } else {
            // Without a leader it is not known which link matters.
            leader == NodeId(0) || self.causes.was_connected(leader, begun)
        };
        if connected { Status::Timeout } else { Status::TimeoutConnectionLost }
    }
}
