//! What the checker accepts and what it refuses.

mod brute_force;
mod by_hand;
mod naive;

use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::mvccpb::Event;

use super::Serializability;
use crate::check::generated::{Kinds, Shape, generate, generate_into};
use crate::check::model::has_effect;
use crate::check::{CheckConfig, Witness};
use crate::history::{HistoryEvent, OpId, Outcome};

/// Judges a whole history, told live.
fn judge(history: &[HistoryEvent]) -> Result<(), String> {
    judge_as(Witness::Live, history)
}

fn judge_as(witness: Witness, history: &[HistoryEvent]) -> Result<(), String> {
    let mut checker = Serializability::new(&CheckConfig { witness, ..CheckConfig::new(1) });
    history.iter().try_for_each(|event| checker.take(event))?;
    checker.close()
}

fn shape(seed: u64) -> Shape {
    Shape { seed, clients: 5, operations: 300, unknown_percent: 10, kinds: Kinds::All, keys: 4 }
}

/// The history with the witness's lines moved behind the returns that they made possible, as a recorded watch does.
fn recorded(history: &[HistoryEvent]) -> Vec<HistoryEvent> {
    let mut told: Vec<HistoryEvent> = Vec::new();
    let mut late: Vec<HistoryEvent> = Vec::new();
    for (place, event) in history.iter().enumerate() {
        match event {
            HistoryEvent::Revision { .. } => late.push(event.clone()),
            _ => told.push(event.clone()),
        }
        if place % 7 == 6 {
            told.append(&mut late);
        }
    }
    told.append(&mut late);
    told
}

#[test]
fn what_one_state_machine_does_is_accepted() {
    for seed in 0..300 {
        let history = generate(shape(seed));
        assert_eq!(judge(&history), Ok(()), "seed {seed}");
        assert_eq!(judge_as(Witness::Recorded, &history), Ok(()), "seed {seed}, recorded");
        assert_eq!(judge_as(Witness::Recorded, &recorded(&history)), Ok(()), "seed {seed}, recorded late");
    }
}

/// The revision that an acknowledged write made, if it is one.
fn acknowledged_write(event: &HistoryEvent) -> Option<(OpId, i64)> {
    match event {
        HistoryEvent::Return { op, outcome: Outcome::Ok(response) } if has_effect(response) => {
            super::header_revision(response).map(|revision| (*op, revision))
        }
        _ => None,
    }
}

/// The same history with one change, for every place where `change` finds one to make; at most ten of them.
fn changed(
    history: &[HistoryEvent],
    change: impl Fn(&[HistoryEvent], usize) -> Option<Vec<HistoryEvent>>,
) -> Vec<Vec<HistoryEvent>> {
    let places = 0..history.len();
    let all: Vec<Vec<HistoryEvent>> = places.filter_map(|place| change(history, place)).collect();
    let step = all.len().div_ceil(10).max(1);
    all.into_iter().step_by(step).collect()
}

fn all_are_refused(name: &str, change: impl Fn(&[HistoryEvent], usize) -> Option<Vec<HistoryEvent>> + Copy) {
    // Without operations of unknown outcome, which could explain the change.
    let known = |seed| Shape { unknown_percent: 0, ..shape(seed) };
    let mut count = 0;
    for seed in 0..40 {
        for wrong in changed(&generate(known(seed)), change) {
            count += 1;
            assert!(judge(&wrong).is_err(), "seed {seed}: {name}");
            assert!(judge_as(Witness::Recorded, &wrong).is_err(), "seed {seed}, recorded: {name}");
        }
    }
    assert!(count > 100, "{name} was tried {count} times only");
}

#[test]
fn a_history_without_one_acknowledged_write_in_the_witness_is_refused() {
    all_are_refused("a lost write", |history, place| {
        let (_, lost) = acknowledged_write(&history[place])?;
        // As if it had never happened: later revisions move up.
        let moved = |event: &HistoryEvent| match event {
            HistoryEvent::Revision { revision, .. } if *revision == lost => None,
            HistoryEvent::Revision { revision, events } if *revision > lost => {
                Some(HistoryEvent::Revision { revision: revision - 1, events: events.iter().map(up).collect() })
            }
            other => Some(other.clone()),
        };
        Some(history.iter().filter_map(moved).collect())
    });
    fn up(event: &Event) -> Event {
        let mut event = event.clone();
        if let Some(kv) = &mut event.kv {
            kv.mod_revision -= 1;
        }
        event
    }
}

#[test]
fn a_history_with_a_gap_in_the_witness_is_refused() {
    all_are_refused("a gap", |history, place| {
        let HistoryEvent::Revision { revision, .. } = &history[place] else { return None };
        let newest = history.iter().rev().find_map(|event| match event {
            HistoryEvent::Revision { revision, .. } => Some(*revision),
            _ => None,
        });
        (newest != Some(*revision)).then(|| {
            let mut wrong = history.to_vec();
            wrong.remove(place);
            wrong
        })
    });
}

#[test]
fn a_history_with_one_event_dropped_from_a_revision_is_refused() {
    all_are_refused("a dropped event", |history, place| {
        let mut wrong = history.to_vec();
        let HistoryEvent::Revision { events, .. } = &mut wrong[place] else { return None };
        if events.len() < 2 {
            return None;
        }
        let mut fewer = events.to_vec();
        fewer.remove(place % events.len());
        *events = fewer.into();
        Some(wrong)
    });
}

#[test]
fn a_linearizable_read_made_stale_is_refused() {
    all_are_refused("a stale read", |history, place| {
        let HistoryEvent::Return { op, outcome: Outcome::Ok(Response::Range(_)) } = &history[place] else {
            return None;
        };
        let invoked =
            history.iter().position(|event| matches!(event, HistoryEvent::Invoke { op: other, .. } if other == op))?;
        let HistoryEvent::Invoke { request: Request::Range(range), .. } = &history[invoked] else { return None };
        if range.serializable {
            return None;
        }
        // It takes the header of the revision before the last one that existed when it began.
        let known = history[..invoked].iter().filter_map(acknowledged_write).map(|(_, revision)| revision).max()?;
        let mut wrong = history.to_vec();
        if let HistoryEvent::Return { outcome: Outcome::Ok(Response::Range(told)), .. } = &mut wrong[place] {
            told.header.as_mut()?.revision = known - 1;
        }
        Some(wrong)
    });
}

#[test]
fn a_value_that_was_never_there_is_refused() {
    all_are_refused("a wrong value", |history, place| {
        let mut wrong = history.to_vec();
        let HistoryEvent::Return { outcome: Outcome::Ok(Response::Range(told)), .. } = &mut wrong[place] else {
            return None;
        };
        told.kvs.first_mut()?.version += 1;
        Some(wrong)
    });
}

#[test]
fn a_write_that_failed_and_took_effect_is_refused() {
    all_are_refused("an aborted write that shows", |history, place| {
        let (_, revision) = acknowledged_write(&history[place])?;
        // What deletes all keys of a lease might have been the end of the lease.
        history.iter().find(|event| match event {
            HistoryEvent::Revision { revision: its, events } => {
                *its == revision && events.iter().any(|event| event.r#type == 0)
            }
            _ => false,
        })?;
        let mut wrong = history.to_vec();
        let HistoryEvent::Return { outcome, .. } = &mut wrong[place] else { return None };
        *outcome = Outcome::Failed(Status::NoLeader);
        Some(wrong)
    });
}

#[test]
fn an_operation_that_happened_twice_is_refused() {
    all_are_refused("a write that happened twice", |history, place| {
        let (_, revision) = acknowledged_write(&history[place])?;
        let newest = history.iter().rev().find_map(|event| match event {
            HistoryEvent::Revision { revision, .. } => Some(*revision),
            _ => None,
        })?;
        let mut event = history.iter().find_map(|event| match event {
            HistoryEvent::Revision { revision: its, events } if *its == revision && events.len() == 1 => {
                events.first().cloned()
            }
            _ => None,
        })?;
        let kv = event.kv.as_mut()?;
        if event.r#type != 0 || kv.lease != 0 || kv.value.len() <= 2 {
            return None;
        }
        let last = history.iter().rev().find_map(|event| match event {
            HistoryEvent::Revision { events, .. } => events
                .iter()
                .rev()
                .find_map(|event| event.kv.clone().filter(|its| its.key == kv.key).map(|its| (event.r#type, its))),
            _ => None,
        })?;
        kv.mod_revision = newest + 1;
        (kv.create_revision, kv.version) =
            if last.0 == 0 { (last.1.create_revision, last.1.version + 1) } else { (newest + 1, 1) };
        let mut wrong = history.to_vec();
        wrong.push(HistoryEvent::Revision { revision: newest + 1, events: [event].into() });
        Some(wrong)
    });
}

#[test]
fn a_million_operations_take_less_than_two_steps_each() {
    let operations = 1_000_000;
    let mut checker = Serializability::new(&CheckConfig::new(1));
    let shape = Shape { operations, unknown_percent: 2, keys: 10, ..shape(1) };
    generate_into(shape, |event| checker.take(&event).expect("a legal history"));
    checker.close().expect("a legal history");
    assert!(checker.steps() > operations / 2, "it did only {} steps", checker.steps());
    assert!(checker.steps() < 2 * operations, "it did {} steps", checker.steps());
}
