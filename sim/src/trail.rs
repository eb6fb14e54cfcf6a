//! The digests of a run: one rolled over every event, and a thinned trail of it to find where two runs part.

use detcd_core::digest::Digest;
use serde::{Deserialize, Serialize};

/// A trail has at most this many points.
pub const TRAIL_POINTS_MAX: usize = 4_096;

/// The rolling digest after some of the events of a run, evenly spaced.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DigestTrail {
    /// A point stands for this many events.
    pub stride: u64,
    /// The upper and lower half of the digest after `stride`, `2 * stride`, … events.
    pub points: Vec<(u64, u64)>,
}

impl Default for DigestTrail {
    fn default() -> DigestTrail {
        DigestTrail { stride: 1, points: Vec::new() }
    }
}

impl DigestTrail {
    /// Takes the digest after event number `event`, counted from 1.
    pub fn push(&mut self, event: u64, digest: Digest) {
        // A stride has only ever been doubled, so that no division is needed at each event.
        if event & (self.stride - 1) != 0 {
            return;
        }
        self.points.push(halves(digest));
        if self.points.len() == TRAIL_POINTS_MAX {
            // Points 2, 4, 6, … of the old stride are points 1, 2, 3, … of the doubled one.
            self.points = self.points.iter().skip(1).step_by(2).copied().collect();
            self.stride *= 2;
        }
    }

    /// Whether the digest after event number `event` is the one that this trail has there; true if it has none.
    pub fn agrees(&self, event: u64, digest: Digest) -> bool {
        if event == 0 || !event.is_multiple_of(self.stride) {
            return true;
        }
        let point = usize::try_from(event / self.stride - 1).unwrap_or(usize::MAX);
        self.points.get(point).is_none_or(|expected| *expected == halves(digest))
    }
}

fn halves(digest: Digest) -> (u64, u64) {
    let low = u64::try_from(digest.0 & u128::from(u64::MAX)).expect("masked to 64 bits");
    let high = u64::try_from(digest.0 >> 64).expect("64 bits are left");
    (high, low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_of(event: u64) -> Digest {
        Digest::of(&event.to_le_bytes())
    }

    #[test]
    fn a_trail_stays_short_and_agrees_with_the_run_it_came_from() {
        let mut trail = DigestTrail::default();
        for event in 1..=100_000 {
            trail.push(event, digest_of(event));
            assert!(trail.points.len() < TRAIL_POINTS_MAX);
        }
        assert_eq!(trail.stride, 32);
        assert_eq!(trail.points.len(), 3_125);
        assert!((1..=100_000).all(|event| trail.agrees(event, digest_of(event))));
    }

    #[test]
    fn a_trail_tells_another_run_from_its_own() {
        let mut trail = DigestTrail::default();
        (1..=10_000).for_each(|event| trail.push(event, digest_of(event)));
        let event = trail.stride * 7;
        assert!(!trail.agrees(event, digest_of(event + 1)));
    }
}
