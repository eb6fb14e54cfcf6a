//! What belongs to the term of a leader.

use detcd_core::types::Term;

/// Values by terms that come in order, and are few.
#[derive(Debug)]
pub(super) struct ByTerm<V> {
    terms: Vec<(Term, V)>,
}

impl<V> Default for ByTerm<V> {
    fn default() -> ByTerm<V> {
        ByTerm { terms: Vec::new() }
    }
}

impl<V> ByTerm<V> {
    /// The value of `term`, which is `now` if it had none. No term is older than those before.
    pub(super) fn get_or_insert(&mut self, term: Term, now: V) -> &mut V {
        if self.terms.last().is_none_or(|(newest, _)| *newest < term) {
            self.terms.push((term, now));
        }
        self.terms.last_mut().map(|(_, value)| value).expect("one was there, or was added")
    }

    /// The value of the newest term before `term`.
    pub(super) fn before(&self, term: Term) -> Option<&V> {
        self.terms.iter().rev().find(|(of, _)| *of < term).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_before_a_term_is_found_and_the_first_value_of_a_term_stays() {
        let mut values = ByTerm::default();
        for (term, value) in [(2, 'a'), (2, 'b'), (5, 'c'), (7, 'd')] {
            values.get_or_insert(Term(term), value);
        }
        *values.get_or_insert(Term(7), 'e') = 'f';
        let before = |term| values.before(Term(term)).copied();
        assert_eq!((before(2), before(3), before(5), before(6)), (None, Some('a'), Some('a'), Some('c')));
        assert_eq!((before(7), before(8)), (Some('c'), Some('f')));
    }
}
