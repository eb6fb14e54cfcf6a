//! One recorded client: the crate `etcd-client`, one operation at a time, on to the next member when one fails.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use detcd_core::api::{Response, Status};
use detcd_sim::history::{ClientId, Outcome};
use etcd_client::{Client, ConnectOptions, Error};

use super::workload::{Step, delete_options, draw_step, get_options, put_options, scan_options, swap_txn};
use super::{Recorder, convert};

/// After this long nobody waits for an answer any more; its outcome is unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A client and what it believes.
pub(super) struct RecordedClient {
    id: ClientId,
    endpoints: Vec<String>,
    /// Which endpoint is used; counts on when one fails.
    turn: usize,
    connection: Option<Client>,
    recorder: Arc<Recorder>,
    /// The revisions of keys as last seen.
    seen: BTreeMap<Bytes, i64>,
    writes: u64,
}

impl RecordedClient {
    pub(super) fn new(id: ClientId, endpoints: Vec<String>, recorder: Arc<Recorder>) -> RecordedClient {
        let turn = usize::try_from(id.0).expect("u32 fits");
        RecordedClient { id, endpoints, turn, connection: None, recorder, seen: BTreeMap::new(), writes: 0 }
    }

    /// How many of its writes were acknowledged.
    pub(super) fn acknowledged_writes(&self) -> u64 {
        self.writes
    }

    /// Does its operation number `number`; tells whether it was answered.
    pub(super) async fn step(&mut self, seed: u64, number: u64) -> bool {
        let seen = &self.seen;
        let step = draw_step(seed, u64::from(self.id.0), number, |key| seen.get(key).copied().unwrap_or(0));
        self.perform(&step).await.is_some()
    }

    /// Does `step` once, whatever comes of it; gives the response if there is one.
    pub(super) async fn perform(&mut self, step: &Step) -> Option<Response> {
        let mut connection = self.connection().await?;
        let op = self.recorder.invoke(self.id, step.request());
        let outcome = match tokio::time::timeout(ANSWER_WITHIN, send(&mut connection, step)).await {
            Ok(Ok(response)) => Outcome::Ok(response),
            Ok(Err(error)) => outcome_of(&error),
            Err(_elapsed) => Outcome::Unknown,
        };
        let response = match &outcome {
            Outcome::Ok(response) => Some(response.clone()),
            Outcome::Failed(_) | Outcome::Unknown => None,
        };
        self.recorder.finish(op, outcome);
        match &response {
            Some(response) => {
                self.connection = Some(connection);
                self.learn(step, response);
            }
            None => self.turn += 1,
        }
        response
    }

    async fn connection(&mut self) -> Option<Client> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        let endpoint = &self.endpoints[self.turn % self.endpoints.len()];
        let options = ConnectOptions::new().with_connect_timeout(CONNECT_WITHIN).with_timeout(ANSWER_WITHIN);
        let connected = Client::connect([endpoint], Some(options)).await;
        if connected.is_err() {
            self.turn += 1;
        }
        connected.ok()
    }

    fn learn(&mut self, step: &Step, response: &Response) {
        self.writes += u64::from(step.writes());
        let learnt = match (step, response) {
            (Step::Put { key, .. }, Response::Put(put)) => put.header.map(|header| (key.clone(), header.revision)),
            (Step::Get { key, .. }, Response::Range(range)) => {
                Some((key.clone(), range.kvs.first().map_or(0, |kv| kv.mod_revision)))
            }
            _ => None,
        };
        self.seen.extend(learnt);
    }
}

async fn send(client: &mut Client, step: &Step) -> Result<Response, Error> {
    Ok(match step {
        Step::Put { key, value, prev_kv } => {
            let response = client.put(key.clone(), value.clone(), put_options(*prev_kv)).await?;
            Response::Put(convert::put(&response))
        }
        Step::Get { key, serializable } => {
            Response::Range(convert::range(&client.get(key.clone(), get_options(*serializable)).await?))
        }
        Step::Scan { key, limit } => {
            Response::Range(convert::range(&client.get(key.clone(), scan_options(*limit)).await?))
        }
        Step::Delete { key } => {
            Response::DeleteRange(convert::delete_range(&client.delete(key.clone(), delete_options()).await?))
        }
        Step::Swap { key, expected, other, value } => {
            Response::Txn(convert::txn(&client.txn(swap_txn(key, *expected, other, value)).await?))
        }
    })
}

/// An error claims that nothing was done only if it is a refusal of etcd's with a code that says so. Whatever has to
/// do with availability may hide a write that happens yet.
fn outcome_of(error: &Error) -> Outcome {
    use detcd_core::api::Code;
    let Error::GRpcStatus(told) = error else { return Outcome::Unknown };
    let known = Status::ALL.iter().find(|status| status.message() == told.message());
    match known {
        Some(status) if !matches!(status.code(), Code::Unavailable | Code::Unknown) => Outcome::Failed(*status),
        _ => Outcome::Unknown,
    }
}
