//! Receiving a snapshot: pull it in chunks, check it while it arrives, make it durable as a checkpoint, and only then
//! let raft-rs know of it. While it is installed nothing else touches consensus.
//!
//! Chunks are on their way while the disk writes those before, and the sender hears of this member again and again
//! until the snapshot is installed: a slow disk here must not look like a member that is gone.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::checkpoint_file::{CheckpointFile, FileProgress};
use super::member::Member;
use super::snapshot_send;
use super::snapshot_window::CHUNKS_ON_THEIR_WAY_MAX;
use crate::consensus::Batch;
use crate::disk_queue::DiskQueue;
use crate::effect::{DiskAction, Effect, Garbage, Note, Outputs};
use crate::input::{DiskError, DiskReply};
use crate::log::{HardState, SnapshotMeta};
use crate::peer::Body;
use crate::proto::detcdpeer as pb;
use crate::snapshot::{SnapshotError, SnapshotLoader, checkpoint_name};
use crate::state_machine::StateMachine;
use crate::time::Instant;
use crate::types::{DiskOp, LogIndex, NodeId, Term};
use crate::wal::WriteId;

/// A sender that gives nothing for this many election timeouts is given up. Longer than the sender waits for this
/// member: while it still holds what it sends, going on is cheaper than beginning anew.
const PATIENCE_ELECTION_TIMEOUTS: u32 = snapshot_send::PATIENCE_ELECTION_TIMEOUTS + 1;

/// So many chunks may wait for the disk. As many as are on their way may come at once, and hold nobody up.
const CHUNKS_WAITING_MAX: usize = 2 * CHUNKS_ON_THEIR_WAY_MAX;

/// A snapshot on its way in.
#[derive(Default)]
pub(super) struct Receiving {
    fetch: Option<Fetch>,
    installing: Option<Installing>,
    /// The newest one that the same leader announced while another was whole: begun when that is done with.
    announced: Option<Announced>,
    /// When the sender is to hear of this member again.
    speak_at: Instant,
    /// How often it was asked for the same lately: the more, the less often it is asked. A slow link has to carry all
    /// that is sent again.
    asked_again: u32,
}

/// A snapshot whose mark is on its way to the log.
struct Installing {
    write: WriteId,
    hard_state: Option<HardState>,
    from: NodeId,
    place: (LogIndex, Term),
}

/// A snapshot that a leader has.
pub(super) struct Announced {
    pub(super) from: NodeId,
    /// The term of its leadership.
    pub(super) leads_in: Term,
    pub(super) meta: SnapshotMeta,
    /// The raft message that announced it, for raft-rs when everything is here.
    pub(super) message: Bytes,
}

struct Fetch {
    announced: Announced,
    file: CheckpointFile,
    /// The chunks before this one are here.
    next: u64,
    /// They are all that there are.
    is_whole: bool,
    stage: Stage,
    give_up_at: Instant,
}

enum Stage {
    /// Chunks arrive and are written.
    Fetching(Arriving),
    /// Everything is written; the file becomes durable.
    Finishing(Box<StateMachine>),
    /// Waits until the log's writes are done.
    Loaded(Box<StateMachine>),
}

#[derive(Default)]
struct Arriving {
    loader: Box<SnapshotLoader>,
    /// What came before the one that is next.
    early: BTreeMap<u64, pb::SnapshotChunk>,
    /// What is to be written after the one that is being written.
    waiting: VecDeque<Bytes>,
}

impl Arriving {
    fn room(&self) -> usize {
        (CHUNKS_WAITING_MAX - self.waiting.len()).min(CHUNKS_ON_THEIR_WAY_MAX)
    }
}

impl Stage {
    fn begun() -> Stage {
        Stage::Fetching(Arriving::default())
    }

    /// Drops what was loaded, where time allows: it may be a whole state.
    fn discard(self, out: &mut Outputs) {
        let loaded = match &self {
            Stage::Fetching(arriving) => arriving.loader.partial(),
            Stage::Finishing(state) | Stage::Loaded(state) => Some(state.view()),
        };
        out.effects.extend(loaded.map(|loaded| Effect::Discard(Garbage(loaded))));
    }
}

impl Fetch {
    /// How many chunks can be taken; none when all are here.
    fn room(&self) -> usize {
        match &self.stage {
            Stage::Fetching(arriving) if !self.is_whole => arriving.room(),
            Stage::Fetching(_) | Stage::Finishing(_) | Stage::Loaded(_) => 0,
        }
    }

    /// Whether everything that came is written, and only the sender can bring this further.
    fn waits_for_sender(&self) -> bool {
        self.room() > 0 && self.file.is_idle()
    }

    /// Takes the chunks that are next, as far as they are here and there is room; how many.
    ///
    /// # Errors
    /// One does not add up.
    fn take_arrived(&mut self) -> Result<usize, SnapshotError> {
        let mut taken = 0;
        while self.room() > 0
            && let Stage::Fetching(arriving) = &mut self.stage
            && let Some(chunk) = arriving.early.remove(&self.next)
        {
            arriving.loader.feed(&chunk.data)?;
            arriving.waiting.push_back(chunk.data);
            self.next += 1;
            self.is_whole = chunk.last;
            taken += 1;
        }
        Ok(taken)
    }

    /// Writes the next chunk, if there is one and none is being written.
    fn write_waiting(&mut self, disk: &mut DiskQueue) {
        if self.file.is_idle()
            && let Stage::Fetching(arriving) = &mut self.stage
            && let Some(chunk) = arriving.waiting.pop_front()
        {
            self.file.push(chunk, disk);
        }
    }
}

impl Receiving {
    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.fetch.is_none() && self.installing.is_none()
    }

    /// Whether a snapshot is loaded and waits for the disk to be quiet.
    pub(super) fn is_loaded(&self) -> bool {
        self.fetch.as_ref().is_some_and(|fetch| matches!(fetch.stage, Stage::Loaded(_)))
    }

    /// When to ask again.
    pub(super) fn next_wakeup(&self) -> Option<Instant> {
        (!self.is_idle()).then_some(self.speak_at)
    }

    /// Whom this member pulls a snapshot from, and what it has to say about it.
    fn speaks(&self) -> Option<(NodeId, pb::SnapshotFetch)> {
        if let Some(Installing { from, place: (index, term), .. }) = &self.installing {
            return Some((*from, pb::SnapshotFetch { index: index.0, term: term.0, chunk: 0, room: 0 }));
        }
        let fetch = self.fetch.as_ref()?;
        let SnapshotMeta { index, term, .. } = &fetch.announced.meta;
        let room = fetch.room() as u32;
        let says = pb::SnapshotFetch { index: index.0, term: term.0, chunk: fetch.next, room };
        Some((fetch.announced.from, says))
    }
}

impl Member {
    /// A leader announces a snapshot that this member does not have.
    pub(super) fn snapshot_announced(&mut self, announced: Announced, out: &mut Outputs) {
        if let Some(fetch) = &mut self.receiving.fetch {
            let had = &fetch.announced;
            let same_leader = (had.from, had.leads_in) == (announced.from, announced.leads_in);
            if had.meta == announced.meta && (had.from == announced.from || fetch.is_whole) {
                fetch.announced = announced;
                return;
            }
            if same_leader && fetch.is_whole {
                self.receiving.announced = Some(announced);
                return;
            }
            if same_leader && announced.meta.index <= had.meta.index {
                // It was overtaken by the one that is being fetched.
                return;
            }
            // The leader gave the other one up; or there is a new leader, and raft-rs would not take the other one.
            self.receiving_abandon(out);
        }
        self.receiving_begin(announced, out);
    }

    fn receiving_begin(&mut self, announced: Announced, out: &mut Outputs) {
        self.checkpoint_abandon(out);
        let file = CheckpointFile::new(&announced.meta);
        let give_up_at = self.now + self.patience();
        let fetch = Fetch { announced, file, next: 0, is_whole: false, stage: Stage::begun(), give_up_at };
        (self.receiving.fetch, self.receiving.asked_again) = (Some(fetch), 0);
        self.receiving_speak(out);
    }

    /// Begins with what was announced while another one was whole, if it still brings something.
    fn receiving_begin_announced(&mut self, out: &mut Outputs) {
        let announced = self.receiving.announced.take();
        if let Some(announced) = announced.filter(|announced| !self.consensus.has(&announced.meta)) {
            self.receiving_begin(announced, out);
        }
    }

    fn patience(&self) -> std::time::Duration {
        self.config.election_timeout * PATIENCE_ELECTION_TIMEOUTS
    }

    /// Asks for the next chunks, or says that this member is at work, when it is time to; or gives up.
    pub(super) fn receiving_wakeup(&mut self, out: &mut Outputs) {
        if let Some(fetch) = &self.receiving.fetch
            && !fetch.is_whole
        {
            if self.consensus.has(&fetch.announced.meta) {
                return self.receiving_is_needless(out);
            }
            if fetch.waits_for_sender() && fetch.give_up_at <= self.now {
                out.mark("snapshot: its sender was given up");
                return self.receiving_abandon(out);
            }
        }
        if self.receiving.speak_at <= self.now {
            self.receiving.asked_again += 1;
            self.receiving_speak(out);
        }
    }

    fn receiving_speak(&mut self, out: &mut Outputs) {
        let Some((to, says)) = self.receiving.speaks() else { return };
        let doubled = if says.room > 0 { self.receiving.asked_again.min(8) } else { 0 };
        let interval = (self.retry_interval() * (1 << doubled)).min(self.config.election_timeout);
        self.receiving.speak_at = self.now + interval;
        self.send_peer(to, Body::SnapshotFetch(says), out);
    }

    /// A chunk arrives.
    pub(super) fn snapshot_chunk(&mut self, from: NodeId, chunk: pb::SnapshotChunk, out: &mut Outputs) {
        let Some(fetch) = &mut self.receiving.fetch else { return };
        let Announced { from: sender, meta, .. } = &fetch.announced;
        if (*sender, meta.index.0, meta.term.0) != (from, chunk.index, chunk.term) || fetch.is_whole {
            return;
        }
        if chunk.gone {
            // Unless it was overtaken by what it says is gone.
            return if chunk.chunk == fetch.next {
                self.receiving_abandon(out)
            };
        }
        let expected = fetch.next..fetch.next + CHUNKS_ON_THEIR_WAY_MAX as u64;
        if let Stage::Fetching(arriving) = &mut fetch.stage
            && expected.contains(&chunk.chunk)
        {
            arriving.early.insert(chunk.chunk, chunk);
            self.receiving_take(out);
        }
    }

    /// Takes what has arrived, sees that it is written, and tells the sender if that makes a difference.
    fn receiving_take(&mut self, out: &mut Outputs) {
        let give_up_at = self.now + self.patience();
        let fetch = self.receiving.fetch.as_mut().expect("something of it arrived or was written");
        let had_room = fetch.room() > 0;
        // What is written now makes room for what came early.
        fetch.write_waiting(&mut self.disk);
        let Ok(taken) = fetch.take_arrived() else {
            out.mark("snapshot: a damaged chunk was refused");
            return self.receiving_abandon(out);
        };
        fetch.write_waiting(&mut self.disk);
        // However long the disk took, the sender had no part in it.
        fetch.give_up_at = give_up_at;
        if fetch.room() > 0 && (taken > 0 || !had_room) {
            self.receiving.asked_again = self.receiving.asked_again.saturating_sub(1);
            self.receiving_speak(out);
        }
    }

    /// A disk operation ended that may be the file's.
    pub(super) fn received_file_done(&mut self, op: DiskOp, result: &Result<DiskReply, DiskError>, out: &mut Outputs) {
        let Some(fetch) = &mut self.receiving.fetch else { return };
        match fetch.file.disk_done(op, result, &mut self.disk) {
            Ok(FileProgress::NotOurs | FileProgress::Busy) => {}
            Ok(FileProgress::Wrote) => self.chunk_written(out),
            Ok(FileProgress::Complete) => self.received_file_complete(out),
            Ok(FileProgress::NoSpace) => {
                self.receiving_abandon(out);
                self.receiving_begin_announced(out);
            }
            Err(reason) => self.halt(reason),
        }
    }

    fn chunk_written(&mut self, out: &mut Outputs) {
        let fetch = self.receiving.fetch.as_ref().expect("a chunk of it was written");
        let all_written = matches!(&fetch.stage, Stage::Fetching(arriving) if arriving.waiting.is_empty());
        if fetch.is_whole && all_written {
            self.received_whole(out);
        } else {
            self.receiving_take(out);
        }
    }

    /// All chunks are written: the file becomes durable if they are the snapshot that was announced.
    fn received_whole(&mut self, out: &mut Outputs) {
        let fetch = self.receiving.fetch.as_mut().expect("it was received");
        let Stage::Fetching(Arriving { loader, .. }) = std::mem::replace(&mut fetch.stage, Stage::begun()) else {
            unreachable!("chunks were being written");
        };
        let loaded = loader.partial();
        match loader.finish() {
            Ok((meta, state)) if meta == fetch.announced.meta => {
                fetch.stage = Stage::Finishing(Box::new(state));
                fetch.file.finish(&mut self.disk);
            }
            Ok(_) | Err(_) => {
                out.mark("snapshot: a damaged one was refused");
                out.effects.extend(loaded.map(|loaded| Effect::Discard(Garbage(loaded))));
                self.receiving_abandon(out);
                self.receiving_begin_announced(out);
            }
        }
    }

    fn received_file_complete(&mut self, out: &mut Outputs) {
        let fetch = self.receiving.fetch.as_mut().expect("its file is complete");
        if self.consensus.has(&fetch.announced.meta) {
            return self.receiving_is_needless(out);
        }
        let Stage::Finishing(state) = std::mem::replace(&mut fetch.stage, Stage::begun()) else {
            unreachable!("the file was being finished");
        };
        fetch.stage = Stage::Loaded(state);
    }

    /// The log has by itself what is being fetched. raft-rs says so to the leader, which may wait for it.
    fn receiving_is_needless(&mut self, out: &mut Outputs) {
        let Some(fetch) = &self.receiving.fetch else { return };
        let message = fetch.announced.message.clone();
        self.install_refused(out);
        self.consensus.receive_fetched(&message);
    }

    fn receiving_abandon(&mut self, out: &mut Outputs) {
        let Some(fetch) = self.receiving.fetch.take() else { return };
        if matches!(fetch.stage, Stage::Finishing(_) | Stage::Loaded(_)) {
            // It may have its name by now.
            let name = checkpoint_name(fetch.announced.meta.term, fetch.announced.meta.index);
            self.disk.issue(DiskAction::Remove { file: name.into() });
        }
        fetch.file.abandon(&mut self.disk);
        fetch.stage.discard(out);
    }

    /// Lets raft-rs know of a loaded snapshot, when the log's writes are done; true if it did.
    pub(super) fn install_when_quiet(&mut self) -> bool {
        if !self.receiving.is_loaded() || !self.consensus.is_quiet() || self.consensus.is_installing() {
            return false;
        }
        let message = self.receiving.fetch.as_ref().expect("loaded").announced.message.clone();
        self.consensus.receive_fetched(&message);
        true
    }

    /// raft-rs did not want the loaded snapshot after all: it has the entries by now, or the term has changed.
    pub(super) fn install_refused(&mut self, out: &mut Outputs) {
        if self.receiving.fetch.is_some() {
            out.mark("snapshot: fetched and not needed any more");
            self.receiving_abandon(out);
        }
        self.receiving_begin_announced(out);
    }

    /// raft-rs takes the loaded snapshot: the state is replaced, and the log gets its mark.
    pub(super) fn install_begin(&mut self, batch: &mut Batch, meta: SnapshotMeta, out: &mut Outputs) {
        let fetch = self.receiving.fetch.take().expect("only loaded snapshots are announced to raft-rs");
        let Stage::Loaded(state) = fetch.stage else { unreachable!("it is loaded") };
        assert_eq!(fetch.announced.meta, meta, "the snapshot that was loaded is the one that is installed");
        out.mark(if batch.replaced_last > meta.index {
            "snapshot: installed over a longer log"
        } else {
            "snapshot: installed"
        });
        self.unapplied.clear();
        let before = std::mem::replace(&mut self.state, *state);
        out.effects.push(Effect::Discard(Garbage(before.view())));
        let state = self.state.digest();
        out.notes.push(Note::Installed { index: meta.index, term: meta.term, state });
        let hard_state = batch.hard_state;
        let write = self.writer.append([], hard_state, Some(meta.clone()));
        self.writes.begin(write, self.now);
        let (from, place) = (fetch.announced.from, (meta.index, meta.term));
        self.receiving.installing = Some(Installing { write, hard_state, from, place });
        self.checkpoint_replaced(write, meta, out);
        self.consensus.wrote(batch, Some(write));
        let header = self.header();
        self.watches.applied(self.state.as_view(), &header, self.now, out);
    }

    /// Everything up to `write` is durable: true if that was a snapshot's mark, and consensus goes on.
    pub(super) fn install_durable(&mut self, write: WriteId, out: &mut Outputs) -> bool {
        let installed = self.receiving.installing.take_if(|installing| installing.write <= write);
        if let Some(Installing { hard_state, .. }) = &installed {
            self.consensus.installed(*hard_state);
            self.receiving_begin_announced(out);
        }
        installed.is_some()
    }
}
