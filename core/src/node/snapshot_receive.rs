//! Receiving a snapshot: pull it chunk by chunk, check it while it arrives, make it durable as a checkpoint, and only
//! then let raft-rs know of it. While it is installed nothing else touches consensus.
//!
//! The next chunk is on its way while the disk writes the one before, and the sender is asked again and again until the
//! snapshot is installed: a slow disk here must not look like a member that is gone.

use bytes::Bytes;

use super::checkpoint_file::{CheckpointFile, FileProgress};
use super::member::Member;
use crate::consensus::Batch;
use crate::effect::{DiskAction, Effect, Garbage, Note, Outputs};
use crate::input::{DiskError, DiskReply};
use crate::log::{HardState, SnapshotMeta};
use crate::peer::Body;
use crate::proto::detcdpeer as pb;
use crate::snapshot::{SnapshotLoader, checkpoint_name};
use crate::state_machine::StateMachine;
use crate::time::Instant;
use crate::types::{DiskOp, NodeId};
use crate::wal::WriteId;

/// A sender that gives nothing for this many election timeouts is given up. Longer than the sender waits for this
/// member: while it still holds what it sends, going on is cheaper than beginning anew.
const PATIENCE_ELECTION_TIMEOUTS: u32 = 4;

/// A snapshot on its way in.
#[derive(Default)]
pub(super) struct Receiving {
    fetch: Option<Fetch>,
    installing: Option<(WriteId, Option<HardState>)>,
}

struct Fetch {
    from: NodeId,
    meta: SnapshotMeta,
    /// The raft message that announced it, for raft-rs when everything is here.
    announcement: Bytes,
    file: CheckpointFile,
    /// The chunks before this one are here.
    next: u64,
    /// They are all that there are.
    is_whole: bool,
    stage: Stage,
    ask_again_at: Instant,
    give_up_at: Instant,
}

enum Stage {
    /// Chunks arrive and are written; `waiting` came while the one before it was being written.
    Fetching { loader: Box<SnapshotLoader>, waiting: Option<Bytes> },
    /// Everything is written; the file becomes durable.
    Finishing(Box<StateMachine>),
    /// Waits until the log's writes are done.
    Loaded(Box<StateMachine>),
}

impl Stage {
    /// Drops what was loaded, where time allows: it may be a whole state.
    fn discard(self, out: &mut Outputs) {
        let loaded = match &self {
            Stage::Fetching { loader, .. } => loader.partial(),
            Stage::Finishing(state) | Stage::Loaded(state) => Some(state.view()),
        };
        out.effects.extend(loaded.map(|loaded| Effect::Discard(Garbage(loaded))));
    }
}

impl Fetch {
    /// Whether a chunk that arrives now can be taken.
    fn takes_chunk(&self) -> bool {
        matches!(self.stage, Stage::Fetching { waiting: None, .. }) && !self.is_whole
    }

    /// Whether everything that came is written, and only the sender can bring this further.
    fn waits_for_sender(&self) -> bool {
        self.takes_chunk() && self.file.is_idle()
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
        self.fetch.as_ref().map(|fetch| fetch.ask_again_at)
    }
}

impl Member {
    /// The leader announces a snapshot that this member does not have.
    pub(super) fn snapshot_announced(
        &mut self,
        from: NodeId,
        meta: SnapshotMeta,
        announcement: Bytes,
        out: &mut Outputs,
    ) {
        if let Some(fetch) = &mut self.receiving.fetch {
            if fetch.meta == meta && fetch.from == from {
                fetch.announcement = announcement;
                return;
            }
            // Another one: the leader gave this one up, or there is a new leader.
            if fetch.is_whole {
                return;
            }
            self.receiving_abandon(out);
        }
        self.checkpoint_abandon(out);
        let file = CheckpointFile::new(&meta);
        let stage = Stage::Fetching { loader: Box::new(SnapshotLoader::new()), waiting: None };
        let (ask_again_at, give_up_at) = (self.now, self.now + self.patience());
        let (next, is_whole) = (0, false);
        self.receiving.fetch =
            Some(Fetch { from, meta, announcement, file, next, is_whole, stage, ask_again_at, give_up_at });
        self.receiving_wakeup(out);
    }

    fn patience(&self) -> std::time::Duration {
        self.config.election_timeout * PATIENCE_ELECTION_TIMEOUTS
    }

    /// Asks for the next chunk when it is time to, or gives up. Asking beyond the last one tells the sender that this
    /// member has everything and is not done yet.
    pub(super) fn receiving_wakeup(&mut self, out: &mut Outputs) {
        let Some(fetch) = &self.receiving.fetch else { return };
        if fetch.waits_for_sender() && fetch.give_up_at <= self.now {
            out.mark("snapshot: its sender was given up");
            return self.receiving_abandon(out);
        }
        if fetch.ask_again_at <= self.now {
            self.ask_for_chunk(out);
        }
    }

    fn ask_for_chunk(&mut self, out: &mut Outputs) {
        let again = self.now + self.retry_interval();
        let Some(fetch) = &mut self.receiving.fetch else { return };
        fetch.ask_again_at = again;
        let (index, term) = (fetch.meta.index.0, fetch.meta.term.0);
        let (from, body) = (fetch.from, Body::SnapshotFetch(pb::SnapshotFetch { index, term, chunk: fetch.next }));
        self.send_peer(from, body, out);
    }

    /// A chunk arrives.
    pub(super) fn snapshot_chunk(&mut self, from: NodeId, chunk: pb::SnapshotChunk, out: &mut Outputs) {
        let patience = self.patience();
        let Some(fetch) = &mut self.receiving.fetch else { return };
        let place = (fetch.from, fetch.meta.index.0, fetch.meta.term.0, fetch.next);
        if place != (from, chunk.index, chunk.term, chunk.chunk) || !fetch.takes_chunk() {
            // An answer that was overtaken, be it good or bad, or one for which there is no place yet.
            return;
        }
        if chunk.gone {
            return self.receiving_abandon(out);
        }
        let is_idle = fetch.file.is_idle();
        let Stage::Fetching { loader, waiting } = &mut fetch.stage else { unreachable!("it takes chunks") };
        if loader.feed(&chunk.data).is_err() {
            out.mark("snapshot: a damaged chunk was refused");
            return self.receiving_abandon(out);
        }
        if is_idle {
            fetch.file.push(chunk.data, &mut self.disk);
        } else {
            *waiting = Some(chunk.data);
        }
        fetch.next += 1;
        fetch.is_whole = chunk.last;
        fetch.give_up_at = self.now + patience;
        if fetch.takes_chunk() {
            self.ask_for_chunk(out);
        }
    }

    /// A disk operation ended that may be the file's.
    pub(super) fn received_file_done(&mut self, op: DiskOp, result: &Result<DiskReply, DiskError>, out: &mut Outputs) {
        let Some(fetch) = &mut self.receiving.fetch else { return };
        match fetch.file.disk_done(op, result, &mut self.disk) {
            Ok(FileProgress::NotOurs | FileProgress::Busy) => {}
            Ok(FileProgress::Wrote) => self.chunk_written(out),
            Ok(FileProgress::Complete) => self.received_file_complete(),
            Ok(FileProgress::NoSpace) => self.receiving_abandon(out),
            Err(reason) => self.halt(reason),
        }
    }

    fn chunk_written(&mut self, out: &mut Outputs) {
        let patience = self.patience();
        let fetch = self.receiving.fetch.as_mut().expect("a chunk of it was written");
        let Stage::Fetching { waiting, .. } = &mut fetch.stage else { unreachable!("a chunk was being written") };
        // However long the disk took, the sender had no part in it.
        fetch.give_up_at = self.now + patience;
        if let Some(waited) = waiting.take() {
            fetch.file.push(waited, &mut self.disk);
            if !fetch.is_whole {
                self.ask_for_chunk(out);
            }
        } else if fetch.is_whole {
            self.received_whole(out);
        }
    }

    /// All chunks are written: the file becomes durable if they are the snapshot that was announced.
    fn received_whole(&mut self, out: &mut Outputs) {
        let fetch = self.receiving.fetch.as_mut().expect("it was received");
        let placeholder = Stage::Fetching { loader: Box::default(), waiting: None };
        let Stage::Fetching { loader, .. } = std::mem::replace(&mut fetch.stage, placeholder) else {
            unreachable!("chunks were being written");
        };
        let loaded = loader.partial();
        match loader.finish() {
            Ok((meta, state)) if meta == fetch.meta => {
                fetch.stage = Stage::Finishing(Box::new(state));
                fetch.file.finish(&mut self.disk);
            }
            Ok(_) | Err(_) => {
                out.mark("snapshot: a damaged one was refused");
                out.effects.extend(loaded.map(|loaded| Effect::Discard(Garbage(loaded))));
                self.receiving_abandon(out);
            }
        }
    }

    fn received_file_complete(&mut self) {
        let fetch = self.receiving.fetch.as_mut().expect("its file is complete");
        let placeholder = Stage::Fetching { loader: Box::default(), waiting: None };
        let Stage::Finishing(state) = std::mem::replace(&mut fetch.stage, placeholder) else {
            unreachable!("the file was being finished");
        };
        fetch.stage = Stage::Loaded(state);
    }

    fn receiving_abandon(&mut self, out: &mut Outputs) {
        if let Some(fetch) = self.receiving.fetch.take() {
            fetch.file.abandon(&mut self.disk);
            fetch.stage.discard(out);
        }
    }

    /// Lets raft-rs know of a loaded snapshot, when the log's writes are done; true if it did.
    pub(super) fn install_when_quiet(&mut self) -> bool {
        if !self.receiving.is_loaded() || !self.consensus.is_quiet() || self.consensus.is_installing() {
            return false;
        }
        let announcement = self.receiving.fetch.as_ref().expect("loaded").announcement.clone();
        self.consensus.receive_fetched(&announcement);
        true
    }

    /// raft-rs did not want the loaded snapshot after all: it has the entries by now, or the term has changed.
    pub(super) fn install_refused(&mut self, out: &mut Outputs) {
        if let Some(fetch) = self.receiving.fetch.take() {
            let name = checkpoint_name(fetch.meta.term, fetch.meta.index);
            self.disk.issue(DiskAction::Remove { file: name.into() });
            fetch.stage.discard(out);
            out.mark("snapshot: fetched and not needed any more");
        }
    }

    /// raft-rs takes the loaded snapshot: the state is replaced, and the log gets its mark.
    pub(super) fn install_begin(&mut self, batch: &mut Batch, meta: SnapshotMeta, out: &mut Outputs) {
        let fetch = self.receiving.fetch.take().expect("only loaded snapshots are announced to raft-rs");
        let Stage::Loaded(state) = fetch.stage else { unreachable!("it is loaded") };
        assert_eq!(fetch.meta, meta, "the snapshot that was loaded is the one that is installed");
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
        let write = self.writer.append(&[], hard_state, Some(meta.clone()));
        self.writes.begin(write, self.now);
        self.receiving.installing = Some((write, hard_state));
        self.checkpoint_replaced(write, meta, out);
        self.consensus.wrote(batch, Some(write));
        let header = self.header();
        self.watches.applied(self.state.as_view(), &header, self.now, out);
    }

    /// Everything up to `write` is durable: true if that was a snapshot's mark, and consensus goes on.
    pub(super) fn install_durable(&mut self, write: WriteId) -> bool {
        match self.receiving.installing {
            Some((mark, hard_state)) if mark <= write => {
                self.receiving.installing = None;
                self.consensus.installed(hard_state);
                true
            }
            Some(_) | None => false,
        }
    }
}
