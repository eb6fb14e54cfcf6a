//! A watch stream of the node: its responses, in order, and the credit for which the node makes them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use detcd_core::api::Status;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::watch_request::RequestUnion;
use detcd_core::types::StreamId;
use detcd_core::watch::WatchMessage;
use detcd_core::{Input, StreamOp};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::credit::{Credit, share_bytes};
use crate::calls::Calls;
use crate::inbox::{Item, Pushed};

/// A stream that is open; dropping it closes it.
pub struct Pushes {
    calls: Arc<Calls>,
    stream: StreamId,
    pushed: mpsc::UnboundedReceiver<Pushed>,
    batch: VecDeque<WatchMessage>,
    credit: Credit,
    /// The stream's place among those that are open; `None` when it was given to the node with the stream's end.
    place: Option<OwnedSemaphorePermit>,
}

impl Pushes {
    /// Opens a stream.
    ///
    /// # Errors
    /// [`Status::TooManyRequests`]: as many streams are open as may be.
    pub fn open(calls: &Arc<Calls>) -> Result<Pushes, Status> {
        let place = Arc::clone(&calls.streams_free).try_acquire_owned().map_err(|_| Status::TooManyRequests)?;
        let stream = calls.new_stream();
        let (pushes, pushed) = mpsc::unbounded_channel();
        calls.put(Item::Open { stream, pushes });
        let share = share_bytes(calls.streams_open());
        calls.put(Input::Stream { stream, op: StreamOp::Credit(share) });
        let (calls, credit) = (Arc::clone(calls), Credit::new(share));
        Ok(Pushes { calls, stream, pushed, batch: VecDeque::new(), credit, place: Some(place) })
    }

    /// Opens a stream with these watchers, for a service of this member. Their number is small, so the stream's place
    /// stands for all of them in the queue in front of the node.
    ///
    /// # Errors
    /// As [`Pushes::open`].
    pub fn watching(calls: &Arc<Calls>, watchers: Vec<pb::WatchCreateRequest>) -> Result<Pushes, Status> {
        let pushes = Pushes::open(calls)?;
        for watcher in watchers {
            let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(watcher)) };
            calls.put(Input::Stream { stream: pushes.stream, op: StreamOp::Request(create) });
        }
        Ok(pushes)
    }

    /// Names the stream to the node.
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    /// The next response, or why there will be none. What is taken is given back as credit.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<WatchMessage, Status>> {
        loop {
            if let Some(message) = self.batch.pop_front() {
                self.taken(message.encoded_len() as u64);
                return Poll::Ready(Ok(message));
            }
            match self.pushed.poll_recv(context) {
                Poll::Ready(Some(Pushed::Batch(batch))) => self.batch = batch.into(),
                Poll::Ready(Some(Pushed::End(why))) => return Poll::Ready(Err(why)),
                Poll::Ready(None) => return Poll::Ready(Err(Status::Stopped)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The next response.
    ///
    /// # Errors
    /// Why there will be none.
    pub async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        poll_fn(|context| self.poll_next(context)).await.map(WatchMessage::into_response)
    }

    fn taken(&mut self, bytes: u64) {
        let calls = &self.calls;
        if let Some(bytes) = self.credit.taken(bytes, || share_bytes(calls.streams_open())) {
            calls.put(Input::Stream { stream: self.stream, op: StreamOp::Credit(bytes) });
        }
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        let input = Input::Stream { stream: self.stream, op: StreamOp::Close };
        self.calls.put(Item::Input { input, permit: self.place.take() });
    }
}

#[cfg(test)]
#[path = "pushes_tests.rs"]
mod tests;
