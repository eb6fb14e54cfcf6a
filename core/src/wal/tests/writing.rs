//! The writer: group commit, completions in any order, segments, room, errors.

use super::*;
use crate::input::DiskError;
use crate::log::HardState;
use crate::wal::{Claim, WriteId};

fn state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term: Term(term), vote: NodeId(vote), commit: LogIndex(commit) }
}

fn is_sync(action: &DiskAction) -> bool {
    matches!(action, DiskAction::Sync { .. })
}

/// The operations on the log's segments under way.
fn log_ops(life: &Life) -> Vec<&DiskAction> {
    let is_log = |action: &&DiskAction| match action {
        DiskAction::Append { file, .. } | DiskAction::Sync { file } => file.ends_with(".wal"),
        _ => false,
    };
    life.outstanding.iter().map(|(_, _, action)| action).filter(is_log).collect()
}

#[test]
fn appends_between_two_flushes_share_one_write_and_one_sync() {
    let mut life = Life::fresh(&small_config());
    let first = life.writer.append([entry(1, 1, b"a")], Some(state(1, 1, 0)), None);
    let second = life.writer.append([entry(1, 2, b"b")], None, None);
    assert!(first < second);
    life.writer.flush(&mut life.queue);
    life.issue();
    assert_eq!(log_ops(&life).len(), 2);
    let written = life.complete(0);
    assert_eq!(written.durable, None, "written is not durable");
    let synced = life.complete(0);
    assert_eq!(synced.durable, Some(second));
    assert_eq!(life.writer.durable(), second);
}

/// A fresh log with so many writes of one entry each, as far as they may be in flight.
fn life_with_writes(count: u64) -> Life {
    let mut life = Life::fresh(&small_config());
    for index in 1..=count {
        life.writer.append([entry(1, index, b"x")], None, None);
        life.writer.flush(&mut life.queue);
    }
    life.issue();
    life
}

#[test]
fn no_more_writes_are_in_flight_than_allowed() {
    let mut life = life_with_writes(3);
    assert_eq!(log_ops(&life).len(), 4, "two writes and their syncs");
    life.settle();
    assert_eq!(life.writer.durable(), WriteId(3));
}

#[test]
fn a_later_sync_makes_the_earlier_write_durable_and_the_earlier_sync_adds_nothing() {
    let mut life = life_with_writes(2);
    assert!(is_sync(&life.outstanding[3].2));
    assert_eq!(life.complete(0).durable, None);
    assert_eq!(life.complete(1).durable, None);
    assert_eq!(life.complete(1).durable, Some(WriteId(2)));
    assert_eq!(life.complete(0).durable, None);
}

#[test]
fn a_sync_counts_when_no_write_before_it_can_fail_any_more() {
    let mut life = life_with_writes(2);
    assert!(is_sync(&life.outstanding[1].2) && is_sync(&life.outstanding[3].2));
    assert_eq!(life.complete(3).durable, None, "neither write is reported");
    assert_eq!(life.complete(2).durable, None, "the first one is not");
    assert_eq!(life.complete(0).durable, Some(WriteId(2)));
    assert_eq!(life.complete(0).durable, None);

    let third = life.writer.append([entry(1, 3, b"x")], None, None);
    life.writer.flush(&mut life.queue);
    life.writer.append([entry(1, 4, b"x")], None, None);
    life.writer.flush(&mut life.queue);
    life.issue();
    assert_eq!(life.complete(3).durable, None);
    assert_eq!(life.complete(0).durable, Some(third), "its own write is reported, the next one is not");
}

#[test]
fn a_commit_index_alone_waits_for_the_next_write_and_nobody_waits_for_it() {
    let mut life = Life::fresh(&small_config());
    let write = life.writer.append([entry(1, 1, b"x")], Some(state(1, 1, 0)), None);
    life.settle();
    assert_eq!(life.writer.append([], Some(state(1, 1, 1)), None), write);
    assert_eq!(life.writer.append([], Some(state(1, 1, 1)), None), write, "the same again is nothing");
    life.settle();
    assert!(life.writer.pending_bytes() > 0);
    life.append(&[entry(1, 2, b"y")]);
    assert_eq!(life.writer.pending_bytes(), 0);
    let recovered = recover(&small_config(), &mut life.disk).unwrap();
    assert_eq!(recovered.hard_state, state(1, 1, 1));
}

#[test]
fn a_changed_vote_alone_is_synced() {
    let mut life = Life::fresh(&small_config());
    let before = life.writer.durable();
    let write = life.writer.append([], Some(state(2, 1, 0)), None);
    assert!(write > before);
    life.settle();
    assert_eq!(life.writer.durable(), write);
    life.disk.lose_power(&mut Draw::new(1));
    assert_eq!(recover(&small_config(), &mut life.disk).unwrap().hard_state, state(2, 1, 0));
}

#[test]
fn a_stop_makes_everything_durable_and_marks_it() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.append(&[entry(1, 1, b"x")]);
    life.writer.append([], Some(state(1, 1, 1)), None);
    let mut disk = life.stop();
    disk.lose_power(&mut Draw::new(1));
    let recovered = recover(&config, &mut disk).unwrap();
    assert_eq!(recovered.hard_state.commit, LogIndex(1));
    assert_eq!(recovered.start.mark.durable.offset, recovered.start.tail.offset);
}

#[test]
fn every_life_has_another_boot() {
    let config = small_config();
    let mut disk = Life::fresh(&config).stop();
    for boot in 2..6 {
        let (mut life, recovered) = Life::begin(&config, disk).unwrap();
        assert_eq!((recovered.boot, life.writer.boot()), (boot, boot));
        assert!(!life.writer.is_open(), "the boot is not durable yet");
        life.settle();
        assert!(life.writer.is_open());
        life.disk.lose_power(&mut Draw::new(boot));
        disk = life.disk;
    }
}

#[test]
fn appends_before_the_log_is_open_are_kept() {
    let config = small_config();
    let (mut life, _) = Life::begin(&config, ModelDisk::default()).unwrap();
    let write = life.writer.append([entry(1, 1, b"early")], None, None);
    life.settle();
    assert_eq!(life.writer.durable(), write);
}

#[test]
fn segments_are_cut_and_named_by_the_next_index() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    for index in 1..=30 {
        life.append(&[entry(1, index, &[7; 200])]);
    }
    let segments = life.segments();
    assert_eq!(segments.len(), 4);
    assert_eq!(segments[1], "member/wal/0000000000000001-0000000000000009.wal");
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!(recovered.entries.len(), 30);
    assert_eq!(recovered.cut, None);
}

#[test]
fn a_record_longer_than_a_segment_gets_a_segment_of_its_size() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.append(&[entry(1, 1, &[1; 100]), entry(1, 2, &[2; 5000]), entry(1, 3, &[3; 100])]);
    assert_eq!(life.writer.durable(), WriteId(1));
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!(recovered.entries[1].data.len(), 5000);
    assert_eq!(recovered.entries.len(), 3);
}

#[test]
fn released_segments_go_oldest_first_and_the_one_with_the_index_stays() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    for index in 1..=30 {
        life.append(&[entry(1, index, &[7; 200])]);
    }
    let before = life.segments();
    life.writer.append([], Some(state(1, 1, 20)), Some(mark(1, 20)));
    life.settle();
    life.writer.release_before(LogIndex(20), &mut life.queue);
    life.settle();
    assert_eq!(life.segments(), before[2..], "index 20 is in the third segment, which begins with 17");
    assert_eq!(life.disk.content(&before[1]), Vec::<u8>::new());
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!((recovered.first_index, recovered.last_index()), (LogIndex(17), LogIndex(30)));
    assert!(recovered.continues_from(LogIndex(20), Term(1)));
    assert!(!recovered.continues_from(LogIndex(20), Term(2)));
    assert!(!recovered.continues_from(LogIndex(15), Term(1)));
    assert_eq!(recovered.entries_after(LogIndex(20))[0].index, LogIndex(21));
    assert_eq!(recovered.marks, [mark(1, 20)]);
}

#[test]
fn removals_that_a_crash_undoes_are_made_again() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    for index in 1..=30 {
        life.append(&[entry(1, index, &[7; 200])]);
    }
    let before = life.segments();
    let kept = life.disk.content(&before[0]);
    life.writer.release_before(LogIndex(20), &mut life.queue);
    life.settle();
    life.disk.put(&before[0], kept);
    let (mut life, recovered) = Life::begin(&config, life.disk).unwrap();
    assert_eq!(recovered.first_index, LogIndex(17));
    life.settle();
    assert!(life.disk.content(&before[0]).is_empty());
}

#[test]
fn a_checkpoint_of_a_leader_replaces_the_log() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.append(&[entry(1, 1, b"a"), entry(1, 2, b"b")]);
    life.writer.append([], Some(state(3, 0, 90)), Some(mark(3, 90)));
    life.append(&[entry(3, 91, b"c")]);
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!(recovered.first_index, LogIndex(91));
    assert_eq!(recovered.entries, [entry(3, 91, b"c")]);
    assert!(recovered.continues_from(LogIndex(90), Term(3)));

    life.writer.append([], None, Some(mark(4, 91)));
    life.settle();
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!(recovered.entries, [], "the entry at 91 was another one");
    assert_eq!(recovered.first_index, LogIndex(92));
    assert_eq!(recovered.hard_state, state(4, 0, 91), "term and commit index are those that the mark proves");
}

#[test]
fn the_entry_that_shows_that_a_checkpoint_replaced_the_log_is_not_released() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    for index in 1..=30 {
        life.append(&[entry(1, index, &[7; 200])]);
    }
    // Index 8 is the last in the first segment: without it the entries behind it would seem to go on from the mark.
    life.writer.append([], Some(state(2, 0, 8)), Some(mark(2, 8)));
    life.settle();
    life.writer.release_before(LogIndex(9), &mut life.queue);
    life.settle();
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!((recovered.first_index, recovered.entries.len()), (LogIndex(9), 0));

    let (mut life, _) = Life::begin(&config, life.disk).unwrap();
    life.settle();
    life.writer.release_before(LogIndex(9), &mut life.queue);
    life.settle();
    assert_eq!(recover(&config, &mut life.disk).unwrap().entries, []);

    life.append(&[entry(2, 9, b"on")]);
    life.writer.release_before(LogIndex(9), &mut life.queue);
    life.settle();
    assert_eq!(life.segments()[0], "member/wal/0000000000000001-0000000000000009.wal");
    assert_eq!(recover(&config, &mut life.disk).unwrap().entries, [entry(2, 9, b"on")]);
}

#[test]
fn a_term_that_only_an_entry_proves_gets_a_record_before_the_log_is_open() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.append(&[entry(3, 1, b"a")]);
    let (mut life, recovered) = Life::begin(&config, life.disk).unwrap();
    assert_eq!(recovered.hard_state, state(3, 0, 0));
    while !life.writer.is_open() {
        assert_eq!(life.writer.durable(), WriteId(0));
        life.complete(0);
    }
    life.disk.lose_power(&mut Draw::new(1));
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!(recovered.start.recorded_state, state(3, 0, 0));
}

#[test]
fn overwritten_entries_are_gone() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.append(&[entry(1, 1, b"a"), entry(1, 2, b"b"), entry(1, 3, b"c")]);
    life.append(&[entry(2, 2, b"d")]);
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!(recovered.entries, [entry(1, 1, b"a"), entry(2, 2, b"d")]);
    assert_eq!(recovered.hard_state.term, Term(2));
}

#[test]
fn a_full_disk_is_survived() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.disk.is_full = true;
    let mut index = 0;
    while life.writer.has_room() {
        index += 1;
        life.append(&[entry(1, index, &[7; 150])]);
        assert!(index < 100, "the disk never gets full");
    }
    let durable = life.writer.durable();
    for _ in 0..20 {
        index += 1;
        life.append(&[entry(1, index, &[7; 150])]);
    }
    assert!(life.writer.durable() < WriteId(index), "what does not fit is not durable");
    assert!(life.writer.durable() >= durable, "the reserve is still used");
    life.writer.retry_allocate(&mut life.queue);
    life.issue();
    assert!(!life.writer.has_room(), "to ask for room is not to have it");
    life.settle();
    life.writer.retry_allocate(&mut life.queue);
    life.settle();
    assert!(!life.writer.has_room());
    life.disk.is_full = false;
    life.writer.retry_allocate(&mut life.queue);
    life.settle();
    assert!(life.writer.has_room());
    assert_eq!(life.writer.durable(), WriteId(index));
    assert_eq!(recover(&config, &mut life.disk).unwrap().entries.len() as u64, index);
}

#[test]
fn room_is_regained_when_the_disk_gives_what_it_had_refused() {
    let mut life = Life::fresh(&small_config());
    let regained = |life: &mut Life| {
        life.writer.retry_allocate(&mut life.queue);
        life.writer.flush(&mut life.queue);
        life.issue();
        let mut regained = 0;
        while !life.outstanding.is_empty() {
            regained += usize::from(life.complete(0).regained_room);
        }
        regained
    };
    let mut index = 0;
    for is_full in [false, true] {
        life.disk.is_full = is_full;
        let before = life.segments().len();
        while life.segments().len() == before {
            index += 1;
            life.writer.append([entry(1, index, &[7; 150])], None, None);
            assert_eq!(regained(&mut life), 0, "what was never refused is not regained");
        }
    }
    assert_eq!(regained(&mut life), 0, "the disk is still full");
    life.disk.is_full = false;
    assert_eq!(regained(&mut life), 1);
    assert_eq!(regained(&mut life), 0, "once is enough");
}

#[test]
fn a_rotation_is_told_once_the_new_segment_is_the_one_that_is_written() {
    let mut life = Life::fresh(&small_config());
    let mut rotations = 0;
    for index in 1..=60 {
        life.writer.append([entry(1, index, &[7; 150])], None, None);
        life.writer.flush(&mut life.queue);
        life.issue();
        while !life.outstanding.is_empty() {
            let before = life.segments().len();
            let rotated = life.complete(0).rotated;
            assert_eq!(life.segments().len() - before, usize::from(rotated));
            rotations += usize::from(rotated);
        }
    }
    assert_eq!(rotations, life.segments().len() - 1, "opening the first one is no rotation");
    assert!(rotations > 2);
}

#[test]
fn on_a_full_disk_room_is_kept_for_what_matters_most() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.disk.is_full = true;
    let (mut index, mut refused_at) = (0, Vec::new());
    for claim in [Claim::Proposal, Claim::Replication, Claim::Relief] {
        while life.writer.has_room_for(60, claim) {
            index += 1;
            life.append(&[entry(1, index, &[7; 10])]);
        }
        refused_at.push(index);
    }
    assert!(refused_at.is_sorted_by(|earlier, later| earlier < later), "{refused_at:?}");
    let vote = life.writer.append([], Some(state(9, 1, 0)), None);
    life.settle();
    assert_eq!(life.writer.durable(), vote, "a vote finds room even then");
}

#[test]
fn a_full_disk_delays_creation_and_can_be_stopped() {
    let config = small_config();
    let full = ModelDisk::full();
    let (mut life, _) = Life::begin(&config, full).unwrap();
    life.settle();
    assert!(!life.writer.is_open() && !life.writer.has_room());
    life.writer.retry_allocate(&mut life.queue);
    life.settle();
    assert!(!life.writer.is_open());
    life.disk.is_full = false;
    life.writer.retry_allocate(&mut life.queue);
    life.settle();
    assert!(life.writer.is_open() && life.writer.has_room());

    let full = ModelDisk::full();
    let (life, _) = Life::begin(&config, full).unwrap();
    life.stop();
}

#[test]
fn a_stop_on_a_full_disk_ends() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.disk.is_full = true;
    for index in 1..30 {
        life.append(&[entry(1, index, &[7; 150])]);
    }
    let durable = life.writer.durable();
    let mut disk = life.stop();
    assert_eq!(recover(&config, &mut disk).unwrap().entries.len() as u64, durable.0);
}

#[test]
fn a_failed_write_or_sync_is_a_reason_to_halt_that_names_file_and_operation() {
    for (at, what) in [(0, "write"), (1, "sync")] {
        let mut life = Life::fresh(&small_config());
        life.writer.append([entry(1, 1, b"x")], None, None);
        life.writer.flush(&mut life.queue);
        life.issue();
        let (_, op, _) = life.outstanding[at];
        let failed = Err(DiskError::Io("input/output error".to_owned()));
        let halt = life.writer.on_disk_done(op, &failed, &mut life.queue).unwrap_err();
        let what = format!("{what} member/wal/0000000000000000-0000000000000000.wal");
        assert_eq!(halt, HaltReason::Disk { what, error: "input/output error".to_owned() });
    }
}

/// Where an operation under way stands that this is true of.
fn under_way(life: &Life, is_it: impl Fn(&DiskAction) -> bool) -> Option<usize> {
    life.outstanding.iter().position(|(_, _, action)| is_it(action))
}

/// Completes everything but this write, which fails; and then that, so that the log halts.
fn settle_and_fail(life: &mut Life, is_it: impl Fn(&DiskAction) -> bool) {
    let is_write = |action: &DiskAction| matches!(action, DiskAction::Append { .. }) && is_it(action);
    while let Some(other) = under_way(life, |action| !is_write(action)) {
        life.complete(other);
    }
    let failing = under_way(life, is_write).expect("its write is not reported");
    life.try_complete(failing).expect_err("its write fails");
}

#[test]
fn a_segment_gets_its_name_when_the_write_of_its_header_can_fail_no_more() {
    let config = small_config();
    let is_header = |action: &DiskAction| match action {
        DiskAction::Append { file, .. } | DiskAction::Sync { file } => file.ends_with("1.tmp"),
        _ => false,
    };
    let is_rename = |action: &DiskAction| matches!(action, DiskAction::Rename { .. });
    for fails in [false, true] {
        let mut life = Life::fresh(&config);
        let mut index = 0;
        while under_way(&life, is_header).is_none() {
            life.settle();
            life.disk.fails_next_write = fails && index == 8;
            index += 1;
            life.writer.append([entry(1, index, &[7; 200])], None, None);
            life.writer.flush(&mut life.queue);
            life.issue();
        }
        assert_eq!((index, life.outstanding.len()), (9, 2), "a write and a sync, and nothing else");
        life.complete(1);
        assert_eq!(under_way(&life, is_rename), None, "the write is not reported");
        if fails {
            settle_and_fail(&mut life, is_header);
            let recovered = recover(&config, &mut life.disk).expect("there is no segment without header");
            assert_eq!(recovered.last_index(), LogIndex(8));
        } else {
            life.complete(0);
            assert!(under_way(&life, is_rename).is_some());
            life.settle();
            assert_eq!(life.segments().len(), 2);
        }
    }
}

#[test]
fn a_mark_counts_when_its_write_can_fail_no_more() {
    let config = WalConfig { segment_bytes: 1024, mark_interval_bytes: u64::MAX, ..small_config() };
    let is_mark = |action: &DiskAction| match action {
        DiskAction::Append { file, .. } | DiskAction::Sync { file } => file.ends_with("durable.marks"),
        _ => false,
    };
    for fails in [false, true] {
        let mut life = Life::fresh(&config);
        for index in 1..20 {
            life.append(&[entry(1, index, &[index as u8; 150])]);
        }
        life.writer.append([], None, Some(mark(1, 15)));
        life.settle();
        let released = life.segments()[0].clone();
        life.disk.fails_next_write = fails;
        life.writer.release_before(LogIndex(16), &mut life.queue);
        life.issue();
        assert!(life.outstanding.iter().all(|(_, _, action)| is_mark(action)) && life.outstanding.len() == 2);
        life.complete(1);
        assert_eq!(life.outstanding.len(), 1, "what the mark releases stays, and so does the mark before it");
        if fails {
            settle_and_fail(&mut life, is_mark);
            life.disk.forget();
            let recovered = recover(&config, &mut life.disk).expect("no file is gone that the durable mark counts");
            assert_eq!(recovered.first_index, LogIndex(1));
        } else {
            life.settle();
            assert!(life.disk.content(&released).is_empty());
        }
    }
}

#[test]
fn completions_of_others_are_let_pass() {
    let mut life = Life::fresh(&small_config());
    let progress = life.writer.on_disk_done(DiskOp(9999), &Ok(DiskReply::Done), &mut life.queue);
    assert_eq!(progress, Ok(Progress::default()));
}

#[test]
fn marks_follow_the_log_by_themselves_and_on_request() {
    let config = small_config();
    let mut life = Life::fresh(&config);
    life.append(&[entry(1, 1, &[7; 100])]);
    let marked = |life: &mut Life| recover(&config, &mut life.disk).unwrap().start.mark.durable;
    assert_eq!(marked(&mut life).last_index, LogIndex(0), "the interval is not over");
    life.writer.write_mark(&mut life.queue);
    life.settle();
    assert_eq!(marked(&mut life).last_index, LogIndex(1));
    for index in 2..9 {
        life.append(&[entry(1, index, &[7; 100])]);
    }
    assert!(marked(&mut life).last_index > LogIndex(4), "the interval was over");
}

#[test]
fn a_released_segment_is_removed_only_when_the_mark_that_releases_it_is_durable() {
    let config = WalConfig { segment_bytes: 1024, mark_interval_bytes: u64::MAX, ..small_config() };
    let mut life = Life::fresh(&config);
    for index in 1..20 {
        life.append(&[entry(1, index, &[index as u8; 150])]);
    }
    life.writer.append([], None, Some(mark(1, 15)));
    life.settle();
    let released = life.segments()[0].clone();
    let removes = |life: &Life| life.outstanding.iter().any(|(.., action)| matches!(action, DiskAction::Remove { .. }));
    // A mark that does not yet release it is on its way.
    life.writer.write_mark(&mut life.queue);
    life.writer.release_before(LogIndex(16), &mut life.queue);
    life.issue();
    assert_ne!(life.segments()[0], released);
    let durable_first = |life: &Life| {
        let mut disk = life.disk.clone();
        // Everything that is not synced is lost.
        disk.forget();
        recover(&config, &mut disk).expect("no file is gone that the durable mark counts").start.mark.first_segment
    };
    let before = durable_first(&life);
    while durable_first(&life) == before {
        assert!(!removes(&life), "a file goes that a loss of power would want back");
        assert!(!life.disk.content(&released).is_empty());
        life.complete(0);
    }
    assert!(removes(&life), "it goes when it is not needed any more");
    life.settle();
    assert!(life.disk.content(&released).is_empty());
}
