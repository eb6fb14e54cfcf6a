//! Which keys a request names (contract, section 1.1 `range_end`).

use std::ops::Bound;

use bytes::Bytes;

/// A key, or a range of keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    start: Bytes,
    end: End,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Only the start itself.
    Point,
    /// Every key from the start on.
    Open,
    /// The keys before this one; none if it is not after the start.
    Before(Bytes),
}

impl KeyRange {
    /// What `key` and `range_end` of a request name.
    pub(crate) fn new(key: &Bytes, range_end: &Bytes) -> KeyRange {
        let end = match range_end.as_ref() {
            [] => End::Point,
            [0] => End::Open,
            _ => End::Before(range_end.clone()),
        };
        KeyRange { start: key.clone(), end }
    }

    /// The key itself, if the request names a single one.
    pub(crate) fn point(&self) -> Option<&Bytes> {
        (self.end == End::Point).then_some(&self.start)
    }

    /// Whether no key can be in it.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.end, End::Before(end) if *end <= self.start)
    }

    /// Whether `key` is in it.
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        match &self.end {
            End::Point => key == self.start,
            End::Open => key >= self.start.as_ref(),
            End::Before(end) => key >= self.start.as_ref() && key < end.as_ref(),
        }
    }

    /// The same for an ordered map. An empty range gives bounds that no map refuses.
    pub(crate) fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        let start = Bound::Included(&self.start[..]);
        match &self.end {
            End::Point => (start, Bound::Included(&self.start[..])),
            End::Open => (start, Bound::Unbounded),
            End::Before(_) if self.is_empty() => (start, Bound::Excluded(&self.start[..])),
            End::Before(end) => (start, Bound::Excluded(&end[..])),
        }
    }
}
