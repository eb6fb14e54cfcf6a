//! What will happen, in order of time; what is to happen at the same time happens in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How many events may be planned at once, as a power of two.
const SLOT_BITS: u32 = 24;
/// How long a stretch of time is whose events are put in order together, as a power of two of nanoseconds: 65 µs.
const STRETCH_BITS: u32 = 16;
/// For how many stretches ahead events are kept apart: a quarter of a second.
const STRETCHES: u64 = 4_096;

/// The time, the number of the plan, and the slot, from the highest bit to the lowest: one comparison tells which is
/// earlier.
type Planned = u128;

/// The events to come. Those of the present stretch of time are in order, and those far ahead; what is between, most
/// of all, is only kept apart by stretches.
#[derive(Debug)]
pub struct Queue<E> {
    /// Those of the present stretch, the last one first: the next one is taken from the end.
    now: Vec<Planned>,
    /// The present stretch: everything in `now` is not after it, everything else is.
    stretch: u64,
    soon: Vec<Vec<Planned>>,
    /// How many there are in `soon`.
    soon_len: usize,
    later: BinaryHeap<Reverse<Planned>>,
    sequence: u64,
    slots: Vec<Option<E>>,
    free: Vec<u32>,
}

impl<E> Default for Queue<E> {
    fn default() -> Queue<E> {
        Queue {
            now: Vec::new(),
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

impl<E> Queue<E> {
    /// Plans an event for the time `at`, in nanoseconds. What is planned for a time that is over comes next.
    ///
    /// # Panics
    /// Some 16 million events are planned, or a million million were.
    pub fn push(&mut self, at: u64, event: E) {
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
        self.put(u128::from(at) << 64 | u128::from(place));
    }

    /// The next event and its time.
    pub fn pop(&mut self) -> Option<(u64, E)> {
        while self.now.is_empty() {
            self.advance()?;
        }
        let planned = self.now.pop()?;
        let slot = u32::try_from(planned & ((1 << SLOT_BITS) - 1)).expect("24 bits");
        self.free.push(slot);
        Some((time(planned), self.slots[slot as usize].take().expect("every slot in order has its event")))
    }

    fn put(&mut self, planned: Planned) {
        let stretch = time(planned) >> STRETCH_BITS;
        if stretch <= self.stretch {
            // There are few of them, but for what a member that was paused takes up all at once.
            let place = self.now.partition_point(|other| *other > planned);
            self.now.insert(place, planned);
        } else if stretch < self.stretch + STRETCHES {
            self.soon[place_of(stretch)].push(planned);
            self.soon_len += 1;
        } else {
            self.later.push(Reverse(planned));
        }
    }

    /// Goes on to the next stretch, or to the next one in which something happens; none if nothing will ever.
    fn advance(&mut self) -> Option<()> {
        let next = self.stretch + 1;
        self.stretch = match self.soon_len {
            0 => next.max(time(self.later.peek()?.0) >> STRETCH_BITS),
            _ => next,
        };
        // What was the present is over, and empty; its room is used again.
        let present = &mut self.soon[place_of(self.stretch)];
        self.soon_len -= present.len();
        std::mem::swap(&mut self.now, present);
        self.now.sort_unstable_by(|one, other| other.cmp(one));
        while let Some(Reverse(planned)) = self.later.peek().copied()
            && time(planned) >> STRETCH_BITS < self.stretch + STRETCHES
        {
            self.later.pop();
            self.put(planned);
        }
        Some(())
    }
}

fn time(planned: Planned) -> u64 {
    u64::try_from(planned >> 64).expect("the upper half")
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
            queue.push(at, index);
        }
        let order: Vec<(u64, usize)> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [(3, 1), (3, 3), (4, 4), (5, 0), (5, 2)]);
    }

    #[test]
    fn near_and_far_events_come_in_the_order_of_a_plain_heap() {
        let (mut queue, mut heap, mut state, mut now) = (Queue::default(), BinaryHeap::new(), 1u64, 0);
        for index in 0..20_000usize {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // From the same nanosecond to about 17 s ahead, each power of two as likely as any.
            let at = now + (state >> 30) % (1 << ((state >> 20) % 35));
            queue.push(at, index);
            heap.push(Reverse((at, index)));
            if state >> 63 == 0 || index == 0 {
                now = same_next(&mut queue, &mut heap).expect("something was planned");
            }
        }
        while same_next(&mut queue, &mut heap).is_some() {}
    }

    fn same_next(queue: &mut Queue<usize>, heap: &mut BinaryHeap<Reverse<(u64, usize)>>) -> Option<u64> {
        let popped = queue.pop();
        assert_eq!(popped, heap.pop().map(|Reverse(next)| next));
        popped.map(|(at, _)| at)
    }
}
