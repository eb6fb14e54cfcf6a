//! Calls into the node, from the asynchronous side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use detcd_core::Input;
use detcd_core::api::{self, Request, Response, Status};
use detcd_core::types::{CallId, NodeId, StreamId};
use tokio::sync::{Semaphore, oneshot};

use crate::driver::Published;
use crate::host::Host;
use crate::inbox::{Answer, Inbox, Item};

/// How many watch streams a member serves at once.
const STREAMS_MAX: usize = 65_536;

/// The way from the services to the node.
pub struct Calls {
    host: Host,
    inbox: Arc<Inbox>,
    published: Arc<Published>,
    /// How long the contract waits (contract, section 1).
    timeout: Duration,
    next_call: AtomicU64,
    next_stream: AtomicU64,
    calls_free: Semaphore,
    /// One permit for each watch stream that may still be opened.
    pub streams_free: Arc<Semaphore>,
}

/// Tells the node that nobody waits any more, unless the answer has come.
struct CancelGuard<'a> {
    inbox: &'a Inbox,
    call: Option<CallId>,
}

impl Drop for CancelGuard<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            self.inbox.put(Input::Cancel { call }.into());
        }
    }
}

impl Calls {
    /// Calls through `inbox`; at most `calls_max` wait at once, each for at most `timeout`.
    pub fn new(host: Host, inbox: Arc<Inbox>, published: Arc<Published>, timeout: Duration, calls_max: usize) -> Calls {
        Calls {
            host,
            inbox,
            published,
            timeout,
            next_call: AtomicU64::new(1),
            next_stream: AtomicU64::new(1),
            calls_free: Semaphore::new(calls_max),
            streams_free: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Asks the node and waits for its answer. Dropping the future cancels the call.
    ///
    /// `timeout` is the client's, if it gave one; the contract's limit holds beside it.
    pub async fn call(&self, request: Request, timeout: Option<Duration>) -> Result<Response, Status> {
        let _permit = self.calls_free.try_acquire().map_err(|_| Status::TooManyRequests)?;
        let call = CallId(self.next_call.fetch_add(1, Ordering::Relaxed));
        let deadline = self.host.now() + timeout.unwrap_or(self.timeout).min(self.timeout);
        let (answer, answered) = oneshot::channel();
        self.inbox.put(Item::Call { call, deadline, request, answer });
        let mut guard = CancelGuard { inbox: &self.inbox, call: Some(call) };
        let answer = answered.await;
        guard.call = None;
        match answer {
            Ok(Answer::Reply(result)) => result,
            Ok(Answer::Read { request, view, header }) => api::read::execute(&view, &request, header),
            // The node's thread is gone.
            Err(oneshot::error::RecvError { .. }) => Err(Status::Stopped),
        }
    }

    /// A number for a new watch stream.
    pub fn new_stream(&self) -> StreamId {
        StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    /// Hands an item to the node.
    pub fn put(&self, item: impl Into<Item>) {
        self.inbox.put(item.into());
    }

    /// Who leads, as far as this member knows; 0 for nobody.
    pub fn leader(&self) -> NodeId {
        self.published.leader()
    }

    /// Waits until nobody has led for `patience`, without a break; or until the node is gone.
    pub async fn leaderless_for(&self, patience: Duration) {
        let mut status = self.published.status();
        loop {
            if status.wait_for(|status| status.leader == NodeId(0)).await.is_err() {
                return;
            }
            let led_again = status.wait_for(|status| status.leader != NodeId(0));
            match self.host.within(patience, led_again).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    }

    /// Where tasks and time come from.
    pub fn host(&self) -> &Host {
        &self.host
    }
}
