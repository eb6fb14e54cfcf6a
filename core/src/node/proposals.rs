//! Proposals of this member's clients, from the call to the applied entry.
//!
//! A proposal is named by (member, boot, sequence), which travels in the entry; whoever applies the entry finds out
//! whether one of its own calls waits for it. It is appended by the leader of *one* term, at most once: here if this
//! member leads, else by the leader it is forwarded to, which accepts it for its own term only and remembers what it
//! has accepted. Once it may have been appended it is never proposed again: its outcome is known when it is applied.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::in_order::InOrder;
use crate::time::Instant;
use crate::types::{CallId, NodeId, Term};

/// Bits of a request id that count within one boot.
const SEQUENCE_BITS: u32 = 40;

/// The id of a request: unique among all of one member's requests, in all its lives.
pub(super) fn request_id(boot: u64, sequence: u64) -> u64 {
    assert!(sequence < 1 << SEQUENCE_BITS, "a member proposes less than 2^40 times between two restarts");
    (boot << SEQUENCE_BITS) | sequence
}

/// Where a proposal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere: no leader could be asked yet, or the one of term `after` refused it and does not judge it again.
    Waiting {
        /// Only the leader of a later term may be asked, or this member itself if it leads.
        after: Term,
    },
    /// In this member's hands as leader of that term: in its log, or gathered for the next batch.
    Appended,
    /// Sent to the leader of that term, and to be sent again at that time while the term lasts.
    Forwarded {
        /// The term.
        term: Term,
        /// When to send again.
        again_at: Instant,
    },
}

impl Place {
    fn is_forwarded(self) -> bool {
        matches!(self, Place::Forwarded { .. })
    }
}

/// One proposal.
pub(super) struct Proposal {
    /// Who waits; `None` if the member itself proposed it.
    pub(super) call: Option<CallId>,
    /// The encoded `InternalRaftRequest`.
    pub(super) data: Bytes,
    /// Where it is.
    pub(super) place: Place,
}

/// This member's proposals that are not applied yet, by sequence.
#[derive(Default)]
pub(super) struct Proposals {
    last_sequence: u64,
    open: InOrder<Proposal>,
    /// Those at [`Place::Waiting`], with the term whose leader is not to be asked any more.
    waiting: InOrder<(), (Term, u64)>,
    /// Those at [`Place::Forwarded`], by the time to send them again.
    again: InOrder<(), (Instant, u64)>,
    /// How often one was at [`Place::Forwarded`] and is not there any more, or is anew.
    left_leaders: u64,
}

impl Proposals {
    /// A sequence never used in this life; read rounds and forwarded requests count with them.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.last_sequence += 1;
        self.last_sequence
    }

    /// Keeps a proposal until it is applied or refused.
    pub(super) fn insert(&mut self, sequence: u64, call: Option<CallId>, data: Bytes) {
        let before = self.open.insert(sequence, Proposal { call, data, place: Place::Waiting { after: Term(0) } });
        assert!(before.is_none(), "sequence {sequence} is used twice");
        self.waiting.insert((Term(0), sequence), ());
    }

    /// The proposal of that sequence.
    pub(super) fn get(&self, sequence: u64) -> Option<&Proposal> {
        self.open.get(sequence)
    }

    /// The proposal is somewhere else now.
    pub(super) fn place(&mut self, sequence: u64, place: Place) {
        self.placed(sequence, place);
    }

    /// The proposal goes to the leader of `term`; its data.
    pub(super) fn forward(&mut self, sequence: u64, term: Term, again_at: Instant) -> Bytes {
        self.placed(sequence, Place::Forwarded { term, again_at }).data.clone()
    }

    fn placed(&mut self, sequence: u64, place: Place) -> &Proposal {
        let proposal = self.open.get_mut(sequence).expect("only open proposals are placed");
        self.left_leaders += u64::from(proposal.place.is_forwarded());
        unlist(&mut self.waiting, &mut self.again, sequence, proposal.place);
        proposal.place = place;
        match place {
            Place::Waiting { after } => {
                self.waiting.insert((after, sequence), ());
            }
            Place::Forwarded { again_at, .. } => {
                self.again.insert((again_at, sequence), ());
            }
            Place::Appended => {}
        }
        proposal
    }

    /// The proposal is over: applied, or refused, or nobody waits for it.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Proposal> {
        let proposal = self.open.remove(sequence)?;
        self.left_leaders += u64::from(proposal.place.is_forwarded());
        unlist(&mut self.waiting, &mut self.again, sequence, proposal.place);
        Some(proposal)
    }

    /// Forgets the calls for which `wants` does not hold. One that may have been appended can still take effect.
    pub(super) fn retain(&mut self, wants: impl Fn(CallId) -> bool) {
        let unwanted = |proposal: &Proposal| proposal.call.is_some_and(|call| !wants(call));
        let over: Vec<u64> = self.open.iter().filter(|(_, p)| unwanted(p)).map(|(sequence, _)| sequence).collect();
        for sequence in over {
            self.remove(sequence);
        }
    }

    /// The sequences that the leader of `term` may be asked to propose.
    pub(super) fn waiting(&self, term: Term) -> Vec<u64> {
        let numbers = self.waiting.iter().map(|(number, ())| number);
        numbers.take_while(|(after, _)| *after < term).map(|(_, sequence)| sequence).collect()
    }

    /// All sequences that wait for a leader: for a member that leads.
    pub(super) fn all_waiting(&self) -> Vec<u64> {
        self.waiting.iter().map(|((_, sequence), ())| sequence).collect()
    }

    /// The sequences that are to be sent again by `now`, in order of their times.
    pub(super) fn due(&self, now: Instant) -> Vec<u64> {
        let numbers = self.again.iter().map(|(number, ())| number);
        numbers.take_while(|(again_at, _)| *again_at <= now).map(|(_, sequence)| sequence).collect()
    }

    /// Whether a leader was asked for that proposal, and has neither refused it nor is it applied.
    pub(super) fn is_forwarded(&self, sequence: u64) -> bool {
        self.get(sequence).is_some_and(|proposal| proposal.place.is_forwarded())
    }

    /// How often a proposal that a leader was asked for was refused, applied, forgotten or sent again: what
    /// [`Proposals::is_forwarded`] says is the same as long as this is.
    pub(super) fn left_leaders(&self) -> u64 {
        self.left_leaders
    }

    /// When the next forwarded proposal is to be sent again.
    pub(super) fn next_again(&self) -> Option<Instant> {
        self.again.first().map(|(again_at, _)| again_at)
    }

    /// Whether none waits for a leader.
    pub(super) fn none_waiting(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn unlist(
    waiting: &mut InOrder<(), (Term, u64)>,
    again: &mut InOrder<(), (Instant, u64)>,
    sequence: u64,
    place: Place,
) {
    match place {
        Place::Waiting { after } => {
            waiting.remove((after, sequence));
        }
        Place::Forwarded { again_at, .. } => {
            again.remove((again_at, sequence));
        }
        Place::Appended => {}
    }
}

/// Which proposals a leader has judged in its term, so that a message that comes twice is appended once, and a refusal
/// is final: whoever gets one may propose elsewhere.
#[derive(Default)]
pub(super) struct Judged {
    term: Term,
    by_member: BTreeMap<NodeId, Window>,
}

/// What a leader has to do with a forwarded proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is new: append it or refuse it.
    New,
    /// It was judged before; a second answer could contradict the first.
    Seen,
    /// It is for a term that this member did not lead in this life: it cannot know what became of it.
    NotMine,
}

/// The sequences judged from one life of a member: everything below `floor`, and those in `above`.
#[derive(Default)]
struct Window {
    boot: u64,
    floor: u64,
    above: InOrder<()>,
}

/// How many sequences of one member are told apart; older ones count as judged, which is safe: their sender gets no
/// answer and reports an unknown outcome.
const WINDOW: usize = 1 << 16;

impl Judged {
    /// This member begins to lead.
    pub(super) fn begin(&mut self, term: Term) {
        *self = Judged { term, by_member: BTreeMap::new() };
    }

    /// Takes note of a forwarded proposal for the leader of `term`.
    pub(super) fn judge(&mut self, term: Term, from: NodeId, boot: u64, sequence: u64) -> Verdict {
        if self.term != term || term == Term(0) {
            return Verdict::NotMine;
        }
        let window = self.by_member.entry(from).or_default();
        if boot < window.boot {
            return Verdict::Seen;
        }
        if boot > window.boot {
            *window = Window { boot, ..Window::default() };
        }
        if sequence < window.floor || window.above.insert(sequence, ()).is_some() {
            return Verdict::Seen;
        }
        if window.above.len() > WINDOW {
            let oldest = window.above.first().expect("not empty");
            window.above.remove(oldest);
            window.floor = oldest + 1;
        }
        Verdict::New
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forwarded_proposal_is_new_once_a_term() {
        let mut judged = Judged::default();
        assert_eq!(judged.judge(Term(3), NodeId(2), 1, 7), Verdict::NotMine, "a term of a former life");
        judged.begin(Term(3));
        assert_eq!(judged.judge(Term(3), NodeId(2), 1, 7), Verdict::New);
        assert_eq!(judged.judge(Term(3), NodeId(2), 1, 7), Verdict::Seen, "a duplicate");
        assert_eq!(judged.judge(Term(3), NodeId(2), 1, 5), Verdict::New, "an older one that was overtaken");
        assert_eq!(judged.judge(Term(3), NodeId(3), 1, 7), Verdict::New, "another member");
        assert_eq!(judged.judge(Term(3), NodeId(2), 2, 7), Verdict::New, "another life");
        assert_eq!(judged.judge(Term(3), NodeId(2), 1, 8), Verdict::Seen, "from a life that is over");
        assert_eq!(judged.judge(Term(4), NodeId(2), 2, 9), Verdict::NotMine);
    }

    #[test]
    fn what_fell_out_of_the_window_counts_as_judged() {
        let mut judged = Judged::default();
        judged.begin(Term(1));
        for sequence in 10..10 + WINDOW as u64 + 1 {
            assert_eq!(judged.judge(Term(1), NodeId(2), 1, sequence), Verdict::New);
        }
        assert_eq!(judged.judge(Term(1), NodeId(2), 1, 10), Verdict::Seen);
        assert_eq!(judged.judge(Term(1), NodeId(2), 1, 3), Verdict::Seen);
    }
}
