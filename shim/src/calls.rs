//! Calls into the node, from the asynchronous side.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use detcd_core::api::read_stream::RangeChunks;
use detcd_core::api::{self, ReadRequest, Request, Response, Status};
use detcd_core::proto::etcdserverpb::RangeRequest;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::types::{CallId, NodeId, StreamId};
use detcd_core::{Input, Phase, StoreView};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::driver::Published;
use crate::host::Host;
use crate::inbox::{Answer, Inbox, Item, Waiting};

/// How many watch streams a member serves at once.
const STREAMS_MAX: usize = 65_536;

/// How many reads run at once that may touch many keys. They do not run among the tasks, where they could hold up the
/// links between members.
const LONG_READS_MAX: usize = 4;

/// How many ranges are told in chunks at once. Each holds on to the store as it was when it began.
const CHUNKED_RANGES_MAX: usize = 256;

/// The way from the services to the node.
pub struct Calls {
    host: Host,
    inbox: Arc<Inbox>,
    published: Arc<Published>,
    /// How long the contract waits (contract, section 1).
    timeout: Duration,
    next_call: AtomicU64,
    next_stream: AtomicU64,
    calls_free: Arc<Semaphore>,
    long_reads_free: Arc<Semaphore>,
    chunked_ranges_free: Arc<Semaphore>,
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
            calls_free: Arc::new(Semaphore::new(calls_max)),
            long_reads_free: Arc::new(Semaphore::new(LONG_READS_MAX)),
            chunked_ranges_free: Arc::new(Semaphore::new(CHUNKED_RANGES_MAX)),
            streams_free: Arc::new(Semaphore::new(STREAMS_MAX)),
        }
    }

    /// Asks the node and waits for its answer. Dropping the future cancels the call.
    ///
    /// `timeout` is the client's, if it gave one; the contract's limit holds beside it.
    pub async fn call(&self, request: Request, timeout: Option<Duration>) -> Result<Response, Status> {
        let (answer, place) = self.ask(request, timeout).await?;
        match answer {
            Answer::Reply(result) => result,
            Answer::Read { request, view, header } if is_short(&request) => api::read::execute(&view, &request, header),
            Answer::Read { request, view, header } => {
                let read = move || api::read::execute(&view, &request, header);
                self.apart(read, place).await
            }
        }
    }

    /// Asks the node for a range, which is answered in chunks of about so many bytes; and the place that it takes among
    /// such ranges as long as there are more.
    pub async fn range_in_chunks(
        &self,
        request: RangeRequest,
        timeout: Option<Duration>,
        chunk_bytes: usize,
    ) -> Result<(RangeChunks, OwnedSemaphorePermit), Status> {
        let place = Arc::clone(&self.chunked_ranges_free).try_acquire_owned();
        let place = place.map_err(|_| Status::TooManyRequests)?;
        match self.ask(Request::Range(request), timeout).await? {
            (Answer::Read { request: ReadRequest::Range(request), view, header }, _) => {
                Ok((RangeChunks::new(*view, request, header, chunk_bytes), place))
            }
            (Answer::Reply(Err(status)), _) => Err(status),
            (other, _) => unreachable!("a range is read, or refused, not {other:?}"),
        }
    }

    /// Runs what may take long apart from the tasks. It runs to its end, even if nobody waits for it any more; so long
    /// `place` is kept.
    pub async fn apart<T: Send + 'static, P: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
        place: P,
    ) -> T {
        let permit = Arc::clone(&self.long_reads_free).acquire_owned().await.expect("this semaphore is never closed");
        let kept = move || {
            let result = work();
            drop((permit, place));
            result
        };
        self.host.apart(kept).await
    }

    async fn ask(&self, request: Request, timeout: Option<Duration>) -> Result<(Answer, OwnedSemaphorePermit), Status> {
        let place = Arc::clone(&self.calls_free).try_acquire_owned().map_err(|_| Status::TooManyRequests)?;
        let call = CallId(self.next_call.fetch_add(1, Ordering::Relaxed));
        let deadline = self.host.now() + timeout.unwrap_or(self.timeout).min(self.timeout);
        let (waiting, answered) = Waiting::new(place);
        self.inbox.put(Item::Call { call, deadline, request, waiting });
        let mut guard = CancelGuard { inbox: &self.inbox, call: Some(call) };
        let answer = answered.await;
        guard.call = None;
        // The node's thread may be gone.
        answer.map_err(|oneshot::error::RecvError { .. }| Status::Stopped)
    }

    /// How long the contract waits.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A number for a new watch stream.
    pub fn new_stream(&self) -> StreamId {
        StreamId(self.next_stream.fetch_add(1, Ordering::Relaxed))
    }

    /// How many watch streams are open.
    pub fn streams_open(&self) -> usize {
        STREAMS_MAX.saturating_sub(self.streams_free.available_permits())
    }

    /// Hands an item to the node.
    pub fn put(&self, item: impl Into<Item>) {
        self.inbox.put(item.into());
    }

    /// Who leads, as far as this member knows; 0 for nobody.
    pub fn leader(&self) -> NodeId {
        self.published.leader()
    }

    /// The store as this member has applied it.
    pub fn view(&self) -> StoreView {
        self.published.view()
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

    /// Waits until the node will do nothing more.
    pub async fn gone(&self) {
        // Without a word it is gone, too.
        let _ = self.published.status().wait_for(|status| status.phase == Phase::Halted).await;
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
        ReadRequest::LeaseLeases { .. } => false,
        ReadRequest::LeaseTimeToLive { request, .. } => !request.keys,
        ReadRequest::MemberList | ReadRequest::Alarm(_) | ReadRequest::Hash => true,
        ReadRequest::HashKv(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::played::Played;
    use detcd_core::StoreView;
    use detcd_core::proto::etcdserverpb::{RequestOp, TxnRequest};

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
    async fn calls_of_clients_that_went_away_keep_their_places_until_the_node_knows() {
        let played = Played::new(3);
        let request = || Request::Status(Default::default());
        for _ in 0..10 {
            let mut call = Box::pin(played.calls.call(request(), None));
            // It waits, or is refused for want of a place; either way its client goes away.
            let _ = tokio::time::timeout(Duration::ZERO, &mut call).await;
        }
        let items = played.take();
        assert_eq!(items.len(), 6, "three calls and their ends, whatever clients do: {items:?}");
        assert_eq!(played.calls.call(request(), None).await, Err(Status::TooManyRequests));
        drop(items);
        assert_eq!(played.calls.calls_free.available_permits(), 3);
    }

    #[test]
    fn a_long_read_counts_until_it_has_ended_even_if_its_client_went_away() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
        runtime.expect("a runtime").block_on(async {
            let played = Played::new(1);
            // Nothing else runs apart from the tasks as long as this does.
            let (finish, finished) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || finished.recv());
            let range = RangeRequest { key: "a".into(), range_end: "b".into(), ..Default::default() };
            let mut call = Box::pin(played.calls.call(Request::Range(range.clone()), None));
            assert!(asked_once(&mut call).is_none());
            let Some(Item::Call { waiting, .. }) = played.take().pop() else { panic!("a call is expected") };
            let (request, view) = (ReadRequest::Range(range), Box::new(StoreView::default()));
            waiting.answer(Answer::Read { request, view, header: Default::default() });
            assert!(asked_once(&mut call).is_none(), "it waits for a thread");
            drop(call);
            let free =
                || (played.calls.long_reads_free.available_permits(), played.calls.calls_free.available_permits());
            assert_eq!(free(), (LONG_READS_MAX - 1, 0), "the read still has to run");
            finish.send(()).expect("it waits for this");
            busy.await.expect("no panic").expect("told to finish");
            // The only thread took what came first, so this comes after the read.
            tokio::task::spawn_blocking(|| {}).await.expect("no panic");
            assert_eq!(free(), (LONG_READS_MAX, 1));
        });
    }

    /// What a future gives if it is asked once.
    fn asked_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn an_answered_call_is_not_cancelled_and_frees_its_place() {
        let played = Played::new(1);
        for _ in 0..3 {
            let mut call = Box::pin(played.calls.call(Request::Status(Default::default()), None));
            assert!(tokio::time::timeout(Duration::ZERO, &mut call).await.is_err());
            let Some(Item::Call { waiting, .. }) = played.take().pop() else { panic!("a call is expected") };
            waiting.answer(Answer::Reply(Err(Status::NoLeader)));
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
        let patience = Duration::from_secs(2);
        let mut leaderless = Box::pin(played.calls.leaderless_for(patience));
        let mut rounds = 0;
        while rounds < 3 {
            let begin = played.calls.host().now();
            played.lead(0);
            let short = tokio::time::timeout(Duration::from_millis(700), &mut leaderless).await;
            played.lead(2);
            if played.calls.host().now().since(begin) >= patience {
                // The machine stood still, so this was no short time: once more from the start.
                leaderless = Box::pin(played.calls.leaderless_for(patience));
                rounds = 0;
                continue;
            }
            assert!(short.is_err(), "it ended too soon");
            assert!(tokio::time::timeout(Duration::from_millis(10), &mut leaderless).await.is_err());
            rounds += 1;
        }
        played.lead(0);
        tokio::time::timeout(Duration::from_secs(60), &mut leaderless).await.expect("nobody leads");
    }
}
