//! The durable marks: how far the log is known to be durable, and how often the node was opened.
//!
//! etcd's framing alone cannot tell a rotten tail from a torn one. Two slots in a file of their own say how far the log
//! was durable, each written after the sync that it describes: any slot that is whole tells the truth, and the newest
//! one is a lower bound. Some marks are synced and some are not. A mark never goes to the slot of the newest synced
//! one, so that slot is always whole; the other one takes all unsynced marks until the next synced one.

use bytes::{BufMut, Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::effect::FileName;
use crate::types::{LogIndex, Term};

use super::{NUMBER_MAX, WAL_DIR};

/// Where the second slot starts: on a page of its own, so that no torn write reaches both.
const SLOT_STRIDE_BYTES: u64 = 4096;
/// How long the file is.
pub(super) const MARKS_FILE_BYTES: u64 = 2 * SLOT_STRIDE_BYTES;
/// Twelve numbers.
const SLOT_BYTES: usize = 12 * 8;
/// "detcdwal", the first number of a slot, little endian.
const MAGIC: u64 = u64::from_le_bytes(*b"detcdwal");

/// The name of the file with the marks.
pub(super) fn marks_file() -> FileName {
    format!("{WAL_DIR}/durable.marks").into()
}

/// The name under which the file with the marks is prepared.
pub(super) fn marks_temporary_file() -> FileName {
    format!("{WAL_DIR}/durable.marks.tmp").into()
}

/// A place in the log, with the last entry that was written before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// The segment.
    pub(super) segment: u64,
    /// The end of a record, in bytes from the start of the segment.
    pub(super) offset: u64,
    /// The index of the last entry record before it, 0 if there never was one.
    pub(super) last_index: LogIndex,
    /// Its term.
    pub(super) last_term: Term,
}

/// One mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// Counted up by one with each mark; its parity says in which slot it is.
    pub(super) sequence: u64,
    /// In which life of the node it was written, counted from 1.
    pub(super) boot: u64,
    /// The first segment that counts; those before it are released.
    pub(super) first_segment: u64,
    /// Everything before this is durable.
    pub(super) durable: Position,
    /// How many bytes behind it that life may have in flight at once.
    pub(super) in_flight_bytes_max: u64,
    /// The member acts in no later term than this one before a synced mark allows more.
    pub(super) term_max: Term,
    /// In terms up to this one, the member may have acknowledged what its disk lost since; 0 if it lost nothing.
    pub(super) lost_until: Term,
}

impl Mark {
    /// Where in the file this mark is written.
    pub(super) fn slot_offset(&self) -> u64 {
        self.sequence % 2 * SLOT_STRIDE_BYTES
    }

    /// The number of the next mark if this is the newest synced one and `written` the newest one at all: greater than
    /// both, and for the slot that is not this one's.
    pub(super) fn next_sequence(&self, written: u64) -> u64 {
        let next = self.sequence.max(written) + 1;
        next + u64::from(next % 2 == self.sequence % 2)
    }

    /// The bytes of its slot.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(SLOT_BYTES);
        for number in [
            MAGIC,
            self.sequence,
            self.boot,
            self.first_segment,
            self.durable.segment,
            self.durable.offset,
            self.durable.last_index.0,
            self.durable.last_term.0,
            self.in_flight_bytes_max,
            self.term_max.0,
            self.lost_until.0,
        ] {
            out.put_u64_le(number);
        }
        out.put_u64_le(xxh3_64(&out));
        out.freeze()
    }

    fn decode(slot: &[u8]) -> Option<Mark> {
        let (numbers, checksum) = slot.get(..SLOT_BYTES)?.split_at(SLOT_BYTES - 8);
        if checksum != xxh3_64(numbers).to_le_bytes() {
            return None;
        }
        let (numbers, _) = numbers.as_chunks::<8>();
        let number = |at: usize| u64::from_le_bytes(numbers[at]);
        // Larger numbers are none of ours, and counting on from them could overflow.
        let is_ours = number(0) == MAGIC && (1..11).all(|at| number(at) <= NUMBER_MAX);
        is_ours.then(|| Mark {
            sequence: number(1),
            boot: number(2),
            first_segment: number(3),
            durable: Position {
                segment: number(4),
                offset: number(5),
                last_index: LogIndex(number(6)),
                last_term: Term(number(7)),
            },
            in_flight_bytes_max: number(8),
            term_max: Term(number(9)),
            lost_until: Term(number(10)),
        })
    }
}

/// What the file with the marks says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MarksRead {
    /// The newest mark that is whole.
    pub(super) newest: Mark,
    /// The number of the life that opens the file now. No life before it that served had this number.
    pub(super) next_boot: u64,
    /// Whether a slot was written and is not whole; it may have been newer.
    pub(super) is_one_lost: bool,
}

/// Reads the file. Nothing if neither slot is whole.
pub(super) fn read_marks(bytes: &[u8]) -> Option<MarksRead> {
    let slots = [0, SLOT_STRIDE_BYTES as usize].map(|start| bytes.get(start..).unwrap_or_default());
    let marks = slots.map(Mark::decode);
    let newest = marks.into_iter().flatten().max_by_key(|mark| mark.sequence)?;
    // A slot that is neither whole nor unwritten may have counted one boot more.
    let is_unwritten = |slot: &[u8]| slot.iter().take(SLOT_BYTES).all(|&byte| byte == 0);
    let lost = slots.iter().zip(&marks).any(|(slot, mark)| mark.is_none() && !is_unwritten(slot));
    Some(MarksRead { newest, next_boot: newest.boot + 1 + u64::from(lost), is_one_lost: lost })
}
