//! Proposals, from the node to the log.
//!
//! What is proposed goes into the log in batches. A batch is one message to each follower, one write on each disk and
//! one acknowledgement from each, however many entries it has; so a leader that is busy gathers what comes meanwhile,
//! as etcd does while it waits for its own write. The node says when: see [`Consensus::append_proposed`].

use bytes::Bytes;
use raft::eraftpb::{self, MessageType};

use super::{Consensus, Refusal, wire};
use crate::types::{LogIndex, Term};

impl Consensus {
    /// Takes a proposal for the next batch, if this member leads. Should it stop leading before, the proposal is lost,
    /// like an entry that no other member has got yet.
    pub(crate) fn propose(&mut self, data: Bytes) -> Result<(), Refusal> {
        if self.installing.is_some() || !self.is_leader() || self.hands_on() {
            return Err(Refusal::NotLeader);
        }
        let term = Term(self.raw.raft.term);
        let bytes = data.len() as u64;
        if self.uncommitted.0 != term {
            self.uncommitted = (term, 0);
            self.take_proposed();
        }
        // One is always taken, however large: it was measured when it was accepted.
        if self.uncommitted.1 > 0 && self.uncommitted.1 + bytes > self.uncommitted_bytes_max {
            return Err(Refusal::Busy);
        }
        self.uncommitted.1 += bytes;
        self.proposed.push(data);
        self.proposed_bytes += bytes;
        Ok(())
    }

    /// Whether this member is handing leadership on: it takes nothing more until that is done, or has failed.
    pub(crate) fn hands_on(&self) -> bool {
        self.raw.raft.lead_transferee.is_some()
    }

    /// The proposals that are taken and not in the log yet: how many, and how many bytes of data.
    pub(crate) fn proposed(&self) -> (usize, u64) {
        (self.proposed.len(), self.proposed_bytes)
    }

    fn take_proposed(&mut self) -> Vec<Bytes> {
        self.proposed_bytes = 0;
        std::mem::take(&mut self.proposed)
    }

    /// Whether everything in the log is committed: a batch that is appended now waits for no other one.
    pub(crate) fn is_committed(&self) -> bool {
        self.raw.raft.raft_log.committed == self.raw.raft.raft_log.last_index()
    }

    /// Appends what was proposed to the log: as one batch, or as several if it is more than one message may carry.
    /// While leadership is being handed on, nothing is.
    pub(crate) fn append_proposed(&mut self) {
        let term = Term(self.raw.raft.term);
        if !self.is_leader() || self.uncommitted.0 != term {
            self.take_proposed();
        }
        if self.installing.is_some() || self.hands_on() {
            return;
        }
        let proposed = self.take_proposed();
        let mut rest = &proposed[..];
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(self.fits_one_message(rest));
            self.append_batch(term, batch);
            rest = behind;
        }
        self.fix_election_timeout();
    }

    /// How many of `proposed` go into one message; one does, however large.
    fn fits_one_message(&self, proposed: &[Bytes]) -> usize {
        let mut bytes = 0;
        let fits = |data: &&Bytes| {
            bytes += data.len() as u64;
            bytes <= self.message_bytes_max
        };
        proposed.iter().take_while(fits).count().max(1)
    }

    fn append_batch(&mut self, term: Term, batch: &[Bytes]) {
        // raft-rs fills in term and index.
        let entry = |data: &Bytes| match data.len() {
            0 => eraftpb::Entry::default(),
            _ => wire::elsewhere(Term(0), LogIndex(0)),
        };
        let entries = batch.iter().map(entry).collect();
        let mut proposal = eraftpb::Message { from: self.node.0, entries, ..Default::default() };
        proposal.set_msg_type(MessageType::MsgPropose);
        self.raw.raft.step(proposal).expect("a leader that hands nothing on takes every proposal");
        let first = self.raw.raft.raft_log.last_index() + 1 - batch.len() as u64;
        let entries = (first..).zip(batch).filter(|(_, data)| !data.is_empty());
        let payloads: Vec<_> =
            entries.map(|(index, data)| wire::Payload { term, index: LogIndex(index), data }).collect();
        self.raw.mut_store().keep(&payloads);
    }
}
