//! What a disk does to what it had promised to keep: flipped bits, lost sectors, writes that went elsewhere.
//!
//! Raft promises nothing to a member that forgets, so what is damaged here has to be such that the member can tell. The
//! rule is the log's own (`detcd_core::wal`), judged here once more and from the bytes alone:
//! * What a durable mark covers was durable: anything that is wrong there can be noticed.
//! * Behind the mark a flipped bit can be told from a torn write only if of no piece of its record, as sectors divide
//!   it, nothing but zeros is left; lost sectors there cannot be told from ones that never arrived.
//! * A chunk of a checkpoint, and a mark, carry checksums of their own.

use bytes::{Bytes, BytesMut};
use detcd_core::effect::FileName;
use xxhash_rust::xxh3::xxh3_64;

use super::{Disk, SECTOR_BYTES};
use crate::weather::{below, nth, permille};

const WAL_DIR: &str = "member/wal/";
const SNAP_DIR: &str = "member/snap/";
/// The file with the durable marks. They tell of segments, so damage in it may show there.
pub(crate) const MARKS_FILE: &str = "member/wal/durable.marks";
/// The two marks stand at multiples of this; each is eleven numbers and the checksum of their bytes.
const MARK_STRIDE_BYTES: u64 = 4_096;
const MARK_BYTES: usize = 96;
/// No segment of a simulated log is read further than this.
const SEGMENT_READ_BYTES: u64 = 16 << 20;
/// A record begins with its length.
const LENGTH_BYTES: usize = 8;
/// Its length, kind and checksum, and the length of its data take no more than this.
const FIELDS_BYTES_MAX: usize = 32;

/// What happens to a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// A bit flips in one of the last records of the log, or its last sectors that a mark covers are gone.
    LogEnd,
    /// A bit flips in older records of the log, in a checkpoint, or in a mark.
    Older,
    /// Some sectors of the log, or of a checkpoint, turn out to have been written elsewhere.
    Misdirected,
}

/// What was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The files that are not as they were.
    pub files: Vec<FileName>,
    /// What is wrong, for a human.
    pub what: String,
}

/// Up to where a mark proves the log durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Proven {
    first_segment: u64,
    segment: u64,
    offset: u64,
}

/// A stretch of a file.
#[derive(Clone, Debug)]
struct Stretch {
    file: FileName,
    from: u64,
    until: u64,
}

impl Stretch {
    fn len(&self) -> u64 {
        self.until - self.from
    }

    fn pick(&self, draw: u64) -> u64 {
        self.from + below(draw, self.len())
    }
}

impl Disk {
    /// Damages what is durable, after a crash, in a way that the member can notice. Nothing if there is nothing to
    /// damage so.
    pub fn damage(&mut self, damage: Damage, draw: u64) -> Option<Damaged> {
        let proven = self.proven()?;
        match damage {
            Damage::LogEnd if permille(nth(draw, 0), 600) => self.flip_at_the_end(proven, draw),
            Damage::LogEnd => self.lose_the_end(proven, draw),
            Damage::Older => self.flip_older(proven, draw),
            Damage::Misdirected => self.misdirect(proven, draw),
        }
    }

    /// What the newest whole mark says.
    fn proven(&self) -> Option<Proven> {
        let bytes = self.durable_bytes(&MARKS_FILE.into(), 0, 2 * MARK_STRIDE_BYTES)?;
        let slots = [0, MARK_STRIDE_BYTES as usize].map(|at| bytes.get(at..at + MARK_BYTES));
        let marks = slots.into_iter().flatten().filter_map(|slot| {
            let (numbers, checksum) = slot.split_at(MARK_BYTES - 8);
            let number = |at: usize| u64::from_le_bytes(numbers[8 * at..8 * at + 8].try_into().expect("eight bytes"));
            let is_whole = xxh3_64(numbers).to_le_bytes() == *checksum;
            is_whole.then(|| (number(1), Proven { first_segment: number(3), segment: number(4), offset: number(5) }))
        });
        marks.max_by_key(|(sequence, _)| *sequence).map(|(_, proven)| proven)
    }

    /// The segments of the log from the first that counts on, oldest first, with their numbers.
    fn segments(&self, proven: Proven) -> Vec<(u64, FileName)> {
        let number = |name: &FileName| {
            let name = name.strip_prefix(WAL_DIR)?.strip_suffix(".wal")?;
            u64::from_str_radix(name.split('-').next()?, 16).ok()
        };
        let all = self.durable_names.keys().filter_map(|name| Some((number(name)?, name.clone())));
        all.filter(|(number, _)| *number >= proven.first_segment).collect()
    }

    /// The part of each segment that is proven durable.
    fn proven_stretches(&self, proven: Proven) -> Vec<Stretch> {
        let segments = self.segments(proven).into_iter().filter(|(number, _)| *number <= proven.segment);
        let stretch = |(number, file): (u64, FileName)| {
            let until = if number == proven.segment { proven.offset } else { self.end_of_records(&file) };
            Stretch { file, from: 0, until }
        };
        segments.map(stretch).filter(|stretch| stretch.len() > 0).collect()
    }

    fn end_of_records(&self, file: &FileName) -> u64 {
        let bytes = self.durable_bytes(file, 0, SEGMENT_READ_BYTES).unwrap_or_default();
        frames(&bytes).last().map_or(0, |(_, end)| end as u64)
    }

    /// A bit of one of the last records flips.
    fn flip_at_the_end(&mut self, proven: Proven, draw: u64) -> Option<Damaged> {
        let (number, file) = self.segments(proven).pop()?;
        let bytes = self.durable_bytes(&file, 0, SEGMENT_READ_BYTES)?;
        let last: Vec<(usize, usize)> = frames(&bytes).collect();
        let back = usize::try_from(below(nth(draw, 1), 4)).expect("below four");
        let (start, end) = *last.get(last.len().checked_sub(1 + back)?)?;
        let at = start + usize::try_from(below(nth(draw, 2), (end - start) as u64)).expect("within a record");
        let flipped = bytes[at] ^ 1 << below(nth(draw, 3), 8);
        let is_covered = number < proven.segment || number == proven.segment && (start as u64) < proven.offset;
        if !is_covered && !is_flip_told(&bytes[start..end], start, at - start, flipped) {
            return None;
        }
        self.overwrite(&file, at as u64, Bytes::copy_from_slice(&[flipped]));
        let where_to = if is_covered { "before" } else { "behind" };
        Some(damaged(&file, format!("{file}: a bit flips at offset {at}, {where_to} what a mark covers")))
    }

    /// The last sectors that a mark covers are gone.
    fn lose_the_end(&mut self, proven: Proven, draw: u64) -> Option<Damaged> {
        let end = self.proven_stretches(proven).pop()?;
        let sectors = 1 + below(nth(draw, 1), 8);
        let last = (end.until - 1) / SECTOR_BYTES;
        let from = (last + 1).saturating_sub(sectors) * SECTOR_BYTES;
        let until = (last + 1) * SECTOR_BYTES;
        let known = self.durable_bytes(&end.file, from, end.until - from)?;
        if known.iter().all(|byte| *byte == 0) {
            return None;
        }
        self.overwrite(&end.file, from, BytesMut::zeroed(bounded(until - from)).freeze());
        Some(damaged(&end.file, format!("{}: sectors from {from} up to {until} are lost", end.file)))
    }

    /// A bit of something older flips.
    fn flip_older(&mut self, proven: Proven, draw: u64) -> Option<Damaged> {
        let mut choice = self.proven_stretches(proven);
        choice.extend(self.checkpoints());
        let marks = [0, 1].map(|slot| Stretch {
            file: MARKS_FILE.into(),
            from: slot * MARK_STRIDE_BYTES,
            until: slot * MARK_STRIDE_BYTES + MARK_BYTES as u64,
        });
        choice.extend(marks);
        let stretch = pick(&choice, nth(draw, 1))?;
        let at = stretch.pick(nth(draw, 2));
        let byte = *self.durable_bytes(&stretch.file, at, 1)?.first()?;
        let flipped = byte ^ 1 << below(nth(draw, 3), 8);
        self.overwrite(&stretch.file, at, Bytes::copy_from_slice(&[flipped]));
        Some(damaged(&stretch.file, format!("{}: a bit flips at offset {at}", stretch.file)))
    }

    /// Some sectors are where others should be, and zeros where they should be.
    fn misdirect(&mut self, proven: Proven, draw: u64) -> Option<Damaged> {
        let mut choice = self.proven_stretches(proven);
        choice.extend(self.checkpoints());
        let source = pick(&choice, nth(draw, 1))?.clone();
        let target = pick(&choice, nth(draw, 2))?.clone();
        let len = SECTOR_BYTES * (1 + below(nth(draw, 3), 4));
        let sector = |stretch: &Stretch, draw| stretch.pick(draw) / SECTOR_BYTES * SECTOR_BYTES;
        let (from, to) = (sector(&source, nth(draw, 4)), sector(&target, nth(draw, 5)));
        let bytes = self.durable_bytes(&source.file, from, len.min(source.until - from))?;
        if bytes.iter().all(|byte| *byte == 0) || (&source.file, from) == (&target.file, to) {
            return None;
        }
        let room = bounded(target.until - to);
        let what = format!("{}: what belongs at offset {from} stands at {to} of {}", source.file, target.file);
        self.overwrite(&source.file, from, BytesMut::zeroed(bytes.len()).freeze());
        self.overwrite(&target.file, to, bytes.slice(..bytes.len().min(room)));
        Some(Damaged { files: vec![source.file, target.file], what })
    }

    fn checkpoints(&self) -> Vec<Stretch> {
        let whole = |(file, inode): (&FileName, &u64)| {
            let is_checkpoint = file.starts_with(SNAP_DIR) && file.ends_with(".ckpt");
            let until = self.inodes[inode].durable.len();
            (is_checkpoint && until > 0).then(|| Stretch { file: file.clone(), from: 0, until })
        };
        self.durable_names.iter().filter_map(whole).collect()
    }

    fn durable_bytes(&self, file: &FileName, offset: u64, len: u64) -> Option<Bytes> {
        self.durable_names.get(file).map(|inode| self.inodes[inode].durable.read(offset, len))
    }

    fn overwrite(&mut self, file: &FileName, offset: u64, bytes: Bytes) {
        let inode = self.inodes.get_mut(&self.durable_names[file]).expect("a name leads to its file");
        inode.durable.write(offset, bytes);
        inode.live = inode.durable.clone();
    }
}

fn damaged(file: &FileName, what: String) -> Damaged {
    Damaged { files: vec![file.clone()], what }
}

fn pick(choice: &[Stretch], draw: u64) -> Option<&Stretch> {
    choice.get(bounded(below(draw, choice.len() as u64)))
}

fn bounded(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a simulated file fits into memory")
}

/// Start and end of each record from the start of a segment on, as their lengths say, until one has none.
fn frames(bytes: &[u8]) -> impl Iterator<Item = (usize, usize)> + '_ {
    let mut start = 0;
    std::iter::from_fn(move || {
        let field = u64::from_le_bytes(bytes.get(start..start + LENGTH_BYTES)?.try_into().expect("eight bytes"));
        let record_bytes = usize::try_from(field & ((1 << 56) - 1)).ok().filter(|bytes| *bytes > 0)?;
        let end = start.checked_add(LENGTH_BYTES)?.checked_add(record_bytes.checked_next_multiple_of(8)?)?;
        if end > bytes.len() {
            return None;
        }
        let frame = (start, end);
        start = end;
        Some(frame)
    })
}

/// Whether a flipped byte at `at` of a record that begins at `start` of its file can be told from what a crash leaves:
/// in each piece of the record, as sectors divide it, something other than zeros is left.
fn is_flip_told(record: &[u8], start: usize, at: usize, flipped: u8) -> bool {
    let mut record = record.to_vec();
    record[at] = flipped;
    let sector = bounded(SECTOR_BYTES);
    let mut from = 0;
    while from < record.len() {
        let to = record.len().min(from + sector - (start + from) % sector);
        if record[from..to].iter().all(|byte| *byte == 0) {
            return false;
        }
        from = to;
    }
    // A wrong length leads into the zeros behind the log, unless what follows it in its sector gives it away.
    at >= LENGTH_BYTES || start % sector + FIELDS_BYTES_MAX <= sector
}

#[cfg(test)]
#[path = "damage_tests.rs"]
mod tests;
