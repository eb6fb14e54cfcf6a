//! Damage that no crash explains is named and refused; what a crash explains is cut.

use super::*;
use crate::log::HardState;
use crate::types::ClusterId;

const MARKS: &str = "member/wal/durable.marks";
const FIRST: &str = "member/wal/0000000000000000-0000000000000000.wal";

/// A cleanly stopped log of this many entries, in several segments.
fn stopped(config: &WalConfig, entries: u64) -> (ModelDisk, Vec<String>) {
    let mut life = Life::fresh(config);
    for index in 1..=entries {
        let data = vec![index as u8; 100 + (index as usize * 37) % 90];
        let state = HardState { term: Term(1), vote: NodeId(1), commit: LogIndex(index - 1) };
        let mark = (index % 5 == 0).then(|| mark(1, index - 1));
        // Entries without data are the ones that a changed type could turn into something else.
        let data = if index % 4 == 0 { &[] } else { &data[..] };
        life.writer.append([entry(1, index, data)], Some(state), mark);
        life.settle();
    }
    let segments = life.segments();
    (life.stop(), segments)
}

fn refusal(config: &WalConfig, disk: &mut ModelDisk) -> (String, u64, String) {
    match recover(config, disk) {
        Err(HaltReason::Damaged { file, offset, what }) => (file, offset, what),
        other => panic!("damage is not refused: {other:?}"),
    }
}

#[test]
fn any_changed_byte_of_the_durable_log_is_refused_and_its_file_named() {
    let config = small_config();
    let (disk, segments) = stopped(&config, 40);
    assert!(segments.len() > 2);
    let mut draw = Draw::new(7);
    for segment in &segments {
        let used = disk.content(segment).iter().rposition(|&byte| byte != 0).unwrap() as u64 + 1;
        for offset in 0..used {
            let mut disk = disk.clone();
            disk.rot(segment, offset, 1 + draw.below(255) as u8);
            let (file, at, _) = refusal(&config, &mut disk);
            // The checksum with which the first segment starts is only seen to be wrong in the second record.
            let is_here = file == *segment && at <= offset.max(16);
            // A changed length may hide the end of a segment; then the next one does not continue it.
            let is_next = segments
                .iter()
                .position(|name| *name == file)
                .is_some_and(|next| next > 0 && segments[next - 1] == *segment);
            assert!(is_here || is_next, "offset {offset} of {segment} is changed, not {at} of {file}");
        }
    }
}

#[test]
fn a_single_changed_bit_of_the_type_is_refused() {
    let config = small_config();
    let (disk, segments) = stopped(&config, 40);
    for segment in &segments {
        let content = disk.content(segment);
        let types = content.windows(3).enumerate().filter(|(at, key)| at % 8 == 0 && key[0] == 8 && key[2] == 0x10);
        for (offset, _) in types {
            for bit in 0..8 {
                let mut disk = disk.clone();
                disk.rot(segment, offset as u64 + 1, 1 << bit);
                refusal(&config, &mut disk);
            }
        }
    }
}

#[test]
fn changed_bytes_of_the_marks_never_change_the_log() {
    let config = small_config();
    let (mut disk, _) = stopped(&config, 40);
    let whole = recover(&config, &mut disk).unwrap();
    for offset in (0..80).chain(4096..4176) {
        let mut disk = disk.clone();
        disk.rot(MARKS, offset, 0x11);
        let recovered = recover(&config, &mut disk).unwrap();
        assert_eq!(recovered.entries, whole.entries);
        assert!(recovered.boot >= whole.boot, "boot {} is used twice", recovered.boot);
    }
    disk.rot(MARKS, 3, 1);
    disk.rot(MARKS, 4099, 1);
    assert_eq!(refusal(&config, &mut disk).0, MARKS);
}

#[test]
fn a_missing_segment_is_refused() {
    let config = small_config();
    let (disk, segments) = stopped(&config, 40);
    for segment in &segments {
        let mut disk = disk.clone();
        disk.remove(segment);
        let (_, _, what) = refusal(&config, &mut disk);
        assert!(what.contains("missing"), "{what}");
    }
}

#[test]
fn a_log_without_its_marks_is_refused() {
    let config = small_config();
    let (mut disk, _) = stopped(&config, 3);
    disk.remove(MARKS);
    let (file, _, what) = refusal(&config, &mut disk);
    assert_eq!((&*file, &*what), (MARKS, "the file with the durable marks is missing"));
}

#[test]
fn marks_without_their_log_are_refused() {
    let config = small_config();
    let (mut disk, _) = stopped(&config, 3);
    disk.remove(FIRST);
    assert_eq!(refusal(&config, &mut disk).0, MARKS);
}

#[test]
fn two_segments_with_one_number_are_refused() {
    let config = small_config();
    let (mut disk, segments) = stopped(&config, 40);
    let copy = disk.content(&segments[1]);
    disk.put("member/wal/0000000000000001-0000000000000100.wal", copy);
    assert!(refusal(&config, &mut disk).2.contains("two segments"));
}

#[test]
fn a_log_of_another_member_is_foreign_and_one_of_this_member_knows_its_cluster() {
    let config = small_config();
    let (mut disk, segments) = stopped(&config, 40);
    let other = WalConfig { cluster_id: ClusterId(5), ..config.clone() };
    assert_eq!(recover(&other, &mut disk).unwrap().cluster_id, config.cluster_id);
    let (strange, strange_segments) = stopped(&other, 40);
    assert_eq!(segments, strange_segments);
    let mut mixed = disk.clone();
    mixed.put(&segments[1], strange.content(&segments[1]));
    assert!(recover(&config, &mut mixed).is_err(), "a segment of another cluster in the middle");
    let other = WalConfig { node_id: NodeId(5), ..config };
    assert!(matches!(recover(&other, &mut disk), Err(HaltReason::Foreign { .. })));
    disk.remove(MARKS);
    assert!(matches!(recover(&other, &mut disk), Err(HaltReason::Foreign { .. })));
}

/// A log of which the last entries are not marked as durable, and the end of what is marked.
fn with_unmarked_entries(config: &WalConfig, entries: u64) -> (ModelDisk, u64) {
    let mut life = Life::fresh(config);
    life.writer.append([], Some(HardState { term: Term(1), ..HardState::default() }), None);
    for index in 1..=entries {
        life.append(&[entry(1, index, &[index as u8; 100])]);
    }
    let marked = recover(config, &mut life.disk).unwrap().start.mark.durable.offset;
    (life.disk, marked)
}

fn never_marking() -> WalConfig {
    WalConfig { segment_bytes: 16 << 10, mark_interval_bytes: u64::MAX, ..small_config() }
}

#[test]
fn damage_behind_the_mark_is_cut_and_the_log_goes_on() {
    let config = never_marking();
    let (disk, marked) = with_unmarked_entries(&config, 8);
    let whole = recover(&config, &mut disk.clone()).unwrap();
    let end = whole.start.tail.offset;
    for offset in marked..end {
        let mut disk = disk.clone();
        disk.rot(FIRST, offset, 0x40);
        let recovered = recover(&config, &mut disk).unwrap();
        let cut = recovered.cut.clone().expect("something is cut");
        assert!(cut.offset <= offset && offset < cut.zero_until);
        assert_eq!(&*cut.file, FIRST);
        assert_eq!(recovered.entries, whole.entries[..recovered.entries.len()]);

        let (mut life, _) = Life::begin(&config, disk).unwrap();
        life.settle();
        // Behind the end stand only the raised term and zeros.
        let end = recover(&config, &mut life.disk).unwrap().start.tail.offset;
        assert!(life.disk.content(FIRST)[end as usize..].iter().all(|&byte| byte == 0));
        let next = recovered.last_index().next().0;
        life.append(&[entry(2, next, b"after")]);
        life.disk.lose_power(&mut Draw::new(offset));
        let again = recover(&config, &mut life.disk).unwrap();
        assert_eq!((again.last_index().0, again.cut), (next, None));
    }
}

#[test]
fn damage_with_intact_records_far_behind_it_is_refused() {
    let config = never_marking();
    let in_flight_bytes_max = config.in_flight_bytes_max();
    assert_eq!(in_flight_bytes_max, 2 * 512 + 256);
    let (disk, marked) = with_unmarked_entries(&config, 40);
    let end = recover(&config, &mut disk.clone()).unwrap().start.tail.offset;
    // Two records of at most 136 bytes have to fit between the bound and the end.
    for offset in (marked..end - in_flight_bytes_max - 3 * 136).step_by(5) {
        let mut disk = disk.clone();
        disk.rot(FIRST, offset, 0x40);
        let (file, at, what) = refusal(&config, &mut disk);
        assert_eq!(file, FIRST);
        assert!(at <= offset, "{at} {offset}");
        assert!(what.contains("intact records follow"), "{what}");
    }
}

#[test]
fn the_bound_is_that_of_the_life_that_wrote() {
    let config = never_marking();
    let (mut disk, marked) = with_unmarked_entries(&config, 40);
    disk.rot(FIRST, marked, 0x40);
    let larger = WalConfig { writes_in_flight_max: 100, ..config.clone() };
    assert_eq!(refusal(&larger, &mut disk).1, marked);
}

#[test]
fn a_file_cut_short_is_refused_if_it_was_durable() {
    let config = small_config();
    let (disk, segments) = stopped(&config, 40);
    let last = segments.last().unwrap();
    let content = disk.content(last);
    let used = content.iter().rposition(|&byte| byte != 0).unwrap();
    for kept in [0, 5, 100, used / 2, used] {
        let mut disk = disk.clone();
        disk.put(last, content[..kept].to_vec());
        assert_eq!(refusal(&config, &mut disk).0, *last);
    }
}

#[test]
fn a_directory_whose_creation_was_not_completed_is_fresh() {
    let config = small_config();
    let disk = Life::fresh(&config).disk;
    let header = disk.content(FIRST);
    for kept in [0, 8, 16, 60, header.len()] {
        let mut content = header[..kept].to_vec();
        content.resize(header.len(), 0);
        let mut disk = ModelDisk::default();
        disk.put(FIRST, content);
        disk.put("member/wal/durable.marks.tmp", vec![1; 100]);
        disk.put("member/wal/0000000000000000.tmp", vec![1; 100]);
        let (mut life, recovered) = Life::begin(&config, disk).unwrap();
        assert_eq!((recovered.fresh, recovered.boot, recovered.cut), (true, 1, None), "{kept}");
        life.settle();
        life.append(&[entry(1, 1, b"x")]);
        let mut disk = life.stop();
        assert_eq!(recover(&config, &mut disk).unwrap().entries.len(), 1);
    }
}
