//! Names of segments, as etcd forms them (contract, section 7).

use std::collections::VecDeque;
use std::fmt;

use crate::effect::FileName;
use crate::types::LogIndex;

use super::{NUMBER_MAX, WAL_DIR};

/// Which segment: its place in the log, and the first index that may begin in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentName {
    /// Counted up by one from 0.
    pub(super) seq: u64,
    /// One more than the last index when the segment was begun; 0 for the first segment of all. Every entry at or
    /// after it that counts is in this segment or a later one. Overwritten entries can make it smaller than that of
    /// the segment before.
    pub(super) index: LogIndex,
}

impl SegmentName {
    /// The file's name, relative to the data directory.
    pub(super) fn file(self) -> FileName {
        format!("{WAL_DIR}/{self}").into()
    }

    /// Reads a name without its directory; nothing for any other name.
    pub(super) fn parse(name: &str) -> Option<SegmentName> {
        let (seq, index) = name.strip_suffix(".wal")?.split_once('-')?;
        let parsed = SegmentName {
            seq: u64::from_str_radix(seq, 16).ok()?,
            index: LogIndex(u64::from_str_radix(index, 16).ok()?),
        };
        let is_ours = parsed.seq <= NUMBER_MAX && parsed.index.0 <= NUMBER_MAX && parsed.to_string() == name;
        is_ours.then_some(parsed)
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:016x}.wal", self.seq, self.index.0)
    }
}

/// The segments of a log, oldest first. Records go to the last one; its file is named with every write.
#[derive(Debug, Default)]
pub(super) struct Segments {
    names: VecDeque<SegmentName>,
    /// The file of the last one.
    file: Option<FileName>,
}

impl Segments {
    /// These segments, oldest first.
    pub(super) fn new(names: Vec<SegmentName>) -> Segments {
        Segments { file: names.last().map(|name| name.file()), names: names.into() }
    }

    /// Whether there is no log yet.
    pub(super) fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The segments, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = SegmentName> + '_ {
        self.names.iter().copied()
    }

    /// The oldest segment.
    ///
    /// # Panics
    /// There is none.
    pub(super) fn first(&self) -> SegmentName {
        *self.names.front().expect("an open log has a segment")
    }

    /// The segment that records go to.
    ///
    /// # Panics
    /// There is none.
    pub(super) fn last(&self) -> SegmentName {
        *self.names.back().expect("an open log has a segment")
    }

    /// Its file.
    ///
    /// # Panics
    /// There is none.
    pub(super) fn last_file(&self) -> FileName {
        self.file.clone().expect("an open log has a segment")
    }

    /// From here on records go to this segment.
    pub(super) fn push(&mut self, name: SegmentName) {
        self.names.push_back(name);
        self.file = Some(name.file());
    }

    /// Takes the oldest segment away, if a later one begins at `index` or before it.
    pub(super) fn pop_before(&mut self, index: LogIndex) -> Option<SegmentName> {
        let holds_nothing_else = self.names.get(1).is_some_and(|second| second.index <= index);
        if holds_nothing_else { self.names.pop_front() } else { None }
    }
}

/// The name of the file that will become segment `seq`.
pub(super) fn temporary_file(seq: u64) -> FileName {
    format!("{WAL_DIR}/{seq:016x}.tmp").into()
}
