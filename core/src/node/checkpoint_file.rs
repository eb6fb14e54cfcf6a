//! Writing one checkpoint file: chunk by chunk under a temporary name, synced, renamed, and the name made durable.
//! Until then the file does not count.

use bytes::Bytes;

use crate::disk_queue::DiskQueue;
use crate::effect::{DiskAction, FileName, HaltReason};
use crate::input::{DiskError, DiskReply};
use crate::log::SnapshotMeta;
use crate::snapshot::checkpoint_name;
use crate::types::DiskOp;

/// Where checkpoints live, relative to the data directory.
pub(super) const CHECKPOINT_DIR: &str = "member/snap";

/// A checkpoint file being written.
pub(super) struct CheckpointFile {
    tmp: FileName,
    name: FileName,
    offset: u64,
    stage: Stage,
}

enum Stage {
    /// Waits for the next chunk.
    Idle,
    /// Takes room for a chunk.
    Allocating(DiskOp, Bytes),
    Writing(DiskOp),
    Syncing(DiskOp),
    Renaming(DiskOp),
    SyncingDir(DiskOp),
}

/// How far a completion brought the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FileProgress {
    /// The operation belongs to somebody else.
    NotOurs,
    /// Under way.
    Busy,
    /// A chunk is written; the next may come.
    Wrote,
    /// The file is complete and durable under its name.
    Complete,
    /// There is no room. Nothing is lost but the attempt.
    NoSpace,
}

impl CheckpointFile {
    /// A file for the snapshot that stands at `meta`.
    pub(super) fn new(meta: &SnapshotMeta) -> CheckpointFile {
        let name = checkpoint_name(meta.term, meta.index);
        CheckpointFile { tmp: FileName::from(format!("{name}.tmp")), name: name.into(), offset: 0, stage: Stage::Idle }
    }

    /// Whether a chunk may be pushed.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stage, Stage::Idle)
    }

    /// Writes a chunk at the end.
    pub(super) fn push(&mut self, chunk: Bytes, disk: &mut DiskQueue) {
        assert!(self.is_idle(), "one chunk at a time");
        let size_bytes = self.offset + chunk.len() as u64;
        let op = disk.issue(DiskAction::Allocate { file: self.tmp.clone(), size_bytes });
        self.stage = Stage::Allocating(op, chunk);
    }

    /// All chunks are written: makes the file count.
    pub(super) fn finish(&mut self, disk: &mut DiskQueue) {
        assert!(self.is_idle(), "one thing at a time");
        self.stage = Stage::Syncing(disk.issue(DiskAction::Sync { file: self.tmp.clone() }));
    }

    /// Gives the attempt up.
    pub(super) fn abandon(self, disk: &mut DiskQueue) {
        disk.issue(DiskAction::Remove { file: self.tmp });
    }

    /// Takes a completion.
    ///
    /// # Errors
    /// The disk failed: the node must not go on.
    pub(super) fn disk_done(
        &mut self,
        op: DiskOp,
        result: &Result<DiskReply, DiskError>,
        disk: &mut DiskQueue,
    ) -> Result<FileProgress, HaltReason> {
        let (awaited, what) = match &self.stage {
            Stage::Idle => return Ok(FileProgress::NotOurs),
            Stage::Allocating(op, _) => (*op, "allocate"),
            Stage::Writing(op) => (*op, "write"),
            Stage::Syncing(op) => (*op, "sync"),
            Stage::Renaming(op) => (*op, "rename"),
            Stage::SyncingDir(op) => (*op, "sync the directory of"),
        };
        if op != awaited {
            return Ok(FileProgress::NotOurs);
        }
        match result {
            Ok(_) => Ok(self.advance(disk)),
            Err(DiskError::NoSpace) => {
                self.stage = Stage::Idle;
                Ok(FileProgress::NoSpace)
            }
            Err(DiskError::Io(error)) => {
                Err(HaltReason::Disk { what: format!("{what} {}", self.tmp), error: error.clone() })
            }
        }
    }

    fn advance(&mut self, disk: &mut DiskQueue) -> FileProgress {
        let (stage, progress) = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => unreachable!("nothing was awaited"),
            Stage::Allocating(_, chunk) => {
                let (file, offset) = (self.tmp.clone(), self.offset);
                self.offset += chunk.len() as u64;
                let op = disk.issue(DiskAction::Append { file, offset, bytes: chunk });
                (Stage::Writing(op), FileProgress::Busy)
            }
            Stage::Writing(_) => (Stage::Idle, FileProgress::Wrote),
            Stage::Syncing(_) => {
                let op = disk.issue(DiskAction::Rename { from: self.tmp.clone(), to: self.name.clone() });
                (Stage::Renaming(op), FileProgress::Busy)
            }
            Stage::Renaming(_) => {
                let op = disk.issue(DiskAction::SyncDir { dir: CHECKPOINT_DIR.into() });
                (Stage::SyncingDir(op), FileProgress::Busy)
            }
            Stage::SyncingDir(_) => (Stage::Idle, FileProgress::Complete),
        };
        self.stage = stage;
        progress
    }
}
