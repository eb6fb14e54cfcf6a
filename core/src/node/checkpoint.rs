//! Checkpoints: when one is due, writing it beside the work, and dropping the log behind it.
//!
//! Order (zoo, row 16): the file is durable under its name; then the log gets a snapshot mark; when that is durable,
//! older log segments and checkpoints go.

use super::checkpoint_file::{CheckpointFile, FileProgress};
use super::member::Member;
use crate::effect::{DiskAction, Effect, Garbage, Outputs};
use crate::input::{DiskError, DiskReply};
use crate::log::SnapshotMeta;
use crate::snapshot::{SnapshotWriter, checkpoint_name};
use crate::types::{DiskOp, LogIndex};
use crate::wal::{Claim, WriteId};

/// This member's checkpoints.
pub(super) struct Checkpoints {
    /// The one that a restart would begin with; none for the founders' state.
    newest: Option<SnapshotMeta>,
    /// Where the state stood then.
    newest_index: LogIndex,
    writing: Option<Writing>,
    /// A durable file whose mark is on its way to the log.
    marking: Option<(WriteId, SnapshotMeta)>,
}

struct Writing {
    meta: SnapshotMeta,
    chunks: SnapshotWriter,
    file: CheckpointFile,
}

impl Checkpoints {
    /// A member that began with this checkpoint, or with the founders' state at `index`.
    pub(super) fn new(newest: Option<SnapshotMeta>, index: LogIndex) -> Checkpoints {
        Checkpoints { newest, newest_index: index, writing: None, marking: None }
    }

    fn is_busy(&self) -> bool {
        self.writing.is_some() || self.marking.is_some()
    }
}

impl Member {
    /// Begins a checkpoint if one is due, and writes the next chunk of the one under way.
    pub(super) fn checkpoint_step(&mut self, out: &mut Outputs) {
        if self.checkpoint_is_due() {
            let meta = self.applied_meta();
            let chunks = SnapshotWriter::new(self.state.view(), meta.clone(), self.config.cluster_id);
            let file = CheckpointFile::new(&meta);
            self.checkpoints.writing = Some(Writing { meta, chunks, file });
            out.mark("checkpoint: begun");
        }
        let Some(writing) = &mut self.checkpoints.writing else { return };
        if writing.file.is_idle() {
            match writing.chunks.next_chunk(self.config.checkpoint_chunk_bytes) {
                Some(chunk) => writing.file.push(chunk, &mut self.disk),
                None => writing.file.finish(&mut self.disk),
            }
        }
    }

    fn checkpoint_is_due(&self) -> bool {
        let since = self.applied().0 - self.checkpoints.newest_index.0;
        let idle = !self.checkpoints.is_busy() && self.receiving.is_idle() && self.stopping.is_none();
        let long = since >= self.config.checkpoint_entries.max(1);
        let large = since > 0 && self.consensus.log_bytes() >= self.config.log_bytes_max;
        // Also without room for proposals: it may be small, and lets go of the log before it.
        idle && (long || large) && self.writer.has_room_for(0, Claim::Relief)
    }

    /// A disk operation that was not the log's ended.
    pub(super) fn file_done(&mut self, op: DiskOp, result: &Result<DiskReply, DiskError>, out: &mut Outputs) {
        if let Some(writing) = &mut self.checkpoints.writing {
            match writing.file.disk_done(op, result, &mut self.disk) {
                Ok(FileProgress::NotOurs) => {}
                Ok(FileProgress::Busy | FileProgress::Wrote) => return,
                Ok(FileProgress::NoSpace) => {
                    out.mark("checkpoint: given up without room");
                    return self.checkpoint_abandon(out);
                }
                Ok(FileProgress::Complete) => {
                    let written = self.checkpoints.writing.take().expect("looked at");
                    out.effects.push(Effect::Discard(Garbage(written.chunks.into_view())));
                    return self.checkpoint_mark(written.meta);
                }
                Err(reason) => return self.halt(reason),
            }
        }
        self.received_file_done(op, result, out);
    }

    /// Gives the checkpoint under way up; another is due when as much again was applied.
    pub(super) fn checkpoint_abandon(&mut self, out: &mut Outputs) {
        if let Some(writing) = self.checkpoints.writing.take() {
            writing.file.abandon(&mut self.disk);
            out.effects.push(Effect::Discard(Garbage(writing.chunks.into_view())));
            self.checkpoints.newest_index = self.applied();
        }
    }

    fn checkpoint_mark(&mut self, meta: SnapshotMeta) {
        let write = self.writer.append(&[], None, Some(meta.clone()));
        self.writes.begin(write, self.now);
        self.checkpoints.marking = Some((write, meta));
    }

    /// A snapshot was installed; its mark is on its way to the log.
    pub(super) fn checkpoint_replaced(&mut self, write: WriteId, meta: SnapshotMeta, out: &mut Outputs) {
        self.checkpoint_abandon(out);
        if let Some((_, older)) = self.checkpoints.marking.take() {
            self.disk.issue(DiskAction::Remove { file: checkpoint_name(older.term, older.index).into() });
        }
        self.checkpoints.marking = Some((write, meta));
    }

    /// Everything up to `write` is durable in the log: what a newly marked checkpoint makes superfluous goes.
    pub(super) fn checkpoint_mark_durable(&mut self, write: WriteId, out: &mut Outputs) {
        let marked = self.checkpoints.marking.as_ref().is_some_and(|(mark, _)| *mark <= write);
        if !marked {
            return;
        }
        let (_, meta) = self.checkpoints.marking.take().expect("looked at");
        if let Some(older) = self.checkpoints.newest.replace(meta.clone()) {
            assert!(older.index < meta.index, "checkpoints do not go back");
            self.disk.issue(DiskAction::Remove { file: checkpoint_name(older.term, older.index).into() });
        }
        self.checkpoints.newest_index = meta.index;
        self.writer.release_before(meta.index.next(), &mut self.disk);
        out.mark("checkpoint: durable");
        if !self.consensus.is_installing() {
            self.consensus.compact(LogIndex(meta.index.0.saturating_sub(self.config.catchup_entries)));
            if self.consensus.log_bytes() >= self.config.log_bytes_max {
                self.consensus.compact(meta.index);
            }
        }
    }
}
