//! Acknowledged writes survive (DUR).
//!
//! Rules and their sources:
//! * A write is acknowledged only once its entry is durable on a majority: before the acknowledgement reaches a client,
//!   a majority of members know their log to be durable up to it (thesis 3.8 and 10.2.1; contract, section 7: followers
//!   reply after fsync, a single member does not acknowledge before its own).
//! * A leader that has applied an entry of its own term has applied everything that was acknowledged under earlier
//!   leaders (Raft, figure 3, "Leader Completeness"), so its store is at least at the newest revision acknowledged by
//!   then. This judges every recovery as soon as somebody leads again. A leader that is already deposed without knowing
//!   it need not have what a newer one acknowledged.
//! * A member that has applied as far as the first member that had an acknowledged revision has it too, in every life.
//!
//! That the revision still has the same contents is judged by [`super::revisions`] and [`super::replicas_agree`].
//! Membership is fixed: all configured members vote.

use detcd_core::types::{LogIndex, Revision, Term};
use detcd_core::{NodeStatus, Note, Role};

use super::by_term::ByTerm;
use super::model::has_effect;
use super::recent::Recent;
use super::serializability::header_revision;
use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{HistoryEvent, OpId, Outcome};
use crate::observe::{NodeIndex, Observation, Observed};

/// The checker's name.
pub const NAME: &str = "durability";

/// How many revisions and acknowledgements stay known.
const WINDOW: usize = 50_000;

/// The step in which a revision was first reached: it lies at one of these indices.
#[derive(Clone, Copy, Debug)]
struct Reached {
    first: LogIndex,
    last: LogIndex,
}

/// Keeps the ledger of acknowledgements.
#[derive(Debug)]
pub struct Durability {
    /// The log of each member is durable up to here, as it says.
    durable: Vec<LogIndex>,
    /// Whose disks were damaged: what they said before counts nevertheless.
    damaged: Vec<bool>,
    /// The term of the last entry that each member applied in this life.
    applied_term: Vec<Option<Term>>,
    /// Where each member stood after its last step.
    applied: Vec<LogIndex>,
    /// By the revision after the step.
    reached: Recent<Revision, Reached>,
    /// By index: whoever has applied it is at least at this revision.
    acknowledged: Recent<LogIndex, Revision>,
    newest_leader: Term,
    /// By the newest leader's term at the time: the newest revision acknowledged by then.
    acknowledged_under: ByTerm<(Revision, OpId)>,
    /// The newest revision in `acknowledged`; who has reached it lacks nothing.
    acknowledged_max: Revision,
}

impl Durability {
    /// A checker for a cluster that starts empty.
    pub fn new(config: &CheckConfig) -> Durability {
        Durability {
            durable: vec![LogIndex(0); config.nodes],
            damaged: vec![false; config.nodes],
            applied_term: vec![None; config.nodes],
            applied: vec![LogIndex(0); config.nodes],
            reached: Recent::new(WINDOW),
            acknowledged: Recent::new(WINDOW),
            newest_leader: Term(0),
            acknowledged_under: ByTerm::default(),
            acknowledged_max: 0,
        }
    }

    fn stepped(
        &mut self,
        node: NodeIndex,
        notes: &[Note],
        status: &NodeStatus,
        revision: Revision,
    ) -> Result<(), String> {
        for note in notes {
            match note {
                Note::Applied { term, .. } | Note::Installed { term, .. } => self.applied_term[node] = Some(*term),
                Note::Durable { index, .. } => self.holds(node, *index),
                Note::Role { role: Role::Leader, term, .. } => self.newest_leader = self.newest_leader.max(*term),
                _ => {}
            }
        }
        if !status.phase.takes_part() {
            return Ok(());
        }
        self.holds(node, status.durable);
        let before = self.applied[node];
        self.applied[node] = status.applied;
        if self.reached.newest().is_none_or(|(newest, _)| *newest < revision) && revision > 1 {
            self.reached.get_or_insert(revision, Reached { first: before.next(), last: status.applied });
        }
        self.judge_replica(node, status, revision)
    }

    /// The member's log is durable up to here.
    fn holds(&mut self, node: NodeIndex, durable: LogIndex) {
        let before = if self.damaged[node] { self.durable[node] } else { LogIndex(0) };
        self.durable[node] = durable.max(before);
    }

    fn judge_replica(&self, node: NodeIndex, status: &NodeStatus, revision: Revision) -> Result<(), String> {
        let applied = status.applied;
        if revision < self.acknowledged_max
            && let Some(needed) = self.acknowledged.at_or_before(applied)
            && revision < *needed
        {
            return Err(format!(
                "node {node} has applied index {applied} and is at revision {revision}, \
                 but revision {needed} was acknowledged and lies before that index"
            ));
        }
        if status.role == Role::Leader
            && self.applied_term[node] == Some(status.term)
            && let Some((needed, op)) = self.acknowledged_under.before(status.term)
            && revision < *needed
        {
            return Err(format!(
                "node {node} leads term {} at revision {revision}, \
                 but revision {needed} of operation {} was acknowledged before",
                status.term, op.0
            ));
        }
        Ok(())
    }

    fn acknowledged(&mut self, op: OpId, revision: Revision) -> Result<(), String> {
        // Under a newer leader everything acknowledged under older ones counts too.
        let older = self.acknowledged_under.before(self.newest_leader).copied();
        let newest = self.acknowledged_under.get_or_insert(self.newest_leader, (revision, op));
        *newest = (*newest).max((revision, op)).max(older.unwrap_or((revision, op)));
        let Some(reached) = self.reached.at_or_after(revision).copied() else { return Ok(()) };
        if let Some(at_least) = self.acknowledged.get_or_insert(reached.last, revision) {
            *at_least = (*at_least).max(revision);
        }
        self.acknowledged_max = self.acknowledged_max.max(revision);
        let holders = self.durable.iter().filter(|durable| **durable >= reached.first).count();
        if holders <= self.durable.len() / 2 {
            return Err(format!(
                "operation {} was acknowledged with revision {revision}, which lies at index {} or later, \
                 but only {holders} of {} members say that their log is durable up to there",
                op.0,
                reached.first,
                self.durable.len()
            ));
        }
        Ok(())
    }
}

impl Checker for Durability {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::MEMBERS.and(Interest::RETURNS)
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        let judged = match seen.what {
            Observation::Stepped { node, notes, status, view } => {
                self.stepped(node, notes.all(), status, view.revision())
            }
            Observation::Opened { node } | Observation::Crashed { node } => {
                self.applied_term[node] = None;
                self.applied[node] = LogIndex(0);
                Ok(())
            }
            Observation::Damaged { node } => {
                self.damaged[node] = true;
                Ok(())
            }
            Observation::History(HistoryEvent::Return { op, outcome: Outcome::Ok(response) })
                if has_effect(response) =>
            {
                self.acknowledged(*op, header_revision(response).unwrap_or(0))
            }
            _ => Ok(()),
        };
        judged.map_err(|detail| Violation::safety(NAME, seen.at, detail))
    }
}

#[cfg(test)]
mod tests {
    use detcd_core::digest::Digest;
    use detcd_core::types::NodeId;

    use super::*;
    use crate::check::observations::{Replica, Script, put_answered};

    fn applied(index: u64, term: u64) -> Note {
        Note::Applied { index: LogIndex(index), term: Term(term), state: Digest(0) }
    }

    fn durable(index: u64) -> Note {
        Note::Durable { index: LogIndex(index), term: Term(1), vote: NodeId(0) }
    }

    fn leads(node: u64, term: u64) -> Note {
        Note::Role { role: Role::Leader, term: Term(term), leader: NodeId(node + 1) }
    }

    fn script() -> Script {
        Script::new(Box::new(Durability::new(&CheckConfig::new(3))))
    }

    #[test]
    fn an_acknowledgement_before_a_majority_is_durable_is_a_violation() {
        let told = |holders: usize| {
            let mut run = script();
            let mut replica = Replica::new();
            for node in 1..=holders {
                run.notes(node, &[durable(1)]);
            }
            run.notes(0, &[leads(0, 1)]);
            replica.put("k", "v");
            run.view(0, replica.view()).notes(0, &[applied(1, 1)]);
            run.history(&put_answered(7, 2));
            run.verdict()
        };
        assert!(told(1).expect_err("one of three").detail.contains("only 1 of 3"));
        // The leader's own write may still be on its way.
        assert_eq!(told(2), Ok(()));
    }

    #[test]
    fn what_a_member_held_before_its_disk_was_damaged_counts() {
        let told = |damaged: bool| {
            let mut run = script();
            let mut replica = Replica::new();
            run.notes(1, &[durable(1)]).notes(2, &[durable(1)]).notes(0, &[leads(0, 1)]);
            replica.put("k", "v");
            run.view(0, replica.view()).notes(0, &[applied(1, 1)]).crash(2);
            if damaged {
                run.tell(Observation::Damaged { node: 2 });
            }
            run.open(2).notes(2, &[durable(0)]).history(&put_answered(7, 2));
            run.verdict()
        };
        assert_eq!(told(true), Ok(()));
        assert!(told(false).expect_err("it lost it").detail.contains("only 1 of 3"));
    }

    #[test]
    fn a_new_leader_without_an_acknowledged_revision_is_a_violation() {
        let told = |kept: bool, term: u64| {
            let mut run = script();
            let mut replica = Replica::new();
            let empty = replica.view();
            run.notes(1, &[durable(1)]).notes(2, &[durable(1)]).notes(0, &[leads(0, 2)]);
            replica.put("k", "v");
            run.view(0, replica.view()).notes(0, &[applied(1, 2)]);
            run.history(&put_answered(7, 2));
            run.crash(0).crash(1).open(1);
            run.view(1, if kept { replica.view() } else { empty }).term(1, term);
            run.notes(1, &[leads(1, term)]).notes(
                1,
                &[Note::Applied { index: LogIndex(if kept { 2 } else { 0 }), term: Term(term), state: Digest(0) }],
            );
            run.verdict()
        };
        assert!(told(false, 3).expect_err("lost").detail.contains("was acknowledged before"));
        assert_eq!(told(true, 3), Ok(()));
        // A leader of an older term that does not know yet that it is deposed.
        assert_eq!(told(false, 1), Ok(()));
    }

    #[test]
    fn a_member_that_applied_as_far_without_the_revision_is_a_violation() {
        let told = |index: u64| {
            let mut run = script();
            let mut replica = Replica::new();
            let empty = replica.view();
            run.notes(1, &[durable(1)]).notes(2, &[durable(1)]);
            replica.put("k", "v");
            run.view(0, replica.view()).notes(0, &[applied(1, 1)]);
            run.history(&put_answered(7, 2));
            run.view(1, empty).notes(1, &[applied(index, 1)]);
            run.verdict()
        };
        assert!(told(1).expect_err("lost").detail.contains("lies before that index"));
        assert_eq!(told(0), Ok(()));
    }
}
