//! The bytes: against a log that etcd wrote, and against arbitrary ones.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::log::HardState;
use crate::wal::marks::{Mark, Position, read_marks};
use crate::wal::payload::{self, Payload, put_header};
use crate::wal::record::{Frame, RecordKind, parse_frame, two_records_at};
use crate::wal::segment::SegmentName;

/// The first 224 bytes of the log of a single etcd member: checksum 0, metadata, the mark {0, 0}, the first conf
/// change, and the hard state {term 1, vote 0, commit 1}.
const WRITTEN_BY_ETCD: &str = "\
    040000000000008408041000000000001d000000000000830801108d9cf9161a1408c0c0caafc1ba96892e1087d5edba\
    8fd59dc1040000000e00000000000082080510878cc58d0d1a040800100000006e00000000000082080210b9b0829302\
    1a64080110011801225c0800100018c0c0caafc1ba96892e224c7b226964223a33333139383134363432373631363337\
    3935322c227065657255524c73223a5b22687474703a2f2f3132372e302e302e313a3233383030225d2c226e616d6522\
    3a226d31227d00001000000000000000080310e08788d3081a06080110001801";

/// The data of the entry among them.
const CONF_CHANGE: std::ops::Range<usize> = 0x6a..0xc6;

fn written_by_etcd() -> Vec<u8> {
    let hex = WRITTEN_BY_ETCD.as_bytes();
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.chunks(2).map(digits).collect()
}

fn conf_change_entry() -> Entry {
    let data = Bytes::from(written_by_etcd()).slice(CONF_CHANGE);
    Entry { term: Term(1), index: LogIndex(1), kind: EntryKind::ConfChange, data }
}

const FIRST_STATE: HardState = HardState { term: Term(1), vote: NodeId(0), commit: LogIndex(1) };

#[test]
fn records_are_byte_for_byte_those_of_etcd() {
    let config = small_config();
    let (mut out, mut crc) = (Vec::new(), 0);
    put_header(&mut out, &mut crc, config.node_id, config.cluster_id, true, HardState::default());
    Payload::Entry(conf_change_entry()).put(&mut out, &mut crc);
    Payload::HardState(FIRST_STATE).put(&mut out, &mut crc);
    assert_eq!(out, written_by_etcd());
    assert_eq!(crc, 0x8a62_03e0, "the checksum in the last record, as etcd computed it");
}

#[test]
fn a_segment_of_the_writer_is_byte_for_byte_one_of_etcd() {
    let mut life = Life::fresh(&small_config());
    life.writer.append([conf_change_entry()], Some(FIRST_STATE), None);
    life.settle();
    let content = life.disk.content("member/wal/0000000000000000-0000000000000000.wal");
    assert_eq!(content[..0xe0], written_by_etcd());
    assert_eq!(content.len(), 2048);
    assert!(content[0xe0..].iter().all(|&byte| byte == 0));
}

#[test]
fn every_framed_record_is_parsed_back_and_is_no_longer_than_promised() {
    for data_bytes in 0..300 {
        for term in [0, 1, 200, u64::MAX] {
            let value = Payload::Entry(entry(term, 1 << (data_bytes % 63), &vec![7; data_bytes]));
            let (mut out, mut crc) = (Vec::new(), 77);
            value.put(&mut out, &mut crc);
            assert!(out.len() as u64 <= value.framed_bytes_max());
            let Frame::Record { kind, crc: claimed, data, frame_bytes } = parse_frame(&out) else { panic!() };
            assert_eq!((kind, claimed, frame_bytes), (RecordKind::Entry, crc, out.len()));
            assert_eq!(crc32c::crc32c_append(77, &out[data.clone()]), crc);
            assert_eq!(payload::decode_entry(Bytes::from(out).slice(data)).map(Payload::Entry), Some(value));
        }
    }
}

#[test]
fn no_changed_byte_of_a_record_goes_unseen() {
    let mut original = Vec::new();
    let mut crc = 0;
    let value = Payload::Entry(entry(3, 9, b""));
    value.put(&mut original, &mut crc);
    for at in 0..original.len() {
        for flip in 1..=255_u8 {
            let mut bytes = original.clone();
            bytes[at] ^= flip;
            let Frame::Record { kind, crc, data, .. } = parse_frame(&bytes) else { continue };
            if crc32c::crc32c_append(0, &bytes[data.clone()]) != crc {
                continue;
            }
            // Only the type is not under the checksum.
            let data = Bytes::from(bytes).slice(data);
            let is_taken = match kind {
                RecordKind::Metadata => payload::decode_metadata(data).is_some(),
                RecordKind::Entry => payload::decode_entry(data).is_some(),
                RecordKind::HardState => payload::decode_hard_state(data).is_some(),
                RecordKind::Crc => data.is_empty(),
                RecordKind::SnapshotMark => payload::decode_mark(data).is_some(),
            };
            assert!(!is_taken, "byte {at} changed by {flip:x} gives {kind:?}");
        }
    }
}

#[test]
fn segment_names_are_read_back_and_others_are_not() {
    let name = SegmentName { seq: 26, index: LogIndex(0xabc) };
    assert_eq!(&*name.file(), "member/wal/000000000000001a-0000000000000abc.wal");
    assert_eq!(SegmentName::parse("000000000000001a-0000000000000abc.wal"), Some(name));
    for other in [
        "",
        ".wal",
        "-.wal",
        "1a-abc.wal",
        "000000000000001A-0000000000000abc.wal",
        "+00000000000001a-0000000000000abc.wal",
        "000000000000001a-0000000000000abc.wal.broken",
        "ffffffffffffffff-0000000000000001.wal",
        "000000000000001a-0000000000000abc.tmp",
    ] {
        assert_eq!(SegmentName::parse(other), None, "{other}");
    }
}

fn numbered_mark(sequence: u64) -> Mark {
    let durable = Position { segment: 4, offset: 1000, last_index: LogIndex(7), last_term: Term(2) };
    Mark { sequence, boot: sequence + 1, first_segment: 3, durable, in_flight_bytes_max: 10, ..Mark::default() }
}

fn marks_file_with(marks: &[Mark]) -> Vec<u8> {
    let mut file = vec![0; 8192];
    for mark in marks {
        let slot = mark.encode();
        file[mark.slot_offset() as usize..][..slot.len()].copy_from_slice(&slot);
    }
    file
}

#[test]
fn the_newest_whole_mark_counts() {
    let file = marks_file_with(&[numbered_mark(5), numbered_mark(6)]);
    let read = read_marks(&file).unwrap();
    assert_eq!(read.newest, numbered_mark(6));
    assert_eq!(read.next_boot, 8);
    assert_eq!(read_marks(&file[..4096]).unwrap().newest, numbered_mark(6), "the second slot is beyond the end");
    assert_eq!(read_marks(&[0; 8192]), None);
    assert_eq!(read_marks(&[]), None);
}

#[test]
fn a_damaged_mark_may_have_counted_one_boot_more() {
    for at in 0..80 {
        let mut file = marks_file_with(&[numbered_mark(5), numbered_mark(6)]);
        file[at] ^= 4;
        let read = read_marks(&file).unwrap();
        assert_eq!(read.newest, numbered_mark(5));
        assert_eq!(read.next_boot, 8);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let frame = parse_frame(&bytes);
        if let Frame::Record { data, frame_bytes, .. } = frame {
            prop_assert!(data.end <= frame_bytes && frame_bytes <= bytes.len());
        }
        two_records_at(&bytes);
        read_marks(&bytes);
        let data = Bytes::from(bytes);
        payload::decode_entry(data.clone());
        payload::decode_hard_state(data.clone());
        payload::decode_metadata(data.clone());
        payload::decode_mark(data);
    }

    #[test]
    fn any_segment_is_recovered_or_refused_without_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        keep in 0..0xe0_usize,
    ) {
        let mut content = written_by_etcd()[..keep].to_vec();
        content.extend(&bytes);
        let mut disk = Life::fresh(&small_config()).stop();
        disk.put("member/wal/0000000000000000-0000000000000000.wal", content);
        let _ = recover(&small_config(), &mut disk);
        disk.remove("member/wal/durable.marks");
        let _ = recover(&small_config(), &mut disk);
    }
}
