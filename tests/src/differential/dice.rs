//! Draws of one request: a function of the seed and of the request's position, so that leaving a draw out of one
//! request changes no other.

use detcd_core::seed::draw_below;

/// The draws of one position of a run.
#[derive(Debug)]
pub(super) struct Dice {
    seed: u64,
    position: u64,
    drawn: u64,
}

impl Dice {
    /// The draws of request number `position` of the run of `seed`.
    pub fn new(seed: u64, position: u64) -> Dice {
        Dice { seed, position, drawn: 0 }
    }

    /// A number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.drawn += 1;
        draw_below(self.seed, &[self.position, self.drawn], bound)
    }

    /// A number from `low` to `high`, both included; `low` if there is none.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high.saturating_sub(low)).unwrap_or(0);
        low + i64::try_from(self.below(width + 1)).expect("at most the width")
    }

    /// True in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let place = self.below(choices.len() as u64);
        choices[usize::try_from(place).expect("less than a length")]
    }

    /// One of `choices`, each as often as its weight says.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let mut rest = self.below(choices.iter().map(|(weight, _)| weight).sum());
        for (weight, choice) in choices {
            if rest < *weight {
                return *choice;
            }
            rest -= weight;
        }
        unreachable!("a draw is below the sum of the weights")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_draws_of_its_own() {
        let draws = |seed, position| {
            let mut dice = Dice::new(seed, position);
            (0..4).map(|_| dice.below(1 << 40)).collect::<Vec<u64>>()
        };
        assert_eq!(draws(1, 1), draws(1, 1));
        assert_ne!(draws(1, 1), draws(1, 2));
        assert_ne!(draws(1, 1), draws(2, 1));
    }

    #[test]
    fn draws_stay_within_their_bounds_and_reach_them() {
        let mut dice = Dice::new(1, 1);
        let numbers: Vec<i64> = (0..100).map(|_| dice.between(-1, 1)).collect();
        assert_eq!((numbers.iter().min(), numbers.iter().max()), (Some(&-1), Some(&1)));
        assert_eq!(dice.between(5, 3), 5);
        assert!((0..100).all(|_| dice.weighted(&[(1, true), (0, false)])));
    }
}
