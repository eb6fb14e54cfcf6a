//! The framing of records, as etcd writes them (contract, section 7).
//!
//! A frame is eight bytes, little endian: the low 56 bits say how long the record is, the top byte is `0x80 | padding`
//! if zeros follow to fill up eight bytes. The record is the protobuf message {type, crc, data}; `crc` is the CRC-32C
//! of all data since the first record of the log, including its own.
//!
//! The checksum covers only `data`. So that no changed byte goes unseen, decoding takes nothing but the exact bytes
//! that encoding gives: fields in order, shortest varints, the right padding, all of it zero.

use bytes::Bytes;
use prost::encoding::encoded_len_varint;

use super::SECTOR_BYTES;
use crate::fields::Head;

/// The size of the length field before each record.
pub(super) const FRAME_BYTES: u64 = 8;

/// Type and checksum with their field keys, the key of the data, and the longest varint for its length.
const FIELDS_BYTES_MAX: usize = 2 + 6 + 1 + 10;

/// What a record's data means; the numbers are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RecordKind {
    /// Whose log it is; the second record of each segment.
    Metadata = 1,
    /// An entry of the Raft log.
    Entry = 2,
    /// The hard state.
    HardState = 3,
    /// The running checksum so far; the first record of each segment.
    Crc = 4,
    /// A checkpoint that is durable.
    SnapshotMark = 5,
}

impl RecordKind {
    fn from_number(number: u8) -> Option<RecordKind> {
        match number {
            1 => Some(RecordKind::Metadata),
            2 => Some(RecordKind::Entry),
            3 => Some(RecordKind::HardState),
            4 => Some(RecordKind::Crc),
            5 => Some(RecordKind::SnapshotMark),
            _ => None,
        }
    }
}

/// An upper bound of the framed size of a record with this many bytes of data.
pub(super) fn framed_bytes_max(data_bytes: usize) -> u64 {
    FRAME_BYTES + ((FIELDS_BYTES_MAX + data_bytes) as u64).next_multiple_of(8)
}

/// Appends a framed record to `out` and moves the running checksum on. `put_data` appends the data, so many bytes.
pub(super) fn put_record(
    out: &mut Vec<u8>,
    running_crc: &mut u32,
    kind: RecordKind,
    data_bytes: usize,
    put_data: impl FnOnce(&mut Vec<u8>),
) {
    let start = out.len();
    // The data is written first, and checksummed in one piece: for as much as an entry has, most of what a checksum
    // costs is the call. What comes before it is as long as with a checksum of five bytes, as nearly all of them are.
    let expected_bytes = 2 + 6 + if data_bytes > 0 { 1 + encoded_len_varint(data_bytes as u64) } else { 0 };
    let data_start = start + FRAME_BYTES as usize + expected_bytes;
    out.extend_from_slice(&[0; FRAME_BYTES as usize + FIELDS_BYTES_MAX]);
    out.truncate(data_start);
    put_data(out);
    assert_eq!(out.len() - data_start, data_bytes, "a record's data is as long as it was said to be");
    *running_crc = crc32c::crc32c_append(*running_crc, &out[data_start..]);

    let mut fields = Head::<FIELDS_BYTES_MAX>::new();
    fields.always(1, kind as u64);
    fields.always(2, u64::from(*running_crc));
    if data_bytes > 0 {
        fields.length(3, data_bytes);
    }
    let fields = fields.bytes();
    let unused_bytes = expected_bytes - fields.len();
    if unused_bytes > 0 {
        out.copy_within(data_start.., data_start - unused_bytes);
        out.truncate(out.len() - unused_bytes);
    }
    let record_bytes = fields.len() + data_bytes;
    let (frame, behind) = out[start..].split_at_mut(FRAME_BYTES as usize);
    frame.copy_from_slice(&length_field(record_bytes as u64).to_le_bytes());
    behind[..fields.len()].copy_from_slice(fields);
    out.extend_from_slice(&[0; 7][..record_bytes.wrapping_neg() % 8]);
}

/// The length field of a record of this many bytes.
fn length_field(record_bytes: u64) -> u64 {
    match record_bytes.wrapping_neg() % 8 {
        0 => record_bytes,
        padding => record_bytes | (0x80 | padding) << 56,
    }
}

/// What stands at some place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// A length of zero: the log of this segment ends here.
    End,
    /// Only this many bytes, from the start of the frame, would show what stands here.
    Needs(u64),
    /// No record that we could have written.
    Broken(&'static str),
    /// A well-formed record whose checksum is not yet compared.
    Record {
        /// What it is.
        kind: RecordKind,
        /// The running checksum that it claims.
        crc: u32,
        /// Where its data lies, counted from the start of the frame.
        data: std::ops::Range<usize>,
        /// How long the frame is.
        frame_bytes: usize,
    },
}

/// Says what stands at the start of `bytes`. Total: any bytes give an answer, and nothing is allocated.
pub(super) fn parse_frame(bytes: &[u8]) -> Frame {
    let Some((field, rest)) = bytes.split_first_chunk::<8>() else {
        return Frame::Needs(FRAME_BYTES);
    };
    let field = u64::from_le_bytes(*field);
    if field == 0 {
        return Frame::End;
    }
    let record_bytes = field & ((1 << 56) - 1);
    if record_bytes == 0 || length_field(record_bytes) != field {
        return Frame::Broken("a length field that is none");
    }
    let padded_bytes = record_bytes.next_multiple_of(8);
    if (rest.len() as u64) < padded_bytes {
        return Frame::Needs(FRAME_BYTES + padded_bytes);
    }
    // Both fit, as they are no longer than a slice.
    let (record_bytes, padded_bytes) = (record_bytes as usize, padded_bytes as usize);
    if rest[record_bytes..padded_bytes].iter().any(|&byte| byte != 0) {
        return Frame::Broken("padding that is not zero");
    }
    let Some((kind, crc, data)) = parse_fields(&rest[..record_bytes], record_bytes) else {
        return Frame::Broken("a record that is malformed");
    };
    let start = FRAME_BYTES as usize + data.start;
    let end = FRAME_BYTES as usize + data.end;
    Frame::Record { kind, crc, data: start..end, frame_bytes: FRAME_BYTES as usize + padded_bytes }
}

/// The fields of a record of this length that is exactly as we encode it, or nothing. `head` is all of it that comes
/// before its data, at least.
fn parse_fields(head: &[u8], record_bytes: usize) -> Option<(RecordKind, u32, std::ops::Range<usize>)> {
    let [0x08, number, 0x10, ..] = *head else { return None };
    let kind = RecordKind::from_number(number)?;
    let mut at = 3;
    let crc = u32::try_from(take_varint(head, &mut at)?).ok()?;
    if at == record_bytes {
        return Some((kind, crc, at..at));
    }
    if *head.get(at)? != 0x1a {
        return None;
    }
    at += 1;
    let data_bytes = take_varint(head, &mut at)?;
    let is_rest = data_bytes > 0 && data_bytes == record_bytes.checked_sub(at)? as u64;
    is_rest.then_some((kind, crc, at..record_bytes))
}

/// Why no crash can have left this at `offset` of a segment, where a record was to begin; nothing if one can.
///
/// `tail` is what stands there; behind it are zeros, up to the end of the file. A crash keeps or loses whole sectors
/// of a write, and nothing but zeros stood there before. So a record that a crash tore lacks at least one of the
/// pieces into which sectors divide it, that piece is all zero, and all others are as they were written.
pub(super) fn what_no_crash_leaves(tail: &[u8], offset: u64, room_bytes: u64) -> Option<&'static str> {
    let is_zero = |bytes: &[u8]| bytes.iter().all(|&byte| byte == 0);
    let first_piece_bytes = (SECTOR_BYTES - offset % SECTOR_BYTES) as usize;
    let mut field = [0; FRAME_BYTES as usize];
    let known_bytes = tail.len().min(field.len());
    field[..known_bytes].copy_from_slice(&tail[..known_bytes]);
    let field = u64::from_le_bytes(field);
    if field == 0 {
        // The shortest record takes sixteen bytes: those that its length shares a sector with are lost with it.
        let lost = &tail[..tail.len().min(first_piece_bytes).min(16)];
        return (!is_zero(lost)).then_some("a record without its length");
    }
    let record_bytes = field & ((1 << 56) - 1);
    if record_bytes == 0 || length_field(record_bytes) != field {
        return Some("a length field that is none");
    }
    let frame_bytes = FRAME_BYTES + record_bytes.next_multiple_of(8);
    if frame_bytes > room_bytes {
        return Some("a record that the end of the file cuts off");
    }
    // It fits into a file that was read, so into memory.
    let (frame_bytes, record_bytes) = (frame_bytes as usize, record_bytes as usize);
    let frame = &tail[..frame_bytes.min(tail.len())];
    let lost_piece = (first_piece_bytes..frame_bytes)
        .step_by(SECTOR_BYTES as usize)
        .find(|&at| is_zero(&frame[at.min(frame.len())..(at + SECTOR_BYTES as usize).min(frame.len())]));
    let Some(lost_at) = lost_piece else { return Some("a record that is all there, with a wrong checksum") };
    let record = frame.get(FRAME_BYTES as usize..).unwrap_or_default();
    let head = &record[..(lost_at - FRAME_BYTES as usize).min(record.len())];
    if !begins_a_record(head, record_bytes) {
        return Some("a record that is malformed");
    }
    let padding = record.get(record_bytes..).unwrap_or_default();
    (!is_zero(padding)).then_some("padding that is not zero")
}

/// Whether a record of this length may begin so.
fn begins_a_record(head: &[u8], record_bytes: usize) -> bool {
    if head.len() >= FIELDS_BYTES_MAX.min(record_bytes) {
        return parse_fields(head, record_bytes).is_some();
    }
    let is_kind = head.get(1).is_none_or(|&number| RecordKind::from_number(number).is_some());
    is_kind && head.first().is_none_or(|&key| key == 0x08) && head.get(2).is_none_or(|&key| key == 0x10)
}

/// Takes a varint in its shortest form.
fn take_varint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let start = *at;
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at)?;
        *at += 1;
        let part = u64::from(byte & 0x7f);
        if part << shift >> shift != part {
            return None;
        }
        value |= part << shift;
        if byte & 0x80 == 0 {
            let is_shortest = encoded_len_varint(value) == *at - start;
            return is_shortest.then_some(value);
        }
    }
    None
}

/// Whether two records stand one after the other here, the second of which continues the checksum of the first.
pub(super) fn two_records_at(bytes: &[u8]) -> bool {
    let Frame::Record { crc: first, frame_bytes, .. } = parse_frame(bytes) else { return false };
    let rest = &bytes[frame_bytes..];
    match parse_frame(rest) {
        Frame::Record { crc, data, .. } => crc32c::crc32c_append(first, &rest[data]) == crc,
        _ => false,
    }
}

/// Cuts a record's data out of its frame without copying.
pub(super) fn data_of(frame: &Bytes, data: std::ops::Range<usize>) -> Bytes {
    frame.slice(data)
}
