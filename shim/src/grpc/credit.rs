//! How far the node may be ahead of the clients of its watch streams, in bytes.
//!
//! A client that does not read holds up as much memory as its stream has credit. So the credit of all streams together
//! is bounded: each has an equal share of [`TOTAL_BYTES`], and no more than [`STREAM_BYTES_MAX`]. Shares shrink as
//! streams are opened. What was given to a client that never reads cannot be taken back, so that the sum may be larger
//! than the total, by the factor 1 + ln(streams / streams with a full share): less than 7. Beyond its credit a stream
//! gets the rest of a revision, and no other.

/// What all streams share.
const TOTAL_BYTES: u64 = 128 << 20;
/// A stream has no more than this. A client that reads has it again in the time of a turn of the node.
const STREAM_BYTES_MAX: u64 = 512 << 10;
/// Credit is given back in portions of at least this part of what the stream has, so that small events do not cost an
/// input each.
const PORTION: u64 = 4;

/// The share of a stream while so many are open, itself among them.
pub fn share_bytes(streams_open: usize) -> u64 {
    let streams_open = u64::try_from(streams_open).unwrap_or(u64::MAX).max(1);
    (TOTAL_BYTES / streams_open).clamp(1, STREAM_BYTES_MAX)
}

/// The credit of one stream.
#[derive(Debug)]
pub struct Credit {
    /// How many bytes the node may make, has made and are not taken, or are owed; it may have made the rest of a
    /// revision more.
    window_bytes: u64,
    /// What was taken and is not given back yet.
    owed_bytes: u64,
}

impl Credit {
    /// The credit of a stream that was just given its first share.
    pub fn new(share_bytes: u64) -> Credit {
        Credit { window_bytes: share_bytes, owed_bytes: 0 }
    }

    /// So many bytes were taken. Returns how many the node has to be given for it, if it is time: with these the stream
    /// has its share of this moment, if it had not more before.
    pub fn taken(&mut self, bytes: u64, share_bytes: impl FnOnce() -> u64) -> Option<u64> {
        self.owed_bytes += bytes;
        if self.owed_bytes < self.window_bytes.div_ceil(PORTION) {
            return None;
        }
        let (share, owed) = (share_bytes(), std::mem::take(&mut self.owed_bytes));
        let given = (share + owed).saturating_sub(self.window_bytes);
        self.window_bytes = share.max(self.window_bytes.saturating_sub(owed));
        (given > 0).then_some(given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn few_streams_have_all_they_can_use_and_many_share_the_total() {
        assert_eq!(share_bytes(1), STREAM_BYTES_MAX);
        assert_eq!(share_bytes(256), STREAM_BYTES_MAX);
        assert_eq!(share_bytes(257), TOTAL_BYTES / 257);
        assert_eq!(share_bytes(65_536), 2048);
        assert_eq!(share_bytes(usize::MAX), 1);
    }

    /// Every client of so many streams gets its share and never reads.
    #[test]
    fn clients_that_never_read_hold_up_a_bounded_sum() {
        let sum: u64 = (1..=65_536).map(share_bytes).sum();
        assert!(sum < 7 * TOTAL_BYTES, "{sum}");
    }

    proptest! {
        /// Whatever is taken and however shares change: what the node may make beyond what was taken is the window less
        /// what is owed, a stream whose client took everything has at least three quarters of its window, and it has
        /// its share at the end.
        #[test]
        fn no_byte_is_lost_and_none_given_twice(
            first in 1u64..1000,
            takes in proptest::collection::vec((0u64..3000, 1u64..1000), 1..50),
        ) {
            let mut credit = Credit::new(first);
            // Bytes that the node may still make, or has made and nobody has taken: less than nothing if it made more.
            let mut ahead = i128::from(first);
            for (bytes, share) in takes {
                ahead -= i128::from(bytes);
                let was = credit.window_bytes;
                if let Some(given) = credit.taken(bytes, || share) {
                    ahead += i128::from(given);
                    prop_assert_eq!(credit.window_bytes, share);
                    prop_assert_eq!(credit.owed_bytes, 0);
                }
                prop_assert_eq!(ahead, i128::from(credit.window_bytes) - i128::from(credit.owed_bytes));
                prop_assert!(credit.window_bytes <= was.max(share));
                prop_assert!(ahead > 0, "a stream never starves");
            }
        }
    }
}
