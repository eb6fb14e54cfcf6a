//! A node's own clock: monotonic, at its own rate. The node sees nothing of true time.

use detcd_core::Instant;

const MILLION: u64 = 1_000_000;

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
        let passed = now - self.base_true;
        let passed_here = match passed.checked_mul(self.rate_ppm) {
            Some(product) => product / MILLION,
            // After some hours. Such a division takes many times as long.
            None => narrow(wide(passed, self.rate_ppm) / u128::from(MILLION)).expect("a run ends long before"),
        };
        Instant::from_nanos(self.base_local + passed_here)
    }

    /// The first true time at which it shows `local` or more; `u64::MAX` for never.
    pub fn when(&self, local: Instant) -> u64 {
        if local == Instant::NEVER {
            return u64::MAX;
        }
        let ahead = local.as_nanos().saturating_sub(self.base_local);
        let wait = match ahead.checked_mul(MILLION) {
            Some(product) => product.div_ceil(self.rate_ppm),
            None => narrow(wide(ahead, MILLION).div_ceil(u128::from(self.rate_ppm))).unwrap_or(u64::MAX),
        };
        wait.saturating_add(self.base_true)
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

fn wide(one: u64, other: u64) -> u128 {
    u128::from(one) * u128::from(other)
}

fn narrow(wide: u128) -> Option<u64> {
    u64::try_from(wide).ok()
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
    fn a_clock_goes_on_as_before_when_its_products_do_not_fit_into_64_bits() {
        let clock = Clock::new(0, 0, 1_100_000);
        let fits = u64::MAX / 1_100_000;
        for now in [fits, fits + 1, fits + 10, 1 << 50] {
            let local = clock.local(now);
            assert_eq!(local.as_nanos(), now + now / 10);
            let when = clock.when(local);
            assert!(when <= now && clock.local(when) == local && clock.local(when - 1) < local, "{when} of {now}");
        }
        let latest = u64::MAX - 1;
        assert_eq!(u128::from(clock.when(Instant::from_nanos(latest))), (u128::from(latest) * 10).div_ceil(11));
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
