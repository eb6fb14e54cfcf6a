//! Compactions: what is compacted was asked for by a client, or is what the member that proposed it may compact by
//! itself.
//!
//! Rules and their sources:
//! * An entry that compacts has the id that its proposer gave it. Either that member proposed it by itself, or a client
//!   asked for that revision, by a request that did not fail (contract, section 1.1 `Compact`).
//! * What a member proposes by itself is judged when it is proposed, by the mode of that member (contract, section 4,
//!   `--auto-compaction-mode`) and by what it knew then. What becomes of the proposal is not its doing: it may be
//!   committed much later, under another leader, when its proposer is down, and while others are in flight.
//! * Only a member that leads proposes: the others take samples.
//! * Periodic compaction names a revision that was the member's newest one the period before, in this life: its samples
//!   die with the process. So in this life it had reached that revision that long ago, by its own clock.
//! * Compaction by revisions leaves as many as it has to keep of those that the member has applied.
//! * It looks every so often, and proposes once a look: at its interval by revisions; by period, at a tenth of the time
//!   after which it compacts again, which is an hour at most.
//! * Nothing is compacted that does not exist yet (contract, section 1.1 `Compact`).
//!
//! The one tolerance is that of clocks: a period is as short as the fastest legal clock makes it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use detcd_core::api::Request;
use detcd_core::config::AutoCompaction;
use detcd_core::types::Revision;
use detcd_core::{Note, Role};

use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{HistoryEvent, Nanos, OpId, Outcome};
use crate::observe::{NodeIndex, Observation, Observed};

/// The checker's name.
pub const NAME: &str = "compactions";

/// Periodic compaction compacts at least this often.
const PERIOD_MAX: Duration = Duration::from_secs(3600);

/// And looks so often in that time.
const LOOKS_PER_PERIOD: u32 = 10;

/// Clocks count whole nanoseconds, anew from each change of their rate.
const ROUNDING: Nanos = 1_000;

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
        u64::try_from(least).unwrap_or(Nanos::MAX).saturating_sub(self.steps.saturating_add(ROUNDING))
    }
}

/// A member, and what it knows in its present life.
#[derive(Debug)]
struct Member {
    mode: AutoCompaction,
    leads: bool,
    /// The newest revision of its store, as its last step left it.
    newest: Revision,
    /// When it reached the revisions that periodic compaction may not take yet, and the newest that it may.
    reached: VecDeque<(Revision, Nanos)>,
    /// When it proposed last.
    proposed: Option<Nanos>,
}

impl Member {
    fn new(mode: AutoCompaction) -> Member {
        Member { mode, leads: false, newest: 0, reached: VecDeque::new(), proposed: None }
    }

    /// Its store has this revision now.
    fn reaches(&mut self, at: Nanos, revision: Revision, clock: ClockError) {
        if revision == self.newest {
            return;
        }
        self.newest = revision;
        let AutoCompaction::Periodic(period) = self.mode else { return };
        self.reached.push_back((revision, at));
        let old = at.saturating_sub(clock.least(period));
        while self.reached.get(1).is_some_and(|(_, reached)| *reached <= old) {
            self.reached.pop_front();
        }
    }

    /// When it had reached a revision that it knows, or the oldest one that counts.
    fn reached_at(&self, revision: Revision) -> Option<Nanos> {
        let place = self.reached.partition_point(|(reached, _)| *reached < revision);
        self.reached.get(place).map(|(_, at)| *at)
    }

    /// Judges a proposal that it makes by itself.
    fn proposes(&mut self, at: Nanos, revision: Revision, clock: ClockError) -> Result<(), String> {
        if !self.leads {
            return Err("although it does not lead".into());
        }
        let between = match self.mode {
            AutoCompaction::Off => return Err("although it may not do that by itself".into()),
            AutoCompaction::Revisions { kept, every } => {
                if revision > self.newest - kept {
                    return Err(format!("although it keeps {kept} and the newest is {}", self.newest));
                }
                every
            }
            AutoCompaction::Periodic(period) => {
                let Some(reached) = self.reached_at(revision) else {
                    return Err(format!("which it does not know: the newest is {}", self.newest));
                };
                if at - reached < clock.least(period) {
                    let (age_ms, period_ms) = ((at - reached) / 1_000_000, period.as_millis());
                    return Err(format!("which it reached {age_ms} ms before, although it keeps {period_ms} ms"));
                }
                period.min(PERIOD_MAX) / LOOKS_PER_PERIOD
            }
        };
        match self.proposed.replace(at).map(|before| at - before) {
            Some(passed) if passed < clock.least(between) => {
                let (passed_ms, between_ms) = (passed / 1_000_000, between.as_millis());
                Err(format!("{passed_ms} ms after it did so before, although it looks every {between_ms} ms"))
            }
            _ => Ok(()),
        }
    }
}

/// Judges what members propose by themselves, and what they say is compacted.
#[derive(Debug)]
pub struct Compactions {
    /// The members by their places, `None` if nobody knows them.
    members: Option<Vec<Member>>,
    /// Their ids by their places.
    ids: Vec<u64>,
    clock: ClockError,
    /// What clients ask for, by their operations, unless it failed, or is compacted.
    asked: BTreeMap<OpId, Revision>,
    /// What members propose by themselves, by member and request, unless it is compacted.
    proposed: BTreeMap<(u64, u64), Revision>,
    head: Revision,
    compacted: Revision,
}

impl Compactions {
    /// A checker for a run from an empty store.
    pub fn new(config: &CheckConfig) -> Compactions {
        let mode_of = |modes: &[AutoCompaction], node| modes.get(node).copied().unwrap_or(AutoCompaction::Off);
        let member = |modes: &[AutoCompaction], node| Member::new(mode_of(modes, node));
        let members_of = |modes: &Vec<_>| (0..config.nodes).map(|node| member(modes, node)).collect();
        Compactions {
            members: config.auto_compactions.as_ref().map(members_of),
            ids: config.member_ids.clone(),
            clock: ClockError { skew_ppm_max: config.clock_skew_ppm_max, steps: config.clock_steps },
            asked: BTreeMap::new(),
            proposed: BTreeMap::new(),
            head: 1,
            compacted: 0,
        }
    }

    /// Takes one line of a history.
    fn take(&mut self, event: &HistoryEvent) -> Result<(), String> {
        match event {
            HistoryEvent::Invoke { op, request: Request::Compact(compact), .. } if self.members.is_some() => {
                self.asked.insert(*op, compact.revision);
            }
            HistoryEvent::Return { op, outcome: Outcome::Failed(_) } => drop(self.asked.remove(op)),
            HistoryEvent::Revision { revision, .. } => self.head = *revision,
            HistoryEvent::Compaction { revision } if *revision > self.head => {
                return Err(format!("revision {revision} was compacted, but the newest is {}", self.head));
            }
            _ => {}
        }
        Ok(())
    }

    /// A member says what happened in a step, in order.
    fn step(&mut self, at: Nanos, node: NodeIndex, notes: &[Note]) -> Result<(), String> {
        let Some(member) = self.members.as_mut().and_then(|members| members.get_mut(node)) else { return Ok(()) };
        for note in notes {
            match *note {
                Note::Role { role, .. } => member.leads = role == Role::Leader,
                Note::CompactionProposed { revision, request } => {
                    let say = |why| format!("m{} proposed by itself to compact revision {revision}, {why}", node + 1);
                    member.proposes(at, revision, self.clock).map_err(say)?;
                    self.proposed.insert((self.ids[node], request), revision);
                }
                Note::Compacted { revision, proposer, request } if revision > self.compacted => {
                    let own = self.proposed.get(&(proposer.0, request)).copied();
                    judge_compacted(revision, own, &self.asked).map_err(|why| {
                        format!("revision {revision} was compacted by request {request:x} of member {proposer}, {why}")
                    })?;
                    self.compacted = revision;
                    self.asked.retain(|_, asked| *asked > revision);
                    self.proposed.retain(|_, proposed| *proposed > revision);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A member has a new life, or none.
    fn forget(&mut self, node: NodeIndex) {
        if let Some(member) = self.members.as_mut().and_then(|members| members.get_mut(node)) {
            *member = Member::new(member.mode);
        }
    }

    fn judge(&mut self, seen: &Observed<'_>) -> Result<(), String> {
        match seen.what {
            Observation::History(event) => self.take(event)?,
            Observation::Opened { node } | Observation::Crashed { node } => self.forget(node),
            Observation::Stepped { node, notes, view, .. } => {
                self.step(seen.at, node, notes.with_rare())?;
                // What was proposed, was so before anything was applied in this step.
                if let Some(member) = self.members.as_mut().and_then(|members| members.get_mut(node)) {
                    member.reaches(seen.at, view.revision(), self.clock);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Judges that `revision` is compacted, by a request by which its member proposed `own` by itself, if it did.
fn judge_compacted(revision: Revision, own: Option<Revision>, asked: &BTreeMap<OpId, Revision>) -> Result<(), String> {
    match own {
        Some(own) if own == revision => Ok(()),
        Some(own) => Err(format!("which is for revision {own}")),
        None if asked.values().any(|asked| *asked == revision) => Ok(()),
        None => Err("for which no client asked, and which it did not propose by itself".into()),
    }
}

impl Checker for Compactions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::CHANGES.and(Interest::CLIENTS_BUT_KV)
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        self.judge(seen).map_err(|detail| Violation::safety(NAME, seen.at, detail))
    }
}

#[cfg(test)]
mod tests;
