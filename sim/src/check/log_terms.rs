//! The terms of a log's entries.

use std::collections::VecDeque;

use detcd_core::types::Term;

/// The entries of a log of one term, or those whose term is unknown, from this index on up to the next stretch.
type Stretch = (u64, Option<Term>);

/// The term of each entry of a log, where it is known. Kept by stretches, of which a log has few however long it is.
#[derive(Debug, Default)]
pub(super) struct LogTerms {
    /// The index before the first entry that is kept.
    base: u64,
    last: u64,
    /// Where the log ends, and where most questions end too.
    newest: Stretch,
    /// Those before, in order. The first one may begin at or before `base`.
    older: VecDeque<Stretch>,
}

impl LogTerms {
    /// A log of which one entry is known, and nothing before it.
    pub(super) fn beginning_with(index: u64, term: Term) -> LogTerms {
        LogTerms { base: index - 1, last: index, newest: (index, Some(term)), older: VecDeque::new() }
    }

    /// Where the log ends.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The term of the entry at `index`, if it is kept and known.
    pub(super) fn get(&self, index: u64) -> Option<Term> {
        if index <= self.base || index > self.last {
            None
        } else if self.newest.0 <= index {
            self.newest.1
        } else {
            self.older.iter().rev().find(|(first, _)| *first <= index).and_then(|(_, term)| *term)
        }
    }

    /// The log ends with `index` from now on. Entries that nobody spoke of are unknown; after more than `limit` of them
    /// nothing is kept.
    pub(super) fn end_at(&mut self, index: u64, limit: u64) {
        if index < self.base || index.saturating_sub(self.last) > limit {
            *self = LogTerms { base: index, last: index, newest: (index + 1, None), older: VecDeque::new() };
        } else if index > self.last {
            self.append(None, index);
        } else {
            self.last = index;
            while self.newest.0 > index
                && let Some(older) = self.older.pop_back()
            {
                self.newest = older;
            }
        }
    }

    /// One more entry. If there are more than `limit`, the first one is forgotten.
    pub(super) fn push(&mut self, term: Term, limit: u64) {
        self.append(Some(term), self.last + 1);
        if self.last - self.base > limit {
            self.base += 1;
            let next = self.older.get(1).unwrap_or(&self.newest).0;
            if next <= self.base + 1 {
                self.older.pop_front();
            }
        }
    }

    /// The entries after the last one, up to `last`, are of this term.
    fn append(&mut self, term: Option<Term>, last: u64) {
        if self.newest.1 != term {
            let before = std::mem::replace(&mut self.newest, (self.last + 1, term));
            self.older.push_back(before);
        }
        self.last = last;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 12;

    /// The same, entry by entry.
    #[derive(Default)]
    struct Plain {
        base: u64,
        terms: VecDeque<Option<Term>>,
    }

    impl Plain {
        fn last(&self) -> u64 {
            self.base + self.terms.len() as u64
        }

        fn get(&self, index: u64) -> Option<Term> {
            let place = usize::try_from(index.checked_sub(self.base + 1)?).ok()?;
            self.terms.get(place).copied().flatten()
        }

        fn end_at(&mut self, index: u64) {
            if index < self.base || index > self.last() + LIMIT {
                (self.base, self.terms) = (index, VecDeque::new());
            }
            self.terms.resize((index - self.base) as usize, None);
        }

        fn push(&mut self, term: Term) {
            self.terms.push_back(Some(term));
            if self.terms.len() as u64 > LIMIT {
                self.terms.pop_front();
                self.base += 1;
            }
        }
    }

    proptest! {
        #[test]
        fn it_knows_what_a_list_of_all_entries_knows(
            steps in prop::collection::vec((0..10u8, 0..40u64, 0..4u64), 0..120),
        ) {
            let (mut log, mut plain) = (LogTerms::default(), Plain::default());
            for (what, index, term) in steps {
                match what {
                    0 => {
                        log = LogTerms::beginning_with(index + 1, Term(term));
                        plain = Plain { base: index, terms: VecDeque::from([Some(Term(term))]) };
                    }
                    1 | 2 => {
                        log.end_at(index, LIMIT);
                        plain.end_at(index);
                    }
                    _ => {
                        log.push(Term(term), LIMIT);
                        plain.push(Term(term));
                    }
                }
                prop_assert_eq!(log.last(), plain.last());
                for index in 0..plain.last() + 3 {
                    prop_assert_eq!(log.get(index), plain.get(index), "at {}", index);
                }
            }
        }
    }
}
