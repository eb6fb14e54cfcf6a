//! Log matching, leader append-only and leader completeness (LOGM, LC).
//!
//! Rules and their sources:
//! * Two entries with the same index and term are the same, and so are their predecessors (Raft, figure 3, "Log
//!   Matching"): checked one step back each time, which gives the whole by induction.
//! * A leader only appends to its log (figure 3, "Leader Append-Only"). Notes of one step do not tell whether it
//!   stepped down before it took a newer leader's entries, so what counts is a step after which it still leads the same
//!   term.
//! * An entry committed in a term is in the logs of the leaders of all later terms (figure 3, "Leader Completeness").
//!   What some member applied is committed, in a term not newer than that of the newest leader so far. So a leader of a
//!   newer term has to have it; a stale candidate of an older term that wins late need not, and is legal.
//! * What a member applies is what stands in its log there.
//! * What a member says is durable is its log as it stands (figure 2, "log[]"): never more than there is of it. An
//!   older write that is done later makes nothing durable of what has been overwritten meanwhile.
//! * After a crash the log may have lost what was not durable, and nothing else (figure 2, "Persistent state"). A
//!   member whose disk was damaged may have lost more, if it is in repair ([`detcd_core::Phase::Repairing`]). A
//!   member that is alone leads before its term is durable. If a crash takes that term, nobody has seen it, and it may
//!   begin again.
//!
//! Each member's log is shadowed from what it says about appending. After a crash the part that was not durable is
//! unknown until it is appended again, or until a check can do without it.

use detcd_core::digest::Digest;
use detcd_core::types::{LogIndex, Term};
use detcd_core::{NodeStatus, Note, Phase, Role};

use super::by_term::ByTerm;
use super::log_terms::LogTerms;
use super::recent::Recent;
use super::{CheckConfig, Checker, Interest, Violation};
use crate::observe::{NodeIndex, Observation, Observed};

/// The checker's name.
pub const NAME: &str = "log-matching";

/// How many entries of each log, and of the entries known at all, are kept behind the newest one.
const WINDOW_ENTRIES: u64 = 50_000;

/// An entry as everybody has to know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Known {
    entry: Digest,
    /// The term of the entry before it, where somebody knew that.
    previous: Option<Term>,
}

/// One member's log as far as it is known.
#[derive(Debug, Default)]
struct Shadow {
    /// Unknown where a crash may have taken them.
    terms: LogTerms,
    /// The log is durable up to here at least.
    durable: u64,
    /// The newest term that is.
    durable_term: Term,
    /// The member has to show after a crash that the durable part is still there.
    reopened: bool,
    /// Its disk was damaged since then: it may have lost it, if it says so.
    damaged: bool,
    leads: Option<Term>,
}

impl Shadow {
    fn last(&self) -> u64 {
        self.terms.last()
    }

    fn term(&self, index: u64) -> Option<Term> {
        self.terms.get(index)
    }

    /// The log ends with `index` from now on; entries that nobody spoke of are unknown.
    fn end_at(&mut self, index: u64) {
        self.terms.end_at(index, WINDOW_ENTRIES);
    }
}

/// Judges logs.
#[derive(Debug)]
pub struct LogMatching {
    logs: Vec<Shadow>,
    entries: Recent<(LogIndex, Term), Known>,
    /// The newest applied entry and its term.
    applied: (LogIndex, Term),
    /// The newest leader's term so far.
    newest_leader: Term,
    /// By the newest leader's term at the time: the newest entry applied by then.
    committed: ByTerm<(LogIndex, Term)>,
}

impl LogMatching {
    /// A checker for a cluster that starts empty.
    pub fn new(config: &CheckConfig) -> LogMatching {
        LogMatching {
            logs: (0..config.nodes).map(|_| Shadow::default()).collect(),
            entries: Recent::new(2 * WINDOW_ENTRIES as usize),
            applied: (LogIndex(0), Term(0)),
            newest_leader: Term(0),
            committed: ByTerm::default(),
        }
    }

    fn note(&mut self, node: NodeIndex, note: &Note) -> Result<(), String> {
        match note {
            Note::Appended { index, term, entry } => self.appended(node, *index, *term, *entry),
            Note::Applied { index, term, .. } => self.applied(node, *index, *term),
            Note::Installed { index, term, .. } => {
                let log = &mut self.logs[node];
                // A snapshot that the log already contains leaves the rest of the log as it is (thesis 5.1).
                if log.term(index.0) != Some(*term) {
                    log.terms = LogTerms::beginning_with(index.0, *term);
                }
                log.durable = log.durable.min(log.last());
                self.applied(node, *index, *term)
            }
            Note::Durable { index, term, .. } => {
                let log = &mut self.logs[node];
                if index.0 > log.last() {
                    let last = log.last();
                    return Err(format!(
                        "node {node} has a log up to {last}, but says that it is durable up to {index}"
                    ));
                }
                log.durable = index.0;
                log.durable_term = *term;
                Ok(())
            }
            Note::Role { role: Role::Leader, term, .. } => self.elected(node, *term),
            Note::Role { .. } => {
                self.logs[node].leads = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn appended(&mut self, node: NodeIndex, index: LogIndex, term: Term, entry: Digest) -> Result<(), String> {
        let log = &mut self.logs[node];
        if log.leads.is_some() && index.0 <= log.last() {
            return Err(format!("node {node} leads and overwrites index {index} of its own log"));
        }
        let previous = log.term(index.0 - 1);
        if previous.is_some_and(|previous| previous > term) {
            return Err(format!("node {node} has term {term} at index {index} after a newer term"));
        }
        // Most entries go where the log ends.
        if log.last() != index.0 - 1 {
            log.end_at(index.0 - 1);
        }
        log.durable = log.durable.min(index.0 - 1);
        log.terms.push(term, WINDOW_ENTRIES);
        // Most of the time there is one entry at each index.
        let newer = self.entries.newest().map_or(0, |((newest, _), _)| newest.0.saturating_sub(index.0));
        let now = Known { entry, previous };
        // What is too old to be kept is behind everybody's window.
        let Some(known) = self.entries.get_or_insert_near((index, term), newer, now) else { return Ok(()) };
        if known.entry != entry {
            return Err(format!("index {index} of term {term} is another entry on node {node} than elsewhere"));
        }
        match (known.previous, previous) {
            (Some(theirs), Some(ours)) if theirs != ours => {
                return Err(format!(
                    "index {index} of term {term} follows term {ours} on node {node}, term {theirs} elsewhere"
                ));
            }
            (None, _) => known.previous = previous,
            _ => {}
        }
        Ok(())
    }

    fn applied(&mut self, node: NodeIndex, index: LogIndex, term: Term) -> Result<(), String> {
        if let Some(stands) = self.logs[node].term(index.0)
            && stands != term
        {
            return Err(format!("node {node} applied index {index} of term {term}, but its log has term {stands}"));
        }
        if index > self.applied.0 {
            self.applied = (index, term);
            *self.committed.get_or_insert(self.newest_leader, self.applied) = self.applied;
        }
        Ok(())
    }

    fn elected(&mut self, node: NodeIndex, term: Term) -> Result<(), String> {
        let log = &mut self.logs[node];
        log.leads = Some(term);
        self.newest_leader = self.newest_leader.max(term);
        let Some((index, of_term)) = self.committed.before(term) else { return Ok(()) };
        if log.last() < index.0 {
            return Err(format!("node {node} leads term {term} without index {index}, which was applied"));
        }
        match log.term(index.0) {
            Some(stands) if stands != *of_term => Err(format!(
                "node {node} leads term {term} with term {stands} at index {index}, where term {of_term} was applied"
            )),
            _ => Ok(()),
        }
    }

    fn stepped(&mut self, node: NodeIndex, notes: &[Note], status: &NodeStatus) -> Result<(), String> {
        let serving = status.phase.takes_part();
        if serving && self.logs[node].reopened {
            self.reopened(node, notes, status)?;
        }
        if status.role != Role::Leader || self.logs[node].leads != Some(status.term) {
            self.logs[node].leads = None;
        }
        notes.iter().try_for_each(|note| self.note(node, note))
    }

    /// The first look at a log after a crash: what was durable is there, and what was not may be.
    fn reopened(&mut self, node: NodeIndex, notes: &[Note], status: &NodeStatus) -> Result<(), String> {
        // What this very step appended comes on top.
        let appended = notes.iter().find_map(|note| match note {
            Note::Appended { index, .. } | Note::Installed { index, .. } => Some(LogIndex(index.0 - 1)),
            _ => None,
        });
        let log = &mut self.logs[node];
        log.reopened = false;
        if std::mem::take(&mut log.damaged) && status.phase == Phase::Repairing {
            log.durable = log.durable.min(status.last.0);
        }
        let last = appended.unwrap_or(status.last).0;
        if appended.is_none() && last < log.durable {
            let durable = log.durable;
            return Err(format!("node {node} has a log up to {last} after a crash, but {durable} was durable"));
        }
        log.end_at(log.durable.min(last));
        log.end_at(last);
        Ok(())
    }

    fn crashed(&mut self, node: NodeIndex) {
        let log = &mut self.logs[node];
        log.reopened = true;
        log.leads = None;
        if self.logs.len() == 1 {
            let durable_term = self.logs[node].durable_term;
            self.entries.retain(|(_, term)| term <= durable_term);
        }
    }
}

impl Checker for LogMatching {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::CHANGES
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        match seen.what {
            Observation::Stepped { node, notes, status, .. } => {
                self.stepped(node, notes.all(), status).map_err(|detail| Violation::safety(NAME, seen.at, detail))
            }
            Observation::Crashed { node } | Observation::Opened { node } => {
                self.crashed(node);
                Ok(())
            }
            Observation::Damaged { node } => {
                self.logs[node].damaged = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use detcd_core::types::NodeId;

    use super::*;
    use crate::check::observations::{self, Script};

    fn appended(index: u64, term: u64, entry: u128) -> Note {
        Note::Appended { index: LogIndex(index), term: Term(term), entry: Digest(entry) }
    }

    fn applied(index: u64, term: u64) -> Note {
        Note::Applied { index: LogIndex(index), term: Term(term), state: Digest(0) }
    }

    fn leads(node: u64, term: u64) -> Note {
        Note::Role { role: Role::Leader, term: Term(term), leader: NodeId(node + 1) }
    }

    fn durable(index: u64) -> Note {
        Note::Durable { index: LogIndex(index), term: Term(1), vote: NodeId(0) }
    }

    fn judge(script: impl FnOnce(&mut Script)) -> Result<(), Violation> {
        observations::judge(LogMatching::new(&CheckConfig::new(3)), script)
    }

    #[test]
    fn another_entry_under_the_same_index_and_term_is_a_violation() {
        let told = |term: u64, entry: u128| {
            judge(|run| {
                run.notes(0, &[appended(1, 1, 11)]).notes(1, &[appended(1, term, entry)]);
            })
        };
        assert!(told(1, 12).is_err());
        assert_eq!(told(1, 11), Ok(()));
        assert_eq!(told(2, 12), Ok(()));
    }

    #[test]
    fn another_predecessor_under_the_same_index_and_term_is_a_violation() {
        let told = |before: u64| {
            judge(|run| {
                run.notes(0, &[appended(1, 1, 11), appended(2, 3, 23)]);
                run.notes(1, &[appended(1, before, 10 + u128::from(before)), appended(2, 3, 23)]);
            })
        };
        assert!(told(2).expect_err("differs").detail.contains("follows term 2"));
        assert_eq!(told(1), Ok(()));
    }

    #[test]
    fn a_leader_that_overwrites_its_log_is_a_violation_and_a_follower_is_not() {
        let told = |leader: bool| {
            judge(|run| {
                run.notes(0, &[appended(1, 1, 11), appended(2, 1, 12)]);
                if leader {
                    run.notes(0, &[leads(0, 2)]);
                }
                run.notes(0, &[appended(2, 2, 22)]);
            })
        };
        assert!(told(true).expect_err("overwrote").detail.contains("its own log"));
        assert_eq!(told(false), Ok(()));
    }

    #[test]
    fn a_leader_that_is_deposed_in_the_step_in_which_it_takes_other_entries_is_legal() {
        let told = judge(|run| {
            run.notes(0, &[appended(1, 1, 11)]).notes(0, &[leads(0, 2)]).notes(0, &[appended(2, 2, 22)]);
            let follows = Note::Role { role: Role::Follower, term: Term(3), leader: NodeId(2) };
            run.notes(0, &[appended(2, 3, 23), follows]);
        });
        assert_eq!(told, Ok(()));
    }

    #[test]
    fn a_later_leader_without_an_applied_entry_is_a_violation() {
        let told = |log: &[Note], term: u64| {
            judge(|run| {
                run.notes(0, &[leads(0, 2), appended(1, 2, 12), appended(2, 2, 22), applied(1, 2), applied(2, 2)]);
                run.notes(1, log).notes(1, &[leads(1, term)]);
            })
        };
        let short = [appended(1, 2, 12)];
        let other = [appended(1, 1, 11), appended(2, 1, 21)];
        let whole = [appended(1, 2, 12), appended(2, 2, 22)];
        assert!(told(&short, 3).expect_err("too short").detail.contains("without index 2"));
        assert!(told(&other, 3).expect_err("other entry").detail.contains("with term 1"));
        assert_eq!(told(&whole, 3), Ok(()));
        // Its votes were on their way while term 2 had begun elsewhere.
        assert_eq!(told(&short, 1), Ok(()));
    }

    #[test]
    fn an_applied_entry_that_does_not_stand_in_the_log_is_a_violation() {
        let told = |term: u64| judge(|run| _ = run.notes(0, &[appended(1, 2, 12), applied(1, term)]));
        assert!(told(1).is_err());
        assert_eq!(told(2), Ok(()));
    }

    #[test]
    fn a_crash_may_take_what_was_not_durable_and_nothing_else() {
        let told = |last: u64| {
            judge(|run| {
                run.notes(0, &[appended(1, 1, 11), appended(2, 1, 12), durable(2), appended(3, 1, 13)]);
                run.crash(0).open(0);
                run.status(0).last = LogIndex(last);
                run.notes(0, &[]);
            })
        };
        assert!(told(1).expect_err("lost").detail.contains("was durable"));
        assert_eq!(told(2), Ok(()));
        assert_eq!(told(3), Ok(()));
    }

    #[test]
    fn a_damaged_disk_may_have_lost_more_if_the_member_is_in_repair() {
        let told = |damaged: bool, phase: Phase| {
            judge(|run| {
                run.notes(0, &[appended(1, 1, 11), appended(2, 1, 12), durable(2)]).crash(0);
                if damaged {
                    run.tell(Observation::Damaged { node: 0 });
                }
                run.open(0);
                (run.status(0).last, run.status(0).phase) = (LogIndex(1), phase);
                run.notes(0, &[]);
            })
        };
        assert!(told(true, Phase::Serving).expect_err("it does not know").detail.contains("was durable"));
        assert!(told(false, Phase::Repairing).is_err());
        assert_eq!(told(true, Phase::Repairing), Ok(()));
    }

    #[test]
    fn alone_a_member_may_lead_a_term_again_if_nothing_of_it_was_durable() {
        let told = |durable_index: u64| {
            let mut run = Script::new(Box::new(LogMatching::new(&CheckConfig::new(1))));
            run.notes(0, &[leads(0, 2), appended(1, 2, 12), durable(durable_index)]);
            run.crash(0).open(0);
            run.status(0).last = LogIndex(durable_index);
            run.notes(0, &[leads(0, 2), appended(durable_index + 1, 2, 99)]).verdict()
        };
        assert_eq!(told(0), Ok(()));
        assert_eq!(told(1), Ok(()));
        let several = judge(|run| {
            run.notes(0, &[leads(0, 2), appended(1, 2, 12), durable(0)]);
            run.crash(0).open(0);
            run.status(0).last = LogIndex(0);
            run.notes(0, &[leads(0, 2), appended(1, 2, 99)]);
        });
        assert!(several.is_err());
    }

    #[test]
    fn what_was_overwritten_but_not_durably_may_be_there_or_not_after_a_crash() {
        let told = judge(|run| {
            run.notes(0, &[appended(1, 1, 11), appended(2, 1, 12), appended(3, 1, 13), durable(3)]);
            run.notes(0, &[appended(2, 2, 22)]);
            run.crash(0).open(0);
            run.status(0).last = LogIndex(3);
            // The disk kept the old tail: the leader of term 2 sends its entry again.
            run.notes(0, &[]).notes(0, &[appended(2, 2, 22)]);
        });
        assert_eq!(told, Ok(()));
    }

    #[test]
    fn an_old_write_that_is_done_late_makes_nothing_durable_of_what_was_overwritten() {
        let told = |durable_index: u64, last: u64| {
            judge(|run| {
                run.notes(0, &[appended(1, 1, 11), appended(2, 1, 12), appended(3, 1, 13)]);
                run.notes(0, &[appended(2, 2, 22)]).notes(0, &[durable(durable_index)]);
                run.crash(0).open(0);
                run.status(0).last = LogIndex(last);
                run.notes(0, &[]);
            })
        };
        assert!(told(3, 3).expect_err("3 is in its log no longer").detail.contains("says that it is durable"));
        assert_eq!(told(1, 3), Ok(()));
        assert_eq!(told(1, 2), Ok(()), "the crash kept what overwrote the rest, though it was not durable");
        assert!(told(1, 0).expect_err("lost").detail.contains("was durable"));
    }

    #[test]
    fn a_member_that_is_alone_may_lead_a_term_again_that_was_not_durable() {
        let told = |durably: bool| {
            let mut run = Script::new(Box::new(LogMatching::new(&CheckConfig::new(1))));
            run.notes(0, &[leads(0, 1), appended(1, 1, 11)]);
            if durably {
                run.notes(0, &[durable(0)]);
            }
            run.crash(0).open(0);
            run.status(0).last = LogIndex(0);
            run.notes(0, &[]).notes(0, &[leads(0, 1), appended(1, 1, 12)]);
            run.verdict()
        };
        assert!(told(true).is_err());
        assert_eq!(told(false), Ok(()));
    }

    #[test]
    fn a_snapshot_takes_the_place_of_the_log() {
        let told = judge(|run| {
            run.notes(0, &[leads(0, 1), appended(1, 1, 11), appended(2, 1, 12), applied(1, 1), applied(2, 1)]);
            run.notes(1, &[appended(1, 1, 11)]);
            run.notes(1, &[Note::Installed { index: LogIndex(2), term: Term(1), state: Digest(0) }]);
            run.notes(1, &[appended(3, 2, 23)]).notes(1, &[leads(1, 3)]);
        });
        assert_eq!(told, Ok(()));
    }
}
