//! What a follower may have of a snapshot and has not confirmed: a few chunks are on their way at once, so that the
//! round trip does not set the pace.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use crate::effect::{Effect, Garbage, Outputs};
use crate::snapshot::SnapshotWriter;

/// So many chunks are on their way to a follower at once, beside copies of one that seems to be lost. What raft-rs
/// sends waits behind them.
pub(super) const CHUNKS_ON_THEIR_WAY_MAX: usize = 4;

/// The chunks of a snapshot from the first that its follower has not confirmed to one beyond what was sent.
pub(super) struct Window {
    /// Makes the chunks after `made`; gone, and with it the state as it was, when there are no more.
    writer: Option<SnapshotWriter>,
    chunk_bytes: usize,
    made: VecDeque<Bytes>,
    /// The number of the first in `made`.
    first: u64,
    /// Those before this one were sent.
    sent: u64,
}

/// What to do about a follower's request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Send the chunks of these numbers, if any.
    Send(Range<u64>),
    /// Nothing: a later request was here before.
    Overtaken,
    /// It has more than was made: it goes on with an attempt that has ended.
    Ahead,
}

impl Window {
    /// Nothing is sent yet. Chunks get about `chunk_bytes` long.
    pub(super) fn new(writer: SnapshotWriter, chunk_bytes: usize) -> Window {
        Window { writer: Some(writer), chunk_bytes, made: VecDeque::new(), first: 0, sent: 0 }
    }

    /// The follower has the chunks before `first`, and room for so many from there on. If it says that again, and there
    /// is nothing new for it, it lacks the first of them.
    pub(super) fn confirm(&mut self, first: u64, room: u32, out: &mut Outputs) -> Answer {
        let Some(confirmed) = first.checked_sub(self.first) else { return Answer::Overtaken };
        if confirmed > self.made.len() as u64 {
            return Answer::Ahead;
        }
        let again = confirmed == 0 && self.sent > first;
        self.made.drain(..confirmed as usize);
        self.first = first;
        let room = (room as usize).min(CHUNKS_ON_THEIR_WAY_MAX);
        self.make(room + 1, out);
        let end = first + room.min(self.made.len()) as u64;
        let begin = self.sent.max(first);
        if begin < end {
            self.sent = end;
            return Answer::Send(begin..end);
        }
        Answer::Send(if again && end > first { first..first + 1 } else { first..first })
    }

    /// A chunk of [`Answer::Send`], and whether it is the last one.
    pub(super) fn chunk(&self, number: u64) -> (Bytes, bool) {
        let place = (number - self.first) as usize;
        (self.made[place].clone(), self.writer.is_none() && place + 1 == self.made.len())
    }

    /// Whether there is nothing that was not sent.
    pub(super) fn is_all_sent(&self) -> bool {
        self.writer.is_none() && self.sent >= self.first + self.made.len() as u64
    }

    /// Makes chunks until there are `count` of them, or all.
    fn make(&mut self, count: usize, out: &mut Outputs) {
        while self.made.len() < count
            && let Some(writer) = &mut self.writer
        {
            match writer.next_chunk(self.chunk_bytes) {
                Some(chunk) => self.made.push_back(chunk),
                None => self.discard(out),
            }
        }
    }

    /// Drops the state that it was about, where time allows.
    pub(super) fn discard(&mut self, out: &mut Outputs) {
        let writer = self.writer.take();
        out.effects.extend(writer.map(|writer| Effect::Discard(Garbage(writer.into_view()))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::SnapshotMeta;
    use crate::proto::etcdserverpb as pb;
    use crate::state_machine::{Command, StateMachine};
    use crate::types::{ClusterId, LogIndex};

    /// The snapshot of a few keys, in chunks as short as they can be, and how many there are.
    fn window() -> (Window, u64) {
        let mut state = StateMachine::default();
        for index in 1..=12 {
            let put = pb::PutRequest { key: format!("k{index}").into(), ..Default::default() };
            let put = pb::InternalRaftRequest { put: Some(put), ..Default::default() };
            state.apply(LogIndex(index), &Command::from(put));
        }
        let meta = SnapshotMeta { index: state.applied(), ..SnapshotMeta::default() };
        let writer = || SnapshotWriter::new(state.view(), meta.clone(), ClusterId(0));
        let mut all = writer();
        let count = std::iter::from_fn(|| all.next_chunk(1)).count() as u64;
        assert!(count > 10);
        (Window::new(writer(), 1), count)
    }

    fn confirm(window: &mut Window, first: u64, room: u32) -> Answer {
        window.confirm(first, room, &mut Outputs::default())
    }

    #[test]
    fn a_few_are_on_their_way_and_each_is_sent_once() {
        let (mut window, _) = window();
        assert_eq!(confirm(&mut window, 0, 9), Answer::Send(0..4));
        assert_eq!(confirm(&mut window, 1, 4), Answer::Send(4..5));
        assert_eq!(confirm(&mut window, 3, 2), Answer::Send(3..3), "there is room for those on their way only");
        assert_eq!(confirm(&mut window, 5, 3), Answer::Send(5..8));
    }

    #[test]
    fn who_says_the_same_again_lacks_the_first() {
        let (mut window, _) = window();
        confirm(&mut window, 0, 4);
        assert_eq!(confirm(&mut window, 2, 4), Answer::Send(4..6));
        assert_eq!(confirm(&mut window, 2, 4), Answer::Send(2..3));
        assert_eq!(confirm(&mut window, 2, 4), Answer::Send(2..3));
        assert_eq!(confirm(&mut window, 1, 4), Answer::Overtaken);
        assert_eq!(confirm(&mut window, 6, 4), Answer::Send(6..10));
    }

    #[test]
    fn the_last_one_is_named_and_the_state_let_go() {
        let (mut window, count) = window();
        let mut out = Outputs::default();
        let mut first = 0;
        while let Answer::Send(numbers) = window.confirm(first, 2, &mut out)
            && !numbers.is_empty()
        {
            assert!(!window.is_all_sent() || numbers.end == count);
            for number in numbers.clone() {
                assert_eq!(window.chunk(number).1, number + 1 == count);
            }
            first = numbers.end;
        }
        assert_eq!(first, count);
        assert!(window.is_all_sent());
        assert!(matches!(out.effects[..], [Effect::Discard(_)]), "once");
    }

    #[test]
    fn who_has_more_than_was_made_goes_on_with_something_else() {
        let (mut window, count) = window();
        assert_eq!(confirm(&mut window, 1, 4), Answer::Ahead, "nothing was made");
        confirm(&mut window, 0, 1);
        assert_eq!(confirm(&mut window, count, 1), Answer::Ahead);
        assert_eq!(confirm(&mut window, 2, 1), Answer::Send(2..3), "it has these from an attempt before");
    }
}
