//! Keys as indexes of what was seen have them.

/// So many bytes of a key stand in one number.
const HEAD_BYTES: usize = 15;

/// A key in an index, in the order of the keys' bytes. A search compares it with some ten others, which costs little
/// only if that is one comparison of numbers that stand in the index itself; what is longer stands elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IndexKey {
    /// The first bytes, from the highest bit on, filled up with zeros; then how many there are, or that there is more.
    head: u128,
    /// The bytes after those.
    rest: Box<[u8]>,
}

impl From<&[u8]> for IndexKey {
    fn from(key: &[u8]) -> IndexKey {
        let (first, rest) = key.split_at(key.len().min(HEAD_BYTES));
        let mut head = [0; HEAD_BYTES + 1];
        head[..first.len()].copy_from_slice(first);
        head[HEAD_BYTES] = first.len() as u8 + u8::from(!rest.is_empty());
        IndexKey { head: u128::from_be_bytes(head), rest: rest.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys that are alike, around the length that stands in one number.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        (prop_oneof![0..3usize, 12..19usize], prop::collection::vec(0..2u8, 0..6)).prop_map(|(alike, rest)| {
            let mut key = vec![0; alike];
            key.extend(rest);
            key
        })
    }

    proptest! {
        #[test]
        fn index_keys_are_in_the_order_of_their_bytes(one in key(), other in key()) {
            let index_key = |key: &Vec<u8>| IndexKey::from(&key[..]);
            prop_assert_eq!(index_key(&one).cmp(&index_key(&other)), one.cmp(&other));
            prop_assert_eq!(index_key(&one) == index_key(&other), one == other);
        }
    }
}
