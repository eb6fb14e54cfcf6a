//! The turns in which those who lag behind the cursor are served.

use prost::Message;

use super::budget::Budget;
use super::stream::Watcher;
use super::window::{self, Window};
use super::{NO_WATCHER, SharedEvent, WatchHub, WatchMessage, WatcherKey, response};
use crate::effect::{Effect, Outputs};
use crate::proto::etcdserverpb::{ResponseHeader, WatchResponse};
use crate::state_machine::StoreView;
use crate::types::{Revision, StreamId};

/// What a laggard's turn gives it.
struct Gathered {
    events: Vec<SharedEvent>,
    /// It has everything up to here, with these events.
    through: Revision,
    /// How many events were looked at.
    examined: usize,
}

impl WatchHub {
    /// A laggard whose `next` is behind the cursor is synced again.
    fn catch_up(&mut self, key: WatcherKey) {
        let watcher = self.watchers.get_mut(&key).expect("the watcher exists");
        watcher.lagging = false;
        self.interests.wait(&watcher.range, key);
        self.streams.get_mut(&key.stream).expect("a watcher's stream is open").lagging.remove(key.id);
    }

    /// Gives turns to the streams that have credit and something pending, until the budget is spent.
    pub(super) fn deliver(
        &mut self,
        view: &StoreView,
        header: &ResponseHeader,
        budget: &mut Budget,
        out: &mut Outputs,
    ) {
        let mut idle = 0;
        while !budget.is_spent() && idle < self.ready.len() {
            let stream = self.ready.turn().expect("somebody is ready");
            let mut batch = Vec::new();
            let moved = self.serve(stream, view, header, budget, out, &mut batch);
            idle = if moved { 0 } else { idle + 1 };
            if !batch.is_empty() {
                out.effects.push(Effect::Push { stream, batch });
            }
            self.refresh(stream);
        }
    }

    /// One turn of a stream: about one batch of responses, as long as there is credit. Returns whether it moved on.
    fn serve(
        &mut self,
        stream: StreamId,
        view: &StoreView,
        header: &ResponseHeader,
        budget: &mut Budget,
        out: &mut Outputs,
        batch: &mut Vec<WatchMessage>,
    ) -> bool {
        let has_arrived = self.has_arrived();
        let mut turn_bytes = 0;
        let mut moved = false;
        while turn_bytes < self.batch_bytes && !budget.is_spent() && self.streams[&stream].credit > 0 {
            let old = batch.len();
            let state = self.streams.get_mut(&stream).expect("a stream with a turn is open");
            if let Some(reply) = state.control.pop_front() {
                batch.push(reply.into());
            } else if let Some(id) = state.lagging.turn() {
                self.advance(WatcherKey { stream, id }, view, header, budget, out, batch);
            } else if has_arrived && state.is_pending() {
                self.tell_progress(stream, header, batch);
            } else {
                break;
            }
            moved = true;
            let bytes: usize = batch[old..].iter().map(Message::encoded_len).sum();
            turn_bytes += bytes;
            budget.spend_bytes(bytes);
            let state = self.streams.get_mut(&stream).expect("a stream with a turn is open");
            state.credit = state.credit.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
            if state.credit <= 0 && state.is_pending() {
                out.mark("watch: waits for credit");
            }
        }
        moved
    }

    /// One step of a laggard: its next events, or its end if they are compacted away, or nothing but a new position.
    fn advance(
        &mut self,
        key: WatcherKey,
        view: &StoreView,
        header: &ResponseHeader,
        budget: &mut Budget,
        out: &mut Outputs,
        batch: &mut Vec<WatchMessage>,
    ) {
        let watcher = self.watchers.get_mut(&key).expect("a laggard exists");
        assert!(watcher.lagging && watcher.next <= self.cursor, "a laggard is behind the cursor");
        if watcher.next < view.compacted() {
            self.forget(key);
            out.mark("watch: canceled because its position is compacted");
            let compact_revision = view.compacted();
            let canceled = WatchResponse { canceled: true, compact_revision, ..response(header, 0, key.id) };
            batch.push(canceled.into());
            return;
        }
        let window = if self.live.covers(watcher.next) {
            &self.live
        } else {
            if !self.history.covers(watcher.next) {
                out.mark("watch: caught up from history");
                self.history.load(view, watcher.next);
                budget.spend_events(self.history.len());
            }
            &self.history
        };
        // Beyond its credit a stream gets the rest of a revision, and no other.
        let credit = self.streams[&key.stream].credit;
        let bytes_max = self.batch_bytes.min(usize::try_from(credit).unwrap_or(0));
        let gathered = gather(watcher, window, self.cursor, bytes_max, view);
        budget.spend_events(1 + gathered.examined);
        assert!(gathered.through >= watcher.next, "a turn moves a laggard");
        assert!(gathered.through <= self.cursor, "nobody overtakes the cursor");
        watcher.next = gathered.through + 1;
        let is_synced = watcher.next > self.cursor;
        if !gathered.events.is_empty() {
            watcher.quiet = false;
            let whole = WatchMessage::new(response(header, gathered.through, key.id), gathered.events);
            let limit = if watcher.fragment { self.fragment_bytes } else { usize::MAX };
            whole.cut(limit, batch);
            self.streams.get_mut(&key.stream).expect("the stream is open").progress_due.remove(&key.id);
        }
        if is_synced {
            self.catch_up(key);
        }
    }

    /// Tells progress, of one watcher or of the stream, when nobody lags: what is claimed is sent.
    fn tell_progress(&mut self, stream: StreamId, header: &ResponseHeader, batch: &mut Vec<WatchMessage>) {
        assert!(self.has_arrived(), "progress is told when the cursor has arrived");
        let state = self.streams.get_mut(&stream).expect("a stream with a turn is open");
        assert!(state.control.is_empty() && state.lagging.is_empty(), "progress is told behind all else");
        if let Some(id) = state.progress_due.pop_first() {
            let watcher = &self.watchers[&WatcherKey { stream, id }];
            assert!(!watcher.lagging, "only a synced watcher has made progress");
            if watcher.start <= self.head {
                batch.push(response(header, self.head, id).into());
            }
        } else {
            state.progress_asked = false;
            if state.watchers > 0 && !state.waits_for_the_future(self.head) {
                batch.push(response(header, self.head, NO_WATCHER).into());
            }
        }
    }
}

/// The events that a laggard gets from a window, in whole revisions, up to the cursor or about `bytes_max`.
fn gather(watcher: &Watcher, window: &Window, cursor: Revision, bytes_max: usize, view: &StoreView) -> Gathered {
    let mut gathered = Gathered { events: Vec::new(), through: window.last().min(cursor), examined: 0 };
    let (mut bytes, mut current) = (0, 0);
    for told in window.since(watcher.next) {
        let revision = window::revision_of(told.event());
        if revision > gathered.through {
            break;
        }
        gathered.examined += 1;
        if !watcher.wants(told.event()) {
            continue;
        }
        if revision != current && bytes >= bytes_max {
            gathered.through = revision - 1;
            break;
        }
        current = revision;
        let event = window.shared(told, watcher.prev_kv, view);
        bytes += event.field_len();
        gathered.events.push(event);
    }
    gathered
}
