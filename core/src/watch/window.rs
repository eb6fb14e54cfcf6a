//! A piece of history, read once for all the watchers that need it.

use std::cell::{Cell, OnceCell};
use std::ops::Range;

use super::message::SharedEvent;
use crate::proto::mvccpb::event::EventType;
use crate::proto::mvccpb::{Event, KeyValue};
use crate::state_machine::StoreView;
use crate::types::Revision;

/// A window has at most this many revisions, and so has a response: etcd's batch in a catch-up (contract, section 1.2).
const WINDOW_REVISIONS_MAX: usize = 1000;
/// A window ends with the revision that makes it this long, in bytes of events.
const WINDOW_BYTES: usize = 256 << 10;

/// Events with previous values are kept for all their watchers as long as they are not longer than this together.
const PREVIOUS_BYTES_MAX: usize = 2 * WINDOW_BYTES;

/// The events of the revisions `first..=last`, whole. What it holds stays true for ever: history does not change, and
/// whoever reads it has asked first whether it is compacted away.
#[derive(Debug, Default)]
pub(super) struct Window {
    first: Revision,
    last: Revision,
    events: Vec<Told>,
    /// How many bytes of events with previous values are kept.
    previous_bytes: Cell<usize>,
}

/// An event of a window, in the forms in which watchers are told it.
#[derive(Debug)]
pub(super) struct Told {
    bare: SharedEvent,
    /// With the previous value; made when the first watcher wants it.
    with_previous: OnceCell<SharedEvent>,
}

impl Told {
    fn new(event: Event) -> Told {
        Told { bare: SharedEvent::new(bare(event)), with_previous: OnceCell::new() }
    }

    /// The event, without a previous value.
    pub fn event(&self) -> &Event {
        self.bare.event()
    }

    /// The event as it goes to a watcher, with the previous value or not; kept for the others of its window, as long as
    /// those that are kept, in bytes, are not too many.
    fn shared(&self, prev_kv: bool, view: &StoreView, kept_bytes: &Cell<usize>) -> SharedEvent {
        // Who comes when the previous value is compacted away does not get it, whoever got it before.
        let was_compacted = revision_of(self.event()) <= view.compacted();
        if !prev_kv || is_create(self.event()) || was_compacted {
            return self.bare.clone();
        }
        if let Some(with_previous) = self.with_previous.get() {
            return with_previous.clone();
        }
        let mut event = self.event().clone();
        event.prev_kv = event.kv.as_ref().and_then(|kv| view.value_before(&kv.key, kv.mod_revision));
        let with_previous = SharedEvent::new(event);
        let bytes = kept_bytes.get() + with_previous.field_len();
        if bytes <= PREVIOUS_BYTES_MAX && self.with_previous.set(with_previous.clone()).is_ok() {
            kept_bytes.set(bytes);
        }
        with_previous
    }
}

impl Window {
    /// Whether the revision is in it.
    pub fn covers(&self, revision: Revision) -> bool {
        revision >= self.first && revision <= self.last
    }

    /// Its last revision.
    pub fn last(&self) -> Revision {
        self.last
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Its events.
    pub fn events(&self) -> &[Told] {
        &self.events
    }

    /// The places of the events of the first revision from `first` on that has some; none if none has.
    pub fn revision_from(&self, first: Revision) -> Range<usize> {
        let rest = self.since(first);
        let start = self.events.len() - rest.len();
        let of_first = rest.chunk_by(|a, b| revision_of(a.event()) == revision_of(b.event())).next();
        start..start + of_first.map_or(0, <[Told]>::len)
    }

    /// One of its events as it goes to a watcher, with the previous value or not.
    pub fn shared(&self, told: &Told, prev_kv: bool, view: &StoreView) -> SharedEvent {
        told.shared(prev_kv, view, &self.previous_bytes)
    }

    /// The events of its revisions from `first` on.
    pub fn since(&self, first: Revision) -> &[Told] {
        let skip = self.events.partition_point(|told| revision_of(told.event()) < first);
        &self.events[skip..]
    }

    /// Reads it anew, from `first`, which must be readable, as far as its limits and the store's revision allow.
    pub fn load(&mut self, view: &StoreView, first: Revision) {
        assert!(first >= view.compacted(), "compacted events are not read");
        assert!(first <= view.revision(), "the future is not read");
        self.events.clear();
        self.previous_bytes.set(0);
        self.first = first;
        self.last = view.revision();
        let (mut current, mut revisions, mut bytes) = (0, 0, 0);
        for event in view.events_since(first) {
            let revision = revision_of(&event);
            assert!(revision >= current.max(first), "events come in order");
            if revision != current {
                if revisions == WINDOW_REVISIONS_MAX || bytes >= WINDOW_BYTES {
                    self.last = revision - 1;
                    break;
                }
                current = revision;
                revisions += 1;
            }
            let told = Told::new(event);
            bytes += told.bare.field_len();
            self.events.push(told);
        }
    }
}

/// The revision of an event.
pub(super) fn revision_of(event: &Event) -> Revision {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}

/// The key of an event.
pub(super) fn key_of(event: &Event) -> &[u8] {
    event.kv.as_ref().map_or(&[], |kv| &kv.key)
}

/// Whether an event deletes its key.
pub(super) fn is_delete(event: &Event) -> bool {
    event.r#type == EventType::Delete as i32
}

/// Whether an event puts a key that was absent, so that there is no previous value.
pub(super) fn is_create(event: &Event) -> bool {
    !is_delete(event) && event.kv.as_ref().is_some_and(|kv| kv.create_revision == kv.mod_revision)
}

/// An event as a client gets it: a deletion has key and revision only, and nothing has a previous value unless the
/// watcher asked for it (contract, section 1.2).
fn bare(mut event: Event) -> Event {
    event.prev_kv = None;
    if is_delete(&event) {
        let revision = revision_of(&event);
        let key = event.kv.take().map(|kv| kv.key).unwrap_or_default();
        event.kv = Some(KeyValue { key, mod_revision: revision, ..KeyValue::default() });
    }
    event
}
