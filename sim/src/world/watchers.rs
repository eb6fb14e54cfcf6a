//! Clients that watch: a stream to one member, and one or some watchers on it; when it breaks, another one elsewhere,
//! from where the last one ended.

use detcd_core::api::Status;
use detcd_core::proto::etcdserverpb::watch_request::RequestUnion;
use detcd_core::proto::etcdserverpb::{WatchProgressRequest, WatchRequest, WatchResponse};
use detcd_core::types::StreamId;
use detcd_core::watch::WatchMessage;
use detcd_core::{Input, StreamOp};
use prost::Message;

use super::World;
use super::event::{Departure, Event, StreamIn, WatchTimer, Word};
use super::session::{CREDIT_BYTES, Session, Watch};
use crate::history::{ClientId, HistoryEvent, WatcherId};
use crate::observe::NodeIndex;
use crate::weather::{Domain, below, nth};
use crate::workload;

const MS: u64 = 1_000_000;
/// Watching clients are numbered from here on.
const FIRST_WATCHING_CLIENT: u32 = 1_000_000;
/// How long a client waits for its watcher to be confirmed.
const UNANSWERED_NS: u64 = 2_500 * MS;

fn is_creation(request: &WatchRequest) -> bool {
    matches!(request.request_union, Some(RequestUnion::CreateRequest(_)))
}

impl World<'_> {
    /// A planned watch begins.
    pub(super) fn open_session(&mut self, index: usize, until: u64) {
        let op = &self.plan.ops[index];
        let (seen, load) = (&self.clients[op.client as usize].seen, &self.plan.workload);
        // Most streams have one watcher only.
        let watches = 1 + below(nth(op.draw, 40), 8).saturating_sub(5);
        let request = |n| workload::watch_create(if n == 0 { op.draw } else { nth(op.draw, 40 + n) }, load, seen);
        let watches = (0..watches).map(|n| Watch::new(request(n))).collect();
        let number = u32::try_from(op.id / 64).expect("a run has fewer operations");
        let nodes = self.hosts.len() as u64;
        let node = usize::try_from(below(nth(op.draw, 7), nodes)).expect("few members");
        self.sessions.push(Session::new(FIRST_WATCHING_CLIENT + number, op.id, op.draw, until, node, watches));
        self.open_stream(self.sessions.len() - 1);
    }

    /// The client opens a stream and asks for its first watcher; for the others a little later.
    fn open_stream(&mut self, session: usize) {
        let now = self.now;
        let state = &mut self.sessions[session];
        if state.is_used_up(now) || state.wanted() == 0 {
            state.is_over = true;
            return;
        }
        state.generation += 1;
        (state.is_open, state.stream, state.is_broken) = (true, None, false);
        state.last_arrival = now;
        let (generation, until, asks_progress) = (state.generation, state.until, state.asks_progress());
        let draw = nth(state.draw, 3_000 + generation);
        self.ask_for_watcher(session, |request| StreamIn::Open(Box::new(request)));
        for n in 0..self.sessions[session].wanted() {
            self.plan_timer(session, WatchTimer::Another, now + 20 * MS + below(nth(draw, n as u64), 400 * MS));
        }
        if until < u64::MAX && generation == 1 {
            // Seen enough is seen enough on every stream.
            self.queue.push(until, Event::Watch { session, generation: 0, timer: WatchTimer::Enough });
        }
        if asks_progress {
            self.plan_timer(session, WatchTimer::AskProgress, now + 400 * MS);
        }
    }

    /// The client asks for the next watcher that it wants.
    fn ask_for_watcher(&mut self, session: usize, way: impl FnOnce(WatchRequest) -> StreamIn) {
        let now = self.now;
        let state = &mut self.sessions[session];
        let Some((watcher, create)) = state.ask(now) else { return };
        let (client, node) = (ClientId(state.client), state.node);
        self.record.begin(now, 11, None);
        self.record.number(watcher.0);
        self.record.message(&create);
        self.record.say(|| format!("watcher {} opens at m{}: {create:?}", watcher.0, node + 1));
        self.history(&HistoryEvent::WatchOpen { watcher, client, request: create.clone() });
        let request = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        self.say_to_member(session, way(request));
        self.plan_timer(session, WatchTimer::Unanswered, now + UNANSWERED_NS);
    }

    fn plan_timer(&mut self, session: usize, timer: WatchTimer, at: u64) {
        let generation = self.sessions[session].generation;
        self.queue.push(at, Event::Watch { session, generation, timer });
    }

    /// Something goes from a watching client to its member.
    fn say_to_member(&mut self, session: usize, what: StreamIn) {
        let state = &self.sessions[session];
        let (generation, node, client) = (state.generation, state.node, state.client);
        if self.hosts[node].client_cuts == 0 && !state.is_broken {
            let at = (self.now + self.watch_delay_ns(client, node, 0)).max(state.last_sent + 1);
            self.sessions[session].last_sent = at;
            self.queue.push(at, Event::StreamIn { session, generation, node, what });
        }
    }

    /// How long something travels between a client that waits for a member's word, and the member.
    pub(super) fn watch_delay_ns(&self, client: u32, node: NodeIndex, direction: u64) -> u64 {
        let words = [u64::from(client), node as u64, direction, self.now];
        self.plan.client_links.delay_ns(self.weather.draw(Domain::ClientLink, &words))
    }

    /// Something of a watching client arrives at its member.
    pub(super) fn stream_in(&mut self, session: usize, generation: u64, node: NodeIndex, what: StreamIn) {
        if let StreamIn::Close(stream, boot) = what {
            let host = &mut self.hosts[node];
            if host.boot == boot && host.streams.remove(&stream).is_some() {
                self.record.begin(self.now, 12, Some(node));
                self.record.number(stream.0);
                self.step(node, Input::Stream { stream, op: StreamOp::Close });
            }
            return;
        }
        let state = &mut self.sessions[session];
        if state.generation != generation || state.is_broken || self.hosts[node].client_cuts > 0 {
            return;
        }
        if !self.hosts[node].is_up() {
            let at = self.now + self.watch_delay_ns(self.sessions[session].client, node, 1);
            self.plan_timer(session, WatchTimer::Broken, at);
            return;
        }
        match what {
            StreamIn::Open(request) => self.stream_opens(session, node, *request),
            StreamIn::Request(request) => self.stream_op(session, node, StreamOp::Request(*request)),
            StreamIn::Credit(bytes) => self.stream_op(session, node, StreamOp::Credit(bytes)),
            StreamIn::Close(..) => unreachable!("closing is dealt with above"),
        }
    }

    fn stream_opens(&mut self, session: usize, node: NodeIndex, request: WatchRequest) {
        let host = &mut self.hosts[node];
        let stream = host.new_stream();
        let state = &mut self.sessions[session];
        host.streams.insert(stream, (session, state.generation));
        state.stream = Some((stream, host.boot));
        let credit = state.first_credit(self.now >= self.plan.heal_at);
        for op in [StreamOp::Open, StreamOp::Credit(credit), StreamOp::Request(request)] {
            self.stream_op(session, node, op);
        }
    }

    fn stream_op(&mut self, session: usize, node: NodeIndex, op: StreamOp) {
        let Some((stream, boot)) = self.sessions[session].stream else { return };
        let host = &self.hosts[node];
        if host.boot != boot || !host.streams.contains_key(&stream) {
            return;
        }
        self.record.begin(self.now, 13, Some(node));
        self.record.number(stream.0);
        match &op {
            StreamOp::Request(request) => self.record.message(request),
            StreamOp::Credit(bytes) => self.record.number(*bytes),
            StreamOp::Open | StreamOp::Close => {}
        }
        let asks = matches!(&op, StreamOp::Request(request) if is_creation(request));
        self.step(node, Input::Stream { stream, op });
        if let (true, Some(machine)) = (asks, &self.hosts[node].node) {
            self.sessions[session].arrives(machine.view().compacted());
        }
    }

    /// A member writes to a stream.
    pub(super) fn push(&mut self, node: NodeIndex, stream: StreamId, batch: Vec<WatchMessage>) {
        let Some((session, generation)) = self.hosts[node].streams.get(&stream).copied() else {
            return self.conversation_is_told(node, stream, |stream| Word::Watched { stream, batch });
        };
        let state = &self.sessions[session];
        let delay_ns = self.watch_delay_ns(state.client, node, 2);
        let from = self.departure(node, delay_ns);
        let at = (self.now + delay_ns).max(self.sessions[session].last_arrival + 1);
        self.sessions[session].last_arrival = at;
        self.queue.push(at, Event::StreamOut { session, generation, from, batch });
    }

    /// A member ends a stream.
    pub(super) fn end_stream(&mut self, node: NodeIndex, stream: StreamId, why: Status) {
        let Some((session, generation)) = self.hosts[node].streams.remove(&stream) else {
            return self.conversation_is_told(node, stream, |stream| Word::Interrupted { stream, why });
        };
        let at = self.sessions[session].last_arrival.max(self.now) + 1;
        let from = self.departure(node, 0);
        self.queue.push(at, Event::StreamEnded { session, generation, from });
    }

    /// The end of a stream arrives at its client.
    pub(super) fn stream_ended(&mut self, session: usize, generation: u64, from: Departure) {
        if self.hosts[from.node].let_go(&from) {
            let notices = self.hosts[from.node].client_cuts == 0;
            self.break_stream(session, generation, notices);
        }
    }

    /// Responses arrive at a watching client.
    pub(super) fn stream_out(&mut self, session: usize, generation: u64, from: Departure, batch: Vec<WatchMessage>) {
        let state = &self.sessions[session];
        let gone = state.generation != generation || state.is_broken || !state.is_open;
        if gone {
            return;
        }
        let host = &self.hosts[from.node];
        if host.client_cuts > 0 || !host.let_go(&from) {
            // A later one must not arrive without this one.
            self.break_stream(session, generation, false);
            return;
        }
        let mut bytes = 0;
        for message in batch {
            bytes += message.encoded_len() as u64;
            if self.sessions[session].is_open && self.sessions[session].generation == generation {
                self.receive(session, message.into_response());
            }
        }
        let state = &self.sessions[session];
        if state.generation == generation && state.is_open {
            let is_healed = self.now >= self.plan.heal_at;
            let holds_ns = if is_healed { 0 } else { below(nth(state.draw, self.now), state.holds_credit_ns()) };
            let delay_ns = holds_ns + self.watch_delay_ns(state.client, from.node, 3);
            let what = StreamIn::Credit(bytes);
            let event = Event::StreamIn { session, generation, node: from.node, what };
            self.queue.push(self.now + delay_ns, event);
        }
    }

    fn receive(&mut self, session: usize, response: WatchResponse) {
        let now = self.now;
        for place in self.sessions[session].meant(&response) {
            let watch = &mut self.sessions[session].watches[place];
            let watcher = watch.watcher.expect("somebody receives");
            self.record.begin(now, 14, None);
            self.record.number(watcher.0);
            self.record.message(&response);
            self.record.say(|| {
                let kvs = response.events.iter().flat_map(|event| &event.kv);
                let revisions: Vec<i64> = kvs.map(|kv| kv.mod_revision).collect();
                let (created, canceled) = (response.created, response.canceled);
                format!("watcher {} gets revisions {revisions:?} created {created} canceled {canceled}", watcher.0)
            });
            if watch.learn(&response) {
                self.mark("watch: resumed across a compaction");
            }
            self.history(&HistoryEvent::WatchReceive { watcher, response: response.clone() });
            if response.canceled {
                self.canceled(session, place);
            }
        }
    }

    /// A watcher was canceled. If others are on the stream, the client stays with it; else it turns elsewhere.
    fn canceled(&mut self, session: usize, place: usize) {
        let others = self.sessions[session].watches.iter().filter(|watch| watch.watcher.is_some()).count() - 1;
        if others == 0 {
            return self.end_stream_here(session, 50 * MS);
        }
        let watcher = self.sessions[session].watches[place].lose(self.compacted).expect("it was canceled");
        self.tell_end(watcher);
        self.plan_timer(session, WatchTimer::Another, self.now + 50 * MS);
    }

    fn tell_end(&mut self, watcher: WatcherId) {
        self.record.begin(self.now, 15, None);
        self.record.number(watcher.0);
        self.record.say(|| format!("watcher {} ends", watcher.0));
        self.history(&HistoryEvent::WatchEnd { watcher });
    }

    /// The stream is over for its client, who opens another one elsewhere if it has not seen enough.
    fn end_stream_here(&mut self, session: usize, pause_ns: u64) {
        let state = &mut self.sessions[session];
        if !state.is_open {
            return;
        }
        let watchers = state.end_stream(self.compacted);
        let (node, client) = (state.node, state.client);
        let stream = state.stream.take();
        let nodes = self.hosts.len();
        state.node = (node + 1) % nodes;
        state.is_over |= state.wanted() == 0;
        let reopens = !state.is_over;
        for watcher in watchers {
            self.tell_end(watcher);
        }
        let generation = self.sessions[session].generation;
        if let Some((stream, boot)) = stream {
            // Where the client cannot be heard, the member notices by itself.
            let heard = self.hosts[node].client_cuts == 0;
            let wait_ns = if heard { self.watch_delay_ns(client, node, 4) } else { 5_000 * MS };
            let what = StreamIn::Close(stream, boot);
            self.queue.push(self.now + wait_ns, Event::StreamIn { session, generation, node, what });
        }
        if reopens {
            self.plan_timer(session, WatchTimer::Reopen, self.now + pause_ns);
        }
    }

    /// A stream breaks; its client notices at once or after a while.
    pub(super) fn break_stream(&mut self, session: usize, generation: u64, notices: bool) {
        let state = &mut self.sessions[session];
        if state.generation != generation || !state.is_open || (state.is_broken && !notices) {
            return;
        }
        state.is_broken = true;
        let draw = nth(state.draw, 1_000 + generation);
        let wait_ns = if notices { below(draw, 5 * MS) } else { 500 * MS + below(draw, 2_500 * MS) };
        self.plan_timer(session, WatchTimer::Broken, self.now + wait_ns);
    }

    /// From now on no reader lets its member wait.
    pub(super) fn read_freely(&mut self) {
        for session in 0..self.sessions.len() {
            if self.sessions[session].stream.is_some() {
                self.say_to_member(session, StreamIn::Credit(CREDIT_BYTES));
            }
        }
    }

    /// Clients can no longer reach a member: their streams there are dead, those too that are still on their way to it
    /// or wait until it goes on. Else what is sent from now on would be missing in the middle of a stream.
    pub(super) fn break_streams_at(&mut self, node: NodeIndex) {
        let sessions = self.sessions.iter().enumerate();
        let here = sessions.filter(|(_, session)| session.is_open && session.node == node);
        let here: Vec<(usize, u64)> = here.map(|(place, session)| (place, session.generation)).collect();
        for (session, generation) in here {
            self.break_stream(session, generation, false);
        }
    }

    pub(super) fn watch_timer(&mut self, session: usize, generation: u64, timer: WatchTimer) {
        if timer == WatchTimer::Enough {
            self.sessions[session].is_over = true;
            self.end_stream_here(session, 0);
            return;
        }
        let state = &self.sessions[session];
        if state.generation != generation {
            return;
        }
        let draw = nth(state.draw, 2_000 + generation);
        match timer {
            WatchTimer::Reopen if !state.is_open => self.open_stream(session),
            WatchTimer::Another if state.is_open && !state.is_broken => {
                self.ask_for_watcher(session, |request| StreamIn::Request(Box::new(request)));
            }
            WatchTimer::Unanswered if state.is_unanswered(self.now, UNANSWERED_NS) => {
                self.end_stream_here(session, below(draw, 100 * MS));
            }
            WatchTimer::Broken => self.end_stream_here(session, 10 * MS + below(draw, 200 * MS)),
            WatchTimer::AskProgress if state.is_open => {
                let request =
                    WatchRequest { request_union: Some(RequestUnion::ProgressRequest(WatchProgressRequest {})) };
                self.say_to_member(session, StreamIn::Request(Box::new(request)));
                let again_ns = 300 * MS + below(nth(draw, self.now), 2_000 * MS);
                self.plan_timer(session, WatchTimer::AskProgress, self.now + again_ns);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunOptions;
    use crate::scenario::Scenario;

    /// What is sent during a cut does not arrive. On a stream whose opening waits at a paused member it would be
    /// missing in the middle, if that went on afterwards.
    #[test]
    fn a_cut_breaks_the_streams_that_are_on_their_way_too() {
        let scenario = Scenario::parse("cut.toml", "name = \"cut\"\nwhy = \"cuts\"\nnodes = 3\n").expect("it is one");
        let mut world = World::new(&scenario, 1, &RunOptions::default(), None);
        let watches = || vec![Watch::new(Default::default())];
        world.sessions = [0, 1, 0].map(|node| Session::new(1, 7, 0, u64::MAX, node, watches())).into();
        for open in [0, 1] {
            world.sessions[open].is_open = true;
        }
        assert!(world.hosts[0].streams.is_empty(), "the member has not heard of it");
        world.break_streams_at(0);
        assert_eq!([0, 1, 2].map(|place: usize| world.sessions[place].is_broken), [true, false, false]);
    }
}
