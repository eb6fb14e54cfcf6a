//! The next segment: its room is taken ahead of time, and it is begun when the current one is full and durable.
//!
//! A segment exists once its header is written and synced, its file renamed and the directory synced, each after the
//! other and after everything in the segment before it is durable. So no crash leaves a gap, or a segment without
//! header; and no failed write either, as the sync may be reported before a write that then fails.

use bytes::Bytes;

use crate::disk_queue::DiskQueue;
use crate::effect::DiskAction;

use super::super::marks::Position;
use super::super::payload::{header_bytes_max, put_header};
use super::super::segment::{SegmentName, temporary_file};
use super::super::{SECTOR_BYTES, WAL_DIR};
use super::{Current, OpKind, WalConfig, Writer};

/// How far the next segment is.
#[derive(Debug, Default)]
pub(super) struct NextSegment {
    size_bytes: u64,
    state: NextState,
    /// The disk had no room when it was asked last, whether or not it is being asked again.
    lacks_room: bool,
}

#[derive(Debug, Default)]
enum NextState {
    /// Nothing is done for it.
    #[default]
    Absent,
    /// Its room is being taken.
    Allocating,
    /// The disk had no room.
    Denied,
    /// Its room is taken.
    Ready,
    /// Its header is being written and synced.
    Header { name: SegmentName, begun: Current },
    /// It is getting its name.
    Renaming { name: SegmentName, begun: Current },
    /// Its name is becoming durable.
    SyncingDir { name: SegmentName, begun: Current },
}

impl NextSegment {
    pub(super) fn is_denied(&self) -> bool {
        matches!(self.state, NextState::Denied)
    }

    /// Whether the disk had no room for it when it was asked last.
    pub(super) fn lacks_room(&self) -> bool {
        self.lacks_room
    }

    /// Whether the current segment takes no more writes.
    pub(super) fn is_cutting(&self) -> bool {
        matches!(self.state, NextState::Header { .. } | NextState::Renaming { .. } | NextState::SyncingDir { .. })
    }

    pub(super) fn deny(&mut self) {
        self.state = NextState::Denied;
        self.lacks_room = true;
    }

    pub(super) fn on_allocated(&mut self) {
        self.state = NextState::Ready;
        self.lacks_room = false;
    }
}

impl Writer {
    /// Takes room for the next segment as soon as the current one is begun.
    pub(super) fn allocate_ahead(&mut self, disk: &mut DiskQueue) {
        if matches!(self.next.state, NextState::Absent) && !self.stopping {
            self.next.size_bytes = self.segment_bytes();
            self.allocate_next(disk);
        }
    }

    pub(super) fn allocate_next(&mut self, disk: &mut DiskQueue) {
        let file = temporary_file(self.current_segment().seq + 1);
        let action = DiskAction::Allocate { file, size_bytes: self.next.size_bytes };
        self.issue(OpKind::AllocateNext, action, disk);
        self.next.state = NextState::Allocating;
    }

    /// Begins the next segment, in which a record of this size has to fit, if its room is taken.
    pub(super) fn begin_cut(&mut self, record_bytes: u64, disk: &mut DiskQueue) {
        let needed_bytes = (header_bytes_max() + record_bytes).next_multiple_of(SECTOR_BYTES);
        match self.next.state {
            NextState::Absent => self.next.size_bytes = self.segment_bytes().max(needed_bytes),
            NextState::Ready if needed_bytes > self.next.size_bytes => self.next.size_bytes = needed_bytes,
            NextState::Ready => return self.write_header(disk),
            _ => return,
        }
        self.allocate_next(disk);
    }

    fn write_header(&mut self, disk: &mut DiskQueue) {
        let name = SegmentName { seq: self.current_segment().seq + 1, index: self.last_index.next() };
        let mut crc = self.current.crc;
        let mut header = Vec::new();
        let WalConfig { node_id, cluster_id, .. } = self.config;
        put_header(&mut header, &mut crc, node_id, cluster_id, false, self.written_state);
        let begun = Current { size_bytes: self.next.size_bytes, offset: header.len() as u64, crc };
        let file = temporary_file(name.seq);
        let action = DiskAction::Append { file: file.clone(), offset: 0, bytes: Bytes::from(header) };
        self.issue(OpKind::NextHeader, action, disk);
        self.issue(OpKind::NextHeader, DiskAction::Sync { file }, disk);
        self.next.state = NextState::Header { name, begun };
    }

    /// Gives the next segment its name when it and everything before it is durable.
    pub(super) fn advance_cut(&mut self, disk: &mut DiskQueue) {
        let NextState::Header { name, begun } = self.next.state else { return };
        if !self.writes.is_empty() || self.is_under_way(OpKind::NextHeader) {
            return;
        }
        let action = DiskAction::Rename { from: temporary_file(name.seq), to: name.file() };
        self.issue(OpKind::NextRename, action, disk);
        self.next.state = NextState::Renaming { name, begun };
    }

    pub(super) fn on_next_renamed(&mut self, disk: &mut DiskQueue) {
        let NextState::Renaming { name, begun } = std::mem::take(&mut self.next.state) else {
            unreachable!("a segment was being renamed")
        };
        self.issue(OpKind::NextSyncDir, DiskAction::SyncDir { dir: WAL_DIR.into() }, disk);
        self.next.state = NextState::SyncingDir { name, begun };
    }

    /// From here on records go to the new segment.
    pub(super) fn on_next_durable(&mut self) {
        let NextState::SyncingDir { name, begun } = std::mem::take(&mut self.next.state) else {
            unreachable!("a segment's name was becoming durable")
        };
        assert!(self.writes.is_empty(), "a segment is left before it is durable");
        self.segments.push(name);
        self.marks.durable = Position { segment: name.seq, offset: begun.offset, ..self.marks.durable };
        self.marks.is_due = true;
        self.current = begun;
    }
}
