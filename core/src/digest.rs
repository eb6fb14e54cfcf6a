//! Digests: 128 bits that are the same on every machine and in every build.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// A 128-bit digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of some bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(xxh3_128(bytes))
    }

    /// This digest with `more` rolled in; order matters. For histories.
    #[must_use]
    pub fn then(self, more: Digest) -> Digest {
        let mut both = [0u8; 32];
        both[..16].copy_from_slice(&self.0.to_le_bytes());
        both[16..].copy_from_slice(&more.0.to_le_bytes());
        Digest::of(&both)
    }

    /// This digest of a set with `item` put in; order does not matter. For contents.
    #[must_use]
    pub fn with(self, item: Digest) -> Digest {
        Digest(self.0.wrapping_add(item.0))
    }

    /// This digest of a set with `item`, which must be in it, taken out.
    #[must_use]
    pub fn without(self, item: Digest) -> Digest {
        Digest(self.0.wrapping_sub(item.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
