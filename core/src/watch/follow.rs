//! The cursor, which follows the store and finds out who lags.

use std::collections::VecDeque;

use super::budget::Budget;
use super::window;
use super::{WatchHub, WatcherKey};
use crate::effect::Outputs;
use crate::state_machine::StoreView;
use crate::types::Revision;

/// Room for so many listed watchers is kept for the next event.
const ANNOUNCED_KEPT: usize = 4096;

/// A watcher that has to hear of an event: the cursor has met it, and the watcher's turn to fall behind comes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    revision: Revision,
    is_delete: bool,
    watcher: WatcherKey,
}

impl WatchHub {
    /// Moves the cursor towards the store's revision, and makes laggards of those whose events it meets.
    ///
    /// Finding the watchers of an event only lists them, however many there are; they fall behind in slices, and only
    /// then come those of the next event. Until the last has fallen behind, the cursor does not move on, and no
    /// progress is told.
    pub(super) fn follow(&mut self, view: &StoreView, budget: &mut Budget, out: &mut Outputs) {
        loop {
            self.announce_some(budget);
            if budget.is_spent() || self.has_arrived() {
                break;
            }
            match self.meeting.next() {
                Some(place) => {
                    self.find(place);
                    budget.spend_events(1);
                }
                None => self.move_on(view, out),
            }
        }
        if !self.announced.is_empty() {
            out.mark("watch: an event has more watchers than a slice of work");
        }
    }

    /// Moves the cursor to the next revision that has events, or to where it can see that there are none.
    fn move_on(&mut self, view: &StoreView, out: &mut Outputs) {
        let first = self.cursor + 1;
        if first < view.compacted() {
            out.mark("watch: the store jumped over a compaction");
            return self.skip_compacted(view.compacted());
        }
        if !self.live.covers(first) {
            self.live.load(view, first);
        }
        let met = self.live.revision_from(first);
        self.cursor = self.live.events()[met.clone()].first().map_or(self.live.last(), |told| {
            window::revision_of(told.event()) // The same for all that are met.
        });
        self.meeting = met;
    }

    /// Lists the synced watchers of an event of the live window.
    fn find(&mut self, place: usize) {
        let WatchHub { live, interests, announced, .. } = self;
        let event = live.events()[place].event();
        let (revision, is_delete) = (window::revision_of(event), window::is_delete(event));
        interests.waiting_for(window::key_of(event), &mut |watcher| {
            announced.push_back(Announced { revision, is_delete, watcher });
        });
    }

    /// Makes laggards of those that are listed, if they are still there and synced and want the event, until the budget
    /// is spent.
    fn announce_some(&mut self, budget: &mut Budget) {
        while !budget.is_spent()
            && let Some(Announced { revision, is_delete, watcher: key }) = self.announced.pop_front()
        {
            budget.spend_events(1);
            if let Some(watcher) = self.watchers.get_mut(&key)
                && !watcher.lagging
                && revision >= watcher.next
                && !watcher.filters(is_delete)
            {
                watcher.next = revision;
                self.fall_behind(key);
            }
        }
        if self.announced.is_empty() && self.announced.capacity() > ANNOUNCED_KEPT {
            self.announced = VecDeque::new();
        }
    }

    /// Moves the cursor over revisions that it can no longer read: whoever had to see one of them lags now, and will be
    /// canceled in its turn.
    fn skip_compacted(&mut self, compacted: Revision) {
        let first = self.cursor + 1;
        let lost: Vec<_> = self
            .watchers
            .iter_mut()
            .filter(|(_, watcher)| !watcher.lagging && watcher.next < compacted)
            .map(|(key, watcher)| {
                watcher.next = watcher.next.max(first);
                *key
            })
            .collect();
        for key in lost {
            self.fall_behind(key);
        }
        self.cursor = compacted - 1;
    }

    /// A synced watcher lags from now on, at its `next`.
    fn fall_behind(&mut self, key: WatcherKey) {
        let watcher = self.watchers.get_mut(&key).expect("the watcher exists");
        watcher.lagging = true;
        self.interests.lag(&watcher.range, key);
        self.streams.get_mut(&key.stream).expect("a watcher's stream is open").lagging.insert(key.id);
        self.refresh(key.stream);
    }
}
