//! Spans of keys, in an order in which a tree can keep them.

use bytes::Bytes;

use crate::state_machine::KeyRange;

/// The keys from `start` on and before the end, in byte order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Span {
    /// The first key.
    pub start: Bytes,
    /// Where it ends.
    pub end: SpanEnd,
}

/// The end of a span. Ordered: one that reaches further is greater.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SpanEnd {
    /// This key and all behind it are outside.
    Before(Bytes),
    /// There is none.
    Unbounded,
}

impl SpanEnd {
    /// Whether `key` comes before this end.
    pub fn is_behind(&self, key: &[u8]) -> bool {
        match self {
            SpanEnd::Before(end) => key < end.as_ref(),
            SpanEnd::Unbounded => true,
        }
    }
}

impl Span {
    /// The span of a range that is more than one key.
    pub fn of(range: &KeyRange) -> Option<Span> {
        match range {
            KeyRange::One(_) => None,
            KeyRange::Span(start, end) => Some(Span { start: start.clone(), end: SpanEnd::Before(end.clone()) }),
            KeyRange::From(start) => Some(Span { start: start.clone(), end: SpanEnd::Unbounded }),
        }
    }
}

/// The range that a create request means, or nothing if it is empty (contract, section 1.2): an empty key is the
/// smallest one, `\0`.
pub(super) fn watched_range(key: &Bytes, range_end: &Bytes) -> Option<KeyRange> {
    let smallest = Bytes::from_static(&[0]);
    let range = KeyRange::new(if key.is_empty() { &smallest } else { key }, range_end);
    (!range.is_empty()).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> Option<KeyRange> {
        watched_range(&Bytes::from_static(key.as_bytes()), &Bytes::from_static(end.as_bytes()))
    }

    #[test]
    fn an_empty_key_is_the_smallest_key() {
        assert_eq!(range("", ""), range("\0", ""));
        assert!(range("", "\0").unwrap().contains(b"\0"));
        assert!(range("", "\0\0").unwrap().contains(b"\0"));
    }

    #[test]
    fn an_end_that_is_not_behind_the_key_is_an_empty_range() {
        assert_eq!(range("b", "b"), None);
        assert_eq!(range("b", "a"), None);
    }
}
