//! Turns what consensus wants durable into disk actions, many appends to one write and one sync (group commit).
//!
//! A write is durable when a sync completes that was issued after it; the next segment is only begun when everything
//! in the current one is durable, so "durable" is a prefix of the log at any time. An error is never retried.

mod cut;
mod marking;
mod opening;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use crate::disk_queue::DiskQueue;
use crate::effect::{DiskAction, FileName, HaltReason};
use crate::input::{DiskError, DiskReply};
use crate::log::{Entry, HardState, SnapshotMeta};
use crate::types::{DiskOp, LogIndex, Term};

use super::marks::Position;
use super::payload::Payload;
use super::segment::{SegmentName, Segments};
use super::{SECTOR_BYTES, WalConfig};

use cut::NextSegment;
use marking::Marks;
use opening::Stage;
pub(super) use opening::TailStart;
pub use opening::WriterStart;

/// Names what one call of [`Writer::append`] asked for; counted up from 1, and 0 is always durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// What a completion meant to the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Whether the log had asked for the operation.
    pub ours: bool,
    /// If more is durable now: every write up to and including this one.
    pub durable: Option<WriteId>,
    /// Whether the log goes on in a new segment from now on.
    pub rotated: bool,
    /// Whether the disk gave the next segment the room that it had refused before.
    pub regained_room: bool,
}

/// What room in the log is wanted for, while the disk refuses more. The room that is left then is kept for what matters
/// most: each kind leaves more of it to those that come after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// A client's write that this member proposes as leader.
    Proposal,
    /// Entries of a leader who has room.
    Replication,
    /// What frees space, or what the cluster cannot go on without.
    Relief,
}

/// The end of the log that is written.
#[derive(Debug)]
pub struct Writer {
    config: WalConfig,
    boot: u64,
    ops: BTreeMap<DiskOp, Op>,
    stage: Stage,
    stopping: bool,

    pending: VecDeque<Pending>,
    pending_bytes: u64,
    last_id: WriteId,
    issued_id: WriteId,
    durable_id: WriteId,
    /// What opening itself wrote.
    open_id: WriteId,
    writes: VecDeque<Write>,
    /// The newest sync of the log that is complete.
    synced: DiskOp,

    segments: Segments,
    current: Current,
    next: NextSegment,
    marks: Marks,
    /// While it opens: what has to be zeroed in the current segment.
    torn: Range<u64>,
    /// While it opens: the records at its end that have to be written again.
    unproven: Bytes,
    /// While it opens: files to remove.
    leftovers: Vec<FileName>,

    /// The newest hard state that was appended, written or not.
    appended_state: HardState,
    /// The newest hard state that was written.
    written_state: HardState,
    /// The last index of the log as written.
    last_index: LogIndex,
    /// The last entry record as written.
    last_entry: (LogIndex, Term),
    /// The newest mark, unless an entry that was written after it is durable. Then the entry that it names has to
    /// stay, as only its term tells whether the mark replaced the entries behind it.
    bare_mark: Option<LogIndex>,
    /// Room for the first segment and the marks that the disk refused.
    denied: Vec<(FileName, u64)>,
}

/// A value that waits for a write.
#[derive(Debug)]
struct Pending {
    id: WriteId,
    payload: Payload,
    /// How long its record is, at most.
    bytes_max: u64,
    /// Whether it may not wait for a later write: all but a changed commit index.
    must_sync: bool,
}

/// A write that is not known to be durable.
#[derive(Debug)]
struct Write {
    sync: DiskOp,
    /// Everything up to this is durable with it.
    id: WriteId,
    bytes: u64,
    end: Position,
    /// Whether an entry stands in it, and no mark after that.
    ends_with_entry: bool,
}

/// The segment that is written.
#[derive(Clone, Copy, Debug, Default)]
struct Current {
    size_bytes: u64,
    offset: u64,
    crc: u32,
}

/// A disk operation under way.
#[derive(Debug)]
struct Op {
    kind: OpKind,
    what: &'static str,
    file: FileName,
}

/// Why an operation was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OpKind {
    /// One of those that the current stage of opening waits for; if it allocates, this many bytes.
    Stage {
        allocate_bytes: u64,
    },
    LogAppend,
    LogSync,
    AllocateNext,
    /// The next segment's header is written and synced, two operations.
    NextHeader,
    NextRename,
    NextSyncDir,
    /// A mark is written and synced, two operations.
    Mark,
    UnsyncedMark,
    Release,
}

impl Writer {
    /// The number of this life of the node, counted from 1. Unique once [`Writer::is_open`]: no other life that
    /// served has it.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// Whether the log is ready: everything that was read is durable, and this boot is counted.
    pub fn is_open(&self) -> bool {
        self.is_ready() && self.durable_id >= self.open_id
    }

    /// Whether records may be written.
    pub(super) fn is_ready(&self) -> bool {
        self.stage == Stage::Open
    }

    /// Whether a stop has been carried out.
    pub fn is_stopped(&self) -> bool {
        self.stopping
            && if self.is_ready() {
                self.is_idle() && !self.marks.is_writing() && self.marks.is_current()
            } else {
                self.is_denied_opening()
            }
    }

    /// Every write up to and including this one is durable.
    pub fn durable(&self) -> WriteId {
        self.durable_id
    }

    /// How many bytes of appends wait for a write, at most.
    pub fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    /// The files of the segments that count, oldest first; for tests and tools.
    pub fn segment_files(&self) -> impl Iterator<Item = FileName> + '_ {
        self.segments.iter().map(|segment| segment.file())
    }

    /// Whether proposals may be accepted: false if the disk refused room for the next segment and the current one
    /// cannot take the reserve any more. [`Writer::retry_allocate`] asks for it again.
    pub fn has_room(&self) -> bool {
        self.has_room_for(0, Claim::Proposal)
    }

    /// Whether the disk refused room when it was asked last. Then what is appended has to fit into what is left; see
    /// [`Writer::has_room_for`].
    pub fn lacks_room(&self) -> bool {
        if self.is_ready() { self.next.lacks_room() } else { self.is_denied_opening() }
    }

    /// Whether records of so many bytes in all may be appended, beside what is pending. Room is taken before it is
    /// promised: without a next segment they have to fit into the current one, and leave there what is kept for
    /// others. The last quarter of the reserve is for votes and marks, which are never refused.
    pub fn has_room_for(&self, bytes: u64, claim: Claim) -> bool {
        if !self.is_ready() {
            return !self.is_denied_opening();
        }
        let reserve_bytes = match claim {
            Claim::Proposal => self.reserve_bytes(),
            Claim::Replication => self.reserve_bytes() / 2,
            Claim::Relief => self.reserve_bytes() / 4,
        };
        let room_bytes = self.current.size_bytes - self.current.offset;
        !self.lacks_room() || room_bytes >= self.pending_bytes + bytes + reserve_bytes
    }

    /// What has to fit into the current segment while there is no next one.
    fn reserve_bytes(&self) -> u64 {
        self.config.in_flight_bytes_max().min(self.segment_bytes() / 4)
    }

    fn segment_bytes(&self) -> u64 {
        self.config.segment_bytes.next_multiple_of(SECTOR_BYTES)
    }

    /// Takes over what has to become durable: a mark of a durable checkpoint, then entries, then the hard state.
    ///
    /// Gives the write to wait for; compare it with [`Writer::durable`] at once, as there may be nothing to wait for:
    /// a changed commit index alone is not synced (contract, section 7); it rides along with the next write.
    ///
    /// Entries whose index was written before overwrite it and everything after it. A mark whose index lies behind
    /// the last entry, or has another term than the entry there, replaces the whole log before it.
    pub fn append(
        &mut self,
        entries: impl IntoIterator<Item = Entry, IntoIter: ExactSizeIterator>,
        hard_state: Option<HardState>,
        mark: Option<SnapshotMeta>,
    ) -> WriteId {
        let entries = entries.into_iter();
        assert!(!self.stopping, "the log is appended to after it was told to stop");
        let hard_state = hard_state.filter(|state| *state != self.appended_state);
        let is_vote = hard_state
            .is_some_and(|state| (state.term, state.vote) != (self.appended_state.term, self.appended_state.vote));
        let must_sync = is_vote || entries.len() > 0 || mark.is_some();
        if must_sync {
            self.last_id.0 += 1;
        }
        if let Some(mark) = mark {
            self.push(Payload::Mark(Box::new(mark)), must_sync);
        }
        for entry in entries {
            self.push(Payload::Entry(entry), must_sync);
        }
        if let Some(state) = hard_state {
            assert!(state.term >= self.appended_state.term, "a term goes back");
            self.appended_state = state;
            self.push(Payload::HardState(state), must_sync);
        }
        self.last_id
    }

    fn push(&mut self, payload: Payload, must_sync: bool) {
        if !must_sync
            && let Some(last) = self.pending.back_mut()
            && !last.must_sync
        {
            last.payload = payload;
            return;
        }
        let bytes_max = payload.framed_bytes_max();
        self.pending_bytes += bytes_max;
        self.pending.push_back(Pending { id: self.last_id, payload, bytes_max, must_sync });
    }

    /// Issues one append and one sync for what is pending, as often as the limits allow. Call it at the end of each
    /// step; appends that do not fit now stay pending.
    pub fn flush(&mut self, disk: &mut DiskQueue) {
        while self.wants_write() && self.writes.len() < self.config.writes_in_flight_max {
            let first = &self.pending[0];
            let first_bytes = first.bytes_max;
            if self.is_barred(&first.payload) {
                break;
            }
            if first_bytes > self.current.size_bytes - self.current.offset {
                self.begin_cut(first_bytes, disk);
                break;
            }
            let limit_bytes = self.write_limit_bytes();
            if first_bytes > limit_bytes && !self.writes.is_empty() {
                break;
            }
            self.write(limit_bytes.max(first_bytes), disk);
        }
        self.advance(disk);
    }

    /// Whether fewer writes are in flight than may be, so that what is appended now need not wait for any of them.
    pub fn is_free(&self) -> bool {
        self.writes.len() < self.config.writes_in_flight_max && !self.next.is_cutting()
    }

    fn wants_write(&self) -> bool {
        let is_due = self.issued_id < self.last_id || self.stopping;
        self.is_ready() && is_due && !self.pending.is_empty() && !self.next.is_cutting()
    }

    /// How long the next write may be, so that everything in flight stays within what recovery takes for torn.
    fn write_limit_bytes(&self) -> u64 {
        let in_flight_bytes: u64 = self.writes.iter().map(|write| write.bytes).sum();
        let room_bytes = self.current.size_bytes - self.current.offset;
        (self.config.write_bytes_max as u64)
            .min(room_bytes)
            .min(self.config.in_flight_bytes_max().saturating_sub(in_flight_bytes))
    }

    /// Writes pending values until the next one might go beyond the limit.
    fn write(&mut self, limit_bytes: u64, disk: &mut DiskQueue) {
        let mut out = Vec::with_capacity(limit_bytes.min(self.pending_bytes) as usize);
        let mut ends_with_entry = false;
        while let Some(pending) = self.pending.front() {
            let bytes_max = pending.bytes_max;
            if out.len() as u64 + bytes_max > limit_bytes || self.is_barred(&pending.payload) {
                break;
            }
            pending.payload.put(&mut out, &mut self.current.crc);
            match &pending.payload {
                Payload::Entry(entry) => {
                    self.last_index = entry.index;
                    self.last_entry = (entry.index, entry.term);
                    ends_with_entry = true;
                }
                Payload::HardState(state) => self.written_state = *state,
                Payload::Mark(mark) => {
                    self.last_index = self.last_index.max(mark.index);
                    self.bare_mark = Some(mark.index);
                    self.writes.iter_mut().for_each(|write| write.ends_with_entry = false);
                    ends_with_entry = false;
                }
            }
            self.pending_bytes -= bytes_max;
            self.pending.pop_front();
        }
        self.issued_id = match self.pending.front() {
            None => self.last_id,
            Some(pending) if pending.must_sync => WriteId(pending.id.0 - 1),
            Some(pending) => pending.id,
        };
        let bytes = out.len() as u64;
        assert!(bytes > 0, "a write of the log is empty");
        assert!(bytes <= self.current.size_bytes - self.current.offset, "a write goes beyond the room that was taken");
        let file = self.current_file();
        let action = DiskAction::Append { file: file.clone(), offset: self.current.offset, bytes: Bytes::from(out) };
        self.issue(OpKind::LogAppend, action, disk);
        let sync = self.issue(OpKind::LogSync, DiskAction::Sync { file }, disk);
        self.current.offset += bytes;
        self.writes.push_back(Write { sync, id: self.issued_id, bytes, end: self.position(), ends_with_entry });
    }

    /// The end of the log as written.
    fn position(&self) -> Position {
        Position {
            segment: self.current_segment().seq,
            offset: self.current.offset,
            last_index: self.last_entry.0,
            last_term: self.last_entry.1,
        }
    }

    fn current_segment(&self) -> SegmentName {
        self.segments.last()
    }

    fn current_file(&self) -> FileName {
        self.segments.last_file()
    }

    /// Takes the completion of a disk operation, in any order. Operations of others are let pass.
    ///
    /// An error is a reason to halt; the writer must not be used after it.
    pub fn on_disk_done(
        &mut self,
        op: DiskOp,
        result: &Result<DiskReply, DiskError>,
        disk: &mut DiskQueue,
    ) -> Result<Progress, HaltReason> {
        let Some(done) = self.ops.remove(&op) else {
            return Ok(Progress::default());
        };
        let before = self.durable_id;
        let rotated = result.is_ok() && done.kind == OpKind::NextSyncDir;
        let regained_room = result.is_ok() && done.kind == OpKind::AllocateNext && self.next.lacks_room();
        match (result, done.kind) {
            (Ok(_), kind) => self.on_done(op, kind, disk),
            (Err(DiskError::NoSpace), OpKind::AllocateNext) => self.next.deny(),
            (Err(DiskError::NoSpace), OpKind::Stage { allocate_bytes: 1.. }) => self.deny_stage(done),
            // A released segment that stays is removed when the node is opened again.
            (Err(_), OpKind::Release) => self.on_stage_done(disk),
            (Err(error), _) => return Err(halt(&done, error)),
        }
        if self.stopping {
            self.flush(disk);
        } else {
            self.advance(disk);
        }
        let durable = (self.durable_id > before).then_some(self.durable_id);
        Ok(Progress { ours: true, durable, rotated, regained_room })
    }

    fn on_done(&mut self, op: DiskOp, kind: OpKind, disk: &mut DiskQueue) {
        match kind {
            OpKind::Stage { .. } => self.on_stage_done(disk),
            OpKind::LogSync => self.on_log_sync(op),
            OpKind::LogAppend => self.on_log_sync(self.synced),
            OpKind::AllocateNext => self.next.on_allocated(),
            OpKind::NextRename => self.on_next_renamed(disk),
            OpKind::NextSyncDir => self.on_next_durable(),
            OpKind::Mark => self.on_mark_done(disk),
            OpKind::UnsyncedMark => self.marks.on_unsynced(),
            // The cut goes on when both of them are done.
            OpKind::NextHeader => {}
            OpKind::Release => self.on_stage_done(disk),
        }
    }

    /// Whether an operation of this kind is not reported yet, so that it may still fail.
    fn is_under_way(&self, kind: OpKind) -> bool {
        self.ops.values().any(|op| op.kind == kind)
    }

    /// A sync covers every write that was issued before it. An older sync may still complete after it, and so may the
    /// writes themselves: one that is not reported may yet fail, and nothing from it on counts until then.
    fn on_log_sync(&mut self, op: DiskOp) {
        self.synced = self.synced.max(op);
        let unreported = self.ops.iter().find(|(_, open)| open.kind == OpKind::LogAppend).map(|(append, _)| *append);
        let counts = |write: &Write| write.sync <= self.synced && unreported.is_none_or(|append| write.sync < append);
        while self.writes.front().is_some_and(counts) {
            let write = self.writes.pop_front().expect("just seen");
            self.durable_id = write.id;
            self.marks.durable = write.end;
            if write.ends_with_entry {
                self.bare_mark = None;
            }
        }
    }

    /// Does whatever has become possible, but writes nothing that is pending.
    fn advance(&mut self, disk: &mut DiskQueue) {
        if !self.is_ready() {
            return;
        }
        self.advance_cut(disk);
        self.allocate_ahead(disk);
        if self.stopping {
            self.advance_stop();
        }
        self.advance_marks(disk);
    }

    /// Tries again to get the room that was refused. Harmless at any time.
    pub fn retry_allocate(&mut self, disk: &mut DiskQueue) {
        self.retry_stage(disk);
        if self.next.is_denied() {
            self.allocate_next(disk);
        }
    }

    /// Lets go of the segments that hold only entries before `index`, oldest first; the one that contains it stays.
    ///
    /// The files go once a mark that says so is durable. Call it only when a checkpoint at `index` or later, and its
    /// mark in the log, are durable.
    pub fn release_before(&mut self, index: LogIndex, disk: &mut DiskQueue) {
        let index = self.bare_mark.map_or(index, |mark| index.min(mark));
        while let Some(released) = self.segments.pop_before(index) {
            self.marks.release(released);
        }
        self.advance(disk);
    }

    /// Writes how far the log is durable, if that is not yet written, and syncs it. Marks are also written by
    /// themselves, after every so many bytes; call this now and then when little is written.
    pub fn write_mark(&mut self, disk: &mut DiskQueue) {
        self.marks.is_due |= !self.marks.is_current();
        self.advance(disk);
    }

    /// Writes how far the log is durable, if that is not yet written. It is not synced: it outlives the process at
    /// once, and a loss of power when the operating system has come round to it.
    pub fn note_mark(&mut self, disk: &mut DiskQueue) {
        if self.is_ready() {
            self.put_unsynced_mark(disk);
        }
    }

    /// Writes everything that is pending, makes it durable, then writes the mark of that. Takes no appends any more.
    ///
    /// What finds no room on the disk is dropped: it was never reported durable.
    pub fn stop(&mut self, disk: &mut DiskQueue) {
        self.stopping = true;
        self.flush(disk);
    }

    fn advance_stop(&mut self) {
        if self.next.is_denied() && self.writes.is_empty() {
            self.pending.clear();
            self.pending_bytes = 0;
        }
        // What a mark on its way says is known when it is durable.
        if self.is_idle() && !self.marks.is_writing() {
            self.marks.is_due |= !self.marks.is_current();
        }
    }

    /// Whether nothing waits or is on its way into the log.
    fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.writes.is_empty() && !self.next.is_cutting()
    }

    fn issue(&mut self, kind: OpKind, action: DiskAction, disk: &mut DiskQueue) -> DiskOp {
        let (what, file) = match &action {
            DiskAction::Allocate { file, .. } => ("allocate", file),
            DiskAction::Append { file, .. } => ("write", file),
            DiskAction::Read { file, .. } => ("read", file),
            DiskAction::Rename { from, .. } => ("rename", from),
            DiskAction::Remove { file } => ("remove", file),
            DiskAction::Sync { file } => ("sync", file),
            DiskAction::SyncDir { dir } => ("sync directory", dir),
        };
        let known = Op { kind, what, file: file.clone() };
        let op = disk.issue(action);
        self.ops.insert(op, known);
        op
    }
}

fn halt(op: &Op, error: &DiskError) -> HaltReason {
    let error = match error {
        DiskError::NoSpace => "no space left on device".to_owned(),
        DiskError::Io(text) => text.clone(),
    };
    HaltReason::Disk { what: format!("{} {}", op.what, op.file), error }
}
