//! What a checker has to be told of.

use detcd_core::api::{Request, Response};

use crate::history::{HistoryEvent, Outcome};
use crate::observe::{Novelty, Observation};

/// A kind of observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A step of a member that changed nothing.
    IdleStep,
    /// A step of which there is nothing rare to note.
    PlainStep,
    /// Any other step.
    RareStep,
    /// A member is opened, crashes or is damaged, or all are healed.
    Fate,
    /// A client begins an operation that is no compaction.
    Invoke,
    /// A client asks for a compaction.
    InvokeCompaction,
    /// A client's read or write of keys is answered.
    KvAnswer,
    /// A client's operation ends otherwise.
    Return,
    /// The store reaches a revision.
    Revision,
    /// Whatever else stands in a history.
    OtherHistory,
    /// A lock worker does something that no request shows.
    Lock,
}

impl Kind {
    /// All of them, in order.
    pub const ALL: [Kind; Kind::COUNT] = [
        Kind::IdleStep,
        Kind::PlainStep,
        Kind::RareStep,
        Kind::Fate,
        Kind::Invoke,
        Kind::InvokeCompaction,
        Kind::KvAnswer,
        Kind::Return,
        Kind::Revision,
        Kind::OtherHistory,
        Kind::Lock,
    ];

    /// How many there are.
    pub const COUNT: usize = Kind::Lock as usize + 1;

    /// The kind of `what`.
    pub fn of(what: &Observation<'_>) -> Kind {
        match what {
            Observation::Stepped { notes, .. } => match notes.novelty() {
                Novelty::None => Kind::IdleStep,
                Novelty::Plain => Kind::PlainStep,
                Novelty::Rare => Kind::RareStep,
            },
            Observation::History(HistoryEvent::Invoke { request: Request::Compact(_), .. }) => Kind::InvokeCompaction,
            Observation::History(HistoryEvent::Invoke { .. }) => Kind::Invoke,
            Observation::History(HistoryEvent::Return { outcome: Outcome::Ok(response), .. }) if is_of_kv(response) => {
                Kind::KvAnswer
            }
            Observation::History(HistoryEvent::Return { .. }) => Kind::Return,
            Observation::History(HistoryEvent::Revision { .. }) => Kind::Revision,
            Observation::History(_) => Kind::OtherHistory,
            Observation::Lock(_) => Kind::Lock,
            Observation::Opened { .. }
            | Observation::Crashed { .. }
            | Observation::Damaged { .. }
            | Observation::Healed => Kind::Fate,
        }
    }
}

/// Whether this is what a read or a write of keys is answered with.
fn is_of_kv(response: &Response) -> bool {
    matches!(response, Response::Range(_) | Response::Put(_) | Response::DeleteRange(_) | Response::Txn(_))
}

/// Which kinds of observations mean something to a checker. It may be told of others, and then says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interest(u16);

impl Interest {
    /// What becomes of members.
    pub const FATES: Interest = Interest::in_kinds(&[Kind::Fate]);
    /// Steps in which something rare happened.
    pub const RARE_STEPS: Interest = Interest::in_kinds(&[Kind::RareStep]);
    /// Steps that changed something, and what becomes of members.
    pub const CHANGES: Interest = Interest::in_kinds(&[Kind::PlainStep]).and(Interest::RARE_STEPS).and(Interest::FATES);
    /// What members do, and what becomes of them.
    pub const MEMBERS: Interest = Interest::in_kinds(&[Kind::IdleStep]).and(Interest::CHANGES);
    /// How clients' operations began and ended.
    pub const OPERATIONS: Interest = Interest::in_kinds(&[Kind::Invoke, Kind::InvokeCompaction]).and(Interest::RETURNS);
    /// How clients' operations ended.
    pub const RETURNS: Interest = Interest::in_kinds(&[Kind::KvAnswer]).and(Interest::RETURNS_BUT_KV);
    /// The same without the answers to reads and writes of keys.
    pub const RETURNS_BUT_KV: Interest = Interest::in_kinds(&[Kind::Return]);
    /// What clients did and saw, and the revisions of the store, but neither how operations began that are no
    /// compactions, nor the answers to reads and writes of keys.
    pub const CLIENTS_BUT_KV: Interest =
        Interest::in_kinds(&[Kind::InvokeCompaction, Kind::Revision, Kind::OtherHistory]).and(Interest::RETURNS_BUT_KV);
    /// What clients did and saw, and the revisions of the store.
    pub const HISTORY: Interest = Interest::CLIENTS_BUT_KV.and(Interest::OPERATIONS);
    /// What clients did and saw, and what becomes of members.
    pub const CLIENTS: Interest = Interest::in_kinds(&[Kind::Lock]).and(Interest::HISTORY).and(Interest::FATES);
    /// Everything.
    pub const ALL: Interest = Interest::MEMBERS.and(Interest::CLIENTS);

    const fn in_kinds(kinds: &[Kind]) -> Interest {
        let (mut bits, mut place) = (0, 0);
        while place < kinds.len() {
            bits |= 1 << kinds[place] as u16;
            place += 1;
        }
        Interest(bits)
    }

    /// This, and `more`.
    #[must_use]
    pub const fn and(self, more: Interest) -> Interest {
        Interest(self.0 | more.0)
    }

    /// Whether observations of this kind are among it.
    pub fn includes(self, kind: Kind) -> bool {
        self.0 & 1 << kind as u16 != 0
    }

    /// Whether `what` is among it.
    pub fn covers(self, what: &Observation<'_>) -> bool {
        self.includes(Kind::of(what))
    }

    /// Whether what clients did and saw is among it, or some of that.
    pub fn needs_clients(self) -> bool {
        self.0 & Interest::HISTORY.0 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Notes;

    #[test]
    fn a_step_that_changed_nothing_is_for_those_who_want_all_steps() {
        let (status, view) = (detcd_core::NodeStatus::of_phase(detcd_core::Phase::Serving), Default::default());
        let covered = |interest: Interest, notes| {
            interest.covers(&Observation::Stepped { node: 0, notes, status: &status, view: &view })
        };
        let rare = detcd_core::Note::Mark("rare");
        let plain = detcd_core::Note::Applied {
            index: detcd_core::types::LogIndex(1),
            term: detcd_core::types::Term(1),
            state: detcd_core::digest::Digest(1),
        };
        for (notes, wanted_by) in [
            (Notes::of_idle_step(), [true, false, false, false]),
            (Notes::new(&[]), [true, true, false, false]),
            (Notes::new(&[plain]), [true, true, false, false]),
            (Notes::new(&[rare]), [true, true, true, false]),
        ] {
            let interests = [Interest::MEMBERS, Interest::CHANGES, Interest::RARE_STEPS, Interest::CLIENTS];
            assert_eq!(interests.map(|interest| covered(interest, notes)), wanted_by, "{notes:?}");
        }
    }

    #[test]
    fn answers_about_keys_are_for_those_who_want_all_returns() {
        use crate::check::observations::{answered, failed, put_answered, unknown};
        let compacted = answered(1, Response::Compact(Default::default()));
        let refused = failed(1, detcd_core::api::Status::NoSpace);
        for (event, is_of_kv) in [(put_answered(1, 2), true), (compacted, false), (refused, false), (unknown(1), false)]
        {
            let what = Observation::History(&event);
            assert!(Interest::RETURNS.covers(&what) && Interest::OPERATIONS.covers(&what), "{event:?}");
            assert_eq!(Interest::CLIENTS_BUT_KV.covers(&what), !is_of_kv, "{event:?}");
        }
    }

    #[test]
    fn everything_is_what_members_and_clients_do() {
        assert!(Kind::ALL.into_iter().all(|kind| Interest::ALL.includes(kind)));
        assert!(Kind::ALL.into_iter().map(|kind| kind as usize).eq(0..Kind::COUNT));
        assert!(Interest::CLIENTS.covers(&Observation::Healed) && Interest::MEMBERS.covers(&Observation::Healed));
        assert!(!Interest::MEMBERS.needs_clients());
        assert!([Interest::RETURNS, Interest::ALL, Interest::CLIENTS].iter().all(|some| some.needs_clients()));
    }
}
