//! Fields of Protocol Buffers, read and written by hand: for the few messages of which there are so many that the
//! generated code would be felt.

use prost::encoding::{DecodeContext, WireType, skip_field};

/// How a plain number is marked in a field's key.
pub(crate) const NUMBER: u64 = 0;
/// How a field that begins with its length is marked in its key.
pub(crate) const BYTES: u64 = 2;

/// How long a number can be.
const VARINT_BYTES_MAX: usize = 10;

/// A field's number, as it stands in a key.
pub(crate) type Tag = u64;

/// Not an encoding of any message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<prost::DecodeError> for Malformed {
    fn from(_: prost::DecodeError) -> Malformed {
        Malformed
    }
}

/// A short run of fields on its way into a message.
pub(crate) struct Head<const MAX: usize> {
    bytes: [u8; MAX],
    len: usize,
}

impl<const MAX: usize> Head<MAX> {
    /// An empty one; it takes up to `MAX` bytes. A number takes 11 of them, or 12 if its tag is beyond 15.
    pub(crate) fn new() -> Head<MAX> {
        Head { bytes: [0; MAX], len: 0 }
    }

    /// Adds a plain number; 0 is what is not written.
    pub(crate) fn number(&mut self, tag: Tag, value: u64) {
        if value != 0 {
            self.always(tag, value);
        }
    }

    /// Adds a plain number, also if it is 0.
    pub(crate) fn always(&mut self, tag: Tag, value: u64) {
        self.varint(tag << 3 | NUMBER);
        self.varint(value);
    }

    /// Adds the beginning of a field of `len` bytes.
    pub(crate) fn length(&mut self, tag: Tag, len: usize) {
        self.varint(tag << 3 | BYTES);
        self.varint(len as u64);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.len] = value as u8 | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len] = value as u8;
        self.len += 1;
    }

    /// What was added.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Appends a field of bytes; none if there are none.
pub(crate) fn put_bytes(tag: Tag, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        put_length(tag, bytes.len(), out);
        out.extend_from_slice(bytes);
    }
}

/// Appends the beginning of a field of `len` bytes.
pub(crate) fn put_length(tag: Tag, len: usize, out: &mut Vec<u8>) {
    let mut head = Head::<20>::new();
    head.length(tag, len);
    out.extend_from_slice(head.bytes());
}

// These are inlined, and what they call takes and gives slices by value: a slice whose address is given away would be
// read from memory and written back there at each step.

/// Cuts a number off `rest`.
#[inline(always)]
pub(crate) fn varint(rest: &mut &[u8]) -> Result<u64, Malformed> {
    let (value, behind) = match rest {
        [first, behind @ ..] if *first < 0x80 => (u64::from(*first), behind),
        [first, second, behind @ ..] if *second < 0x80 => (u64::from(first & 0x7f) | u64::from(*second) << 7, behind),
        _ => long_varint(rest).ok_or(Malformed)?,
    };
    *rest = behind;
    Ok(value)
}

/// Splits a number, of more than two bytes, off the beginning of `bytes`. Apart, as there are many places that read
/// one.
#[inline(never)]
fn long_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    // Most are indexes, and most of those have three bytes.
    if let [first, second, third, behind @ ..] = bytes
        && *third < 0x80
    {
        let value = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7 | u64::from(*third) << 14;
        return Some((value, behind));
    }
    let mut value = 0;
    for place in 0..VARINT_BYTES_MAX {
        let byte = *bytes.get(place)?;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            // Of the tenth byte, only the lowest bit has room.
            let fits = place + 1 < VARINT_BYTES_MAX || byte < 2;
            return fits.then(|| (value, &bytes[place + 1..]));
        }
    }
    None
}

/// Cuts a field's key off `rest`: its number, and how its value is encoded.
#[inline(always)]
pub(crate) fn key(rest: &mut &[u8]) -> Result<(Tag, u64), Malformed> {
    let key = varint(rest)?;
    Ok((key >> 3, key & 7))
}

/// Cuts a field's bytes off `rest`, which begins with their length.
#[inline(always)]
pub(crate) fn delimited<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], Malformed> {
    let len = usize::try_from(varint(rest)?).map_err(|_| Malformed)?;
    let (field, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind;
    Ok(field)
}

/// Cuts the plain number that `tag` stands for off `rest`, if that is the next field; `None` if another one is. Where
/// fields are expected in an order, this is quicker than to ask for any. The tag is not beyond 15.
#[inline(always)]
pub(crate) fn number_if_next(tag: Tag, rest: &mut &[u8]) -> Result<Option<u64>, Malformed> {
    if cut_key(tag << 3 | NUMBER, rest) { varint(rest).map(Some) } else { Ok(None) }
}

/// The same for a field of bytes.
#[inline(always)]
pub(crate) fn bytes_if_next<'a>(tag: Tag, rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    if cut_key(tag << 3 | BYTES, rest) { delimited(rest).map(Some) } else { Ok(None) }
}

/// Cuts a key of one byte off `rest`, if it is this one.
#[inline(always)]
fn cut_key(key: u64, rest: &mut &[u8]) -> bool {
    debug_assert!(key < 0x80, "a longer key begins with another byte");
    match *rest {
        [first, behind @ ..] if u64::from(*first) == key => {
            *rest = behind;
            true
        }
        _ => false,
    }
}

/// Cuts a field off `rest` that is not known; those up to `known` are, and their encodings, too.
#[inline(always)]
pub(crate) fn skip(key: (Tag, u64), known: Tag, rest: &mut &[u8]) -> Result<(), Malformed> {
    *rest = behind_unknown(key, known, rest)?;
    Ok(())
}

#[cold]
fn behind_unknown((tag, wire): (Tag, u64), known: Tag, mut rest: &[u8]) -> Result<&[u8], Malformed> {
    let in_range = known < tag && tag <= u64::from(u32::MAX >> 3);
    let tag = u32::try_from(tag).ok().filter(|_| in_range).ok_or(Malformed)?;
    skip_field(WireType::try_from(wire)?, tag, &mut rest, DecodeContext::default())?;
    Ok(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::decode_varint;

    use super::*;

    proptest! {
        #[test]
        fn a_number_reads_as_others_read_it(
            high in prop::collection::vec(0x80u8.., 0..12),
            behind in prop::collection::vec(any::<u8>(), 0..3),
        ) {
            let bytes = [high, behind].concat();
            let (mut ours, mut theirs) = (&bytes[..], &bytes[..]);
            let value = varint(&mut ours).ok();
            prop_assert_eq!(value, decode_varint(&mut theirs).ok());
            prop_assert!(value.is_none() || ours == theirs);
        }

        #[test]
        fn the_next_field_is_read_if_it_is_the_one(tag in 1..16u64, is_bytes: bool, value: u64, asked in 1..16u64) {
            let mut bytes = Vec::new();
            if is_bytes {
                put_bytes(tag, &value.to_le_bytes(), &mut bytes);
            } else {
                let mut head = Head::<12>::new();
                head.always(tag, value);
                bytes.extend_from_slice(head.bytes());
            }
            bytes.push(7);
            let mut rest = &bytes[..];
            let number = number_if_next(asked, &mut rest);
            prop_assert_eq!(number, Ok((tag == asked && !is_bytes).then_some(value)));
            prop_assert_eq!(rest, if number == Ok(None) { &bytes[..] } else { &[7] });
            let mut rest = &bytes[..];
            let read = bytes_if_next(asked, &mut rest);
            let expected = value.to_le_bytes();
            prop_assert_eq!(read, Ok((tag == asked && is_bytes).then_some(&expected[..])));
            prop_assert_eq!(rest, if read == Ok(None) { &bytes[..] } else { &[7] });
        }
    }
}
