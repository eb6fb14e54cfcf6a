//! The numbers of a record, packed: most are small, or near another one.

use super::record::{Lineage, Position};
use crate::types::Revision;

/// More than the packed numbers ever take, with a head before them, in bytes.
const BYTES_MAX: usize = 88;

/// What a record holds beside key, value and revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    pub sub: u32,
    pub create_revision: Revision,
    pub version: i64,
    pub lease: i64,
    pub lineage: Lineage,
}

/// Numbers on their way into a record, and what stands before them.
pub(super) struct Packed {
    bytes: [u8; BYTES_MAX],
    len: usize,
}

impl Packed {
    /// Packs the numbers of a record at `revision`, behind a head of so many bytes, which are still 0.
    pub fn new(head_bytes: usize, numbers: &Numbers, revision: Revision) -> Packed {
        let Numbers { sub, create_revision, version, lease, lineage } = *numbers;
        let mut packed = Packed { bytes: [0; BYTES_MAX], len: head_bytes };
        packed.varint(sub.into());
        packed.varint(distance(create_revision, revision));
        packed.varint(version as u64);
        packed.varint(lease as u64);
        packed.varint(lineage.depth.into());
        if lineage != Lineage::default() {
            for before in [lineage.previous, lineage.jump] {
                packed.varint(distance(before.revision, revision));
                packed.varint(before.sub.into());
            }
        }
        packed
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn as_mut_bytes(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes[self.len] = number as u8 | 0x80;
            self.len += 1;
            number >>= 7;
        }
        self.bytes[self.len] = number as u8;
        self.len += 1;
    }
}

/// The place in its transaction of a record with these packed numbers.
#[inline]
pub(super) fn sub(mut packed: &[u8]) -> u32 {
    next(&mut packed) as u32
}

/// The numbers of a record at `revision` from what [`Packed::new`] made.
pub(super) fn unpack(packed: &[u8], revision: Revision) -> Numbers {
    let (told, mut packed) = unpack_told(packed, revision);
    let depth = next(&mut packed) as u32;
    if packed.is_empty() {
        return Numbers { lineage: Lineage { depth, ..Lineage::default() }, ..told };
    }
    let previous = Position { revision: back(next(&mut packed), revision), sub: next(&mut packed) as u32 };
    let jump = Position { revision: back(next(&mut packed), revision), sub: next(&mut packed) as u32 };
    Numbers { lineage: Lineage { depth, previous, jump }, ..told }
}

// These are inlined, so that what nobody asks for is not put together; and a slice whose address is given away would be
// read from memory and written back there at each number.

/// The same without the lineage, of which only the store itself has to know; and what comes behind, which is that.
#[inline(always)]
pub(super) fn unpack_told(mut packed: &[u8], revision: Revision) -> (Numbers, &[u8]) {
    let sub = next(&mut packed) as u32;
    let create_revision = back(next(&mut packed), revision);
    let version = next(&mut packed) as i64;
    let lease = next(&mut packed) as i64;
    (Numbers { sub, create_revision, version, lease, lineage: Lineage::default() }, packed)
}

/// How far before `revision` another one is; whatever it is, [`back`] finds it again.
fn distance(other: Revision, revision: Revision) -> u64 {
    revision.wrapping_sub(other) as u64
}

fn back(distance: u64, revision: Revision) -> Revision {
    revision.wrapping_sub(distance as i64)
}

#[inline(always)]
fn next(packed: &mut &[u8]) -> u64 {
    // Most numbers are one byte, or two.
    let (number, rest) = match packed {
        [only, rest @ ..] if *only < 0x80 => (u64::from(*only), rest),
        [first, second, rest @ ..] if *second < 0x80 => (u64::from(first & 0x7f) | u64::from(*second) << 7, rest),
        _ => next_long(packed),
    };
    *packed = rest;
    number
}

#[inline(never)]
fn next_long(mut packed: &[u8]) -> (u64, &[u8]) {
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = packed.split_first().expect("a record holds all its numbers");
        packed = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return (number, rest);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position() -> impl Strategy<Value = Position> {
        (prop_oneof![0..100i64, any::<i64>()], prop_oneof![0..3u32, any::<u32>()])
            .prop_map(|(revision, sub)| Position { revision, sub })
    }

    proptest! {
        #[test]
        fn numbers_come_back(
            at in position(),
            create_revision in prop_oneof![0..100i64, any::<i64>()],
            version in prop_oneof![0..300i64, any::<i64>()],
            lease in any::<i64>(),
            depth in prop_oneof![0..3u32, any::<u32>()],
            before in (position(), position()),
        ) {
            let lineage = Lineage { depth, previous: before.0, jump: before.1 };
            for lineage in [lineage, Lineage { depth, ..Lineage::default() }] {
                let numbers = Numbers { sub: at.sub, create_revision, version, lease, lineage };
                let packed = Packed::new(0, &numbers, at.revision);
                prop_assert_eq!(unpack(packed.as_bytes(), at.revision), numbers);
                let told = Numbers { lineage: Lineage::default(), ..numbers };
                prop_assert_eq!(unpack_told(packed.as_bytes(), at.revision).0, told);
                prop_assert_eq!(sub(packed.as_bytes()), at.sub);
            }
        }
    }

    #[test]
    fn a_key_that_was_just_created_takes_five_bytes_for_its_numbers() {
        let numbers = Numbers { sub: 0, create_revision: 70, version: 1, lease: 0, lineage: Lineage::default() };
        assert_eq!(Packed::new(0, &numbers, 70).as_bytes(), [0, 0, 1, 0, 0]);
    }
}
