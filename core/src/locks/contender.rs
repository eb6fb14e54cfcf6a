//! A contender for a lock or an election: from its lease to its turn.

use bytes::Bytes;

use super::requests::{
    enter, found_at, grant, key_of, lease_of, look, prefix_of, proclaim, resign, revision_of, revoke, txn_of, watch_key,
};
use super::{Ask, Left};
use crate::api::{Request, Response, Status};
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::watch_create_request::FilterType;
use crate::proto::mvccpb::event::EventType;
use crate::types::Revision;

/// What a contender was asking for last.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// Nothing yet.
    Outside,
    /// A lease, since the caller gave none.
    Granting,
    /// Its key, and whether that is the first one.
    Entering,
    /// Another value for its key, which was there before and had a different one.
    Proclaiming,
    /// Who is before it, and whether its own key is still there.
    Looking,
    /// Word of a deletion: of the key just before its own, or of its own.
    Waiting,
    /// That what it did is undone, before it fails.
    Undoing(Status),
    /// Nothing any more: it has won.
    Won,
    /// Nothing any more: it has failed.
    Failed,
}

/// One contender. It has won when its key is the first one below the prefix, and still the one that it entered with.
#[derive(Clone, Debug, PartialEq)]
pub struct Contender {
    prefix: Bytes,
    value: Bytes,
    lease: i64,
    /// Whether the lease was made for this contender, so that nobody else knows it.
    own_lease: bool,
    key: Bytes,
    /// The create revision of its key.
    created: Revision,
    /// The header of the answer that let it in.
    entered: Option<pb::ResponseHeader>,
    /// Whether others were before it when it entered.
    waited: bool,
    step: Step,
    /// How it fails when its key is gone.
    key_lost: Status,
}

/// What a contender has when it has won.
#[derive(Clone, Debug, PartialEq)]
pub struct Won {
    /// The header of the answer that let it in.
    pub entered: Option<pb::ResponseHeader>,
    /// The header of the answer that told that it is its turn.
    pub turn: Option<pb::ResponseHeader>,
    /// Its key.
    pub key: Bytes,
    /// Its key's create revision.
    pub created: Revision,
    /// Its key's lease.
    pub lease: i64,
}

/// A contender whose caller has gone, and that awaits one more answer.
#[derive(Debug, PartialEq)]
pub struct Pending(Contender);

impl Pending {
    /// What to undo, now that the last call has been answered.
    pub fn answered(self, result: Result<Response, Status>) -> Option<Request> {
        let mut contender = self.0;
        match (contender.step, result) {
            (Step::Granting, Ok(response)) => Some(revoke(lease_of(&response))),
            (Step::Entering, _) if contender.own_lease => Some(contender.undo()),
            // An owner's key stays: who asks again with the same lease has the lock.
            (Step::Entering, Ok(response)) => {
                contender.enter_with(&txn_of(response));
                contender.waited.then(|| contender.undo())
            }
            _ => None,
        }
    }
}

impl Contender {
    /// A contender below the prefix that belongs to `name`, with this lease; 0 lets it make one of its own.
    pub fn new(name: &[u8], lease: i64, value: Bytes, key_lost: Status) -> Contender {
        Contender {
            prefix: prefix_of(name),
            value,
            lease,
            own_lease: lease == 0,
            key: Bytes::new(),
            created: 0,
            entered: None,
            waited: false,
            step: Step::Outside,
            key_lost,
        }
    }

    /// As [`super::Conversation::begin`].
    pub fn begin(&mut self) -> Ask<Won> {
        assert_eq!(self.step, Step::Outside, "a conversation begins once");
        if self.own_lease {
            self.step = Step::Granting;
            return Ask::Call(grant());
        }
        self.enter()
    }

    /// As [`super::Conversation::answered`].
    pub fn answered(&mut self, result: Result<Response, Status>) -> Ask<Won> {
        match (self.step, result) {
            (Step::Undoing(why), _) => self.fail(why),
            (Step::Granting, Err(why)) => self.fail(why),
            // Whether it is in is unknown. With a lease of the caller's own, asking again finds out.
            (Step::Entering, Err(why)) if !self.own_lease => self.fail(why),
            (_, Err(why)) => self.undo_and_fail(why),
            (Step::Granting, Ok(response)) => {
                self.lease = lease_of(&response);
                self.enter()
            }
            (Step::Entering, Ok(response)) => self.entered(&txn_of(response)),
            (Step::Proclaiming, Ok(response)) => self.proclaimed(&txn_of(response)),
            (Step::Looking, Ok(response)) => self.looked(txn_of(response)),
            (Step::Outside | Step::Waiting | Step::Won | Step::Failed, Ok(response)) => {
                unreachable!("nothing was asked that this answers: {response:?}")
            }
        }
    }

    /// As [`super::Conversation::watched`].
    pub fn watched(&mut self, response: &pb::WatchResponse) -> Option<Ask<Won>> {
        let deleted = response.events.iter().any(|event| event.r#type() == EventType::Delete);
        // A watcher is cancelled when a compaction overtakes it.
        (self.step == Step::Waiting && (deleted || response.canceled)).then(|| self.look())
    }

    /// As [`super::Conversation::interrupted`].
    pub fn interrupted(&mut self, why: Status) -> Ask<Won> {
        self.undo_and_fail(why)
    }

    /// As [`super::Conversation::leave`].
    pub fn leave(self) -> Left {
        match self.step {
            Step::Outside | Step::Failed => Left::Nothing,
            Step::Granting | Step::Entering => Left::Undecided(Pending(self)),
            Step::Looking | Step::Waiting | Step::Undoing(_) => Left::Undo(self.undo()),
            Step::Proclaiming | Step::Won if self.waited || self.own_lease => Left::Undo(self.undo()),
            Step::Proclaiming | Step::Won => Left::Nothing,
        }
    }

    fn enter(&mut self) -> Ask<Won> {
        self.key = key_of(&self.prefix, self.lease);
        self.step = Step::Entering;
        Ask::Call(enter(&self.prefix, &self.key, &self.value, self.lease))
    }

    /// Takes note of how it came in.
    fn enter_with(&mut self, txn: &pb::TxnResponse) {
        self.created = if txn.succeeded {
            revision_of(txn.header.as_ref())
        } else {
            found_at(txn, 0).expect("the key is there, or it would have been created").create_revision
        };
        self.entered = txn.header;
        self.waited = found_at(txn, 1).is_some_and(|first| first.create_revision != self.created);
    }

    fn entered(&mut self, txn: &pb::TxnResponse) -> Ask<Won> {
        self.enter_with(txn);
        let says_otherwise = !txn.succeeded && found_at(txn, 0).is_some_and(|own| own.value != self.value);
        if says_otherwise && self.proclaims() {
            self.step = Step::Proclaiming;
            return Ask::Call(proclaim(&self.key, self.created, &self.value, self.lease));
        }
        if self.waited { self.look() } else { self.won(txn.header) }
    }

    /// Whether the value of a key that was there before matters: a lock's does not.
    fn proclaims(&self) -> bool {
        self.key_lost == Status::NotElected
    }

    fn proclaimed(&mut self, txn: &pb::TxnResponse) -> Ask<Won> {
        match (txn.succeeded, self.waited) {
            (false, _) => self.fail(self.key_lost),
            (true, true) => self.look(),
            // Nobody can have been created before it since.
            (true, false) => self.won(txn.header),
        }
    }

    fn look(&mut self) -> Ask<Won> {
        self.step = Step::Looking;
        Ask::Call(look(&self.prefix, &self.key, self.created))
    }

    fn looked(&mut self, txn: pb::TxnResponse) -> Ask<Won> {
        if found_at(&txn, 1).is_none_or(|own| own.create_revision != self.created) {
            return self.fail(self.key_lost);
        }
        let Some(before) = found_at(&txn, 0) else { return self.won(txn.header) };
        self.step = Step::Waiting;
        let from = revision_of(txn.header.as_ref()) + 1;
        let deletion = |key| watch_key(key, from, Some(FilterType::Noput));
        Ask::Watch(vec![deletion(&before.key), deletion(&self.key)])
    }

    fn won(&mut self, turn: Option<pb::ResponseHeader>) -> Ask<Won> {
        self.step = Step::Won;
        let (entered, key) = (self.entered, self.key.clone());
        Ask::Done(Ok(Won { entered, turn, key, created: self.created, lease: self.lease }))
    }

    fn undo_and_fail(&mut self, why: Status) -> Ask<Won> {
        self.step = Step::Undoing(why);
        Ask::Call(self.undo())
    }

    fn fail(&mut self, why: Status) -> Ask<Won> {
        self.step = Step::Failed;
        Ask::Done(Err(why))
    }

    fn undo(&self) -> Request {
        if self.own_lease { revoke(self.lease) } else { resign(&self.key, self.created) }
    }
}
