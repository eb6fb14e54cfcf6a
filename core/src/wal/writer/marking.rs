//! Writes durable marks, one at a time, and removes segments once a mark says that they do not count.

use std::collections::VecDeque;

use crate::disk_queue::DiskQueue;
use crate::effect::DiskAction;

use super::super::marks::{Mark, Position, marks_file};
use super::super::segment::SegmentName;
use super::{OpKind, Writer};

/// The marks of a log that is written.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// How far the log is durable.
    pub(super) durable: Position,
    /// The newest mark that is durable.
    pub(super) newest: Mark,
    /// Whether one has to be written whatever the interval says.
    pub(super) is_due: bool,
    writing: Option<Mark>,
    /// Segments that do not count any more and whose files are still there, oldest first.
    released: VecDeque<SegmentName>,
}

impl Marks {
    /// Goes on from the newest mark; what it released goes when the next one is durable.
    pub(super) fn after(newest: Mark, released: Vec<SegmentName>) -> Marks {
        Marks { newest, released: released.into(), ..Marks::default() }
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
    /// Writes a mark if one is due and none is on its way.
    pub(super) fn advance_marks(&mut self, disk: &mut DiskQueue) {
        let is_due = self.marks.is_due || self.marks.is_interval_over(self.config.mark_interval_bytes);
        if is_due && !self.marks.is_writing() {
            self.put_mark(disk);
        }
    }

    /// Issues a mark of the current state.
    pub(super) fn put_mark(&mut self, disk: &mut DiskQueue) {
        assert!(!self.marks.is_writing(), "two marks are on their way, and a crash could tear both");
        let mark = self.mark_now();
        let file = marks_file();
        let action = DiskAction::Append { file: file.clone(), offset: mark.slot_offset(), bytes: mark.encode() };
        self.issue(OpKind::MarkAppend, action, disk);
        self.issue(OpKind::MarkSync, DiskAction::Sync { file }, disk);
        self.marks.writing = Some(mark);
        self.marks.is_due = false;
    }

    pub(super) fn on_mark_durable(&mut self, disk: &mut DiskQueue) {
        self.marks.newest = self.marks.writing.take().expect("a mark was on its way");
        while let Some(segment) = self.marks.released.front()
            && segment.seq < self.marks.newest.first_segment
        {
            let action = DiskAction::Remove { file: segment.file() };
            self.marks.released.pop_front();
            self.issue(OpKind::Release, action, disk);
        }
        self.on_boot_counted();
    }
}
