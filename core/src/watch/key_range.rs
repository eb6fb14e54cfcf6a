//! What a watcher watches: one key, or a span of keys.

use bytes::Bytes;

/// The keys of a watcher. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum KeyRange {
    /// This key only.
    Key(Bytes),
    /// All keys of a span.
    Span(Span),
}

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

impl KeyRange {
    /// The range that a create request means, or nothing if it is empty (contract, section 1.2).
    ///
    /// An empty key is the smallest one, `\0`; an empty end is a single key; the end `\0` is no end at all.
    pub fn of_request(key: &Bytes, range_end: &Bytes) -> Option<KeyRange> {
        let start = if key.is_empty() { Bytes::from_static(&[0]) } else { key.clone() };
        match range_end.as_ref() {
            [] => Some(KeyRange::Key(start)),
            [0] => Some(KeyRange::Span(Span { start, end: SpanEnd::Unbounded })),
            end if start.as_ref() < end => {
                Some(KeyRange::Span(Span { start, end: SpanEnd::Before(range_end.clone()) }))
            }
            _ => None,
        }
    }

    /// Whether `key` is one of them.
    pub fn contains(&self, key: &[u8]) -> bool {
        match self {
            KeyRange::Key(only) => only.as_ref() == key,
            KeyRange::Span(span) => span.start.as_ref() <= key && span.end.is_behind(key),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn range(key: &'static str, end: &'static str) -> Option<KeyRange> {
        KeyRange::of_request(&Bytes::from_static(key.as_bytes()), &Bytes::from_static(end.as_bytes()))
    }

    #[test]
    fn an_empty_key_is_the_smallest_key() {
        assert_eq!(range("", ""), range("\0", ""));
        assert!(range("", "\0").unwrap().contains(b"\0"));
    }

    #[test]
    fn the_end_zero_is_no_end() {
        let all_from_b = range("b", "\0").unwrap();
        assert!(all_from_b.contains(b"b") && all_from_b.contains(&[0xff, 0xff]));
        assert!(!all_from_b.contains(b"a"));
    }

    #[test]
    fn an_end_that_is_not_behind_the_key_is_an_empty_range() {
        assert_eq!(range("b", "b"), None);
        assert_eq!(range("b", "a"), None);
        assert_eq!(range("", "\0\0").map(|range| range.contains(b"\0")), Some(true));
    }

    #[test]
    fn a_single_key_is_not_its_prefix() {
        assert!(!range("b", "").unwrap().contains(b"ba"));
        assert!(range("b", "c").unwrap().contains(b"ba"));
    }
}
