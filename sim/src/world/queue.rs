//! What will happen, in order of time; what is to happen at the same time happens in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use bytes::Bytes;
use detcd_core::api::{ReadRequest, Request, Response, Status};
use detcd_core::proto::etcdserverpb::{ResponseHeader, WatchRequest, WatchResponse};
use detcd_core::types::{CallId, DiskOp, StreamId};
use detcd_core::{DiskError, DiskReply, StoreView};

use crate::disk::Durable;
use crate::observe::NodeIndex;

/// When an event's cause left its member, and in which of the member's lives: a crash before that undoes it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub node: NodeIndex,
    pub boot: u32,
    pub at: u64,
}

/// A read that is confirmed and waits for its thread.
#[derive(Debug)]
pub(super) struct PendingRead {
    pub request: ReadRequest,
    pub view: StoreView,
    pub header: ResponseHeader,
}

/// What a client gets for an attempt.
#[derive(Debug)]
pub(super) enum Answer {
    /// The member's answer.
    Result(Box<Result<Response, Status>>),
    /// Nobody listens there: nothing was done.
    Refused,
    /// The connection broke: nobody knows.
    Reset,
}

/// What a watching client says.
#[derive(Debug)]
pub(super) enum StreamIn {
    Open(Box<WatchRequest>),
    Request(Box<WatchRequest>),
    Credit(u64),
    Close(StreamId, u32),
}

/// What a watching client waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WatchTimer {
    /// To try again.
    Reopen,
    /// The creation was not confirmed for too long.
    Unanswered,
    /// The stream broke some time ago; now the client notices.
    Broken,
    /// To ask for the progress.
    AskProgress,
    /// The client has seen enough.
    Enough,
}

#[derive(Debug)]
pub(super) enum Event {
    Wake { node: NodeIndex, token: u64 },
    Frame { from: Departure, to: NodeIndex, frame: Bytes },
    LinkHint { node: NodeIndex, peer: NodeIndex, up: bool },
    DiskDone { node: NodeIndex, boot: u32, op: DiskOp, reply: Result<DiskReply, DiskError>, durable: Option<Durable> },
    ReadDue { node: NodeIndex, boot: u32, call: CallId, read: Box<PendingRead> },
    Arrive { client: u32, attempt: u64, node: NodeIndex, request: Box<Request> },
    Hangup { node: NodeIndex, client: u32, attempt: u64 },
    Answer { client: u32, attempt: u64, from: Departure, answer: Answer },
    GiveUp { client: u32 },
    Retry { client: u32, attempt: u64 },
    OpDue { index: usize },
    StreamIn { session: usize, generation: u64, node: NodeIndex, what: StreamIn },
    StreamOut { session: usize, generation: u64, from: Departure, batch: Vec<WatchResponse> },
    StreamEnded { session: usize, generation: u64, from: Departure },
    Watch { session: usize, generation: u64, timer: WatchTimer },
    FaultStart { index: usize },
    FaultEnd { index: usize },
    Start { node: NodeIndex, boot: u32 },
    Heal,
    Check,
}

/// How many events may be planned at once, as a power of two.
const SLOT_BITS: u32 = 24;

/// The events to come.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The time, the number of the plan, and the slot, from the highest bit to the lowest: one comparison tells which
    /// is earlier.
    order: BinaryHeap<Reverse<u128>>,
    sequence: u64,
    slots: Vec<Option<Event>>,
    free: Vec<u32>,
}

impl Queue {
    /// Plans an event.
    pub fn push(&mut self, at: u64, event: Event) {
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(event);
                slot
            }
            None => {
                self.slots.push(Some(event));
                u32::try_from(self.slots.len() - 1).expect("far fewer events at once")
            }
        };
        self.sequence += 1;
        assert!(slot < 1 << SLOT_BITS && self.sequence < 1 << (64 - SLOT_BITS), "a run stays within its bounds");
        let place = self.sequence << SLOT_BITS | u64::from(slot);
        self.order.push(Reverse(u128::from(at) << 64 | u128::from(place)));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        let Reverse(next) = self.order.pop()?;
        let at = u64::try_from(next >> 64).expect("the upper half");
        let slot = u32::try_from(next & ((1 << SLOT_BITS) - 1)).expect("24 bits");
        self.free.push(slot);
        Some((at, self.slots[slot as usize].take().expect("every slot in order has its event")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_order_of_time_and_then_of_planning() {
        let mut queue = Queue::default();
        for (at, index) in [(5, 0), (3, 1), (5, 2), (3, 3), (4, 4)] {
            queue.push(at, Event::OpDue { index });
        }
        let order: Vec<(u64, usize)> = std::iter::from_fn(|| queue.pop())
            .map(|(at, event)| match event {
                Event::OpDue { index } => (at, index),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, [(3, 1), (3, 3), (4, 4), (5, 0), (5, 2)]);
    }
}
