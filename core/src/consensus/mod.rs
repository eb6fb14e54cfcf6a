//! Consensus on raft-rs, fenced. The only place that knows raft-rs.
//!
//! raft-rs is used as published. Everything it asks of its driver (persist before this, apply before that, never call
//! in between) is honoured here and is invisible outside: the node sees [`Batch`]es of entries to write and entries to
//! apply, and messages that may leave now.

mod carried;
mod convert;
mod election;
mod log_cache;
mod outbox;
mod proposing;
mod repair;
mod sending;
mod validate;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use raft::eraftpb::{self, MessageType};
use raft::{ProgressState, RawNode, ReadOnlyOption, SnapshotStatus, StateRole};

pub(crate) use self::carried::{Carried, carried};
pub(crate) use self::convert::entry_digest;
use self::election::ElectionDraws;
use self::log_cache::LogCache;
use self::outbox::{InFlight, Outbox};
use self::repair::Repair;
use self::sending::EncodedEntries;
use crate::config::NodeConfig;
use crate::log::{Entry, EntryKind, HardState, SnapshotMeta};
use crate::node::Role;
use crate::types::{ClusterId, LogIndex, NodeId, Term};
use crate::wal::WriteId;

/// What a member begins with: what its disk holds.
pub(crate) struct Start {
    /// The hard state.
    pub(crate) hard_state: HardState,
    /// The entry before the first of `entries`.
    pub(crate) base: (LogIndex, Term),
    /// The entries after it.
    pub(crate) entries: Vec<Entry>,
    /// Where the state machine stands: index, its entry's term, and the configuration exactly there.
    pub(crate) applied: SnapshotMeta,
    /// Which life of this member this is; never used before.
    pub(crate) boot: u64,
    /// In terms up to this one, it may have acknowledged entries that its disk lost. `hard_state` is of a later term.
    pub(crate) lost_until: Option<Term>,
}

/// A message for another member.
pub(crate) struct Outgoing {
    /// To whom.
    pub(crate) to: NodeId,
    /// Its kind.
    pub(crate) kind: &'static str,
    /// As a frame.
    pub(crate) frame: Bytes,
    /// For a snapshot: what it announces.
    pub(crate) snapshot: Option<Box<SnapshotMeta>>,
}

/// What one `Ready` of raft-rs asks for.
#[derive(Default)]
pub(crate) struct Batch {
    /// Entries to write, overwriting what has their indexes.
    pub(crate) entries: Vec<Entry>,
    /// A hard state to write with them.
    pub(crate) hard_state: Option<HardState>,
    /// Whether the write has to be durable before anything depends on it (a commit index alone need not be).
    pub(crate) must_sync: bool,
    /// Entries to apply.
    pub(crate) committed: Vec<Entry>,
    /// Reads that are confirmed: the round, and the index that they must see.
    pub(crate) reads: Vec<(u64, LogIndex)>,
    /// A snapshot to install first; then nothing else may be asked of consensus until it is durable.
    pub(crate) snapshot: Option<SnapshotMeta>,
    /// With a snapshot: the last entry of the log that it replaces.
    pub(crate) replaced_last: LogIndex,
    ready: u64,
    /// The first and the last of the entries to write, and the term of the last: the entries themselves are handed to
    /// the log before consensus hears that they were.
    span: Option<(LogIndex, LogIndex, Term)>,
    later: Vec<Outgoing>,
}

/// Why a message from another member is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// It is malformed. Dropped.
    Malformed(&'static str),
    /// Nothing can be taken now; the sender will try again.
    Busy,
    /// It announces, in this term, a snapshot that has to be fetched first.
    NeedsSnapshot(Term, Box<SnapshotMeta>),
    /// It proves that this member lost what it had acknowledged.
    ProvesLoss(String),
}

/// Why a proposal is not taken. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This member does not lead, or is handing leadership on.
    NotLeader,
    /// Too much is uncommitted.
    Busy,
}

/// One member's consensus.
pub(crate) struct Consensus {
    raw: RawNode<LogCache>,
    cluster: ClusterId,
    node: NodeId,
    boot: u64,
    draws: ElectionDraws,
    outbox: Outbox,
    outgoing: Vec<Outgoing>,
    /// Entries of messages that were encoded lately.
    encoded: EncodedEntries,
    /// A snapshot that is not durable yet: until it is, raft-rs may not be touched.
    installing: Option<(raft::Ready, SnapshotMeta, Vec<Outgoing>)>,
    last_ready: u64,
    repair: Repair,
    /// Proposals that are taken and not in the log yet, in the term of `uncommitted`.
    proposed: Vec<Bytes>,
    /// How many bytes of data those have.
    proposed_bytes: u64,
    /// The data of this member's own proposals that are not committed, in bytes, and the term that it proposed them in.
    uncommitted: (Term, u64),
    uncommitted_bytes_max: u64,
    message_bytes_max: u64,
}

impl Consensus {
    /// Starts from what the disk holds.
    pub(crate) fn open(config: &NodeConfig, start: Start) -> Consensus {
        let commit = start.hard_state.commit.max(start.applied.index);
        let hard_state = HardState { commit, ..start.hard_state };
        let read_bytes_max = config.append_bytes_max.max(64 << 10);
        let mut cache = LogCache::new(start.base, start.applied.clone(), hard_state, read_bytes_max);
        cache.append(&start.entries);
        let last = cache.last();
        assert!(commit <= last, "the log ends before its commit index");
        assert!(start.lost_until.is_none_or(|lost| hard_state.term > lost), "terms with a loss are left behind");
        let election_ticks = election_ticks(config);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw =
            RawNode::new(&raft_config(config, &start, election_ticks), cache, &logger).expect("a valid configuration");
        let mut consensus = Consensus {
            raw,
            cluster: config.cluster_id,
            node: config.node_id,
            boot: start.boot,
            draws: ElectionDraws::new(config.seed, config.node_id, start.boot, election_ticks),
            outbox: Outbox::new(hard_state, last),
            outgoing: Vec::new(),
            encoded: EncodedEntries::default(),
            installing: None,
            last_ready: 0,
            repair: Repair::of(start.lost_until),
            proposed: Vec::new(),
            proposed_bytes: 0,
            uncommitted: (Term(0), 0),
            uncommitted_bytes_max: config.uncommitted_bytes_max.max(config.append_bytes_max),
            message_bytes_max: config.append_bytes_max,
        };
        consensus.fix_election_timeout();
        consensus
    }

    // ---- looking ----

    /// The member's role, term and leader.
    pub(crate) fn standing(&self) -> (Role, Term, NodeId) {
        let role = match self.raw.raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        };
        (role, Term(self.raw.raft.term), NodeId(self.raw.raft.leader_id))
    }

    /// Whether this member leads.
    pub(crate) fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader
    }

    /// Whether this member leads, and its log is committed up to its own term: only then it knows what was
    /// acknowledged before it (Raft thesis, section 6.4).
    pub(crate) fn leads_with_commit(&self) -> bool {
        // What a leader commits was handed to the log before. What is committed and was not is of an earlier leader.
        self.is_leader() && self.term_of(self.commit()) == Some(Term(self.raw.raft.term))
    }

    /// The commit index.
    pub(crate) fn commit(&self) -> LogIndex {
        LogIndex(self.raw.raft.raft_log.committed)
    }

    /// The last entry of the log, durable or not.
    pub(crate) fn last(&self) -> LogIndex {
        self.raw.store().last()
    }

    /// The last entry up to which the log, as it stands, is durable, and the durable term and vote.
    pub(crate) fn durable(&self) -> (LogIndex, Term, NodeId) {
        self.outbox.durable()
    }

    /// Where the state machine stands.
    pub(crate) fn applied(&self) -> &SnapshotMeta {
        self.raw.store().snapshot_meta()
    }

    /// The entry before the first one in memory.
    pub(crate) fn log_base(&self) -> LogIndex {
        self.raw.store().base()
    }

    /// Payload bytes of the log in memory.
    pub(crate) fn log_bytes(&self) -> u64 {
        self.raw.store().bytes()
    }

    /// The term of an entry, if the log still knows it.
    pub(crate) fn term_of(&self, index: LogIndex) -> Option<Term> {
        self.raw.store().term_of(index)
    }

    /// Whether this member may lack entries that it had acknowledged. Until it has them it does not vote.
    pub(crate) fn is_repairing(&self) -> bool {
        self.repair.is_needed()
    }

    /// Whether a snapshot is being installed, and nothing may be asked of consensus.
    pub(crate) fn is_installing(&self) -> bool {
        self.installing.is_some()
    }

    /// Whether the log has what that snapshot stands for, so that raft-rs would not install it.
    pub(crate) fn has(&self, meta: &SnapshotMeta) -> bool {
        meta.index <= self.commit() || self.term_of(meta.index) == Some(meta.term)
    }

    /// Whether the leader still considers `peer` to be waiting for a snapshot.
    pub(crate) fn wants_snapshot(&self, peer: NodeId) -> bool {
        let progress = self.raw.raft.prs().get(peer.0);
        self.is_leader() && progress.is_some_and(|progress| progress.state == ProgressState::Snapshot)
    }

    /// Up to where the leader knows the log of `peer` to be like its own, and whether it has heard of it lately; `None`
    /// for who is no member.
    pub(crate) fn matched(&self, peer: NodeId) -> Option<(LogIndex, bool)> {
        let progress = self.raw.raft.prs().get(peer.0)?;
        Some((LogIndex(progress.matched), progress.recent_active))
    }

    /// The voter, other than this one, whose log is known to reach furthest, if it was heard of lately.
    pub(crate) fn best_successor(&self) -> Option<NodeId> {
        let conf = &self.applied().conf_state;
        let peers = conf.voters.iter().filter(|id| **id != self.node);
        let reach = |id: &&NodeId| {
            let progress = self.raw.raft.prs().get(id.0)?;
            progress.recent_active.then_some((progress.matched, u64::MAX - id.0))
        };
        peers.filter(|id| reach(id).is_some()).max_by_key(reach).copied()
    }

    // ---- asking ----

    /// One heartbeat interval went by.
    pub(crate) fn tick(&mut self) {
        if self.installing.is_some() || self.could_win_unsynced() || self.is_repairing() {
            return;
        }
        let leads = self.is_leader();
        if self.raw.tick() && !leads {
            self.draws.campaigned();
        }
        self.fix_election_timeout();
    }

    /// Takes a raft message that the network says comes from `from`.
    pub(crate) fn receive(&mut self, from: NodeId, bytes: &[u8]) -> Result<(), Rejected> {
        if self.installing.is_some() {
            return Err(Rejected::Busy);
        }
        let received = wire::decode(bytes).map_err(|_| Rejected::Malformed("not a raft message"))?;
        let message = &received.message;
        let (_, term, leader) = self.standing();
        let here = validate::Here { node: self.node, term, leader, last: self.last() };
        validate::check(&here, from, message).map_err(|refused| match refused {
            validate::Refused::Malformed(what) => Rejected::Malformed(what),
            validate::Refused::ProvesLoss { commit } => Rejected::ProvesLoss(format!(
                "member {from} knows this log to be committed up to {commit}, but it ends at {}",
                here.last
            )),
        })?;
        if message.msg_type == MessageType::MsgTimeoutNow as i32 && !self.outbox.is_empty() {
            return Err(Rejected::Busy);
        }
        if !self.repair.allows(message.msg_type) {
            return Err(Rejected::Busy);
        }
        if let Some(meta) = self.snapshot_to_fetch(message) {
            return Err(Rejected::NeedsSnapshot(Term(message.term), Box::new(meta)));
        }
        self.step(received.message);
        let mut payloads = received.payloads;
        // raft-rs may have ignored the message, or a part of it.
        payloads.retain(|payload| self.is_taken(payload));
        self.raw.mut_store().keep(&payloads);
        Ok(())
    }

    /// Whether raft-rs has the entry of this data in its log and has not handed it on yet.
    fn is_taken(&self, payload: &wire::Payload<'_>) -> bool {
        let unstable = self.raw.raft.raft_log.unstable();
        let place = payload.index.0.checked_sub(unstable.offset).and_then(|place| usize::try_from(place).ok());
        let entry = place.and_then(|place| unstable.entries.get(place));
        entry.is_some_and(|entry| wire::is_elsewhere(entry) && entry.term == payload.term.0)
    }

    /// Takes a snapshot message whose snapshot has been fetched and is durable, or that turned out not to be needed.
    pub(crate) fn receive_fetched(&mut self, bytes: &[u8]) {
        assert!(self.installing.is_none(), "one snapshot at a time");
        let received = wire::decode(bytes).expect("decoded once before");
        self.step(received.message);
    }

    /// Starts a round that confirms leadership; it comes back in [`Batch::reads`], or never. `round` is not used twice
    /// in a life. Only for a leader that has committed in its term: raft-rs drops others silently.
    pub(crate) fn confirm(&mut self, round: u64) {
        assert!(self.installing.is_none() && self.leads_with_commit(), "only a leader that knows confirms");
        let mut context = Vec::with_capacity(16);
        context.extend(self.boot.to_le_bytes());
        context.extend(round.to_le_bytes());
        self.raw.read_index(context);
        self.fix_election_timeout();
    }

    /// Hands leadership to `to`, if it can catch up in time.
    pub(crate) fn transfer(&mut self, to: NodeId) {
        if self.installing.is_none() && self.is_leader() {
            // The successor gets what was gathered before it is asked to campaign; later it would be lost.
            self.append_proposed();
            self.raw.transfer_leader(to.0);
            self.fix_election_timeout();
        }
    }

    /// The link to `peer` was lost.
    pub(crate) fn unreachable(&mut self, peer: NodeId) {
        if self.installing.is_none() && self.is_leader() {
            self.raw.report_unreachable(peer.0);
            self.fix_election_timeout();
        }
    }

    /// An attempt to send a snapshot to `peer` has ended without an acknowledgement: with `all_sent`, the log after it
    /// is tried. Every attempt ends here, or its follower waits for ever.
    pub(crate) fn snapshot_sent(&mut self, peer: NodeId, all_sent: bool) {
        if self.installing.is_none() && self.is_leader() {
            let status = if all_sent { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
            self.raw.report_snapshot(peer.0, status);
            self.fix_election_timeout();
        }
    }

    // ---- draining ----

    /// Whether [`Consensus::next_batch`] would give one.
    pub(crate) fn has_work(&self) -> bool {
        self.installing.is_none() && self.raw.has_ready()
    }

    /// The next batch, if there is one. Its write must be reported by [`Consensus::wrote`] before anything else.
    pub(crate) fn next_batch(&mut self) -> Option<Batch> {
        if self.installing.is_some() || !self.raw.has_ready() {
            return None;
        }
        let mut ready = self.raw.ready();
        assert_eq!(ready.number(), self.last_ready + 1, "every Ready is taken");
        self.last_ready = ready.number();
        let mut batch = Batch { ready: ready.number(), must_sync: ready.must_sync(), ..Batch::default() };
        batch.hard_state = ready.hs().map(convert::hard_state_from_raft);
        batch.reads = ready.take_read_states().iter().filter_map(|read| self.round_of(read)).collect();
        batch.entries = self.raw.mut_store().complete(ready.take_entries());
        self.raw.mut_store().append(&batch.entries);
        let ends = batch.entries.first().zip(batch.entries.last());
        batch.span = ends.map(|(first, last)| (first.index, last.index, last.term));
        let immediate = self.frames(ready.take_messages());
        batch.later = self.frames(ready.take_persisted_messages());
        if ready.snapshot().get_metadata().index > 0 {
            self.begin_install(ready, immediate, &mut batch);
            return Some(batch);
        }
        let (_, term, _) = self.standing();
        if self.outbox.knows_durably(term, NodeId(self.raw.raft.vote)) {
            self.send(immediate);
        } else {
            batch.later.splice(0..0, immediate);
        }
        batch.committed = self.committed(&ready.take_committed_entries());
        self.raw.advance_append_async(ready);
        Some(batch)
    }

    /// The batch was handed to the log writer: `write` carries it if it has to be durable.
    pub(crate) fn wrote(&mut self, batch: &mut Batch, write: Option<WriteId>) {
        let later = std::mem::take(&mut batch.later);
        if let Some((_, _, held)) = &mut self.installing {
            held.extend(later);
            return;
        }
        if let Some(write) = write {
            self.outbox.push(InFlight {
                write,
                ready: batch.ready,
                entries: batch.span.map(|(first, last, _)| (first, last)),
                last_term: batch.span.map(|(_, _, term)| term),
                hard_state: batch.hard_state,
                messages: later,
            });
        } else if let Err(free) = self.outbox.attach(later, batch.ready) {
            self.send(free);
            self.raw.on_persist_ready(batch.ready);
            self.fix_election_timeout();
        }
    }

    /// Everything up to and including `write` is durable.
    pub(crate) fn persisted(&mut self, write: WriteId) {
        let completed = self.outbox.complete(write);
        if let Some(term) = completed.last_term {
            self.repair.on_durable(term);
        }
        self.send(completed.messages);
        if let Some(ready) = completed.persisted {
            self.raw.on_persist_ready(ready);
            self.fix_election_timeout();
        }
    }

    /// Whether the disk has nothing in flight for consensus: a snapshot may be installed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.outbox.is_empty()
    }

    /// The snapshot of the last batch is durable: the state machine has it, the log marks it.
    pub(crate) fn installed(&mut self, hard_state: Option<HardState>) {
        let (ready, meta, messages) = self.installing.take().expect("a snapshot was being installed");
        let number = ready.number();
        self.raw.advance_append_async(ready);
        self.raw.on_persist_ready(number);
        self.raw.advance_apply_to(meta.index.0);
        self.outbox.installed(meta.index, hard_state);
        self.repair.on_durable(meta.term);
        self.send(messages);
        self.fix_election_timeout();
    }

    /// Entries up to `entry` were applied. Conf changes among them must have gone through
    /// [`Consensus::apply_conf_change`] first.
    pub(crate) fn applied_to(&mut self, index: LogIndex, term: Term) {
        self.raw.mut_store().applied_to(index, term);
        self.raw.advance_apply_to(index.0);
        self.fix_election_timeout();
    }

    /// Applies a committed conf change. One that is refused (it would leave no voters, say) changes nothing, on all
    /// members alike.
    pub(crate) fn apply_conf_change(&mut self, entry: &Entry) {
        assert!(!self.applied().conf_state.voters.is_empty(), "a member without voters applies no conf change");
        let applied = match entry.kind {
            EntryKind::Normal => return,
            EntryKind::ConfChange => match convert::to_raft_conf_change(&entry.data) {
                Some(change) => self.raw.apply_conf_change(&change),
                None => return,
            },
            EntryKind::ConfChangeV2 => match <eraftpb::ConfChangeV2 as prost_raft::Message>::decode(&entry.data[..]) {
                Ok(change) => self.raw.apply_conf_change(&change),
                Err(_) => return,
            },
        };
        let Ok(conf_state) = applied else { return };
        let conf_state = convert::conf_state_from_raft(&conf_state);
        let votes = conf_state.voters.contains(&self.node);
        self.raw.mut_store().reconfigured(conf_state);
        if self.is_leader() && !votes {
            // raft-rs would go on leading without a place in its own tables, and panic at its next write.
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, 0);
        }
        self.fix_election_timeout();
    }

    /// Forgets entries up to `index`; followers that need them get a snapshot.
    pub(crate) fn compact(&mut self, index: LogIndex) {
        if index > self.log_base() {
            self.raw.mut_store().compact(index);
        }
    }

    /// Forgets entries, the oldest first, until the others take no more than `bytes` of payload, or up to `at_most`.
    pub(crate) fn compact_to_bytes(&mut self, bytes: u64, at_most: LogIndex) {
        self.raw.mut_store().compact_to_bytes(bytes, at_most);
    }

    /// Moves the messages that may leave now to the end of `out`.
    pub(crate) fn take_outgoing(&mut self, out: &mut Vec<Outgoing>) {
        out.append(&mut self.outgoing);
    }

    // ---- inside ----

    fn step(&mut self, message: eraftpb::Message) {
        // An error means that raft-rs ignored the message: an unknown sender, a dropped reply.
        let _ignored = self.raw.step(message);
        self.fix_election_timeout();
    }

    /// raft-rs draws a timeout of its own at every reset; it reads it at the next tick at the earliest.
    fn fix_election_timeout(&mut self) {
        let ticks = self.draws.ticks(Term(self.raw.raft.term));
        self.raw.raft.set_randomized_election_timeout(ticks);
    }

    /// A member that can win alone becomes leader inside the call that campaigns; raft-rs panics if entries of the
    /// time before are still on their way to the disk.
    fn could_win_unsynced(&self) -> bool {
        !self.is_leader() && !self.outbox.is_empty() && self.raw.raft.prs().is_singleton()
    }

    /// The snapshot that `message` announces, if raft-rs would install it.
    fn snapshot_to_fetch(&self, message: &eraftpb::Message) -> Option<SnapshotMeta> {
        if message.msg_type != MessageType::MsgSnapshot as i32 || message.term < self.raw.raft.term {
            return None;
        }
        let meta = convert::meta_from_raft(message.get_snapshot().get_metadata());
        (!self.has(&meta)).then_some(meta)
    }

    fn begin_install(&mut self, ready: raft::Ready, immediate: Vec<Outgoing>, batch: &mut Batch) {
        assert!(ready.committed_entries().is_empty(), "nothing is committed beside a snapshot");
        assert!(batch.entries.is_empty(), "nothing is appended beside a snapshot");
        let meta = convert::meta_from_raft(ready.snapshot().get_metadata());
        batch.replaced_last = self.last();
        self.raw.mut_store().install(meta.clone());
        batch.snapshot = Some(meta.clone());
        batch.must_sync = true;
        self.installing = Some((ready, meta, immediate));
    }

    fn round_of(&self, read: &raft::ReadState) -> Option<(u64, LogIndex)> {
        let boot = u64::from_le_bytes(read.request_ctx.get(..8)?.try_into().ok()?);
        let round = u64::from_le_bytes(read.request_ctx.get(8..16)?.try_into().ok()?);
        (boot == self.boot).then_some((round, LogIndex(read.index)))
    }

    /// Committed entries as they stand in the log.
    fn committed(&mut self, entries: &[eraftpb::Entry]) -> Vec<Entry> {
        let log = self.raw.store();
        let whole = |entry: &eraftpb::Entry| log.entry(LogIndex(entry.index), Term(entry.term)).cloned();
        let entries: Vec<Entry> = entries
            .iter()
            .map(|entry| whole(entry).expect("what is committed and not applied is in the log"))
            .collect();
        let own = entries.iter().filter(|entry| entry.term == self.uncommitted.0);
        let bytes: u64 = own.map(|entry| entry.data.len() as u64).sum();
        self.uncommitted.1 = self.uncommitted.1.saturating_sub(bytes);
        entries
    }
}

/// How many ticks (heartbeat intervals) an election timeout has.
fn election_ticks(config: &NodeConfig) -> usize {
    let ticks = config.election_timeout.as_nanos() / config.heartbeat_interval.max(Duration::from_nanos(1)).as_nanos();
    usize::try_from(ticks).unwrap_or(usize::MAX).clamp(2, 1 << 20)
}

fn raft_config(config: &NodeConfig, start: &Start, election_ticks: usize) -> raft::Config {
    raft::Config {
        id: config.node_id.0,
        election_tick: election_ticks,
        heartbeat_tick: 1,
        applied: start.applied.index.0,
        max_size_per_msg: config.append_bytes_max,
        max_inflight_msgs: config.appends_in_flight_max,
        check_quorum: true,
        pre_vote: true,
        min_election_tick: election_ticks,
        max_election_tick: election_ticks * 2,
        read_only_option: ReadOnlyOption::Safe,
        skip_bcast_commit: false,
        batch_append: false,
        priority: 0,
        // It does not see the data: proposals are measured here, and what is committed by the log cache.
        max_uncommitted_size: raft::NO_LIMIT,
        max_committed_size_per_ready: raft::NO_LIMIT,
    }
}

#[cfg(test)]
mod tests;
