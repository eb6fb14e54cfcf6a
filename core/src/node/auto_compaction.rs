//! Compaction without being asked (contract, section 4: `--auto-compaction-mode`), as etcd does it: every member takes
//! samples of the revision, and the one that leads proposes.

use std::collections::VecDeque;
use std::time::Duration;

use super::member::Member;
use super::own_proposal::OwnProposal;
use super::proposals::request_id;
use crate::config::AutoCompaction;
use crate::effect::{Note, Outputs};
use crate::proto::etcdserverpb as etcd;
use crate::time::Instant;
use crate::types::Revision;

/// Periodic compaction compacts at least this often, however long it keeps revisions.
const PERIOD_MAX: Duration = Duration::from_secs(3600);

/// How many samples periodic compaction takes in a period.
const SAMPLES_PER_PERIOD: u32 = 10;

/// Between two looks there is this much time at least.
const BETWEEN_MIN: Duration = Duration::from_millis(1);

/// What is known for the compactions to come.
#[derive(Debug)]
pub(super) struct Compactor {
    mode: AutoCompaction,
    /// When to look next.
    next_at: Instant,
    /// Periodic: the revisions at the last looks, oldest first.
    samples: VecDeque<Revision>,
    /// Periodic: not before that is anything compacted; never before the first look.
    due_at: Instant,
    /// Periodic: what was asked for last, and when, until it is done.
    asked: Option<(Revision, Instant)>,
    proposal: OwnProposal,
}

impl Compactor {
    /// A compactor that begins to count at `now`.
    pub(super) fn new(mode: AutoCompaction, now: Instant) -> Compactor {
        let mut compactor = Compactor {
            mode,
            next_at: Instant::NEVER,
            samples: VecDeque::new(),
            due_at: Instant::NEVER,
            asked: None,
            proposal: OwnProposal::default(),
        };
        match mode {
            AutoCompaction::Off => {}
            AutoCompaction::Periodic(_) => compactor.next_at = now,
            AutoCompaction::Revisions { every, .. } => compactor.next_at = now + every.max(BETWEEN_MIN),
        }
        compactor
    }

    /// When it wants to look next.
    pub(super) fn next_at(&self) -> Instant {
        self.next_at
    }

    /// Looks at the revision, at `now`: up to which one to compact, if it is time to. What is proposed counts as done
    /// when it is found compacted at a later look; else it is asked for again.
    fn look(&mut self, now: Instant, revision: Revision, compacted: Revision) -> Option<Revision> {
        if now < self.next_at {
            return None;
        }
        let wanted = match self.mode {
            AutoCompaction::Off => None,
            AutoCompaction::Periodic(period) => self.look_periodically(now, period, revision, compacted),
            AutoCompaction::Revisions { kept, every } => {
                self.next_at = now + every.max(BETWEEN_MIN);
                Some(revision - kept)
            }
        };
        wanted.filter(|wanted| *wanted > compacted.max(0))
    }

    /// Compacts at the oldest sample, which is as old as the period or a little older.
    fn look_periodically(
        &mut self,
        now: Instant,
        period: Duration,
        revision: Revision,
        compacted: Revision,
    ) -> Option<Revision> {
        let interval = period.min(PERIOD_MAX);
        let between = (interval / SAMPLES_PER_PERIOD).max(BETWEEN_MIN);
        self.next_at = now + between;
        if self.samples.is_empty() {
            // The first look may be late, and the period counts from its sample.
            self.due_at = now + period;
        }
        if let Some((_, at)) = self.asked.take_if(|(asked, _)| *asked <= compacted) {
            self.due_at = at + interval;
        }
        let wanted = self.samples.front().copied().filter(|_| now >= self.due_at);
        if let Some(wanted) = wanted {
            self.asked = Some((wanted, now));
        }
        self.samples.push_back(revision);
        let kept = period.as_nanos() / between.as_nanos() + 1;
        while self.samples.len() as u128 > kept {
            self.samples.pop_front();
        }
        wanted
    }
}

impl Member {
    /// Takes a sample if it is time to, and proposes a compaction if one is due and this member leads.
    pub(super) fn compact_automatically(&mut self, out: &mut Outputs) {
        let view = self.state.as_view();
        let Some(revision) = self.compactor.look(self.now, view.revision(), view.compacted()) else { return };
        let leads = self.consensus.leads_with_commit() && self.stopping.is_none();
        // While the cluster counts as corrupt it would be refused: to ask again and again would only fill the log.
        if !leads || view.is_corrupt() || self.is_under_way(self.compactor.proposal) {
            return;
        }
        out.mark("compaction: proposed without being asked");
        let compaction = Some(etcd::CompactionRequest { revision, physical: false });
        let entry = etcd::InternalRaftRequest { compaction, ..Default::default() };
        self.compactor.proposal = self.propose_own(self.compactor.proposal, entry, out);
        let sequence = self.compactor.proposal.sequence().expect("it was proposed");
        out.notes.push(Note::CompactionProposed { revision, request: request_id(self.boot, sequence) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::REVISIONS_EVERY;

    fn minute(minute: u64) -> Instant {
        Instant::default() + Duration::from_secs(60 * minute)
    }

    /// The revisions that are asked for, with the minute, while one revision is made a minute, after the first, and
    /// every compaction succeeds at once.
    fn compactions(mode: AutoCompaction, minutes: u64) -> Vec<(u64, Revision)> {
        let mut compactor = Compactor::new(mode, minute(0));
        let (mut compacted, mut asked) = (-1, Vec::new());
        for at in 0..=minutes {
            if let Some(revision) = compactor.look(minute(at), at as Revision + 1, compacted) {
                asked.push((at, revision));
                compacted = revision;
            }
        }
        asked
    }

    #[test]
    fn an_hour_is_kept_and_the_rest_goes_by_the_hour() {
        let hour = AutoCompaction::Periodic(Duration::from_secs(3600));
        assert_eq!(compactions(hour, 180), [(60, 1), (120, 55), (180, 115)]);
    }

    #[test]
    fn a_day_is_kept_and_the_rest_goes_by_the_hour() {
        let day = AutoCompaction::Periodic(Duration::from_secs(24 * 3600));
        assert_eq!(compactions(day, 24 * 60 + 120), [(1440, 1), (1500, 55), (1560, 115)]);
    }

    #[test]
    fn revisions_are_kept_by_number() {
        let by_revisions = AutoCompaction::Revisions { kept: 7, every: REVISIONS_EVERY };
        assert_eq!(compactions(by_revisions, 22), [(10, 4), (15, 9), (20, 14)]);
        assert_eq!(compactions(AutoCompaction::Off, 1_000), []);
    }

    /// A member may be held up between its start and its first look.
    #[test]
    fn the_period_counts_from_the_first_sample() {
        let mut compactor = Compactor::new(AutoCompaction::Periodic(Duration::from_secs(600)), minute(0));
        let wanted: Vec<_> = (4..16).map(|at| compactor.look(minute(at), at as Revision, -1)).collect();
        assert_eq!(wanted[..10], [None; 10]);
        assert_eq!(wanted[10..], [Some(4), Some(4)]);
    }

    #[test]
    fn what_is_not_done_is_asked_for_again() {
        let mut compactor = Compactor::new(AutoCompaction::Periodic(Duration::from_secs(600)), minute(0));
        for at in 0..10 {
            assert_eq!(compactor.look(minute(at), at as Revision + 5, -1), None);
        }
        for at in 10..14 {
            let wanted = compactor.look(minute(at), at as Revision + 5, -1);
            assert_eq!(wanted, Some((at as Revision - 6).max(5)), "nobody did it yet");
        }
        assert_eq!(compactor.look(minute(14), 19, 7), None, "it is done, and the next is due in a period");
    }
}
