//! A node's own clock: monotonic, at its own rate. The node sees nothing of true time.

use detcd_core::Instant;

const MILLION: u128 = 1_000_000;

/// A clock that runs `rate_ppm` parts per million of true time, a million being right.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base_true: u64,
    base_local: u64,
    rate_ppm: u64,
}

impl Clock {
    /// A clock that shows `shows` at true time `now`.
    ///
    /// # Panics
    /// If the rate is 0.
    pub fn new(now: u64, shows: u64, rate_ppm: u64) -> Clock {
        assert!(rate_ppm > 0, "a clock never stands still");
        Clock { base_true: now, base_local: shows, rate_ppm }
    }

    /// What it shows at true time `now`.
    pub fn local(&self, now: u64) -> Instant {
        let passed = u128::from(now - self.base_true) * u128::from(self.rate_ppm) / MILLION;
        Instant::from_nanos(self.base_local + u64::try_from(passed).expect("a run ends long before"))
    }

    /// The first true time at which it shows `local` or more; `u64::MAX` for never.
    pub fn when(&self, local: Instant) -> u64 {
        if local == Instant::NEVER {
            return u64::MAX;
        }
        let ahead = u128::from(local.as_nanos().saturating_sub(self.base_local));
        let wait = (ahead * MILLION).div_ceil(u128::from(self.rate_ppm));
        u64::try_from(wait).unwrap_or(u64::MAX).saturating_add(self.base_true)
    }

    /// Jumps ahead by `ahead_ns` at `now`.
    pub fn step(&mut self, now: u64, ahead_ns: u64) {
        *self = Clock::new(now, self.local(now).as_nanos() + ahead_ns, self.rate_ppm);
    }

    /// Runs at another rate from `now` on.
    pub fn set_rate(&mut self, now: u64, rate_ppm: u64) {
        *self = Clock::new(now, self.local(now).as_nanos(), rate_ppm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fast_clock_shows_more_and_rings_earlier() {
        let clock = Clock::new(1_000, 500, 1_100_000);
        assert_eq!(clock.local(11_000).as_nanos(), 500 + 11_000);
        assert_eq!(clock.when(Instant::from_nanos(500 + 11_000)), 11_000);
        assert_eq!(clock.when(Instant::from_nanos(3)), 1_000, "what is past rings at once");
        assert_eq!(clock.when(Instant::NEVER), u64::MAX);
    }

    #[test]
    fn a_clock_that_jumps_shows_as_much_more_and_goes_on_at_its_rate() {
        let mut clock = Clock::new(0, 0, 2_000_000);
        clock.step(10, 100);
        assert_eq!(clock.local(10).as_nanos(), 120);
        assert_eq!(clock.local(15).as_nanos(), 130);
        assert_eq!(clock.when(Instant::from_nanos(60)), 10, "what it jumped over rings at once");
    }

    #[test]
    fn a_clock_never_goes_back_and_always_has_reached_what_it_rang_for() {
        let mut clock = Clock::new(0, 7, 900_001);
        let mut before = clock.local(0);
        for step in 1..2_000u64 {
            if step % 100 == 0 {
                clock.set_rate(step * 977, 800_000 + (step * 7_919) % 400_000);
            }
            let now = clock.local(step * 977);
            assert!(now >= before);
            let bell = Instant::from_nanos(now.as_nanos() + step * 31);
            assert!(clock.local(clock.when(bell)) >= bell);
            before = now;
        }
    }
}
