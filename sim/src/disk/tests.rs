//! What the simulated disk promises, and what it does not.

use super::*;

const KEEP: CrashOdds = CrashOdds { keeps_permille: 1_000, tears_permille: 0, grain_bytes: SECTOR_BYTES };
const LOSE: CrashOdds = CrashOdds { keeps_permille: 0, ..KEEP };
const TEAR: CrashOdds = CrashOdds { tears_permille: 1_000, ..LOSE };

fn allocate(disk: &mut Disk, file: &str, size_bytes: u64) {
    disk.issue(DiskAction::Allocate { file: file.into(), size_bytes }, true).reply.expect("room");
}

fn append(disk: &mut Disk, file: &str, offset: u64, bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    disk.issue(DiskAction::Append { file: file.into(), offset, bytes }, true).reply.expect("in place");
}

fn sync(disk: &mut Disk, action: DiskAction) {
    let done = disk.issue(action, true);
    disk.complete(&done.durable.expect("a sync"));
}

fn sync_file(disk: &mut Disk, file: &str) {
    sync(disk, DiskAction::Sync { file: file.into() });
}

fn sync_dir(disk: &mut Disk, dir: &str) {
    sync(disk, DiskAction::SyncDir { dir: dir.into() });
}

fn content(disk: &mut Disk, file: &str) -> Vec<u8> {
    match disk.issue(DiskAction::Read { file: file.into(), offset: 0, len: 1 << 20 }, true).reply {
        Ok(DiskReply::Data(bytes)) => bytes.to_vec(),
        other => panic!("{file}: {other:?}"),
    }
}

fn names(disk: &Disk) -> Vec<String> {
    disk.listing().files.into_iter().map(|(name, _)| name).collect()
}

/// A disk with the durable file `wal/a`, 1,024 bytes of zeros.
fn prepared() -> Disk {
    let mut disk = Disk::default();
    allocate(&mut disk, "wal/a", 1_024);
    sync_file(&mut disk, "wal/a");
    sync_dir(&mut disk, "wal");
    disk
}

#[test]
fn what_is_synced_survives_every_crash() {
    for draw in 0..50 {
        let mut disk = prepared();
        append(&mut disk, "wal/a", 10, b"hello");
        sync_file(&mut disk, "wal/a");
        append(&mut disk, "wal/a", 600, b"gone");
        disk.crash(LOSE, draw);
        let bytes = content(&mut disk, "wal/a");
        assert_eq!(&bytes[10..15], b"hello");
        assert_eq!(&bytes[600..604], [0; 4]);
        assert_eq!(bytes.len(), 1_024);
    }
}

#[test]
fn a_sync_covers_what_was_issued_before_it_and_not_what_came_later() {
    let mut disk = prepared();
    append(&mut disk, "wal/a", 0, b"before");
    let done = disk.issue(DiskAction::Sync { file: "wal/a".into() }, true);
    append(&mut disk, "wal/a", 100, b"after");
    disk.complete(&done.durable.expect("a sync"));
    disk.crash(LOSE, 1);
    let bytes = content(&mut disk, "wal/a");
    assert_eq!(&bytes[..6], b"before");
    assert_eq!(&bytes[100..105], [0; 5]);
}

#[test]
fn a_sync_in_flight_at_the_crash_promises_nothing() {
    let mut disk = prepared();
    append(&mut disk, "wal/a", 0, b"hello");
    disk.issue(DiskAction::Sync { file: "wal/a".into() }, true);
    disk.crash(LOSE, 1);
    assert_eq!(&content(&mut disk, "wal/a")[..5], [0; 5]);
}

#[test]
fn unsynced_writes_survive_in_any_subset() {
    let odds = CrashOdds { keeps_permille: 500, ..LOSE };
    let mut seen = std::collections::BTreeSet::new();
    for draw in 0..200 {
        let mut disk = prepared();
        (0..3).for_each(|n| append(&mut disk, "wal/a", n * 100, b"x"));
        disk.crash(odds, draw);
        let bytes = content(&mut disk, "wal/a");
        seen.insert([bytes[0], bytes[100], bytes[200]]);
    }
    assert_eq!(seen.len(), 8);
}

#[test]
fn a_torn_write_breaks_at_sectors_only() {
    let mut partly = 0;
    for draw in 0..100 {
        let mut disk = prepared();
        append(&mut disk, "wal/a", 500, &[7; 524]);
        disk.crash(TEAR, draw);
        let bytes = content(&mut disk, "wal/a");
        let first = bytes[500..512].iter().filter(|byte| **byte == 7).count();
        let second = bytes[512..].iter().filter(|byte| **byte == 7).count();
        assert!(first == 0 || first == 12);
        assert!(second == 0 || second == 512);
        partly += u32::from((first == 0) != (second == 0));
    }
    assert!(partly > 20, "{partly} of 100 writes were torn");
}

#[test]
fn a_write_torn_by_pages_keeps_or_loses_eight_sectors_together() {
    let mut seen = std::collections::BTreeSet::new();
    for draw in 0..100 {
        let mut disk = Disk::default();
        allocate(&mut disk, "wal/a", 3 * PAGE_BYTES);
        sync_file(&mut disk, "wal/a");
        sync_dir(&mut disk, "wal");
        append(&mut disk, "wal/a", 1_000, &[7; 2 * 4_096]);
        disk.crash(CrashOdds { grain_bytes: PAGE_BYTES, ..TEAR }, draw);
        let bytes = content(&mut disk, "wal/a");
        let whole = [1_000..4_096, 4_096..8_192, 8_192..9_192].map(|piece| {
            let kept = bytes[piece.clone()].iter().filter(|byte| **byte == 7).count();
            assert!(kept == 0 || kept == piece.len(), "{kept} of {} bytes", piece.len());
            kept > 0
        });
        seen.insert(whole);
    }
    assert_eq!(seen.len(), 8, "every subset of the pages survives now and then");
}

#[test]
fn creation_rename_and_removal_may_be_undone_until_the_directory_is_synced() {
    let mut seen = std::collections::BTreeSet::new();
    for draw in 0..200 {
        let mut disk = prepared();
        allocate(&mut disk, "wal/new.tmp", 10);
        sync_file(&mut disk, "wal/new.tmp");
        sync_dir(&mut disk, "wal");
        disk.issue(DiskAction::Rename { from: "wal/new.tmp".into(), to: "wal/new".into() }, true);
        disk.issue(DiskAction::Remove { file: "wal/a".into() }, true);
        assert_eq!(names(&disk), ["wal/new"]);
        disk.crash(LOSE, draw);
        seen.insert(names(&disk));
    }
    assert_eq!(seen.len(), 4, "{seen:?}");

    let mut disk = prepared();
    disk.issue(DiskAction::Remove { file: "wal/a".into() }, true);
    sync_dir(&mut disk, "wal/");
    disk.crash(KEEP, 3);
    assert_eq!(names(&disk), Vec::<String>::new());
    assert!(disk.inodes.is_empty(), "nothing leads to the file any more");
}

#[test]
fn a_directory_sync_covers_its_own_directory_only() {
    let mut lost = 0;
    for draw in 0..50 {
        let mut disk = Disk::default();
        allocate(&mut disk, "wal/a", 1);
        allocate(&mut disk, "snap/b", 1);
        sync_dir(&mut disk, "wal");
        disk.crash(LOSE, draw);
        assert!(names(&disk).contains(&"wal/a".to_string()));
        lost += u32::from(names(&disk).len() == 1);
    }
    assert!((10..40).contains(&lost), "{lost} of 50");
}

/// A disk with a durable byte, another one that is not synced, and a sync that fails.
fn failed_sync(reverts: bool) -> Disk {
    let mut disk = prepared();
    append(&mut disk, "wal/a", 0, b"old");
    sync_file(&mut disk, "wal/a");
    append(&mut disk, "wal/a", 0, b"new");
    disk.fail_next(Some(Failing { is_sync: true, reverts }));
    let done = disk.issue(DiskAction::Sync { file: "wal/a".into() }, true);
    assert!(matches!(done.reply, Err(DiskError::Io(_))));
    append(&mut disk, "wal/a", 10, b"later");
    disk.complete(&done.durable.expect("it drops something"));
    disk
}

#[test]
fn what_a_failed_sync_was_to_make_durable_never_is_even_if_the_next_one_succeeds() {
    for (reverts, reads) in [(true, b"old"), (false, b"new")] {
        let mut disk = failed_sync(reverts);
        let bytes = content(&mut disk, "wal/a");
        assert_eq!((&bytes[..3], &bytes[10..15]), (&reads[..], &b"later"[..]));
        sync_file(&mut disk, "wal/a");
        disk.crash(LOSE, 1);
        let bytes = content(&mut disk, "wal/a");
        assert_eq!((&bytes[..3], &bytes[10..15]), (&b"old"[..], &b"later"[..]));
    }
}

#[test]
fn only_one_operation_fails_and_one_of_its_kind() {
    let mut disk = prepared();
    disk.fail_next(Some(Failing { is_sync: false, reverts: true }));
    sync_file(&mut disk, "wal/a");
    let write = |at: u64| DiskAction::Append { file: "wal/a".into(), offset: at, bytes: Bytes::from_static(b"x") };
    assert!(matches!(disk.issue(write(0), true).reply, Err(DiskError::Io(_))));
    assert_eq!(disk.issue(write(1), true).reply, Ok(DiskReply::Done));
    assert_eq!(&content(&mut disk, "wal/a")[..2], b"\0x");
}

#[test]
fn no_room_means_that_nothing_happened() {
    let mut disk = prepared();
    let refused = disk.issue(DiskAction::Allocate { file: "wal/b".into(), size_bytes: 9 }, false);
    assert_eq!(refused.reply, Err(DiskError::NoSpace));
    assert_eq!(names(&disk), ["wal/a"]);
    let hole = DiskAction::Append { file: "wal/a".into(), offset: 1_025, bytes: Bytes::from_static(b"x") };
    assert!(matches!(disk.issue(hole, true).reply, Err(DiskError::Io(_))));
}
