//! What one client does again and again.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::rpc::kv_client::KvClient;
use crate::rpc::watch_client::WatchClient;

/// Which operation the clients repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Operation {
    /// Writes one key.
    Put,
    /// Reads one key, linearizably.
    Get,
    /// Reads 100 keys in a row, linearizably.
    Range,
    /// Reads and overwrites one key if it exists, else creates it.
    Txn,
    /// Writes one key and waits until a watcher of it is told.
    Watch,
}

impl Operation {
    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Range => "range",
            Operation::Txn => "txn",
            Operation::Watch => "watch",
        }
    }

    /// Whether the keys have to exist before it makes sense.
    pub fn reads(self) -> bool {
        matches!(self, Operation::Get | Operation::Range)
    }
}

/// How many keys [`Operation::Range`] reads.
const RANGE_LIMIT: i64 = 100;

/// The key with this number: 16 bytes, in order of the numbers.
pub fn key(number: u64) -> Bytes {
    Bytes::from(format!("load/{number:011}"))
}

/// One client: its connection, and its watcher if it needs one.
pub struct Client {
    operation: Operation,
    kv: KvClient<Channel>,
    value: Bytes,
    watcher: Option<Watcher>,
}

struct Watcher {
    key: Bytes,
    // The stream lives as long as its sending half.
    _requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl Client {
    /// A client on `channel` that writes `value`; `number` tells it from others.
    ///
    /// # Errors
    /// Its watcher cannot be created.
    pub async fn open(operation: Operation, channel: Channel, value: Bytes, number: u64) -> Result<Client, Status> {
        let watcher = match operation {
            Operation::Watch => Some(Watcher::open(channel.clone(), number).await?),
            _ => None,
        };
        Ok(Client { operation, kv: KvClient::new(channel), value, watcher })
    }

    /// Does the operation once, on the key with number `number`.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn perform(&mut self, number: u64) -> Result<(), Status> {
        match self.operation {
            Operation::Put => {
                self.kv.put(put(key(number), self.value.clone())).await?;
            }
            Operation::Get => {
                let request = pb::RangeRequest { key: key(number), ..Default::default() };
                expect_some(&self.kv.range(request).await?.into_inner())?;
            }
            Operation::Range => {
                let range_end = Bytes::from_static(b"load0");
                let request =
                    pb::RangeRequest { key: key(number), range_end, limit: RANGE_LIMIT, ..Default::default() };
                expect_some(&self.kv.range(request).await?.into_inner())?;
            }
            Operation::Txn => {
                self.kv.txn(read_and_write(&key(number), &self.value)).await?;
            }
            Operation::Watch => {
                let watcher = self.watcher.as_mut().expect("a client that watches has a watcher");
                let response = self.kv.put(put(watcher.key.clone(), self.value.clone())).await?.into_inner();
                watcher.wait(response.header.map_or(0, |header| header.revision)).await?;
            }
        }
        Ok(())
    }
}

impl Watcher {
    async fn open(channel: Channel, number: u64) -> Result<Watcher, Status> {
        let key = Bytes::from(format!("watched/{number:08}"));
        let (requests, outgoing) = mpsc::channel(1);
        let create = pb::WatchCreateRequest { key: key.clone(), ..Default::default() };
        let union = pb::watch_request::RequestUnion::CreateRequest(create);
        let request = pb::WatchRequest { request_union: Some(union) };
        requests.send(request).await.map_err(|_| Status::internal("the watch stream takes no request"))?;
        let mut responses = WatchClient::new(channel).watch(ReceiverStream::new(outgoing)).await?.into_inner();
        match responses.message().await? {
            Some(response) if response.created && !response.canceled => {
                Ok(Watcher { key, _requests: requests, responses })
            }
            other => Err(Status::unknown(format!("a watcher was not created: {other:?}"))),
        }
    }

    /// Waits for the event of the write with this revision.
    async fn wait(&mut self, revision: i64) -> Result<(), Status> {
        loop {
            let response = self.responses.message().await?.ok_or_else(|| Status::unknown("the watch stream ended"))?;
            if response.canceled {
                return Err(Status::unknown(format!("a watcher was cancelled: {}", response.cancel_reason)));
            }
            let newest = response.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            if newest >= revision {
                return Ok(());
            }
        }
    }
}

/// A read that finds nothing measures something else than what was asked for.
fn expect_some(response: &pb::RangeResponse) -> Result<(), Status> {
    if response.kvs.is_empty() { Err(Status::not_found("a key that was written is not there")) } else { Ok(()) }
}

/// A put of `value` at `key`.
pub fn put(key: Bytes, value: Bytes) -> pb::PutRequest {
    pb::PutRequest { key, value, ..Default::default() }
}

fn read_and_write(key: &Bytes, value: &Bytes) -> pb::TxnRequest {
    use pb::request_op::Request;
    let operation = |request| pb::RequestOp { request: Some(request) };
    let write = operation(Request::RequestPut(put(key.clone(), value.clone())));
    let read = operation(Request::RequestRange(pb::RangeRequest { key: key.clone(), ..Default::default() }));
    let exists = pb::Compare {
        result: pb::compare::CompareResult::Greater.into(),
        target: pb::compare::CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(0)),
        ..Default::default()
    };
    pb::TxnRequest { compare: vec![exists], success: vec![read, write.clone()], failure: vec![write] }
}
