//! A member that takes part: its parts, and the way of an input through them.

use std::collections::VecDeque;
use std::time::Duration;

use super::attributes::Attributes;
use super::auto_compaction::Compactor;
use super::calls::Calls;
use super::checkpoint::Checkpoints;
use super::forward::ForwardedLeaseOps;
use super::forward_proposals::{Forwarded, ForwardsInFlight};
use super::own_proposal::OwnProposal;
use super::proposals::{Judged, Place, Proposals};
use super::reads::Reads;
use super::snapshot_receive::{Announced, Receiving};
use super::snapshot_send::Sending;
use super::status::{NodeStatus, Phase, Role, Wakeup};
use super::stopping::Stopping;
use super::sweep::Sweep;
use super::timeouts::Causes;
use super::writes::WritesInFlight;
use crate::api::{Request, Response, Status};
use crate::config::NodeConfig;
use crate::consensus::{Batch, Consensus, Outgoing, Refusal, Rejected, Start, entry_digest};
use crate::disk_queue::DiskQueue;
use crate::effect::{Effect, HaltReason, Note, Outputs};
use crate::input::{DiskError, DiskReply, Input, StreamOp};
use crate::lease_clock::LeaseClock;
use crate::log::{Entry, SnapshotMeta};
use crate::peer::{self, Body};
use crate::proto::etcdserverpb::ResponseHeader;
use crate::state_machine::{StateMachine, StoreView};
use crate::time::Instant;
use crate::types::{CallId, DiskOp, LeaseId, LogIndex, NodeId, Revision, StreamId, Term};
use crate::wal;
use crate::watch::WatchHub;

/// What a member is made of when its disk has been read.
pub(super) struct MemberStart {
    pub(super) config: NodeConfig,
    pub(super) consensus: Start,
    pub(super) state: StateMachine,
    pub(super) writer: wal::Writer,
    pub(super) disk: DiskQueue,
    pub(super) checkpoints: Checkpoints,
}

/// Why a member is over.
pub(super) enum Over {
    /// It stopped cleanly.
    Stopped,
    /// It must not go on.
    Halted(HaltReason),
}

/// Why something was not proposed. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unproposed {
    /// The log has no room on the disk.
    NoSpace,
    /// Too much is under way.
    Busy,
    /// This member does not lead, or is handing leadership on.
    NotLeader,
}

/// The answer to a keepalive.
pub(super) struct LeaseReply {
    /// Who waits.
    pub(super) call: CallId,
    /// The lease.
    pub(super) lease: LeaseId,
    /// The revision to tell.
    pub(super) revision: Revision,
    /// The TTL to tell; 0 for a lease that does not exist.
    pub(super) ttl_s: i64,
}

/// How many ticks lie between two synced marks of the log, if it has grown.
const MARK_INTERVAL_TICKS: u64 = 10;

/// A member that takes part.
pub(super) struct Member {
    pub(super) config: NodeConfig,
    pub(super) boot: u64,
    pub(super) now: Instant,

    pub(super) consensus: Consensus,
    pub(super) outgoing: Vec<Outgoing>,
    pub(super) writer: wal::Writer,
    pub(super) disk: DiskQueue,

    pub(super) state: StateMachine,
    pub(super) unapplied: VecDeque<Entry>,

    pub(super) calls: Calls,
    pub(super) causes: Causes,
    pub(super) proposals: Proposals,
    pub(super) judged: Judged,
    pub(super) reads: Reads,
    pub(super) forwards: ForwardsInFlight,
    pub(super) forwarded_lease_ops: ForwardedLeaseOps,
    /// Keepalives that are confirmed.
    pub(super) lease_replies: Vec<LeaseReply>,

    pub(super) leases: LeaseClock,
    /// The term in which this member began to lead, until the first entry of that term is applied.
    pub(super) leads_in: Option<Term>,
    pub(super) watches: WatchHub,
    pub(super) attributes: Attributes,
    /// The alarm that this member wants to be raised because its quota is reached.
    pub(super) quota_alarm: OwnProposal,
    pub(super) sweep: Sweep,
    pub(super) compactor: Compactor,

    pub(super) checkpoints: Checkpoints,
    pub(super) sending: Sending,
    pub(super) receiving: Receiving,
    pub(super) stopping: Option<Stopping>,

    pub(super) next_tick: Instant,
    pub(super) ticks: u64,
    pub(super) standing: (Role, Term, NodeId),
    /// When the writes were handed to the log that are not durable yet, oldest first.
    pub(super) writes: WritesInFlight,
    /// Since the log last got room it refused something for want of it.
    pub(super) has_refused_for_room: bool,
    /// When it handed leadership on last, because its disk could not write.
    pub(super) handed_on_at: Option<Instant>,
    /// What others forwarded while leadership was being handed on.
    pub(super) held: Vec<Forwarded>,
    /// A proposal found no room since the last tick.
    pub(super) lacked_room: bool,
    pub(super) over: Option<Over>,
}

impl Member {
    /// A member over what its disk held; it takes part from now on.
    pub(super) fn new(start: MemberStart, now: Instant, out: &mut Outputs) -> Member {
        let MemberStart { config, consensus, state, writer, disk, checkpoints } = start;
        let boot = consensus.boot;
        assert_eq!(state.as_view().applied(), consensus.applied.index, "log and state begin at one place");
        let mut member = Member {
            boot,
            now,
            consensus: Consensus::open(&config, consensus),
            outgoing: Vec::new(),
            writer,
            disk,
            state,
            unapplied: VecDeque::new(),
            calls: Calls::default(),
            causes: Causes::default(),
            proposals: Proposals::default(),
            judged: Judged::default(),
            reads: Reads::default(),
            forwards: ForwardsInFlight::default(),
            forwarded_lease_ops: ForwardedLeaseOps::default(),
            lease_replies: Vec::new(),
            leases: LeaseClock::new(config.election_timeout, config.lease_checkpoint_interval),
            leads_in: None,
            watches: WatchHub::new(config.watch_batch_bytes, config.watch_progress_interval)
                .with_fragment_bytes(config.watch_fragment_bytes)
                .with_slice_events(config.watch_slice_events),
            attributes: Attributes::default(),
            quota_alarm: OwnProposal::default(),
            sweep: Sweep::default(),
            compactor: Compactor::new(config.auto_compaction, now),
            checkpoints,
            sending: Sending::default(),
            receiving: Receiving::default(),
            stopping: None,
            next_tick: now + config.heartbeat_interval,
            ticks: 0,
            standing: (Role::Follower, Term(0), NodeId(0)),
            writes: WritesInFlight::default(),
            has_refused_for_room: false,
            handed_on_at: None,
            held: Vec::new(),
            lacked_room: false,
            over: None,
            config,
        };
        out.notes.push(Note::Phase(member.phase()));
        member.settle(out);
        member
    }

    /// Takes one input; says whether it was the last.
    pub(super) fn step(&mut self, now: Instant, input: Input, out: &mut Outputs) -> Option<Over> {
        self.now = now;
        if self.log_is_stopped() {
            return self.step_stopped(input, out);
        }
        match input {
            Input::Wakeup => {}
            Input::Peer { from, frame } => self.frame(from, frame, out),
            Input::Link { peer, up } => self.link(peer, up),
            Input::Call { call, deadline, request } => self.call(call, deadline, request, out),
            Input::Cancel { call } => {
                self.calls.finish(call);
            }
            Input::Stream { stream, op } => self.stream(stream, op, out),
            Input::DiskDone { op, result } => self.disk_done(op, &result, out),
            Input::Stop => self.begin_stop(out),
        }
        if let Some(over) = self.over.take() {
            // Nothing may follow, and nothing that is still withheld may leave.
            return Some(over);
        }
        self.pass_time(out);
        self.settle(out);
        self.over.take()
    }

    /// The last writes of a log that takes no more.
    fn step_stopped(&mut self, input: Input, out: &mut Outputs) -> Option<Over> {
        match input {
            Input::DiskDone { op, result } => self.disk_done(op, &result, out),
            Input::Call { call, .. } => out.effects.push(Effect::Reply { call, result: Err(Status::Stopped) }),
            Input::Wakeup
            | Input::Peer { .. }
            | Input::Link { .. }
            | Input::Cancel { .. }
            | Input::Stream { .. }
            | Input::Stop => {}
        }
        if let Some(over) = self.over.take() {
            return Some(over);
        }
        self.writer.flush(&mut self.disk);
        self.disk.drain(out);
        self.finish_stop(out);
        self.over.take()
    }

    /// The store as applied.
    pub(super) fn view(&self) -> StoreView {
        self.state.view()
    }

    /// A look from outside.
    pub(super) fn status(&self) -> NodeStatus {
        let (role, term, leader) = self.consensus.standing();
        NodeStatus {
            phase: self.phase(),
            role,
            term,
            leader,
            commit: self.consensus.commit(),
            applied: self.state.as_view().applied(),
            last: self.consensus.last(),
            durable: self.consensus.durable().0,
            state: self.state.digest(),
        }
    }

    fn phase(&self) -> Phase {
        match (&self.stopping, self.consensus.is_repairing()) {
            (Some(_), _) => Phase::Stopping,
            (None, true) => Phase::Repairing,
            (None, false) => Phase::Serving,
        }
    }

    /// When the member wants to be woken.
    pub(super) fn next_wakeup(&self, now: Instant) -> Wakeup {
        if self.log_is_stopped() {
            return Wakeup { at: Instant::NEVER, why: "the last writes" };
        }
        if !self.unapplied.is_empty() {
            return Wakeup { at: now, why: "entries to apply" };
        }
        if self.watches.has_work() {
            return Wakeup { at: now, why: "events to deliver" };
        }
        if self.leases.has_work() {
            return Wakeup { at: now, why: "leases of a leadership" };
        }
        let never = |at: Option<Instant>| at.unwrap_or(Instant::NEVER);
        Wakeup { at: self.next_tick, why: "raft tick" }
            .or(never(self.calls.next_deadline()), "deadline of a call")
            .or(never(self.reads.next_wakeup()), "read round")
            .or(never(self.proposals.next_again().filter(|_| self.follows())), "forwarded proposal")
            .or(never(self.forwarded_lease_ops.next_again()), "forwarded lease operation")
            .or(never(self.leases.next_wakeup().filter(|_| self.consensus.leads_with_commit())), "lease deadline")
            .or(never(self.next_sweep()), "sweep")
            .or(self.compactor.next_at(), "automatic compaction")
            .or(never(self.watches.next_wakeup()), "watch progress")
            .or(never(self.receiving.next_wakeup()), "snapshot to fetch")
    }

    /// Whether another member leads, as far as this one knows.
    pub(super) fn follows(&self) -> bool {
        let (role, _, leader) = self.consensus.standing();
        role != Role::Leader && leader != NodeId(0) && leader != self.config.node_id
    }

    /// How long to wait before asking another member again.
    pub(super) fn retry_interval(&self) -> Duration {
        self.config.heartbeat_interval * 2
    }

    /// The header of this member's responses.
    pub(super) fn header(&self) -> ResponseHeader {
        let (_, term, _) = self.consensus.standing();
        ResponseHeader {
            cluster_id: self.config.cluster_id.0,
            member_id: self.config.node_id.0,
            revision: self.state.as_view().revision(),
            raft_term: term.0,
        }
    }

    /// Answers a call, if an answer is still wanted.
    pub(super) fn reply(&mut self, call: CallId, result: Result<Response, Status>, out: &mut Outputs) {
        if self.calls.finish(call) {
            out.effects.push(Effect::Reply { call, result });
        }
    }

    /// Takes a proposal for the log, if this member leads and the disk has room.
    pub(super) fn try_propose(&mut self, data: bytes::Bytes) -> Result<(), Unproposed> {
        if !self.has_room_to_propose(&data) {
            (self.lacked_room, self.has_refused_for_room) = (true, true);
            return Err(Unproposed::NoSpace);
        }
        let lag = self.consensus.commit().0 - self.state.as_view().applied().0;
        if lag > self.config.apply_lag_max {
            return Err(Unproposed::Busy);
        }
        self.consensus.propose(data).map_err(|refusal| match refusal {
            Refusal::NotLeader => Unproposed::NotLeader,
            Refusal::Busy => Unproposed::Busy,
        })
    }

    // ---- inputs ----

    fn frame(&mut self, from: NodeId, frame: bytes::Bytes, out: &mut Outputs) {
        let Ok(body) = peer::decode(self.config.cluster_id, from, self.config.node_id, frame) else {
            out.mark("peer: a malformed frame was dropped");
            return;
        };
        match body {
            Body::Raft(bytes) => self.raft_message(from, bytes, out),
            Body::Forward(request) => self.asked(from, &request, out),
            Body::ForwardReply(reply) => self.answered(reply, out),
            Body::SnapshotFetch(fetch) => self.snapshot_fetched(from, &fetch, out),
            Body::SnapshotChunk(chunk) => self.snapshot_chunk(from, chunk, out),
        }
    }

    fn raft_message(&mut self, from: NodeId, bytes: bytes::Bytes, out: &mut Outputs) {
        if self.receiving.is_loaded() {
            // A loaded snapshot waits for the log to be quiet.
            return;
        }
        if self.writer.lacks_room() && !self.has_room_to_receive(&bytes) {
            // Taking it would promise room that is not there; silence costs the leader a retry.
            self.has_refused_for_room = true;
            out.mark("peer: entries were dropped without room for them");
            return;
        }
        match self.consensus.receive(from, &bytes) {
            Ok(()) | Err(Rejected::Busy) => {}
            Err(Rejected::Malformed(_)) => out.mark("peer: a malformed raft message was dropped"),
            Err(Rejected::NeedsSnapshot(leads_in, meta)) => {
                self.snapshot_announced(Announced { from, leads_in, meta: *meta, message: bytes }, out);
            }
            Err(Rejected::ProvesLoss(what)) => self.halt(HaltReason::LostAcknowledged { what }),
        }
    }

    fn link(&mut self, peer: NodeId, up: bool) {
        self.causes.link(peer, up, self.now);
        if !up {
            self.consensus.unreachable(peer);
        }
    }

    fn call(&mut self, call: CallId, deadline: Instant, request: Request, out: &mut Outputs) {
        if self.stopping.is_some() {
            out.effects.push(Effect::Reply { call, result: Err(Status::Stopped) });
            return;
        }
        if self.calls.len() >= self.config.calls_waiting_max {
            out.effects.push(Effect::Reply { call, result: Err(Status::TooManyRequests) });
            return;
        }
        let deadline = deadline.min(self.now + self.config.request_timeout());
        self.calls.begin(call, deadline, request.is_write().then_some(self.now));
        self.request(call, request, out);
    }

    fn stream(&mut self, stream: StreamId, op: StreamOp, out: &mut Outputs) {
        let header = self.header();
        match op {
            StreamOp::Open => self.watches.open(stream),
            StreamOp::Close => self.watches.close(stream),
            StreamOp::Credit(bytes) => {
                self.watches.credit(stream, bytes, self.state.as_view(), &header, self.now, out);
            }
            StreamOp::Request(request) => {
                self.watches.request(stream, request, self.state.as_view(), &header, self.now, out);
            }
        }
    }

    fn disk_done(&mut self, op: DiskOp, result: &Result<DiskReply, DiskError>, out: &mut Outputs) {
        match self.writer.on_disk_done(op, result, &mut self.disk) {
            Err(reason) => self.halt(reason),
            Ok(progress) if progress.ours => {
                if progress.rotated {
                    out.mark("wal: a segment was rotated");
                }
                if progress.regained_room && std::mem::take(&mut self.has_refused_for_room) {
                    out.mark("wal: room ran out and came back");
                }
                if let Some(write) = progress.durable {
                    self.durable(write, out);
                }
            }
            Ok(_) => self.file_done(op, result, out),
        }
    }

    fn durable(&mut self, write: wal::WriteId, out: &mut Outputs) {
        let (_, term, vote) = self.consensus.durable();
        let was_repairing = self.consensus.is_repairing();
        self.writes.durable(write);
        self.checkpoint_mark_durable(write, out);
        if !self.install_durable(write, out) {
            self.consensus.persisted(write);
        }
        let (index, durable_term, durable_vote) = self.consensus.durable();
        out.notes.push(Note::Durable { index, term: durable_term, vote: durable_vote });
        if was_repairing && !self.consensus.is_repairing() {
            out.mark("repair: over");
            out.notes.push(Note::Phase(self.phase()));
        }
        if (durable_term, durable_vote) != (term, vote) && durable_vote != NodeId(0) {
            out.notes.push(Note::Voted { term: durable_term, candidate: durable_vote });
        }
    }

    /// Nothing may follow.
    pub(super) fn halt(&mut self, reason: HaltReason) {
        self.over.get_or_insert(Over::Halted(reason));
    }

    // ---- time ----

    fn pass_time(&mut self, out: &mut Outputs) {
        if self.now >= self.next_tick {
            // A late member does not tick twice for what it missed: others waited only once.
            self.next_tick = self.now + self.config.heartbeat_interval;
            self.consensus.tick();
            self.reads.unpark();
            self.hand_on_when_stalled(out);
            // Room for small proposals may be left when larger ones are refused: it is asked for more in any case.
            self.writer.retry_allocate(&mut self.disk);
            self.write_mark_sometimes();
            self.sending_tick(out);
            self.forget_unwanted();
            self.publish_attributes(out);
        }
        while let Some((call, write_begun)) = self.calls.pop_overdue(self.now) {
            let status = write_begun.map_or(Status::Timeout, |begun| self.timeout_of_write(begun));
            out.effects.push(Effect::Reply { call, result: Err(status) });
        }
        let (_, term, _) = self.consensus.standing();
        self.reads.give_up_stale(self.now, term);
        self.expire_leases(out);
        self.checkpoint_leases();
        self.compact_automatically(out);
        let header = self.header();
        self.watches.wake(self.now, self.state.as_view(), &header, out);
        self.receiving_wakeup(out);
    }

    /// Records how far the log is durable, so that damage below is told from a torn tail: at every tick for the case
    /// that the process dies, and with a sync now and then for the case that the power fails.
    fn write_mark_sometimes(&mut self) {
        if self.ticks.is_multiple_of(MARK_INTERVAL_TICKS) {
            self.writer.write_mark(&mut self.disk);
        } else {
            self.writer.note_mark(&mut self.disk);
        }
        self.ticks += 1;
    }

    /// Forgets what nobody waits for any more and nothing has been done about.
    fn forget_unwanted(&mut self) {
        let calls = &self.calls;
        self.reads.retain(self.now, |call| calls.wants(call));
        self.proposals.retain(|call| calls.wants(call));
    }

    /// A leader whose disk stalls, or has no room, hands leadership on: others can acknowledge writes, it cannot.
    fn hand_on_when_stalled(&mut self, out: &mut Outputs) {
        let patience = self.config.election_timeout;
        let stalled = self.writes.oldest().is_some_and(|since| self.now - since > patience);
        // An attempt is given up after an election timeout. Before the next one, what came meanwhile is proposed:
        // others can acknowledge it.
        let tried_lately = self.handed_on_at.is_some_and(|at| self.now - at < 2 * patience);
        if (stalled && !tried_lately || self.is_to_hand_on_without_room())
            && self.consensus.is_leader()
            && let Some(successor) = self.consensus.best_successor()
        {
            self.consensus.transfer(successor);
            self.handed_on_at = Some(self.now);
            out.mark("leader: handed on because its disk could not write");
        }
        self.lacked_room = false;
    }

    // ---- settling ----

    /// Carries everything that the input set off as far as it goes now.
    fn settle(&mut self, out: &mut Outputs) {
        loop {
            self.settle_round(out);
            if !self.consensus.has_work() {
                break;
            }
        }
        self.leases.adopt_some(self.now, |after| self.state.as_view().leases_after(after));
        self.leases.let_go_some();
        let header = self.header();
        self.watches.pump(self.state.as_view(), &header, self.now, out);
        self.trim_log();
        self.checkpoint_step(out);
        self.writer.flush(&mut self.disk);
        self.send_outgoing(out);
        self.disk.drain(out);
        self.finish_stop(out);
    }

    // Apart from the loop around it: there, the compiler would lay out before the first round where everything stands
    // that any of these may touch, and most of them have nothing to do at most steps.
    #[inline(never)]
    fn settle_round(&mut self, out: &mut Outputs) {
        self.drain_consensus(out);
        self.apply_some(out);
        self.note_standing(out);
        self.advance_sweep(out);
        self.propose_held(out);
        self.propose_waiting(out);
        self.append_proposed();
        self.forward_waiting(out);
        self.advance_reads(out);
        self.reply_keep_alives(out);
    }

    fn drain_consensus(&mut self, out: &mut Outputs) {
        let offered = self.install_when_quiet();
        // Asked before the way through all that a batch may need: at most steps there is none.
        let installs = self.consensus.has_work() && self.take_batches(out);
        if offered && !installs {
            self.install_refused(out);
        }
    }

    /// Takes the batches that there are. Whether the last one has a snapshot, that is installed before anything else.
    #[inline(never)]
    fn take_batches(&mut self, out: &mut Outputs) -> bool {
        while let Some(mut batch) = self.consensus.next_batch() {
            // What stands in the batch was done in the role that the member has now.
            self.note_standing(out);
            if let Some(meta) = batch.snapshot.clone() {
                self.install_begin(&mut batch, meta, out);
                return true;
            }
            // Observers hear of a new role before they hear what is appended in it.
            self.note_standing(out);
            self.write(&mut batch, None, out);
            self.take_outgoing(out);
            for (round, index) in std::mem::take(&mut batch.reads) {
                self.confirm_round(round, index, out);
            }
            self.unapplied.extend(std::mem::take(&mut batch.committed));
        }
        false
    }

    /// Hands a batch to the log; the write that carries it, if it has to be durable.
    pub(super) fn write(
        &mut self,
        batch: &mut Batch,
        mark: Option<&SnapshotMeta>,
        out: &mut Outputs,
    ) -> Option<wal::WriteId> {
        let appended =
            |entry: &Entry| Note::Appended { index: entry.index, term: entry.term, entry: entry_digest(entry) };
        out.notes.extend(batch.entries.iter().map(appended));
        let empty = batch.entries.is_empty() && batch.hard_state.is_none() && mark.is_none();
        let entries = std::mem::take(&mut batch.entries);
        let write = (!empty).then(|| self.writer.append(entries, batch.hard_state, mark.cloned()));
        let waits = write.filter(|write| batch.must_sync && *write > self.writer.durable());
        if let Some(write) = waits {
            self.writes.begin(write, self.now);
        }
        self.consensus.wrote(batch, waits);
        waits
    }

    fn note_standing(&mut self, out: &mut Outputs) {
        let standing = self.consensus.standing();
        if standing == self.standing {
            return;
        }
        let (before, _, _) = self.standing;
        let (role, term, leader) = standing;
        let led_term = self.standing.1;
        self.standing = standing;
        self.causes.leader(leader, self.now);
        out.notes.push(Note::Role { role, term, leader });
        self.reads.unpark();
        let leads_anew = role == Role::Leader && (before != Role::Leader || term != led_term);
        if before == Role::Leader && (role != Role::Leader || leads_anew) {
            self.leases.step_down();
            self.leads_in = None;
            self.reads.step_down();
            self.sending.forget_all(out);
        }
        if leads_anew {
            self.judged.begin(term);
            self.leads_in = Some(term);
        }
    }

    /// Proposes what waits, if this member leads.
    fn propose_waiting(&mut self, out: &mut Outputs) {
        if self.proposals.none_waiting() || !self.consensus.is_leader() || self.consensus.hands_on() {
            return;
        }
        for sequence in self.proposals.all_waiting() {
            let data = self.proposals.get(sequence).expect("listed").data.clone();
            match self.try_propose(data) {
                Ok(()) => self.proposals.place(sequence, Place::Appended),
                Err(Unproposed::NotLeader) => break,
                Err(Unproposed::NoSpace) => self.refuse_proposal(sequence, Status::NoSpace, out),
                Err(Unproposed::Busy) => self.refuse_proposal(sequence, Status::TooManyRequests, out),
            }
        }
    }

    /// Lets the next batch of proposals go: if this member's disk may write it, if nothing else waits for being
    /// committed, or if it fills a message. Otherwise more is gathered, as one batch costs the cluster as much as one
    /// entry does.
    fn append_proposed(&mut self) {
        let (proposals, bytes) = self.consensus.proposed();
        let is_full = bytes >= self.config.append_bytes_max;
        if proposals > 0 && (is_full || self.writer.is_free() || self.consensus.is_committed()) {
            self.consensus.append_proposed();
        }
    }

    /// A proposal was refused for good; nothing was done.
    pub(super) fn refuse_proposal(&mut self, sequence: u64, status: Status, out: &mut Outputs) {
        let Some(proposal) = self.proposals.remove(sequence) else { return };
        if let Some(call) = proposal.call {
            self.reply(call, Err(status), out);
        }
    }

    /// Takes the messages that may leave. A snapshot among them is one of the state as it stands now.
    fn take_outgoing(&mut self, out: &mut Outputs) {
        let mut place = self.outgoing.len();
        self.consensus.take_outgoing(&mut self.outgoing);
        while let Some(message) = self.outgoing.get_mut(place) {
            let to = message.to;
            match message.snapshot.take() {
                Some(meta) if !self.snapshot_leaves(to, &meta, out) => drop(self.outgoing.remove(place)),
                Some(_) | None => place += 1,
            }
        }
    }

    fn send_outgoing(&mut self, out: &mut Outputs) {
        self.take_outgoing(out);
        for Outgoing { to, kind, frame, .. } in self.outgoing.drain(..) {
            out.effects.push(Effect::Send { to, kind, frame });
        }
    }

    /// Where the state stands in the log, to take a snapshot of it.
    pub(super) fn applied_meta(&self) -> SnapshotMeta {
        let meta = self.consensus.applied().clone();
        assert_eq!(meta.index, self.state.as_view().applied(), "log and state stand at one place");
        meta
    }

    /// The index of the last applied entry.
    pub(super) fn applied(&self) -> LogIndex {
        self.state.as_view().applied()
    }
}
