//! Compaction: contract, sections 1.1 and 1.2.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::key_range::KeyRange;
use super::super::mvcc::{Mvcc, ReadAt, SWEEP_RECORDS_PER_ENTRY};
use super::super::record::Contents;
use super::*;
use crate::types::Revision;

#[test]
fn the_compacted_revision_stays_readable_and_older_ones_do_not() {
    let mut machine = Machine::new();
    for value in ["1", "2", "3"] {
        machine.put("a", value);
    }
    machine.compact(3).unwrap();
    for _ in 0..2 {
        let at = |revision| machine.range(pb::RangeRequest { revision, ..everything() });
        assert_eq!(at(2), Err(Status::Compacted));
        assert_eq!(at(3).unwrap().kvs[0].value, bytes("2"));
        assert_eq!(at(4).unwrap().kvs[0].value, bytes("3"));
        assert_eq!(at(5), Err(Status::FutureRevision));
        machine.sweep();
    }
}

#[test]
fn compaction_never_goes_back_nor_ahead_of_the_store() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    machine.put("a", "2");
    assert_eq!(machine.compact(4), Err(Status::FutureRevision));
    assert_eq!(machine.compact(-1), Err(Status::Compacted));
    machine.compact(2).unwrap();
    assert_eq!(machine.compact(2), Err(Status::Compacted));
    assert_eq!(machine.compact(1), Err(Status::Compacted));
    assert_eq!(machine.machine.view().compacted(), 2);
    let Ok(Response::Compact(response)) = machine.compact(3) else { panic!() };
    assert_eq!(revision(&response.header), 3);
}

/// Zoo, row 20: the current revision is never inferred from what is stored.
#[test]
fn revisions_are_not_used_again_after_everything_was_deleted_and_compacted() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    machine.delete("a", "");
    machine.compact(3).unwrap();
    machine.sweep();
    machine.put("b", "1");
    machine.delete("b", "");
    machine.compact(5).unwrap();
    machine.sweep();
    assert_eq!(machine.put("c", "1"), 6);
}

/// Zoo, rows 21 and 22: etcd 18089 and 19179.
#[test]
fn a_deletion_exactly_at_the_compacted_revision_stays_watchable_until_the_next() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    machine.put("a", "2");
    machine.delete("a", ""); // 4
    machine.put("b", "1"); // 5
    machine.compact(4).unwrap();
    assert_eq!(machine.events_since(4), ["4-a", "5+b"]);
    machine.sweep();
    assert_eq!(machine.events_since(4), ["4-a", "5+b"]);
    machine.compact(5).unwrap();
    machine.sweep();
    assert_eq!(machine.events_since(1), ["5+b"]);
    assert_eq!(machine.machine.view.store.mvcc.len(), 1);
}

#[test]
fn previous_values_are_absent_when_compacted_and_never_wrong() {
    let mut machine = Machine::new();
    machine.put("a", "1"); // 2
    machine.put("a", "2"); // 3
    machine.put("a", "3"); // 4
    let before =
        |machine: &Machine, revision| machine.machine.view().value_before(&bytes("a"), revision).map(|kv| kv.value);
    assert_eq!(before(&machine, 2), None);
    assert_eq!(before(&machine, 3), Some(bytes("1")));
    assert_eq!(before(&machine, 4), Some(bytes("2")));
    machine.compact(3).unwrap();
    for _ in 0..2 {
        assert_eq!(before(&machine, 3), None);
        assert_eq!(before(&machine, 4), Some(bytes("2")));
        machine.sweep();
    }
}

#[test]
fn one_entry_sweeps_a_bounded_number_of_records() {
    let mut machine = Machine::new();
    for value in 0..200 {
        machine.put("a", &value.to_string());
    }
    let stored = |machine: &Machine| machine.machine.view.store.mvcc.len();
    machine.compact(201).unwrap();
    let mut before = stored(&machine);
    assert!(before > 180, "a compaction does not sweep everything at once");
    let mut entries = 0;
    while machine.machine.view().is_sweeping() {
        machine.apply(Command::Empty);
        let after = stored(&machine);
        assert!(before - after <= 16);
        before = after;
        entries += 1;
    }
    assert!(entries >= 12);
    assert_eq!(stored(&machine), 1);
}

/// Zoo, row 15: what an entry does besides its own business does not depend on how that ends.
#[test]
fn entries_that_fail_drive_the_sweep_too() {
    let mut machine = Machine::new();
    for _ in 0..100 {
        machine.put("a", "1");
    }
    machine.compact(101).unwrap();
    for _ in 0..20 {
        assert_eq!(machine.compact(101), Err(Status::Compacted));
    }
    assert_eq!(machine.machine.view.store.mvcc.len(), 1);
}

#[test]
fn events_between_two_revisions_include_both() {
    let mut machine = Machine::new();
    for key in ["a", "b", "c"] {
        machine.put(key, "");
    }
    let view = machine.machine.view();
    let revisions =
        |first, last| view.events_between(first, last).map(|event| event.kv.unwrap().mod_revision).collect::<Vec<_>>();
    assert_eq!(revisions(2, 3), [2, 3]);
    assert_eq!(revisions(3, 3), [3]);
    assert_eq!(revisions(4, 3), [0i64; 0]);
    assert_eq!(revisions(9, 20), [0i64; 0]);
    assert_eq!(revisions(0, i64::MAX), [2, 3, 4]);
}

#[test]
fn an_old_version_is_few_hops_away_however_many_there_are() {
    let mut mvcc = Mvcc::default();
    for _ in 0..5_000 {
        mvcc.put(&key(0), Some(&[]), Some(0));
        mvcc.commit();
    }
    for compacted in [2, 1_700] {
        mvcc.compact(compacted).unwrap();
        while mvcc.is_sweeping() {
            mvcc.sweep(SWEEP_RECORDS_PER_ENTRY);
        }
        for revision in compacted..=mvcc.revision() {
            let mut record = mvcc.get(&key(0), ReadAt::Latest).unwrap();
            let mut hops = 0;
            while record.at().revision > revision {
                record = mvcc.history.hop(record, revision).unwrap();
                hops += 1;
            }
            assert_eq!(record.at().revision, revision);
            assert!(hops <= 91, "{hops} hops to revision {revision}: more than half the square of 13 bits");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8),
    Delete(u8, u8),
    Compact(u8),
    Sweep,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..6u8).prop_map(Step::Put),
        3 => (0..6u8, 0..3u8).prop_map(|(key, more)| Step::Delete(key, more)),
        2 => (0..8u8).prop_map(Step::Compact),
        4 => Just(Step::Sweep),
    ];
    proptest::collection::vec(step, 1..80)
}

fn key(number: u8) -> Bytes {
    Bytes::copy_from_slice(&[b'a' + number])
}

fn run(mvcc: &mut Mvcc, step: &Step, sweeps: bool) {
    match step {
        Step::Put(number) => {
            mvcc.put(&key(*number), Some(&[]), Some(0));
            mvcc.commit();
        }
        Step::Delete(number, more) => {
            mvcc.delete_range(&KeyRange::new(&key(*number), &key(number + more)));
            mvcc.commit();
        }
        Step::Compact(back) => {
            let _ = mvcc.compact(mvcc.revision() - i64::from(*back));
        }
        Step::Sweep if sweeps => mvcc.sweep(SWEEP_RECORDS_PER_ENTRY),
        Step::Sweep => {}
    }
}

fn all_at(mvcc: &Mvcc, at: ReadAt) -> Vec<Contents<'_>> {
    let mut records = Vec::new();
    mvcc.visit(&KeyRange::new(&bytes("\0"), &bytes("\0")), at, |record| {
        records.push(record.contents());
        true
    });
    records
}

fn events_from(mvcc: &Mvcc, first: Revision) -> Vec<Contents<'_>> {
    mvcc.events(first, i64::MAX).map(|record| record.contents()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    /// Nothing that can still be asked for depends on how far the sweep has come.
    #[test]
    fn a_swept_store_answers_like_one_that_never_sweeps(steps in steps()) {
        let (mut swept, mut whole) = (Mvcc::default(), Mvcc::default());
        for step in &steps {
            run(&mut swept, step, true);
            run(&mut whole, step, false);
            prop_assert_eq!(swept.digest(), swept.recompute_digest());
            for revision in swept.compacted().max(1)..=swept.revision() {
                let at = ReadAt::Revision(revision);
                prop_assert_eq!(all_at(&swept, at), all_at(&whole, at));
            }
            let first = swept.compacted().max(1);
            prop_assert_eq!(events_from(&swept, first), events_from(&whole, first));
        }
    }

    /// A finished sweep keeps exactly what can still be asked for: per key the newest put at or before the compacted
    /// revision, and everything from that revision on.
    #[test]
    fn a_finished_sweep_leaves_nothing_behind(steps in steps()) {
        let mut mvcc = Mvcc::default();
        let mut written = Vec::new();
        for step in &steps {
            let before = mvcc.revision();
            run(&mut mvcc, step, true);
            written.extend(mvcc.events(before + 1, i64::MAX).cloned());
        }
        while mvcc.is_sweeping() {
            mvcc.sweep(SWEEP_RECORDS_PER_ENTRY);
        }
        let compacted = mvcc.compacted();
        let mut newest = BTreeMap::new();
        for record in written.iter().filter(|record| record.at().revision <= compacted) {
            newest.insert(record.key().to_vec(), record.clone());
        }
        let mut expected: Vec<_> = newest
            .into_values()
            .filter(|record| record.at().revision < compacted && !record.is_tombstone())
            .chain(written.iter().filter(|record| record.at().revision >= compacted).cloned())
            .map(|record| record.at())
            .collect();
        expected.sort();
        let stored: Vec<_> = mvcc.records_after(None).map(|record| record.at()).collect();
        prop_assert_eq!(stored, expected);
    }
}
