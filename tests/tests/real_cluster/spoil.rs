//! Spoilt copies of a history that was real: each with one lie that the checkers have to find.

use std::collections::BTreeMap;

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_sim::history::{HistoryEvent, OpId, Outcome};
use detcd_tests::recording::TimedHistory;

use crate::judge::header;

/// All of them, each with the name of its lie.
pub fn all(history: &TimedHistory) -> Vec<(&'static str, TimedHistory)> {
    vec![
        ("a write that was acknowledged and that the store never did", without_revision(history)),
        ("an acknowledged write deleted from the record of its client", without_write(history)),
        ("a read that was given an old answer", with_stale_read(history)),
        ("a read that was given an old value under a new revision", with_stale_value(history)),
        ("an event that a watcher did not get", without_watched_event(history)),
        ("an event that a transaction did not do", without_event_of_txn(history)),
    ]
}

/// The acknowledged put in the middle: its operation and revision.
fn middle_put(history: &TimedHistory) -> (OpId, i64) {
    let puts: Vec<(OpId, i64)> = history
        .iter()
        .filter_map(|(_, event)| match event {
            HistoryEvent::Return { op, outcome: Outcome::Ok(response @ Response::Put(_)) } => {
                header(response).map(|header| (*op, header.revision))
            }
            _ => None,
        })
        .collect();
    *puts.get(puts.len() / 2).expect("something was put")
}

/// The store never did it: later revisions close the gap.
fn without_revision(history: &TimedHistory) -> TimedHistory {
    let (_, lost) = middle_put(history);
    let mut spoilt = history.clone();
    spoilt.retain(|(_, event)| !matches!(event, HistoryEvent::Revision { revision, .. } if *revision == lost));
    for (_, event) in &mut spoilt {
        if let HistoryEvent::Revision { revision, events } = event
            && *revision > lost
        {
            *revision -= 1;
            for kv in events.iter_mut().filter_map(|event| event.kv.as_mut()) {
                kv.mod_revision -= 1;
                kv.create_revision -= i64::from(kv.create_revision > lost);
            }
        }
    }
    spoilt
}

fn without_write(history: &TimedHistory) -> TimedHistory {
    let (lost, _) = middle_put(history);
    let mut spoilt = history.clone();
    spoilt.retain(|(_, event)| match event {
        HistoryEvent::Invoke { op, .. } | HistoryEvent::Return { op, .. } => *op != lost,
        _ => true,
    });
    spoilt
}

/// Two reads of one key, with different values: the place of the later one's answer, and the earlier one's answer.
fn two_reads(history: &TimedHistory) -> (usize, Response) {
    let mut open: BTreeMap<OpId, (Bytes, bool)> = BTreeMap::new();
    let mut first: BTreeMap<Bytes, Response> = BTreeMap::new();
    let middle = history.len() / 2;
    for (place, (_, event)) in history.iter().enumerate() {
        match event {
            HistoryEvent::Invoke { op, request: Request::Range(range), .. }
                if range.range_end.is_empty() && !range.serializable =>
            {
                // A read that began after the earlier answer, and after the newer value was known to be there.
                let known = first.contains_key(&range.key);
                open.insert(*op, (range.key.clone(), known));
            }
            HistoryEvent::Return { op, outcome: Outcome::Ok(response @ Response::Range(range)) } => {
                let Some((key, known)) = open.remove(op) else { continue };
                match first.get(&key) {
                    Some(Response::Range(old)) if known && place > middle && old.kvs != range.kvs => {
                        return (place, Response::Range(old.clone()));
                    }
                    Some(_) => {}
                    None => {
                        first.insert(key, response.clone());
                    }
                }
            }
            _ => {}
        }
    }
    panic!("no key was read twice with different values");
}

fn with_stale_read(history: &TimedHistory) -> TimedHistory {
    let (place, old) = two_reads(history);
    let mut spoilt = history.clone();
    if let HistoryEvent::Return { outcome, .. } = &mut spoilt[place].1 {
        *outcome = Outcome::Ok(old);
    }
    spoilt
}

fn with_stale_value(history: &TimedHistory) -> TimedHistory {
    let (place, old) = two_reads(history);
    let mut spoilt = history.clone();
    if let HistoryEvent::Return { outcome: Outcome::Ok(Response::Range(range)), .. } = &mut spoilt[place].1
        && let Response::Range(old) = old
    {
        range.kvs = old.kvs;
        range.count = old.count;
    }
    spoilt
}

fn without_watched_event(history: &TimedHistory) -> TimedHistory {
    let mut spoilt = history.clone();
    let middle = spoilt.len() / 2;
    for (_, event) in &mut spoilt[middle..] {
        // Not the last of its batch: what ends a watcher's view is not missed.
        if let HistoryEvent::WatchReceive { response, .. } = event
            && response.events.len() > 1
        {
            response.events.remove(0);
            return spoilt;
        }
    }
    panic!("no watcher was told of two events at once");
}

fn without_event_of_txn(history: &TimedHistory) -> TimedHistory {
    let mut spoilt = history.clone();
    let middle = spoilt.len() / 2;
    for (_, event) in &mut spoilt[middle..] {
        if let HistoryEvent::Revision { events, .. } = event
            && events.len() > 1
        {
            events.pop();
            return spoilt;
        }
    }
    panic!("no transaction wrote two keys");
}
