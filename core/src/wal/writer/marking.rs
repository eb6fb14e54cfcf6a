//! Writes durable marks, one at a time, and removes segments once a synced mark says that they do not count.

use std::collections::VecDeque;

use crate::disk_queue::DiskQueue;
use crate::effect::DiskAction;
use crate::types::Term;

use super::super::marks::{Mark, Position, marks_file};
use super::super::payload::Payload;
use super::super::segment::SegmentName;
use super::{OpKind, Writer};

/// When a mark has to allow a later term, it allows so many more, so that elections seldom wait for a mark.
const TERMS_AHEAD: u64 = 16;

/// The marks of a log that is written.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// How far the log is durable.
    pub(super) durable: Position,
    /// The newest mark that is synced.
    pub(super) newest: Mark,
    /// Whether a synced one has to be written whatever the interval says.
    pub(super) is_due: bool,
    writing: Option<Mark>,
    /// The number of the newest mark that was handed to the disk, and what it says.
    written: (u64, Position),
    /// Segments that do not count any more and whose files are still there, oldest first.
    released: VecDeque<SegmentName>,
}

impl Marks {
    /// Goes on from the newest mark; what it released goes when the next one is durable.
    pub(super) fn after(newest: Mark, released: Vec<SegmentName>) -> Marks {
        let written = (newest.sequence, newest.durable);
        Marks { newest, written, released: released.into(), ..Marks::default() }
    }

    /// The first mark of a log that is being created.
    pub(super) fn begin(&mut self, mark: Mark) {
        self.newest = mark;
        self.written = (mark.sequence, mark.durable);
    }

    /// Whether the newest synced mark says all that there is to say of how far the log is durable.
    pub(super) fn is_current(&self) -> bool {
        self.newest.durable == self.durable
    }

    /// A mark that is not to be synced is written.
    pub(super) fn on_unsynced(&mut self) {
        self.writing = None;
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) fn release(&mut self, segment: SegmentName) {
        self.released.push_back(segment);
        self.is_due = true;
    }

    fn is_interval_over(&self, interval_bytes: u64) -> bool {
        self.durable.offset >= self.newest.durable.offset.saturating_add(interval_bytes)
    }
}

impl Writer {
    /// A mark of the current state of the log.
    pub(super) fn mark_now(&self) -> Mark {
        let newest = &self.marks.newest;
        let term = self.appended_state.term;
        Mark {
            sequence: newest.next_sequence(self.marks.written.0),
            boot: self.boot,
            first_segment: self.segments.first().seq,
            durable: self.marks.durable,
            in_flight_bytes_max: self.config.in_flight_bytes_max(),
            term_max: if term < newest.term_max { newest.term_max } else { Term(term.0 + TERMS_AHEAD) },
            lost_until: newest.lost_until,
        }
    }

    /// Whether this may not be written yet: nothing is done in a term before a synced mark allows it.
    pub(super) fn is_barred(&self, payload: &Payload) -> bool {
        matches!(payload, Payload::HardState(state) if state.term > self.marks.newest.term_max)
    }

    /// Writes a mark if one is due and none is on its way.
    pub(super) fn advance_marks(&mut self, disk: &mut DiskQueue) {
        let is_due = self.marks.is_due
            || self.marks.is_interval_over(self.config.mark_interval_bytes)
            || self.pending.front().is_some_and(|pending| self.is_barred(&pending.payload));
        if is_due && !self.marks.is_writing() {
            self.put_mark(self.mark_now(), disk);
        }
    }

    /// Issues a mark and its sync.
    pub(super) fn put_mark(&mut self, mark: Mark, disk: &mut DiskQueue) {
        self.append_mark(OpKind::Mark, mark, disk);
        self.issue(OpKind::Mark, DiskAction::Sync { file: marks_file() }, disk);
        self.marks.is_due = false;
    }

    /// Issues a mark without a sync, if it says more than the newest one and none is on its way.
    pub(super) fn put_unsynced_mark(&mut self, disk: &mut DiskQueue) {
        if !self.marks.is_writing() && self.marks.written.1 != self.marks.durable {
            self.append_mark(OpKind::UnsyncedMark, self.mark_now(), disk);
        }
    }

    fn append_mark(&mut self, kind: OpKind, mark: Mark, disk: &mut DiskQueue) {
        assert!(!self.marks.is_writing(), "two marks are on their way, and a crash could tear both");
        assert_ne!(mark.slot_offset(), self.marks.newest.slot_offset(), "the newest synced mark has to stay");
        let action = DiskAction::Append { file: marks_file(), offset: mark.slot_offset(), bytes: mark.encode() };
        self.issue(kind, action, disk);
        self.marks.written = (mark.sequence, mark.durable);
        self.marks.writing = Some(mark);
    }

    /// A mark's write or its sync is done. The mark counts when both are, as the write may still fail after the sync is
    /// reported: what it releases would be gone, and the slot of the one before it would be given up.
    pub(super) fn on_mark_done(&mut self, disk: &mut DiskQueue) {
        if self.is_under_way(OpKind::Mark) {
            return;
        }
        self.marks.newest = self.marks.writing.take().expect("a mark was on its way");
        while let Some(segment) = self.marks.released.front()
            && segment.seq < self.marks.newest.first_segment
        {
            let action = DiskAction::Remove { file: segment.file() };
            self.marks.released.pop_front();
            self.issue(OpKind::Release, action, disk);
        }
        self.on_opening_mark_durable(disk);
    }
}
