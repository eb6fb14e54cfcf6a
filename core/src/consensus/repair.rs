//! Repair: what a member does that may have lost entries which it had acknowledged.
//!
//! # What was lost, and what was not
//!
//! The log had a tail that no crash can have torn, so it was whole once, and it is cut off (see [`crate::wal`]). With
//! it go entries, and the hard states that stood among them. But a durable mark bounds the terms: the member did
//! nothing in a term later than `L` ([`crate::wal::Recovered::lost_until`]), neither voted nor acknowledged, and no
//! message of such a term left it. So it goes on in a term after `L`, written down before it is opened, and whatever
//! it may have promised in terms up to `L` it is never asked about again: a message of such a term is old to it.
//!
//! # What it must not do, and why
//!
//! Call an entry *at stake* if it was committed in a term up to `L` by a quorum that counted this member's copy, which
//! may be gone. (That includes commits that a leader makes after the loss, by an acknowledgement from before it.) The
//! election restriction (Raft thesis, section 3.6.1) relies on each voter of such a quorum to refuse candidates that
//! lack the entry. This member cannot: it does not know the entry any more. So it does not vote, neither really nor in
//! a pre-vote, it does not campaign, and it takes no leadership, until it has the entry back.
//!
//! Let `C` be a quorum that committed an entry at stake, and `Q` the quorum that elects a leader of a term after `L`
//! while this member does not vote. `Q` and `C` have a member in common, and it is another one. It had the entry before
//! it voted: had it voted first, it would have been in the later term and would have refused the entry's leader. So
//! the first leader after `L` has every entry at stake, and so have all that follow, by the usual induction.
//!
//! # When it is over
//!
//! When an entry of a term after `L` is durable here. The leader of that term appended it behind everything it had,
//! and what is before it in this log is what is before it in the leader's (log matching, section 3.5). So nothing is at
//! stake any more, and this member's vote is worth what any vote is. The state needs no trace of its own for this: the
//! durable mark says `L`, the log says the term of its last entry, and a restart compares the two again.
//!
//! # What it may do
//!
//! It acknowledges entries of leaders of terms after `L`, as they become durable: such a leader counts copies only for
//! entries of its own term (section 3.6.2), and who has one of those has all before it. It confirms such a leader's
//! reads: who replaces that leader needs a quorum without this member, or one of its later votes. A leader of a term
//! up to `L` gets neither; it learns of the later term and steps down (so raft-rs answers with pre-vote or
//! check-quorum). That one disturbance is needed: such a leader believes that this member still has what it once
//! acknowledged, and would never send it again.
//!
//! Alone, or with one other voter, nobody could be elected without this member, so it would wait for ever: such a
//! member is not opened. And if so many voters lose their tails at once that the others are no quorum, there is no
//! leader until an operator decides; the entries may indeed be gone. "Protocol-Aware Recovery for Consensus-Based
//! Storage" (Alagappan and others, FAST 2018) waits in that case too; it asks the others about each lost entry, where
//! this takes the whole tail from a leader.

use raft::eraftpb::MessageType;

use crate::log::ConfState;
use crate::types::Term;

/// Whether a member may vote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Repair {
    lost_until: Option<Term>,
}

impl Repair {
    /// Of a member that may have lost what it acknowledged in terms up to this one.
    pub(super) fn of(lost_until: Option<Term>) -> Repair {
        Repair { lost_until }
    }

    /// Whether there may be entries at stake.
    pub(super) fn is_needed(self) -> bool {
        self.lost_until.is_some()
    }

    /// Whether a message of this kind may be taken.
    pub(super) fn allows(self, kind: i32) -> bool {
        let asks_for_more = [MessageType::MsgRequestVote, MessageType::MsgRequestPreVote, MessageType::MsgTimeoutNow];
        !self.is_needed() || asks_for_more.iter().all(|asking| kind != *asking as i32)
    }

    /// An entry of this term is durable, as the last one.
    pub(super) fn on_durable(&mut self, last_term: Term) {
        if self.lost_until.is_some_and(|lost| last_term > lost) {
            self.lost_until = None;
        }
    }
}

impl ConfState {
    /// Whether a leader can be elected without one of the voters.
    pub(crate) fn elects_without_one(&self) -> bool {
        let elects = |voters: &[_]| voters.len() > 2;
        elects(&self.voters) && (self.voters_outgoing.is_empty() || elects(&self.voters_outgoing))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_entry_of_a_later_term_ends_it() {
        let mut repair = Repair::of(Some(Term(7)));
        for (last_term, is_needed) in [(1, true), (7, true), (8, false), (3, false)] {
            repair.on_durable(Term(last_term));
            assert_eq!(repair.is_needed(), is_needed, "after an entry of term {last_term}");
        }
        assert!(!Repair::of(None).is_needed());
    }

    #[test]
    fn nobody_gets_a_vote_and_everybody_gets_an_answer() {
        let asking = |kind: MessageType| kind as i32;
        let repair = Repair::of(Some(Term(7)));
        for kind in [MessageType::MsgRequestVote, MessageType::MsgRequestPreVote, MessageType::MsgTimeoutNow] {
            assert!(!repair.allows(asking(kind)) && Repair::of(None).allows(asking(kind)));
        }
        assert!(repair.allows(asking(MessageType::MsgAppend)) && repair.allows(asking(MessageType::MsgHeartbeat)));
    }

    #[test]
    fn a_leader_without_one_voter_needs_two_others() {
        let conf = |voters: u64, before: u64| {
            let ids = |count: u64| (1..=count).map(crate::types::NodeId).collect();
            ConfState { voters: ids(voters), voters_outgoing: ids(before), ..ConfState::default() }
        };
        assert!(conf(3, 0).elects_without_one() && conf(5, 3).elects_without_one());
        for alone in [conf(0, 0), conf(1, 0), conf(2, 0), conf(3, 2)] {
            assert!(!alone.elects_without_one());
        }
    }
}
