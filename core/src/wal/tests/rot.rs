//! Behind the last durable mark: what a crash can have torn is told from what was whole once.

use super::*;
use crate::log::HardState;
use crate::types::NodeId;
use crate::wal::CutTail;

const FIRST: &str = "member/wal/0000000000000000-0000000000000000.wal";
const MARKS: &str = "member/wal/durable.marks";

fn never_marking() -> WalConfig {
    WalConfig { segment_bytes: 16 << 10, mark_interval_bytes: u64::MAX, ..small_config() }
}

/// A life that never marks by itself, with entries of these lengths in term 1; and where each record ends.
fn life_with(config: &WalConfig, lengths: &[usize]) -> (Life, Vec<u64>) {
    let mut life = Life::fresh(config);
    life.writer.append([], Some(HardState { term: Term(1), ..HardState::default() }), None);
    life.settle();
    let mut ends = Vec::new();
    for (index, length) in (1..).zip(lengths) {
        life.append(&[entry(1, index, &vec![index as u8; *length])]);
        ends.push(recover(config, &mut life.disk).unwrap().start.tail.offset);
    }
    (life, ends)
}

fn rot_of(config: &WalConfig, disk: &mut ModelDisk) -> Option<&'static str> {
    recover(config, disk).unwrap().cut.and_then(|cut| cut.rot)
}

#[test]
fn a_flipped_bit_in_any_place_behind_the_mark_is_no_torn_tail() {
    let config = never_marking();
    let (life, ends) = life_with(&config, &[100, 1, 700, 0, 37, 100]);
    let marked = recover(&config, &mut life.disk.clone()).unwrap().start.mark.durable.offset;
    for offset in marked..*ends.last().unwrap() {
        for bit in 0..8 {
            let mut disk = life.disk.clone();
            disk.rot(FIRST, offset, 1 << bit);
            match recover(&config, &mut disk).map(|recovered| recovered.cut) {
                Ok(Some(CutTail { offset: at, zero_until, rot, .. })) => {
                    assert!(at <= offset && offset < zero_until);
                    assert!(rot.is_some(), "bit {bit} at {offset} passes for torn");
                }
                // The checksum does not cover the type.
                Err(HaltReason::Damaged { offset: at, .. }) => assert!(at <= offset),
                other => panic!("bit {bit} at {offset} goes unseen: {other:?}"),
            }
        }
    }
}

#[test]
fn any_lost_sectors_of_a_write_are_a_torn_tail() {
    let config = never_marking();
    // Wherever the record begins in its sector, and whatever padding it needs.
    for (shift, more) in (0..64).flat_map(|shift| (0..8).map(move |more| (shift, more))) {
        let (mut life, ends) = life_with(&config, &[100 + 8 * shift, 1200 + more]);
        let (start, end) = (ends[0], ends[1]);
        let whole = life.disk.content(FIRST);
        let first_sector = start / 512;
        for lost in 1..1_u32 << ((end - 1) / 512 - first_sector + 1) {
            let mut content = whole.clone();
            let is_lost = |offset: &u64| lost >> (offset / 512 - first_sector) & 1 == 1;
            (start..end).filter(is_lost).for_each(|offset| content[offset as usize] = 0);
            life.disk.put(FIRST, content);
            let recovered = recover(&config, &mut life.disk).unwrap();
            assert_eq!(recovered.last_index(), LogIndex(1), "a record without a part is no record");
            assert_eq!(recovered.cut.and_then(|cut| cut.rot), None, "start {start}, lost {lost:b}");
            assert_eq!(recovered.lost_until, None);
        }
    }
}

#[test]
fn a_torn_write_behind_an_intact_one_in_the_same_sector_is_torn() {
    let config = never_marking();
    let (mut life, ends) = life_with(&config, &[50, 50, 50]);
    for offset in ends[0]..ends[1] {
        let byte = life.disk.content(FIRST)[offset as usize];
        life.disk.rot(FIRST, offset, byte);
    }
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!((recovered.last_index(), recovered.lost_until), (LogIndex(1), None));
}

#[test]
fn a_record_that_would_go_beyond_its_file_is_rot() {
    let config = never_marking();
    let (mut life, ends) = life_with(&config, &[100, 100]);
    life.disk.rot(FIRST, ends[0] + 4, 1);
    assert_eq!(rot_of(&config, &mut life.disk), Some("a record that the end of the file cuts off"));
}

#[test]
fn a_noted_mark_outlives_the_process_and_shows_that_damage_before_it_is_no_torn_tail() {
    let config = never_marking();
    let (mut life, ends) = life_with(&config, &[100, 100]);
    life.writer.note_mark(&mut life.queue);
    life.issue();
    assert!(matches!(&life.outstanding[..], [(.., DiskAction::Append { .. })]), "one write, and no sync");
    life.settle();
    life.writer.note_mark(&mut life.queue);
    life.issue();
    assert!(life.outstanding.is_empty(), "nothing new is to be said");

    let mut killed = life.disk.clone();
    killed.kill(&[], &mut Draw::new(1));
    // A whole lost record would pass for torn otherwise.
    for offset in ends[0]..ends[1] {
        let byte = killed.content(FIRST)[offset as usize];
        killed.rot(FIRST, offset, byte);
    }
    let Err(HaltReason::Damaged { offset, what, .. }) = recover(&config, &mut killed) else { panic!("not refused") };
    assert_eq!(offset, ends[0]);
    assert!(what.contains("the log was durable up to"), "{what}");
}

#[test]
fn noted_marks_never_take_the_slot_of_the_synced_one() {
    let config = never_marking();
    let (mut life, _) = life_with(&config, &[10]);
    let slots = |disk: &ModelDisk| [0, 4096].map(|start: usize| disk.content(MARKS)[start..start + 96].to_vec());
    let mut synced = slots(&life.disk);
    for index in 2..40 {
        life.append(&[entry(1, index, b"more")]);
        if index % 5 == 0 {
            let before = recover(&config, &mut life.disk).unwrap().start.mark.sequence;
            life.writer.write_mark(&mut life.queue);
            life.settle();
            assert!(recover(&config, &mut life.disk).unwrap().start.mark.sequence > before);
            synced = slots(&life.disk);
            continue;
        }
        life.writer.note_mark(&mut life.queue);
        life.issue();
        life.settle();
        let now = slots(&life.disk);
        assert_eq!(now.iter().zip(&synced).filter(|(now, synced)| now != synced).count(), 1);
        let newest = recover(&config, &mut life.disk).unwrap().start.mark.durable.last_index;
        assert_eq!(newest, LogIndex(index), "the noted mark is the newest");
        let mut lost = life.disk.clone();
        lost.lose_power(&mut Draw::new(index));
        recover(&config, &mut lost).expect("whatever is left of noted marks, the synced one is whole");
    }
}

#[test]
fn a_tail_without_marks_that_could_tell_of_it_is_refused() {
    let config = never_marking();
    let (mut life, ends) = life_with(&config, &[100, 100]);
    life.writer.note_mark(&mut life.queue);
    life.settle();
    let older = 4096 * u64::from(recover(&config, &mut life.disk).unwrap().start.mark.sequence.is_multiple_of(2));
    life.append(&[entry(1, 3, b"more")]);
    life.disk.rot(FIRST, ends[1] + 30, 1);
    assert!(recover(&config, &mut life.disk.clone()).is_ok());
    life.disk.rot(MARKS, older, 1);
    let Err(HaltReason::Damaged { file, offset, .. }) = recover(&config, &mut life.disk) else { panic!("not refused") };
    assert_eq!((&*file, offset), (FIRST, ends[1]));
}

/// A life over a rotten tail that was in term 1, not yet opened.
fn rotten() -> (WalConfig, ModelDisk) {
    let config = never_marking();
    let (mut life, ends) = life_with(&config, &[100, 100, 100]);
    life.disk.rot(FIRST, ends[1] - 30, 1);
    life.disk.kill(&[], &mut Draw::new(1));
    (config, life.disk)
}

#[test]
fn a_loss_is_written_down_before_its_traces_go() {
    let (config, disk) = rotten();
    let lost_until = recover(&config, &mut disk.clone()).unwrap().lost_until.expect("the tail is rotten");
    assert!(lost_until >= Term(1), "it acted in term 1");
    for steps in 0..40 {
        for seed in 0..20 {
            let (mut life, recovered) = Life::begin(&config, disk.clone()).unwrap();
            assert_eq!(recovered.hard_state, HardState { term: lost_until.next(), ..HardState::default() });
            for at in 0..steps {
                if !life.outstanding.is_empty() {
                    life.complete((at * seed) as usize % life.outstanding.len());
                }
                life.writer.flush(&mut life.queue);
                life.issue();
            }
            life.disk.lose_power(&mut Draw::new(seed));
            let again = recover(&config, &mut life.disk).unwrap();
            assert_eq!(again.lost_until, Some(lost_until), "forgotten after {steps} steps with {seed}");
            assert!(again.hard_state.term > lost_until);
        }
    }
}

#[test]
fn a_loss_is_over_with_an_entry_of_a_later_term_and_not_before() {
    let (config, disk) = rotten();
    let (mut life, recovered) = Life::begin(&config, disk).unwrap();
    life.settle();
    let lost_until = recovered.lost_until.unwrap();
    let state = HardState { term: Term(lost_until.0 + 30), vote: NodeId(0), commit: LogIndex(0) };
    life.writer.append([entry(1, 2, b"again")], Some(state), None);
    life.settle();
    assert_eq!(recover(&config, &mut life.disk).unwrap().lost_until, Some(lost_until));
    life.append(&[entry(lost_until.0 + 30, 3, b"later")]);
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!((recovered.lost_until, recovered.hard_state), (None, state));
    let mut disk = life.stop();
    assert_eq!(recover(&config, &mut disk).unwrap().lost_until, None);
}

#[test]
fn nothing_is_done_in_a_term_before_a_synced_mark_allows_it() {
    let config = never_marking();
    let (mut life, _) = life_with(&config, &[10]);
    let allowed = recover(&config, &mut life.disk).unwrap().start.mark.term_max;
    let state = |term: Term| HardState { term, ..HardState::default() };
    let write = life.writer.append([], Some(state(allowed)), None);
    life.writer.flush(&mut life.queue);
    life.issue();
    assert!(life.outstanding.iter().all(|(.., action)| !action_is_on(action, MARKS)), "that much is allowed already");
    life.settle();
    assert_eq!(life.writer.durable(), write);

    let write = life.writer.append([], Some(state(allowed.next())), None);
    life.writer.flush(&mut life.queue);
    life.issue();
    while life.writer.durable() < write {
        let is_allowed = recover(&config, &mut life.disk).unwrap().start.mark.term_max > allowed;
        let is_written = life.outstanding.iter().any(|(.., action)| action_is_on(action, FIRST));
        assert!(is_allowed || !is_written, "the term is written before it is allowed");
        life.complete(0);
    }
    life.disk.lose_power(&mut Draw::new(3));
    let recovered = recover(&config, &mut life.disk).unwrap();
    assert_eq!(recovered.hard_state.term, allowed.next());
    assert!(recovered.start.mark.term_max > allowed);
}

fn action_is_on(action: &DiskAction, name: &str) -> bool {
    match action {
        DiskAction::Append { file, .. } | DiskAction::Sync { file } => &**file == name,
        _ => false,
    }
}
