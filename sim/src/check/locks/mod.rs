//! Locks: who is told to own one owns it, alone and in its turn, and cannot act on it for ever (LOCK).
//!
//! Rules and their sources. A lock is a prefix; whoever wants it creates a key below it, with a lease of its own; the
//! owner is the key with the smallest create revision (contract, section 1.7).
//! * **Dead leases.** Nobody comes to own a lock by a request that was made after its lease had ended, or after its key
//!   was gone (etcd 11456). What ends while the answer is on its way is not that: nobody can know of it.
//! * **Order.** When a worker is told that it owns a lock, no key that was created before its own is left. Keys get
//!   their create revisions in order, so one that is first stays first, and nobody overtakes.
//! * **Exclusion.** Between the answer that gives somebody the lock and the moment at which that owner's lease may have
//!   ended by the fastest legal clock (counted from the invocation of its last acknowledged renewal, as in
//!   [`super::leases`]), or at which the owner itself asks to give it back (the deletion of its key, or of the key that
//!   was created when its own was), nobody else is told that it owns it. Two
//!   keys that one revision creates below one prefix would both be first. Etcd promises no more: an owner that stands
//!   still for longer than its lease lives goes on as if it owned the lock, while another one does. So whoever is told
//!   late, when its own lease may have ended, takes nothing from the one who came after it.
//! * **Fencing.** What an owner does under the condition that its key still has its create revision is done while that
//!   key is the first below the prefix, or not at all: a former owner's writes do not succeed once another one owns the
//!   lock, whatever it believes.
//!
//! Who asks a member's lock service owns a lock by what the member asked for it. So it is judged by the requests of the
//! conversation, which is a client of its own in the history, and not by when it began to wait for the service.
//!
//! Who looks on is judged by `leading.rs`: what an election service tells of the owner was so, and nothing that an
//! observer has to know is left out. What an owner proclaims changes the key that it owns by, and no later one of the
//! same name.
//!
//! A key below a lock's prefix is a session's until its lease ends; that it goes with the lease and not before is for
//! [`super::leases`] and [`super::serializability`].

mod leading;
mod resigning;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use detcd_core::Note;
use detcd_core::api::{Request, Response};
use detcd_core::proto::mvccpb::{Event, KeyValue, event::EventType};
use detcd_core::types::{LogIndex, Revision};

use self::leading::Leading;
use self::resigning::resigned;
use super::leases::scale;
use super::model::show;
use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{ClientId, HistoryEvent, Nanos, OpId, Outcome};
use crate::observe::{LockEvent, Observation, Observed};
use crate::workload::locks::{LooksOn, Mutex};

/// The checker's name.
pub const NAME: &str = "locks";

const PPM: u64 = 1_000_000;
/// How many ends of leases, and of keys below a lock, are remembered: as many as may be news to somebody.
const ENDED_MAX: usize = 10_000;

/// One lock: the keys below its prefix, and who was told to own it.
#[derive(Debug, Default)]
struct Lock {
    /// The keys by their create revisions.
    keys: BTreeMap<Revision, Bytes>,
    created: BTreeMap<Bytes, Revision>,
    /// When keys ended, by their create revisions, newest last.
    ended: VecDeque<(Revision, Nanos)>,
    /// Those that were told to own it and may still do.
    owners: Vec<Owner>,
    /// Who owned it when, and who looks on.
    leading: Leading,
    /// What owners proclaim that may not have happened yet, and at which revision their keys were created.
    proclaimed: BTreeMap<Bytes, Revision>,
    /// What owners write that may not have happened yet, and at which revision their keys were created.
    writes: BTreeMap<Bytes, Revision>,
}

/// Somebody who was told that it owns a lock, and has not given it back.
#[derive(Clone, Debug)]
struct Owner {
    key: Bytes,
    lease: i64,
    created: Revision,
    worker: ClientId,
}

/// What is known of a lease.
#[derive(Clone, Copy, Debug, Default)]
struct Lease {
    /// It cannot have ended before this by any legal clock.
    earliest: Nanos,
    gone: Option<Nanos>,
}

/// A request about a lease that is under way.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Nanos,
    lease: i64,
}

/// Judges locks.
#[derive(Debug)]
pub struct Locks {
    skew_ppm: u64,
    clock_steps: Nanos,
    /// How long it takes at most that an observer is told while everything is quiet.
    settle: Nanos,
    locks: BTreeMap<Bytes, Lock>,
    /// The locks by what they protect.
    guarded: BTreeMap<Bytes, Bytes>,
    leases: BTreeMap<i64, Lease>,
    ended_leases: VecDeque<i64>,
    /// The newest entry by which a lease ended.
    gone_index: LogIndex,
    renewals: BTreeMap<OpId, Asked>,
    /// What the next request writes to what a lock protects: the lock, and the value.
    next_write: Option<(Bytes, Bytes)>,
    writing: BTreeMap<OpId, (Bytes, Bytes)>,
    /// What is compacted.
    compacted: Revision,
    /// When each lock worker, and each conversation for one, asked for something last.
    asked: BTreeMap<ClientId, Nanos>,
}

impl Locks {
    /// A checker for a cluster that starts empty.
    pub fn new(config: &CheckConfig) -> Locks {
        Locks {
            skew_ppm: config.clock_skew_ppm_max,
            clock_steps: config.clock_steps,
            settle: config.settle,
            locks: BTreeMap::new(),
            guarded: BTreeMap::new(),
            leases: BTreeMap::new(),
            ended_leases: VecDeque::new(),
            gone_index: LogIndex(0),
            renewals: BTreeMap::new(),
            next_write: None,
            writing: BTreeMap::new(),
            compacted: 0,
            asked: BTreeMap::new(),
        }
    }

    /// The TTL by the fastest legal clock, if that makes all its jumps meanwhile.
    fn shortest(&self, ttl_s: i64) -> Nanos {
        scale(ttl_s, PPM, PPM + self.skew_ppm).saturating_sub(self.clock_steps)
    }

    fn judge(&mut self, seen: &Observed<'_>) -> Result<(), String> {
        match &seen.what {
            Observation::Stepped { notes, .. } => {
                notes.with_rare().iter().for_each(|note| self.note(seen.at, note));
                Ok(())
            }
            Observation::History(event) => self.history(seen.at, event),
            Observation::Lock(LockEvent::Wants { mutex, worker }) => {
                self.locks.entry(mutex.prefix.clone()).or_default();
                self.guarded.insert(mutex.guarded.clone(), mutex.prefix.clone());
                self.asked.insert(*worker, seen.at);
                Ok(())
            }
            Observation::Lock(LockEvent::Owns { mutex, created, worker }) => {
                self.owns(seen.at, mutex, *created, *worker)
            }
            Observation::Lock(LockEvent::Writes { mutex, created, value }) => {
                let lock = self.locks.entry(mutex.prefix.clone()).or_default();
                lock.writes.insert((*value).clone(), *created);
                self.next_write = Some((mutex.prefix.clone(), (*value).clone()));
                Ok(())
            }
            Observation::Lock(LockEvent::Proclaims { mutex, created, value }) => {
                let lock = self.locks.entry(mutex.prefix.clone()).or_default();
                lock.proclaimed.insert((*value).clone(), *created);
                Ok(())
            }
            Observation::Lock(LockEvent::Proclaimed { mutex, value }) => {
                let lock = self.locks.entry(mutex.prefix.clone()).or_default();
                lock.judge_done(value).map_err(|why| format!("{} {why}", show(&mutex.key)))
            }
            Observation::Lock(LockEvent::LooksOn { mutex, worker }) => {
                self.locks.entry(mutex.prefix.clone()).or_default().leading.asks(seen.at, *worker);
                Ok(())
            }
            Observation::Lock(LockEvent::ToldLeader { mutex, worker, how, leader }) => {
                let leading = &mut self.locks.entry(mutex.prefix.clone()).or_default().leading;
                let told = match (how, leader) {
                    (LooksOn::Observes, Some(leader)) => leading.observed(*worker, leader, self.compacted),
                    (LooksOn::Asks, _) | (_, None) => leading.answered(seen.at, *worker, *leader),
                };
                told.map_err(|why| format!("client {} looks on {}: {why}", worker.0, show(&mutex.prefix)))
            }
            _ => Ok(()),
        }
    }

    /// Everything is quiet, and somebody still observes.
    fn judge_observer(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        let Observation::Lock(LockEvent::StillObserves { mutex, worker }) = &seen.what else { return Ok(()) };
        let lock = self.locks.entry(mutex.prefix.clone()).or_default();
        lock.leading.knows(seen.at, *worker, self.settle).map_err(|why| {
            let detail = format!("client {} looks on {}: {why}", worker.0, show(&mutex.prefix));
            Violation::liveness(NAME, seen.at, detail)
        })
    }

    fn note(&mut self, at: Nanos, note: &Note) {
        let Note::LeaseGone { lease, index } = note else { return };
        if *index <= self.gone_index {
            return;
        }
        self.gone_index = *index;
        self.leases.entry(lease.0).or_default().gone = Some(at);
        self.ended_leases.push_back(lease.0);
        if self.ended_leases.len() > ENDED_MAX
            && let Some(old) = self.ended_leases.pop_front()
        {
            self.leases.remove(&old);
        }
    }

    fn history(&mut self, at: Nanos, event: &HistoryEvent) -> Result<(), String> {
        match event {
            HistoryEvent::Invoke { op, client, request } => self.invoked(at, *op, *client, request),
            HistoryEvent::Return { op, outcome } => self.returned(*op, outcome),
            HistoryEvent::Revision { revision, events } => return self.revision(at, *revision, events),
            HistoryEvent::Compaction { revision } => self.compacted = self.compacted.max(*revision),
            _ => {}
        }
        Ok(())
    }

    fn invoked(&mut self, at: Nanos, op: OpId, client: ClientId, request: &Request) {
        if let Some(asked) = self.asked.get_mut(&client) {
            *asked = at;
        }
        // Whoever asks for it: etcd lets anybody delete a key or revoke a lease.
        let (lease, key) = match request {
            Request::LeaseGrant(grant) => {
                self.renewals.insert(op, Asked { at, lease: grant.id });
                return;
            }
            Request::LeaseKeepAlive(keep) => {
                self.renewals.insert(op, Asked { at, lease: keep.id });
                return;
            }
            Request::LeaseRevoke(revoke) => (Some(revoke.id), None),
            Request::DeleteRange(delete) => (None, Some(&delete.key)),
            Request::Txn(txn) => {
                self.writing.extend(self.next_write.take().map(|write| (op, write)));
                if let Some((key, created)) = resigned(txn) {
                    for lock in self.locks.values_mut() {
                        lock.owners.retain(|owner| owner.key != key || owner.created != created);
                    }
                }
                return;
            }
            _ => return,
        };
        for lock in self.locks.values_mut() {
            lock.owners.retain(|owner| Some(owner.lease) != lease && Some(&owner.key) != key);
        }
    }

    fn returned(&mut self, op: OpId, outcome: &Outcome) {
        if let Some((lock, value)) = self.writing.remove(&op)
            && *outcome != Outcome::Unknown
            && let Some(lock) = self.locks.get_mut(&lock)
        {
            lock.writes.remove(&value);
        }
        let Some(asked) = self.renewals.remove(&op) else { return };
        let (lease, ttl_s) = match outcome {
            Outcome::Ok(Response::LeaseGrant(granted)) => {
                let before = self.leases.entry(granted.id).or_default();
                if before.gone.is_some_and(|gone| gone < asked.at) {
                    // Another life of the same id.
                    *before = Lease::default();
                }
                (granted.id, granted.ttl)
            }
            Outcome::Ok(Response::LeaseKeepAlive(kept)) if kept.ttl > 0 => (asked.lease, kept.ttl),
            _ => return,
        };
        let earliest = asked.at.saturating_add(self.shortest(ttl_s));
        let lease = self.leases.entry(lease).or_default();
        lease.earliest = lease.earliest.max(earliest);
    }

    fn revision(&mut self, at: Nanos, revision: Revision, events: &[Event]) -> Result<(), String> {
        if self.locks.is_empty() {
            return Ok(());
        }
        for event in events {
            let Some(kv) = &event.kv else { continue };
            if event.r#type() == EventType::Put
                && let Some(prefix) = self.guarded.get(&kv.key)
            {
                self.locks[prefix].judge_write(revision, kv)?;
            }
            let Some(lock) = prefix_of(&kv.key).and_then(|prefix| self.locks.get_mut(prefix)) else { continue };
            match event.r#type() {
                EventType::Put => {
                    lock.judge_proclaimed(kv)?;
                    if kv.create_revision == revision {
                        lock.begins(revision, &kv.key)?;
                    }
                }
                EventType::Delete => lock.ends(at, &kv.key),
            }
            lock.leading.changes(at, revision, event.r#type(), kv);
        }
        Ok(())
    }

    /// A worker takes itself for the owner because of what it asked last.
    fn owns(&mut self, at: Nanos, mutex: &Mutex, created: Revision, worker: ClientId) -> Result<(), String> {
        let owner = Owner { key: mutex.key.clone(), lease: mutex.lease, created, worker };
        let asked = self.asked.get(&worker).copied().unwrap_or(at);
        let lease = self.leases.get(&mutex.lease).copied().unwrap_or_default();
        let lock = self.locks.entry(mutex.prefix.clone()).or_default();
        let told = format!("client {} was told that it owns {}", worker.0, show(&mutex.prefix));
        if let Some(gone) = lease.gone.filter(|gone| *gone < asked) {
            let ms = (asked - gone) / PPM;
            return Err(format!(
                "{told} by a request that it made {ms} ms after its lease {:x} had ended",
                mutex.lease
            ));
        }
        lock.judge_key(&owner, asked).map_err(|why| format!("{told}, {why}"))?;
        if let Some((first, key)) = lock.keys.range(..created).next() {
            let key = show(key);
            return Err(format!("{told} by revision {created}, while {key} has been there since revision {first}"));
        }
        // Who may have lost its lease takes nothing from those after it, and those who may have take nothing from it.
        let leases = &self.leases;
        let may_own = |owner: &Owner| leases.get(&owner.lease).is_some_and(|lease| at < lease.earliest);
        lock.owners.retain(|other| may_own(other) || lock.keys.contains_key(&other.created));
        let is_other = |other: &&Owner| (&other.key, other.created) != (&owner.key, owner.created);
        let mut others = lock.owners.iter().filter(|other| is_other(other) && may_own(other));
        if let Some(other) = others.find(|other| other.created < created || at < lease.earliest) {
            let ms = (leases[&other.lease].earliest - at) / PPM;
            let (client, other) = (other.worker.0, other.created);
            let since = format!("client {client} has owned it by revision {other}");
            return Err(format!("{told} by revision {created}, while {since}, and can for {ms} ms more"));
        }
        lock.owners.retain(|other| other.key != owner.key);
        lock.owners.push(owner);
        Ok(())
    }
}

impl Lock {
    fn begins(&mut self, revision: Revision, key: &Bytes) -> Result<(), String> {
        self.created.insert(key.clone(), revision);
        match self.keys.insert(revision, key.clone()) {
            Some(other) if other != *key => {
                let (one, other) = (show(&other), show(key));
                Err(format!("revision {revision} created both {one} and {other}: neither is first"))
            }
            _ => Ok(()),
        }
    }

    fn ends(&mut self, at: Nanos, key: &Bytes) {
        let Some(created) = self.created.remove(key) else { return };
        self.keys.remove(&created);
        self.ended.push_back((created, at));
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }

    /// The key of an owner is there, or was when its owner asked for the answer that it has got.
    fn judge_key(&self, owner: &Owner, asked: Nanos) -> Result<(), String> {
        if self.keys.get(&owner.created) == Some(&owner.key) {
            return Ok(());
        }
        let ended = self.ended.iter().rev().find(|(created, _)| *created == owner.created).map(|(_, at)| *at);
        match ended {
            Some(ended) if ended >= asked => Ok(()),
            Some(ended) => {
                let ms = (asked - ended) / PPM;
                Err(format!("whose key of revision {} had been gone for {ms} ms when it asked", owner.created))
            }
            None => Err(format!("whose key was never created at revision {}", owner.created)),
        }
    }

    /// A key below the lock was written.
    fn judge_proclaimed(&mut self, kv: &KeyValue) -> Result<(), String> {
        let Some(created) = self.proclaimed.remove(&kv.value) else { return Ok(()) };
        if created == kv.create_revision {
            return Ok(());
        }
        let (key, now) = (show(&kv.key), kv.create_revision);
        Err(format!("who owned the lock by revision {created} proclaimed something by {key} of revision {now}"))
    }

    /// An owner was told that it has proclaimed this.
    fn judge_done(&self, value: &Bytes) -> Result<(), String> {
        match self.proclaimed.get(value) {
            Some(created) => Err(format!(
                "of revision {created} was told that it has proclaimed {}, which nobody wrote",
                show(value)
            )),
            None => Ok(()),
        }
    }

    /// An owner's write took effect at a revision.
    fn judge_write(&self, revision: Revision, written: &KeyValue) -> Result<(), String> {
        let Some(created) = self.writes.get(&written.value) else { return Ok(()) };
        let first = self.keys.first_key_value();
        if first.is_some_and(|(first, _)| first == created) {
            return Ok(());
        }
        let owner = first.map_or("nobody".into(), |(first, key)| format!("{} of revision {first}", show(key)));
        let key = show(&written.key);
        Err(format!(
            "revision {revision} wrote {key} for who owned its lock by revision {created}, and {owner} owns it"
        ))
    }
}

/// The part of a key up to its last slash, with it.
fn prefix_of(key: &Bytes) -> Option<&[u8]> {
    let slash = key.iter().rposition(|byte| *byte == b'/')?;
    Some(&key[..=slash])
}

impl Checker for Locks {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::RARE_STEPS.and(Interest::CLIENTS)
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        self.judge(seen).map_err(|detail| Violation::safety(NAME, seen.at, detail))?;
        self.judge_observer(seen)
    }
}

#[cfg(test)]
mod tests;
