//! Reads a log back, piece by piece, and judges what it finds. Nothing is written.
//!
//! What a crash can leave behind: in the last segment, behind what was known to be durable, any subset of the sectors
//! that were in flight; files under temporary names; segments that were released. Everything else is damage. Damage
//! in what was durable is named, never repaired; behind that, it is cut off and told. See [`super`] for what the end of
//! a log can tell, and for the order of calls.

mod log;
mod segment_reader;

use std::ops::Range;

use bytes::Bytes;

use crate::effect::{DiskAction, FileName, HaltReason};
use crate::input::Listing;
use crate::log::{Entry, HardState, SnapshotMeta};
use crate::types::{ClusterId, LogIndex, Term};

use super::marks::{MARKS_FILE_BYTES, Mark, MarksRead, marks_file, read_marks};
use super::payload::put_header;
use super::segment::SegmentName;
use super::writer::{TailStart, WriterStart};
use super::{WAL_DIR, WalConfig};

use log::LogBuilder;
use segment_reader::{SegmentReader, Verdict};

/// A log on its way from the disk.
#[derive(Debug)]
pub struct Recovery {
    config: WalConfig,
    leftovers: Vec<FileName>,
    released: Vec<SegmentName>,
    segments: Vec<(SegmentName, u64)>,
    marks: Option<MarksRead>,
    log: LogBuilder,
    stage: RecoveryStage,
    /// The read that was asked for and not yet answered.
    asked: Option<Range<u64>>,
    read_bytes: u64,
    total_bytes: u64,
}

#[derive(Debug)]
enum RecoveryStage {
    /// The durable marks are read.
    Marks,
    /// This one of the segments is read.
    Segment(usize, Box<SegmentReader>),
    /// Nothing is left to read; if no crash can have left the end as it is, why.
    Done(TailStart, Option<&'static str>),
}

/// A log that was read back.
#[derive(Clone, Debug)]
pub struct Recovered {
    /// Whether there was no log: the directory is fresh, or its creation was never completed.
    pub fresh: bool,
    /// The cluster that the log is of. It decides, whatever the configuration says; that is for a fresh directory.
    pub cluster_id: ClusterId,
    /// The number of this life of the node, counted from 1; it counts once [`super::Writer::is_open`].
    pub boot: u64,
    /// The newest hard state. Its term and commit index are at least those that entries and marks prove.
    pub hard_state: HardState,
    /// The log goes on without a gap from here: the first entry, or the next one if there is none.
    pub first_index: LogIndex,
    /// The entries, all that the remaining segments hold, without gap.
    pub entries: Vec<Entry>,
    /// The marks of durable checkpoints, in the order in which they were written; the first may be {0, 0}.
    pub marks: Vec<SnapshotMeta>,
    /// What will be zeroed at the end of the log, if anything.
    pub cut: Option<CutTail>,
    /// In terms up to this one, the member may have acknowledged entries that are not in this log, because they were
    /// cut off now or in a life before. Nothing if it has an entry of a later term: then it has got them back.
    pub lost_until: Option<Term>,
    /// What [`super::Writer::open`] needs.
    pub start: WriterStart,
}

/// What stands behind the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutTail {
    /// The segment.
    pub file: FileName,
    /// The end of the last intact record.
    pub offset: u64,
    /// Everything before this will be zeroed; behind it are zeros only.
    pub zero_until: u64,
    /// Nothing if a crash can have torn it. Otherwise why none can: it was whole once, and may have been acknowledged.
    pub rot: Option<&'static str>,
}

impl Recovered {
    /// The last index of the log: that of the last entry, or of the checkpoint on which it goes on.
    pub fn last_index(&self) -> LogIndex {
        LogIndex(self.first_index.0 - 1 + self.entries.len() as u64)
    }

    /// Whether a checkpoint at this index and term, together with the entries after it, is a whole log.
    pub fn continues_from(&self, index: LogIndex, term: Term) -> bool {
        let is_within = self.first_index.0 <= index.0 + 1 && index <= self.last_index();
        let entry = index.0.checked_sub(self.first_index.0).and_then(|at| self.entries.get(at as usize));
        is_within && entry.is_none_or(|entry| entry.term == term)
    }

    /// The entries after `index`, from which the log has to continue.
    pub fn entries_after(&self, index: LogIndex) -> &[Entry] {
        let skipped = (index.0 + 1).checked_sub(self.first_index.0).expect("the log continues from the checkpoint");
        &self.entries[skipped as usize..]
    }
}

impl Recovery {
    /// Begins with the names and sizes of the files of the data directory. Files that are not the log's are ignored.
    pub fn new(config: WalConfig, listing: &Listing) -> Recovery {
        let mut leftovers = Vec::new();
        let mut segments = Vec::new();
        let mut has_marks_file = false;
        for (file, size_bytes) in &listing.files {
            let Some(name) = file.strip_prefix(WAL_DIR).and_then(|rest| rest.strip_prefix('/')) else { continue };
            if name.ends_with(".tmp") {
                leftovers.push(FileName::from(file.as_str()));
            } else if let Some(segment) = SegmentName::parse(name) {
                segments.push((segment, *size_bytes));
            } else if *file == *marks_file() {
                has_marks_file = true;
            }
        }
        leftovers.sort();
        segments.sort();
        let mut recovery = Recovery {
            config,
            leftovers,
            released: Vec::new(),
            segments,
            marks: None,
            log: LogBuilder::default(),
            stage: RecoveryStage::Marks,
            asked: None,
            read_bytes: 0,
            total_bytes: 0,
        };
        if has_marks_file {
            recovery.total_bytes = MARKS_FILE_BYTES;
        }
        recovery.total_bytes += recovery.segments.iter().map(|(_, size_bytes)| size_bytes).sum::<u64>();
        if !has_marks_file {
            recovery.start_segment(0);
        }
        recovery
    }

    /// The next read, unless one is under way or nothing is left to read.
    pub fn next_read(&mut self) -> Option<DiskAction> {
        if self.asked.is_some() {
            return None;
        }
        let (file, range) = match &self.stage {
            RecoveryStage::Marks => (marks_file(), 0..MARKS_FILE_BYTES),
            RecoveryStage::Segment(at, reader) => {
                (self.segments[*at].0.file(), reader.next_range(self.config.read_bytes_max))
            }
            RecoveryStage::Done(..) => return None,
        };
        let (offset, len) = (range.start, range.end - range.start);
        self.asked = Some(range);
        Some(DiskAction::Read { file, offset, len })
    }

    /// Takes the bytes of the read that was asked for; fewer only if the file ends there.
    pub fn feed(&mut self, bytes: Bytes) -> Result<(), HaltReason> {
        let asked = self.asked.take().expect("bytes come for a read that was asked for");
        let is_end = (bytes.len() as u64) < asked.end - asked.start;
        self.read_bytes += bytes.len() as u64;
        match &mut self.stage {
            RecoveryStage::Marks => self.take_marks(&bytes),
            RecoveryStage::Segment(at, reader) => {
                let at = *at;
                match reader.feed(&bytes, is_end, &mut self.log)? {
                    Verdict::More => Ok(()),
                    Verdict::End(tail, rot) if at + 1 == self.segments.len() => self.take_tail(tail, rot),
                    Verdict::End(..) => {
                        self.start_segment(at + 1);
                        Ok(())
                    }
                }
            }
            RecoveryStage::Done(..) => unreachable!("nothing was asked for"),
        }
    }

    /// Whether everything is read, so that [`Recovery::finish`] may be called.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, RecoveryStage::Done(..))
    }

    /// Bytes read so far, and bytes to read at most; the end of the last segment is not read if it is empty.
    pub fn progress(&self) -> (u64, u64) {
        (self.read_bytes, self.total_bytes)
    }

    fn take_marks(&mut self, bytes: &Bytes) -> Result<(), HaltReason> {
        let Some(marks) = read_marks(bytes) else {
            return Err(damaged(&marks_file(), 0, "neither of the two durable marks is whole"));
        };
        self.marks = Some(marks);
        self.drop_released(marks.newest.first_segment);
        self.check_names(&marks.newest)?;
        self.start_segment(0);
        Ok(())
    }

    /// Segments before the first that counts were released; a crash may have kept any of them.
    fn drop_released(&mut self, first_segment: u64) {
        let released = self.segments.iter().take_while(|(name, _)| name.seq < first_segment).count();
        for (name, size_bytes) in self.segments.drain(..released) {
            self.released.push(name);
            self.total_bytes -= size_bytes;
        }
    }

    /// The segments have to follow each other without gap, from the first that counts to the durable one at least.
    fn check_names(&self, mark: &Mark) -> Result<(), HaltReason> {
        for (at, (name, _)) in self.segments.iter().enumerate() {
            let expected = mark.first_segment + at as u64;
            if name.seq > expected {
                return Err(damaged(&name.file(), 0, &format!("segment {expected:x} before it is missing")));
            }
            if name.seq < expected {
                return Err(damaged(&name.file(), 0, "there are two segments with this number"));
            }
        }
        if self.segments.last().is_none_or(|(name, _)| name.seq < mark.durable.segment) {
            let what = format!("segment {:x}, which was durable, is missing", mark.durable.segment);
            return Err(damaged(&marks_file(), mark.slot_offset(), &what));
        }
        Ok(())
    }

    fn start_segment(&mut self, at: usize) {
        let Some((name, size_bytes)) = self.segments.get(at).copied() else {
            self.stage = RecoveryStage::Done(TailStart::default(), None);
            return;
        };
        if at == 0 {
            self.log.begin(&self.config, name);
        }
        let is_last = at + 1 == self.segments.len();
        let mark = self.marks.map(|marks| marks.newest);
        let reader = SegmentReader::new(name, size_bytes, at == 0, is_last, mark);
        self.stage = RecoveryStage::Segment(at, Box::new(reader));
    }

    fn take_tail(&mut self, tail: TailStart, rot: Option<&'static str>) -> Result<(), HaltReason> {
        if self.marks.is_none() {
            self.check_unfinished(&tail)?;
            // Its creation was not completed, so it counts as not begun.
            self.leftovers.extend(self.segments.drain(..).map(|(name, _)| name.file()));
            self.log = LogBuilder::default();
        }
        // Of a log that was never served from nothing can be lost.
        let rot = rot.filter(|_| self.marks.is_some());
        if let (Some(rot), Some(MarksRead { is_one_lost: true, .. })) = (rot, self.marks) {
            let what = format!("{rot}, and one of the two durable marks that could tell more is damaged too");
            let file = self.segments.last().expect("its end was read").0.file();
            return Err(damaged(&file, tail.offset, &what));
        }
        self.stage = RecoveryStage::Done(tail, rot);
        Ok(())
    }

    /// Without marks no node ever served from here, so there can be nothing but a header, whole or not.
    fn check_unfinished(&self, tail: &TailStart) -> Result<(), HaltReason> {
        let is_first = self.segments.len() == 1 && self.segments[0].0.seq == 0;
        let mut header = Vec::new();
        let cluster_id = self.log.cluster.unwrap_or(self.config.cluster_id);
        put_header(&mut header, &mut 0, self.config.node_id, cluster_id, true, HardState::default());
        if is_first && self.log.is_untouched() && tail.offset.max(tail.torn.end) <= header.len() as u64 {
            return Ok(());
        }
        Err(damaged(&marks_file(), 0, "the file with the durable marks is missing"))
    }

    /// What was read. Call it when no read is left; it fails if the parts do not fit together.
    pub fn finish(self) -> Result<Recovered, HaltReason> {
        let RecoveryStage::Done(tail, rot) = self.stage else { unreachable!("the log is not yet read") };
        let segments: Vec<SegmentName> = self.segments.iter().map(|(name, _)| *name).collect();
        let marks = self.marks.unwrap_or(MarksRead { newest: Mark::default(), next_boot: 1, is_one_lost: false });
        let fresh = segments.is_empty();
        let recorded_state = self.log.hard_state;
        let mut log = self.log.finish(segments.last().map(|name| name.file()), tail.offset)?;
        let cut = segments.last().filter(|_| !tail.torn.is_empty()).map(|name| CutTail {
            file: name.file(),
            offset: tail.torn.start,
            zero_until: tail.torn.end,
            rot,
        });
        let mut mark = marks.newest;
        if rot.is_some() {
            mark.lost_until = mark.lost_until.max(mark.term_max).max(log.hard_state.term);
        }
        let lost_until = (log.last_term() <= mark.lost_until).then_some(mark.lost_until).filter(|term| *term > Term(0));
        if let Some(lost_until) = lost_until {
            log.begin_term_after(lost_until);
        }
        let start = WriterStart {
            boot: marks.next_boot,
            leftovers: self.leftovers,
            released: self.released,
            segments,
            tail,
            mark,
            loses: mark.lost_until > marks.newest.lost_until,
            hard_state: log.hard_state,
            recorded_state,
            last_index: log.last_index(),
            bare_mark: log.bare_mark,
            last_entry: log.last_entry.unwrap_or((marks.newest.durable.last_index, marks.newest.durable.last_term)),
        };
        Ok(Recovered {
            fresh,
            cluster_id: log.cluster.unwrap_or(self.config.cluster_id),
            boot: marks.next_boot,
            hard_state: log.hard_state,
            first_index: log.first_index,
            entries: log.entries,
            marks: log.marks,
            cut,
            lost_until,
            start,
        })
    }
}

fn damaged(file: &str, offset: u64, what: &str) -> HaltReason {
    HaltReason::Damaged { file: file.to_owned(), offset, what: what.to_owned() }
}
