//! Proposals of a follower's clients, on their way to the leader.
//!
//! A busy follower sends them in batches: while as many messages with proposals are unanswered as may be, it gathers
//! what comes meanwhile. An idle one sends each at once. A proposal is answered by being applied, or refused.

use bytes::Bytes;

use super::member::{Member, Unproposed};
use super::proposals::{Place, Proposals, Verdict};
use crate::effect::Outputs;
use crate::proto::detcdpeer as pb;
use crate::proto::detcdpeer::forward_request::What;
use crate::proto::detcdpeer::refused::Reason;
use crate::time::Instant;
use crate::types::{NodeId, Term};

/// What the leader takes in one step, in bytes of proposals.
const BATCH_BYTES_MAX: u64 = 256 << 10;

/// What a proposal costs it beside its data.
const PROPOSAL_BYTES: u64 = 256;

/// A proposal that another member asked this one for, as the leader of a term.
pub(super) struct Forwarded {
    peer: NodeId,
    /// The request that it came with, without its proposals.
    asked: pb::ForwardRequest,
    sequence: u64,
    data: Bytes,
}

/// The messages with proposals that may be unanswered, to the leader of one term.
#[derive(Default)]
pub(super) struct ForwardsInFlight {
    term: Term,
    /// In the order in which they left.
    messages: Vec<Message>,
    /// How many proposals had left their leader when the messages were last looked through.
    looked_at: u64,
}

/// A message with proposals.
struct Message {
    /// The last of them stands for all.
    last_sequence: u64,
    /// From then on the message may be lost, or the answer, and holds up no other.
    until: Instant,
}

impl ForwardsInFlight {
    /// Whether as many as may be are unanswered by the leader of `term`.
    fn are_full(&mut self, term: Term, now: Instant, max: usize, proposals: &Proposals) -> bool {
        if self.term != term {
            *self = ForwardsInFlight { term, ..ForwardsInFlight::default() };
        }
        let is_over = |message: &Message| now >= message.until;
        let is_changed = self.looked_at != proposals.left_leaders() || self.messages.first().is_some_and(is_over);
        if self.messages.len() >= max && is_changed {
            self.messages.retain(|message| !is_over(message) && proposals.is_forwarded(message.last_sequence));
            self.looked_at = proposals.left_leaders();
        }
        self.messages.len() >= max
    }

    /// A message leaves to the leader of the term that was asked about last.
    fn begin(&mut self, last_sequence: u64, until: Instant) {
        self.messages.push(Message { last_sequence, until });
    }
}

impl Member {
    /// Sends the leader of `term` the proposals that it may be asked for, and again those that it did not answer.
    pub(super) fn forward_proposals(&mut self, leader: NodeId, term: Term, out: &mut Outputs) {
        let mut sequences = self.proposals_to_repeat(term);
        if sequences.is_empty() && self.proposals.none_waiting() {
            return;
        }
        let max = self.config.forwards_in_flight_max.max(1);
        if !self.forwards.are_full(term, self.now, max, &self.proposals) {
            sequences.append(&mut self.proposals.waiting(term));
        }
        let mut rest = &sequences[..];
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(self.fits_one_forward(rest));
            self.forward_batch(leader, term, batch, out);
            rest = behind;
        }
    }

    /// Those whose time to be sent again has come.
    fn proposals_to_repeat(&mut self, term: Term) -> Vec<u64> {
        let mut due = self.proposals.due(self.now);
        due.retain(|sequence| {
            let place = self.proposals.get(*sequence).expect("listed").place;
            let Place::Forwarded { term: asked, .. } = place else { unreachable!("listed as forwarded") };
            if asked != term {
                // Its leader is gone: it may be applied or not, or be refused yet. Asking again is no use.
                self.proposals.place(*sequence, Place::Forwarded { term: asked, again_at: Instant::NEVER });
            }
            asked == term
        });
        due
    }

    /// How many of these proposals go into one message; one does, however large.
    fn fits_one_forward(&self, sequences: &[u64]) -> usize {
        let mut bytes = 0;
        let fits = |sequence: &&u64| {
            bytes += self.proposals.get(**sequence).expect("listed").data.len() as u64 + PROPOSAL_BYTES;
            bytes <= self.config.append_bytes_max.min(BATCH_BYTES_MAX)
        };
        sequences.iter().take_while(fits).count().max(1)
    }

    fn forward_batch(&mut self, leader: NodeId, term: Term, batch: &[u64], out: &mut Outputs) {
        let again_at = self.now + self.retry_interval();
        let mut proposals = Vec::with_capacity(batch.len());
        for sequence in batch.iter().copied() {
            let data = self.proposals.forward(sequence, term, again_at);
            proposals.push(pb::Proposal { sequence, data });
        }
        if batch.len() > 1 {
            out.mark("forward: proposals left together");
        }
        let last_sequence = *batch.last().expect("one is always taken");
        self.forwards.begin(last_sequence, again_at);
        self.ask(leader, term, 0, What::Propose(pb::Proposals { proposals }), out);
    }

    /// Another member asks this one, as the leader of a term, to propose; `leads` says whether it is.
    pub(super) fn asked_to_propose(
        &mut self,
        peer: NodeId,
        asked: &pb::ForwardRequest,
        proposals: &[pb::Proposal],
        leads: bool,
        out: &mut Outputs,
    ) {
        for pb::Proposal { sequence, data } in proposals {
            match self.judged.judge(Term(asked.term), peer, asked.boot, *sequence) {
                Verdict::New => {
                    let asked = pb::ForwardRequest { boot: asked.boot, term: asked.term, ..Default::default() };
                    let proposal = Forwarded { peer, asked, sequence: *sequence, data: data.clone() };
                    if leads && self.consensus.hands_on() {
                        out.mark("forward: a proposal waits for the end of a handover");
                        self.held.push(proposal);
                    } else {
                        self.take_forwarded(&proposal, leads, out);
                    }
                }
                Verdict::Seen => out.mark("forward: a duplicate was not appended twice"),
                Verdict::NotMine => {}
            }
        }
    }

    /// Proposes what another member forwarded, or refuses it.
    fn take_forwarded(&mut self, proposal: &Forwarded, leads: bool, out: &mut Outputs) {
        let refused = if leads { self.try_propose(proposal.data.clone()).err() } else { Some(Unproposed::NotLeader) };
        if let Some(unproposed) = refused {
            self.refuse_peer(proposal.peer, &proposal.asked, proposal.sequence, reason(unproposed), out);
        }
    }

    /// Takes what was held while leadership was being handed on, if that has failed; if it was done, the next leader
    /// may be asked. A refusal is final, so none is given before that is known.
    pub(super) fn propose_held(&mut self, out: &mut Outputs) {
        let leads = self.consensus.is_leader();
        if self.held.is_empty() || (leads && self.consensus.hands_on()) {
            return;
        }
        let (_, term, _) = self.consensus.standing();
        for proposal in std::mem::take(&mut self.held) {
            let leads = leads && Term(proposal.asked.term) == term && self.stopping.is_none();
            self.take_forwarded(&proposal, leads, out);
        }
    }
}

/// What the member that asked is told.
fn reason(unproposed: Unproposed) -> Reason {
    match unproposed {
        Unproposed::NoSpace => Reason::NoSpace,
        Unproposed::Busy => Reason::Busy,
        Unproposed::NotLeader => Reason::NotLeader,
    }
}
