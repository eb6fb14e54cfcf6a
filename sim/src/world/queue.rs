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
    /// To ask for another watcher on the same stream.
    Another,
    /// To ask for the progress.
    AskProgress,
    /// The client has seen enough.
    Enough,
}

/// What a lock worker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LockTimer {
    /// To do the next thing; the number tells whether it was planned anew since.
    Act(u64),
    /// To keep its session alive.
    Keep,
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
    Lock { worker: u32, session: u64, timer: LockTimer },
    FaultStart { index: usize },
    FaultEnd { index: usize },
    Flap { index: usize },
    Start { node: NodeIndex, boot: u32 },
    PowerReturns { node: NodeIndex },
    Heal,
    Check,
}

/// How many events may be planned at once, as a power of two.
const SLOT_BITS: u32 = 24;
/// How long a stretch of time is whose events are put in order together, as a power of two of nanoseconds: 65 µs.
const STRETCH_BITS: u32 = 16;
/// For how many stretches ahead events are kept apart: a quarter of a second.
const STRETCHES: u64 = 4_096;

/// The time, the number of the plan, and the slot, from the highest bit to the lowest: one comparison tells which is
/// earlier.
type Planned = Reverse<u128>;

/// The events to come. Those of the present stretch of time are in order, and those far ahead; what is between, most
/// of all, is only kept apart by stretches.
#[derive(Debug)]
pub(super) struct Queue {
    now: BinaryHeap<Planned>,
    /// The present stretch: everything in `now` is not after it, everything else is.
    stretch: u64,
    soon: Vec<Vec<Planned>>,
    /// How many there are in `soon`.
    soon_len: usize,
    later: BinaryHeap<Planned>,
    sequence: u64,
    slots: Vec<Option<Event>>,
    free: Vec<u32>,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            now: BinaryHeap::new(),
            stretch: 0,
            soon: (0..STRETCHES).map(|_| Vec::new()).collect(),
            soon_len: 0,
            later: BinaryHeap::new(),
            sequence: 0,
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
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
        self.put(Reverse(u128::from(at) << 64 | u128::from(place)));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(u64, Event)> {
        while self.now.is_empty() {
            self.advance()?;
        }
        let planned = self.now.pop()?;
        let slot = u32::try_from(planned.0 & ((1 << SLOT_BITS) - 1)).expect("24 bits");
        self.free.push(slot);
        Some((time(planned), self.slots[slot as usize].take().expect("every slot in order has its event")))
    }

    fn put(&mut self, planned: Planned) {
        let stretch = time(planned) >> STRETCH_BITS;
        if stretch <= self.stretch {
            self.now.push(planned);
        } else if stretch < self.stretch + STRETCHES {
            self.soon[place_of(stretch)].push(planned);
            self.soon_len += 1;
        } else {
            self.later.push(planned);
        }
    }

    /// Goes on to the next stretch, or to the next one in which something happens; none if nothing will ever.
    fn advance(&mut self) -> Option<()> {
        self.stretch += 1;
        if self.soon_len == 0 {
            self.stretch = self.stretch.max(time(*self.later.peek()?) >> STRETCH_BITS);
        }
        let mut present = std::mem::take(&mut self.soon[place_of(self.stretch)]);
        self.soon_len -= present.len();
        self.now.extend(present.drain(..));
        self.soon[place_of(self.stretch)] = present;
        while let Some(planned) = self.later.peek().copied()
            && time(planned) >> STRETCH_BITS < self.stretch + STRETCHES
        {
            self.later.pop();
            self.put(planned);
        }
        Some(())
    }
}

fn time(planned: Planned) -> u64 {
    u64::try_from(planned.0 >> 64).expect("the upper half")
}

fn place_of(stretch: u64) -> usize {
    usize::try_from(stretch % STRETCHES).expect("few stretches")
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

    #[test]
    fn near_and_far_events_come_in_the_order_of_a_plain_heap() {
        let (mut queue, mut heap, mut state, mut now) = (Queue::default(), BinaryHeap::new(), 1u64, 0);
        for index in 0..20_000usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // From the same nanosecond to about 17 s ahead, each power of two as likely as any.
            let at = now + (state >> 30) % (1 << ((state >> 20) % 35));
            queue.push(at, Event::OpDue { index });
            heap.push(Reverse((at, index)));
            if state >> 63 == 0 || index == 0 {
                now = same_next(&mut queue, &mut heap).expect("something was planned");
            }
        }
        while same_next(&mut queue, &mut heap).is_some() {}
    }

    fn same_next(queue: &mut Queue, heap: &mut BinaryHeap<Reverse<(u64, usize)>>) -> Option<u64> {
        let popped = queue.pop().map(|(at, event)| match event {
            Event::OpDue { index } => (at, index),
            other => panic!("{other:?}"),
        });
        assert_eq!(popped, heap.pop().map(|Reverse(next)| next));
        popped.map(|(at, _)| at)
    }
}
