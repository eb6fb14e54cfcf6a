//! A watch stream that a service of this member has for itself.

use std::collections::VecDeque;
use std::sync::Arc;

use detcd_core::api::Status;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::watch_request::RequestUnion;
use detcd_core::types::StreamId;
use detcd_core::{Input, StreamOp};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::calls::Calls;
use crate::inbox::{Item, Pushed};

/// How many bytes of responses the node may push before they are taken.
const CREDIT_BYTES: u64 = 64 << 10;
/// Credit goes back in portions of at least this size.
const CREDIT_PORTION_BYTES: u64 = CREDIT_BYTES / 4;

/// Some watchers on a stream of their own. It has a place among the streams that clients may open; dropping it closes
/// it.
pub struct Watching {
    calls: Arc<Calls>,
    stream: StreamId,
    pushed: mpsc::UnboundedReceiver<Pushed>,
    batch: VecDeque<pb::WatchResponse>,
    /// What was taken and not yet given back as credit.
    owed_bytes: u64,
    /// The stream's place; `None` when it was given to the node with the stream's end.
    place: Option<OwnedSemaphorePermit>,
}

impl Watching {
    /// Opens a stream with these watchers; their number is small, so the stream's place stands for all of them in the
    /// queue in front of the node.
    ///
    /// # Errors
    /// [`Status::TooManyRequests`]: as many streams are open as may be.
    pub fn open(calls: &Arc<Calls>, watchers: Vec<pb::WatchCreateRequest>) -> Result<Watching, Status> {
        let place = Arc::clone(&calls.streams_free).try_acquire_owned().map_err(|_| Status::TooManyRequests)?;
        let stream = calls.new_stream();
        let (pushes, pushed) = mpsc::unbounded_channel();
        calls.put(Item::Open { stream, pushes });
        calls.put(Input::Stream { stream, op: StreamOp::Credit(CREDIT_BYTES) });
        for watcher in watchers {
            let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(watcher)) };
            calls.put(Input::Stream { stream, op: StreamOp::Request(create) });
        }
        let (calls, batch) = (Arc::clone(calls), VecDeque::new());
        Ok(Watching { calls, stream, pushed, batch, owed_bytes: 0, place: Some(place) })
    }

    /// The next response. What was taken before counts as done with.
    ///
    /// # Errors
    /// Why there will be none.
    pub async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        if self.owed_bytes >= CREDIT_PORTION_BYTES {
            let credit = StreamOp::Credit(std::mem::take(&mut self.owed_bytes));
            self.calls.put(Input::Stream { stream: self.stream, op: credit });
        }
        loop {
            if let Some(response) = self.batch.pop_front() {
                self.owed_bytes += response.encoded_len() as u64;
                return Ok(response);
            }
            match self.pushed.recv().await {
                Some(Pushed::Batch(batch)) => self.batch = batch.into(),
                Some(Pushed::End(why)) => return Err(why),
                None => return Err(Status::Stopped),
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let input = Input::Stream { stream: self.stream, op: StreamOp::Close };
        self.calls.put(Item::Input { input, permit: self.place.take() });
    }
}
