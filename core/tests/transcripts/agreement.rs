//! What no script may bring about, checked while it runs: two leaders in one term, two states at one index.

use std::collections::BTreeMap;

use detcd_core::digest::Digest;
use detcd_core::types::{LogIndex, NodeId, Term};
use detcd_core::{Note, Role};

/// What was seen so far.
#[derive(Default)]
pub struct Agreement {
    leaders: BTreeMap<Term, NodeId>,
    states: BTreeMap<LogIndex, (NodeId, Digest)>,
}

impl Agreement {
    /// Takes note of what a member did.
    ///
    /// # Errors
    /// What does not agree with what members did before.
    pub fn observe(&mut self, member: NodeId, note: &Note) -> Result<(), String> {
        match note {
            Note::Role { role: Role::Leader, term, .. } => {
                let leader = *self.leaders.entry(*term).or_insert(member);
                agree(leader == member, || format!("{leader} and {member} both lead term {term}"))
            }
            Note::Applied { index, state, .. } | Note::Installed { index, state, .. } => {
                let (first, seen) = *self.states.entry(*index).or_insert((member, *state));
                agree(seen == *state, || format!("{first} and {member} have different states at {index}"))
            }
            _ => Ok(()),
        }
    }
}

fn agree(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
