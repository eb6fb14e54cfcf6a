//! The calls that a node has not answered yet.

use std::collections::VecDeque;

use detcd_core::types::CallId;

/// Who waits for the answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub client: u32,
    /// The number of the client's attempt.
    pub attempt: u64,
    /// When the call arrived.
    pub arrived_at: u64,
}

/// The calls of clients by their names, which are numbers one after another; some of them name other calls.
#[derive(Debug, Default)]
pub(super) struct OpenCalls {
    /// The name of the first place of `callers`.
    first: u64,
    /// None where a call is answered, or none of these. Never so at the front.
    callers: VecDeque<Option<Caller>>,
}

impl OpenCalls {
    /// A new call, whose name is after all others'.
    pub fn insert(&mut self, call: CallId, caller: Caller) {
        if self.callers.is_empty() {
            self.first = call.0;
        }
        let skipped = call.0 - self.first - self.callers.len() as u64;
        self.callers.extend((0..skipped).map(|_| None));
        self.callers.push_back(Some(caller));
    }

    /// Who waits for the answer.
    pub fn get(&self, call: CallId) -> Option<&Caller> {
        self.callers.get(self.place(call)?)?.as_ref()
    }

    /// Nobody waits for the answer any more. Gives back who did.
    pub fn remove(&mut self, call: CallId) -> Option<Caller> {
        let place = self.place(call)?;
        let caller = self.callers.get_mut(place)?.take()?;
        while let Some(None) = self.callers.front() {
            self.callers.pop_front();
            self.first += 1;
        }
        Some(caller)
    }

    /// Nobody waits for any answer any more.
    pub fn clear(&mut self) {
        self.callers.clear();
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (CallId, &Caller)> {
        (self.first..).map(CallId).zip(&self.callers).filter_map(|(call, caller)| Some((call, caller.as_ref()?)))
    }

    fn place(&self, call: CallId) -> Option<usize> {
        usize::try_from(call.0.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_as_in_a_map(steps in prop::collection::vec((0..4u64, 0..20u64), 0..200)) {
            let mut calls = OpenCalls::default();
            let mut map = BTreeMap::new();
            let mut made = 0;
            for (what, number) in steps {
                match what {
                    // Sometimes the names between are those of other calls.
                    0 | 1 => {
                        made += 1 + number * what / 10;
                        let caller = Caller { client: 1, attempt: number, arrived_at: made };
                        calls.insert(CallId(made), caller);
                        map.insert(CallId(made), caller);
                    }
                    _ => {
                        let call = CallId((made + 2).saturating_sub(number));
                        prop_assert_eq!(calls.get(call), map.get(&call));
                        prop_assert_eq!(calls.remove(call), map.remove(&call));
                    }
                }
                prop_assert!(calls.iter().eq(map.iter().map(|(call, caller)| (*call, caller))));
            }
        }
    }
}
