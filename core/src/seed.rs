//! Draws of the core: a pure function of the seed and a place, never of how many draws came before.

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A number drawn from `seed` for the place that `words` name.
///
/// The same arguments give the same number on every machine, in every build.
pub fn draw(seed: u64, words: &[u64]) -> u64 {
    let mut bytes = [0u8; 64];
    assert!(words.len() <= 8, "a place has at most eight words");
    for (slot, word) in bytes.chunks_exact_mut(8).zip(words) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    xxh3_64_with_seed(&bytes[..words.len() * 8], seed)
}

/// A number below `bound` drawn from `seed` for the place that `words` name; 0 if `bound` is 0.
pub fn draw_below(seed: u64, words: &[u64], bound: u64) -> u64 {
    let wide = u128::from(draw(seed, words)) * u128::from(bound);
    u64::try_from(wide >> 64).expect("a product of two u64, shifted, is a u64")
}
