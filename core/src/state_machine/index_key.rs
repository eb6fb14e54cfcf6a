//! Keys as the indexes of the store have them.

use std::borrow::Borrow;
use std::cmp::Ordering;

use bytes::Bytes;

/// Keys up to this length stand in the index itself; that is as much as takes no more room than the place of a longer
/// one.
const SHORT_BYTES_MAX: usize = 23;

/// A key in an index. A search compares it with some twenty others: it costs little only if those stand side by side.
#[derive(Clone, Debug)]
pub(super) enum IndexKey {
    Short { len: u8, bytes: [u8; SHORT_BYTES_MAX] },
    Long(Bytes),
}

impl IndexKey {
    /// The bytes of the key.
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            IndexKey::Short { len, bytes } => &bytes[..usize::from(*len)],
            IndexKey::Long(bytes) => bytes,
        }
    }
}

impl IndexKey {
    /// A key to look for without a search through its bytes, if it is short.
    #[inline]
    pub fn short(key: &[u8]) -> Option<IndexKey> {
        let mut bytes = [0; SHORT_BYTES_MAX];
        bytes.get_mut(..key.len())?.copy_from_slice(key);
        Some(IndexKey::Short { len: u8::try_from(key.len()).expect("it is short"), bytes })
    }
}

impl From<&[u8]> for IndexKey {
    /// The index has its own copy of a long key: a slice of a record would keep the value with it.
    fn from(key: &[u8]) -> IndexKey {
        IndexKey::short(key).unwrap_or_else(|| IndexKey::Long(Bytes::copy_from_slice(key)))
    }
}

impl Borrow<[u8]> for IndexKey {
    #[inline]
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for IndexKey {
    fn eq(&self, other: &IndexKey) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for IndexKey {}

impl PartialOrd for IndexKey {
    fn partial_cmp(&self, other: &IndexKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IndexKey {
    #[inline]
    fn cmp(&self, other: &IndexKey) -> Ordering {
        match (self, other) {
            // Behind a short key there are zeros, so that one that is the beginning of the other comes first by them,
            // or by its length if the other goes on with zeros, too.
            (IndexKey::Short { len: ours, bytes: our }, IndexKey::Short { len: theirs, bytes: their }) => {
                let (our, their) = (words(our), words(their));
                // Most keys that meet differ there.
                if our[0] != their[0] {
                    return our[0].cmp(&their[0]);
                }
                our.cmp(&their).then(ours.cmp(theirs))
            }
            _ => self.bytes().cmp(other.bytes()),
        }
    }
}

/// The bytes of a short key as numbers that are ordered as they are; those at the seam are in two of them.
#[inline]
fn words(bytes: &[u8; SHORT_BYTES_MAX]) -> [u64; 3] {
    let word = |from: usize| u64::from_be_bytes(bytes[from..from + 8].try_into().expect("eight bytes"));
    [word(0), word(8), word(SHORT_BYTES_MAX - 8)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_key_takes_no_more_room_than_a_long_one() {
        assert_eq!(size_of::<IndexKey>(), size_of::<Bytes>());
    }

    proptest! {
        #[test]
        fn keys_are_ordered_as_their_bytes_are(
            left in prop::collection::vec(0..3u8, 0..40),
            right in prop::collection::vec(0..3u8, 0..40),
        ) {
            let (one, other) = (left, right);
            let (left, right) = (IndexKey::from(&one[..]), IndexKey::from(&other[..]));
            prop_assert_eq!(left.cmp(&right), one.cmp(&other));
            prop_assert_eq!(left == right, one == other);
            prop_assert_eq!(Borrow::<[u8]>::borrow(&left), &one[..]);
        }
    }
}
