//! The calls that wait for an answer, and their deadlines. Whoever holds a call's number elsewhere asks here whether an
//! answer is still wanted; so an answer is given once or not at all.

use std::collections::BTreeSet;

use crate::in_order::InOrder;
use crate::time::Instant;
use crate::types::CallId;

/// The calls that wait.
#[derive(Default)]
pub(super) struct Calls {
    /// Each with its deadline and, if it writes, when it began.
    waiting: InOrder<(Instant, Option<Instant>)>,
    /// A tree: clients choose their deadlines, in whatever order.
    deadlines: BTreeSet<(Instant, CallId)>,
}

impl Calls {
    /// A call begins to wait; `write_begun` is now if it writes.
    pub(super) fn begin(&mut self, call: CallId, deadline: Instant, write_begun: Option<Instant>) {
        let before = self.waiting.insert(call.0, (deadline, write_begun));
        assert!(before.is_none(), "call {call} is used twice");
        self.deadlines.insert((deadline, call));
    }

    /// The call is answered, or given up: true if an answer was still wanted.
    pub(super) fn finish(&mut self, call: CallId) -> bool {
        let Some((deadline, _)) = self.waiting.remove(call.0) else { return false };
        self.deadlines.remove(&(deadline, call));
        true
    }

    /// The call has no deadline any more, if an answer is still wanted.
    pub(super) fn let_wait(&mut self, call: CallId) {
        if let Some((deadline, _)) = self.waiting.get_mut(call.0) {
            self.deadlines.remove(&(*deadline, call));
            *deadline = Instant::NEVER;
            self.deadlines.insert((*deadline, call));
        }
    }

    /// Whether an answer is still wanted.
    pub(super) fn wants(&self, call: CallId) -> bool {
        self.waiting.get(call.0).is_some()
    }

    /// Takes out a call whose deadline has passed, with the time at which it began if it writes.
    pub(super) fn pop_overdue(&mut self, now: Instant) -> Option<(CallId, Option<Instant>)> {
        let (deadline, call) = self.deadlines.first().copied()?;
        if deadline > now {
            return None;
        }
        let (_, write_begun) = self.waiting.get(call.0).copied()?;
        self.finish(call);
        Some((call, write_begun))
    }

    /// The next deadline.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes out all of them, in the order of their numbers.
    pub(super) fn drain(&mut self) -> Vec<CallId> {
        self.deadlines.clear();
        std::mem::take(&mut self.waiting).iter().map(|(call, _)| CallId(call)).collect()
    }
}
