//! The Lock and Election services (contract, section 1.7) as conversations with a member.
//!
//! Neither service is replicated: both are recipes over keys, leases and watches, which etcd runs in the member that is
//! asked. A [`Conversation`] is one call of theirs as a state machine. It says what to [`Ask`] the member next and is
//! told what came of it; whoever drives it (the shim over its calls, a simulated client over the network) adds the
//! waiting. So a call that waits costs its state and its watchers, and no thread.
//!
//! A lock's name and a slash are a prefix. A contender creates a key of its own below it, with its lease; the key that
//! was created first owns the lock, or leads the election, for as long as it exists. The others wait for the one just
//! before them, so that nobody is woken in vain.
//!
//! Where this differs from etcd 3.7, it promises more:
//!
//! - One read tells both that nobody is before a contender and that its own key is still the one that it created; so
//!   neither a lock nor a campaign ever succeeds on a dead lease. etcd does not look at the key of a campaign.
//! - A contender whose own key goes while it waits is told so at once, not when its turn would come.
//! - A compaction that overtakes a watcher makes the conversation look again; etcd ends the call.
//! - Whoever leaves, or fails, takes back what it did: its key if it still waits, and in any case a lease that was made
//!   for this call alone, since nobody else knows it. A key that owns the lock already, under the caller's own lease,
//!   stays: a caller that asks again finds it. It is deleted only as long as it is the one that was created.

mod campaign;
mod contender;
mod leader;
mod lock;
mod observe;
mod requests;
#[cfg(test)]
mod tests;

pub use campaign::Campaign;
pub use contender::Pending;
pub use leader::{Leader, Proclaim, Resign};
pub use lock::{Lock, Unlock};
pub use observe::Observe;

use crate::api::{Request, Response, Status};
use crate::proto::etcdserverpb as pb;

/// What a conversation wants next.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask<A> {
    /// Call the member, and give the answer to [`Conversation::answered`].
    Call(Request),
    /// Open these watchers, and give each response to [`Conversation::watched`] until that asks for something else.
    /// Then they are no longer needed.
    Watch(Vec<pb::WatchCreateRequest>),
    /// It is over, with this answer for the caller.
    Done(Result<A, Status>),
}

impl<A> Ask<A> {
    /// The same with another kind of answer.
    pub fn map<B>(self, into: impl FnOnce(A) -> B) -> Ask<B> {
        match self {
            Ask::Call(request) => Ask::Call(request),
            Ask::Watch(watchers) => Ask::Watch(watchers),
            Ask::Done(result) => Ask::Done(result.map(into)),
        }
    }
}

/// What there is to do when the caller has gone away before it was told how it ended.
#[derive(Debug, PartialEq)]
pub enum Left {
    /// Nothing. An answer that is still to come does not matter.
    Nothing,
    /// Make this call; what is answered does not matter.
    Undo(Request),
    /// The answer to the last call decides.
    Undecided(Pending),
}

/// One call of the Lock or the Election service.
///
/// [`Conversation::begin`] comes first and once; then each [`Ask`] is followed by what it says. Nothing is asked any
/// more after [`Ask::Done`].
pub trait Conversation {
    /// What the caller gets in the end.
    type Answer;

    /// What to ask first.
    fn begin(&mut self) -> Ask<Self::Answer>;

    /// The member answered the last call.
    ///
    /// # Panics
    /// The answer belongs to another kind of request.
    fn answered(&mut self, result: Result<Response, Status>) -> Ask<Self::Answer>;

    /// A watcher told something. `None`: go on watching.
    fn watched(&mut self, _response: pb::WatchResponse) -> Option<Ask<Self::Answer>> {
        None
    }

    /// The member watches no more, or cannot begin to.
    fn interrupted(&mut self, why: Status) -> Ask<Self::Answer> {
        Ask::Done(Err(why))
    }

    /// The caller has gone away: before the end, or so soon after it that it was not told.
    fn leave(self) -> Left
    where
        Self: Sized,
    {
        Left::Nothing
    }
}
