//! Makes a log ready to be written: cleans up behind a crash, or creates it, and counts the boot.
//!
//! Nothing is ordered on a disk but by waiting, so each stage begins when the one before it is complete.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use bytes::Bytes;

use crate::disk_queue::DiskQueue;
use crate::effect::{DiskAction, FileName};
use crate::log::HardState;
use crate::types::{DiskOp, LogIndex, Term};

use super::super::marks::{MARKS_FILE_BYTES, Mark, Position, marks_file, marks_temporary_file};
use super::super::payload::{Payload, header_bytes_max, put_header};
use super::super::segment::{SegmentName, Segments, temporary_file};
use super::super::{SECTOR_BYTES, WAL_DIR, WalConfig};
use super::cut::NextSegment;
use super::marking::Marks;
use super::{Current, Op, OpKind, WriteId, Writer};

/// A torn tail is zeroed with writes of this many bytes.
const ZEROS_BYTES: u64 = 64 << 10;

/// The first segment of all.
const FIRST_SEGMENT: SegmentName = SegmentName { seq: 0, index: LogIndex(0) };

/// What recovery found, as far as writing goes on from there.
#[derive(Clone, Debug)]
pub struct WriterStart {
    /// The number of this life of the node.
    pub(in super::super) boot: u64,
    /// Files to remove before anything else.
    pub(in super::super) leftovers: Vec<FileName>,
    /// Segments that the newest mark says are released; they go once that mark is known to be durable.
    pub(in super::super) released: Vec<SegmentName>,
    /// The segments that count, oldest first; none if the log is to be created.
    pub(in super::super) segments: Vec<SegmentName>,
    /// The end of the last segment.
    pub(in super::super) tail: TailStart,
    /// The newest mark, with what this opening has to add to what may be lost.
    pub(in super::super) mark: Mark,
    /// Whether it has to add something: then that becomes durable before the traces go.
    pub(in super::super) loses: bool,
    /// The newest hard state.
    pub(in super::super) hard_state: HardState,
    /// The newest hard state that has a record; the other one may be raised by what entries and marks prove.
    pub(in super::super) recorded_state: HardState,
    /// The last index of the log.
    pub(in super::super) last_index: LogIndex,
    /// The last entry record of the log.
    pub(in super::super) last_entry: (LogIndex, Term),
    /// The newest mark, if no entry was written after it.
    pub(in super::super) bare_mark: Option<LogIndex>,
}

/// Where writing goes on.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct TailStart {
    /// The segment's allocated size.
    pub(in super::super) size_bytes: u64,
    /// The end of its last record.
    pub(in super::super) offset: u64,
    /// The running checksum there.
    pub(in super::super) crc: u32,
    /// What has to be zeroed first.
    pub(in super::super) torn: Range<u64>,
    /// The records before the end of which no mark says that they are durable.
    pub(in super::super) unproven: Bytes,
}

/// What opening waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The mark that was read becomes durable, to be followed by another one.
    SyncingMark,
    /// That the member may have lost something is written down, before a rotten tail goes.
    Confessing,
    /// Leftovers go, and what was read becomes durable.
    Cleaning,
    /// That becomes durable.
    SyncingCleaned,
    /// Room for the first segment and the marks is taken.
    Allocating,
    /// They are written.
    Creating,
    /// The segment gets its name.
    NamingSegment,
    /// Its name becomes durable.
    SyncingSegment,
    /// The marks get their name, last of all: with it, the log exists.
    NamingMarks,
    /// Their name becomes durable.
    SyncingMarks,
    /// The boot is counted.
    Counting,
    /// It is open.
    Open,
}

impl Writer {
    /// Begins to make a log ready from what recovery found. Ready once [`Writer::is_open`]; until then appends are
    /// kept. The driver creates the directory of a file together with the file.
    pub fn open(config: WalConfig, start: WriterStart, disk: &mut DiskQueue) -> Writer {
        let mut writer = Writer {
            config,
            boot: start.boot,
            ops: BTreeMap::new(),
            stage: Stage::Cleaning,
            stopping: false,
            pending: VecDeque::new(),
            pending_bytes: 0,
            last_id: WriteId(0),
            issued_id: WriteId(0),
            durable_id: WriteId(0),
            open_id: WriteId(0),
            writes: VecDeque::new(),
            synced: DiskOp(0),
            segments: Segments::new(start.segments),
            current: Current { size_bytes: start.tail.size_bytes, offset: start.tail.offset, crc: start.tail.crc },
            next: NextSegment::default(),
            marks: Marks::after(start.mark, start.released),
            torn: start.tail.torn,
            unproven: start.tail.unproven,
            leftovers: start.leftovers,
            appended_state: start.recorded_state,
            written_state: start.recorded_state,
            last_index: start.last_index,
            last_entry: start.last_entry,
            bare_mark: start.bare_mark,
            denied: Vec::new(),
        };
        // What proves a raised term may be overwritten or released, so it gets a record of its own.
        if start.hard_state != start.recorded_state {
            writer.last_id.0 += 1;
            writer.open_id = writer.last_id;
            writer.appended_state = start.hard_state;
            writer.push(Payload::HardState(start.hard_state), true);
        }
        if start.loses {
            writer.stage = Stage::SyncingMark;
            writer.write_mark_again(disk);
        } else {
            writer.stage = writer.clean(disk);
        }
        writer.enter_next_stages(disk);
        writer
    }

    /// Removes leftovers and zeroes what stands behind the end of the log.
    fn clean(&mut self, disk: &mut DiskQueue) -> Stage {
        let leftovers = std::mem::take(&mut self.leftovers);
        if self.segments.is_empty() && leftovers.is_empty() {
            // The directory may not exist yet: there is nothing to sync.
            return Stage::SyncingCleaned;
        }
        for file in leftovers {
            self.issue_stage(DiskAction::Remove { file }, disk);
        }
        if !self.segments.is_empty() {
            self.marks.durable = self.position();
            self.write_again(disk);
            self.zero(self.behind_the_end(), disk);
            self.issue_stage(DiskAction::Sync { file: self.current_file() }, disk);
            self.write_mark_again(disk);
        }
        Stage::Cleaning
    }

    /// Writes records again that were read and that no mark proves durable. What was read may be in a cache only: of a
    /// process that was killed, or of one whose sync failed. After a failed sync systems take what they could not write
    /// for clean, so that reading gives it and another sync succeeds and does nothing ("Can Applications Recover from
    /// fsync Failures?", Rebello and others, ATC 2020). Where the disk has the same bytes, nothing can be torn.
    fn write_again(&mut self, disk: &mut DiskQueue) {
        let bytes = std::mem::take(&mut self.unproven);
        if !bytes.is_empty() {
            let offset = self.current.offset - bytes.len() as u64;
            self.issue_stage(DiskAction::Append { file: self.current_file(), offset, bytes }, disk);
        }
    }

    /// Writes the mark that was read again, for the same reason, and syncs it.
    fn write_mark_again(&mut self, disk: &mut DiskQueue) {
        let mark = self.marks.newest;
        let (file, offset, bytes) = (marks_file(), mark.slot_offset(), mark.encode());
        self.issue_stage(DiskAction::Append { file: file.clone(), offset, bytes }, disk);
        self.issue_stage(DiskAction::Sync { file }, disk);
    }

    /// Where something may stand that a crash left, whether it was read or not: a life before this one may have zeroed
    /// it, and its sync may have failed.
    fn behind_the_end(&self) -> Range<u64> {
        let in_flight_end = self.torn.start.saturating_add(self.marks.newest.in_flight_bytes_max);
        self.torn.start..self.torn.end.max(in_flight_end.min(self.current.size_bytes))
    }

    /// Zeroes a torn tail, so that nothing of it is ever taken for a record.
    fn zero(&mut self, torn: Range<u64>, disk: &mut DiskQueue) {
        let zeros = Bytes::from_static(&[0; ZEROS_BYTES as usize]);
        for offset in torn.clone().step_by(ZEROS_BYTES as usize) {
            let bytes = zeros.slice(..ZEROS_BYTES.min(torn.end - offset) as usize);
            self.issue_stage(DiskAction::Append { file: self.current_file(), offset, bytes }, disk);
        }
    }

    fn issue_stage(&mut self, action: DiskAction, disk: &mut DiskQueue) {
        let allocate_bytes = match action {
            DiskAction::Allocate { size_bytes, .. } => size_bytes,
            _ => 0,
        };
        self.issue(OpKind::Stage { allocate_bytes }, action, disk);
    }

    pub(super) fn on_stage_done(&mut self, disk: &mut DiskQueue) {
        self.enter_next_stages(disk);
    }

    /// Keeps an allocation that was refused, to be tried again.
    pub(super) fn deny_stage(&mut self, op: Op) {
        let OpKind::Stage { allocate_bytes } = op.kind else { unreachable!("a stage allocated") };
        self.denied.push((op.file, allocate_bytes));
    }

    pub(super) fn is_denied_opening(&self) -> bool {
        !self.denied.is_empty()
    }

    pub(super) fn retry_stage(&mut self, disk: &mut DiskQueue) {
        for (file, size_bytes) in std::mem::take(&mut self.denied) {
            self.issue_stage(DiskAction::Allocate { file, size_bytes }, disk);
        }
    }

    /// Goes on to the next stage while nothing of the current one is under way.
    fn enter_next_stages(&mut self, disk: &mut DiskQueue) {
        while self.ops.is_empty() && self.denied.is_empty() && !self.is_ready() {
            self.stage = self.enter_stage_after(self.stage, disk);
        }
    }

    fn enter_stage_after(&mut self, stage: Stage, disk: &mut DiskQueue) -> Stage {
        let sync_dir = DiskAction::SyncDir { dir: WAL_DIR.into() };
        match stage {
            Stage::SyncingMark => {
                // All else that the mark says still holds for the tail that is there.
                let found = self.marks.newest;
                self.put_mark(Mark { sequence: found.next_sequence(0), boot: self.boot, ..found }, disk);
                Stage::Confessing
            }
            Stage::Confessing => self.clean(disk),
            Stage::Cleaning => {
                self.issue_stage(sync_dir, disk);
                Stage::SyncingCleaned
            }
            Stage::SyncingCleaned if !self.segments.is_empty() => {
                self.put_mark(self.mark_now(), disk);
                Stage::Counting
            }
            Stage::SyncingCleaned => {
                let size_bytes = self.segment_bytes().max(header_bytes_max().next_multiple_of(SECTOR_BYTES));
                self.issue_stage(DiskAction::Allocate { file: temporary_file(0), size_bytes }, disk);
                let size_bytes = MARKS_FILE_BYTES;
                self.issue_stage(DiskAction::Allocate { file: marks_temporary_file(), size_bytes }, disk);
                Stage::Allocating
            }
            Stage::Allocating => {
                self.create(disk);
                Stage::Creating
            }
            Stage::Creating => {
                self.issue_stage(DiskAction::Rename { from: temporary_file(0), to: FIRST_SEGMENT.file() }, disk);
                Stage::NamingSegment
            }
            Stage::NamingSegment => {
                self.issue_stage(sync_dir, disk);
                Stage::SyncingSegment
            }
            Stage::SyncingSegment => {
                self.issue_stage(DiskAction::Rename { from: marks_temporary_file(), to: marks_file() }, disk);
                Stage::NamingMarks
            }
            Stage::NamingMarks => {
                self.issue_stage(sync_dir, disk);
                Stage::SyncingMarks
            }
            Stage::SyncingMarks | Stage::Counting | Stage::Open => Stage::Open,
        }
    }

    /// Writes the first segment's header and the first mark, both under temporary names.
    fn create(&mut self, disk: &mut DiskQueue) {
        let mut header = Vec::new();
        let mut crc = 0;
        let WalConfig { node_id, cluster_id, .. } = self.config;
        put_header(&mut header, &mut crc, node_id, cluster_id, true, HardState::default());
        let size_bytes = self.segment_bytes().max(header_bytes_max().next_multiple_of(SECTOR_BYTES));
        self.current = Current { size_bytes, offset: header.len() as u64, crc };
        self.segments.push(FIRST_SEGMENT);
        self.marks.durable = Position { segment: 0, offset: self.current.offset, ..Position::default() };
        let file = temporary_file(0);
        self.issue_stage(DiskAction::Append { file: file.clone(), offset: 0, bytes: Bytes::from(header) }, disk);
        self.issue_stage(DiskAction::Sync { file }, disk);
        let mark = self.mark_now();
        let (file, offset, bytes) = (marks_temporary_file(), mark.slot_offset(), mark.encode());
        self.issue_stage(DiskAction::Append { file: file.clone(), offset, bytes }, disk);
        self.issue_stage(DiskAction::Sync { file }, disk);
        self.marks.begin(mark);
    }

    /// Opening waits for some marks.
    pub(super) fn on_opening_mark_durable(&mut self, disk: &mut DiskQueue) {
        match self.stage {
            Stage::Confessing => self.enter_next_stages(disk),
            Stage::Counting => self.stage = Stage::Open,
            _ => {}
        }
    }
}
