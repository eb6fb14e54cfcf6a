//! Tests of the hub on a real state machine: the contract point by point, and against a plain model.

mod contract;
mod edges;
mod model;
mod volume;

use bytes::Bytes;

use super::*;
use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb::event::EventType;
use crate::proto::mvccpb::{Event, KeyValue};
use crate::state_machine::{Command, StateMachine};

/// Credit that is never used up.
const PLENTY: u64 = 1 << 40;
const STREAM: StreamId = StreamId(7);

/// A hub, its store, and what it sends.
struct Bench {
    machine: StateMachine,
    hub: WatchHub,
    out: Outputs,
    now: Instant,
}

impl Bench {
    fn new() -> Bench {
        Bench::with(WatchHub::new(1 << 20, Duration::from_secs(600)))
    }

    fn with(hub: WatchHub) -> Bench {
        Bench { machine: StateMachine::default(), hub, out: Outputs::default(), now: Instant::from_millis(1) }
    }

    /// With one stream that has all the credit it needs.
    fn with_stream() -> Bench {
        let mut bench = Bench::new();
        bench.open(STREAM, PLENTY);
        bench
    }

    fn header() -> ResponseHeader {
        ResponseHeader { cluster_id: 11, member_id: 12, raft_term: 13, revision: 0 }
    }

    /// Applies an entry without telling the hub.
    fn apply(&mut self, request: pb::InternalRaftRequest) {
        let index = self.machine.applied().next();
        self.machine.apply(index, &Command::from(request)).result.expect("the entry is valid");
    }

    fn put_silently(&mut self, key: &str, value: &str) {
        let put = pb::PutRequest { key: bytes_of(key), value: bytes_of(value), ..Default::default() };
        self.apply(pb::InternalRaftRequest { put: Some(put), ..Default::default() });
    }

    fn delete_silently(&mut self, key: &str) {
        let delete_range = pb::DeleteRangeRequest { key: bytes_of(key), ..Default::default() };
        self.apply(pb::InternalRaftRequest { delete_range: Some(delete_range), ..Default::default() });
    }

    /// Puts several keys in one transaction, without telling the hub.
    fn put_together_silently(&mut self, keys: &[&str], value: &str) {
        let success = keys.iter().map(|key| {
            let put = pb::PutRequest { key: bytes_of(key), value: bytes_of(value), ..Default::default() };
            pb::RequestOp { request: Some(pb::request_op::Request::RequestPut(put)) }
        });
        let txn = pb::TxnRequest { success: success.collect(), ..Default::default() };
        self.apply(pb::InternalRaftRequest { txn: Some(txn), ..Default::default() });
    }

    fn compact_silently(&mut self, revision: Revision) {
        let compaction = pb::CompactionRequest { revision, physical: false };
        self.apply(pb::InternalRaftRequest { compaction: Some(compaction), ..Default::default() });
    }

    fn put(&mut self, key: &str, value: &str) {
        self.put_silently(key, value);
        self.applied();
    }

    fn delete(&mut self, key: &str) {
        self.delete_silently(key);
        self.applied();
    }

    fn compact(&mut self, revision: Revision) {
        self.compact_silently(revision);
        self.applied();
    }

    fn applied(&mut self) {
        self.hub.applied(&self.machine.view(), &Bench::header(), self.now, &mut self.out);
    }

    fn open(&mut self, stream: StreamId, credit: u64) {
        self.hub.open(stream);
        self.credit(stream, credit);
    }

    fn credit(&mut self, stream: StreamId, bytes: u64) {
        self.hub.credit(stream, bytes, &self.machine.view(), &Bench::header(), self.now, &mut self.out);
    }

    fn request(&mut self, stream: StreamId, union: RequestUnion) {
        let request = WatchRequest { request_union: Some(union) };
        self.hub.request(stream, request, &self.machine.view(), &Bench::header(), self.now, &mut self.out);
    }

    fn create(&mut self, request: WatchCreateRequest) {
        self.request(STREAM, RequestUnion::CreateRequest(request));
    }

    fn cancel(&mut self, watch_id: WatchId) {
        self.request(STREAM, RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
    }

    fn ask_for_progress(&mut self) {
        self.request(STREAM, RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.hub.wake(self.now, &self.machine.view(), &Bench::header(), &mut self.out);
    }

    /// Lets the hub do all that it can do at once.
    fn settle(&mut self) {
        while self.hub.pump(&self.machine.view(), &Bench::header(), self.now, &mut self.out) {}
    }

    /// Takes what was pushed, stream by stream in the order of the effects.
    fn pushes(&mut self) -> Vec<(StreamId, Vec<WatchResponse>)> {
        let effects = std::mem::take(&mut self.out.effects);
        effects
            .into_iter()
            .map(|effect| match effect {
                Effect::Push { stream, batch } => {
                    (stream, batch.into_iter().map(WatchMessage::into_response).collect())
                }
                other => panic!("not a push: {other:?}"),
            })
            .collect()
    }

    /// Takes what was pushed to the only stream.
    fn responses(&mut self) -> Vec<WatchResponse> {
        self.pushes().into_iter().flat_map(|(_, batch)| batch).collect()
    }

    /// Takes what was pushed to the only stream, as short lines.
    fn told(&mut self) -> Vec<String> {
        self.responses().iter().map(line).collect()
    }
}

fn bytes_of(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn watch(key: &str) -> WatchCreateRequest {
    WatchCreateRequest { key: bytes_of(key), ..Default::default() }
}

fn watch_span(key: &str, end: &str) -> WatchCreateRequest {
    WatchCreateRequest { range_end: bytes_of(end), ..watch(key) }
}

fn watch_from(key: &str, start_revision: Revision) -> WatchCreateRequest {
    WatchCreateRequest { start_revision, ..watch(key) }
}

/// A response as a short line: id, header revision, what.
fn line(response: &WatchResponse) -> String {
    let header = response.header.as_ref().expect("every response has a header");
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), (11, 12, 13));
    let mut line = format!("{}@{}", response.watch_id, header.revision);
    for (flag, word) in
        [(response.created, " created"), (response.canceled, " canceled"), (response.fragment, " fragment")]
    {
        line += if flag { word } else { "" };
    }
    if response.compact_revision != 0 {
        line += &format!(" compacted={}", response.compact_revision);
    }
    if !response.cancel_reason.is_empty() {
        line += &format!(" '{}'", response.cancel_reason);
    }
    for event in &response.events {
        line += &format!(" {}", event_line(event));
    }
    line
}

fn event_line(event: &Event) -> String {
    let kv = event.kv.as_ref().expect("every event has a key");
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).expect("test keys are text");
    let change = if event.r#type == EventType::Delete as i32 {
        format!("-{}", text(&kv.key))
    } else {
        format!("{}={}", text(&kv.key), text(&kv.value))
    };
    let before = event.prev_kv.as_ref().map_or(String::new(), |kv| format!("(was {})", text(&kv.value)));
    format!("{}:{change}{before}", kv.mod_revision)
}
