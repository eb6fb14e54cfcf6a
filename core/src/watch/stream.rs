//! One watch stream and one watcher: what the hub remembers of them. Nothing here grows with the events.

use std::collections::{BTreeSet, VecDeque};

use super::round_robin::RoundRobin;
use super::window;
use crate::proto::etcdserverpb::WatchResponse;
use crate::proto::mvccpb::Event;
use crate::state_machine::KeyRange;
use crate::time::Instant;
use crate::types::Revision;

/// The number of a watcher within its stream.
pub(super) type WatchId = i64;

/// A client's watch stream.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Bytes of responses that the driver can take. Negative after the batch that overdrew it.
    pub credit: i64,
    /// Created and canceled replies, which go before all events that are still to come.
    pub control: VecDeque<WatchResponse>,
    /// The first id that the next watcher without an id of its own may get.
    pub next_id: WatchId,
    /// How many watchers it has.
    pub watchers: u64,
    /// Watchers whose next event exists already.
    pub lagging: RoundRobin<WatchId>,
    /// Watchers that start at a revision that was in the future when they were created; pruned when looked at.
    pub future: BTreeSet<(Revision, WatchId)>,
    /// The client asked for the progress of the whole stream.
    pub progress_asked: bool,
    /// Watchers that asked for progress notifications.
    pub notified: BTreeSet<WatchId>,
    /// Those of them that are owed one.
    pub progress_due: BTreeSet<WatchId>,
    /// When progress notifications are due next; nothing without `notified`.
    pub tick: Option<Instant>,
}

impl Stream {
    /// Whether there is something to send, or to find out, once there is credit.
    pub fn is_pending(&self) -> bool {
        !self.control.is_empty() || !self.lagging.is_empty() || self.progress_asked || !self.progress_due.is_empty()
    }

    /// Whether a watcher of the stream starts after `revision`: no progress is told then, as in etcd 3.7.
    pub fn waits_for_the_future(&mut self, revision: Revision) -> bool {
        while let Some(&(start, _)) = self.future.first()
            && start <= revision
        {
            self.future.pop_first();
        }
        !self.future.is_empty()
    }

    /// Forgets a watcher in all its lists.
    pub fn forget(&mut self, id: WatchId, start: Revision) {
        self.watchers -= 1;
        self.lagging.remove(id);
        self.future.remove(&(start, id));
        self.notified.remove(&id);
        self.progress_due.remove(&id);
    }
}

/// A watcher: a position, never a buffer.
#[derive(Debug)]
pub(super) struct Watcher {
    /// What it watches.
    pub range: KeyRange,
    /// The `start_revision` of its creation; 0 for "from now on".
    pub start: Revision,
    /// If it lags: everything of its range before this revision was sent, from its start on, and nothing else. If it is
    /// synced: the same holds for the hub's cursor, and nothing before `next` is its business.
    pub next: Revision,
    /// Whether an event that it has to get may be behind the cursor already.
    pub lagging: bool,
    /// No puts.
    pub no_put: bool,
    /// No deletions.
    pub no_delete: bool,
    /// With previous values.
    pub prev_kv: bool,
    /// Long responses may be cut in pieces.
    pub fragment: bool,
    /// Whether it got no events since the last progress tick.
    pub quiet: bool,
}

impl Watcher {
    /// Whether the watcher gets this event, if it is not too old for it.
    pub fn wants(&self, event: &Event) -> bool {
        !self.filters(window::is_delete(event)) && self.range.contains(window::key_of(event))
    }

    /// Whether the watcher does without deletions, or without puts.
    pub fn filters(&self, is_delete: bool) -> bool {
        if is_delete { self.no_delete } else { self.no_put }
    }
}
