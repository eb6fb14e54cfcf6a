//! The cursor, which follows the store and finds out who lags.

use super::budget::Budget;
use super::window::{self, Window};
use super::{WatchHub, WatcherKey};
use crate::effect::Outputs;
use crate::proto::mvccpb::Event;
use crate::state_machine::StoreView;
use crate::types::Revision;

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
    /// Finding the watchers of an event only lists them, however many there are; they fall behind in slices. Until the
    /// last of them has, the cursor does not move on, and no progress is told.
    pub(super) fn follow(&mut self, view: &StoreView, budget: &mut Budget, out: &mut Outputs) {
        self.announce_some(budget);
        while self.cursor < self.head && !budget.is_spent() {
            let first = self.cursor + 1;
            if first < view.compacted() {
                out.mark("watch: the store jumped over a compaction");
                self.skip_compacted(view.compacted());
                continue;
            }
            let mut window = std::mem::take(&mut self.live);
            if !window.covers(first) {
                window.load(view, first);
            }
            self.follow_in(&window, budget);
            self.live = window;
        }
        if !self.announced.is_empty() {
            out.mark("watch: an event has more watchers than a slice of work");
        }
    }

    /// Moves the cursor through a window, by whole revisions, until the budget is spent.
    fn follow_in(&mut self, window: &Window, budget: &mut Budget) {
        let events = window.since(self.cursor + 1);
        for revision in events.chunk_by(|a, b| window::revision_of(a.event()) == window::revision_of(b.event())) {
            if budget.is_spent() {
                return;
            }
            for told in revision {
                self.find(told.event());
                budget.spend_events(1);
            }
            self.cursor = window::revision_of(revision[0].event());
            self.announce_some(budget);
        }
        if !budget.is_spent() {
            self.cursor = window.last();
        }
    }

    /// Lists the synced watchers of an event.
    fn find(&mut self, event: &Event) {
        let (revision, is_delete) = (window::revision_of(event), window::is_delete(event));
        let announced = &mut self.announced;
        self.interests.waiting_for(window::key_of(event), &mut |watcher| {
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
