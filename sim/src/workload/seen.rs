//! What a client remembers of the answers that it got.

use std::collections::BTreeMap;

use detcd_core::types::Revision;

use super::below_i64;
use crate::index_key::IndexKey;

/// So much news waits to be put in order, at most.
const NEWS_MAX: usize = 256;

/// What a client remembers of the answers that it got.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The newest revision.
    pub revision: Revision,
    /// The newest revision of each key, before the news.
    modified: BTreeMap<IndexKey, Revision>,
    /// What was learnt of keys since, oldest first: most of it nobody ever asks for.
    news: Vec<(IndexKey, Option<Revision>)>,
}

impl Seen {
    /// A client that knows of a revision and of no key.
    pub fn of_revision(revision: Revision) -> Seen {
        Seen { revision, ..Seen::default() }
    }

    /// The client learns of a revision.
    pub fn revision(&mut self, revision: Revision) {
        self.revision = self.revision.max(revision);
    }

    /// The client learns of the newest revision of a key; `None` if it is deleted.
    pub(crate) fn key(&mut self, key: &[u8], modified: Option<Revision>) {
        self.news.push((IndexKey::from(key), modified));
        if self.news.len() >= NEWS_MAX {
            self.in_order();
        }
    }

    /// The same for who asks for the revisions of keys.
    pub(super) fn in_order(&mut self) -> &Seen {
        for (key, modified) in self.news.drain(..) {
            match modified {
                Some(revision) => drop(self.modified.insert(key, revision)),
                None => drop(self.modified.remove(&key)),
            }
        }
        self
    }

    /// The newest revision of a key, 0 if there is none.
    pub(super) fn modified(&self, key: &[u8]) -> Revision {
        assert!(self.news.is_empty(), "who asks for keys puts the news in order before");
        self.modified.get(&IndexKey::from(key)).copied().unwrap_or(0)
    }

    /// A revision up to `back` ago, 1 at least.
    pub(super) fn older(&self, draw: u64, back: u64) -> Revision {
        (self.revision - below_i64(draw, back)).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_last_counts() {
        let mut seen = Seen::default();
        for n in 1..=1_000 {
            seen.key(format!("k{}", n % 7).as_bytes(), (n % 5 > 0).then_some(n));
        }
        let newest = |key: i64| (994..=1_000).find(|n| n % 7 == key).filter(|n| n % 5 > 0).unwrap_or(0);
        for key in 0..7 {
            assert_eq!(seen.in_order().modified(format!("k{key}").as_bytes()), newest(key));
        }
        assert_eq!(seen.modified(b"k7"), 0);
    }
}
