//! What is under way, by operation.

use crate::history::OpId;

/// Room at first, as a power of two.
const SLOT_BITS_MIN: u32 = 4;

/// Values by operations of which few are open at a time, while many come and go: each costs a look or two at a table
/// that stays small. In no order.
#[derive(Debug)]
pub(crate) struct OpenOps<T> {
    /// An operation stands where [`OpenOps::home`] says, or in the first free place after it, round the end.
    slots: Vec<Option<(OpId, T)>>,
    len: usize,
}

impl<T> Default for OpenOps<T> {
    fn default() -> OpenOps<T> {
        OpenOps { slots: Vec::new(), len: 0 }
    }
}

impl<T> OpenOps<T> {
    /// The operation is open from now on. Gives back what it had before, if it was.
    pub(crate) fn insert(&mut self, op: OpId, value: T) -> Option<T> {
        if self.slots.len() <= 2 * self.len {
            self.grow();
        }
        let place = self.place(op);
        let before = self.slots[place].replace((op, value));
        self.len += usize::from(before.is_none());
        before.map(|(_, value)| value)
    }

    /// The operation is open no longer. Gives back what it had, if it was.
    pub(crate) fn remove(&mut self, op: OpId) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let mut hole = self.place(op);
        let (_, value) = self.slots[hole].take()?;
        self.len -= 1;
        // Whoever stands further from its home than the hole is closes the gap, or it would not be found any more.
        let mask = self.slots.len() - 1;
        let mut place = (hole + 1) & mask;
        while let Some((other, _)) = &self.slots[place] {
            let from_home = place.wrapping_sub(self.home(*other)) & mask;
            if from_home >= place.wrapping_sub(hole) & mask {
                self.slots.swap(hole, place);
                hole = place;
            }
            place = (place + 1) & mask;
        }
        Some(value)
    }

    /// All that are open, in the order of their numbers.
    pub(crate) fn into_sorted(self) -> Vec<(OpId, T)> {
        let mut all: Vec<(OpId, T)> = self.slots.into_iter().flatten().collect();
        all.sort_by_key(|(op, _)| *op);
        all
    }

    /// Where an operation stands, or would.
    fn place(&self, op: OpId) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = self.home(op);
        while self.slots[place].as_ref().is_some_and(|(other, _)| *other != op) {
            place = (place + 1) & mask;
        }
        place
    }

    /// The upper bits of a product with an odd number: operations whose numbers are alike stand apart.
    fn home(&self, op: OpId) -> usize {
        let upper = op.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        upper as usize & (self.slots.len() - 1)
    }

    fn grow(&mut self) {
        let room = (2 * self.slots.len()).max(1 << SLOT_BITS_MIN);
        let slots = std::mem::replace(&mut self.slots, (0..room).map(|_| None).collect());
        for (op, value) in slots.into_iter().flatten() {
            let place = self.place(op);
            self.slots[place] = Some((op, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_answers_as_a_map_does(steps in prop::collection::vec((any::<bool>(), 0..40u64, 0..3u32), 0..400)) {
            let mut open = OpenOps::default();
            let mut map = BTreeMap::new();
            for (n, (opens, number, shift)) in steps.into_iter().enumerate() {
                // Numbers that differ in their low bits, in their middle ones, in their high ones.
                let op = OpId(number << (24 * shift));
                match opens {
                    true => prop_assert_eq!(open.insert(op, n), map.insert(op, n)),
                    false => prop_assert_eq!(open.remove(op), map.remove(&op)),
                }
            }
            prop_assert_eq!(open.into_sorted(), map.into_iter().collect::<Vec<_>>());
        }
    }
}
