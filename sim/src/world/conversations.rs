//! The member's side of the lock service: it holds conversations over calls and watches of its own, as a server does
//! beside its node, and takes back what those leave behind who go away.

use detcd_core::api::{Code, Request, Response, Status};
use detcd_core::locks::{Ask, Conversation, Left};
use detcd_core::proto::etcdserverpb::watch_request::RequestUnion;
use detcd_core::proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use detcd_core::types::{CallId, StreamId};
use detcd_core::watch::WatchMessage;
use detcd_core::{Input, StreamOp};
use prost::Message;

use super::conversation::{Answer, State, Talk, client_of, outcome_of};
use super::event::{Event, LockAsked, LockTold, Word};
use super::session::CREDIT_BYTES;
use super::{World, describe};
use crate::history::{HistoryEvent, OpId, Outcome};
use crate::observe::NodeIndex;
use crate::weather::{Domain, below};

const MS: u64 = 1_000_000;
/// For how long it is tried to take back what a client left behind.
const UNDO_NS_MAX: u64 = 60_000 * MS;
/// How long to wait before it is tried again.
const UNDO_PAUSE_NS: u64 = 200 * MS;
/// How long it takes from the node to what holds a conversation beside it, at most.
const WORD_NS_MAX: u64 = 200_000;

impl World<'_> {
    /// Something happens to a conversation.
    pub(super) fn conversation(&mut self, node: NodeIndex, number: u64, word: Word) {
        match word {
            Word::Begins { worker, asked } => self.conversation_begins(node, number, worker, *asked),
            Word::Answered { call, result } => self.conversation_answered(node, number, call, *result),
            Word::Watched { stream, batch } => self.conversation_watched(node, number, stream, batch),
            Word::Interrupted { stream, why } => self.conversation_interrupted(node, number, stream, why),
            Word::Leaves => self.conversation_over(node, number),
            Word::Hangup => self.conversation_left(node, number),
            Word::Undo => self.conversation_undoes(node, number),
        }
    }

    fn talk(&mut self, node: NodeIndex, number: u64) -> Option<&mut Talk> {
        self.hosts[node].conversations.held.get_mut(&number)
    }

    fn take_talk(&mut self, node: NodeIndex, number: u64) -> Option<Talk> {
        self.hosts[node].conversations.held.remove(&number)
    }

    fn hold(&mut self, node: NodeIndex, number: u64, state: State, mut talk: Talk) {
        talk.state = state;
        self.hosts[node].conversations.held.insert(number, talk);
    }

    /// A conversation hears of something a little later, and of one thing after the other.
    fn tell_conversation(&mut self, node: NodeIndex, number: u64, word: Word) {
        let draw = self.weather.draw(Domain::Read, &[node as u64, self.now, number, 2]);
        let at = self.now + 1_000 + below(draw, WORD_NS_MAX);
        let Some(talk) = self.talk(node, number) else { return };
        talk.last_word_at = at.max(talk.last_word_at + 1);
        let at = talk.last_word_at;
        self.queue.push(at, Event::Conversation { node, number, word });
    }

    /// The node answers a call, if a conversation made it.
    pub(super) fn conversation_is_answered(
        &mut self,
        node: NodeIndex,
        call: CallId,
        result: Box<Result<Response, Status>>,
    ) {
        if let Some(number) = self.hosts[node].conversations.calls.remove(&call) {
            self.tell_conversation(node, number, Word::Answered { call, result });
        }
    }

    /// The node has something for a stream, if it is a conversation's.
    pub(super) fn conversation_is_told(
        &mut self,
        node: NodeIndex,
        stream: StreamId,
        word: impl FnOnce(StreamId) -> Word,
    ) {
        if let Some(number) = self.hosts[node].conversations.streams.get(&stream).copied() {
            self.tell_conversation(node, number, word(stream));
        }
    }

    fn conversation_begins(&mut self, node: NodeIndex, number: u64, worker: u32, asked: LockAsked) {
        if self.hosts[node].client_cuts > 0 {
            return;
        }
        if !self.hosts[node].is_up() {
            return self.tell_lock_worker(node, number, worker, LockTold::Refused);
        }
        let mut talk = Talk::new(worker, asked);
        let State::Held(held) = &mut talk.state else { unreachable!("it is new") };
        let ask = held.begin();
        self.hosts[node].conversations.held.insert(number, talk);
        self.conversation_asks(node, number, ask);
    }

    fn conversation_asks(&mut self, node: NodeIndex, number: u64, ask: Ask<Answer>) {
        self.tell_observer(node, number);
        match ask {
            Ask::Call(request) => self.conversation_calls(node, number, request),
            Ask::Watch(watchers) => self.conversation_watches(node, number, watchers),
            Ask::Done(answer) => {
                let Some(talk) = self.talk(node, number) else { return };
                talk.answer = Some(answer);
                self.tell_conversation(node, number, Word::Leaves);
            }
        }
    }

    /// The client is told what it is to know before the end.
    fn tell_observer(&mut self, node: NodeIndex, number: u64) {
        let Some(talk) = self.talk(node, number) else { return };
        let (worker, tells) = (talk.worker, talk.tells());
        for told in tells {
            self.tell_lock_worker(node, number, worker, told);
        }
    }

    /// A conversation calls its own member, and the history has that like the call of a client.
    fn conversation_calls(&mut self, node: NodeIndex, number: u64, request: Request) {
        let call = self.hosts[node].new_call();
        let Some(talk) = self.talk(node, number) else { return };
        let Some(op) = talk.next_op(number) else {
            return self.conversation_asks(node, number, Ask::Done(Err(Status::TooManyRequests)));
        };
        talk.call = Some((call, op));
        self.hosts[node].conversations.calls.insert(call, number);
        self.record.begin(self.now, 21, Some(node));
        self.record.number(op.0);
        self.record.number(call.0);
        self.record.request(&request);
        self.record.say(|| format!("conversation {number} begins op {}: {}", op.0, describe::request(&request)));
        let invoked = HistoryEvent::Invoke { op, client: client_of(number), request };
        self.history(&invoked);
        let HistoryEvent::Invoke { request, .. } = invoked else { unreachable!("made above") };
        let deadline = self.hosts[node].clock.local(self.now) + self.plan.nodes[node].request_timeout();
        self.step(node, Input::Call { call, deadline, request });
    }

    fn conversation_returns(&mut self, op: OpId, outcome: Outcome) {
        self.record.say(|| format!("op {} ends: {}", op.0, describe::outcome(&outcome)));
        self.history(&HistoryEvent::Return { op, outcome });
    }

    fn conversation_answered(&mut self, node: NodeIndex, number: u64, call: CallId, result: Result<Response, Status>) {
        let is_it = |asked: &mut (CallId, OpId)| asked.0 == call;
        let Some((_, op)) = self.talk(node, number).and_then(|talk| talk.call.take_if(is_it)) else { return };
        self.record.begin(self.now, 22, Some(node));
        self.record.number(op.0);
        self.record.answer(&result);
        self.conversation_returns(op, outcome_of(&result));
        let Some(mut talk) = self.take_talk(node, number) else { return };
        talk.learn(&result);
        let state = std::mem::replace(&mut talk.state, State::Over);
        match state {
            State::Held(mut held) => {
                let ask = held.answered(result);
                self.hold(node, number, State::Held(held), talk);
                self.conversation_asks(node, number, ask);
            }
            State::Pending(pending) => {
                if let Some(request) = pending.answered(result) {
                    self.undo_conversation(node, number, request, talk);
                }
            }
            State::Undoing(request, until) => match result {
                Ok(Response::Txn(done)) if done.succeeded => {
                    self.mark("lock service: a caller went away and its key was taken back");
                }
                Err(why) if may_succeed_later(why) && self.now < until => {
                    self.hold(node, number, State::Undoing(request, until), talk);
                    let at = self.now + UNDO_PAUSE_NS;
                    self.queue.push(at, Event::Conversation { node, number, word: Word::Undo });
                }
                Ok(_) | Err(_) => {}
            },
            State::Over => {}
        }
    }

    fn conversation_watches(&mut self, node: NodeIndex, number: u64, watchers: Vec<WatchCreateRequest>) {
        let stream = self.hosts[node].new_stream();
        let Some(talk) = self.talk(node, number) else { return };
        (talk.stream, talk.has_watched) = (Some(stream), true);
        self.hosts[node].conversations.streams.insert(stream, number);
        self.conversation_stream(node, stream, StreamOp::Open);
        self.conversation_stream(node, stream, StreamOp::Credit(CREDIT_BYTES));
        for watcher in watchers {
            let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(watcher)) };
            self.conversation_stream(node, stream, StreamOp::Request(create));
        }
    }

    fn conversation_stream(&mut self, node: NodeIndex, stream: StreamId, op: StreamOp) {
        self.record.begin(self.now, 23, Some(node));
        self.record.number(stream.0);
        match &op {
            StreamOp::Request(request) => self.record.message(request),
            StreamOp::Credit(bytes) => self.record.number(*bytes),
            StreamOp::Open | StreamOp::Close => {}
        }
        self.step(node, Input::Stream { stream, op });
    }

    fn conversation_watched(&mut self, node: NodeIndex, number: u64, stream: StreamId, batch: Vec<WatchMessage>) {
        let mut bytes = 0;
        for message in batch {
            let Some(talk) = self.talk(node, number).filter(|talk| talk.stream == Some(stream)) else { return };
            let State::Held(held) = &mut talk.state else { return };
            bytes += message.encoded_len() as u64;
            if let Some(ask) = held.watched(message.into_response()) {
                self.stop_watching(node, number);
                return self.conversation_asks(node, number, ask);
            }
            self.tell_observer(node, number);
        }
        if self.talk(node, number).is_some_and(|talk| talk.stream == Some(stream)) {
            self.conversation_stream(node, stream, StreamOp::Credit(bytes));
        }
    }

    fn conversation_interrupted(&mut self, node: NodeIndex, number: u64, stream: StreamId, why: Status) {
        self.hosts[node].conversations.streams.remove(&stream);
        let Some(talk) = self.talk(node, number).filter(|talk| talk.stream == Some(stream)) else { return };
        talk.stream = None;
        let State::Held(held) = &mut talk.state else { return };
        let ask = held.interrupted(why);
        self.conversation_asks(node, number, ask);
    }

    /// A conversation needs its watchers no longer.
    fn stop_watching(&mut self, node: NodeIndex, number: u64) {
        let Some(stream) = self.talk(node, number).and_then(|talk| talk.stream.take()) else { return };
        if self.hosts[node].conversations.streams.remove(&stream).is_some() {
            self.conversation_stream(node, stream, StreamOp::Close);
        }
    }

    /// A conversation needs the answer to its call no longer.
    fn stop_calling(&mut self, node: NodeIndex, number: u64) {
        let Some((call, op)) = self.talk(node, number).and_then(|talk| talk.call.take()) else { return };
        self.record.begin(self.now, 24, Some(node));
        self.record.number(op.0);
        self.conversation_returns(op, Outcome::Unknown);
        if self.hosts[node].conversations.calls.remove(&call).is_some() {
            self.step(node, Input::Cancel { call });
        }
    }

    /// The client is told how it ended.
    fn conversation_over(&mut self, node: NodeIndex, number: u64) {
        if self.talk(node, number).is_none_or(|talk| talk.answer.is_none()) {
            return;
        }
        let Some(talk) = self.take_talk(node, number) else { return };
        let worker = talk.worker;
        if let Some(told) = talk.told() {
            self.tell_lock_worker(node, number, worker, told);
        }
    }

    /// The client has gone.
    fn conversation_left(&mut self, node: NodeIndex, number: u64) {
        let Some(mut talk) = self.take_talk(node, number) else { return };
        talk.answer = None;
        let State::Held(held) = std::mem::replace(&mut talk.state, State::Over) else {
            unreachable!("a client goes once");
        };
        let left = held.leave();
        self.record.begin(self.now, 25, Some(node));
        self.record.number(number);
        self.record.say(|| format!("the client of conversation {number} has gone: {left:?}"));
        if let Left::Undecided(pending) = left {
            return self.hold(node, number, State::Pending(pending), talk);
        }
        self.hold(node, number, State::Over, talk);
        self.stop_watching(node, number);
        self.stop_calling(node, number);
        if let (Some(talk), Left::Undo(request)) = (self.take_talk(node, number), left) {
            self.undo_conversation(node, number, request, talk);
        }
    }

    fn undo_conversation(&mut self, node: NodeIndex, number: u64, request: Request, talk: Talk) {
        self.hold(node, number, State::Undoing(request, self.now + UNDO_NS_MAX), talk);
        self.conversation_undoes(node, number);
    }

    fn conversation_undoes(&mut self, node: NodeIndex, number: u64) {
        let Some(State::Undoing(request, _)) = self.talk(node, number).map(|talk| &talk.state) else { return };
        let request = request.clone();
        self.conversation_calls(node, number, request);
    }

    /// A member's process ends, and all its conversations with it.
    pub(super) fn break_conversations(&mut self, node: NodeIndex, tells: bool) {
        for (number, talk) in std::mem::take(&mut self.hosts[node].conversations).held {
            if let Some((_, op)) = talk.call {
                self.conversation_returns(op, Outcome::Unknown);
            }
            if tells && matches!(talk.state, State::Held(_)) {
                self.tell_lock_worker(node, number, talk.worker, LockTold::Reset);
            }
        }
    }
}

/// Whether it is tried again to take back what a client left behind. It does no harm twice: it names the key as it was
/// created.
fn may_succeed_later(why: Status) -> bool {
    why == Status::TooManyRequests || (why.code() == Code::Unavailable && why != Status::Stopped)
}
