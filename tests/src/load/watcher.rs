//! Watch streams: how watchers are created, and one that waits for the event of a write.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::rpc::watch_client::WatchClient;

/// A watch stream of one client; it lives as long as this.
pub struct WatchStream {
    requests: mpsc::Sender<pb::WatchRequest>,
    responses: Streaming<pb::WatchResponse>,
}

impl WatchStream {
    /// Opens a stream on `channel` with `count` watchers of the keys from `key` up to `range_end`, which is empty for
    /// the one key. Events must not come before this is over.
    ///
    /// # Errors
    /// What the server or the connection says, or that a watcher was not created.
    pub async fn open(channel: Channel, key: Bytes, range_end: Bytes, count: u32) -> Result<WatchStream, Status> {
        let create = pb::WatchCreateRequest { key, range_end, ..Default::default() };
        let union = pb::watch_request::RequestUnion::CreateRequest(create);
        let request = pb::WatchRequest { request_union: Some(union) };
        let (requests, outgoing) = mpsc::channel(1);
        let closed = |_| Status::internal("the watch stream takes no request");
        // A server may answer the call itself only together with its first response.
        requests.send(request.clone()).await.map_err(closed)?;
        let mut watches = WatchClient::new(channel).max_decoding_message_size(usize::MAX);
        let responses = watches.watch(ReceiverStream::new(outgoing)).await?.into_inner();
        let mut stream = WatchStream { requests, responses };
        stream.expect_created().await?;
        for _ in 1..count {
            stream.requests.send(request.clone()).await.map_err(closed)?;
            stream.expect_created().await?;
        }
        Ok(stream)
    }

    async fn expect_created(&mut self) -> Result<(), Status> {
        match self.responses.message().await? {
            Some(response) if response.created && !response.canceled => Ok(()),
            other => Err(Status::unknown(format!("a watcher was not created: {other:?}"))),
        }
    }

    /// The next events of one watcher.
    ///
    /// # Errors
    /// The stream has ended, or the watcher was canceled.
    pub async fn next(&mut self) -> Result<Vec<detcd_core::proto::mvccpb::Event>, Status> {
        let response = self.responses.message().await?.ok_or_else(|| Status::unknown("the watch stream ended"))?;
        if response.canceled {
            return Err(Status::unknown(format!("a watcher was canceled: {}", response.cancel_reason)));
        }
        Ok(response.events)
    }
}

/// The watcher of one key, alone on its stream.
pub struct Watcher {
    stream: WatchStream,
}

impl Watcher {
    /// Watches `key`.
    ///
    /// # Errors
    /// The watcher cannot be created.
    pub async fn open(channel: Channel, key: Bytes) -> Result<Watcher, Status> {
        Ok(Watcher { stream: WatchStream::open(channel, key, Bytes::new(), 1).await? })
    }

    /// Waits for the event of the write with this revision.
    ///
    /// # Errors
    /// The stream has ended, or the watcher was canceled.
    pub async fn wait(&mut self, revision: i64) -> Result<(), Status> {
        loop {
            let events = self.stream.next().await?;
            let newest = events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            if newest >= revision {
                return Ok(());
            }
        }
    }
}
