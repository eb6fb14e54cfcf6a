//! Which keys a request means (contract, section 1.1).

use std::ops::Bound;

use bytes::Bytes;

/// The keys that `key` and `range_end` of a request mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyRange {
    /// Exactly this key: no `range_end`.
    One(Bytes),
    /// All keys from the first on, before the second. Empty if the second is not greater.
    Span(Bytes, Bytes),
    /// All keys from this one on: `range_end` is `\0`.
    From(Bytes),
}

impl KeyRange {
    /// The keys that `key` and `range_end` mean.
    pub fn new(key: &Bytes, range_end: &Bytes) -> KeyRange {
        match range_end.as_ref() {
            [] => KeyRange::One(key.clone()),
            [0] => KeyRange::From(key.clone()),
            _ => KeyRange::Span(key.clone(), range_end.clone()),
        }
    }

    /// Whether `key` is among them.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::One(one) => one == key,
            KeyRange::Span(start, end) => start <= key && *end > key,
            KeyRange::From(start) => start <= key,
        }
    }

    /// Whether no key at all can be among them.
    pub fn is_empty(&self) -> bool {
        matches!(self, KeyRange::Span(start, end) if end <= start)
    }

    /// The first key that could be among them.
    pub fn start(&self) -> &Bytes {
        match self {
            KeyRange::One(start) | KeyRange::Span(start, _) | KeyRange::From(start) => start,
        }
    }

    /// The same as bounds of an ordered map. Must not be asked of an empty range: maps refuse reversed bounds.
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        assert!(!self.is_empty(), "bounds of an empty range");
        match self {
            KeyRange::One(one) => (Bound::Included(one), Bound::Included(one)),
            KeyRange::Span(start, end) => (Bound::Included(start), Bound::Excluded(end)),
            KeyRange::From(start) => (Bound::Included(start), Bound::Unbounded),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> KeyRange {
        KeyRange::new(&Bytes::from_static(key.as_bytes()), &Bytes::from_static(end.as_bytes()))
    }

    /// Contract, section 1.1, row "range_end".
    #[test]
    fn range_end_means_what_the_contract_says() {
        assert_eq!(range("a", ""), KeyRange::One(Bytes::from_static(b"a")));
        assert!(range("a", "\0").contains(b"zzz"));
        assert!(!range("b", "\0").contains(b"a"));
        assert!(range("\0", "\0").contains(b"\0"));
        assert!(range("a", "c").contains(b"b"));
        assert!(!range("a", "c").contains(b"c"));
        assert!(range("c", "a").is_empty());
        assert!(range("a", "a").is_empty());
    }
}
