//! Requests between members: a follower asks the leader of one term on behalf of its clients.

use std::collections::BTreeMap;

use super::member::{LeaseReply, Member};
use super::proposals::Place;
use super::reads::{LeaseOp, Waiter};
use crate::api::{ReadRequest, Response, Status};
use crate::effect::{Effect, Outputs};
use crate::peer::{self, Body};
use crate::proto::detcdpeer as pb;
use crate::proto::detcdpeer::refused::Reason;
use crate::proto::etcdserverpb as etcd;
use crate::time::Instant;
use crate::types::{CallId, LeaseId, LogIndex, NodeId, Term};

/// Lease operations that were forwarded and not answered yet, by sequence.
#[derive(Default)]
pub(super) struct ForwardedLeaseOps {
    open: BTreeMap<u64, ForwardedLeaseOp>,
}

struct ForwardedLeaseOp {
    call: CallId,
    op: LeaseOp,
    term: Term,
    again_at: Instant,
}

impl ForwardedLeaseOps {
    /// When the next one is to be asked again.
    pub(super) fn next_again(&self) -> Option<Instant> {
        self.open.values().map(|forwarded| forwarded.again_at).min()
    }

    /// Takes out those whose time or term is over.
    fn take_stale(&mut self, now: Instant, term: Term) -> Vec<(CallId, LeaseOp)> {
        let stale = |forwarded: &ForwardedLeaseOp| forwarded.again_at <= now || forwarded.term != term;
        let keys: Vec<u64> = self.open.iter().filter(|(_, f)| stale(f)).map(|(sequence, _)| *sequence).collect();
        let ops = keys.iter().map(|sequence| self.open.remove(sequence).expect("listed"));
        ops.map(|forwarded| (forwarded.call, forwarded.op)).collect()
    }
}

impl Member {
    /// Sends everything that waits for a leader to the leader, if this member follows one.
    pub(super) fn forward_waiting(&mut self, out: &mut Outputs) {
        let (_, term, leader) = self.consensus.standing();
        if !self.forwarded_lease_ops.open.is_empty() {
            self.take_back_lease_ops(term);
        }
        if !self.follows() {
            return;
        }
        self.forward_proposals(leader, term, out);
        self.forward_lease_ops(leader, term, out);
        if self.reads.wants_round() {
            let sequence = self.proposals.next_sequence();
            // Late answers to a round that was given up are lost: a slow link must not make every round late.
            self.reads.start_round(sequence, term, self.now + self.config.election_timeout);
            self.ask(leader, term, sequence, pb::forward_request::What::ReadIndex(pb::ReadIndex {}), out);
        }
    }

    /// Those that the leader of `term` was not asked, or did not answer, wait again.
    fn take_back_lease_ops(&mut self, term: Term) {
        for (call, op) in self.forwarded_lease_ops.take_stale(self.now, term) {
            if self.calls.wants(call) {
                self.reads.arrive(Waiter::Lease { call, op });
            }
        }
    }

    fn forward_lease_ops(&mut self, leader: NodeId, term: Term, out: &mut Outputs) {
        for (call, op) in self.reads.take_lease_ops() {
            let sequence = self.proposals.next_sequence();
            let id = op.lease().0;
            let what = match op {
                LeaseOp::KeepAlive { .. } => pb::forward_request::What::LeaseKeepAlive(pb::LeaseKeepAlive { id }),
                LeaseOp::TimeToLive(_) => pb::forward_request::What::LeaseTimeToLive(pb::LeaseTimeToLive { id }),
            };
            let again_at = self.now + self.config.election_timeout;
            self.forwarded_lease_ops.open.insert(sequence, ForwardedLeaseOp { call, op, term, again_at });
            self.ask(leader, term, sequence, what, out);
        }
    }

    /// Asks the leader of a term.
    pub(super) fn ask(
        &self,
        to: NodeId,
        term: Term,
        sequence: u64,
        what: pb::forward_request::What,
        out: &mut Outputs,
    ) {
        let request = pb::ForwardRequest { term: term.0, boot: self.boot, sequence, what: Some(what) };
        self.send_peer(to, Body::Forward(request), out);
    }

    /// Sends a message of ours to another member.
    pub(super) fn send_peer(&self, to: NodeId, body: Body, out: &mut Outputs) {
        let kind = peer::kind(&body);
        let frame = peer::encode(self.config.cluster_id, self.config.node_id, to, body);
        out.effects.push(Effect::Send { to, kind, frame });
    }

    /// Another member asks this one as the leader of a term.
    pub(super) fn asked(&mut self, peer: NodeId, request: &pb::ForwardRequest, out: &mut Outputs) {
        use pb::forward_request::What;
        let (_, term, _) = self.consensus.standing();
        let (boot, sequence) = (request.boot, request.sequence);
        let leads = self.consensus.is_leader() && Term(request.term) == term && self.stopping.is_none();
        let lease = match &request.what {
            None => return,
            Some(What::Propose(proposals)) => {
                return self.asked_to_propose(peer, request, &proposals.proposals, leads, out);
            }
            Some(What::ReadIndex(_)) => None,
            Some(What::LeaseKeepAlive(keep_alive)) => {
                Some(LeaseOp::KeepAlive { lease: LeaseId(keep_alive.id), revision: 0 })
            }
            Some(What::LeaseTimeToLive(ask)) => {
                Some(LeaseOp::TimeToLive(etcd::LeaseTimeToLiveRequest { id: ask.id, keys: false }))
            }
        };
        if !leads {
            self.refuse_peer(peer, request, sequence, Reason::NotLeader, out);
        } else if self.reads.len() >= self.config.calls_waiting_max.saturating_mul(2) {
            // As many of other members' as of this one's clients, who are counted when they call.
            self.refuse_peer(peer, request, sequence, Reason::Busy, out);
            out.mark("forward: a read was refused by a leader with too many");
        } else {
            let until = self.now + self.config.request_timeout();
            self.reads.arrive(Waiter::Forwarded { peer, boot, sequence, lease, until });
        }
    }

    /// Did nothing of what `asked` wants under `sequence`, and never will.
    pub(super) fn refuse_peer(
        &self,
        to: NodeId,
        asked: &pb::ForwardRequest,
        sequence: u64,
        reason: Reason,
        out: &mut Outputs,
    ) {
        let refused = pb::Refused { reason: reason.into(), term: asked.term };
        self.answer_peer(to, asked.boot, sequence, pb::forward_reply::What::Refused(refused), out);
    }

    /// Answers a forwarded request.
    pub(super) fn answer_peer(
        &self,
        to: NodeId,
        boot: u64,
        sequence: u64,
        what: pb::forward_reply::What,
        out: &mut Outputs,
    ) {
        self.send_peer(to, Body::ForwardReply(pb::ForwardReply { boot, sequence, what: Some(what) }), out);
    }

    /// A leader answers this member.
    pub(super) fn answered(&mut self, reply: pb::ForwardReply, out: &mut Outputs) {
        use pb::forward_reply::What;
        let Some(what) = reply.what else { return };
        if reply.boot != self.boot {
            return;
        }
        match what {
            What::Refused(refused) => {
                self.was_refused(reply.sequence, Term(refused.term), refused.reason(), out);
            }
            What::ReadIndex(index) => self.confirm_round(reply.sequence, LogIndex(index), out),
            What::Lease(state) => self.lease_answered(reply.sequence, &state),
        }
    }

    /// The leader of `term` did nothing, and never will: the request may go elsewhere.
    fn was_refused(&mut self, sequence: u64, term: Term, reason: Reason, out: &mut Outputs) {
        self.reads.refused(sequence);
        if let Some(forwarded) = self.forwarded_lease_ops.open.get_mut(&sequence) {
            forwarded.again_at = self.now + self.config.heartbeat_interval;
            return;
        }
        let Some(proposal) = self.proposals.get(sequence) else { return };
        if !matches!(proposal.place, Place::Forwarded { term: asked, .. } if asked == term) {
            return;
        }
        match reason {
            Reason::NotLeader => {
                // The same leader would not judge it twice in its term.
                self.proposals.place(sequence, Place::Waiting { after: term });
                out.mark("forward: a refused proposal waits for another leader");
            }
            Reason::Busy => self.refuse_proposal(sequence, Status::TooManyRequests, out),
            Reason::NoSpace => self.refuse_proposal(sequence, Status::NoSpace, out),
        }
    }

    fn lease_answered(&mut self, sequence: u64, state: &pb::LeaseState) {
        let Some(forwarded) = self.forwarded_lease_ops.open.remove(&sequence) else { return };
        let call = forwarded.call;
        match forwarded.op {
            LeaseOp::KeepAlive { lease, revision } => {
                let ttl_s = if state.found { state.granted_ttl_s } else { 0 };
                self.lease_replies.push(LeaseReply { call, lease, revision, ttl_s });
            }
            LeaseOp::TimeToLive(request) => {
                let remaining_ttl_s = state.found.then_some(state.remaining_ttl_s);
                let request = ReadRequest::LeaseTimeToLive { request, remaining_ttl_s };
                let waiter = Waiter::Read { call, request, since: forwarded.term };
                self.reads.confirmed_elsewhere(LogIndex(state.read_index), waiter);
            }
        }
    }

    /// Answers the keepalives that the leader confirmed.
    pub(super) fn reply_keep_alives(&mut self, out: &mut Outputs) {
        if self.lease_replies.is_empty() {
            return;
        }
        for LeaseReply { call, lease, revision, ttl_s } in std::mem::take(&mut self.lease_replies) {
            let header = Some(etcd::ResponseHeader { revision, ..self.header() });
            let response = etcd::LeaseKeepAliveResponse { header, id: lease.0, ttl: ttl_s };
            self.reply(call, Ok(Response::LeaseKeepAlive(response)), out);
        }
    }
}
