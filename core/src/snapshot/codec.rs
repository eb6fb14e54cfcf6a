//! Values as bytes: fixed-width little-endian numbers, and byte strings after their length.

use bytes::BufMut;

/// Appends values.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    pub(super) bytes: Vec<u8>,
}

impl Encoder {
    /// Room for about so many bytes; more makes it grow.
    pub(super) fn with_capacity(bytes: usize) -> Encoder {
        Encoder { bytes: Vec::with_capacity(bytes) }
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes.put_u8(value);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.bytes.put_u32_le(value);
    }

    pub(super) fn u64(&mut self, value: u64) {
        self.bytes.put_u64_le(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.bytes.put_i64_le(value);
    }

    pub(super) fn u128(&mut self, value: u128) {
        self.bytes.put_u128_le(value);
    }

    pub(super) fn string(&mut self, value: &[u8]) {
        self.u32(length(value));
        self.bytes.put_slice(value);
    }

    pub(super) fn ids(&mut self, ids: impl ExactSizeIterator<Item = u64>) {
        self.u32(u32::try_from(ids.len()).expect("fewer members than 2^32"));
        ids.for_each(|id| self.u64(id));
    }
}

/// What stands before a byte string.
pub(super) fn length(value: &[u8]) -> u32 {
    u32::try_from(value.len()).expect("keys, values and names are shorter than 4 GiB")
}

/// Takes values off some bytes. Every method gives `None` when there are too few, and allocates nothing on the word
/// of a length alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Decoder<'a> {
    bytes: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_le_bytes)
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(usize::try_from(len).ok()?)
    }

    /// A sorted list of ids, none twice.
    pub(super) fn ids(&mut self) -> Option<Vec<u64>> {
        let len = usize::try_from(self.u32()?).ok()?;
        let bytes = self.take(len.checked_mul(8)?)?;
        let ids: Vec<u64> =
            bytes.chunks_exact(8).map(|id| u64::from_le_bytes(id.try_into().expect("eight bytes"))).collect();
        ids.is_sorted_by(|a, b| a < b).then_some(ids)
    }
}
