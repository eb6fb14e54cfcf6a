//! The queue in front of the node: many write, one thread takes all at once.
//!
//! It has no limit of its own: every item that others can cause carries a permit of their budget (calls in flight, open
//! streams, requests of a stream, bytes of a peer), which is not free again before the node has taken the item, whoever
//! has gone away meanwhile; and the node bounds its disk actions.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use detcd_core::Input;
use detcd_core::api::{ReadRequest, Response, Status};
use detcd_core::proto::etcdserverpb::ResponseHeader;
use detcd_core::types::{CallId, StreamId};
use detcd_core::watch::WatchMessage;
use detcd_core::{StoreView, api::Request};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

/// What a call gets.
#[derive(Debug)]
pub enum Answer {
    /// The answer itself.
    Reply(Result<Response, Status>),
    /// A read to be executed where the answer is awaited.
    Read {
        /// What to read.
        request: ReadRequest,
        /// Where; boxed, since most answers carry none.
        view: Box<StoreView>,
        /// What the response's header says beside the revision.
        header: ResponseHeader,
    },
}

/// Where the answer of a call goes. The call's place among those in flight goes with it: it is free again when the
/// answer has been taken, or when nobody waits for one and the node knows.
#[derive(Debug)]
pub struct Waiting {
    answer: oneshot::Sender<(Answer, OwnedSemaphorePermit)>,
    place: OwnedSemaphorePermit,
}

impl Waiting {
    /// A call that has got this place, and the other end of it.
    pub fn new(place: OwnedSemaphorePermit) -> (Waiting, oneshot::Receiver<(Answer, OwnedSemaphorePermit)>) {
        let (answer, answered) = oneshot::channel();
        (Waiting { answer, place }, answered)
    }

    /// Answers. A client that went away does not want its answer any more.
    pub fn answer(self, answer: Answer) {
        let _ = self.answer.send((answer, self.place));
    }
}

/// What a watch stream gets.
#[derive(Debug)]
pub enum Pushed {
    /// Responses, in order.
    Batch(Vec<WatchMessage>),
    /// Nothing more, for this reason.
    End(Status),
}

/// One thing for the node's thread.
#[derive(Debug)]
pub enum Item {
    /// An input as it is.
    Input {
        /// The input.
        input: Input,
        /// Given back when the node has taken the input.
        permit: Option<OwnedSemaphorePermit>,
    },
    /// A call, and where its answer goes.
    Call {
        /// Names the call.
        call: CallId,
        /// When the client stops waiting.
        deadline: detcd_core::Instant,
        /// What is asked.
        request: Request,
        /// Where the answer goes.
        waiting: Waiting,
    },
    /// A new watch stream, and where its responses go; bounded by the credit that is given.
    Open {
        /// Names the stream.
        stream: StreamId,
        /// Where its responses go.
        pushes: mpsc::UnboundedSender<Pushed>,
    },
}

impl From<Input> for Item {
    fn from(input: Input) -> Item {
        Item::Input { input, permit: None }
    }
}

#[derive(Debug, Default)]
struct State {
    items: Vec<Item>,
    /// Whether the taker waits, and has to be woken.
    asleep: bool,
    closed: bool,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Inbox {
    state: Mutex<State>,
    wake: Condvar,
}

impl Inbox {
    /// Adds an item. After [`Inbox::close`] it is dropped, and whoever waits for its answer learns so.
    pub fn put(&self, item: Item) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            drop(state);
            return;
        }
        state.items.push(item);
        if state.asleep {
            state.asleep = false;
            self.wake.notify_one();
        }
    }

    /// Moves all items to `into`, which must be empty; waits at most `patience` for the first.
    pub fn take(&self, patience: Duration, into: &mut Vec<Item>) {
        assert!(into.is_empty(), "items of the last round were not all taken");
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.items.is_empty() && !patience.is_zero() {
            state.asleep = true;
            let woken = self.wake.wait_timeout_while(state, patience, |state| state.items.is_empty());
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            state.asleep = false;
        }
        std::mem::swap(&mut state.items, into);
    }

    /// Drops everything in the queue and everything that will come.
    pub fn close(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.closed = true;
        let dropped = std::mem::take(&mut state.items);
        drop(state);
        drop(dropped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Semaphore;

    #[test]
    fn items_come_out_in_order_and_all_at_once() {
        let inbox = Inbox::default();
        inbox.put(Input::Wakeup.into());
        inbox.put(Input::Stop.into());
        let mut items = Vec::new();
        inbox.take(Duration::from_secs(60), &mut items);
        let [Item::Input { input: Input::Wakeup, .. }, Item::Input { input: Input::Stop, .. }] = &items[..] else {
            panic!("{items:?}");
        };
        items.clear();
        inbox.take(Duration::ZERO, &mut items);
        assert!(items.is_empty());
    }

    #[test]
    fn a_waiting_taker_is_woken_by_the_first_item() {
        let inbox = Arc::new(Inbox::default());
        let taker = Arc::clone(&inbox);
        let thread = std::thread::spawn(move || {
            let mut items = Vec::new();
            taker.take(Duration::from_secs(60), &mut items);
            items.len()
        });
        inbox.put(Input::Wakeup.into());
        assert_eq!(thread.join().expect("the taker ends"), 1);
    }

    #[test]
    fn who_waits_for_an_answer_learns_that_the_inbox_is_closed() {
        let inbox = Inbox::default();
        let places = Arc::new(Semaphore::new(2));
        let call = || {
            let (waiting, answered) = Waiting::new(Arc::clone(&places).try_acquire_owned().expect("a place"));
            let request = Request::Status(Default::default());
            let deadline = detcd_core::Instant::NEVER;
            inbox.put(Item::Call { call: CallId(1), deadline, request, waiting });
            answered
        };
        let mut early = call();
        inbox.close();
        let mut late = call();
        assert_eq!(places.available_permits(), 2);
        assert!(matches!(early.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        assert!(matches!(late.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
    }
}
