//! Keys as indexes of what was seen have them.

/// So many bytes of a key stand in two numbers.
const HEAD_BYTES: usize = 15;

/// A key in an index, in the order of the keys' bytes. A search compares it with some ten others, which costs little
/// only if that is a comparison of numbers that stand in the index itself, mostly of one; what is longer stands
/// elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IndexKey {
    /// The first eight bytes, from the highest bit on, filled up with zeros.
    first: u64,
    /// The next seven likewise; then how many there are in both, or that there is more.
    second: u64,
    /// The bytes after those.
    rest: Box<[u8]>,
}

impl From<&[u8]> for IndexKey {
    fn from(key: &[u8]) -> IndexKey {
        let (short, rest) = key.split_at(key.len().min(HEAD_BYTES));
        let mut head = [0; HEAD_BYTES + 1];
        head[..short.len()].copy_from_slice(short);
        head[HEAD_BYTES] = short.len() as u8 + u8::from(!rest.is_empty());
        let [first, second] = [&head[..8], &head[8..]].map(|half| half.try_into().expect("eight bytes"));
        IndexKey { first: u64::from_be_bytes(first), second: u64::from_be_bytes(second), rest: rest.into() }
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
