//! A sequential etcd, written from the contract alone and sharing no code with the core: what the store held at each
//! revision, as the witness told, and what a request would have done there.
//!
//! Sources: etcd contract, sections 1.1 (KV) and 1.2 (fields of events).

mod execute;
mod keys;
mod validate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use detcd_core::proto::mvccpb::{Event, KeyValue, event::EventType};
use detcd_core::types::Revision;

use crate::index_key::IndexKey;
pub(crate) use execute::{Refused, execute, has_effect};
pub(crate) use keys::KeyRange;
pub(crate) use validate::defects;

/// The compacted revision of a store that was never compacted; etcd's own sentinel.
pub(crate) const NEVER_COMPACTED: Revision = -1;

/// A key from one revision on, until its next version.
#[derive(Clone, Debug)]
struct Version {
    revision: Revision,
    /// What the revision did, and which of its events made this version.
    events: Arc<[Event]>,
    place: usize,
}

impl Version {
    fn event(&self) -> &Event {
        &self.events[self.place]
    }

    /// `None` for a deleted key.
    fn kv(&self) -> Option<&KeyValue> {
        left_by(self.event())
    }
}

/// What an event leaves of its key: nothing if it deletes it.
fn left_by(event: &Event) -> Option<&KeyValue> {
    event.kv.as_ref().filter(|_| event.r#type() != EventType::Delete)
}

/// A revision, and which of its events.
type Place = (Revision, usize);

/// What a revision did.
#[derive(Debug)]
struct Change {
    events: Arc<[Event]>,
    /// What made the version before of the key of the first event, which most of the time is the only one.
    replaced: Option<Place>,
}

impl Change {
    /// Whether the first event is about `key`.
    fn begins_with(&self, key: &[u8]) -> bool {
        self.events.first().and_then(|event| event.kv.as_ref()).is_some_and(|kv| kv.key == key)
    }
}

/// Every revision that may still be asked for.
#[derive(Debug)]
pub(crate) struct Store {
    head: Revision,
    /// Reads at this revision and later ones can be judged.
    floor: Revision,
    keys: BTreeMap<IndexKey, VecDeque<Version>>,
    /// Deleted keys in order of their deletion, to be dropped once the floor has passed it.
    dead: VecDeque<(Revision, Bytes)>,
    /// The revisions from `floor + 1` on.
    changes: VecDeque<Change>,
    /// The keys attached to each lease at the head.
    attached: BTreeMap<i64, BTreeSet<Bytes>>,
}

impl Store {
    /// The empty store, at revision 1 (contract, section 1).
    pub(crate) fn new() -> Store {
        Store {
            head: 1,
            floor: 1,
            keys: BTreeMap::new(),
            dead: VecDeque::new(),
            changes: VecDeque::new(),
            attached: BTreeMap::new(),
        }
    }

    /// The newest revision.
    pub(crate) fn head(&self) -> Revision {
        self.head
    }

    /// The oldest revision whose state is still known.
    pub(crate) fn floor(&self) -> Revision {
        self.floor
    }

    /// The events of `revision`; none if it is unknown, forgotten, or the revision of the empty store.
    pub(crate) fn events(&self, revision: Revision) -> &[Event] {
        self.change(revision).map_or(&[], |change| &change.events[..])
    }

    fn change(&self, revision: Revision) -> Option<&Change> {
        usize::try_from(revision - self.floor - 1).ok().and_then(|place| self.changes.get(place))
    }

    /// What `key` was at `revision`, which must not be older than the floor.
    pub(crate) fn at(&self, key: &[u8], revision: Revision) -> Option<&KeyValue> {
        // Most of those who ask have written the key in the revision after it.
        if let Some(change) = self.change(revision + 1)
            && change.begins_with(key)
        {
            let (replaced, place) = change.replaced?;
            // What was before the floor is only known by its key.
            if let Some(before) = self.change(replaced) {
                return left_by(&before.events[place]);
            }
        }
        self.keys.get(&IndexKey::from(key)).and_then(|versions| version_at(versions, revision))
    }

    /// The keys of `range` that lived at `revision`, in byte order.
    pub(crate) fn range<'a>(
        &'a self,
        range: &'a KeyRange,
        revision: Revision,
    ) -> impl Iterator<Item = &'a KeyValue> + 'a {
        let (start, end) = range.bounds();
        let bounds = (start.map(IndexKey::from), end.map(IndexKey::from));
        self.keys.range(bounds).filter_map(move |(_, versions)| version_at(versions, revision))
    }

    /// The keys attached to `lease` at the head.
    pub(crate) fn attached(&self, lease: i64) -> Option<&BTreeSet<Bytes>> {
        self.attached.get(&lease).filter(|keys| !keys.is_empty())
    }

    /// Takes the next revision from the witness.
    ///
    /// # Errors
    /// Why no etcd could have made this revision, whoever asked for it.
    pub(crate) fn append(&mut self, revision: Revision, events: &Arc<[Event]>) -> Result<(), String> {
        if revision != self.head + 1 {
            return Err(format!("revision {revision} came after revision {}", self.head));
        }
        if events.is_empty() {
            return Err(format!("revision {revision} has no events"));
        }
        let replaced = self.take_event(revision, events, 0)?;
        for place in 1..events.len() {
            self.take_event(revision, events, place)?;
        }
        self.changes.push_back(Change { events: events.clone(), replaced });
        self.head = revision;
        Ok(())
    }

    /// Takes one event of a revision. Gives back what made the version of its key before.
    fn take_event(&mut self, revision: Revision, events: &Arc<[Event]>, place: usize) -> Result<Option<Place>, String> {
        let event = &events[place];
        let Some(kv) = &event.kv else {
            return Err(format!("an event of revision {revision} has no key"));
        };
        let versions = self.keys.entry(IndexKey::from(&kv.key[..])).or_default();
        judge_event(revision, event, kv, versions.back())?;
        let replaced = versions.back().map(|version| (version.revision, version.place));
        let lease_before = versions.back().and_then(Version::kv).map_or(0, |kv| kv.lease);
        let deleted = event.r#type() == EventType::Delete;
        let lease_now = if deleted { 0 } else { kv.lease };
        versions.push_back(Version { revision, events: events.clone(), place });
        while versions.get(1).is_some_and(|next| next.revision <= self.floor) {
            versions.pop_front();
        }
        if deleted {
            self.dead.push_back((revision, kv.key.clone()));
        }
        if lease_before != lease_now {
            self.attach(lease_before, lease_now, &kv.key);
        }
        Ok(replaced)
    }

    fn attach(&mut self, from: i64, to: i64, key: &Bytes) {
        if let Some(keys) = self.attached.get_mut(&from) {
            keys.remove(key);
            if keys.is_empty() {
                self.attached.remove(&from);
            }
        }
        if to != 0 {
            self.attached.entry(to).or_default().insert(key.clone());
        }
    }

    /// Gives up every state older than that of `revision`.
    pub(crate) fn forget_below(&mut self, revision: Revision) {
        while self.floor < revision.min(self.head) {
            self.floor += 1;
            let Some(forgotten) = self.changes.pop_front() else { break };
            for key in forgotten.events.iter().filter_map(|event| event.kv.as_ref()).map(|kv| &kv.key) {
                if let Some(versions) = self.keys.get_mut(&IndexKey::from(&key[..])) {
                    while versions.get(1).is_some_and(|next| next.revision <= self.floor) {
                        versions.pop_front();
                    }
                }
            }
        }
        while self.dead.front().is_some_and(|(revision, _)| *revision <= self.floor) {
            let Some((_, key)) = self.dead.pop_front() else { break };
            let key = IndexKey::from(&key[..]);
            let is_gone = |versions: &VecDeque<Version>| versions.iter().all(|version| version.kv().is_none());
            if self.keys.get(&key).is_some_and(is_gone) {
                self.keys.remove(&key);
            }
        }
    }

    /// Whether `events` on top of the head would be the end of a lease: its keys, all of them, deleted in byte order
    /// (contract, section 1.3 Revoke).
    pub(crate) fn ends_a_lease(&self, events: &[Event]) -> bool {
        let deleted = |event: &Event| match (&event.kv, event.r#type()) {
            (Some(kv), EventType::Delete) => Some(kv.key.clone()),
            _ => None,
        };
        let Some(first) = events.first().and_then(deleted) else { return false };
        let lease = self.at(&first, self.head).map_or(0, |kv| kv.lease);
        let Some(keys) = self.attached(lease) else { return false };
        keys.len() == events.len() && events.iter().zip(keys).all(|(event, key)| deleted(event).as_ref() == Some(key))
    }
}

/// Whether a key whose newest version is `newest` could have had this event at `revision` (contract, sections 1.1 Put
/// and 1.2 DELETE).
fn judge_event(revision: Revision, event: &Event, kv: &KeyValue, newest: Option<&Version>) -> Result<(), String> {
    if newest.is_some_and(|version| version.revision == revision) {
        return Err(format!("revision {revision} has two events of key {}", show(&kv.key)));
    }
    let before = newest.and_then(Version::kv);
    let expected = match event.r#type() {
        EventType::Put => {
            let create_revision = before.map_or(revision, |kv| kv.create_revision);
            let version = before.map_or(0, |kv| kv.version) + 1;
            if (kv.create_revision, kv.mod_revision, kv.version) == (create_revision, revision, version) {
                return Ok(());
            }
            KeyValue { create_revision, mod_revision: revision, version, ..kv.clone() }
        }
        EventType::Delete if before.is_none() => {
            return Err(format!("revision {revision} deletes key {}, which does not exist", show(&kv.key)));
        }
        EventType::Delete => tombstone(&kv.key, revision),
    };
    if *kv != expected {
        return Err(format!("an event of revision {revision} is {}, not {}", show_kv(kv), show_kv(&expected)));
    }
    Ok(())
}

/// What a DELETE event carries: key and revision only (contract, section 1.2).
pub(crate) fn tombstone(key: &Bytes, revision: Revision) -> KeyValue {
    KeyValue { key: key.clone(), mod_revision: revision, ..KeyValue::default() }
}

fn version_at(versions: &VecDeque<Version>, revision: Revision) -> Option<&KeyValue> {
    // Most questions are about the newest two.
    let newest = versions.iter().rev().take(2).find(|version| version.revision <= revision);
    if let Some(version) = newest {
        return version.kv();
    }
    let after = versions.partition_point(|version| version.revision <= revision);
    versions.get(after.checked_sub(1)?)?.kv()
}

/// Bytes for a human, cut at 40.
pub(crate) fn show(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(40)];
    let more = if cut.len() < bytes.len() { "…" } else { "" };
    format!("\"{}\"{more}", cut.escape_ascii())
}

/// A key and its fields for a human.
pub(crate) fn show_kv(kv: &KeyValue) -> String {
    format!(
        "{}={} (create {}, mod {}, version {}, lease {:x})",
        show(&kv.key),
        show(&kv.value),
        kv.create_revision,
        kv.mod_revision,
        kv.version,
        kv.lease
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The event of a key that is written or, if it is there, deleted.
    fn event(key: u8, deletes: bool, revision: Revision, before: Option<&KeyValue>) -> Event {
        let key = Bytes::from(vec![b'k', key]);
        let kind = if deletes && before.is_some() { EventType::Delete } else { EventType::Put };
        let kv = match kind {
            EventType::Delete => tombstone(&key, revision),
            EventType::Put => KeyValue {
                key,
                create_revision: before.map_or(revision, |kv| kv.create_revision),
                mod_revision: revision,
                version: before.map_or(0, |kv| kv.version) + 1,
                ..KeyValue::default()
            },
        };
        Event { r#type: kind.into(), kv: Some(kv), prev_kv: None }
    }

    proptest! {
        #[test]
        fn every_key_is_at_every_revision_what_it_was_then(
            writes in prop::collection::vec(prop::collection::btree_map(0..4u8, any::<bool>(), 1..3), 1..20),
            forgotten in 0..20i64,
        ) {
            let mut store = Store::new();
            let mut states = vec![BTreeMap::<u8, KeyValue>::new(); 2];
            for (revision, write) in (2..).zip(writes) {
                let mut state = states[states.len() - 1].clone();
                let events = write.into_iter().map(|(key, deletes)| {
                    let event = event(key, deletes, revision, state.get(&key));
                    match (event.r#type(), &event.kv) {
                        (EventType::Put, Some(kv)) => drop(state.insert(key, kv.clone())),
                        _ => drop(state.remove(&key)),
                    }
                    event
                });
                prop_assert_eq!(store.append(revision, &events.collect::<Vec<Event>>().into()), Ok(()));
                states.push(state);
            }
            store.forget_below(forgotten);
            for revision in store.floor()..=store.head() {
                for key in 0..4 {
                    let was = states[usize::try_from(revision).expect("it is small")].get(&key);
                    prop_assert_eq!(store.at(&[b'k', key], revision), was, "k{} at {}", key, revision);
                }
            }
        }
    }
}
