//! Calls into the node, from the asynchronous side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use detcd_core::Input;
use detcd_core::api::{self, ReadRequest, Request, Response, Status};
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::types::{CallId, NodeId, StreamId};
use tokio::sync::{Semaphore, oneshot};

use crate::driver::Published;
use crate::host::Host;
use crate::inbox::{Answer, Inbox, Item};

/// How many watch streams a member serves at once.
const STREAMS_MAX: usize = 65_536;

/// How many reads run at once that may touch many keys. They do not run among the tasks, where they could hold up the
/// links between members.
const LONG_READS_MAX: usize = 4;

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
    long_reads_free: Semaphore,
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
            long_reads_free: Semaphore::new(LONG_READS_MAX),
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
            Ok(Answer::Read { request, view, header }) if is_short(&request) => {
                api::read::execute(&view, &request, header)
            }
            Ok(Answer::Read { request, view, header }) => {
                let _permit = self.long_reads_free.acquire().await.expect("this semaphore is never closed");
                self.host.apart(move || api::read::execute(&view, &request, header)).await
            }
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

/// Whether a read is known to touch few keys. A limit does not help: all keys of a range are counted.
fn is_short(request: &ReadRequest) -> bool {
    match request {
        ReadRequest::Range(range) => range.range_end.is_empty(),
        ReadRequest::Txn(txn) => txn.success.iter().chain(&txn.failure).all(|op| match &op.request {
            Some(Op::RequestRange(range)) => range.range_end.is_empty(),
            // Nested ones are rare enough to be taken for long.
            _ => false,
        }),
        ReadRequest::LeaseLeases => false,
        ReadRequest::LeaseTimeToLive { request, .. } => !request.keys,
        ReadRequest::MemberList => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::played::Played;
    use detcd_core::proto::etcdserverpb::{RangeRequest, RequestOp, TxnRequest};

    #[tokio::test]
    async fn a_call_that_is_dropped_is_cancelled_and_one_too_many_is_refused() {
        let played = Played::new(1);
        let request = || Request::Status(Default::default());
        let mut first = Box::pin(played.calls.call(request(), None));
        assert!(tokio::time::timeout(Duration::ZERO, &mut first).await.is_err());
        assert_eq!(played.calls.call(request(), None).await, Err(Status::TooManyRequests));
        drop(first);
        let items = played.take();
        let [Item::Call { call, .. }, Item::Input { input: Input::Cancel { call: cancelled }, .. }] = &items[..] else {
            panic!("{items:?}");
        };
        assert_eq!(call, cancelled);
    }

    #[tokio::test]
    async fn an_answered_call_is_not_cancelled_and_frees_its_place() {
        let played = Played::new(1);
        for _ in 0..3 {
            let mut call = Box::pin(played.calls.call(Request::Status(Default::default()), None));
            assert!(tokio::time::timeout(Duration::ZERO, &mut call).await.is_err());
            let Some(Item::Call { answer, .. }) = played.take().pop() else { panic!("a call is expected") };
            answer.send(Answer::Reply(Err(Status::NoLeader))).expect("somebody waits");
            assert_eq!(call.await, Err(Status::NoLeader));
            assert!(played.take().is_empty());
        }
    }

    #[tokio::test]
    async fn the_shorter_limit_counts_the_clients_or_the_contracts() {
        let played = Played::new(2);
        let deadline = async |timeout| {
            let before = played.calls.host().now();
            let mut call = Box::pin(played.calls.call(Request::Status(Default::default()), timeout));
            assert!(tokio::time::timeout(Duration::ZERO, &mut call).await.is_err());
            let items = played.take();
            let Some(Item::Call { deadline, .. }) = items.last() else { panic!("{items:?}") };
            deadline.since(before)
        };
        assert!(deadline(None).await >= Duration::from_secs(7));
        assert!(deadline(Some(Duration::from_secs(90))).await < Duration::from_secs(90));
        assert!(deadline(Some(Duration::from_secs(1))).await < Duration::from_secs(7));
    }

    #[test]
    fn reads_of_single_keys_are_short_and_those_of_ranges_are_not() {
        for (end, expected) in [("", true), ("z", false)] {
            let request = RangeRequest { range_end: end.into(), limit: 1, ..Default::default() };
            let op = RequestOp { request: Some(Op::RequestRange(request.clone())) };
            let txn = TxnRequest { success: vec![op], ..Default::default() };
            assert_eq!(is_short(&ReadRequest::Range(request)), expected, "{end:?}");
            assert_eq!(is_short(&ReadRequest::Txn(txn)), expected, "{end:?}");
        }
    }

    #[tokio::test]
    async fn only_a_long_time_without_a_leader_counts_as_leaderless() {
        let played = Played::new(1);
        let mut leaderless = Box::pin(played.calls.leaderless_for(Duration::from_secs(2)));
        for _ in 0..3 {
            played.lead(0);
            assert!(tokio::time::timeout(Duration::from_millis(700), &mut leaderless).await.is_err());
            played.lead(2);
            assert!(tokio::time::timeout(Duration::from_millis(10), &mut leaderless).await.is_err());
        }
        played.lead(0);
        tokio::time::timeout(Duration::from_secs(60), &mut leaderless).await.expect("nobody leads");
    }
}
