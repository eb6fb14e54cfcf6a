//! What a member remembers of the conversations that it holds for the clients of its Lock and Election services.

use std::collections::BTreeMap;
use std::convert::Infallible;

use bytes::Bytes;
use detcd_core::api::{Request, Response, Status};
use detcd_core::locks::{Ask, Campaign, Conversation, Leader, Left, Lock, Observe, Pending, Proclaim, Resign, Unlock};
use detcd_core::proto::etcdserverpb::WatchResponse;
use detcd_core::proto::v3electionpb::{CampaignResponse, LeaderKey, LeaderResponse, ProclaimResponse, ResignResponse};
use detcd_core::proto::v3lockpb::{LockResponse, UnlockResponse};
use detcd_core::types::{CallId, Revision, StreamId};

use super::client::says_nothing_was_done;
use super::event::{LockAsked, LockTold};
use crate::history::{ClientId, OpId, Outcome};
use crate::workload::locks::{FIRST_SESSION, Mutex, Tried};

/// Calls of conversations are numbered from here on, and have so many numbers each.
const FIRST_CALL: u64 = 1 << 42;
const CALLS_MAX: u64 = 1 << 10;
/// In the history each conversation is a client of its own; these are numbered from here on.
const FIRST_CLIENT: u32 = 2_000_000;

/// The client that a conversation's calls are told of in the history.
pub(super) fn client_of(number: u64) -> ClientId {
    ClientId(FIRST_CLIENT + u32::try_from(number - FIRST_SESSION).expect("a number of a session"))
}

/// All that a member holds, by number, and whose its calls and its watches are. They die with its process.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    pub held: BTreeMap<u64, Talk>,
    pub calls: BTreeMap<CallId, u64>,
    pub streams: BTreeMap<StreamId, u64>,
}

impl Conversations {
    /// Whether one has to end by itself, or waits for an answer.
    pub fn has_to_end(&self) -> bool {
        self.held.values().any(|talk| !talk.is_observed() || talk.call.is_some())
    }
}

/// One conversation.
#[derive(Debug)]
pub(super) struct Talk {
    pub worker: u32,
    pub state: State,
    /// How it ended, while that waits to leave for its client.
    pub answer: Option<Result<Answer, Status>>,
    /// The call under way, and its number in the history.
    pub call: Option<(CallId, OpId)>,
    calls: u64,
    /// The stream on which it watches.
    pub stream: Option<StreamId>,
    /// When its key was created, once it knows.
    created: Revision,
    /// It has waited for others.
    pub has_watched: bool,
    /// What it is told arrives in order.
    pub last_word_at: u64,
}

/// Who still needs it.
#[derive(Debug)]
pub(super) enum State {
    /// Its client waits.
    Held(Held),
    /// Its client has gone, and the answer to its last call tells what is to be taken back.
    Pending(Pending),
    /// Its client has gone, and this is tried until then.
    Undoing(Request, u64),
    /// Nobody does.
    Over,
}

/// What it is about.
#[derive(Debug)]
pub(super) enum Held {
    Lock(Lock),
    Unlock(Unlock),
    Campaign(Campaign),
    Resign(Resign),
    Proclaim(Proclaim),
    Leader(Leader),
    Observe(Observe),
}

impl Held {
    /// Whether it is about a key of its own that may have to wait for others.
    fn contends(&self) -> bool {
        matches!(self, Held::Lock(_) | Held::Campaign(_))
    }
}

/// What a conversation gives its client in the end.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    /// The key that owns the lock.
    Key(Bytes),
    /// The same of an election, and what else it is called by.
    Elected(LeaderKey),
    /// That it is done.
    Done,
    /// Who owns the lock.
    Leader(Box<LeaderResponse>),
}

impl Talk {
    /// One that has not begun.
    pub fn new(worker: u32, asked: LockAsked) -> Talk {
        let held = match asked {
            LockAsked::Lock(request) => Held::Lock(Lock::new(&request)),
            LockAsked::Unlock(request) => Held::Unlock(Unlock::new(request)),
            LockAsked::Campaign(request) => Held::Campaign(Campaign::new(request)),
            LockAsked::Resign(request) => Held::Resign(Resign::new(request)),
            LockAsked::Proclaim(request) => Held::Proclaim(Proclaim::new(request)),
            LockAsked::Leader(request) => Held::Leader(Leader::new(request)),
            LockAsked::Observe(request) => Held::Observe(Observe::new(&request)),
        };
        Talk {
            worker,
            state: State::Held(held),
            answer: None,
            call: None,
            calls: 0,
            stream: None,
            created: 0,
            has_watched: false,
            last_word_at: 0,
        }
    }

    /// The number of its next call, if it is the conversation of this number; none if an observer has seen so much.
    pub fn next_op(&mut self, number: u64) -> Option<OpId> {
        self.calls += 1;
        let has_one = self.calls < CALLS_MAX;
        assert!(has_one || self.is_observed(), "conversation {number} does not end");
        has_one.then(|| OpId(FIRST_CALL + (number - FIRST_SESSION) * CALLS_MAX + self.calls))
    }

    /// Learns when its key was created: the first transaction of a contender's conversation asks for that.
    pub fn learn(&mut self, result: &Result<Response, Status>) {
        if let (0, State::Held(held), Ok(response)) = (self.created, &self.state, result)
            && held.contends()
            && let Tried::Owns(own) | Tried::Waits(own) = Mutex::acquired(response)
        {
            self.created = own;
        }
    }

    /// Whether its client only looks on, for as long as it likes.
    pub fn is_observed(&self) -> bool {
        matches!(self.state, State::Held(Held::Observe(_)))
    }

    /// What its client is told before it is over, in order.
    pub fn tells(&mut self) -> Vec<LockTold> {
        let State::Held(Held::Observe(observe)) = &mut self.state else { return Vec::new() };
        observe.take().into_iter().map(|leader| LockTold::Led(Box::new(leader))).collect()
    }

    /// What its client is told, now that it is over.
    pub fn told(self) -> Option<LockTold> {
        self.answer.map(|answer| match answer {
            Ok(Answer::Key(key)) => {
                LockTold::Locked { key, created: self.created, waited: self.has_watched, elected: None }
            }
            Ok(Answer::Elected(leader)) => LockTold::Locked {
                key: leader.key.clone(),
                created: leader.rev,
                waited: self.has_watched,
                elected: Some(Box::new(leader)),
            },
            Ok(Answer::Done) => LockTold::Done,
            Ok(Answer::Leader(leader)) => LockTold::Led(leader),
            Err(why) => LockTold::Failed(why),
        })
    }
}

impl From<LockResponse> for Answer {
    fn from(response: LockResponse) -> Answer {
        Answer::Key(response.key)
    }
}

impl From<CampaignResponse> for Answer {
    fn from(response: CampaignResponse) -> Answer {
        Answer::Elected(response.leader.expect("who is elected has a key"))
    }
}

impl From<UnlockResponse> for Answer {
    fn from(_: UnlockResponse) -> Answer {
        Answer::Done
    }
}

impl From<ResignResponse> for Answer {
    fn from(_: ResignResponse) -> Answer {
        Answer::Done
    }
}

impl From<ProclaimResponse> for Answer {
    fn from(_: ProclaimResponse) -> Answer {
        Answer::Done
    }
}

impl From<LeaderResponse> for Answer {
    fn from(leader: LeaderResponse) -> Answer {
        Answer::Leader(Box::new(leader))
    }
}

impl From<Infallible> for Answer {
    fn from(never: Infallible) -> Answer {
        match never {}
    }
}

/// The same of each kind of conversation.
macro_rules! of_each {
    ($held:expr, $conversation:ident => $what:expr) => {
        match $held {
            Held::Lock($conversation) => $what,
            Held::Unlock($conversation) => $what,
            Held::Campaign($conversation) => $what,
            Held::Resign($conversation) => $what,
            Held::Proclaim($conversation) => $what,
            Held::Leader($conversation) => $what,
            Held::Observe($conversation) => $what,
        }
    };
}

impl Conversation for Held {
    type Answer = Answer;

    fn begin(&mut self) -> Ask<Answer> {
        of_each!(self, held => held.begin().map(Answer::from))
    }

    fn answered(&mut self, result: Result<Response, Status>) -> Ask<Answer> {
        of_each!(self, held => held.answered(result).map(Answer::from))
    }

    fn watched(&mut self, response: WatchResponse) -> Option<Ask<Answer>> {
        of_each!(self, held => held.watched(response).map(|ask| ask.map(Answer::from)))
    }

    fn interrupted(&mut self, why: Status) -> Ask<Answer> {
        of_each!(self, held => held.interrupted(why).map(Answer::from))
    }

    fn leave(self) -> Left {
        of_each!(self, held => held.leave())
    }
}

/// How a call of a conversation ended; all of them may write.
pub(super) fn outcome_of(result: &Result<Response, Status>) -> Outcome {
    match result {
        Ok(response) => Outcome::Ok(response.clone()),
        Err(status) if says_nothing_was_done(*status) => Outcome::Failed(*status),
        Err(_) => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use detcd_core::proto::etcdserverpb as pb;
    use detcd_core::proto::v3electionpb::LeaderRequest;
    use detcd_core::proto::v3lockpb::{LockRequest, UnlockRequest};

    fn lock() -> Talk {
        Talk::new(3, LockAsked::Lock(LockRequest { name: "held/01".into(), lease: 7 }))
    }

    #[test]
    fn calls_of_conversations_have_numbers_and_clients_of_their_own() {
        let (mut one, mut other) = (lock(), lock());
        let (first, next) = (FIRST_SESSION + 5, FIRST_SESSION + 6);
        let ops: Vec<u64> = (1..CALLS_MAX).filter_map(|_| one.next_op(first)).map(|op| op.0).collect();
        assert!(ops.is_sorted_by(|a, b| a < b) && ops.last() < other.next_op(next).map(|op| op.0).as_ref());
        assert_ne!(client_of(first), client_of(next));
    }

    #[test]
    fn an_owner_is_told_its_key_and_when_that_was_created() {
        let mut talk = lock();
        let State::Held(held) = &mut talk.state else { panic!("it is held") };
        let Ask::Call(Request::Txn(enter)) = held.begin() else { panic!("it enters") };
        let header = Some(pb::ResponseHeader { revision: 9, ..Default::default() });
        let kv = detcd_core::proto::mvccpb::KeyValue { create_revision: 9, ..Default::default() };
        let first = pb::RangeResponse { kvs: vec![kv], ..Default::default() };
        let responses = [
            pb::response_op::Response::ResponsePut(pb::PutResponse::default()),
            pb::response_op::Response::ResponseRange(first),
        ];
        let responses = responses.map(|response| pb::ResponseOp { response: Some(response) }).into();
        assert_eq!(enter.success.len(), 2, "what is answered here");
        let result = Ok(Response::Txn(pb::TxnResponse { header, succeeded: true, responses }));
        talk.learn(&result);
        let State::Held(held) = &mut talk.state else { panic!("it is held") };
        let Ask::Done(answer) = held.answered(result) else { panic!("it owns the lock") };
        talk.answer = Some(answer);
        let told = talk.told();
        let Some(LockTold::Locked { key, created: 9, waited: false, elected: None }) = told else { panic!("{told:?}") };
        assert_eq!(key, Mutex::new(1, 7).key);
    }

    #[test]
    fn observers_need_not_end_but_for_a_call_and_have_so_many_of_them() {
        let mut talk = Talk::new(3, LockAsked::Observe(LeaderRequest { name: "held/01".into() }));
        let ops = std::iter::from_fn(|| talk.next_op(FIRST_SESSION)).count() as u64;
        assert_eq!(ops, CALLS_MAX - 1);
        let mut conversations = Conversations::default();
        conversations.held.insert(FIRST_SESSION, talk);
        assert!(!conversations.has_to_end());
        let observer = conversations.held.get_mut(&FIRST_SESSION).expect("held");
        observer.call = Some((CallId(1), OpId(1)));
        assert!(conversations.has_to_end(), "it may be about to be told");
        conversations.held.insert(FIRST_SESSION, lock());
        assert!(conversations.has_to_end());
    }

    #[test]
    fn who_gives_a_lock_back_is_told_so_or_why_not() {
        let end = |result: Result<Response, Status>| {
            let mut talk = Talk::new(3, LockAsked::Unlock(UnlockRequest { key: "held/01/7".into() }));
            let State::Held(held) = &mut talk.state else { panic!("it is held") };
            assert!(matches!(held.begin(), Ask::Call(Request::DeleteRange(_))));
            let Ask::Done(answer) = held.answered(result) else { panic!("it is over") };
            talk.answer = Some(answer);
            talk.told()
        };
        assert!(matches!(end(Ok(Response::DeleteRange(pb::DeleteRangeResponse::default()))), Some(LockTold::Done)));
        assert!(matches!(end(Err(Status::NoLeader)), Some(LockTold::Failed(Status::NoLeader))));
    }
}
