//! One recorded client: the crate `etcd-client`, one operation at a time, on to the next member when one fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use detcd_core::api::Response;
use detcd_scenarios::history_file::outcome_of_error;
use detcd_sim::history::{ClientId, Outcome};
use etcd_client::{Client, ConnectOptions, Error, LeaseKeepAliveStream, LeaseKeeper};

use super::workload::{
    Known, Step, delete_options, draw_step, get_options, grant_options, put_options, scan_options, swap_txn,
};
use super::{ANSWER_WITHIN, CONNECT_WITHIN, Recorder, convert};

/// A client and what it believes.
pub(super) struct RecordedClient {
    id: ClientId,
    endpoints: Vec<String>,
    /// Which endpoint is used; counts on when one fails.
    turn: usize,
    connection: Option<Connection>,
    recorder: Arc<Recorder>,
    /// The newest revision that the witness has told of.
    told: Arc<AtomicI64>,
    known: Known,
    writes: u64,
}

/// A connection to one member, and the stream on it that keeps this lease alive.
struct Connection {
    client: Client,
    keeper: Option<(i64, LeaseKeeper, LeaseKeepAliveStream)>,
}

impl RecordedClient {
    pub(super) fn new(
        id: ClientId,
        endpoints: Vec<String>,
        recorder: Arc<Recorder>,
        told: Arc<AtomicI64>,
    ) -> RecordedClient {
        let turn = usize::try_from(id.0).expect("u32 fits");
        RecordedClient { id, endpoints, turn, connection: None, recorder, told, known: Known::default(), writes: 0 }
    }

    /// How many of its writes were acknowledged.
    pub(super) fn acknowledged_writes(&self) -> u64 {
        self.writes
    }

    /// Does its operation number `number`; tells whether it was answered.
    pub(super) async fn step(&mut self, seed: u64, number: u64) -> bool {
        self.known.told = self.told.load(Ordering::Acquire);
        let step = draw_step(seed, u64::from(self.id.0), number, &self.known);
        self.perform(&step).await.is_some()
    }

    /// Does `step` once, whatever comes of it; gives the response if there is one.
    pub(super) async fn perform(&mut self, step: &Step) -> Option<Response> {
        let mut connection = self.connection().await?;
        let op = self.recorder.invoke(self.id, step.request());
        let outcome = match tokio::time::timeout(ANSWER_WITHIN, connection.send(step)).await {
            Ok(Ok(response)) => Outcome::Ok(response),
            Ok(Err(Error::GRpcStatus(status))) => outcome_of_error(status.message()),
            Ok(Err(_)) | Err(_) => Outcome::Unknown,
        };
        self.recorder.finish(op, outcome.clone());
        match outcome {
            Outcome::Ok(response) => {
                self.connection = Some(connection);
                self.known.learn(step, &response);
                self.writes += u64::from(step.writes());
                Some(response)
            }
            Outcome::Failed(_) => {
                // The member is well, and so is the connection. If it was a lease that failed, the next one is new.
                self.connection = Some(connection);
                self.known.forget_lease(step);
                None
            }
            Outcome::Unknown => {
                self.turn += 1;
                self.known.forget_lease(step);
                None
            }
        }
    }

    async fn connection(&mut self) -> Option<Connection> {
        if let Some(connection) = self.connection.take() {
            return Some(connection);
        }
        let endpoint = &self.endpoints[self.turn % self.endpoints.len()];
        let options = ConnectOptions::new().with_connect_timeout(CONNECT_WITHIN).with_timeout(ANSWER_WITHIN);
        let connected = Client::connect([endpoint], Some(options)).await;
        if connected.is_err() {
            self.turn += 1;
        }
        connected.ok().map(|client| Connection { client, keeper: None })
    }
}

impl Connection {
    async fn send(&mut self, step: &Step) -> Result<Response, Error> {
        let client = &mut self.client;
        Ok(match step {
            Step::Put { key, value, prev_kv, lease } => {
                let options = put_options(*prev_kv, *lease);
                Response::Put(convert::put(&client.put(key.clone(), value.clone(), Some(options)).await?))
            }
            Step::Get { key, serializable, revision } => {
                let options = get_options(*serializable, *revision);
                Response::Range(convert::range(&client.get(key.clone(), Some(options)).await?))
            }
            Step::Scan { key, limit } => {
                Response::Range(convert::range(&client.get(key.clone(), Some(scan_options(*limit))).await?))
            }
            Step::Delete { key } => {
                let response = client.delete(key.clone(), Some(delete_options())).await?;
                Response::DeleteRange(convert::delete_range(&response))
            }
            Step::Swap { key, expected, other, value } => {
                Response::Txn(convert::txn(&client.txn(swap_txn(key, *expected, other, value)).await?))
            }
            Step::Grant { lease, ttl_s } => {
                Response::LeaseGrant(convert::grant(&client.lease_grant(*ttl_s, Some(grant_options(*lease))).await?))
            }
            Step::KeepAlive { lease } => Response::LeaseKeepAlive(self.keep_alive(*lease).await?),
            Step::Revoke { lease } => Response::LeaseRevoke(convert::revocation(&client.lease_revoke(*lease).await?)),
            Step::Compact { revision } => {
                Response::Compact(convert::compaction(&client.compact(*revision, None).await?))
            }
        })
    }

    /// Renews a lease. The stream is opened when the lease is renewed for the first time on this connection, and then
    /// kept: its first response is etcd-client's own affair.
    async fn keep_alive(
        &mut self,
        lease: i64,
    ) -> Result<detcd_core::proto::etcdserverpb::LeaseKeepAliveResponse, Error> {
        let (mut keeper, mut stream) = match self.keeper.take() {
            Some((kept, keeper, stream)) if kept == lease => (keeper, stream),
            _ => self.client.lease_keep_alive(lease).await?,
        };
        keeper.keep_alive().await?;
        let response = stream.message().await?;
        let response = response.ok_or_else(|| Error::LeaseKeepAliveError("the stream has ended".into()))?;
        self.keeper = Some((lease, keeper, stream));
        Ok(convert::keep_alive(&response))
    }
}
