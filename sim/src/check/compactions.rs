//! Compactions: what is compacted was asked for by a client, or is what a member may compact by itself.
//!
//! Rules and their sources:
//! * Without a client that asked for it, and whose request did not fail, only members that are configured so compact
//!   (contract, section 4, `--auto-compaction-mode`).
//! * Periodic compaction takes nothing away that is younger than its period: the revision that it names was the newest
//!   one, for the member that proposes, that long ago by that member's clock. So it was reached that long ago.
//! * Compaction by revisions leaves as many of the newest ones as it has to keep.
//! * Nothing is compacted that does not exist yet (contract, section 1.1 `Compact`).

use std::collections::BTreeMap;
use std::time::Duration;

use detcd_core::api::Request;
use detcd_core::config::AutoCompaction;
use detcd_core::types::Revision;

use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{HistoryEvent, Nanos, OpId, Outcome};
use crate::observe::{Observation, Observed};

/// The checker's name.
pub const NAME: &str = "compactions";

/// How far a member's time may be from the true time.
#[derive(Clone, Copy, Debug)]
struct ClockError {
    skew_ppm_max: u64,
    steps: Nanos,
}

impl ClockError {
    /// The least true time in which a clock counts so much.
    fn least(self, counted: Duration) -> Nanos {
        let (million, skew) = (1_000_000, u128::from(self.skew_ppm_max));
        let least = counted.as_nanos() * million / (million + skew);
        u64::try_from(least).unwrap_or(Nanos::MAX).saturating_sub(self.steps)
    }
}

/// Judges what the witness tells of compactions.
#[derive(Debug)]
pub struct Compactions {
    /// How the members compact by themselves; `None` if nobody knows.
    automatic: Option<Vec<AutoCompaction>>,
    clock: ClockError,
    /// What clients ask for, by their operations, unless it failed, or is compacted.
    asked: BTreeMap<OpId, Revision>,
    head: Revision,
    /// When the revisions from the compacted one on were reached, if somebody may have to know.
    reached: BTreeMap<Revision, Nanos>,
}

impl Compactions {
    /// A checker for a run from an empty store.
    pub fn new(config: &CheckConfig) -> Compactions {
        Compactions {
            automatic: config.auto_compactions.clone(),
            clock: ClockError { skew_ppm_max: config.clock_skew_ppm_max, steps: config.clock_steps },
            asked: BTreeMap::new(),
            head: 1,
            reached: BTreeMap::new(),
        }
    }

    /// Judges one line of a history, at the time it was written.
    ///
    /// # Errors
    /// What this line proves to be wrong, in one line.
    pub fn take(&mut self, at: Nanos, event: &HistoryEvent) -> Result<(), String> {
        match event {
            HistoryEvent::Invoke { op, request: Request::Compact(compact), .. } => {
                self.asked.insert(*op, compact.revision);
            }
            HistoryEvent::Return { op, outcome: Outcome::Failed(_) } => drop(self.asked.remove(op)),
            HistoryEvent::Revision { revision, .. } => {
                self.head = *revision;
                if self.is_periodic() {
                    self.reached.insert(*revision, at);
                }
            }
            HistoryEvent::Compaction { revision } => {
                self.judge(at, *revision)?;
                self.asked.retain(|_, asked| *asked > *revision);
                self.reached = self.reached.split_off(revision);
            }
            _ => {}
        }
        Ok(())
    }

    fn is_periodic(&self) -> bool {
        let mut modes = self.automatic.iter().flatten();
        modes.any(|mode| matches!(mode, AutoCompaction::Periodic(_)))
    }

    fn judge(&self, at: Nanos, revision: Revision) -> Result<(), String> {
        if revision > self.head {
            return Err(format!("revision {revision} was compacted, but the newest is {}", self.head));
        }
        let Some(modes) = &self.automatic else { return Ok(()) };
        if self.asked.values().any(|asked| *asked == revision) {
            return Ok(());
        }
        let allowed = modes.iter().any(|mode| match *mode {
            AutoCompaction::Off => false,
            AutoCompaction::Periodic(period) => at - self.reached_at(revision) >= self.clock.least(period),
            AutoCompaction::Revisions { kept, .. } => revision <= self.head - kept,
        });
        if allowed {
            return Ok(());
        }
        let age_ms = (at - self.reached_at(revision)) / 1_000_000;
        Err(format!(
            "revision {revision} was compacted, for which no client asked, and no member may do that by itself: the \
             newest is {}{}",
            self.head,
            if self.is_periodic() { format!(", and it was reached {age_ms} ms ago") } else { String::new() },
        ))
    }

    /// When a revision was reached; the first one was there from the beginning.
    fn reached_at(&self, revision: Revision) -> Nanos {
        self.reached.get(&revision).copied().unwrap_or(0)
    }
}

impl Checker for Compactions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::Clients
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        match seen.what {
            Observation::History(event) => {
                self.take(seen.at, event).map_err(|detail| Violation::safety(NAME, seen.at, detail))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::ClientId;
    use detcd_core::api::{Response, Status};
    use detcd_core::proto::etcdserverpb::{CompactionRequest, CompactionResponse};

    const SECOND: Nanos = 1_000_000_000;

    /// A checker that has seen a revision a second, from revision 2 at second 2 to revision 20.
    fn twenty(auto_compactions: Option<Vec<AutoCompaction>>) -> Compactions {
        let config = CheckConfig { auto_compactions, clock_skew_ppm_max: 250_000, ..CheckConfig::new(1) };
        let mut checker = Compactions::new(&config);
        for revision in 2..=20 {
            let told = HistoryEvent::Revision { revision, events: [].into() };
            checker.take(SECOND * u64::try_from(revision).expect("small"), &told).expect("nothing is wrong");
        }
        checker
    }

    fn compacted(checker: &mut Compactions, revision: Revision) -> Result<(), String> {
        checker.take(20 * SECOND, &HistoryEvent::Compaction { revision })
    }

    fn asks(checker: &mut Compactions, revision: Revision, outcome: Option<Outcome>) {
        let request = Request::Compact(CompactionRequest { revision, physical: false });
        checker.take(20 * SECOND, &HistoryEvent::Invoke { op: OpId(1), client: ClientId(1), request }).expect("asked");
        if let Some(outcome) = outcome {
            checker.take(20 * SECOND, &HistoryEvent::Return { op: OpId(1), outcome }).expect("ended");
        }
    }

    #[test]
    fn somebody_has_to_have_asked() {
        compacted(&mut twenty(Some(vec![AutoCompaction::Off])), 5).expect_err("nobody asked");
        for outcome in
            [None, Some(Outcome::Unknown), Some(Outcome::Ok(Response::Compact(CompactionResponse::default())))]
        {
            let mut checker = twenty(Some(Vec::new()));
            asks(&mut checker, 5, outcome);
            compacted(&mut checker, 6).expect_err("not for that");
            assert_eq!(compacted(&mut checker, 5), Ok(()));
        }
        let mut checker = twenty(Some(Vec::new()));
        asks(&mut checker, 5, Some(Outcome::Failed(Status::NoLeader)));
        compacted(&mut checker, 5).expect_err("it failed");
    }

    /// With a clock that counts five seconds while four pass.
    #[test]
    fn nothing_younger_than_the_period_is_compacted_by_time() {
        let five = Some(vec![AutoCompaction::Off, AutoCompaction::Periodic(Duration::from_secs(5))]);
        assert_eq!(compacted(&mut twenty(five.clone()), 16), Ok(()));
        compacted(&mut twenty(five), 17).expect_err("it is three seconds old");
    }

    #[test]
    fn enough_revisions_are_left_by_number() {
        let seven = Some(vec![AutoCompaction::Revisions { kept: 7, every: Duration::from_secs(1) }]);
        assert_eq!(compacted(&mut twenty(seven.clone()), 13), Ok(()));
        compacted(&mut twenty(seven), 14).expect_err("only six are left");
    }

    #[test]
    fn only_the_future_is_wrong_if_nobody_knows_the_members() {
        assert_eq!(compacted(&mut twenty(None), 20), Ok(()));
        compacted(&mut twenty(None), 21).expect_err("it does not exist");
    }
}
