//! Spoilt copies of a history that was real: each with one lie that the checkers have to find.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_sim::history::{ClientId, HistoryEvent, OpId, Outcome};
use detcd_tests::recording::{ETCDCTL_CLIENTS, TimedHistory};

/// All of them, each with the name of its lie and the checkers that may be the first to notice.
pub fn all(history: &TimedHistory, with_etcdctl: bool) -> Vec<(&'static str, &'static [&'static str], TimedHistory)> {
    use detcd_sim::check::{leases, serializability, watches};
    const ORDER: &[&str] = &[serializability::NAME];
    const EVENTS: &[&str] = &[watches::NAME];
    // Watchers were told of what the store did, too.
    const STORE: &[&str] = &[serializability::NAME, watches::NAME];
    let anybody = 0..u32::MAX;
    let mut spoilt = vec![
        ("a write that was acknowledged and that the store never did", STORE, without_revision(history)),
        ("an acknowledged write deleted from its client's record", ORDER, without_write(history, anybody.clone())),
        ("a read that was given an old answer", ORDER, with_stale_read(history)),
        ("a read that was given an old value under a new revision", ORDER, with_stale_value(history)),
        ("an event that a watcher did not get", EVENTS, without_watched_event(history, anybody)),
        ("an event that a transaction did not do", STORE, without_event_of_txn(history)),
        ("a lease that was gone before its time", &[leases::NAME], with_lost_lease(history)),
    ];
    if with_etcdctl {
        let lost = without_write(history, ETCDCTL_CLIENTS);
        spoilt.push(("an acknowledged write deleted from the record of etcdctl", ORDER, lost));
        spoilt.push(("an event that etcdctl did not print", EVENTS, without_watched_event(history, ETCDCTL_CLIENTS)));
    }
    spoilt
}

/// The acknowledged put of one of these clients in the middle: its operation and revision.
fn middle_put(history: &TimedHistory, clients: Range<u32>) -> (OpId, i64) {
    let mut ops: BTreeSet<OpId> = BTreeSet::new();
    let mut puts: Vec<(OpId, i64)> = Vec::new();
    for (_, event) in history {
        match event {
            HistoryEvent::Invoke { op, client, .. } if clients.contains(&client.0) => drop(ops.insert(*op)),
            HistoryEvent::Return { op, outcome: Outcome::Ok(Response::Put(put)) } if ops.contains(op) => {
                puts.extend(put.header.map(|header| (*op, header.revision)));
            }
            _ => {}
        }
    }
    *puts.get(puts.len() / 2).expect("something was put")
}

/// The store never did it: later revisions close the gap.
fn without_revision(history: &TimedHistory) -> TimedHistory {
    let (_, lost) = middle_put(history, 0..u32::MAX);
    let mut spoilt = history.clone();
    spoilt.retain(|(_, event)| !matches!(event, HistoryEvent::Revision { revision, .. } if *revision == lost));
    for (_, event) in &mut spoilt {
        if let HistoryEvent::Revision { revision, events } = event
            && *revision > lost
        {
            *revision -= 1;
            for kv in Arc::make_mut(events).iter_mut().filter_map(|event| event.kv.as_mut()) {
                kv.mod_revision -= 1;
                kv.create_revision -= i64::from(kv.create_revision > lost);
            }
        }
    }
    spoilt
}

fn without_write(history: &TimedHistory, clients: Range<u32>) -> TimedHistory {
    let (lost, _) = middle_put(history, clients);
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
                if range.range_end.is_empty() && !range.serializable && range.revision == 0 =>
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

fn without_watched_event(history: &TimedHistory, clients: Range<u32>) -> TimedHistory {
    let of_them = |event: &HistoryEvent| match event {
        HistoryEvent::WatchOpen { watcher, client: ClientId(client), .. } if clients.contains(client) => Some(*watcher),
        _ => None,
    };
    let watchers: BTreeSet<_> = history.iter().filter_map(|(_, event)| of_them(event)).collect();
    // Not the last of its batch: what ends a watcher's view is not missed.
    let of_two = |event: &HistoryEvent| match event {
        HistoryEvent::WatchReceive { watcher, response } => watchers.contains(watcher) && response.events.len() > 1,
        _ => false,
    };
    let places: Vec<usize> = (0..history.len()).filter(|place| of_two(&history[*place].1)).collect();
    let place = *places.get(places.len() / 2).expect("a watcher was told of two events at once");
    let mut spoilt = history.clone();
    if let HistoryEvent::WatchReceive { response, .. } = &mut spoilt[place].1 {
        response.events.remove(0);
    }
    spoilt
}

/// A keepalive that found the lease alive, soon after an earlier one had, is told that it is gone.
fn with_lost_lease(history: &TimedHistory) -> TimedHistory {
    let mut open: BTreeMap<OpId, (u64, i64)> = BTreeMap::new();
    let mut alive_until: BTreeMap<i64, u64> = BTreeMap::new();
    for (place, (at, event)) in history.iter().enumerate() {
        match event {
            HistoryEvent::Invoke { op, request: Request::LeaseGrant(grant), .. } => {
                open.insert(*op, (*at, grant.id));
            }
            HistoryEvent::Invoke { op, request: Request::LeaseKeepAlive(keep), .. } => {
                open.insert(*op, (*at, keep.id));
            }
            HistoryEvent::Return { op, outcome: Outcome::Ok(response) } => {
                let Some((invoked, lease)) = open.remove(op) else { continue };
                let ttl_s = match response {
                    Response::LeaseGrant(told) => told.ttl,
                    Response::LeaseKeepAlive(told) => told.ttl,
                    _ => continue,
                };
                if matches!(response, Response::LeaseKeepAlive(_)) && alive_until.get(&lease) > Some(at) {
                    let mut spoilt = history.clone();
                    if let HistoryEvent::Return { outcome: Outcome::Ok(Response::LeaseKeepAlive(told)), .. } =
                        &mut spoilt[place].1
                    {
                        told.ttl = 0;
                    }
                    return spoilt;
                }
                let ttl_ns = u64::try_from(ttl_s).expect("a time to live") * 1_000_000_000;
                alive_until.insert(lease, invoked + ttl_ns);
            }
            _ => {}
        }
    }
    panic!("no lease was kept alive twice");
}

fn without_event_of_txn(history: &TimedHistory) -> TimedHistory {
    let mut spoilt = history.clone();
    let middle = spoilt.len() / 2;
    for (_, event) in &mut spoilt[middle..] {
        if let HistoryEvent::Revision { events, .. } = event
            && events.len() > 1
        {
            *events = events[..events.len() - 1].into();
            return spoilt;
        }
    }
    panic!("no transaction wrote two keys");
}
