//! Writing many keys before anything is measured: in transactions, many of them at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::Channel;

use super::operation::{key, put};
use crate::rpc::kv_client::KvClient;

/// One transaction carries at most about this many bytes: servers refuse those above 1.5 MiB.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// What a put takes in a request beside key and value, generously.
const PUT_OVERHEAD_BYTES: usize = 64;

/// The keys to write.
#[derive(Clone, Debug)]
pub struct Preload {
    /// The keys with numbers below this.
    pub keys: u64,
    /// What is written.
    pub value: Bytes,
    /// One transaction writes this many keys, or fewer if values are long.
    pub batch: u64,
    /// How many transactions are on their way at once.
    pub in_flight: u32,
}

impl Preload {
    /// Writes every key once, over all channels.
    ///
    /// # Errors
    /// What the server or the connection says to the first transaction that fails.
    pub async fn write(&self, channels: &[Channel]) -> Result<(), Status> {
        let next = Arc::new(AtomicU64::new(0));
        let mut writers = JoinSet::new();
        for (_, channel) in (0..self.in_flight).zip(channels.iter().cycle()) {
            writers.spawn(write_batches(self.clone(), channel.clone(), next.clone()));
        }
        while let Some(ended) = writers.join_next().await {
            // The others are dropped with the set.
            ended.expect("writing does not panic")?;
        }
        Ok(())
    }

    fn keys_per_batch(&self) -> u64 {
        let fit = BATCH_BYTES_MAX / (self.value.len() + PUT_OVERHEAD_BYTES);
        self.batch.min(fit as u64).max(1)
    }

    fn transaction(&self, first: u64, end: u64) -> pb::TxnRequest {
        let write = |number| pb::request_op::Request::RequestPut(put(key(number), self.value.clone()));
        let success = (first..end).map(|number| pb::RequestOp { request: Some(write(number)) }).collect();
        pb::TxnRequest { success, ..Default::default() }
    }
}

async fn write_batches(preload: Preload, channel: Channel, next: Arc<AtomicU64>) -> Result<(), Status> {
    let mut kv = KvClient::new(channel);
    let step = preload.keys_per_batch();
    loop {
        let first = next.fetch_add(step, Ordering::Relaxed);
        if first >= preload.keys {
            return Ok(());
        }
        kv.txn(preload.transaction(first, (first + step).min(preload.keys))).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preload(value_bytes: usize) -> Preload {
        Preload { keys: 1_000, value: Bytes::from(vec![b'v'; value_bytes]), batch: 100, in_flight: 1 }
    }

    #[test]
    fn long_values_make_short_batches() {
        assert_eq!(preload(256).keys_per_batch(), 100);
        assert_eq!(preload(100_000).keys_per_batch(), 10);
        assert_eq!(preload(1_500_000).keys_per_batch(), 1);
    }

    #[test]
    fn a_transaction_writes_the_keys_of_its_batch() {
        let transaction = preload(3).transaction(7, 9);
        let written: Vec<Bytes> = transaction
            .success
            .into_iter()
            .filter_map(|operation| match operation.request {
                Some(pb::request_op::Request::RequestPut(put)) => Some(put.key),
                _ => None,
            })
            .collect();
        assert_eq!(written, [key(7), key(8)]);
    }
}
