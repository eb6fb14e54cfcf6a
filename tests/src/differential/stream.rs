//! A watch stream that is open to both servers, with the watchers that both have created on it.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::watch_create_request::FilterType;
use detcd_core::proto::etcdserverpb::watch_request::RequestUnion;
use detcd_core::proto::mvccpb::{Event, event::EventType};

use super::compare::{difference, pretty, stripped_reply};
use super::feed::{Feed, Told};
use super::known::{self, Counts, Known, Version};
use super::options::FRAGMENT;
use super::step::Reply;

/// How long a server may take to tell what it has to tell.
const TOLD_WITHIN: Duration = Duration::from_secs(10);

/// How long is waited for an event that may have been lost.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// The id of the watcher that shows that all others are synced; nobody else asks for it.
const PROBE: i64 = 8_000_000;

/// How often is looked whether something came.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// A watcher and what it still has to be told.
#[derive(Debug)]
pub(super) struct Watcher {
    create: pb::WatchCreateRequest,
    /// The newest revision when it was created: what it is told up to there is history.
    created_at: i64,
    /// The first revision that it is told of.
    start: i64,
    /// Whether it may lag in etcd, which looks for such watchers every 100 ms.
    pub lags: bool,
    expected: VecDeque<Event>,
    /// How many of the expected events etcd may have lost.
    losable: usize,
    told: u64,
    /// The options whose success shows in what it is told.
    options: Vec<&'static str>,
}

impl Watcher {
    /// A watcher with these `options` that was created at revision `created_at`, until which `history` happened, and
    /// everything before `compacted` was compacted.
    pub fn new(
        create: pb::WatchCreateRequest,
        options: Vec<&'static str>,
        created_at: i64,
        history: &[Event],
        compacted: i64,
        etcd: Version,
    ) -> Watcher {
        let start = if create.start_revision == 0 { created_at + 1 } else { create.start_revision };
        let mut watcher = Watcher {
            create,
            created_at,
            start,
            lags: start <= created_at,
            expected: VecDeque::new(),
            losable: 0,
            told: 0,
            options,
        };
        let first = history.partition_point(|event| mod_revision(event) < start);
        for event in &history[first..] {
            watcher.expect(event);
        }
        watcher.losable = watcher.expected.iter().filter(|event| known::may_lose(etcd, event, compacted)).count();
        watcher
    }

    /// Takes note of an event that it has to be told of if it concerns it.
    pub fn expect(&mut self, event: &Event) {
        let unwanted = if event.r#type() == EventType::Put { FilterType::Noput } else { FilterType::Nodelete };
        let Some(pair) = &event.kv else { return };
        let is_due = pair.mod_revision >= self.start;
        if is_due && !self.create.filters.contains(&(unwanted as i32)) && self.watches(&pair.key) {
            self.expected.push_back(event.clone());
        }
    }

    fn watches(&self, key: &Bytes) -> bool {
        let (start, end) = (&self.create.key, &self.create.range_end);
        match end.as_ref() {
            [] if start.is_empty() => key.as_ref() == [0],
            [] => key == start,
            [0] => key >= start,
            _ => key >= start && key < end,
        }
    }

    /// Whether it waits for a revision that is yet to come.
    pub fn is_early(&self, head: i64) -> bool {
        self.create.start_revision > head
    }

    /// The options whose success is to be counted, once; that of fragments waits until there were some.
    pub fn take_options(&mut self, has_fragments: bool) -> Vec<&'static str> {
        let is_shown = |option: &&str| has_fragments || *option != FRAGMENT;
        let (shown, rest) = std::mem::take(&mut self.options).into_iter().partition(is_shown);
        self.options = rest;
        shown
    }

    /// Whether it was told of anything yet.
    pub fn has_told(&self) -> bool {
        self.told > 0
    }
}

/// When an event happened.
pub(super) fn mod_revision(event: &Event) -> i64 {
    event.kv.as_ref().map_or(0, |pair| pair.mod_revision)
}

/// Takes the revisions of the headers out that may differ for an event; see [`Known::HeaderOfHistory`] for watchers
/// that lag, and [`Known::HeaderOfBatch`] for members that follow others.
fn reconcile_header(etcd: &mut Told, detcd: &Told, lags: bool, follows: bool, counts: &mut Counts) {
    let at = mod_revision(&etcd.event);
    let (theirs, ours) = (etcd.header_revision, detcd.header_revision);
    if at != mod_revision(&detcd.event) || at > theirs.min(ours) {
        return;
    }
    let known = if lags && ours < theirs {
        Known::HeaderOfHistory
    } else if follows && ours > theirs {
        Known::HeaderOfBatch
    } else {
        return;
    };
    *counts.entry(known).or_default() += 1;
    etcd.header_revision = ours;
}

/// A stream to each server: etcd's, and detcd's.
#[derive(Debug)]
pub(super) struct Stream {
    etcd: Feed,
    detcd: Feed,
    /// Whether their members may hear of writes from others.
    follows: bool,
    /// The watchers of it, by id.
    pub watchers: BTreeMap<i64, Watcher>,
}

impl Stream {
    /// A stream without watchers, to members that are alone or not.
    pub fn new(etcd: Feed, detcd: Feed, alone: bool) -> Stream {
        Stream { etcd, detcd, follows: !alone, watchers: BTreeMap::new() }
    }

    /// Asks both for the same.
    pub async fn send(&self, request: pb::WatchRequest) {
        tokio::join!(self.etcd.send(request.clone()), self.detcd.send(request));
    }

    /// Whether both have sent pieces of a response that was too long.
    pub fn has_fragments(&self) -> bool {
        self.etcd.fragments > 0 && self.detcd.fragments > 0
    }

    /// Waits until `is_there`, or until that takes too long; whether it is.
    async fn wait(&mut self, within: Duration, mut is_there: impl FnMut(&Stream) -> bool) -> bool {
        let begin = Instant::now();
        loop {
            self.etcd.drain();
            self.detcd.drain();
            if is_there(self) {
                return true;
            }
            if begin.elapsed() > within {
                return false;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// The next reply of both.
    ///
    /// # Errors
    /// One of them does not reply, or they differ, or the stream has ended.
    pub async fn reply(&mut self) -> Result<pb::WatchResponse, String> {
        self.wait(TOLD_WITHIN, |stream| !stream.etcd.replies.is_empty() && !stream.detcd.replies.is_empty()).await;
        let etcd = self.etcd.replies.pop_front().map(stripped_reply);
        let detcd = self.detcd.replies.pop_front().map(stripped_reply);
        match difference(&etcd, &detcd) {
            Some(text) => Err(format!("the replies on the stream differ:\n{text}")),
            None => etcd
                .ok_or_else(|| format!("neither replies within {TOLD_WITHIN:?}"))?
                .map_err(|refusal| format!("the stream has ended: {refusal:?}")),
        }
    }

    /// The reply of etcd alone.
    pub async fn reply_of_etcd(&mut self) -> Option<Reply> {
        self.wait(TOLD_WITHIN, |stream| !stream.etcd.replies.is_empty()).await;
        self.etcd.replies.pop_front()
    }

    /// What both tell the watcher of number 0, who watches everything, up to revision `head`.
    ///
    /// # Errors
    /// What differs, or that they do not tell that much.
    pub async fn observe(&mut self, head: i64) -> Result<(Vec<Event>, Counts), String> {
        let reached = |feed: &Feed| {
            let events = feed.events.get(&0).and_then(VecDeque::back);
            events.is_some_and(|told| mod_revision(&told.event) >= head)
        };
        let is_there = self.wait(TOLD_WITHIN, |stream| reached(&stream.etcd) && reached(&stream.detcd)).await;
        let (mut etcd, detcd) = (self.etcd.events_of(0), self.detcd.events_of(0));
        let mut counts = Counts::new();
        for (etcd, detcd) in etcd.iter_mut().zip(&detcd) {
            reconcile_header(etcd, detcd, false, self.follows, &mut counts);
        }
        if let Some(text) = difference(&etcd, &detcd) {
            return Err(format!("the events of the observer differ:\n{text}"));
        }
        if !is_there {
            return Err(format!("the observer is told nothing of revision {head} within {TOLD_WITHIN:?}"));
        }
        Ok((etcd.into_iter().map(|told| told.event).collect(), counts))
    }

    /// Waits until no watcher of any stream to this member lags: a new one from revision `head` on, which has events,
    /// is told of them together with all others that lag.
    ///
    /// # Errors
    /// The replies differ, or there are none.
    pub async fn sync(&mut self, head: i64) -> Result<(), String> {
        let everything = Bytes::from_static(b"\0");
        let create = pb::WatchCreateRequest {
            key: everything.clone(),
            range_end: everything,
            start_revision: head,
            watch_id: PROBE,
            ..Default::default()
        };
        let request = |union| pb::WatchRequest { request_union: Some(union) };
        self.send(request(RequestUnion::CreateRequest(create))).await;
        self.reply().await?;
        if !self.wait(TOLD_WITHIN, |stream| stream.etcd.waiting(PROBE) > 0 && stream.detcd.waiting(PROBE) > 0).await {
            let told = (self.etcd.waiting(PROBE), self.detcd.waiting(PROBE));
            return Err(format!("of revision {head} a new watcher is told {told:?} events by (etcd, detcd)"));
        }
        self.send(request(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id: PROBE }))).await;
        self.reply().await?;
        self.etcd.events_of(PROBE);
        self.detcd.events_of(PROBE);
        Ok(())
    }

    /// Waits until every watcher was told of everything, and compares what it was told.
    ///
    /// # Errors
    /// What differs, between the two or from what happened.
    pub async fn catch_up(&mut self) -> Result<Counts, String> {
        let is_told = |feed: &Feed, stream: &Stream, losable: fn(&Watcher) -> usize| {
            let mut watchers = stream.watchers.iter();
            watchers.all(|(id, watcher)| feed.waiting(*id) + losable(watcher) >= watcher.expected.len())
        };
        if self.watchers.values().any(|watcher| watcher.losable > 0) {
            self.wait(LOST_AFTER, |stream| is_told(&stream.etcd, stream, |_| 0)).await;
        }
        self.wait(TOLD_WITHIN, |stream| {
            is_told(&stream.etcd, stream, |watcher| watcher.losable) && is_told(&stream.detcd, stream, |_| 0)
        })
        .await;
        if let Some(reply) = self.etcd.replies.pop_front() {
            return Err(format!("etcd replies without being asked: {}", pretty(&reply)));
        }
        if let Some(reply) = self.detcd.replies.pop_front() {
            return Err(format!("detcd replies without being asked: {}", pretty(&reply)));
        }
        let mut counts = Counts::new();
        let follows = self.follows;
        for (id, watcher) in &mut self.watchers {
            let (mut etcd, mut detcd) = (self.etcd.events_of(*id), self.detcd.events_of(*id));
            watcher.reconcile(&mut etcd, &mut detcd, follows, &mut counts);
            if let Some(text) = difference(&etcd, &detcd) {
                return Err(format!("the events of watcher {id} ({:?}) differ:\n{text}", watcher.create));
            }
            watcher.judge(&detcd).map_err(|text| format!("watcher {id} ({:?}): {text}", watcher.create))?;
        }
        for (name, feed) in [("etcd", &self.etcd), ("detcd", &self.detcd)] {
            if let Some((id, events)) = feed.events.first_key_value() {
                return Err(format!("{name} tells events of watcher {id}, which does not exist: {events:?}"));
            }
        }
        Ok(counts)
    }
}

impl Watcher {
    /// Takes out what may differ; see [`Known::LostTombstone`] and [`reconcile_header`].
    fn reconcile(&mut self, etcd: &mut [Told], detcd: &mut Vec<Told>, follows: bool, counts: &mut Counts) {
        let mut lost = self.losable.min(detcd.len().saturating_sub(etcd.len()));
        if lost > 0 {
            *counts.entry(Known::LostTombstone).or_default() += u64::try_from(lost).expect("few");
            let first = self.expected.front().map(mod_revision);
            detcd.retain(|told| {
                let is_it = lost > 0
                    && told.event.r#type() == EventType::Delete
                    && Some(mod_revision(&told.event)) == first
                    && !etcd.iter().any(|other| other.event == told.event);
                lost -= usize::from(is_it);
                if is_it {
                    self.expected.retain(|event| event.kv != told.event.kv);
                }
                !is_it
            });
        }
        self.losable = 0;
        for (etcd, detcd) in etcd.iter_mut().zip(detcd) {
            let lags = self.lags || mod_revision(&etcd.event) <= self.created_at;
            reconcile_header(etcd, detcd, lags, follows, counts);
        }
    }

    /// Compares what both have told with what happened.
    fn judge(&mut self, told: &[Told]) -> Result<(), String> {
        let identity = |event: &Event| (event.r#type, event.kv.clone());
        let told: Vec<_> = told.iter().map(|told| identity(&told.event)).collect();
        let expected: Vec<_> = self.expected.drain(..).map(|event| identity(&event)).collect();
        self.told += told.len() as u64;
        match difference(&expected, &told) {
            None => Ok(()),
            Some(text) => Err(format!("both tell the same, but not what the observer saw (-):\n{text}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use detcd_core::proto::mvccpb::KeyValue;

    use super::*;

    fn event(key: &'static str, mod_revision: i64, kind: EventType) -> Event {
        let kv = KeyValue { key: Bytes::from_static(key.as_bytes()), mod_revision, ..Default::default() };
        Event { r#type: kind as i32, kv: Some(kv), prev_kv: None }
    }

    fn history() -> Vec<Event> {
        let kinds = [EventType::Put, EventType::Put, EventType::Delete, EventType::Put];
        let keys = ["a", "b", "a", "c"];
        (2..).zip(kinds).zip(keys).map(|((at, kind), key)| event(key, at, kind)).collect()
    }

    fn expected(create: pb::WatchCreateRequest) -> Vec<i64> {
        let watcher = Watcher::new(create, Vec::new(), 5, &history(), 4, Version(3, 5, 1));
        watcher.expected.iter().map(mod_revision).collect()
    }

    fn create(key: &'static [u8], range_end: &'static [u8]) -> pb::WatchCreateRequest {
        let (key, range_end) = (Bytes::from_static(key), Bytes::from_static(range_end));
        pb::WatchCreateRequest { key, range_end, start_revision: 1, ..Default::default() }
    }

    #[test]
    fn a_watcher_expects_what_the_contract_promises_it() {
        assert_eq!(expected(create(b"a", b"")), [2, 4]);
        assert_eq!(expected(create(b"a", b"c")), [2, 3, 4]);
        assert_eq!(expected(create(b"b", b"\0")), [3, 5]);
        assert_eq!(expected(create(b"", b"\0")), [2, 3, 4, 5]);
        assert_eq!(expected(create(b"", b"")), [0i64; 0]);
        assert_eq!(expected(pb::WatchCreateRequest { start_revision: 4, ..create(b"a", b"") }), [4]);
        assert_eq!(expected(pb::WatchCreateRequest { start_revision: 0, ..create(b"a", b"") }), [0i64; 0]);
        let filters = vec![FilterType::Noput as i32];
        assert_eq!(expected(pb::WatchCreateRequest { filters, ..create(b"a", b"z") }), [4]);
    }

    #[test]
    fn only_the_tombstone_at_the_compacted_revision_may_be_lost() {
        let lost = |key| {
            let start_revision = 4;
            let create = pb::WatchCreateRequest { start_revision, ..create(key, b"") };
            let mut watcher = Watcher::new(create, Vec::new(), 5, &history(), 4, Version(3, 5, 1));
            let told = |event: &Event| Told { event: event.clone(), header_revision: 5 };
            let mut detcd: Vec<Told> = watcher.expected.iter().map(told).collect();
            let mut counts = Counts::new();
            watcher.reconcile(&mut [], &mut detcd, false, &mut counts);
            (detcd.is_empty(), watcher.judge(&detcd).is_ok(), counts.get(&Known::LostTombstone).copied())
        };
        assert_eq!(lost(b"a"), (true, true, Some(1)));
        assert_eq!(lost(b"c"), (false, true, None), "what etcd has not told is left to be told as a difference");
    }

    #[test]
    fn headers_differ_only_for_those_who_lag_or_follow() {
        let told = |header_revision| Told { event: event("a", 5, EventType::Put), header_revision };
        let known = |theirs, ours, lags, follows| {
            let (mut etcd, detcd, mut counts) = (told(theirs), told(ours), Counts::new());
            reconcile_header(&mut etcd, &detcd, lags, follows, &mut counts);
            assert_eq!(etcd == detcd, theirs == ours || !counts.is_empty());
            counts.into_keys().next()
        };
        assert_eq!(known(9, 5, true, false), Some(Known::HeaderOfHistory));
        assert_eq!(known(9, 5, false, true), None);
        assert_eq!(known(5, 6, false, true), Some(Known::HeaderOfBatch));
        assert_eq!(known(5, 6, true, false), None);
        assert_eq!(known(9, 4, true, true), None, "a header is not before its events");
        assert_eq!(known(5, 5, true, true), None);
    }
}
