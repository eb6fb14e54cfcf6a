//! Clients' operations: on their way to a member, at its door, and back.

use detcd_core::api::validate::{Limits, validate};
use detcd_core::api::{ReadRequest, Request, Status};
use detcd_core::proto::etcdserverpb::ResponseHeader;
use detcd_core::types::CallId;
use detcd_core::{Input, Phase};

use super::client::{ATTEMPTS_MAX, Open, Role, says_nothing_was_done};
use super::event::{Answer, Departure, Event, PendingRead};
use super::open_calls::Caller;
use super::{World, describe};
use crate::history::{ClientId, HistoryEvent, OpId, Outcome};
use crate::observe::NodeIndex;
use crate::weather::{Domain, below, nth, permille};
use crate::workload::{self, OpKind};

const MS: u64 = 1_000_000;

impl World<'_> {
    /// The time of a planned operation has come.
    pub(super) fn op_due(&mut self, index: usize) {
        self.plan_op(index + 1);
        let op = &self.plan.ops[index];
        match op.kind {
            OpKind::Watch { until } => return self.open_session(index, until),
            OpKind::LockSession { .. } => return self.lock_session_due(index),
            _ => {}
        }
        let client = op.client;
        self.clients[client as usize].waiting.push_back(index);
        self.begin_next(client);
    }

    /// The client begins what it has waited to do, if it is free.
    fn begin_next(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        if state.open.is_some() {
            return;
        }
        let Some(index) = state.waiting.pop_front() else { return };
        let op = &self.plan.ops[index];
        let request = workload::request(op, &self.plan.workload, &mut state.seen);
        let (id, draw) = (OpId(op.id), op.draw);
        if permille(nth(draw, 200), 20) {
            self.hop(client, nth(draw, 201));
        }
        self.begin(client, id, draw, request);
    }

    /// The client begins an operation.
    pub(super) fn begin(&mut self, client: u32, op: OpId, draw: u64, request: Request) {
        self.record.begin(self.now, 7, None);
        self.record.number(op.0);
        self.record.request(&request);
        self.record.say(|| format!("c{client} begins op {}: {}", op.0, describe::request(&request)));
        let invoked = HistoryEvent::Invoke { op, client: ClientId(client), request };
        self.history(&invoked);
        let HistoryEvent::Invoke { request, .. } = invoked else { unreachable!("made above") };
        let open = Open { op, request, attempts: 0, draw, may_have_happened: false };
        self.clients[client as usize].open = Some(open);
        self.attempt(client);
    }

    /// The client sends its operation to its member.
    fn attempt(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        let open = state.open.as_mut().expect("an attempt is made at something");
        open.attempts += 1;
        state.attempt += 1;
        state.is_between_attempts = false;
        let (attempt, node, request) = (state.attempt, state.node, Box::new(open.request.clone()));
        state.gives_up_at = self.now + self.plan.workload.timeout_ns;
        if !state.has_timer {
            state.has_timer = true;
            self.queue.push(state.gives_up_at, Event::GiveUp { client });
        }
        let delay_ns = self.client_delay_ns(client, node, 0);
        if self.hosts[node].client_cuts == 0 {
            self.queue.push(self.now + delay_ns, Event::Arrive { client, attempt, node, request });
        }
    }

    /// How long something travels between a client and a member.
    pub(super) fn client_delay_ns(&mut self, client: u32, node: NodeIndex, direction: u64) -> u64 {
        let ms = self.now / MS;
        let position = match self.clients.get_mut(client as usize) {
            Some(state) => state.position.next(ms),
            None => 0,
        };
        let words = [u64::from(client), node as u64, direction, ms, position];
        self.plan.client_links.delay_ns(self.weather.draw(Domain::ClientLink, &words))
    }

    /// An attempt arrives at a member, or where one should be.
    pub(super) fn call_arrives(&mut self, client: u32, attempt: u64, node: NodeIndex, request: Request) {
        if self.hosts[node].client_cuts > 0 {
            return;
        }
        let boot = self.hosts[node].boot;
        let state = &mut self.clients[client as usize];
        let is_current = state.attempt == attempt && state.open.is_some();
        let stale_connection = state.node == node && state.connected.is_some_and(|connected| connected != boot);
        if !self.hosts[node].is_up() || stale_connection {
            // Who had a connection cannot know when it broke.
            let answer = if state.connected.is_some() { Answer::Reset } else { Answer::Refused };
            self.answer(client, attempt, node, answer);
            return;
        }
        if is_current {
            let open = state.open.as_mut().expect("it is current");
            open.may_have_happened = true;
            state.connected = Some(boot);
        }
        self.record.begin(self.now, 8, Some(node));
        self.record.number(u64::from(client));
        let host = &mut self.hosts[node];
        let call = host.new_call();
        host.calls.insert(call, Caller { client, attempt, arrived_at: self.now });
        self.record.say(|| format!("call {call} of c{client}"));
        if self.reads_unconfirmed(node, call, &request) {
            return;
        }
        let host = &self.hosts[node];
        let wait = std::time::Duration::from_nanos(self.plan.workload.timeout_ns);
        let deadline = host.clock.local(self.now) + wait;
        self.step(node, Input::Call { call, deadline, request });
    }

    /// Half of the reads that ask for no confirmation are answered from the published view beside the node, as a
    /// server with many threads does. Says whether this is one.
    fn reads_unconfirmed(&mut self, node: NodeIndex, call: CallId, request: &Request) -> bool {
        let Request::Range(range) = request else { return false };
        let host = &self.hosts[node];
        let Some(machine) = &host.node else { return false };
        let draw = self.weather.draw(Domain::Read, &[node as u64, self.now]);
        if !range.serializable || host.status.phase != Phase::Serving || permille(draw, 500) {
            return false;
        }
        let config = &self.plan.nodes[node];
        let result = match validate(request, &Limits::of(config)) {
            Ok(()) => {
                let header = ResponseHeader {
                    cluster_id: config.cluster_id.0,
                    member_id: config.node_id.0,
                    raft_term: host.status.term.0,
                    ..Default::default()
                };
                let (request, view) = (ReadRequest::Range(range.clone()), machine.view());
                let read = Box::new(PendingRead { request, view, header });
                let event = Event::ReadDue { node, boot: host.boot, call, read };
                self.queue.push(self.now + below(nth(draw, 0), 300_000), event);
                return true;
            }
            Err(status) => Err(status),
        };
        self.record.answer(&result);
        self.reply(node, call, Answer::Result(Box::new(result)));
        true
    }

    /// A member answers a call.
    pub(super) fn reply(&mut self, node: NodeIndex, call: CallId, answer: Answer) {
        if let Some(caller) = self.hosts[node].calls.remove(call) {
            self.answer(caller.client, caller.attempt, node, answer);
        } else if let Answer::Result(result) = answer {
            self.conversation_is_answered(node, call, result);
        }
    }

    /// An answer goes to its client.
    fn answer(&mut self, client: u32, attempt: u64, node: NodeIndex, answer: Answer) {
        let delay_ns = self.client_delay_ns(client, node, 1);
        let from = self.departure(node, delay_ns);
        self.queue.push(self.now + delay_ns, Event::Answer { client, attempt, from, answer });
    }

    /// An answer arrives at its client.
    pub(super) fn answer_arrives(&mut self, client: u32, attempt: u64, from: Departure, answer: Answer) {
        let host = &self.hosts[from.node];
        let state = &self.clients[client as usize];
        if state.attempt != attempt || state.open.is_none() || host.client_cuts > 0 {
            return;
        }
        match answer {
            Answer::Result(result) if host.let_go(&from) => {
                self.clients[client as usize].connected = Some(from.boot);
                match *result {
                    Ok(response) => self.end(client, Outcome::Ok(response)),
                    Err(status) => self.failed(client, status),
                }
            }
            Answer::Result(_) => {}
            Answer::Refused => {
                let open = self.clients[client as usize].open.as_mut().expect("checked above");
                let attempts = open.attempts;
                self.try_elsewhere(client, attempts, Status::Stopped);
            }
            Answer::Reset => self.lost_connection(client),
        }
    }

    /// The member answered with an error.
    fn failed(&mut self, client: u32, status: Status) {
        let open = self.clients[client as usize].open.as_ref().expect("an answer is for something");
        if says_nothing_was_done(status) {
            self.end(client, Outcome::Failed(status));
        } else if !open.request.is_write() {
            let attempts = open.attempts;
            self.try_elsewhere(client, attempts, status);
        } else {
            self.hop(client, 0);
            self.end(client, Outcome::Unknown);
        }
    }

    /// The connection broke while the client waited.
    fn lost_connection(&mut self, client: u32) {
        let open = self.clients[client as usize].open.as_ref().expect("somebody waits");
        let attempts = open.attempts;
        if !open.request.is_write() {
            self.try_elsewhere(client, attempts, Status::Stopped);
        } else {
            self.hop(client, 0);
            self.end(client, Outcome::Unknown);
        }
    }

    /// The client's timer rings: it waited too long for an attempt, or began another one since.
    pub(super) fn patience_ends(&mut self, client: u32) {
        let state = &mut self.clients[client as usize];
        if state.gives_up_at > self.now {
            self.queue.push(state.gives_up_at, Event::GiveUp { client });
            return;
        }
        state.has_timer = false;
        let (node, attempt) = (state.node, state.attempt);
        if state.open.is_none() || state.is_between_attempts {
            return;
        }
        if self.hosts[node].client_cuts == 0 {
            let delay_ns = self.client_delay_ns(client, node, 2);
            self.queue.push(self.now + delay_ns, Event::Hangup { node, client, attempt });
        }
        self.lost_connection(client);
    }

    /// A member learns that a client waits no longer.
    pub(super) fn hangup_arrives(&mut self, node: NodeIndex, client: u32, attempt: u64) {
        let is_it = |caller: &Caller| (caller.client, caller.attempt) == (client, attempt);
        let found = self.hosts[node].calls.iter().find(|(_, caller)| is_it(caller));
        if let Some(call) = found.map(|(call, _)| call) {
            self.hosts[node].calls.remove(call);
            self.record.begin(self.now, 9, Some(node));
            self.record.number(call.0);
            self.step(node, Input::Cancel { call });
        }
    }

    /// The client tries another member after a while, if it has not tried often enough.
    fn try_elsewhere(&mut self, client: u32, attempts: u32, status: Status) {
        let state = &mut self.clients[client as usize];
        let open = state.open.as_ref().expect("somebody waits");
        let draw = nth(open.draw, 300 + u64::from(attempts));
        if attempts >= ATTEMPTS_MAX {
            let happened = open.may_have_happened && matches!(open.request, Request::LeaseKeepAlive(_));
            let outcome = if happened { Outcome::Unknown } else { Outcome::Failed(status) };
            self.hop(client, draw);
            self.end(client, outcome);
            return;
        }
        // What still comes for this attempt comes too late.
        state.attempt += 1;
        state.is_between_attempts = true;
        let attempt = state.attempt;
        self.hop(client, draw);
        let pause_ns = 10 * MS + below(draw, 90 * MS);
        self.queue.push(self.now + pause_ns, Event::Retry { client, attempt });
    }

    pub(super) fn retry(&mut self, client: u32, attempt: u64) {
        let state = &self.clients[client as usize];
        if state.attempt == attempt && state.open.is_some() {
            self.attempt(client);
        }
    }

    /// The client turns to another member.
    fn hop(&mut self, client: u32, draw: u64) {
        let nodes = self.hosts.len();
        let state = &mut self.clients[client as usize];
        state.connected = None;
        if state.role != Role::Prober && nodes > 1 {
            let further = 1 + below(draw, nodes as u64 - 1);
            state.node = (state.node + usize::try_from(further).expect("few members")) % nodes;
        }
    }

    /// An operation has ended for its client.
    fn end(&mut self, client: u32, outcome: Outcome) {
        self.record.begin(self.now, 10, None);
        let state = &mut self.clients[client as usize];
        let open = state.open.take().expect("what ends was open");
        self.record.number(open.op.0);
        let is_ok = match &outcome {
            Outcome::Ok(response) => {
                state.learn(&open.request, response);
                true
            }
            Outcome::Failed(_) | Outcome::Unknown => false,
        };
        self.ops_acknowledged += u64::from(is_ok);
        self.record.number(u64::from(is_ok));
        self.record.say(|| format!("c{client} ends op {}: {}", open.op.0, describe::outcome(&outcome)));
        let role = state.role;
        let returned = HistoryEvent::Return { op: open.op, outcome };
        self.history(&returned);
        let HistoryEvent::Return { outcome, .. } = &returned else { unreachable!("made above") };
        match role {
            Role::Usual => self.begin_next(client),
            Role::Prober => self.probe_ended(client, is_ok),
            Role::Locker(_) | Role::Keeper(_) => self.answer_to_lock_worker(role, outcome),
        }
    }

    /// A member's process ends: its clients notice, if its machine is still there to tell them.
    pub(super) fn break_connections(&mut self, node: NodeIndex, tells: bool) {
        let calls: Vec<Caller> = self.hosts[node].calls.iter().map(|(_, caller)| *caller).collect();
        let streams: Vec<(usize, u64)> = self.hosts[node].streams.values().copied().collect();
        if tells {
            for Caller { client, attempt, .. } in calls {
                self.answer(client, attempt, node, Answer::Reset);
            }
        }
        for (session, generation) in streams {
            self.break_stream(session, generation, tells && self.hosts[node].client_cuts == 0);
        }
        self.break_conversations(node, tells);
    }
}
