//! Taking a lock, and giving it back.

use bytes::Bytes;

use super::contender::{Contender, Won};
use super::{Ask, Conversation, Left};
use crate::api::{Request, Response, Status};
use crate::proto::etcdserverpb as pb;
use crate::proto::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};

/// The call `Lock`: it ends when the caller owns the lock, or never will. The answer's header is that of the moment
/// at which it was known to own it.
#[derive(Debug)]
pub struct Lock(Contender);

impl Lock {
    /// The conversation about this request.
    pub fn new(request: &LockRequest) -> Lock {
        Lock(Contender::new(&request.name, request.lease, Bytes::new(), Status::LockKeyLost))
    }
}

fn locked(won: Won) -> LockResponse {
    LockResponse { header: won.turn, key: won.key }
}

impl Conversation for Lock {
    type Answer = LockResponse;

    fn begin(&mut self) -> Ask<LockResponse> {
        self.0.begin().map(locked)
    }

    fn answered(&mut self, result: Result<Response, Status>) -> Ask<LockResponse> {
        self.0.answered(result).map(locked)
    }

    fn watched(&mut self, response: pb::WatchResponse) -> Option<Ask<LockResponse>> {
        self.0.watched(&response).map(|ask| ask.map(locked))
    }

    fn interrupted(&mut self, why: Status) -> Ask<LockResponse> {
        self.0.interrupted(why).map(locked)
    }

    fn leave(self) -> Left {
        self.0.leave()
    }
}

/// The call `Unlock`: the key is deleted, whatever key it is.
#[derive(Debug)]
pub struct Unlock(UnlockRequest);

impl Unlock {
    /// The conversation about this request.
    pub fn new(request: UnlockRequest) -> Unlock {
        Unlock(request)
    }
}

impl Conversation for Unlock {
    type Answer = UnlockResponse;

    fn begin(&mut self) -> Ask<UnlockResponse> {
        let key = self.0.key.clone();
        Ask::Call(Request::DeleteRange(pb::DeleteRangeRequest { key, ..pb::DeleteRangeRequest::default() }))
    }

    fn answered(&mut self, result: Result<Response, Status>) -> Ask<UnlockResponse> {
        Ask::Done(result.map(|response| match response {
            Response::DeleteRange(deleted) => UnlockResponse { header: deleted.header },
            other => unreachable!("a deletion is answered by a deletion, not {other:?}"),
        }))
    }
}
