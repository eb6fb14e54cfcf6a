//! Watchers of a recorded run: the witness, who tells what each revision did, and ordinary ones, who are judged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use detcd_core::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use detcd_core::proto::mvccpb::Event;
use detcd_sim::history::{ClientId, HistoryEvent};
use etcd_client::{Client, ConnectOptions, WatchOptions, WatchStream};

use super::{Recorder, convert};

/// A watcher that hears nothing for so long looks for another member: its own may be paused or cut off.
const SILENCE_MAX: Duration = Duration::from_secs(2);

/// What all watchers of a run share.
#[derive(Clone)]
pub(super) struct Watching {
    pub(super) endpoints: Vec<String>,
    pub(super) recorder: Arc<Recorder>,
    /// Set when the run is over.
    pub(super) over: Arc<AtomicBool>,
    /// The newest revision that the witness has told of.
    pub(super) told: Arc<AtomicI64>,
}

impl Watching {
    /// Opens a stream at the member whose turn it is, from `next` on.
    async fn open(&self, turn: usize, request: &WatchCreateRequest) -> Option<WatchStream> {
        let endpoint = &self.endpoints[turn % self.endpoints.len()];
        let options = ConnectOptions::new().with_connect_timeout(Duration::from_secs(1));
        let mut client = Client::connect([endpoint], Some(options)).await.ok()?;
        let mut watch =
            WatchOptions::new().with_range(request.range_end.clone()).with_start_revision(request.start_revision);
        if request.prev_kv {
            watch = watch.with_prev_key();
        }
        let opening = client.watch(request.key.clone(), Some(watch));
        tokio::time::timeout(SILENCE_MAX, opening).await.ok()?.ok()
    }

    /// Follows all keys from revision 2, the first that does something, and tells what each revision did.
    pub(super) async fn witness(self) {
        let mut request = WatchCreateRequest {
            key: vec![0].into(),
            range_end: vec![0].into(),
            start_revision: 2,
            ..Default::default()
        };
        for turn in 0.. {
            if let Some(mut stream) = self.open(turn, &request).await {
                while let Some(response) = next_response(&mut stream).await {
                    // The past is given up only behind the witness, so it is not canceled for that.
                    if response.canceled {
                        break;
                    }
                    for (revision, events) in by_revision(&response) {
                        assert_eq!(revision, request.start_revision, "revisions come one by one");
                        self.recorder.line(HistoryEvent::Revision { revision, events: events.into() });
                        self.told.store(revision, Ordering::Release);
                        request.start_revision = revision + 1;
                    }
                    if self.over.load(Ordering::Acquire) {
                        return;
                    }
                }
            }
            if self.over.load(Ordering::Acquire) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// An ordinary client that follows the keys from `key` to `range_end` and resumes elsewhere when its stream breaks.
    pub(super) async fn follow(self, client: ClientId, key: &'static str, range_end: &'static str) {
        let mut request = WatchCreateRequest {
            key: key.as_bytes().into(),
            range_end: range_end.as_bytes().into(),
            prev_kv: client.0.is_multiple_of(2),
            ..Default::default()
        };
        for turn in usize::try_from(client.0).expect("u32 fits").. {
            let watcher = self.recorder.next_watcher();
            self.recorder.line(HistoryEvent::WatchOpen { watcher, client, request: request.clone() });
            if let Some(mut stream) = self.open(turn, &request).await {
                while let Some(response) = next_response(&mut stream).await {
                    let canceled = response.canceled;
                    go_on_after(&mut request, &response);
                    self.recorder.line(HistoryEvent::WatchReceive { watcher, response });
                    if canceled || self.over.load(Ordering::Acquire) {
                        break;
                    }
                }
            }
            self.recorder.line(HistoryEvent::WatchEnd { watcher });
            if self.over.load(Ordering::Acquire) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Makes `request`, to which `response` came, ask for what comes after it.
pub fn go_on_after(request: &mut WatchCreateRequest, response: &WatchResponse) {
    // What the watcher has missed is given up: all that is left begins there.
    request.start_revision = request.start_revision.max(response.compact_revision);
    let seen = response.events.last().and_then(|event| event.kv.as_ref()).map(|kv| kv.mod_revision);
    let created = response.created.then(|| response.header.map_or(0, |header| header.revision));
    if let Some(seen) = seen.or(created.filter(|_| request.start_revision == 0)) {
        request.start_revision = seen + 1;
    }
}

/// What the watcher is told next; `None` when its stream breaks or is silent for too long.
async fn next_response(stream: &mut WatchStream) -> Option<WatchResponse> {
    let response = tokio::time::timeout(SILENCE_MAX, stream.message()).await.ok()?.ok()??;
    Some(convert::watch(&response))
}

/// The events of a response, revision by revision.
fn by_revision(response: &WatchResponse) -> Vec<(i64, Vec<Event>)> {
    let mut revisions: Vec<(i64, Vec<Event>)> = Vec::new();
    for event in &response.events {
        let revision = event.kv.as_ref().expect("every event is of a key").mod_revision;
        match revisions.last_mut() {
            Some((last, events)) if *last == revision => events.push(event.clone()),
            _ => revisions.push((revision, vec![event.clone()])),
        }
    }
    revisions
}
