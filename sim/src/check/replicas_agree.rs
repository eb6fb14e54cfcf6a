//! Replicas agree at every applied index (HASH, and state-machine safety SMS).
//!
//! Rules and their sources:
//! * If a member has applied an entry at an index, no other applies a different one there (Raft, figure 3, "State
//!   Machine Safety"); the replicated state is a function of the entries applied. So at the same applied index the
//!   state digests are equal, and so are the terms of the entries: at every index, on every member, when applied, when
//!   installed from a snapshot, and when applied again after a restart.
//! * Within one life a member applies each index once, in order, and leaps only by installing a snapshot.
//! * After a restart a member may be anywhere behind: its last checkpoint is older than what it had applied.

use detcd_core::digest::Digest;
use detcd_core::types::{LogIndex, Term};
use detcd_core::{NodeStatus, Note};

use super::window::Window;
use super::{CheckConfig, Checker, Interest, Violation};
use crate::observe::{NodeIndex, Observation, Observed};

/// The checker's name.
pub const NAME: &str = "replicas-agree";

/// How many indices behind the newest one stay known. A member that comes back from further behind is judged from where
/// it reaches them.
const WINDOW_INDICES: usize = 200_000;

/// What stood at an index, and who said so first.
#[derive(Clone, Copy, Debug)]
struct Point {
    term: Term,
    state: Digest,
    first: NodeIndex,
}

/// Compares state digests.
#[derive(Debug)]
pub struct ReplicasAgree {
    points: Window<Point>,
    /// Where each member stands in this life.
    applied: Vec<Option<LogIndex>>,
}

impl ReplicasAgree {
    /// A checker for a cluster that starts empty.
    pub fn new(config: &CheckConfig) -> ReplicasAgree {
        ReplicasAgree { points: Window::new(WINDOW_INDICES), applied: vec![None; config.nodes] }
    }

    fn point(&mut self, node: NodeIndex, index: LogIndex, term: Term, state: Digest) -> Result<(), String> {
        let now = Point { term, state, first: node };
        let Some(point) = self.points.get_or_insert(index.0, now) else { return Ok(()) };
        if point.term != term {
            let first = point.first;
            return Err(format!(
                "at index {index} node {first} applied an entry of term {}, node {node} one of term {term}",
                point.term
            ));
        }
        if point.state != state {
            let (first, theirs) = (point.first, point.state);
            return Err(format!("at index {index} node {first} has state {theirs}, node {node} has {state}"));
        }
        Ok(())
    }

    fn note(&mut self, node: NodeIndex, note: &Note) -> Result<(), String> {
        match note {
            Note::Applied { index, term, state } => {
                if let Some(before) = self.applied[node]
                    && *index != before.next()
                {
                    return Err(format!("node {node} applied index {index} after {before}"));
                }
                self.applied[node] = Some(*index);
                self.point(node, *index, *term, *state)
            }
            Note::Installed { index, term, state } => {
                if let Some(before) = self.applied[node]
                    && *index < before
                {
                    return Err(format!("node {node} installed a snapshot of index {index} after applying {before}"));
                }
                self.applied[node] = Some(*index);
                self.point(node, *index, *term, *state)
            }
            _ => Ok(()),
        }
    }

    fn stepped(&mut self, node: NodeIndex, notes: &[Note], status: &NodeStatus) -> Result<(), String> {
        for note in notes {
            self.note(node, note)?;
        }
        if !status.phase.takes_part() {
            return Ok(());
        }
        // What it says about itself has to agree too; a checkpoint that it loaded shows only here.
        match self.points.get(status.applied.0) {
            Some(point) if point.state != status.state => {
                let (index, first) = (status.applied, point.first);
                let (ours, theirs) = (status.state, point.state);
                Err(format!("at index {index} node {first} had state {theirs}, node {node} has {ours}"))
            }
            _ => Ok(()),
        }
    }
}

impl Checker for ReplicasAgree {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::MEMBERS
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        match seen.what {
            Observation::Stepped { node, notes, status, .. } => {
                self.stepped(node, notes.all(), status).map_err(|detail| Violation::safety(NAME, seen.at, detail))
            }
            Observation::Crashed { node } | Observation::Opened { node } => {
                self.applied[node] = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::observations::{self, Script};

    fn applied(index: u64, state: u128) -> Note {
        Note::Applied { index: LogIndex(index), term: Term(1), state: Digest(state) }
    }

    fn installed(index: u64, state: u128) -> Note {
        Note::Installed { index: LogIndex(index), term: Term(1), state: Digest(state) }
    }

    fn judge(script: impl FnOnce(&mut Script)) -> Result<(), Violation> {
        observations::judge(ReplicasAgree::new(&CheckConfig::new(3)), script)
    }

    #[test]
    fn another_digest_at_the_same_index_is_a_violation() {
        let told = |state: u128| {
            judge(|run| {
                run.notes(0, &[applied(1, 10), applied(2, 20)]).notes(1, &[applied(1, 10), applied(2, state)]);
            })
        };
        assert!(told(21).expect_err("they differ").detail.contains("at index 2"));
        assert_eq!(told(20), Ok(()));
    }

    #[test]
    fn another_term_at_the_same_index_is_a_violation() {
        let told = judge(|run| {
            run.notes(0, &[applied(1, 10)]);
            run.notes(1, &[Note::Applied { index: LogIndex(1), term: Term(2), state: Digest(10) }]);
        });
        assert!(told.expect_err("they differ").detail.contains("of term 2"));
    }

    #[test]
    fn an_entry_left_out_or_applied_twice_is_a_violation() {
        let told = |index: u64| judge(|run| _ = run.notes(0, &[applied(1, 10), applied(index, 20)]));
        assert!(told(3).is_err());
        assert!(told(1).is_err());
        assert_eq!(told(2), Ok(()));
    }

    #[test]
    fn applying_again_after_a_restart_has_to_agree_with_the_first_time() {
        let told = |state: u128| {
            judge(|run| {
                run.notes(0, &[applied(1, 10), applied(2, 20), applied(3, 30)]);
                run.crash(0).open(0);
                run.notes(0, &[applied(2, state)]);
            })
        };
        assert!(told(30).is_err());
        assert_eq!(told(20), Ok(()));
    }

    #[test]
    fn a_snapshot_has_to_agree_and_must_not_lead_back() {
        let told = |index: u64, state: u128| {
            judge(|run| {
                run.notes(0, &[applied(1, 10), applied(2, 20), applied(3, 30)]);
                run.notes(1, &[applied(1, 10), applied(2, 20), installed(index, state)]);
            })
        };
        assert!(told(3, 31).is_err());
        assert!(told(1, 10).is_err());
        assert_eq!(told(3, 30), Ok(()));
    }

    #[test]
    fn a_loaded_checkpoint_that_differs_is_a_violation() {
        let told = |state: u128| {
            judge(|run| {
                run.notes(0, &[applied(1, 10), applied(2, 20)]);
                run.crash(1).open(1);
                (run.status(1).applied, run.status(1).state) = (LogIndex(2), Digest(state));
                run.notes(1, &[]);
            })
        };
        assert!(told(99).is_err());
        assert_eq!(told(20), Ok(()));
    }
}
