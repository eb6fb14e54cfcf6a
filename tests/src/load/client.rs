//! One client: it does its operation once, and says when that is over.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use tonic::Status;
use tonic::transport::Channel;

use super::fan_out::FanOut;
use super::lease::{KeptLease, grant};
use super::operation::{Operation, key, put, range, read_and_write, watched_key};
use super::watcher::Watcher;
use crate::rpc::kv_client::KvClient;
use crate::rpc::lease_client::LeaseClient;

/// What the clients of a run have in common.
#[derive(Clone)]
pub struct Task {
    /// What they repeat.
    pub operation: Operation,
    /// What they write.
    pub value: Bytes,
    /// How many keys a range has: no more than the key space.
    pub limit: u64,
    /// Keys are drawn from this many.
    pub key_space: u64,
    /// The watchers of all keys that are written; without, each client has one of its own.
    pub fan_out: Option<FanOut>,
}

/// One client: its connection, and the streams that it needs.
pub struct Client {
    task: Task,
    number: u64,
    kv: KvClient<Channel>,
    leases: LeaseClient<Channel>,
    watcher: Option<Watcher>,
    kept_lease: Option<KeptLease>,
}

impl Client {
    /// A client on `channel`; `number` tells it from others.
    ///
    /// # Errors
    /// Its watcher or its lease cannot be created.
    pub async fn open(task: Task, channel: Channel, number: u64) -> Result<Client, Status> {
        let watches_alone = task.operation == Operation::Watch && task.fan_out.is_none();
        let watcher =
            if watches_alone { Some(Watcher::open(channel.clone(), watched_key(number)).await?) } else { None };
        let keeps = task.operation == Operation::LeaseKeepalive;
        let kept_lease = if keeps { Some(KeptLease::open(channel.clone()).await?) } else { None };
        let kv = KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
        Ok(Client { task, number, kv, leases: LeaseClient::new(channel), watcher, kept_lease })
    }

    /// Does the operation once, on the key with number `number`.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn perform(&mut self, number: u64) -> Result<(), Status> {
        match self.task.operation {
            Operation::Put => {
                self.kv.put(put(key(number), self.task.value.clone())).await?;
            }
            Operation::Get => {
                let request = pb::RangeRequest { key: key(number), ..Default::default() };
                expect_keys(&self.kv.range(request).await?.into_inner(), 1)?;
            }
            Operation::Range => self.read_range(number).await?,
            Operation::Txn => {
                self.kv.txn(read_and_write(&key(number), &self.task.value)).await?;
            }
            Operation::Watch => self.write_and_be_told().await?,
            Operation::LeaseGrant => {
                grant(&mut self.leases).await?;
            }
            Operation::LeaseKeepalive => {
                self.kept_lease.as_mut().expect("a client that renews has a lease").renew().await?;
            }
        }
        Ok(())
    }

    /// Reads as many keys as asked for: from this one on, or the last ones.
    async fn read_range(&mut self, number: u64) -> Result<(), Status> {
        let count = self.task.limit;
        let first = number.min(self.task.key_space - count);
        expect_keys(&self.kv.range(range(first, count)).await?.into_inner(), count)
    }

    async fn write_and_be_told(&mut self) -> Result<(), Status> {
        let write = put(watched_key(self.number), self.task.value.clone());
        let response = self.kv.put(write).await?.into_inner();
        let revision = response.header.map_or(0, |header| header.revision);
        match (&mut self.task.fan_out, &mut self.watcher) {
            (Some(fan_out), _) => fan_out.wait(revision).await,
            (None, Some(watcher)) => watcher.wait(revision).await,
            (None, None) => unreachable!("a client that watches has a watcher"),
        }
    }
}

/// A read that finds less than was written measures something else than what was asked for.
fn expect_keys(response: &pb::RangeResponse, count: u64) -> Result<(), Status> {
    if response.kvs.len() as u64 == count {
        return Ok(());
    }
    Err(Status::not_found(format!("{} of {count} keys that were written are there", response.kvs.len())))
}
