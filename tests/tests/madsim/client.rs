//! Clients under madsim: one operation at a time by datagrams that may be lost, and watchers on streams that may break.
//! They draw and learn as the clients of a real run do.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use detcd_core::api::Response;
use detcd_core::proto::etcdserverpb::{WatchCreateRequest, WatchRequest, WatchResponse, watch_request};
use detcd_scenarios::history_file::outcome_of_error;
use detcd_sim::history::{ClientId, HistoryEvent, OpId, Outcome, WatcherId};
use detcd_tests::recording::go_on_after;
use detcd_tests::recording::workload::{Known, Step, draw_step};
use madsim::net::{Endpoint, TcpStream};
use madsim::time::{sleep, timeout};

use crate::member::{Answered, Asked, CALL_TAG, MEMBERS, datagrams_of, read_message, streams_of, write_message};
use crate::record::{Recorder, Seen};

/// After this long nobody waits for an answer any more; its outcome is unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
/// A watcher that hears nothing for so long looks for another member.
const SILENCE_MAX: Duration = Duration::from_secs(2);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);
/// The first tag for answers.
const REPLY_TAGS: u64 = 1_000;

/// What all clients of a run share.
pub struct Load {
    /// The seed of the run.
    pub seed: u64,
    /// Who takes down what they do and see.
    pub recorder: Arc<Recorder>,
    /// Set when they have to stop.
    pub stop: AtomicBool,
    ops: AtomicU64,
    watchers: AtomicU64,
    /// The newest revision that any of them has learnt of.
    told: AtomicI64,
    writes: AtomicU64,
    unknown: AtomicU64,
}

impl Load {
    /// Nothing done yet.
    pub fn new(seed: u64, recorder: Arc<Recorder>) -> Load {
        Load {
            seed,
            recorder,
            stop: AtomicBool::new(false),
            ops: AtomicU64::new(0),
            watchers: AtomicU64::new(0),
            told: AtomicI64::new(1),
            writes: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
        }
    }

    /// How many writes were acknowledged.
    pub fn acknowledged_writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Of how many operations nobody knows how they ended.
    pub fn unknown_outcomes(&self) -> u64 {
        self.unknown.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn see(&self, event: HistoryEvent) {
        self.recorder.see(Seen::History(event));
    }
}

/// The address of a client's machine.
pub fn ip(client: u32) -> Ipv4Addr {
    [10, 0, 1, u8::try_from(client + 1).expect("few clients")].into()
}

/// A client and what it believes.
pub struct Client {
    id: ClientId,
    load: Arc<Load>,
    endpoint: Endpoint,
    /// Whom it asks; counts on when an answer does not come.
    turn: usize,
    next_tag: u64,
    known: Known,
}

impl Client {
    /// A client on the machine that the task runs on.
    pub async fn new(id: u32, load: Arc<Load>) -> Client {
        let endpoint = Endpoint::bind((ip(id), 1)).await.expect("the address is the client's own");
        let turn = usize::try_from(id).expect("u32 fits");
        Client { id: ClientId(id), load, endpoint, turn, next_tag: REPLY_TAGS, known: Known::default() }
    }

    /// Works until the load is over.
    pub async fn work(mut self) {
        for number in 0.. {
            if self.load.is_over() {
                return;
            }
            self.known.told = self.load.told.load(Ordering::Relaxed);
            let step = draw_step(self.load.seed, u64::from(self.id.0), number, &self.known);
            if self.perform(&step).await.is_none() {
                sleep(PAUSE).await;
            }
        }
    }

    /// Does `step` once, whatever comes of it; gives the response if there is one.
    pub async fn perform(&mut self, step: &Step) -> Option<Response> {
        let op = OpId(self.load.ops.fetch_add(1, Ordering::Relaxed) + 1);
        self.load.see(HistoryEvent::Invoke { op, client: self.id, request: step.request() });
        let outcome = match self.ask(step).await {
            Some(Ok(response)) => Outcome::Ok(response),
            Some(Err(status)) => outcome_of_error(status.message()),
            None => Outcome::Unknown,
        };
        self.load.see(HistoryEvent::Return { op, outcome: outcome.clone() });
        match outcome {
            Outcome::Ok(response) => {
                self.known.learn(step, &response);
                self.load.told.fetch_max(revision_of(&response).unwrap_or(0), Ordering::Relaxed);
                self.load.writes.fetch_add(u64::from(step.writes()), Ordering::Relaxed);
                return Some(response);
            }
            Outcome::Failed(_) => {}
            Outcome::Unknown => {
                self.turn += 1;
                self.load.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.known.forget_lease(step);
        None
    }

    /// The answer, if one comes in time.
    async fn ask(&mut self, step: &Step) -> Option<Answered> {
        self.next_tag += 1;
        let asked = Asked { reply_tag: self.next_tag, patience: ANSWER_WITHIN, request: step.request() };
        let member = datagrams_of(self.turn % MEMBERS);
        self.endpoint.send_to_raw(member, CALL_TAG, Box::new(asked)).await.ok()?;
        let (answered, _) = timeout(ANSWER_WITHIN, self.endpoint.recv_from_raw(self.next_tag)).await.ok()?.ok()?;
        Some(*answered.downcast::<Answered>().expect("only members use this tag"))
    }
}

/// Follows the keys from `key` to `range_end`, and resumes elsewhere when its stream breaks, until the load is over.
pub async fn follow(id: u32, load: Arc<Load>, key: &'static str, range_end: &'static str) {
    let mut request = WatchCreateRequest {
        key: key.as_bytes().into(),
        range_end: range_end.as_bytes().into(),
        prev_kv: id.is_multiple_of(2),
        ..Default::default()
    };
    for turn in usize::try_from(id).expect("u32 fits").. {
        let watcher = WatcherId(load.watchers.fetch_add(1, Ordering::Relaxed) + 1);
        load.see(HistoryEvent::WatchOpen { watcher, client: ClientId(id), request: request.clone() });
        if let Some(mut stream) = open(turn, &request).await {
            while let Some(response) = next_response(&mut stream).await {
                let canceled = response.canceled;
                go_on_after(&mut request, &response);
                load.see(HistoryEvent::WatchReceive { watcher, response });
                if canceled || load.is_over() {
                    break;
                }
            }
        }
        load.see(HistoryEvent::WatchEnd { watcher });
        if load.is_over() {
            return;
        }
        sleep(PAUSE).await;
    }
}

async fn open(turn: usize, request: &WatchCreateRequest) -> Option<TcpStream> {
    let mut stream = timeout(SILENCE_MAX, TcpStream::connect(streams_of(turn % MEMBERS))).await.ok()?.ok()?;
    let create = watch_request::RequestUnion::CreateRequest(request.clone());
    write_message(&mut stream, &WatchRequest { request_union: Some(create) }).await.ok()?;
    Some(stream)
}

/// `None` when the stream breaks or is silent for too long.
async fn next_response(stream: &mut TcpStream) -> Option<WatchResponse> {
    timeout(SILENCE_MAX, read_message(stream)).await.ok()?.ok()?
}

/// The revision in the header of a response to a read or write of keys.
pub fn revision_of(response: &Response) -> Option<i64> {
    let header = match response {
        Response::Put(response) => response.header,
        Response::Range(response) => response.header,
        Response::DeleteRange(response) => response.header,
        Response::Txn(response) => response.header,
        _ => None,
    };
    header.map(|header| header.revision)
}
