//! Since when writes are under way.

use std::collections::VecDeque;

/// The writes under way, by the positions of their invocations.
#[derive(Debug, Default)]
pub(super) struct OpenWrites {
    /// In order; some are over, but never the first.
    invoked: VecDeque<(u64, bool)>,
    open: usize,
}

impl OpenWrites {
    /// A write was invoked, after all others.
    pub(super) fn begin(&mut self, invoked: u64) {
        self.invoked.push_back((invoked, true));
        self.open += 1;
    }

    /// The operation that was invoked there is over, if it is a write.
    pub(super) fn end(&mut self, invoked: u64) {
        let Ok(place) = self.invoked.binary_search_by_key(&invoked, |(invoked, _)| *invoked) else { return };
        let was_open = std::mem::replace(&mut self.invoked[place].1, false);
        self.open -= usize::from(was_open);
        while self.invoked.front().is_some_and(|(_, open)| !open) {
            self.invoked.pop_front();
        }
        // One that is never over must not keep all that come after it.
        if self.invoked.len() > 64 + 4 * self.open {
            self.invoked.retain(|(_, open)| *open);
        }
    }

    /// When the first one was invoked that is still under way.
    pub(super) fn since(&self) -> Option<u64> {
        self.invoked.front().map(|(invoked, _)| *invoked)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_first_that_is_open_is_that_of_a_set(steps in prop::collection::vec((any::<bool>(), 0..500u64), 0..500)) {
            let mut writes = OpenWrites::default();
            let mut set = BTreeSet::new();
            for (seq, (begins, back)) in (0..).zip(steps) {
                if begins {
                    writes.begin(seq);
                    set.insert(seq);
                } else {
                    let ended = seq.saturating_sub(back);
                    writes.end(ended);
                    set.remove(&ended);
                }
                prop_assert_eq!(writes.since(), set.first().copied());
                prop_assert!(writes.invoked.len() <= 64 + 4 * set.len().max(writes.open));
            }
        }
    }
}
