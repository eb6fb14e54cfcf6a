//! The content of a file as a sparse rope of shared bytes; what nobody wrote reads as zero and costs nothing.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

/// A sparse file content.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    len: u64,
    extents: BTreeMap<u64, Bytes>,
}

impl Rope {
    /// Its length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Makes it at least `len` bytes long, with zeros.
    pub fn grow(&mut self, len: u64) {
        self.len = self.len.max(len);
    }

    /// Puts `bytes` at `offset` over whatever is there.
    pub fn write(&mut self, offset: u64, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + length(&bytes);
        // Most of the time it comes after everything that is there.
        let covers = |(start, extent): (&u64, &Bytes)| start + length(extent) > offset;
        if self.extents.last_key_value().is_some_and(covers) {
            self.clear(offset, end);
        }
        self.extents.insert(offset, bytes);
        self.grow(end);
    }

    /// Forgets what is from `offset` up to `end`.
    fn clear(&mut self, offset: u64, end: u64) {
        if let Some((&start, extent)) = self.extents.range_mut(..offset).next_back() {
            let extent_end = start + length(extent);
            if extent_end > offset {
                let tail = (extent_end > end).then(|| extent.slice(index(end - start)..));
                extent.truncate(index(offset - start));
                if let Some(tail) = tail {
                    self.extents.insert(end, tail);
                }
            }
        }
        while let Some((&start, extent)) = self.extents.range(offset..end).next() {
            let extent_end = start + length(extent);
            let tail = (extent_end > end).then(|| extent.slice(index(end - start)..));
            self.extents.remove(&start);
            if let Some(tail) = tail {
                self.extents.insert(end, tail);
            }
        }
    }

    /// Up to `len` bytes from `offset` on; fewer only at the end.
    pub fn read(&self, offset: u64, len: u64) -> Bytes {
        let end = offset.saturating_add(len).min(self.len);
        if offset >= end {
            return Bytes::new();
        }
        let before = self.extents.range(..=offset).next_back();
        if let Some((&start, extent)) = before
            && start + length(extent) >= end
        {
            return extent.slice(index(offset - start)..index(end - start));
        }
        let mut out = BytesMut::zeroed(index(end - offset));
        let first = before.map_or(offset, |(&start, _)| start);
        for (&start, extent) in self.extents.range(first..end) {
            let from = start.max(offset);
            let to = (start + length(extent)).min(end);
            if from < to {
                let part = &extent[index(from - start)..index(to - start)];
                out[index(from - offset)..index(to - offset)].copy_from_slice(part);
            }
        }
        out.freeze()
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).expect("a length is a u64")
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file fits into memory")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_rope_reads_like_an_array(
            writes in prop::collection::vec((0usize..200, prop::collection::vec(1u8.., 0..60)), 0..40),
            reads in prop::collection::vec((0usize..300, 0usize..300), 1..20),
        ) {
            let (mut rope, mut array) = (Rope::default(), Vec::new());
            for (offset, bytes) in writes {
                if !bytes.is_empty() {
                    array.resize(array.len().max(offset + bytes.len()), 0);
                    array[offset..offset + bytes.len()].copy_from_slice(&bytes);
                }
                rope.write(offset as u64, bytes.into());
            }
            prop_assert_eq!(rope.len(), array.len() as u64);
            for (offset, len) in reads {
                let end = (offset + len).min(array.len());
                prop_assert_eq!(&rope.read(offset as u64, len as u64)[..], &array[offset.min(end)..end]);
            }
        }
    }

    #[test]
    fn a_preallocated_file_costs_nothing() {
        let mut rope = Rope::default();
        rope.grow(1 << 40);
        rope.write((1 << 40) - 3, Bytes::from_static(b"end"));
        assert_eq!(&rope.read((1 << 40) - 5, 100)[..], b"\0\0end");
    }
}
