//! Election safety (ELEC).
//!
//! Rules and their sources:
//! * At most one leader can be elected in a term (Raft, figure 3, "Election Safety"; thesis 3.4).
//! * A member votes for at most one candidate in a term, however often it crashes (thesis 3.4 and 3.8: term and vote
//!   are persistent).
//! * A term never goes back on a member; across a crash not below the term that it reported durable, and a vote that it
//!   reported durable is still its vote in that term (Raft, figure 2, "Persistent state").
//! * Whoever leads a term was voted for by a majority whose votes are durable: a vote leaves only once it is (thesis
//!   3.8), and a candidate's own is durable before it asks anybody (only a cluster of one, which asks nobody, may be
//!   early: it lets nothing out before). A member whose durable term is already newer may have made its vote durable
//!   together with that term, so it counts, unless its vote in the older term is known to be another's.
//! * A leader whose election is noticed late, after a newer term has begun elsewhere, is legal.

use std::collections::BTreeMap;

use detcd_core::types::{NodeId, Term};
use detcd_core::{NodeStatus, Note, Role};

use super::{CheckConfig, Checker, Interest, Violation};
use crate::observe::{NodeIndex, Observation, Observed};

/// The checker's name.
pub const NAME: &str = "elections";

#[derive(Clone, Copy, Debug, Default)]
struct Member {
    /// The newest term that it reported durable.
    durable: Term,
    /// The newest vote known to be durable.
    vote: Option<(Term, NodeId)>,
    /// And the one before it, for elections that are noticed late.
    vote_before: Option<(Term, NodeId)>,
    /// The newest term seen in this life; nothing until it has loaded what it stored.
    term: Option<Term>,
}

impl Member {
    /// Whether its vote in `term` can be durable and for `candidate`.
    fn may_have_voted(&self, term: Term, candidate: NodeId) -> bool {
        let known = [self.vote, self.vote_before].into_iter().flatten().find(|(voted, _)| *voted == term);
        match known {
            Some((_, other)) => other == candidate,
            None => self.durable > term,
        }
    }
}

/// Judges terms, votes and leaders.
#[derive(Debug)]
pub struct Elections {
    /// The ids of the members by their places.
    ids: Vec<u64>,
    members: Vec<Member>,
    /// Who led each term. One entry a term in which somebody won.
    leaders: BTreeMap<Term, NodeIndex>,
}

impl Elections {
    /// A checker for a cluster that starts empty.
    pub fn new(config: &CheckConfig) -> Elections {
        Elections {
            ids: config.member_ids.clone(),
            members: vec![Member::default(); config.nodes],
            leaders: BTreeMap::new(),
        }
    }

    fn note(&mut self, node: NodeIndex, note: &Note) -> Result<(), String> {
        match note {
            Note::Role { role, term, .. } => {
                self.term(node, *term)?;
                if *role == Role::Leader { self.leads(node, *term) } else { Ok(()) }
            }
            Note::Voted { term, candidate } => self.voted(node, *term, *candidate),
            Note::Durable { term, vote, .. } => {
                let member = &mut self.members[node];
                if *term < member.durable {
                    return Err(format!("node {node} has durable term {term} after {}", member.durable));
                }
                member.durable = *term;
                if *vote == NodeId(0) {
                    return match member.vote {
                        Some((voted, candidate)) if voted == *term => {
                            Err(format!("node {node} forgot its vote for {candidate} in term {term}"))
                        }
                        _ => Ok(()),
                    };
                }
                self.voted(node, *term, *vote)
            }
            _ => Ok(()),
        }
    }

    fn leads(&mut self, node: NodeIndex, term: Term) -> Result<(), String> {
        match self.leaders.insert(term, node) {
            Some(other) if other != node => Err(format!("term {term} has two leaders, node {other} and node {node}")),
            Some(_) => Ok(()),
            None => self.elected(node, term),
        }
    }

    fn elected(&self, node: NodeIndex, term: Term) -> Result<(), String> {
        let candidate = NodeId(self.ids[node]);
        let voters = self.members.iter().filter(|member| member.may_have_voted(term, candidate)).count();
        if self.members.len() == 1 || voters > self.members.len() / 2 {
            return Ok(());
        }
        Err(format!(
            "node {node} leads term {term}, but only {voters} of {} members can have a durable vote for it",
            self.members.len()
        ))
    }

    fn voted(&mut self, node: NodeIndex, term: Term, candidate: NodeId) -> Result<(), String> {
        let member = &mut self.members[node];
        match member.vote {
            Some((voted, other)) if voted == term && other != candidate => {
                Err(format!("node {node} voted for {other} and for {candidate} in term {term}"))
            }
            Some((voted, _)) if voted > term => {
                Err(format!("node {node} voted in term {term} after it had voted in term {voted}"))
            }
            Some(vote) if vote == (term, candidate) => Ok(()),
            _ => {
                member.vote_before = member.vote.replace((term, candidate));
                Ok(())
            }
        }
    }

    fn term(&mut self, node: NodeIndex, term: Term) -> Result<(), String> {
        let member = &mut self.members[node];
        let voted = member.vote.map_or(Term(0), |(voted, _)| voted);
        let least = member.term.unwrap_or(Term(0)).max(member.durable).max(voted);
        if term < least {
            return Err(format!("node {node} is in term {term} after term {least}"));
        }
        member.term = Some(term);
        Ok(())
    }

    fn stepped(&mut self, node: NodeIndex, notes: &[Note], status: &NodeStatus) -> Result<(), String> {
        for note in notes {
            self.note(node, note)?;
        }
        // While it loads it does not know its term yet; halted, it does not count any more.
        if status.phase.takes_part() {
            self.term(node, status.term)?;
            if status.role == Role::Leader {
                self.leads(node, status.term)?;
            }
        }
        Ok(())
    }
}

impl Checker for Elections {
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
                self.members[node].term = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use detcd_core::types::LogIndex;

    use super::*;
    use crate::check::observations::{self, Script};

    fn judge(script: impl FnOnce(&mut Script)) -> Result<(), Violation> {
        observations::judge(Elections::new(&CheckConfig::new(3)), script)
    }

    fn leader(term: u64, leader: u64) -> Note {
        Note::Role { role: Role::Leader, term: Term(term), leader: NodeId(leader) }
    }

    fn voted(term: u64, candidate: u64) -> Note {
        Note::Voted { term: Term(term), candidate: NodeId(candidate) }
    }

    fn durable(term: u64, vote: u64) -> Note {
        Note::Durable { index: LogIndex(0), term: Term(term), vote: NodeId(vote) }
    }

    #[test]
    fn two_leaders_in_one_term_are_a_violation_and_in_two_terms_are_not() {
        let told = |second: u64| {
            judge(|run| {
                run.notes(1, &[voted(2, 1)]).notes(0, &[voted(2, 1), leader(2, 1)]);
                run.notes(1, &[leader(second, 2)]);
            })
        };
        assert!(told(2).expect_err("one term").detail.contains("two leaders"));
        assert!(told(4).expect_err("no votes").detail.contains("only 0 of 3"));
        let fine = judge(|run| {
            run.notes(1, &[voted(2, 1)]).notes(0, &[voted(2, 1), leader(2, 1)]);
            run.notes(2, &[voted(3, 2)]).notes(1, &[voted(3, 2), leader(3, 2)]);
        });
        assert_eq!(fine, Ok(()));
    }

    #[test]
    fn a_leader_without_a_majority_of_durable_votes_is_a_violation() {
        let told = |vote: Option<Note>| {
            judge(|run| {
                run.notes(1, vote.as_slice()).notes(0, &[voted(2, 1), leader(2, 1)]);
            })
        };
        assert!(told(None).expect_err("its own only").detail.contains("only 1 of 3"));
        assert!(told(Some(voted(2, 3))).is_err());
        assert_eq!(told(Some(voted(2, 1))), Ok(()));
        // The voter's next term became durable together with its vote.
        assert_eq!(told(Some(durable(3, 0))), Ok(()));
    }

    #[test]
    fn a_leader_that_is_noticed_after_a_newer_one_is_legal() {
        let told = judge(|run| {
            run.notes(1, &[voted(2, 2)]).notes(2, &[voted(2, 2)]);
            run.notes(2, &[voted(3, 1)]).notes(0, &[voted(3, 1), leader(3, 1)]);
            run.notes(1, &[leader(2, 2)]);
        });
        assert_eq!(told, Ok(()));
    }

    #[test]
    fn a_second_vote_in_a_term_is_a_violation_even_after_a_crash() {
        let told = |second: u64, term: u64| {
            judge(|run| {
                run.term(2, 4).notes(2, &[voted(4, 1)]);
                run.crash(2).open(2);
                run.term(2, term).notes(2, &[voted(term, second)]);
            })
        };
        assert!(told(2, 4).expect_err("two candidates").detail.contains("voted for"));
        assert_eq!(told(1, 4), Ok(()));
        assert_eq!(told(2, 5), Ok(()));
    }

    #[test]
    fn a_term_below_the_durable_one_after_a_crash_is_a_violation() {
        let told = |after: u64| {
            judge(|run| {
                run.term(0, 7).notes(0, &[durable(6, 0)]);
                run.crash(0).open(0);
                run.term(0, after).notes(0, &[]);
            })
        };
        assert!(told(5).expect_err("went back").detail.contains("after term 6"));
        // Term 7 was never durable, so it may be forgotten.
        assert_eq!(told(6), Ok(()));
    }

    #[test]
    fn a_durable_vote_that_vanishes_is_a_violation() {
        let told = |vote: u64| {
            judge(|run| {
                run.term(0, 6).notes(0, &[durable(6, 2)]);
                run.crash(0).open(0);
                run.term(0, 6).notes(0, &[durable(6, vote)]);
            })
        };
        assert!(told(0).expect_err("forgotten").detail.contains("forgot"));
        assert_eq!(told(2), Ok(()));
    }
}
