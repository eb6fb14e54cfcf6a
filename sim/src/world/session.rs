//! What a client that watches remembers: its stream, and the watchers that share it.

use detcd_core::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use detcd_core::types::{Revision, StreamId};

use crate::history::WatcherId;
use crate::observe::NodeIndex;
use crate::weather::{below, nth, permille};

const MS: u64 = 1_000_000;
/// How much an eager reader takes at once.
pub(super) const CREDIT_BYTES: u64 = 1 << 20;
/// A session opens at most so many watchers, one after the other.
const WATCHERS_MAX: u64 = 1 << 12;
/// The id of responses that are about all of a stream.
const NO_WATCH_ID: i64 = -1;

/// One client that watches, with a stream at a time.
#[derive(Debug)]
pub(super) struct Session {
    pub client: u32,
    pub op: u64,
    pub draw: u64,
    /// When it has seen enough.
    pub until: u64,
    pub node: NodeIndex,
    /// Counts its streams; what comes for an older one is ignored.
    pub generation: u64,
    /// Whether it has a stream, as far as it knows.
    pub is_open: bool,
    /// The stream's name at its member, once it is there, and the member's life.
    pub stream: Option<(StreamId, u32)>,
    /// What it watches; the first is asked for with the stream, others on it.
    pub watches: Vec<Watch>,
    /// Counts its watchers.
    watchers: u64,
    /// Nothing arrives any more, and the client has not noticed yet.
    pub is_broken: bool,
    pub is_over: bool,
    /// What one side says arrives at the other in order.
    pub last_sent: u64,
    pub last_arrival: u64,
}

/// One thing that a client wants to watch, over all the watchers that it needs for that.
#[derive(Debug)]
pub(super) struct Watch {
    request: WatchCreateRequest,
    /// Where to go on: 0 for wherever the store is.
    next: Revision,
    /// Its watcher, while it has one.
    pub watcher: Option<WatcherId>,
    /// When that was asked for, whether the member has heard of it, and whether it has confirmed it.
    asked_at: u64,
    has_arrived: bool,
    was_created: bool,
    watch_id: i64,
    is_over: bool,
    gap: Option<Gap>,
}

/// A watcher is gone that was confirmed, and its client goes on with another one from where it stood.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// How far the store was compacted when the client lost the watcher.
    compacted: Revision,
    /// Whether the next one was created by a member whose store had been compacted meanwhile.
    is_across: bool,
}

impl Watch {
    /// One that has no watcher yet.
    pub fn new(request: WatchCreateRequest) -> Watch {
        Watch {
            next: request.start_revision,
            request,
            watcher: None,
            asked_at: 0,
            has_arrived: false,
            was_created: false,
            watch_id: NO_WATCH_ID,
            is_over: false,
            gap: None,
        }
    }

    fn is_wanted(&self) -> bool {
        !self.is_over && self.watcher.is_none()
    }

    /// Learns from a response that is for it how far it has come. Says whether this shows that it went on across a
    /// compaction: its client had lost it, the store was compacted, and a new watcher gives it what came next.
    pub fn learn(&mut self, response: &WatchResponse) -> bool {
        let newest = response.events.iter().flat_map(|event| &event.kv).map(|kv| kv.mod_revision).max();
        let revision = response.header.as_ref().map_or(0, |header| header.revision);
        if let Some(newest) = newest {
            self.next = newest + 1;
        } else if !response.created && !response.canceled && revision > 0 {
            self.next = self.next.max(revision + 1);
        }
        if response.created {
            (self.was_created, self.watch_id) = (true, response.watch_id);
        }
        if response.canceled {
            // Of what is compacted away the rest can be watched; what was refused is refused for good.
            (self.next, self.is_over) = (response.compact_revision, response.compact_revision == 0);
            self.gap = None;
        }
        let went_on = newest.is_some() && !response.canceled;
        went_on && self.gap.take().is_some_and(|gap| gap.is_across)
    }

    /// Its watcher is gone, while the store is compacted so far as anybody knows.
    pub fn lose(&mut self, compacted: Revision) -> Option<WatcherId> {
        if self.was_created && self.watcher.is_some() && self.next > 0 && !self.is_over {
            self.gap.get_or_insert(Gap { compacted, is_across: false });
        }
        self.watcher.take()
    }
}

impl Session {
    /// A client that wants to watch something; it has no stream yet.
    pub fn new(client: u32, op: u64, draw: u64, until: u64, node: NodeIndex, watches: Vec<Watch>) -> Session {
        Session {
            client,
            op,
            draw,
            until,
            node,
            generation: 0,
            is_open: false,
            stream: None,
            watches,
            watchers: 0,
            is_broken: false,
            is_over: false,
            last_sent: 0,
            last_arrival: 0,
        }
    }

    /// The operation that it is.
    pub fn op(&self) -> u64 {
        self.op
    }

    /// Whether it can open no further stream.
    pub fn is_used_up(&self, now: u64) -> bool {
        let room = WATCHERS_MAX.saturating_sub(self.watchers);
        self.is_over || room <= self.watches.len() as u64 || now >= self.until
    }

    /// Whether something that it wants to watch has no watcher, or one that no member has confirmed.
    pub fn is_waiting(&self) -> bool {
        let waits = |watch: &Watch| !(watch.is_over || watch.watcher.is_some() && watch.was_created);
        !self.is_over && self.watches.iter().any(waits)
    }

    /// Whether a member has not confirmed a watcher within a time.
    pub fn is_unanswered(&self, now: u64, within_ns: u64) -> bool {
        let unanswered = |watch: &Watch| watch.watcher.is_some() && !watch.was_created;
        self.watches.iter().any(|watch| unanswered(watch) && watch.asked_at + within_ns <= now)
    }

    /// How many things are to be watched and have no watcher.
    pub fn wanted(&self) -> usize {
        self.watches.iter().filter(|watch| watch.is_wanted()).count()
    }

    /// Names a watcher for the first thing that has none, and says how to ask for it.
    pub fn ask(&mut self, now: u64) -> Option<(WatcherId, WatchCreateRequest)> {
        if self.watchers + 1 >= WATCHERS_MAX {
            return None;
        }
        let watch = self.watches.iter_mut().find(|watch| watch.is_wanted())?;
        self.watchers += 1;
        let watcher = WatcherId(self.op * WATCHERS_MAX + self.watchers);
        watch.watcher = Some(watcher);
        (watch.asked_at, watch.has_arrived) = (now, false);
        (watch.was_created, watch.watch_id) = (false, NO_WATCH_ID);
        Some((watcher, WatchCreateRequest { start_revision: watch.next, ..watch.request.clone() }))
    }

    /// The places of those that a response is for: who was asked for first, of those that are not confirmed; everybody
    /// who is confirmed, if it is about the stream; else who has the id. What is for nobody is for the first: let the
    /// oracle judge it.
    pub fn meant(&self, response: &WatchResponse) -> Vec<usize> {
        let open = || self.watches.iter().enumerate().filter(|(_, watch)| watch.watcher.is_some());
        let meant: Vec<usize> = if response.created {
            let waiting = open().filter(|(_, watch)| !watch.was_created);
            waiting.min_by_key(|(_, watch)| watch.watcher).map(|(place, _)| place).into_iter().collect()
        } else {
            let about_all = response.watch_id == NO_WATCH_ID && !response.canceled && response.events.is_empty();
            let is_for = |watch: &Watch| watch.was_created && (about_all || watch.watch_id == response.watch_id);
            open().filter(|(_, watch)| is_for(watch)).map(|(place, _)| place).collect()
        };
        if meant.is_empty() { open().map(|(place, _)| place).take(1).collect() } else { meant }
    }

    /// Ends the stream and everything on it, for the client, while the store is compacted so far as anybody knows;
    /// gives the watchers that it had.
    pub fn end_stream(&mut self, compacted: Revision) -> Vec<WatcherId> {
        self.is_open = false;
        self.watches.iter_mut().filter_map(|watch| watch.lose(compacted)).collect()
    }

    /// A member whose store is compacted so far hears of the next watcher that it was asked for.
    pub fn arrives(&mut self, compacted: Revision) {
        let on_their_way = self.watches.iter_mut().filter(|watch| watch.watcher.is_some() && !watch.has_arrived);
        let Some(watch) = on_their_way.min_by_key(|watch| watch.watcher) else { return };
        watch.has_arrived = true;
        if let Some(gap) = &mut watch.gap {
            gap.is_across = compacted > gap.compacted;
        }
    }

    /// Whether a reader of this stream lets its member wait, and for how long at most.
    pub fn holds_credit_ns(&self) -> u64 {
        match below(nth(self.draw, 1), 4) {
            0 => 3_000 * MS,
            1 => 100 * MS,
            _ => 0,
        }
    }

    /// How much the reader takes at first.
    pub fn first_credit(&self, is_healed: bool) -> u64 {
        match below(nth(self.draw, 2), 4) {
            0 if !is_healed => 1 + below(nth(self.draw, 3), 300),
            _ => CREDIT_BYTES,
        }
    }

    /// Whether it asks for progress now and then.
    pub fn asks_progress(&self) -> bool {
        permille(nth(self.draw, 4), 300)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(watches: usize) -> Session {
        let watches = (0..watches).map(|_| Watch::new(WatchCreateRequest::default())).collect();
        Session::new(1, 7, 0, u64::MAX, 0, watches)
    }

    fn created(watch_id: i64) -> WatchResponse {
        WatchResponse { created: true, watch_id, ..WatchResponse::default() }
    }

    #[test]
    fn a_response_is_for_the_watcher_that_it_names() {
        let mut session = session(3);
        let watchers: Vec<_> = (0..3).map(|_| session.ask(5).expect("it is wanted").0).collect();
        assert!(watchers.is_sorted_by(|a, b| a < b) && session.ask(5).is_none());
        for (place, id) in [(0, 4), (1, 2)] {
            assert_eq!(session.meant(&created(id)), [place], "in the order in which they were asked for");
            session.watches[place].learn(&created(id));
        }
        let about = |watch_id| WatchResponse { watch_id, ..WatchResponse::default() };
        assert_eq!(session.meant(&about(2)), [1]);
        assert_eq!(session.meant(&about(NO_WATCH_ID)), [0, 1], "nobody has confirmed the third");
        assert_eq!(session.meant(&about(9)), [0], "nobody has that id");
        assert!(session.is_waiting() && !session.is_unanswered(9, 5) && session.is_unanswered(10, 5));
    }

    /// Whether events for a watcher that is resumed at a member show that it went on across a compaction.
    fn resumed(was_created: bool, lost_at: Revision, arrived_at: Revision, arrived_first: Option<Revision>) -> bool {
        let mut session = session(1);
        session.ask(1).expect("it is wanted");
        session.arrives(5);
        if was_created {
            assert!(!session.watches[0].learn(&created(0)));
            assert!(!session.watches[0].learn(&event(7)), "it was never lost");
        }
        session.end_stream(lost_at);
        for compacted in arrived_first.into_iter().chain([arrived_at]) {
            session.end_stream(compacted);
            session.ask(2).expect("it is wanted");
            session.arrives(compacted);
        }
        assert!(!session.watches[0].learn(&created(0)), "to be created is not to go on");
        let went_on = session.watches[0].learn(&event(9));
        assert!(!session.watches[0].learn(&event(10)), "once is enough");
        went_on
    }

    fn event(mod_revision: Revision) -> WatchResponse {
        let kv = detcd_core::proto::mvccpb::KeyValue { mod_revision, ..Default::default() };
        let event = detcd_core::proto::mvccpb::Event { kv: Some(kv), ..Default::default() };
        WatchResponse { events: vec![event], ..WatchResponse::default() }
    }

    #[test]
    fn a_watcher_that_was_lost_before_a_compaction_and_goes_on_after_it_is_noticed() {
        assert!(resumed(true, 5, 8, None));
        assert!(resumed(true, 5, 8, Some(5)), "what was tried in between does not matter");
        assert!(!resumed(true, 5, 5, None), "nothing was compacted meanwhile");
        assert!(!resumed(true, 8, 6, None), "its new member has not compacted yet");
        assert!(!resumed(true, 5, 5, Some(8)), "its last member has not compacted yet");
        assert!(!resumed(false, 5, 8, None), "it never had a watcher");
    }

    #[test]
    fn what_is_compacted_away_is_asked_for_again_and_what_is_refused_is_not() {
        let mut session = session(2);
        let first = session.ask(1).expect("it is wanted").0;
        session.ask(1).expect("it is wanted");
        session.watches[0].learn(&created(0));
        session.watches[1].learn(&created(1));
        let canceled =
            |compact_revision| WatchResponse { canceled: true, compact_revision, ..WatchResponse::default() };
        session.watches[0].learn(&canceled(30));
        session.watches[1].learn(&canceled(0));
        assert_eq!(session.end_stream(30).len(), 2);
        let (again, request) = session.ask(2).expect("the first goes on");
        assert!(again > first && request.start_revision == 30);
        assert!(session.ask(2).is_none() && session.wanted() == 0);
    }
}
