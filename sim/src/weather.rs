//! Randomness is weather: every draw is a function of the seed and of what it is drawn for, where and when. Nothing
//! here counts draws, so leaving one operation out of a run changes no fate but that of what it caused.

use detcd_core::seed;

/// What a draw is for. Two domains never share a draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Domain {
    /// The shape of a run: sizes, rates, configurations.
    Plan = 1,
    /// Which faults strike, when, and how long.
    Fault = 2,
    /// What clients do, and when.
    Operation = 3,
    /// The fate of a message between members.
    Message = 4,
    /// The delay between a client and a member.
    ClientLink = 5,
    /// How long a disk operation takes.
    Disk = 6,
    /// What a crash leaves of a write that was not synced.
    Crash = 7,
    /// How long a confirmed read waits for its thread.
    Read = 8,
    /// Choices of a client that depend on what it saw.
    Client = 9,
    /// The seeds of the nodes.
    Node = 10,
}

/// The weather of one run.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    seed: u64,
}

impl Weather {
    /// The weather of the run with this seed.
    pub fn new(seed: u64) -> Weather {
        Weather { seed }
    }

    /// The draw of this domain for the place and time that `words`, at most seven, name.
    pub fn draw<const N: usize>(self, domain: Domain, words: &[u64; N]) -> u64 {
        let mut place = [0u64; 8];
        place[0] = domain as u64;
        place[1..=N].copy_from_slice(words);
        seed::draw(self.seed, &place[..=N])
    }
}

/// The `nth` of many independent numbers that one draw stands for.
pub fn nth(draw: u64, nth: u64) -> u64 {
    let mut z = draw.wrapping_add((nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The number below `bound` that a draw stands for; 0 if `bound` is 0.
pub fn below(draw: u64, bound: u64) -> u64 {
    let wide = u128::from(draw) * u128::from(bound);
    u64::try_from(wide >> 64).expect("a product of two u64, shifted, is a u64")
}

/// Whether a draw is among `permille` of 1,000.
pub fn permille(draw: u64, permille: u64) -> bool {
    below(draw, 1_000) < permille
}

/// Counts what happens at one place within one millisecond of virtual time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    ms: u64,
    count: u64,
}

impl Position {
    /// The position, counted from 0, of what happens now.
    pub fn next(&mut self, ms: u64) -> u64 {
        if self.ms != ms {
            *self = Position { ms, count: 0 };
        }
        self.count += 1;
        self.count - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_nothing_but_seed_domain_and_place() {
        let weather = Weather::new(7);
        let first = weather.draw(Domain::Message, &[1, 2, 3]);
        weather.draw(Domain::Disk, &[9]);
        assert_eq!(weather.draw(Domain::Message, &[1, 2, 3]), first);
        assert_ne!(weather.draw(Domain::Disk, &[1, 2, 3]), first);
        assert_ne!(weather.draw(Domain::Message, &[1, 3, 2]), first);
        assert_ne!(Weather::new(8).draw(Domain::Message, &[1, 2, 3]), first);
    }

    #[test]
    fn permille_means_out_of_a_thousand() {
        let weather = Weather::new(1);
        let hits = (0..100_000).filter(|n| permille(weather.draw(Domain::Plan, &[*n]), 30)).count();
        assert!((2_700..3_300).contains(&hits), "{hits} of 100,000");
        assert!(!permille(0, 0));
        assert!(permille(u64::MAX, 1_000));
    }

    #[test]
    fn positions_start_anew_in_every_millisecond() {
        let mut position = Position::default();
        assert_eq!([position.next(5), position.next(5), position.next(6), position.next(6)], [0, 1, 0, 1]);
    }
}
