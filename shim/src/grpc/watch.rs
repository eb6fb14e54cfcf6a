//! Watch streams: requests go to the node, and its responses to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use detcd_core::api;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::StreamId;
use detcd_core::watch::WatchMessage;
use detcd_core::{Input, StreamOp};
use tokio::sync::{Semaphore, oneshot};
use tokio_stream::Stream;
use tonic::{Response, Status, Streaming};

use super::pushes::Pushes;
use super::{Services, status, wants_leader};
use crate::calls::Calls;
use crate::host::Task;
use crate::inbox::Item;
use crate::rpc::watch_server::Watch;

/// How many requests of one stream may wait for the node.
const REQUESTS_WAITING_MAX: usize = 16;

#[tonic::async_trait]
impl Watch for Services {
    type WatchStream = Responses;

    async fn watch(&self, request: tonic::Request<Streaming<pb::WatchRequest>>) -> Result<Response<Responses>, Status> {
        self.admit(request.metadata())?;
        let pushes = Pushes::open(&self.calls).map_err(status::to_grpc)?;
        let stream = pushes.stream();
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
        Ok(Response::new(Responses { pushes, ended: Some(ended), _requests: requests }))
    }
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
    pushes: Pushes,
    /// Says why the stream ends before the client wants it to; `None` when it has ended.
    ended: Option<oneshot::Receiver<Status>>,
    _requests: Task,
}

impl Stream for Responses {
    type Item = Result<WatchMessage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(ended) = &mut self.ended else { return Poll::Ready(None) };
        let why = match Pin::new(ended).poll(context) {
            Poll::Ready(why) => why.unwrap_or_else(|_| status::to_grpc(api::Status::Stopped)),
            Poll::Pending => match self.pushes.poll_next(context) {
                Poll::Ready(Ok(message)) => return Poll::Ready(Some(Ok(message))),
                Poll::Ready(Err(why)) => status::to_grpc(why),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.ended = None;
        Poll::Ready(Some(Err(why)))
    }
}

#[cfg(test)]
#[path = "watch_tests.rs"]
mod tests;
