//! What a member proposes for itself, not for a client: one thing at a time, and again if it seems to be lost.

use super::member::Member;
use super::proposals::request_id;
use crate::effect::Outputs;
use crate::proto::etcdserverpb as etcd;
use crate::time::Instant;

/// A proposal of the member's own that may be on its way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnProposal {
    /// Its sequence, and when to give it up.
    asked: Option<(u64, Instant)>,
}

impl OwnProposal {
    /// The sequence of what was proposed last.
    pub(super) fn sequence(self) -> Option<u64> {
        self.asked.map(|(sequence, _)| sequence)
    }
}

impl Member {
    /// Whether it is on its way: neither applied nor refused, and not for so long that it may be lost.
    pub(super) fn is_under_way(&self, own: OwnProposal) -> bool {
        own.asked.is_some_and(|(sequence, until)| until > self.now && self.proposals.get(sequence).is_some())
    }

    /// Proposes `entry` in the place of `before`, which is given up.
    pub(super) fn propose_own(
        &mut self,
        before: OwnProposal,
        entry: etcd::InternalRaftRequest,
        out: &mut Outputs,
    ) -> OwnProposal {
        if let Some((sequence, _)) = before.asked {
            self.proposals.remove(sequence);
        }
        let sequence = self.proposals.next_sequence();
        let header = etcd::RequestHeader { id: request_id(self.boot, sequence), ..Default::default() };
        self.propose_entry(None, sequence, etcd::InternalRaftRequest { header: Some(header), ..entry }, out);
        OwnProposal { asked: Some((sequence, self.now + self.config.request_timeout())) }
    }
}
