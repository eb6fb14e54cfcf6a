//! The hub against a plain model: a model that keeps the whole history and looks at every response as a client would.

use std::collections::VecDeque;

use proptest::prelude::*;
use prost::Message;

use super::*;

const STREAMS: u64 = 3;

#[derive(Clone, Debug)]
enum Op {
    /// One transaction that puts these keys.
    Put(Vec<u8>, usize),
    Delete(u8),
    /// A compaction this many revisions before the current one.
    Compact(i64),
    /// The hub is told of what was applied; rare enough, that is a snapshot.
    Tell,
    Open(u64),
    Close(u64),
    Credit(u64, u64),
    /// A watcher whose start is this far from the next revision, or "from now on".
    Create(u64, WatchCreateRequest, Option<i64>),
    Cancel(u64, WatchId),
    Progress(u64),
    Pass(u64),
}

fn key(letter: u8) -> String {
    char::from(b'a' + letter).to_string()
}

fn create() -> impl Strategy<Value = WatchCreateRequest> {
    let end = prop_oneof![Just(String::new()), Just("\0".to_owned()), (0..6u8).prop_map(key)];
    let filters = prop_oneof![4 => Just(vec![]), 1 => Just(vec![0]), 1 => Just(vec![1]), 1 => Just(vec![1, 0])];
    let id = prop_oneof![10 => Just(0), 1 => Just(-2i64), 1 => 1..6i64];
    (0..5u8, end, filters, id, any::<[bool; 3]>()).prop_map(
        |(start, end, filters, watch_id, [progress_notify, prev_kv, fragment])| WatchCreateRequest {
            filters,
            watch_id,
            progress_notify,
            prev_kv,
            fragment,
            ..watch_span(&key(start), &end)
        },
    )
}

fn op() -> impl Strategy<Value = Op> {
    let start = prop_oneof![2 => Just(None), 3 => (-12..4i64).prop_map(Some)];
    let credit = prop_oneof![3 => 1..60u64, 2 => 60..2000u64, 1 => Just(PLENTY)];
    prop_oneof![
        8 => (prop::collection::btree_set(0..6u8, 1..4), 0..40usize)
            .prop_map(|(keys, length)| Op::Put(keys.into_iter().collect(), length)),
        3 => (0..6u8).prop_map(Op::Delete),
        1 => (0..8i64).prop_map(Op::Compact),
        8 => Just(Op::Tell),
        2 => (0..STREAMS).prop_map(Op::Open),
        1 => (0..STREAMS).prop_map(Op::Close),
        8 => (0..STREAMS, credit).prop_map(|(stream, bytes)| Op::Credit(stream, bytes)),
        6 => (0..STREAMS, create(), start).prop_map(|(stream, create, start)| Op::Create(stream, create, start)),
        1 => (0..STREAMS, 0..5i64).prop_map(|(stream, id)| Op::Cancel(stream, id)),
        2 => (0..STREAMS).prop_map(Op::Progress),
        2 => (0..1500u64).prop_map(Op::Pass),
    ]
}

/// A watcher as its client knows it.
#[derive(Clone, Debug)]
struct Seen {
    request: WatchCreateRequest,
    /// The first revision that is its business.
    from: Revision,
    /// Whether that existed when it was created.
    from_the_past: bool,
    /// Everything up to here has been received: it was claimed, and checked.
    through: Revision,
    /// The pieces of a message that is not complete.
    pieces: Vec<Event>,
}

impl Seen {
    /// What the watcher has to get of the history.
    fn wants(&self, event: &Event) -> bool {
        let kv = event.kv.as_ref().unwrap();
        let key = kv.key.as_ref();
        let in_range = match self.request.range_end.as_ref() {
            [] => key == self.request.key,
            [0] => key >= self.request.key.as_ref(),
            end => key >= self.request.key.as_ref() && key < end,
        };
        in_range && kv.mod_revision >= self.from && !self.request.filters.contains(&event.r#type)
    }
}

/// The control replies that a client waits for, in order.
#[derive(Clone, Debug, PartialEq)]
enum Reply {
    Created(WatchId),
    Refused,
    Canceled(WatchId),
}

#[derive(Clone, Debug, Default)]
struct Client {
    credit: i64,
    next_id: WatchId,
    watchers: BTreeMap<WatchId, Seen>,
    replies: VecDeque<Reply>,
    announced: BTreeSet<WatchId>,
    progress_received: u64,
    /// It had no credit when the last compaction came, or the hub had not done all it could.
    starved: bool,
}

struct World {
    bench: Bench,
    /// Every event that ever was, with its previous value.
    history: Vec<Event>,
    /// The streams that are open. A stream that opens again gets a new number.
    clients: BTreeMap<u64, (StreamId, Client)>,
    opened: u64,
    /// The hub has looked at the events up to here.
    told: Revision,
    /// A compaction up to here came before the hub was told what it removed.
    jumped: Revision,
}

impl World {
    fn new(batch_bytes: usize, fragment_bytes: usize, slice_events: usize) -> World {
        let hub = WatchHub::new(batch_bytes, Duration::from_secs(1))
            .with_fragment_bytes(fragment_bytes)
            .with_slice_events(slice_events);
        World { bench: Bench::with(hub), history: Vec::new(), clients: BTreeMap::new(), opened: 0, told: 1, jumped: 0 }
    }

    fn revision(&self) -> Revision {
        self.bench.machine.view().revision()
    }

    /// Keeps what the last entry did.
    fn record(&mut self) {
        let view = self.bench.machine.view();
        let known = self.history.last().map_or(1, window::revision_of);
        for mut event in view.events_between(known + 1, view.revision()) {
            let kv = event.kv.as_ref().unwrap();
            let before = self.history.iter().rfind(|old| window::key_of(old) == kv.key);
            event.prev_kv = before.filter(|old| !window::is_delete(old)).and_then(|old| old.kv.clone());
            self.history.push(event);
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Put(keys, length) => {
                let keys: Vec<_> = keys.into_iter().map(key).collect();
                let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                self.bench.put_together_silently(&keys, &"v".repeat(length));
                self.record();
            }
            Op::Delete(letter) => {
                self.bench.delete_silently(&key(letter));
                self.record();
            }
            Op::Compact(back) => self.compact(self.revision() - back),
            Op::Tell => self.bench.applied(),
            Op::Open(slot) => self.open(slot),
            Op::Close(slot) => {
                if let Some((stream, _)) = self.clients.remove(&slot) {
                    self.bench.hub.close(stream);
                }
            }
            Op::Credit(slot, bytes) => {
                if let Some((stream, client)) = self.clients.get_mut(&slot) {
                    client.credit += i64::try_from(bytes).unwrap();
                    self.bench.credit(*stream, bytes);
                }
            }
            Op::Create(slot, create, start) => self.create(slot, create, start),
            Op::Cancel(slot, watch_id) => {
                if let Some((stream, client)) = self.clients.get_mut(&slot) {
                    if client.watchers.remove(&watch_id).is_some() {
                        client.replies.push_back(Reply::Canceled(watch_id));
                    }
                    self.bench.request(*stream, RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
                }
            }
            Op::Progress(slot) => {
                if let Some((stream, _)) = self.clients.get(&slot) {
                    self.bench.request(*stream, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
                }
            }
            Op::Pass(millis) => self.bench.pass(Duration::from_millis(millis)),
        }
        self.receive();
    }

    fn compact(&mut self, revision: Revision) {
        if revision > self.bench.machine.view().compacted() {
            self.bench.compact_silently(revision);
            if self.told + 1 < revision {
                self.jumped = revision;
            }
            let is_between_slices = self.bench.hub.has_work();
            for (_, client) in self.clients.values_mut() {
                client.starved = client.credit <= 0 || is_between_slices;
            }
        }
    }

    fn open(&mut self, slot: u64) {
        if !self.clients.contains_key(&slot) {
            self.opened += 1;
            let stream = StreamId(self.opened);
            self.clients.insert(slot, (stream, Client::default()));
            self.bench.hub.open(stream);
        }
    }

    fn create(&mut self, slot: u64, mut create: WatchCreateRequest, start: Option<i64>) {
        let head = self.revision();
        create.start_revision = start.map_or(0, |start| (head + 1 + start).max(-1));
        let Some((stream, client)) = self.clients.get_mut(&slot) else { return };
        let is_empty = create.range_end.len() == 1 && create.range_end[0] != 0 && create.range_end <= create.key;
        let is_taken = create.watch_id != 0 && client.watchers.contains_key(&create.watch_id);
        if create.start_revision < 0 || is_empty || is_taken {
            client.replies.push_back(Reply::Refused);
        } else {
            let mut id = create.watch_id;
            if id == 0 {
                while client.watchers.contains_key(&client.next_id) {
                    client.next_id += 1;
                }
                id = client.next_id;
                client.next_id += 1;
            }
            let from = if create.start_revision == 0 { head + 1 } else { create.start_revision };
            client.replies.push_back(Reply::Created(id));
            let seen = Seen {
                request: create.clone(),
                from,
                from_the_past: from <= head,
                through: from - 1,
                pieces: Vec::new(),
            };
            client.watchers.insert(id, seen);
        }
        self.bench.request(*stream, RequestUnion::CreateRequest(create));
    }

    /// Looks at everything that the hub sent.
    fn receive(&mut self) {
        for (stream, batch) in self.bench.pushes() {
            let slot = *self.clients.iter().find(|(_, (id, _))| *id == stream).expect("only open streams get a push").0;
            self.spend(slot, &batch);
            for response in batch {
                self.response(slot, response);
            }
        }
        self.told = self.bench.hub.cursor.max(1);
    }

    fn spend(&mut self, slot: u64, batch: &[WatchResponse]) {
        let credit = &mut self.clients.get_mut(&slot).unwrap().1.credit;
        assert!(!batch.is_empty(), "an empty push");
        let whole_before = batch[..batch.len() - 1].iter().rposition(|response| !response.fragment);
        let (others, last) = batch.split_at(whole_before.map_or(0, |at| at + 1));
        let bytes = |responses: &[WatchResponse]| responses.iter().map(Message::encoded_len).sum::<usize>() as i64;
        assert!(*credit > bytes(others), "a message without credit");
        *credit -= bytes(others) + bytes(last);
    }

    fn response(&mut self, slot: u64, response: WatchResponse) {
        let revision = response.header.as_ref().expect("a header").revision;
        let id = response.watch_id;
        let view = self.bench.machine.view();
        assert!(revision <= view.revision(), "nobody knows the future");
        let client = &mut self.clients.get_mut(&slot).unwrap().1;
        if response.created {
            let expected = if response.canceled { Reply::Refused } else { Reply::Created(id) };
            assert_eq!(client.replies.pop_front(), Some(expected), "replies come in order");
            assert_eq!(response.canceled, !response.cancel_reason.is_empty());
            client.announced.insert(id);
        } else if response.compact_revision != 0 {
            assert!(response.canceled && revision == 0 && response.events.is_empty());
            assert_eq!(response.compact_revision, view.compacted());
            let seen = client.watchers.remove(&id).expect("only what exists is canceled");
            assert!(client.announced.remove(&id), "a created reply comes first");
            let lost = seen.through + 1..view.compacted();
            assert!(!lost.is_empty(), "its position is compacted");
            let lost_one = self.history.iter().any(|e| lost.contains(&window::revision_of(e)) && seen.wants(e));
            let had_to_lag = client.starved || seen.from_the_past || seen.from < self.jumped;
            assert!(lost_one || had_to_lag, "canceled for nothing: {seen:?}");
        } else if response.canceled {
            assert_eq!(client.replies.pop_front(), Some(Reply::Canceled(id)), "replies come in order");
            client.announced.remove(&id);
        } else if response.events.is_empty() {
            client.progress_received += u64::from(id == -1);
            for (other, seen) in &mut client.watchers {
                if *other == id || id == -1 {
                    assert!(client.announced.contains(other), "a created reply comes first");
                    assert!(id == -1 || seen.request.progress_notify, "nobody asked");
                    assert!(seen.request.start_revision <= revision, "no progress before the start");
                    claim(seen, &self.history, revision, &[], view.compacted());
                }
            }
        } else {
            assert!(client.announced.contains(&id), "a created reply comes before events");
            let seen = client.watchers.get_mut(&id).expect("events are for a watcher that exists");
            assert!(!response.fragment || seen.request.fragment, "nobody asked for pieces");
            seen.pieces.extend(response.events);
            if !response.fragment {
                let events = std::mem::take(&mut seen.pieces);
                claim(seen, &self.history, revision, &events, view.compacted());
            }
        }
    }

    /// Everybody reads everything; then nothing may be missing.
    fn finish(&mut self) {
        for slot in 0..STREAMS {
            self.run(Op::Credit(slot, PLENTY));
        }
        self.run(Op::Tell);
        for slot in 0..STREAMS {
            self.run(Op::Progress(slot));
        }
        self.bench.settle();
        self.receive();
        let head = self.revision();
        let compacted = self.bench.machine.view().compacted();
        for (_, client) in self.clients.values_mut() {
            assert_eq!(client.replies, [], "every request was answered");
            let all_started = client.watchers.values().all(|seen| seen.request.start_revision <= head);
            let has_watchers = !client.watchers.is_empty();
            for seen in client.watchers.values_mut().filter(|seen| seen.from <= head) {
                claim(seen, &self.history, head, &[], compacted);
            }
            if has_watchers && all_started {
                assert!(client.progress_received > 0, "progress was asked for in the end");
            }
        }
        let (_, lagging) = self.bench.hub.watchers();
        assert_eq!(lagging, 0);
        assert!(!self.bench.hub.has_work());
    }
}

/// A watcher is told that with `events` it has everything up to `revision`: so it must be.
fn claim(seen: &mut Seen, history: &[Event], revision: Revision, events: &[Event], compacted: Revision) {
    assert!(revision >= seen.through, "claims do not go back");
    let news = seen.through + 1..=revision;
    let expected: Vec<_> = history
        .iter()
        .filter(|event| news.contains(&window::revision_of(event)) && seen.wants(event))
        .map(|event| {
            let readable = window::revision_of(event) > compacted;
            let has_before = seen.request.prev_kv && readable;
            Event { prev_kv: event.prev_kv.clone().filter(|_| has_before), ..event.clone() }
        })
        .collect();
    assert_eq!(events, expected, "claimed {news:?} by {:?}", seen.request);
    seen.through = revision;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Each watcher gets exactly the events of its range from its start on, in order, once, in whole revisions, or its
    /// end for a compaction; what is claimed was sent; nothing is sent without credit.
    #[test]
    fn every_watcher_gets_its_events_once_in_order_or_learns_of_the_compaction(
        batch_bytes in prop_oneof![Just(1usize), 30..200usize, Just(1 << 20)],
        fragment_bytes in prop_oneof![Just(1 << 20), 1..150usize],
        slice_events in prop_oneof![Just(4096usize), 1..8usize],
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let mut world = World::new(batch_bytes, fragment_bytes, slice_events);
        for slot in 0..STREAMS {
            world.open(slot);
        }
        for op in ops {
            world.run(op);
        }
        world.finish();
    }
}
