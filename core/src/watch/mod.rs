//! Per-node delivery of watch events (contract, section 1.2): positions, credit, batches.
//!
//! A watcher is a *position*: the revision up to which it has everything. Events are never queued for it; they are read
//! from the store when there is credit to send them. So a slow client costs nothing but its own delay, a snapshot that
//! replaces the store changes nothing for anybody whose position is still readable, and a position that was compacted
//! away is seen for what it is: the watcher is canceled with the compacted revision, never moved on.
//!
//! The hub follows the store with one cursor. A watcher is *synced* if it has everything up to the cursor; it takes no
//! part in anything until the cursor meets an event of its range, found by an index over keys and spans. Then it
//! *lags*, at that event's revision, and gets its turn: streams with credit in turn, and in a stream its watchers in
//! turn.
//!
//! What clients see, where the contract leaves a choice:
//! - The revision in the header of events is how far that watcher has everything with this response: at least the last
//!   event's, at most the store's, and equal to the store's once it has caught up. etcd names the store's even if more
//!   batches follow; whoever resumes after the header's revision would then miss events.
//! - A progress response is made at the moment it is sent, and only if then no watcher of it lags. A request for
//!   progress that comes while events wait for credit is answered behind them, once for all such requests; etcd
//!   answers it behind the events that it has queued, or not at all. With a watcher that starts in the future, or
//!   without any watcher, there is no answer.
//! - Created and canceled replies wait for credit like everything. A client that has [`CONTROL_REPLIES_MAX`] of them
//!   waiting asks without reading, and its stream is ended with "too many requests". etcd stops reading the client's
//!   requests instead; a driver that hands in no more requests while its own write side is stuck does the same.
//!
//! What this module does *not* know: Raft, leases, permissions, other members.

mod budget;
mod deliver;
mod follow;
mod interests;
mod message;
mod round_robin;
mod span;
mod span_map;
mod stream;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use self::budget::Budget;
pub use self::budget::SLICE_EVENTS;
use self::follow::Announced;
use self::interests::Interests;
pub use self::message::{SharedEvent, WatchMessage};
use self::round_robin::RoundRobin;
use self::stream::{Stream, WatchId, Watcher};
use self::window::Window;
use crate::api::Status;
use crate::effect::{Effect, Outputs};
use crate::proto::etcdserverpb::watch_create_request::FilterType;
use crate::proto::etcdserverpb::watch_request::RequestUnion;
use crate::proto::etcdserverpb::{ResponseHeader, WatchCreateRequest, WatchRequest, WatchResponse};
use crate::seed::draw_below;
use crate::state_machine::StoreView;
use crate::time::{Instant, nanos};
use crate::types::{Revision, StreamId};

/// How many created and canceled replies may wait for credit on one stream before it is ended.
pub const CONTROL_REPLIES_MAX: usize = 1024;
/// Progress notifications do not come more often than this (contract, section 1.2).
pub const PROGRESS_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// The id of responses that are about no watcher, or about all of a stream.
const NO_WATCHER: WatchId = -1;
/// A message that may be cut in pieces is, from this length on: etcd's request limit and 512 KiB.
const FRAGMENT_BYTES: usize = 1_572_864 + (512 << 10);
/// How many streams get their progress tick in one call.
const TICKS_MAX: usize = 1000;

const DUPLICATE_ID: &str = "mvcc: duplicate watch ID provided on the WatchStream";
const EMPTY_RANGE: &str = "mvcc: watcher range is empty";

/// Names a watcher on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct WatcherKey {
    stream: StreamId,
    id: WatchId,
}

/// All watch streams of a node.
///
/// Whatever is told to the hub is followed by one slice of delivery, bounded in events read and bytes sent. The calls
/// that deliver return whether more could be delivered at once: then [`WatchHub::pump`] wants to be called again soon,
/// after other work had its turn.
#[derive(Debug)]
pub struct WatchHub {
    batch_bytes: usize,
    fragment_bytes: usize,
    slice_events: usize,
    progress_interval: Duration,
    /// The store's revision, as the hub knows it.
    head: Revision,
    /// The cursor: every synced watcher has everything up to here, and every event up to here found its watchers.
    cursor: Revision,
    streams: BTreeMap<StreamId, Stream>,
    watchers: BTreeMap<WatcherKey, Watcher>,
    interests: Interests,
    /// Watchers that the cursor's last revision concerns, and that do not know yet.
    announced: VecDeque<Announced>,
    /// The events of the cursor's revision whose watchers are not listed yet, by their places in `live`.
    meeting: Range<usize>,
    /// Streams with credit that have something pending.
    ready: RoundRobin<StreamId>,
    /// The next progress tick of each stream that has one.
    ticks: BTreeSet<(Instant, StreamId)>,
    /// What the cursor read last.
    live: Window,
    /// What a watcher far behind the cursor read last.
    history: Window,
}

impl WatchHub {
    /// A hub without streams.
    ///
    /// A response carries about `batch_bytes` of events, and at least one revision. A watcher that asked for it, and
    /// had nothing to tell, is told the revision every `progress_interval` (at least [`PROGRESS_INTERVAL_MIN`]) and up
    /// to a tenth more.
    pub fn new(batch_bytes: usize, progress_interval: Duration) -> WatchHub {
        WatchHub {
            batch_bytes: batch_bytes.max(1),
            fragment_bytes: FRAGMENT_BYTES,
            slice_events: SLICE_EVENTS,
            progress_interval: progress_interval.max(PROGRESS_INTERVAL_MIN),
            head: 0,
            cursor: 0,
            streams: BTreeMap::new(),
            watchers: BTreeMap::new(),
            interests: Interests::default(),
            announced: VecDeque::new(),
            meeting: 0..0,
            ready: RoundRobin::default(),
            ticks: BTreeSet::new(),
            live: Window::default(),
            history: Window::default(),
        }
    }

    /// The same hub with another length, in bytes, from which on messages are cut in pieces for watchers that allow it:
    /// the longest request and 512 KiB.
    pub fn with_fragment_bytes(mut self, fragment_bytes: usize) -> WatchHub {
        self.fragment_bytes = fragment_bytes.max(1);
        self
    }

    /// The same hub with another size of its slices of work, in events and watchers, of which it looks at about so many
    /// at once.
    pub fn with_slice_events(mut self, slice_events: usize) -> WatchHub {
        self.slice_events = slice_events.max(1);
        self
    }

    /// How many watchers there are, and how many of them lag behind the store.
    pub fn watchers(&self) -> (usize, usize) {
        let lagging = self.streams.values().map(|stream| stream.lagging.len()).sum();
        (self.watchers.len(), lagging)
    }

    /// A client opened a stream. It starts without credit.
    pub fn open(&mut self, stream: StreamId) {
        let old = self.streams.insert(stream, Stream::default());
        assert!(old.is_none(), "a stream is opened once");
    }

    /// The driver can take `bytes` more of encoded responses of a stream.
    pub fn credit(
        &mut self,
        stream: StreamId,
        bytes: u64,
        view: &StoreView,
        header: &ResponseHeader,
        now: Instant,
        out: &mut Outputs,
    ) -> bool {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.credit = state.credit.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.refresh(stream);
        }
        self.pump(view, header, now, out)
    }

    /// The client of a stream is gone. Unknown streams are ignored: the hub may have ended it itself.
    pub fn close(&mut self, stream: StreamId) {
        let all = WatcherKey { stream, id: WatchId::MIN }..=WatcherKey { stream, id: WatchId::MAX };
        let keys: Vec<_> = self.watchers.range(all).map(|(key, _)| *key).collect();
        for key in keys {
            self.forget(key);
        }
        self.streams.remove(&stream);
        self.ready.remove(stream);
    }

    /// The client of a stream asks for something. Unknown streams are ignored, as are requests without content.
    pub fn request(
        &mut self,
        stream: StreamId,
        request: WatchRequest,
        view: &StoreView,
        header: &ResponseHeader,
        now: Instant,
        out: &mut Outputs,
    ) -> bool {
        self.look(view);
        if self.streams.contains_key(&stream) {
            match request.request_union {
                Some(RequestUnion::CreateRequest(create)) => self.create(stream, create, header, now),
                Some(RequestUnion::CancelRequest(cancel)) => self.cancel(stream, cancel.watch_id, header),
                Some(RequestUnion::ProgressRequest(_)) => self.ask_for_progress(stream),
                None => {}
            }
            if self.streams[&stream].control.len() > CONTROL_REPLIES_MAX {
                self.end(stream, Status::TooManyRequests, out);
            } else {
                self.refresh(stream);
            }
        }
        self.pump(view, header, now, out)
    }

    /// Entries were applied, or a snapshot took the place of the store: positions make it the same.
    ///
    /// Events that a compaction makes unreadable before the hub has seen them are lost for watchers of their range, who
    /// are canceled for it. So call it before a compaction is applied, too, if there were writes since the last call.
    pub fn applied(&mut self, view: &StoreView, header: &ResponseHeader, now: Instant, out: &mut Outputs) -> bool {
        self.pump(view, header, now, out)
    }

    /// One slice of work: the cursor follows the store, progress that is due is noted, and streams with credit get what
    /// they wait for.
    ///
    /// `header` names cluster, member and term; revisions are the hub's business. Returns whether more could be done at
    /// once.
    pub fn pump(&mut self, view: &StoreView, header: &ResponseHeader, now: Instant, out: &mut Outputs) -> bool {
        self.look(view);
        // This is asked at every step of the node; most of the time nothing is to be done.
        if self.has_work() || self.next_wakeup().is_some_and(|at| at <= now) {
            self.work(view, header, now, out);
        }
        self.has_work()
    }

    fn work(&mut self, view: &StoreView, header: &ResponseHeader, now: Instant, out: &mut Outputs) {
        for _ in 0..TICKS_MAX {
            match self.ticks.first() {
                Some(&(at, stream)) if at <= now => self.tick(stream, now),
                _ => break,
            }
        }
        self.follow(view, &mut Budget::of_a_slice(self.slice_events), out);
        self.deliver(view, header, &mut Budget::of_a_slice(self.slice_events), out);
    }

    /// Whether [`WatchHub::pump`] could do something at once.
    pub fn has_work(&self) -> bool {
        !self.has_arrived() || !self.ready.is_empty()
    }

    /// Whether the cursor is at the store's revision, and everybody knows what it has met.
    fn has_arrived(&self) -> bool {
        self.cursor == self.head && self.announced.is_empty() && self.meeting.is_empty()
    }

    /// When [`WatchHub::wake`] is wanted next, for progress notifications.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.ticks.first().map(|(at, _)| *at)
    }

    /// The time that [`WatchHub::next_wakeup`] named has come: watchers that asked for it, and had nothing to tell
    /// since the last time, get a progress notification.
    pub fn wake(&mut self, now: Instant, view: &StoreView, header: &ResponseHeader, out: &mut Outputs) -> bool {
        self.pump(view, header, now, out)
    }

    /// The node stops: ends every stream with "server stopped".
    pub fn stop(&mut self, out: &mut Outputs) {
        let streams: Vec<_> = self.streams.keys().copied().collect();
        for stream in streams {
            self.end(stream, Status::Stopped, out);
        }
        assert!(self.watchers.is_empty(), "a watcher belongs to a stream");
    }

    /// Ends a stream from this side.
    fn end(&mut self, stream: StreamId, status: Status, out: &mut Outputs) {
        self.close(stream);
        out.effects.push(Effect::EndStream { stream, status });
    }

    /// Takes note of the store's revision.
    fn look(&mut self, view: &StoreView) {
        assert!(view.revision() >= self.head, "a store does not go back");
        self.head = view.revision();
        if self.watchers.is_empty() {
            self.cursor = self.head;
            self.announced.clear();
            self.meeting = 0..0;
        }
    }

    /// Creates a watcher, or says why not.
    fn create(&mut self, stream: StreamId, create: WatchCreateRequest, header: &ResponseHeader, now: Instant) {
        if create.start_revision < 0 {
            return self.refuse(stream, Status::Compacted.message(), header);
        }
        let Some(range) = span::watched_range(&create.key, &create.range_end) else {
            return self.refuse(stream, EMPTY_RANGE, header);
        };
        let Some(id) = self.choose_id(stream, create.watch_id) else {
            return self.refuse(stream, DUPLICATE_ID, header);
        };
        let start = create.start_revision;
        let next = if start == 0 { self.head + 1 } else { start };
        let lagging = next <= self.cursor;
        let key = WatcherKey { stream, id };
        self.interests.add(&range);
        if !lagging {
            self.interests.wait(&range, key);
        }
        let state = self.streams.get_mut(&stream).expect("the stream is open");
        state.watchers += 1;
        if lagging {
            state.lagging.insert(id);
        }
        if start > self.head {
            state.future.insert((start, id));
        }
        if create.progress_notify {
            state.notified.insert(id);
            if state.tick.is_none() {
                let at = now + jittered(self.progress_interval, stream);
                state.tick = Some(at);
                self.ticks.insert((at, stream));
            }
        }
        let revision = self.head;
        state.control.push_back(WatchResponse { created: true, ..response(header, revision, id) });
        let watcher = Watcher {
            range,
            start,
            next,
            lagging,
            no_put: create.filters.contains(&(FilterType::Noput as i32)),
            no_delete: create.filters.contains(&(FilterType::Nodelete as i32)),
            prev_kv: create.prev_kv,
            fragment: create.fragment,
            quiet: true,
        };
        self.watchers.insert(key, watcher);
    }

    /// The id of a new watcher: the one that the client wants, or the next free one. Nothing if it is taken.
    fn choose_id(&mut self, stream: StreamId, wanted: WatchId) -> Option<WatchId> {
        if wanted != 0 {
            let free = !self.watchers.contains_key(&WatcherKey { stream, id: wanted });
            return free.then_some(wanted);
        }
        let state = self.streams.get_mut(&stream).expect("the stream is open");
        while self.watchers.contains_key(&WatcherKey { stream, id: state.next_id }) {
            state.next_id += 1;
        }
        let id = state.next_id;
        state.next_id += 1;
        Some(id)
    }

    /// Says that a watcher was not created.
    fn refuse(&mut self, stream: StreamId, reason: &str, header: &ResponseHeader) {
        let reply = WatchResponse {
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..response(header, self.head, NO_WATCHER)
        };
        self.streams.get_mut(&stream).expect("the stream is open").control.push_back(reply);
    }

    /// Cancels a watcher at its client's wish; an unknown one is ignored.
    fn cancel(&mut self, stream: StreamId, id: WatchId, header: &ResponseHeader) {
        let key = WatcherKey { stream, id };
        if self.watchers.contains_key(&key) {
            self.forget(key);
            let reply = WatchResponse { canceled: true, ..response(header, self.head, id) };
            self.streams.get_mut(&stream).expect("the stream is open").control.push_back(reply);
        }
    }

    /// Remembers that the client wants to know the progress of the stream, unless it will not be told.
    fn ask_for_progress(&mut self, stream: StreamId) {
        let state = self.streams.get_mut(&stream).expect("the stream is open");
        if state.watchers > 0 && !state.waits_for_the_future(self.head) {
            state.progress_asked = true;
        }
    }

    /// The progress tick of a stream: owes a notification to each watcher that had no events since the last one.
    fn tick(&mut self, stream: StreamId, now: Instant) {
        let state = self.streams.get_mut(&stream).expect("a stream that ticks is open");
        let at = state.tick.take().expect("a stream that ticks has a tick");
        self.ticks.remove(&(at, stream));
        for &id in &state.notified {
            let watcher = self.watchers.get_mut(&WatcherKey { stream, id }).expect("a notified watcher exists");
            if watcher.quiet {
                state.progress_due.insert(id);
            }
            watcher.quiet = true;
        }
        let at = now + jittered(self.progress_interval, stream);
        state.tick = Some(at);
        self.ticks.insert((at, stream));
        self.refresh(stream);
    }

    /// Forgets a watcher.
    fn forget(&mut self, key: WatcherKey) {
        let watcher = self.watchers.remove(&key).expect("the watcher exists");
        self.interests.remove(&watcher.range, key);
        let stream = self.streams.get_mut(&key.stream).expect("a watcher's stream is open");
        stream.forget(key.id, watcher.start);
        if stream.notified.is_empty()
            && let Some(at) = stream.tick.take()
        {
            self.ticks.remove(&(at, key.stream));
        }
    }

    /// Brings the list of streams to be served up to date for one of them.
    fn refresh(&mut self, stream: StreamId) {
        match self.streams.get(&stream) {
            Some(state) if state.credit > 0 && state.is_pending() => self.ready.insert(stream),
            _ => self.ready.remove(stream),
        }
    }
}

/// A response about a watcher at a revision, to be filled.
fn response(header: &ResponseHeader, revision: Revision, id: WatchId) -> WatchResponse {
    let header = ResponseHeader { revision, ..*header };
    WatchResponse { header: Some(header), watch_id: id, ..WatchResponse::default() }
}

/// `interval` and up to a tenth more, the same for a stream every time, so that not all of them tick at once.
fn jittered(interval: Duration, stream: StreamId) -> Duration {
    interval + Duration::from_nanos(draw_below(0, &[stream.0], nanos(interval) / 10))
}

#[cfg(test)]
mod tests;
