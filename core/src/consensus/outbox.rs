//! Messages that wait for the disk, and the writes they wait for.
//!
//! Two rules. A message that tells others what this member knows (a vote, an acknowledgement) leaves when everything
//! handed to the disk before it is durable. And no message at all leaves while the term or vote it was made under is
//! not durable: a member that can win alone would otherwise lead a term that it may forget.

use std::collections::VecDeque;

use super::Outgoing;
use crate::log::HardState;
use crate::types::{LogIndex, NodeId, Term};
use crate::wal::WriteId;

/// One `Ready` of raft-rs on its way to the disk.
pub(super) struct InFlight {
    /// The write that carries it; `None` until the log writer has named it.
    pub(super) write: WriteId,
    /// raft-rs's number of the `Ready`.
    pub(super) ready: u64,
    /// Its first and last entry.
    pub(super) entries: Option<(LogIndex, LogIndex)>,
    /// The last entry's term.
    pub(super) last_term: Option<Term>,
    /// Its hard state, if it has to be durable.
    pub(super) hard_state: Option<HardState>,
    /// What leaves when it is durable.
    pub(super) messages: Vec<Outgoing>,
}

/// What became of a completed write.
pub(super) struct Completed {
    /// Messages that may leave now.
    pub(super) messages: Vec<Outgoing>,
    /// raft-rs may be told that everything up to this `Ready` is persisted.
    pub(super) persisted: Option<u64>,
    /// The term of the last entry that is durable now, if there are new ones.
    pub(super) last_term: Option<Term>,
}

/// The writes in flight, oldest first, and what is durable.
pub(super) struct Outbox {
    in_flight: VecDeque<InFlight>,
    /// The newest `Ready` whose completion is known but not yet told to raft-rs, because a later write in flight
    /// overwrites its entries.
    untold: Option<u64>,
    durable_term: Term,
    durable_vote: NodeId,
    durable_last: LogIndex,
}

impl Outbox {
    /// An empty outbox over what the disk holds.
    pub(super) fn new(hard_state: HardState, last: LogIndex) -> Outbox {
        Outbox {
            in_flight: VecDeque::new(),
            untold: None,
            durable_term: hard_state.term,
            durable_vote: hard_state.vote,
            durable_last: last,
        }
    }

    /// Whether anything is on its way to the disk.
    pub(super) fn is_empty(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// The last entry up to which the log, as it stands, is durable, and the durable term and vote. What the disk holds
    /// from where a write in flight begins is about to be overwritten, and in the log no longer.
    pub(super) fn durable(&self) -> (LogIndex, Term, NodeId) {
        let kept = self.first_in_flight().map_or(self.durable_last, |first| LogIndex(first.0 - 1));
        (self.durable_last.min(kept), self.durable_term, self.durable_vote)
    }

    /// The first index of all that a write in flight brings.
    fn first_in_flight(&self) -> Option<LogIndex> {
        self.in_flight.iter().filter_map(|write| write.entries).map(|(first, _)| first).min()
    }

    /// Whether a message made under this term and vote may leave at once.
    pub(super) fn knows_durably(&self, term: Term, vote: NodeId) -> bool {
        self.durable_term == term && self.durable_vote == vote
    }

    /// Hands a `Ready` to the disk.
    pub(super) fn push(&mut self, write: InFlight) {
        self.in_flight.push_back(write);
    }

    /// Lets messages wait for the newest write; gives them back if there is none.
    pub(super) fn attach(&mut self, messages: Vec<Outgoing>, ready: u64) -> Result<(), Vec<Outgoing>> {
        match self.in_flight.back_mut() {
            Some(newest) => {
                newest.messages.extend(messages);
                newest.ready = ready;
                Ok(())
            }
            None => Err(messages),
        }
    }

    /// Everything up to and including `write` is durable.
    pub(super) fn complete(&mut self, write: WriteId) -> Completed {
        let mut messages = Vec::new();
        let (mut done_last, mut last_term) = (None, None);
        while self.in_flight.front().is_some_and(|oldest| oldest.write <= write) {
            let done = self.in_flight.pop_front().expect("looked at");
            messages.extend(done.messages);
            if let Some(state) = done.hard_state {
                assert!(state.term >= self.durable_term, "the durable term does not go back");
                self.durable_term = state.term;
                self.durable_vote = state.vote;
            }
            if let Some((_, last)) = done.entries {
                self.durable_last = last;
                (done_last, last_term) = (Some(last), done.last_term);
            }
            self.untold = Some(done.ready);
        }
        Completed { messages, persisted: self.tell(done_last), last_term }
    }

    /// A snapshot is durable and replaces the log, and with it the hard state of its `Ready`.
    pub(super) fn installed(&mut self, last: LogIndex, hard_state: Option<HardState>) {
        assert!(self.in_flight.is_empty(), "a snapshot is installed when the disk is quiet");
        self.untold = None;
        self.durable_last = last;
        if let Some(state) = hard_state {
            self.durable_term = state.term;
            self.durable_vote = state.vote;
        }
    }

    /// raft-rs checks a completion by (index, term) alone. When a later write in flight overwrites the completed
    /// entries with others and a still later one brings the first back, that check passes although the disk may
    /// pass through the version in between: so such a completion waits for the writes that overlap it.
    fn tell(&mut self, done_last: Option<LogIndex>) -> Option<u64> {
        let last = done_last.or(self.untold.map(|_| self.durable_last))?;
        let is_overlapped = self.first_in_flight().is_some_and(|first| first <= last);
        if is_overlapped { None } else { self.untold.take() }
    }
}
