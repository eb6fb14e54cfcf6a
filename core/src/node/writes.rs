//! Since when the log's writes have been under way: a disk that takes too long is known by the oldest of them.

use std::collections::VecDeque;

use crate::time::Instant;
use crate::wal::WriteId;

/// The writes that are not durable yet, oldest first, with the time at which they were handed to the log.
#[derive(Debug, Default)]
pub(super) struct WritesInFlight {
    open: VecDeque<(WriteId, Instant)>,
}

impl WritesInFlight {
    /// Hands a write to the log at `now`.
    pub(super) fn begin(&mut self, write: WriteId, now: Instant) {
        match self.open.back_mut() {
            Some((newest, _)) if *newest >= write => {}
            // One time for all that was handed over at it.
            Some((newest, at)) if *at == now => *newest = write,
            _ => self.open.push_back((write, now)),
        }
    }

    /// Everything up to and including `write` is durable.
    pub(super) fn durable(&mut self, write: WriteId) {
        while self.open.front().is_some_and(|(oldest, _)| *oldest <= write) {
            self.open.pop_front();
        }
    }

    /// Since when the oldest one has been under way.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.open.front().map(|(_, at)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_write_counts_whatever_became_durable_before_it() {
        let at = Instant::from_millis;
        let mut writes = WritesInFlight::default();
        assert_eq!(writes.oldest(), None);
        writes.begin(WriteId(1), at(10));
        writes.begin(WriteId(2), at(20));
        writes.begin(WriteId(3), at(20));
        writes.begin(WriteId(4), at(30));
        writes.durable(WriteId(1));
        assert_eq!(writes.oldest(), Some(at(20)), "an older write says nothing about this one");
        writes.durable(WriteId(2));
        assert_eq!(writes.oldest(), Some(at(20)), "two of one time are over together");
        writes.durable(WriteId(3));
        assert_eq!(writes.oldest(), Some(at(30)));
        writes.durable(WriteId(4));
        assert_eq!(writes.oldest(), None);
    }
}
