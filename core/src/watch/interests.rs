//! Who waits for which key: finds the synced watchers of an event without looking at the others.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::WatcherKey;
use super::span::Span;
use super::span_map::SpanMap;
use crate::state_machine::KeyRange;

/// The ranges of all watchers, and who of their watchers is synced.
#[derive(Debug, Default)]
pub(super) struct Interests {
    keys: BTreeMap<Bytes, Interest>,
    spans: SpanMap<Interest>,
}

/// The watchers of one range.
#[derive(Debug, Default)]
struct Interest {
    /// How many there are, synced or not; the range stays as long as it has one.
    watchers: u64,
    /// Those that wait for the next event.
    synced: BTreeSet<WatcherKey>,
}

impl Interests {
    /// Adds a watcher of `range`, not synced yet.
    pub fn add(&mut self, range: &KeyRange) {
        let interest = match Span::of(range) {
            None => self.keys.entry(range.start().clone()).or_default(),
            Some(span) => self.spans.get_or_insert(span),
        };
        interest.watchers += 1;
    }

    /// Takes out a watcher of `range`, synced or not.
    pub fn remove(&mut self, range: &KeyRange, watcher: WatcherKey) {
        let interest = self.interest(range);
        interest.synced.remove(&watcher);
        interest.watchers -= 1;
        if interest.watchers == 0 {
            assert!(interest.synced.is_empty(), "only watchers of a range are synced in it");
            match Span::of(range) {
                None => drop(self.keys.remove(range.start())),
                Some(span) => self.spans.remove(&span),
            }
        }
    }

    /// A watcher of `range` waits for the next event from now on.
    pub fn wait(&mut self, range: &KeyRange, watcher: WatcherKey) {
        let fresh = self.interest(range).synced.insert(watcher);
        assert!(fresh, "a watcher that waits does not begin to wait");
    }

    /// A watcher of `range` waits no more: it lags behind.
    pub fn lag(&mut self, range: &KeyRange, watcher: WatcherKey) {
        let waited = self.interest(range).synced.remove(&watcher);
        assert!(waited, "only a watcher that waits can fall behind");
    }

    /// Tells `found` the synced watchers whose range contains `key`.
    pub fn waiting_for(&self, key: &[u8], found: &mut impl FnMut(WatcherKey)) {
        if let Some(interest) = self.keys.get(key) {
            interest.synced.iter().copied().for_each(&mut *found);
        }
        self.spans.containing(key, &mut |interest| interest.synced.iter().copied().for_each(&mut *found));
    }

    fn interest(&mut self, range: &KeyRange) -> &mut Interest {
        match Span::of(range) {
            None => self.keys.get_mut(range.start()),
            Some(span) => self.spans.get_mut(&span),
        }
        .expect("a watcher's range is known")
    }
}
