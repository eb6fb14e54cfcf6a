//! The cursor, which follows the store and finds out who lags.

use super::budget::Budget;
use super::window;
use super::{WatchHub, WatcherKey};
use crate::effect::Outputs;
use crate::proto::mvccpb::Event;
use crate::state_machine::StoreView;
use crate::types::Revision;

impl WatchHub {
    /// Moves the cursor towards the store's revision, and makes laggards of those whose events it meets.
    pub(super) fn follow(&mut self, view: &StoreView, budget: &mut Budget, out: &mut Outputs) {
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
            let events = window.since(first);
            for revision in events.chunk_by(|a, b| window::revision_of(a) == window::revision_of(b)) {
                if budget.is_spent() {
                    break;
                }
                for event in revision {
                    let found = self.announce(event);
                    budget.spend_events(1 + found);
                }
                self.cursor = window::revision_of(&revision[0]);
            }
            if !budget.is_spent() {
                self.cursor = window.last();
            }
            self.live = window;
        }
    }

    /// Makes laggards of the synced watchers that want an event. Returns how many watchers were looked at.
    fn announce(&mut self, event: &Event) -> usize {
        let revision = window::revision_of(event);
        let mut waiting = Vec::new();
        self.interests.waiting_for(window::key_of(event), &mut waiting);
        for &key in &waiting {
            let watcher = self.watchers.get_mut(&key).expect("who waits exists");
            if revision >= watcher.next && watcher.wants(event) {
                watcher.next = revision;
                self.fall_behind(key);
            }
        }
        waiting.len()
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
