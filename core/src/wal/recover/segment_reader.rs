//! Reads one segment: takes its records while they are intact, and judges what follows the last intact one.

use bytes::{Bytes, BytesMut};

use crate::effect::{FileName, HaltReason};

use super::super::marks::Mark;
use super::super::record::{
    FRAME_BYTES, Frame, RecordKind, data_of, parse_frame, two_records_at, what_no_crash_leaves,
};
use super::super::segment::SegmentName;
use super::TailStart;
use super::log::{LogBuilder, Place};

/// What a segment came to.
#[derive(Debug)]
pub(super) enum Verdict {
    /// More of it has to be read.
    More,
    /// It is read, and this is its end; and why no crash can have left what stands there, if none can.
    End(TailStart, Option<&'static str>),
}

/// A segment on its way from the disk.
#[derive(Debug)]
pub(super) struct SegmentReader {
    file: FileName,
    seq: u64,
    size_bytes: u64,
    is_first: bool,
    is_last: bool,
    mark: Option<Mark>,
    /// How many records were taken.
    records: u64,
    /// What is read and not yet taken; it starts at `offset` of the file.
    unread: BytesMut,
    offset: u64,
    /// How many bytes of `unread` would show what stands at `offset`.
    needs_bytes: u64,
    /// Whether the place of the durable mark was met.
    is_mark_passed: bool,
    /// Of the last segment, the records behind that place.
    unproven: BytesMut,
    tail: Option<Tail>,
}

/// What stands behind the last intact record of the last segment.
#[derive(Debug)]
struct Tail {
    what: &'static str,
    /// The end of the last byte that is not zero, counted from the end of the log.
    used_bytes: u64,
    /// How much of it was looked at for that.
    seen_bytes: u64,
}

impl SegmentReader {
    pub(super) fn new(
        name: SegmentName,
        size_bytes: u64,
        is_first: bool,
        is_last: bool,
        mark: Option<Mark>,
    ) -> SegmentReader {
        SegmentReader {
            file: name.file(),
            seq: name.seq,
            size_bytes,
            is_first,
            is_last,
            mark,
            records: 0,
            unread: BytesMut::new(),
            offset: 0,
            needs_bytes: FRAME_BYTES,
            is_mark_passed: false,
            unproven: BytesMut::new(),
            tail: None,
        }
    }

    /// What to read next.
    pub(super) fn next_range(&self, bytes_max: u64) -> std::ops::Range<u64> {
        let start = self.offset + self.unread.len() as u64;
        start..self.size_bytes.min(start + bytes_max.max(1)).max(start)
    }

    /// Takes the next bytes; `is_end` if the file ends with them, though it was listed as longer.
    pub(super) fn feed(&mut self, bytes: &Bytes, is_end: bool, log: &mut LogBuilder) -> Result<Verdict, HaltReason> {
        self.unread.extend_from_slice(bytes);
        if is_end {
            self.size_bytes = self.offset + self.unread.len() as u64;
        }
        if self.tail.is_none() {
            match self.take_records(log)? {
                None => return Ok(Verdict::More),
                Some(_) if !self.is_last => return Ok(Verdict::End(TailStart::default(), None)),
                Some(what) => self.tail = Some(Tail { what, used_bytes: 0, seen_bytes: 0 }),
            }
        }
        self.look_at_tail(log)
    }

    fn place(&self) -> Place<'_> {
        Place { file: &self.file, offset: self.offset }
    }

    /// Takes records until one is not intact, and says what is there; or until more bytes are needed.
    fn take_records(&mut self, log: &mut LogBuilder) -> Result<Option<&'static str>, HaltReason> {
        loop {
            self.check_mark(log)?;
            let rest_bytes = self.size_bytes - self.offset;
            let stop = if self.needs_bytes > rest_bytes {
                if rest_bytes == 0 { Stop::End } else { Stop::Broken("a record that the end of the file cuts off") }
            } else if (self.unread.len() as u64) < self.needs_bytes {
                return Ok(None);
            } else {
                match parse_frame(&self.unread) {
                    Frame::End => Stop::End,
                    Frame::Needs(bytes) => {
                        self.needs_bytes = bytes;
                        continue;
                    }
                    Frame::Broken(what) => Stop::Broken(what),
                    Frame::Record { kind, crc, data, frame_bytes } => {
                        if self.take_record(kind, crc, data, frame_bytes, log)? {
                            continue;
                        }
                        Stop::Broken("a record whose checksum is wrong")
                    }
                }
            };
            return self.judge_stop(stop).map(Some);
        }
    }

    /// Takes a well-formed record, unless its checksum is wrong.
    fn take_record(
        &mut self,
        kind: RecordKind,
        crc: u32,
        data: std::ops::Range<usize>,
        frame_bytes: usize,
        log: &mut LogBuilder,
    ) -> Result<bool, HaltReason> {
        let is_start = self.is_first && self.seq > 0 && self.records == 0;
        if is_start && kind == RecordKind::Crc {
            log.crc = crc;
        }
        if crc32c::crc32c_append(log.crc, &self.unread[data.clone()]) != crc {
            return Ok(false);
        }
        let fits = match self.records {
            0 => kind == RecordKind::Crc,
            1 => kind == RecordKind::Metadata,
            _ => !matches!(kind, RecordKind::Crc | RecordKind::Metadata),
        };
        if !fits {
            return Err(self.place().damaged("a record of a type that may not stand here"));
        }
        let frame = self.unread.split_to(frame_bytes).freeze();
        log.crc = crc;
        if self.is_last && self.mark.is_none_or(|mark| mark.durable.segment != self.seq || self.is_mark_passed) {
            self.unproven.extend_from_slice(&frame);
        }
        log.take(kind, data_of(&frame, data), self.place())?;
        self.records += 1;
        self.offset += frame_bytes as u64;
        self.needs_bytes = FRAME_BYTES;
        Ok(true)
    }

    /// The durable mark has to stand at the end of a record, and to know the entry before it.
    fn check_mark(&mut self, log: &LogBuilder) -> Result<(), HaltReason> {
        let Some(Mark { durable, .. }) = self.mark else { return Ok(()) };
        if durable.segment != self.seq || self.offset < durable.offset {
            return Ok(());
        }
        let known = (durable.last_index, durable.last_term);
        match log.last_entry {
            _ if self.offset > durable.offset && !self.is_mark_passed => Err(self
                .place()
                .damaged(&format!("the log was durable up to offset {}, within a record", durable.offset))),
            Some(entry) if self.offset == durable.offset && entry != known => {
                let what = format!("entry {} of term {} ends here, not the durable {}", entry.0, entry.1, known.0);
                Err(self.place().damaged(&what))
            }
            _ => {
                self.is_mark_passed = true;
                Ok(())
            }
        }
    }

    /// Says whether an end of the log may be here. A break may be only where a crash can have torn something.
    fn judge_stop(&self, stop: Stop) -> Result<&'static str, HaltReason> {
        let what = match stop {
            Stop::End => "the end of the log",
            Stop::Broken(what) => what,
        };
        if self.records < 2 && self.mark.is_some() {
            return Err(self.place().damaged(&format!("{what} within the header of the segment")));
        }
        if let Some(Mark { durable, .. }) = self.mark
            && durable.segment == self.seq
            && self.offset < durable.offset
        {
            let what = format!("{what}, but the log was durable up to offset {}", durable.offset);
            return Err(self.place().damaged(&what));
        }
        match stop {
            Stop::Broken(_) if !self.is_last => Err(self.place().damaged(what)),
            _ => Ok(what),
        }
    }

    /// Looks for the last byte of the tail that is not zero. Stops at the end of the file, or when more zeros follow
    /// than a crash can leave between two things that were in flight.
    fn look_at_tail(&mut self, log: &LogBuilder) -> Result<Verdict, HaltReason> {
        let tail = self.tail.as_mut().expect("the tail is being read");
        let fresh = &self.unread[tail.seen_bytes as usize..];
        if let Some(at) = fresh.iter().rposition(|&byte| byte != 0) {
            tail.used_bytes = tail.seen_bytes + at as u64 + 1;
        }
        tail.seen_bytes = self.unread.len() as u64;
        let in_flight_bytes_max = self.mark.map_or(u64::MAX, |mark| mark.in_flight_bytes_max);
        let is_end = self.offset + tail.seen_bytes >= self.size_bytes;
        if !is_end && tail.seen_bytes - tail.used_bytes <= in_flight_bytes_max {
            return Ok(Verdict::More);
        }
        self.judge_tail(in_flight_bytes_max)?;
        let tail = self.tail.as_ref().expect("the tail was read");
        let used = &self.unread[..tail.used_bytes as usize];
        let rot = what_no_crash_leaves(used, self.offset, self.size_bytes - self.offset);
        let start = TailStart {
            size_bytes: self.size_bytes,
            offset: self.offset,
            crc: log.crc,
            torn: self.offset..self.offset + tail.used_bytes,
            unproven: std::mem::take(&mut self.unproven).freeze(),
        };
        Ok(Verdict::End(start, rot))
    }

    /// Two records that follow each other, further behind the damage than anything that may have been in flight,
    /// prove that the damaged place was durable: writes go out in order, and so far ahead of it none went out.
    fn judge_tail(&self, in_flight_bytes_max: u64) -> Result<(), HaltReason> {
        let tail = self.tail.as_ref().expect("the tail was read");
        let start = in_flight_bytes_max.checked_next_multiple_of(8).unwrap_or(u64::MAX);
        let mut at = start;
        while at < tail.used_bytes {
            if two_records_at(&self.unread[at as usize..]) {
                let what = format!("{}, yet intact records follow at offset {}", tail.what, self.offset + at);
                return Err(self.place().damaged(&what));
            }
            at += 8;
        }
        Ok(())
    }
}

/// Why no record was taken.
#[derive(Clone, Copy, Debug)]
enum Stop {
    End,
    Broken(&'static str),
}
