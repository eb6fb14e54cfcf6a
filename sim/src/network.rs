//! Links between members: what becomes of a message, and which links are cut.

use crate::report::MessageFate;
use crate::weather::{Domain, Position, Weather, below, nth, permille};

/// How many times as long as a message its second copy may travel after it.
const ECHO_FACTOR: u64 = 100;

/// How the links of a run behave, drawn before it starts.
#[derive(Clone, Copy, Debug)]
pub struct LinkOdds {
    /// The shortest delay.
    pub delay_min_ns: u64,
    /// How much longer most messages take, at most.
    pub delay_spread_ns: u64,
    /// Out of 1,000, how many are much slower.
    pub tail_permille: u64,
    /// How much slower those are, at most.
    pub tail_ns: u64,
    /// Out of 1,000, how many are lost.
    pub loss_permille: u64,
    /// Out of 1,000, how many are doubled.
    pub duplicate_permille: u64,
}

impl LinkOdds {
    /// The delay that a draw stands for.
    pub fn delay_ns(&self, draw: u64) -> u64 {
        let tail = if permille(nth(draw, 0), self.tail_permille) { below(nth(draw, 1), self.tail_ns) } else { 0 };
        self.delay_min_ns + below(nth(draw, 2), self.delay_spread_ns) + tail
    }

    /// How long after it was sent a message, or its second copy, may still arrive while faults add `extra_ns`.
    pub fn message_life_ns(&self, extra_ns: u64) -> u64 {
        let first_ns = self.delay_min_ns + self.delay_spread_ns + self.tail_ns + extra_ns;
        if self.duplicate_permille == 0 { first_ns } else { first_ns * (1 + ECHO_FACTOR) }
    }
}

/// The links between the members.
#[derive(Debug)]
pub struct Network {
    weather: Weather,
    odds: LinkOdds,
    nodes: usize,
    /// For each link, how many faults cut it now.
    cuts: Vec<u32>,
    positions: Vec<Position>,
    /// What all loss and delay faults add now.
    extra_loss_permille: u64,
    extra_delay_ns: u64,
}

impl Network {
    /// The links between `nodes` members.
    pub fn new(weather: Weather, odds: LinkOdds, nodes: usize) -> Network {
        Network {
            weather,
            odds,
            nodes,
            cuts: vec![0; nodes * nodes],
            positions: vec![Position::default(); nodes * nodes],
            extra_loss_permille: 0,
            extra_delay_ns: 0,
        }
    }

    /// What becomes of a message that leaves now, and its position among those of this link and millisecond.
    pub fn fate(&mut self, from: usize, to: usize, now: u64) -> (MessageFate, u64) {
        let link = from * self.nodes + to;
        let ms = now / 1_000_000;
        let position = self.positions[link].next(ms);
        let draw = self.weather.draw(Domain::Message, &[from as u64, to as u64, ms, position]);
        let lost = permille(nth(draw, 3), self.odds.loss_permille + self.extra_loss_permille);
        let doubled = permille(nth(draw, 4), self.odds.duplicate_permille);
        let extra = below(nth(draw, 5), self.extra_delay_ns);
        (MessageFate { lost, doubled, delay_ns: self.odds.delay_ns(draw) + extra }, position)
    }

    /// How long the second copy of a doubled message travels; at most a hundred times as long as the first.
    pub fn echo_delay_ns(&self, from: usize, to: usize, now: u64, fate: MessageFate) -> u64 {
        let words = [from as u64, to as u64, now, fate.delay_ns];
        below(self.weather.draw(Domain::Message, &words), fate.delay_ns * ECHO_FACTOR)
    }

    /// Whether messages from `from` to `to` are cut off now.
    pub fn is_cut(&self, from: usize, to: usize) -> bool {
        self.cuts[from * self.nodes + to] > 0
    }

    /// One fault more cuts the link from `from` to `to`.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts[from * self.nodes + to] += 1;
    }

    /// One fault less cuts the link from `from` to `to`.
    ///
    /// # Panics
    /// If none does.
    pub fn mend(&mut self, from: usize, to: usize) {
        let link = from * self.nodes + to;
        self.cuts[link] = self.cuts[link].checked_sub(1).expect("what is mended was cut");
    }

    /// Loss faults add this much from now on.
    pub fn set_extra_loss(&mut self, permille: u64) {
        self.extra_loss_permille = permille;
    }

    /// Delay faults add up to this much from now on.
    pub fn set_extra_delay(&mut self, ns: u64) {
        self.extra_delay_ns = ns;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ODDS: LinkOdds = LinkOdds {
        delay_min_ns: 1_000,
        delay_spread_ns: 9_000,
        tail_permille: 10,
        tail_ns: 1_000_000,
        loss_permille: 50,
        duplicate_permille: 20,
    };

    fn network() -> Network {
        Network::new(Weather::new(3), ODDS, 3)
    }

    #[test]
    fn a_fate_depends_on_link_millisecond_and_position_only() {
        let (mut one, mut other) = (network(), network());
        other.fate(1, 2, 4_000_000);
        other.fate(0, 1, 4_999_999);
        assert_eq!(one.fate(0, 1, 5_000_000), other.fate(0, 1, 5_900_000));
        assert_eq!(one.fate(0, 1, 5_000_001), other.fate(0, 1, 5_900_000));
        assert_ne!(one.fate(0, 1, 6_000_000), one.fate(1, 0, 6_000_000));
    }

    #[test]
    fn loss_duplication_and_delay_follow_their_odds() {
        let mut network = network();
        let fates: Vec<MessageFate> = (0..20_000).map(|ms| network.fate(0, 1, ms * 1_000_000).0).collect();
        let count = |test: fn(&MessageFate) -> bool| fates.iter().filter(|fate| test(fate)).count();
        assert!((800..1_200).contains(&count(|fate| fate.lost)));
        assert!((300..500).contains(&count(|fate| fate.doubled)));
        assert!((150..250).contains(&count(|fate| fate.delay_ns > 10_000)));
        assert!(fates.iter().all(|fate| (1_000..1_010_000).contains(&fate.delay_ns)));
    }

    #[test]
    fn a_link_that_two_faults_cut_is_whole_after_both() {
        let mut network = network();
        network.cut(0, 1);
        network.cut(0, 1);
        network.mend(0, 1);
        assert!(network.is_cut(0, 1));
        assert!(!network.is_cut(1, 0));
        network.mend(0, 1);
        assert!(!network.is_cut(0, 1));
    }
}
