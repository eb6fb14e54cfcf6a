//! Watch streams: credit flows to the node as the client takes responses.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use detcd_core::api;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::StreamId;
use detcd_core::{Input, StreamOp};
use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

use super::{Services, status, wants_leader};
use crate::calls::Calls;
use crate::host::Task;
use crate::inbox::{Item, Pushed};
use crate::rpc::watch_server::Watch;

/// How many bytes of responses the node may push before the client takes some.
const CREDIT_BYTES: u64 = 1 << 20;
/// Credit goes back in portions of at least this size, so that small events do not cost an input each.
const CREDIT_PORTION_BYTES: u64 = CREDIT_BYTES / 4;
/// How many requests of one stream may wait for the node.
const REQUESTS_WAITING_MAX: usize = 16;

#[tonic::async_trait]
impl Watch for Services {
    type WatchStream = Responses;

    async fn watch(&self, request: tonic::Request<Streaming<pb::WatchRequest>>) -> Result<Response<Responses>, Status> {
        self.admit(request.metadata())?;
        let permit = Arc::clone(&self.calls.streams_free).try_acquire_owned();
        let permit = permit.map_err(|_| status::to_grpc(api::Status::TooManyRequests))?;
        let stream = self.calls.new_stream();
        let (pushes, pushed) = mpsc::unbounded_channel();
        self.calls.put(Item::Open { stream, pushes });
        self.calls.put(credit(stream, CREDIT_BYTES));
        let (end, ended) = oneshot::channel();
        let wants_leader = wants_leader(request.metadata());
        let services = self.clone();
        let requests = self.calls.host().spawn(async move {
            let forward = forward(Arc::clone(&services.calls), stream, request.into_inner());
            let leaderless = services.calls.leaderless_for(services.leaderless_max);
            let why = tokio::select! {
                why = forward => why,
                () = leaderless, if wants_leader => status::to_grpc(api::Status::NoLeader),
            };
            // A client that is gone already needs no reason.
            let _ = end.send(why);
        });
        Ok(Response::new(Responses {
            calls: Arc::clone(&self.calls),
            stream,
            pushed,
            batch: VecDeque::new(),
            owed_bytes: 0,
            ended: Some(ended),
            _requests: requests,
            place: Some(permit),
        }))
    }
}

fn credit(stream: StreamId, bytes: u64) -> Input {
    Input::Stream { stream, op: StreamOp::Credit(bytes) }
}

/// Hands the client's requests to the node, until one is none: the reason then ends the stream. A client that has no
/// more to ask may still listen, so that ends nothing.
async fn forward(calls: Arc<Calls>, stream: StreamId, mut requests: Streaming<pb::WatchRequest>) -> Status {
    let waiting = Arc::new(Semaphore::new(REQUESTS_WAITING_MAX));
    loop {
        let request = match requests.message().await {
            Ok(Some(request)) => request,
            Ok(None) => std::future::pending().await,
            Err(why) => return status::of_bad_message(why),
        };
        let permit = Arc::clone(&waiting).acquire_owned().await.expect("this semaphore is never closed");
        let input = Input::Stream { stream, op: StreamOp::Request(request) };
        calls.put(Item::Input { input, permit: Some(permit) });
    }
}

/// The responses of one watch stream; taken by gRPC as the client's window has room.
pub struct Responses {
    calls: Arc<Calls>,
    stream: StreamId,
    pushed: mpsc::UnboundedReceiver<Pushed>,
    batch: VecDeque<pb::WatchResponse>,
    /// What was taken and not yet given back as credit.
    owed_bytes: u64,
    /// Says why the stream ends before the client wants it to; `None` when it has ended.
    ended: Option<oneshot::Receiver<Status>>,
    _requests: Task,
    /// The stream's place among those that are open; `None` when it was given to the node with the stream's end.
    place: Option<OwnedSemaphorePermit>,
}

impl Responses {
    fn taken(&mut self, response: &pb::WatchResponse) {
        self.owed_bytes += response.encoded_len() as u64;
        if self.owed_bytes >= CREDIT_PORTION_BYTES {
            self.calls.put(credit(self.stream, std::mem::take(&mut self.owed_bytes)));
        }
    }

    /// The next response, or why there will be none.
    fn poll_pushed(&mut self, context: &mut Context<'_>) -> Poll<Result<pb::WatchResponse, api::Status>> {
        loop {
            if let Some(response) = self.batch.pop_front() {
                self.taken(&response);
                return Poll::Ready(Ok(response));
            }
            match self.pushed.poll_recv(context) {
                Poll::Ready(Some(Pushed::Batch(batch))) => self.batch = batch.into(),
                Poll::Ready(Some(Pushed::End(why))) => return Poll::Ready(Err(why)),
                Poll::Ready(None) => return Poll::Ready(Err(api::Status::Stopped)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl Stream for Responses {
    type Item = Result<pb::WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(ended) = &mut self.ended else { return Poll::Ready(None) };
        let why = match Pin::new(ended).poll(context) {
            Poll::Ready(why) => why.unwrap_or_else(|_| status::to_grpc(api::Status::Stopped)),
            Poll::Pending => match self.poll_pushed(context) {
                Poll::Ready(Ok(response)) => return Poll::Ready(Some(Ok(response))),
                Poll::Ready(Err(why)) => status::to_grpc(why),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.ended = None;
        Poll::Ready(Some(Err(why)))
    }
}

impl Drop for Responses {
    fn drop(&mut self) {
        let input = Input::Stream { stream: self.stream, op: StreamOp::Close };
        self.calls.put(Item::Input { input, permit: self.place.take() });
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
