//! Damage is always such that a member can notice it.

use detcd_core::DiskAction;

use super::*;
use crate::disk::{CrashOdds, Disk};

const SEGMENT: &str = "member/wal/0000000000000000-0000000000000000.wal";
const CHECKPOINT: &str = "member/snap/0000000000000001-0000000000000005.ckpt";

fn write(disk: &mut Disk, file: &str, size_bytes: u64, offset: u64, bytes: &[u8]) {
    let file: FileName = file.into();
    disk.issue(DiskAction::Allocate { file: file.clone(), size_bytes }, true).reply.expect("room");
    let bytes = Bytes::copy_from_slice(bytes);
    disk.issue(DiskAction::Append { file: file.clone(), offset, bytes }, true).reply.expect("in place");
    for action in [DiskAction::Sync { file }, DiskAction::SyncDir { dir: "member/wal".into() }] {
        let done = disk.issue(action, true);
        disk.complete(&done.durable.expect("a sync"));
    }
}

/// A record of `len` bytes with its length before it.
fn record(len: usize, fill: u8) -> Vec<u8> {
    let mut frame = (len as u64).to_le_bytes().to_vec();
    frame.resize(LENGTH_BYTES + len.next_multiple_of(8), fill);
    frame
}

fn mark(sequence: u64, offset: u64) -> Vec<u8> {
    let mut numbers = [0u64; 11];
    (numbers[1], numbers[5]) = (sequence, offset);
    let mut slot: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    slot.extend(xxh3_64(&slot).to_le_bytes());
    slot
}

/// Ten records of 400 bytes; the newest mark covers the first six of them.
fn prepared() -> Disk {
    let mut disk = Disk::default();
    let records: Vec<u8> = (1..=10).flat_map(|fill| record(392, fill)).collect();
    write(&mut disk, SEGMENT, 16_384, 0, &records);
    write(&mut disk, MARKS_FILE, 8_192, 0, &mark(2, 2_400));
    write(&mut disk, MARKS_FILE, 8_192, MARK_STRIDE_BYTES, &mark(1, 400));
    disk
}

fn content(disk: &Disk, file: &str) -> Vec<u8> {
    disk.durable_bytes(&file.into(), 0, SEGMENT_READ_BYTES).expect("the file is there").to_vec()
}

/// The offsets at which the segment differs from an undamaged one.
fn changes(disk: &Disk) -> Vec<usize> {
    let (before, after) = (content(&prepared(), SEGMENT), content(disk, SEGMENT));
    (0..before.len()).filter(|at| before[*at] != after[*at]).collect()
}

#[test]
fn a_disk_without_marks_has_promised_nothing() {
    let mut disk = Disk::default();
    write(&mut disk, SEGMENT, 4_096, 0, &record(100, 1));
    for damage in [Damage::LogEnd, Damage::Older, Damage::Misdirected] {
        assert_eq!(disk.damage(damage, 1), None);
    }
}

#[test]
fn at_the_end_a_bit_flips_in_one_of_the_last_records_or_sectors_go_that_a_mark_covers() {
    let (mut flips, mut losses) = (0, 0);
    for draw in 0..300 {
        let mut disk = prepared();
        if disk.damage(Damage::LogEnd, draw).is_none() {
            continue;
        }
        let changed = changes(&disk);
        if changed.len() == 1 {
            assert!((2_400..4_000).contains(&changed[0]), "in one of the last four records: {changed:?}");
            flips += 1;
        } else {
            assert!(changed[0] < 2_400, "something that the mark covers is gone");
            assert_eq!(changed[0] % 512, 0);
            let after = content(&disk, SEGMENT);
            assert!(changed.iter().all(|at| after[*at] == 0));
            losses += 1;
        }
    }
    assert!(flips > 50 && losses > 50, "{flips} flips, {losses} losses");
}

#[test]
fn a_flip_that_would_pass_for_a_torn_write_does_not_happen() {
    // The last byte of the record is alone in its sector, or the first ones are.
    let mut lonely = record(1_008, 0);
    assert!(is_flip_told(&record(1_008, 7), 0, 600, 3));
    lonely[..LENGTH_BYTES + 500].fill(7);
    assert!(!is_flip_told(&lonely, 0, 20, 3), "its last sectors have only zeros");
    assert!(!is_flip_told(&record(1_008, 7), 504, 2, 3), "its length stands alone in its sector");
    assert!(is_flip_told(&record(1_008, 7), 100, 2, 3), "what follows its length gives it away");
}

#[test]
fn older_damage_is_in_what_has_checksums_and_a_proof() {
    let mut files = std::collections::BTreeSet::new();
    for draw in 0..200 {
        let mut disk = prepared();
        write(&mut disk, CHECKPOINT, 1_000, 0, &[9; 1_000]);
        let done = disk.issue(DiskAction::SyncDir { dir: "member/snap".into() }, true);
        disk.complete(&done.durable.expect("a sync"));
        let damaged = disk.damage(Damage::Older, draw).expect("a bit flips");
        assert!(changes(&disk).iter().all(|at| *at < 2_400), "a mark covers it");
        files.insert(damaged.files);
    }
    assert_eq!(files.len(), 3, "log, checkpoint and marks: {files:?}");
}

#[test]
fn a_misdirected_write_leaves_zeros_where_it_belongs_and_stands_elsewhere() {
    let mut moved = 0;
    for draw in 0..100 {
        let mut disk = prepared();
        if disk.damage(Damage::Misdirected, draw).is_some() {
            let (after, changed) = (content(&disk, SEGMENT), changes(&disk));
            assert!(changed.iter().any(|at| after[*at] == 0));
            assert!(changed[0] < 2_400);
            moved += 1;
        }
    }
    assert!(moved > 30, "{moved} of 100");
}

#[test]
fn damage_outlives_a_crash() {
    let mut disk = prepared();
    disk.damage(Damage::Older, 3).expect("a bit flips");
    let before = content(&disk, SEGMENT);
    disk.crash(CrashOdds { keeps_permille: 500, tears_permille: 500, grain_bytes: SECTOR_BYTES }, 1);
    assert_eq!(content(&disk, SEGMENT), before);
}
