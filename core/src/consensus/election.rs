//! Election timeouts. raft-rs draws them from the thread's generator; here they are a function of
//! (seed, node, boot, term, campaign), so that runs repeat. Campaigns count too: equal pre-vote timeouts, with the
//! term unchanged, would let two members collide for ever.

use crate::seed;
use crate::types::{NodeId, Term};

/// The place of this member's draws.
pub(super) struct ElectionDraws {
    seed: u64,
    node: NodeId,
    boot: u64,
    campaign: u64,
    ticks_min: usize,
    /// What was drawn last, and for which term and campaign: it is asked for again and again.
    last: (Term, u64, usize),
}

impl ElectionDraws {
    /// Draws for one life of a member: timeouts from `ticks_min` to just below twice that.
    pub(super) fn new(seed: u64, node: NodeId, boot: u64, ticks_min: usize) -> ElectionDraws {
        let mut draws = ElectionDraws { seed, node, boot, campaign: 0, ticks_min, last: (Term(0), 0, 0) };
        draws.last.2 = draws.draw(Term(0));
        draws
    }

    /// A campaign began; the next timeout is another one.
    pub(super) fn campaigned(&mut self) {
        self.campaign += 1;
    }

    /// The election timeout in ticks that holds in `term` until the next campaign.
    pub(super) fn ticks(&mut self, term: Term) -> usize {
        if (self.last.0, self.last.1) != (term, self.campaign) {
            self.last = (term, self.campaign, self.draw(term));
        }
        self.last.2
    }

    fn draw(&self, term: Term) -> usize {
        let place = [self.node.0, self.boot, term.0, self.campaign];
        let extra = seed::draw_below(self.seed, &place, self.ticks_min as u64);
        self.ticks_min + usize::try_from(extra).expect("below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_differ_between_campaigns_and_stay_in_bounds() {
        let mut draws = ElectionDraws::new(1, NodeId(1), 1, 10);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let ticks = draws.ticks(Term(4));
            assert!((10..20).contains(&ticks));
            seen.insert(ticks);
            draws.campaigned();
        }
        assert!(seen.len() >= 8, "{seen:?}");
    }
}
