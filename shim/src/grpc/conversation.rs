//! Drives the conversations of the Lock and Election services over the member's own calls and watches.

use std::sync::Arc;
use std::time::Duration;

use detcd_core::api::{Code, Response, Status};
use detcd_core::locks::{Ask, Conversation, Left, Observe};
use detcd_core::proto::v3electionpb as pb;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

use super::pushes::Pushes;
use super::{Services, status, timeout_of, wants_leader};
use crate::calls::Calls;

/// For how long it is tried to undo what a client left behind who went away. A lease that the member made for it, and
/// that nobody keeps alive, has ended by then.
const UNDO_TIME_MAX: Duration = Duration::from_secs(60);
/// How long to wait before it is tried again.
const UNDO_PAUSE: Duration = Duration::from_millis(200);

type Leaders = mpsc::Sender<Result<pb::LeaderResponse, tonic::Status>>;

impl Services {
    /// Holds the conversation that a request begins, and answers its client. A client that goes away before ends it,
    /// and what would stay behind is undone.
    pub(super) async fn converse<M, C>(
        &self,
        request: tonic::Request<M>,
        about: impl FnOnce(M) -> C,
    ) -> Result<tonic::Response<C::Answer>, tonic::Status>
    where
        C: Conversation + Send + 'static,
        C::Answer: Send + 'static,
    {
        self.admit(request.metadata())?;
        let timeout = timeout_of(request.metadata());
        let (caller, answer) = oneshot::channel();
        let conversation = about(request.into_inner());
        // It outlives this call, so that it can clean up.
        self.calls.host().spawn_detached(hold(Arc::clone(&self.calls), conversation, caller));
        let answer = match timeout {
            Some(timeout) => self.calls.host().within(timeout, answer).await,
            None => Some(answer.await),
        };
        match answer {
            // Without a word it is gone with the runtime.
            Some(answer) => answer.unwrap_or(Err(Status::Stopped)).map(tonic::Response::new).map_err(to_grpc),
            None => Err(status::to_grpc(Status::DeadlineExceeded)),
        }
    }

    /// Follows the leader of an election.
    pub(super) fn observe_leader(
        &self,
        request: tonic::Request<pb::LeaderRequest>,
    ) -> Result<tonic::Response<ReceiverStream<Result<pb::LeaderResponse, tonic::Status>>>, tonic::Status> {
        self.admit(request.metadata())?;
        let wants_leader = wants_leader(request.metadata());
        let observe = Observe::new(request.get_ref());
        // One response may wait; more is watched when it has been taken.
        let (leaders, stream) = mpsc::channel(1);
        let services = self.clone();
        self.calls.host().spawn_detached(async move {
            let why = tokio::select! {
                why = follow(&services.calls, observe, &leaders) => to_grpc(why),
                () = services.calls.leaderless_for(services.leaderless_max), if wants_leader => {
                    status::to_grpc(Status::NoLeader)
                }
                () = leaders.closed() => return,
            };
            // A client that is gone needs no reason.
            let _ = leaders.send(Err(why)).await;
        });
        Ok(tonic::Response::new(ReceiverStream::new(stream)))
    }
}

/// Holds a conversation until it is over or its caller has gone.
async fn hold<C: Conversation>(
    calls: Arc<Calls>,
    mut conversation: C,
    mut caller: oneshot::Sender<Result<C::Answer, Status>>,
) {
    let mut ask = conversation.begin();
    loop {
        ask = match ask {
            Ask::Done(result) => {
                if caller.send(result).is_err() {
                    clean_up(&calls, conversation.leave(), no_call()).await;
                }
                return;
            }
            Ask::Call(request) => {
                let mut call = Box::pin(calls.call(request, None));
                tokio::select! {
                    biased;
                    result = &mut call => conversation.answered(result),
                    () = caller.closed() => return clean_up(&calls, conversation.leave(), call).await,
                }
            }
            Ask::Watch(watchers) => match Pushes::watching(&calls, watchers) {
                Err(why) => conversation.interrupted(why),
                Ok(mut watching) => loop {
                    let told = tokio::select! {
                        biased;
                        told = watching.next() => told,
                        () = caller.closed() => {
                            drop(watching);
                            return clean_up(&calls, conversation.leave(), no_call()).await;
                        }
                    };
                    match told.map(|response| conversation.watched(response)) {
                        Ok(None) => {}
                        Ok(Some(next)) => break next,
                        Err(why) => break conversation.interrupted(why),
                    }
                },
            },
        };
    }
}

/// Undoes what a caller left behind; `call` is the call under way.
async fn clean_up(calls: &Calls, left: Left, call: impl Future<Output = Result<Response, Status>>) {
    let request = match left {
        Left::Nothing => return,
        Left::Undo(request) => {
            drop(call);
            request
        }
        Left::Undecided(pending) => match pending.answered(call.await) {
            Some(request) => request,
            None => return,
        },
    };
    let undone = async {
        while let Err(why) = calls.call(request.clone(), None).await
            && may_succeed_later(why)
        {
            calls.host().sleep(UNDO_PAUSE).await;
        }
    };
    if calls.host().within(UNDO_TIME_MAX, undone).await.is_none() {
        tracing::warn!("a client that waited for a lock has gone, and its key could not be deleted");
    }
}

/// What is under way when a conversation does not wait for an answer.
async fn no_call() -> Result<Response, Status> {
    unreachable!("a conversation awaits the answer only of a call that it asked for")
}

/// Whether an undo that failed so is tried again. It does no harm twice: it names the key as it was created.
fn may_succeed_later(why: Status) -> bool {
    why == Status::TooManyRequests || (why.code() == Code::Unavailable && why != Status::Stopped)
}

/// Tells who leads, until that is impossible: the reason is returned.
async fn follow(calls: &Arc<Calls>, mut observe: Observe, leaders: &Leaders) -> Status {
    let mut ask = observe.begin();
    loop {
        ask = match ask {
            Ask::Done(Err(why)) => return why,
            Ask::Call(request) => observe.answered(calls.call(request, None).await),
            Ask::Watch(watchers) => match Pushes::watching(calls, watchers) {
                Err(why) => observe.interrupted(why),
                Ok(mut watching) => loop {
                    tell(&mut observe, leaders).await;
                    match watching.next().await.map(|response| observe.watched(response)) {
                        Ok(None) => {}
                        Ok(Some(next)) => break next,
                        Err(why) => break observe.interrupted(why),
                    }
                },
            },
        };
        tell(&mut observe, leaders).await;
    }
}

async fn tell(observe: &mut Observe, leaders: &Leaders) {
    for leader in observe.take() {
        // Whoever calls this ends it when the client has gone.
        let _ = leaders.send(Ok(leader)).await;
    }
}

/// The gRPC status of a failed conversation. etcd lets these services' errors pass as they come from its own client
/// library, and so they have no code; only that the member stops is said with one, so that clients go elsewhere.
fn to_grpc(why: Status) -> tonic::Status {
    match why {
        Status::Stopped => status::to_grpc(why),
        _ => tonic::Status::unknown(why.message()),
    }
}

#[cfg(test)]
#[path = "conversation_tests.rs"]
mod tests;
