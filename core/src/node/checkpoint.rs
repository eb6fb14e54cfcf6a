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
use crate::state_machine::StateMachine;
use crate::types::{DiskOp, LogIndex};
use crate::wal::{Claim, WriteId};

/// What an entry counts beside its payload: as much as a record beside its key and value.
const ENTRY_FLAT_BYTES: u64 = 64;

/// A member that has refused something for want of room makes a checkpoint when the log since the last one has this
/// part of the state's size.
const CRAMPED_GROWTH: u64 = 8;

/// The log since the last checkpoint grows to this many times [`crate::NodeConfig::log_bytes_max`], at most.
const LOG_FACTOR_MAX: u64 = 32;

/// The log in memory may grow to this many times its usual bounds, of bytes and of entries, while followers get a
/// snapshot or catch up from one.
const LOG_FACTOR_SENDING: u64 = 8;

/// After a checkpoint that found no room, another is tried so many ticks later.
const RETRY_TICKS: u64 = 10;

/// This member's checkpoints.
pub(super) struct Checkpoints {
    /// The one that a restart would begin with; none for the founders' state.
    newest: Option<SnapshotMeta>,
    /// Where the state stood then.
    newest_index: LogIndex,
    /// What the state took when the newest one was begun, and what was applied since.
    state_bytes: u64,
    applied_bytes: u64,
    /// None is begun before this tick, as there was no room lately.
    not_before_tick: u64,
    writing: Option<Writing>,
    /// A durable file whose mark is on its way to the log.
    marking: Option<(WriteId, SnapshotMeta)>,
}

struct Writing {
    meta: SnapshotMeta,
    chunks: SnapshotWriter,
    file: CheckpointFile,
    /// What the state took when the checkpoint before was begun, and what was applied from then to this one.
    before: (u64, u64),
}

impl Checkpoints {
    /// A member that began with this checkpoint, or with the founders' state; either is `state`.
    pub(super) fn new(newest: Option<SnapshotMeta>, state: &StateMachine) -> Checkpoints {
        let (newest_index, state_bytes) = (state.applied(), stored_bytes(state));
        Checkpoints {
            newest,
            newest_index,
            state_bytes,
            applied_bytes: 0,
            not_before_tick: 0,
            writing: None,
            marking: None,
        }
    }

    /// An entry with so many bytes of payload was applied.
    pub(super) fn applied(&mut self, payload_bytes: usize) {
        self.applied_bytes += payload_bytes as u64 + ENTRY_FLAT_BYTES;
    }

    fn began(&mut self, state: &StateMachine) {
        (self.state_bytes, self.applied_bytes) = (stored_bytes(state), 0);
    }

    fn is_busy(&self) -> bool {
        self.writing.is_some() || self.marking.is_some()
    }
}

fn stored_bytes(state: &StateMachine) -> u64 {
    let (stored_bytes, _) = state.as_view().logical_bytes();
    u64::try_from(stored_bytes).expect("nothing takes less than nothing")
}

impl Member {
    /// Begins a checkpoint if one is due, and writes the next chunk of the one under way.
    pub(super) fn checkpoint_step(&mut self, out: &mut Outputs) {
        if self.checkpoint_is_due() {
            let meta = self.applied_meta();
            let chunks = SnapshotWriter::new(self.state.view(), meta.clone(), self.config.cluster_id);
            let file = CheckpointFile::new(&meta);
            let before = (self.checkpoints.state_bytes, self.checkpoints.applied_bytes);
            self.checkpoints.writing = Some(Writing { meta, chunks, file, before });
            self.checkpoints.began(&self.state);
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
        let Checkpoints { newest_index, state_bytes, applied_bytes, not_before_tick, .. } = self.checkpoints;
        let since = self.applied().0 - newest_index.0;
        let may = !self.checkpoints.is_busy() && self.receiving.is_idle() && self.stopping.is_none();
        let long = since >= self.config.checkpoint_entries.max(1) || applied_bytes >= self.config.log_bytes_max;
        let grown = applied_bytes >= state_bytes / 100 * self.config.checkpoint_growth_percent;
        // Whoever starts again reads all that was written since, however large the state is.
        let huge = applied_bytes >= self.config.log_bytes_max.saturating_mul(LOG_FACTOR_MAX);
        // Also without room for proposals: it may be small, and lets go of the log before it. While only large ones
        // find none, small ones go on, and checkpoints must not come after each of them.
        let cramped = self.has_refused_for_room && applied_bytes >= state_bytes / CRAMPED_GROWTH;
        let wanted = long && (grown || huge) || since > 0 && (cramped || !self.writer.has_room());
        may && wanted && self.ticks >= not_before_tick && self.writer.has_room_for(0, Claim::Relief)
    }

    /// Forgets applied entries when too many are in memory. They stay on the disk until a checkpoint has what they did.
    pub(super) fn trim_log(&mut self) {
        if self.consensus.is_installing() {
            return;
        }
        let (applied, base, keep) = (self.applied(), self.consensus.log_base(), self.config.catchup_entries);
        let (bytes, bytes_max) = (self.consensus.log_bytes(), self.config.log_bytes_max);
        let entries = applied.0.saturating_sub(base.0);
        let entries_max = keep.saturating_add(self.config.checkpoint_entries.max(1));
        if bytes < bytes_max && entries < entries_max {
            return;
        }
        let may_grow = bytes < bytes_max.saturating_mul(LOG_FACTOR_SENDING)
            && entries < entries_max.saturating_mul(LOG_FACTOR_SENDING);
        let needed = self.sending.oldest_needed(base).filter(|_| may_grow);
        let at_most = needed.map_or(applied, |needed| needed.min(applied));
        if bytes >= bytes_max {
            self.consensus.compact_to_bytes(bytes_max / 2, at_most);
        } else {
            self.consensus.compact(at_most.min(LogIndex(applied.0 - keep)));
        }
    }

    /// A disk operation that was not the log's ended.
    pub(super) fn file_done(&mut self, op: DiskOp, result: &Result<DiskReply, DiskError>, out: &mut Outputs) {
        if let Some(writing) = &mut self.checkpoints.writing {
            match writing.file.disk_done(op, result, &mut self.disk) {
                Ok(FileProgress::NotOurs) => {}
                Ok(FileProgress::Busy | FileProgress::Wrote) => return,
                Ok(FileProgress::NoSpace) => {
                    out.mark("checkpoint: given up without room");
                    self.checkpoints.not_before_tick = self.ticks + RETRY_TICKS;
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

    /// Gives the checkpoint under way up.
    pub(super) fn checkpoint_abandon(&mut self, out: &mut Outputs) {
        if let Some(writing) = self.checkpoints.writing.take() {
            writing.file.abandon(&mut self.disk);
            out.effects.push(Effect::Discard(Garbage(writing.chunks.into_view())));
            let (state_bytes, applied_bytes) = writing.before;
            self.checkpoints.state_bytes = state_bytes;
            self.checkpoints.applied_bytes += applied_bytes;
        }
    }

    fn checkpoint_mark(&mut self, meta: SnapshotMeta) {
        let write = self.writer.append([], None, Some(meta.clone()));
        self.writes.begin(write, self.now);
        self.checkpoints.marking = Some((write, meta));
    }

    /// A snapshot was installed; its mark is on its way to the log.
    pub(super) fn checkpoint_replaced(&mut self, write: WriteId, meta: SnapshotMeta, out: &mut Outputs) {
        self.checkpoint_abandon(out);
        self.checkpoints.began(&self.state);
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
    }
}
