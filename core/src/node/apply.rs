//! From committed entries to applied ones, and to the answers that wait for them.

use super::member::{LeaseReply, Member};
use super::proposals::request_id;
use super::reads::{LeaseOp, Waiter};
use crate::api::{ReadRequest, Request, Response, Status, validate};
use crate::effect::{Effect, Note, Outputs};
use crate::lease_clock::{Remaining, Renewal};
use crate::log::Entry;
use crate::proto::detcdpeer as pb;
use crate::proto::etcdserverpb as etcd;
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::seed;
use crate::state_machine::{Asker, Command, LeaseChange, encode_request};
use crate::time::Instant;
use crate::types::{CallId, LeaseId, LogIndex, NodeId, Term};

/// A step applies entries of about this many bytes, and goes on in the next.
const APPLY_BYTES_PER_STEP: usize = 256 << 10;

/// What an entry costs beside its payload when a step's work is bounded.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// What each record that an entry sweeps costs then.
const SWEPT_RECORD_BYTES: usize = 64;

impl Member {
    /// A client's request, already counted among the calls.
    pub(super) fn request(&mut self, call: CallId, request: Request, out: &mut Outputs) {
        let limits = validate::Limits::of(&self.config);
        if let Err(status) = validate::validate(&request, &limits) {
            return self.reply(call, Err(status), out);
        }
        match request {
            Request::Range(range) if range.serializable => self.read_now(call, ReadRequest::Range(range), out),
            Request::Range(range) => self.read(call, ReadRequest::Range(range)),
            Request::Txn(txn) if validate::is_read_only(&txn) => {
                if validate::is_serializable(&txn) {
                    self.read_now(call, ReadRequest::Txn(txn), out);
                } else {
                    self.read(call, ReadRequest::Txn(txn));
                }
            }
            Request::LeaseLeases(_) => {
                let by_deadline = self.leases.by_deadline();
                self.read_now(call, ReadRequest::LeaseLeases { by_deadline }, out);
            }
            Request::MemberList(list) if list.linearizable => self.read(call, ReadRequest::MemberList),
            Request::MemberList(_) => self.read_now(call, ReadRequest::MemberList, out),
            Request::LeaseKeepAlive(lease) => {
                let revision = self.state.as_view().revision();
                let op = LeaseOp::KeepAlive { lease: LeaseId(lease.id), revision };
                self.reads.arrive(Waiter::Lease { call, op });
            }
            Request::LeaseTimeToLive(lease) => {
                self.reads.arrive(Waiter::Lease { call, op: LeaseOp::TimeToLive(lease) });
            }
            Request::Status(_) => {
                let status = self.status_response();
                self.reply(call, Ok(Response::Status(status)), out);
            }
            Request::Alarm(alarm) if alarm.action == i32::from(AlarmAction::Get) => {
                self.read(call, ReadRequest::Alarm(alarm));
            }
            // There is nothing to defragment: the store keeps no free pages.
            Request::Defragment(_) => {
                let response = etcd::DefragmentResponse { header: None };
                self.reply(call, Ok(Response::Defragment(response)), out);
            }
            Request::Hash(_) => self.read_now(call, ReadRequest::Hash, out),
            Request::HashKv(hash) => self.read_now(call, ReadRequest::HashKv(hash), out),
            write @ (Request::Put(_)
            | Request::DeleteRange(_)
            | Request::Txn(_)
            | Request::Compact(_)
            | Request::LeaseGrant(_)
            | Request::LeaseRevoke(_)
            | Request::Alarm(_)) => self.propose(call, write, out),
        }
    }

    fn read_now(&mut self, call: CallId, request: ReadRequest, out: &mut Outputs) {
        if self.calls.finish(call) {
            out.effects.push(Effect::Read { call, request, view: self.state.view(), header: self.header() });
        }
    }

    fn read(&mut self, call: CallId, request: ReadRequest) {
        let (_, since, _) = self.consensus.standing();
        self.reads.arrive(Waiter::Read { call, request, since });
    }

    /// Proposes a write. Everything that is not a function of the state is settled here and travels in the entry.
    fn propose(&mut self, call: CallId, request: Request, out: &mut Outputs) {
        let sequence = self.proposals.next_sequence();
        let proposal = validate::Proposal {
            id: request_id(self.boot, sequence),
            drawn_lease: self.draw_lease(sequence),
            lease_ttl_min_s: self.config.lease_ttl_min_s(),
        };
        let entry = validate::propose(request, proposal).expect("only writes are proposed");
        if let Err(status) = self.check_quota(&entry, out) {
            return self.reply(call, Err(status), out);
        }
        self.propose_entry(Some(call), sequence, entry, out);
    }

    /// Proposes an entry under a sequence that nothing else has.
    pub(super) fn propose_entry(
        &mut self,
        call: Option<CallId>,
        sequence: u64,
        entry: etcd::InternalRaftRequest,
        out: &mut Outputs,
    ) {
        let id = entry.header.as_ref().map_or(0, |header| header.id);
        let data = self.encode_entry(entry);
        let etcd_bytes = validate::etcd_bytes(data.len(), self.config.node_id, id);
        let size = validate::check_size(etcd_bytes, &validate::Limits::of(&self.config));
        if let (Err(status), Some(call)) = (size, call) {
            return self.reply(call, Err(status), out);
        }
        self.proposals.insert(sequence, call, data);
    }

    /// An entry's bytes. Its proposer's member id is in the field that etcd no longer uses.
    pub(super) fn encode_entry(&self, entry: etcd::InternalRaftRequest) -> bytes::Bytes {
        let entry = etcd::InternalRaftRequest { id: self.config.node_id.0, ..entry };
        encode_request(&entry)
    }

    /// A positive lease id that no lease has here.
    fn draw_lease(&self, sequence: u64) -> LeaseId {
        for attempt in 0.. {
            let drawn = seed::draw(self.config.seed, &[self.config.node_id.0, self.boot, sequence, attempt]);
            let id = LeaseId(i64::try_from(drawn >> 1).expect("63 bits"));
            if id.0 > 0 && self.state.as_view().lease(id).is_none() {
                return id;
            }
        }
        unreachable!("there are more ids than leases")
    }

    /// Applies what is committed, a bounded amount.
    pub(super) fn apply_some(&mut self, out: &mut Outputs) {
        let mut budget = APPLY_BYTES_PER_STEP;
        let mut last = None;
        while let Some(entry) = self.unapplied.pop_front() {
            // An entry that cannot be read is one that nobody here wrote; it changes nothing, on all members alike.
            let command = Command::decode(entry.kind, &entry.data).unwrap_or(Command::Empty);
            let cost = entry.data.len() + ENTRY_OVERHEAD_BYTES + command.swept_records() * SWEPT_RECORD_BYTES;
            if cost > budget && last.is_some() {
                self.unapplied.push_front(entry);
                break;
            }
            budget = budget.saturating_sub(cost);
            if command.compaction().is_some() {
                // Watchers see what the compaction makes unreadable first, as far as a slice of their work goes; who
                // is not served by then is canceled, as one whose client reads too slowly.
                self.publish_applied(last.take(), out);
            }
            self.apply(&entry, &command, out);
            self.checkpoints.applied(entry.data.len());
            last = Some((entry.index, entry.term));
        }
        self.publish_applied(last, out);
    }

    /// Entries up to `last` are applied: the store shows it, consensus and watchers know it.
    fn publish_applied(&mut self, last: Option<(LogIndex, Term)>, out: &mut Outputs) {
        let Some((index, term)) = last else { return };
        self.consensus.applied_to(index, term);
        let header = self.header();
        self.watches.applied(self.state.as_view(), &header, self.now, out);
    }

    fn apply(&mut self, entry: &Entry, command: &Command<'_>, out: &mut Outputs) {
        self.begin_lease_clock(entry);
        self.consensus.apply_conf_change(entry);
        let proposal = self.own_proposal(command);
        let waits = |sequence: &u64| self.proposals.get(*sequence).is_some_and(|proposal| proposal.call.is_some());
        let asker = if proposal.as_ref().is_some_and(waits) { Asker::Waits } else { Asker::IsElsewhere };
        let compacted = self.state.as_view().compacted();
        let applied = self.state.apply_for(entry.index, command, asker);
        let state = self.state.digest();
        out.notes.push(Note::Applied { index: entry.index, term: entry.term, state });
        let revision = self.state.as_view().compacted();
        if revision > compacted {
            let (proposer, request) = command.origin();
            out.notes.push(Note::Compacted { revision, proposer, request });
        }
        for change in applied.leases {
            match change {
                LeaseChange::Granted { id, ttl_s } => {
                    self.leases.granted(id, ttl_s, self.now);
                    out.notes.push(Note::LeaseGranted { lease: id, index: entry.index });
                }
                LeaseChange::Checkpointed { id, remaining_s } => self.lease_checkpointed(id, remaining_s),
                LeaseChange::Gone { id } => {
                    self.leases.gone(id);
                    out.notes.push(Note::LeaseGone { lease: id, index: entry.index });
                }
            }
        }
        let proposal = proposal.and_then(|sequence| self.proposals.remove(sequence));
        if let Some(call) = proposal.and_then(|proposal| proposal.call) {
            let stamped = applied.result.map(|response| self.stamp(response));
            self.answer_applied(call, command, stamped, out);
        }
    }

    /// The sequence of the proposal, if this member made it in this life.
    fn own_proposal(&self, command: &Command) -> Option<u64> {
        let (proposer, id) = command.origin();
        let first = request_id(self.boot, 0);
        (proposer == self.config.node_id && id > first && id < request_id(self.boot + 1, 0)).then(|| id - first)
    }

    /// Completes a response's header, which has its revision from the state machine.
    fn stamp(&self, mut response: Response) -> Response {
        let here = self.header();
        let header = response.header_mut().get_or_insert_default();
        *header = etcd::ResponseHeader { revision: header.revision, ..here };
        response
    }

    /// A round came back: what waited for it may be answered once `index` is applied.
    pub(super) fn confirm_round(&mut self, round: u64, index: LogIndex, out: &mut Outputs) {
        for (call, term) in self.reads.confirm(round, index) {
            out.notes.push(Note::ReadConfirmed { call, term });
        }
    }

    /// Starts a read round if one is wanted, and answers the reads that may be.
    pub(super) fn advance_reads(&mut self, out: &mut Outputs) {
        self.reads.unpark_if_wanted();
        if self.reads.is_empty() {
            return;
        }
        if self.reads.wants_round() && !self.consensus.is_installing() && self.consensus.leads_with_commit() {
            let (_, term, _) = self.consensus.standing();
            let id = self.proposals.next_sequence();
            self.reads.start_round(id, term, self.now + self.config.election_timeout);
            self.consensus.confirm(id);
        }
        for (index, waiter) in self.reads.release(self.applied()) {
            self.released(index, waiter, out);
        }
    }

    fn released(&mut self, index: LogIndex, waiter: Waiter, out: &mut Outputs) {
        match waiter {
            Waiter::Read { call, request, .. } => self.read_now(call, request, out),
            Waiter::Lease { call, op } => self.lease_op(call, op, out),
            Waiter::Forwarded { peer, boot, sequence, lease: None, .. } => {
                let what = pb::forward_reply::What::ReadIndex(index.0);
                self.answer_peer(peer, boot, sequence, what, out);
            }
            Waiter::Forwarded { peer, boot, sequence, lease: Some(op), until } => {
                self.forwarded_lease_op(peer, boot, sequence, op, until, out);
            }
        }
    }

    fn lease_op(&mut self, call: CallId, op: LeaseOp, out: &mut Outputs) {
        if !self.calls.wants(call) {
            return;
        }
        self.adopt_lease(op.lease());
        match op {
            LeaseOp::KeepAlive { lease, revision } => match self.renew_lease(lease, out) {
                Renewal::Renewed { ttl_s } => self.lease_replies.push(LeaseReply { call, lease, revision, ttl_s }),
                Renewal::Unknown => self.lease_replies.push(LeaseReply { call, lease, revision, ttl_s: 0 }),
                Renewal::Checkpointed { .. } | Renewal::Expired => self.reads.park(Waiter::Lease { call, op }),
                Renewal::NotLeading => self.reads.arrive(Waiter::Lease { call, op }),
            },
            LeaseOp::TimeToLive(request) => {
                let remaining_ttl_s = match self.leases.remaining(LeaseId(request.id), self.now) {
                    Remaining::Seconds(remaining_s) => Some(remaining_s),
                    Remaining::Unknown => None,
                    Remaining::NotLeading => {
                        let op = LeaseOp::TimeToLive(request);
                        return self.reads.arrive(Waiter::Lease { call, op });
                    }
                };
                self.read_now(call, ReadRequest::LeaseTimeToLive { request, remaining_ttl_s }, out);
            }
        }
    }

    fn forwarded_lease_op(
        &mut self,
        peer: NodeId,
        boot: u64,
        sequence: u64,
        op: LeaseOp,
        until: Instant,
        out: &mut Outputs,
    ) {
        let id = op.lease();
        self.adopt_lease(id);
        let mut state = pb::LeaseState { read_index: self.applied().0, ..Default::default() };
        match op {
            LeaseOp::KeepAlive { .. } => match self.renew_lease(id, out) {
                Renewal::Renewed { ttl_s } => (state.found, state.granted_ttl_s) = (true, ttl_s),
                Renewal::Unknown => {}
                Renewal::Checkpointed { .. } | Renewal::Expired => {
                    return self.reads.park(Waiter::Forwarded { peer, boot, sequence, lease: Some(op), until });
                }
                // Whoever asked asks again.
                Renewal::NotLeading => return,
            },
            LeaseOp::TimeToLive(_) => match self.leases.remaining(id, self.now) {
                Remaining::Seconds(remaining_s) => (state.found, state.remaining_ttl_s) = (true, remaining_s),
                Remaining::Unknown => {}
                Remaining::NotLeading => return,
            },
        }
        self.answer_peer(peer, boot, sequence, pb::forward_reply::What::Lease(state), out);
    }

    /// The clock knows the lease, if there is one, however far it is with taking leases in.
    fn adopt_lease(&mut self, id: LeaseId) {
        if let Some(time) = self.state.as_view().lease_time(id) {
            self.leases.adopt(id, time, self.now);
        }
    }

    /// Proposes to revoke what the leader's clock says has ended.
    pub(super) fn expire_leases(&mut self, out: &mut Outputs) {
        if !self.consensus.leads_with_commit() {
            return;
        }
        let mut expired = Vec::new();
        self.leases.expired(self.now, &mut expired);
        let (_, term, _) = self.consensus.standing();
        for lease in expired {
            let is_resumed = self.leases.is_resumed(lease);
            let id = request_id(self.boot, self.proposals.next_sequence());
            let data = self.encode_entry(etcd::InternalRaftRequest {
                header: Some(etcd::RequestHeader { id, ..Default::default() }),
                lease_revoke: Some(etcd::LeaseRevokeRequest { id: lease.0 }),
                ..Default::default()
            });
            // Only this leader may say so: nothing is forwarded. What is refused is tried again a little later.
            match self.try_propose(data) {
                Ok(()) => {
                    out.notes.push(Note::LeaseExpired { lease, term });
                    if is_resumed {
                        out.mark("lease: resumed from a checkpoint");
                    }
                }
                Err(_) => self.leases.not_proposed(lease, self.now + self.config.heartbeat_interval),
            }
        }
    }

    fn status_response(&self) -> etcd::StatusResponse {
        let status = self.status();
        let mut errors = Vec::new();
        if status.leader == NodeId(0) {
            errors.push(Status::NoLeader.message().to_string());
        }
        errors.extend(self.state.as_view().alarms().iter().map(alarm_text));
        let (logical_bytes, live_bytes) = self.state.as_view().logical_bytes();
        let learners = &self.consensus.applied().conf_state.learners;
        etcd::StatusResponse {
            header: Some(self.header()),
            version: crate::api::VERSION.to_string(),
            db_size: logical_bytes,
            leader: status.leader.0,
            raft_index: status.commit.0,
            raft_term: status.term.0,
            raft_applied_index: status.applied.0,
            errors,
            db_size_in_use: live_bytes,
            is_learner: learners.contains(&self.config.node_id),
            storage_version: crate::api::STORAGE_VERSION.to_string(),
            db_size_quota: self.config.quota_bytes,
        }
    }
}

/// An alarm as a status tells of it: Go's text of the message, with the blank at its end.
fn alarm_text(alarm: &etcd::AlarmMember) -> String {
    let name = etcd::AlarmType::try_from(alarm.alarm).map_or(alarm.alarm.to_string(), |kind| kind.as_str_name().into());
    format!("memberID:{} alarm:{name} ", alarm.member_id)
}
