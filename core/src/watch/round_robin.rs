//! Turns among many.

use std::collections::BTreeSet;

/// A set whose members get their turns in order, round and round, whoever joins or leaves meanwhile.
#[derive(Debug)]
pub(super) struct RoundRobin<T> {
    members: BTreeSet<T>,
    /// Who had the last turn.
    last: Option<T>,
}

impl<T> Default for RoundRobin<T> {
    fn default() -> RoundRobin<T> {
        RoundRobin { members: BTreeSet::new(), last: None }
    }
}

impl<T: Ord + Copy> RoundRobin<T> {
    /// Lets one take part.
    pub fn insert(&mut self, member: T) {
        self.members.insert(member);
    }

    /// Lets one take part no more.
    pub fn remove(&mut self, member: T) {
        self.members.remove(&member);
    }

    /// Whether nobody takes part.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many take part.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whose turn it is now.
    pub fn turn(&mut self) -> Option<T> {
        use std::ops::Bound::{Excluded, Unbounded};
        let after = self.last.and_then(|last| self.members.range((Excluded(last), Unbounded)).next());
        let turn = after.or_else(|| self.members.first()).copied();
        self.last = turn.or(self.last);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_turn_before_anybody_has_a_second_one() {
        let mut turns = RoundRobin::default();
        for member in [5, 1, 3] {
            turns.insert(member);
        }
        let order: Vec<_> = std::iter::from_fn(|| turns.turn()).take(4).collect();
        assert_eq!(order, [1, 3, 5, 1]);
        turns.remove(1);
        turns.insert(2);
        assert_eq!(turns.turn(), Some(2));
        assert_eq!(turns.turn(), Some(3));
        assert_eq!(turns.len(), 3);
    }
}
