//! Snapshots of random states: written, fed in slices of any length, damaged.

use detcd_core::log::{ConfState, SnapshotMeta};
use detcd_core::snapshot::{SnapshotError, SnapshotLoader, SnapshotWriter, read_header};
use detcd_core::state_machine::StateMachine;
use detcd_core::types::{ClusterId, NodeId, Term};
use proptest::prelude::*;

use crate::generate::{Step, steps};
use crate::{cases, check_events, check_leases, check_past, entry, genesis, model::Model, run_model};

fn meta(machine: &StateMachine) -> SnapshotMeta {
    // In the middle of a joint configuration, so that every part has something in it (zoo, row 46).
    let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
    SnapshotMeta {
        index: machine.applied(),
        term: Term(9),
        conf_state: ConfState {
            voters: ids(&[1, 2, 3]),
            learners: ids(&[7]),
            voters_outgoing: ids(&[1, 4]),
            learners_next: ids(&[4]),
            auto_leave: true,
        },
    }
}

fn write(machine: &StateMachine, chunk_bytes: usize) -> Vec<Vec<u8>> {
    let mut writer = SnapshotWriter::new(machine.view(), meta(machine), ClusterId(1));
    std::iter::from_fn(|| writer.next_chunk(chunk_bytes)).map(|chunk| chunk.to_vec()).collect()
}

fn load(bytes: &[u8], slice: usize) -> Result<(SnapshotMeta, StateMachine), SnapshotError> {
    let mut loader = SnapshotLoader::new();
    for slice in bytes.chunks(slice) {
        loader.feed(slice)?;
    }
    loader.finish()
}

fn state(steps: &[Step]) -> (StateMachine, Model) {
    let (mut machine, mut model) = (genesis(), Model::new());
    run(steps, &mut machine, &mut model);
    (machine, model)
}

fn run(steps: &[Step], machine: &mut StateMachine, model: &mut Model) {
    for step in steps {
        let Some(command) = entry(machine, step) else { continue };
        machine.apply(machine.applied().next(), &command).result.ok();
        run_model(model, command);
    }
}

proptest! {
    #![proptest_config(cases(250))]

    #[test]
    fn a_loaded_snapshot_is_the_state_that_was_written(
        before in steps(), after in steps(), chunk_bytes in 1..400usize, slice in 1..500usize,
    ) {
        let (mut machine, mut model) = state(&before);
        let bytes = write(&machine, chunk_bytes).concat();
        let (loaded_meta, mut loaded) = load(&bytes, slice).unwrap();
        prop_assert_eq!(&loaded_meta, &meta(&machine));
        prop_assert_eq!(loaded.applied(), machine.applied());
        prop_assert_eq!(loaded.digest(), machine.digest());
        prop_assert_eq!(loaded.recompute_digest(), machine.digest());
        prop_assert_eq!(write(&loaded, chunk_bytes).concat(), bytes.clone(), "equal states give equal bytes");
        let header = read_header(&bytes).unwrap();
        prop_assert_eq!((header.cluster_id, header.meta), (ClusterId(1), loaded_meta));
        // It goes on like the original, also with a sweep that was under way.
        run(&after, &mut loaded, &mut model);
        for step in &after {
            if let Some(command) = entry(&machine, step) {
                machine.apply(machine.applied().next(), &command);
            }
        }
        prop_assert_eq!(loaded.digest(), machine.digest());
        check_events(&loaded, &model, 0)?;
        check_leases(&loaded, &model)?;
        check_past(&loaded, &model)?;
    }

    #[test]
    fn a_snapshot_with_any_byte_changed_is_refused(
        steps in steps(), at in any::<prop::sample::Index>(), flip in 1..=255u8,
    ) {
        let (machine, _) = state(&steps);
        let mut bytes = write(&machine, 100).concat();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(load(&bytes, 64).is_err());
    }

    #[test]
    fn a_snapshot_cut_short_is_incomplete(steps in steps(), at in any::<prop::sample::Index>()) {
        let (machine, _) = state(&steps);
        let bytes = write(&machine, 100).concat();
        let cut = &bytes[..at.index(bytes.len())];
        prop_assert_eq!(load(cut, 64).map(|_| ()), Err(SnapshotError::Incomplete));
    }

    #[test]
    fn a_snapshot_with_a_chunk_lost_doubled_or_moved_is_refused(
        steps in steps(), a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(),
    ) {
        let (machine, _) = state(&steps);
        let chunks = write(&machine, 60);
        let (a, b) = (a.index(chunks.len()), b.index(chunks.len()));
        let mut lost = chunks.clone();
        lost.remove(a);
        prop_assert!(load(&lost.concat(), 64).is_err());
        let mut doubled = chunks.clone();
        doubled.insert(b, chunks[a].clone());
        prop_assert!(load(&doubled.concat(), 64).is_err());
        if a != b {
            let mut moved = chunks.clone();
            moved.swap(a, b);
            prop_assert!(load(&moved.concat(), 64).is_err());
        }
    }

    #[test]
    fn no_bytes_make_the_loader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), slice in 1..50usize) {
        prop_assert!(load(&bytes, slice).is_err());
        prop_assert!(read_header(&bytes).is_err());
    }
}
