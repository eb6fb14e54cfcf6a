//! Stepping a node through its door and performing what comes out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use detcd_core::proto::mvccpb;
use detcd_core::types::{DiskOp, Revision};
use detcd_core::{DiskAction, DiskError, DiskReply, Effect, Input, NodeStatus, Note, Outputs, Phase, Role, StoreView};

use super::event::{Answer, Departure, Event, PendingRead};
use super::{World, describe, host};
use crate::check::ViolationKind;
use crate::disk::Durable;
use crate::history::HistoryEvent;
use crate::observe::{NodeIndex, Notes, Observation, Observed};
use crate::report::MessageKey;
use crate::weather::{Domain, below, nth, permille};

/// A node that wants to be woken at once is woken this much later: time never stands still.
const WAKE_STEP_NS: u64 = 1_000;

/// The newest and the compacted revision of a store.
fn revisions(view: &StoreView) -> (Revision, Revision) {
    (view.revision(), view.compacted())
}

impl World<'_> {
    /// The node takes one input; what comes out is performed, or planned.
    pub(super) fn step(&mut self, node: NodeIndex, input: Input) {
        let host = &mut self.hosts[node];
        let Some(machine) = host.node.as_mut() else { return };
        let local = host.clock.local(self.now);
        let mut out = std::mem::take(&mut self.outputs);
        out.clear();
        self.record.say(|| describe::input(&input));
        match catch_unwind(AssertUnwindSafe(|| machine.step(local, input, &mut out))) {
            Ok(()) => self.stepped(node, &mut out),
            Err(payload) => {
                let why = describe::panic(&*payload);
                self.fail(ViolationKind::Crash, "no-panic", format!("m{} panicked: {why}", node + 1));
            }
        }
        self.outputs = out;
    }

    /// Tells the observers, performs the effects. There is one thread, so that the view need not be kept to be public
    /// from here on: who reads asks the node for it, and finds it as this step left it.
    pub(super) fn stepped(&mut self, node: NodeIndex, out: &mut Outputs) {
        let host = &mut self.hosts[node];
        let machine = host.node.as_ref().expect("only a living node steps");
        let (view, status) = (machine.view(), machine.status());
        let is_idle = out.notes.is_empty() && host.status == status && host.revisions == revisions(&view);
        self.record.status(&status);
        let notes = if is_idle { Notes::of_idle_step() } else { Notes::new(&out.notes) };
        if !is_idle {
            self.changed(node, notes, &status, &view);
        }
        let what = Observation::Stepped { node, notes, status: &status, view: &view };
        self.checkers.tell(&Observed { at: self.now, what }, &mut self.violation);
        self.perform_all(node, out);
        self.plan_wakeup(node);
    }

    /// Learns from a step of a member that left it otherwise than it was.
    fn changed(&mut self, node: NodeIndex, notes: Notes<'_>, status: &NodeStatus, view: &StoreView) {
        let host = &mut self.hosts[node];
        let was_serving = host.status.phase == Phase::Serving;
        (host.status, host.revisions) = (*status, revisions(view));
        if status.commit > self.progress.newest {
            self.progressed(status.commit);
        }
        if (status.phase == Phase::Serving) != was_serving {
            self.core_changes();
        }
        self.note_leader(node);
        self.witness(node, view);
        self.witness_compactions(notes.with_rare());
        self.learn_notes(node, notes.with_rare());
        self.record.notes(notes.all());
    }

    fn note_leader(&mut self, node: NodeIndex) {
        let status = &self.hosts[node].status;
        if status.role == Role::Leader && status.term > self.newest_term {
            if self.newest_term.0 > 0 {
                self.leader_changes += 1;
            }
            self.newest_term = status.term;
        }
    }

    /// The first replica that applies a compaction tells of it.
    fn witness_compactions(&mut self, notes: &[Note]) {
        for note in notes {
            if let Note::Compacted { revision, .. } = *note
                && revision > self.compacted
            {
                self.compacted = revision;
                self.history(&HistoryEvent::Compaction { revision });
            }
        }
    }

    /// The first replica that reaches a revision tells what happened there.
    fn witness(&mut self, node: NodeIndex, view: &StoreView) {
        let newest = view.revision();
        if newest <= self.witnessed {
            return;
        }
        let first = self.witnessed + 1;
        if view.compacted() > first {
            // Clients, and members by themselves, only compact what they saw, so what they compact was witnessed.
            let detail = format!("m{} compacted revision {first} before anybody saw it", node + 1);
            self.fail(ViolationKind::Safety, "witness", detail);
            return;
        }
        let told = view.records_between(first, newest);
        let mut told = &told[..];
        self.witnessed = newest;
        for revision in first..=newest {
            let records = told.iter().take_while(|record| record.at().revision <= revision).count();
            let (records, behind) = told.split_at(records);
            told = behind;
            let events = match records {
                // Most revisions are one event, which then needs no list to be collected in.
                [record] => Arc::new([record.to_event()]) as Arc<[mvccpb::Event]>,
                _ => records.iter().map(|record| record.to_event()).collect(),
            };
            self.history(&HistoryEvent::Revision { revision, events });
        }
    }

    /// Performs an effect, or plans its being performed.
    pub(super) fn perform(&mut self, node: NodeIndex, effect: Effect) {
        match effect {
            Effect::Send { to, frame, .. } => self.send(node, host::index(to), frame),
            Effect::Reply { call, result } => self.reply(node, call, Answer::Result(Box::new(result))),
            Effect::Read { call, request, view, header } => {
                let boot = self.hosts[node].boot;
                let draw = self.weather.draw(Domain::Read, &[node as u64, self.now, call.0]);
                let wait_ns = if permille(draw, 20) { below(nth(draw, 0), 50_000_000) } else { below(draw, 200_000) };
                let read = Box::new(PendingRead { request, view, header });
                self.queue.push(self.now + wait_ns, Event::ReadDue { node, boot, call, read });
            }
            Effect::Push { stream, batch } => self.push(node, stream, batch),
            Effect::EndStream { stream, status } => self.end_stream(node, stream, status),
            Effect::Disk { op, action } => self.disk(node, op, action),
            Effect::Discard(garbage) => drop(garbage),
            Effect::Stopped => self.stopped(node),
            Effect::Halt(reason) => self.halted(node, &reason),
        }
    }

    /// A departure from a member's present life after a small part of a journey of `journey_ns`.
    pub(super) fn departure(&self, node: NodeIndex, journey_ns: u64) -> Departure {
        Departure { node, boot: self.hosts[node].boot, at: self.now + journey_ns / 16 }
    }

    fn send(&mut self, from: NodeIndex, to: NodeIndex, frame: bytes::Bytes) {
        self.messages += 1;
        let (fate, position) = self.network.fate(from, to, self.now);
        if self.record_fates {
            self.fates.insert(MessageKey { from, to, ms: self.now / 1_000_000, position }, fate);
        }
        if fate.lost || self.network.is_cut(from, to) {
            self.record.say(|| "which is lost".into());
            return;
        }
        let departure = self.departure(from, fate.delay_ns);
        if fate.doubled {
            let echo_ns = fate.delay_ns + self.network.echo_delay_ns(from, to, self.now, fate);
            let again = Event::Frame { from: departure, to, frame: frame.clone() };
            self.queue.push(self.now + echo_ns, again);
        }
        self.queue.push(self.now + fate.delay_ns, Event::Frame { from: departure, to, frame });
    }

    pub(super) fn frame_arrives(&mut self, from: Departure, to: NodeIndex, frame: bytes::Bytes) {
        let arrives =
            self.hosts[to].is_up() && self.hosts[from.node].let_go(&from) && !self.network.is_cut(from.node, to);
        if arrives {
            self.record.begin(self.now, 1, Some(to));
            // What the frame says was rolled in when it was sent.
            self.record.numbers([from.node as u64, from.at, frame.len() as u64]);
            self.step(to, Input::Peer { from: host::id(from.node), frame });
        }
    }

    pub(super) fn hint_arrives(&mut self, node: NodeIndex, peer: NodeIndex, up: bool) {
        if self.hosts[node].is_up() && self.hosts[peer].is_up() == up && !self.network.is_cut(peer, node) {
            self.record.begin(self.now, 2, Some(node));
            self.record.number(peer as u64);
            self.record.number(u64::from(up));
            self.step(node, Input::Link { peer: host::id(peer), up });
        }
    }

    fn disk(&mut self, node: NodeIndex, op: DiskOp, action: DiskAction) {
        let class = match &action {
            DiskAction::Sync { .. } | DiskAction::SyncDir { .. } => 1,
            _ => 0,
        };
        if self.hosts[node].ambush.is_some() {
            self.spring_ambush(node, &action);
        }
        let host = &mut self.hosts[node];
        let done = host.disk.issue(action, host.no_space == 0);
        let ms = self.now / 1_000_000;
        let position = host.disk_position.next(ms);
        let draw = self.weather.draw(Domain::Disk, &[node as u64, class, ms, position]);
        let odds = &self.plan.disk;
        let usual_ns = if class == 1 { odds.sync_ns } else { odds.access_ns };
        let tail_ns = if permille(nth(draw, 0), odds.tail_permille) { below(nth(draw, 1), odds.tail_ns) } else { 0 };
        let usually_ns = 1_000 + below(nth(draw, 2), usual_ns) + tail_ns;
        // What a slow disk has begun it ends soon after it is fast again.
        let slow_ns = host.disk_slow_until.saturating_sub(self.now) + usually_ns;
        let mut takes_ns = (usually_ns * host.disk_slowness).min(slow_ns);
        if class == 1 && host.next_sync_until > self.now {
            takes_ns += host.next_sync_until - self.now;
            host.next_sync_until = 0;
        }
        let boot = host.boot;
        let event = Event::DiskDone { node, boot, op, reply: done.reply, durable: done.durable };
        self.queue.push(self.now + takes_ns, event);
    }

    pub(super) fn disk_done(
        &mut self,
        node: NodeIndex,
        boot: u32,
        op: DiskOp,
        result: Result<DiskReply, DiskError>,
        durable: Option<Durable>,
    ) {
        let host = &mut self.hosts[node];
        if host.boot != boot || !host.is_up() {
            return;
        }
        if host.disk_stalled_until > self.now {
            let wait_ns = nth(op.0, self.now) % 1_000_000;
            let at = host.disk_stalled_until + wait_ns;
            self.queue.push(at, Event::DiskDone { node, boot, op, reply: result, durable });
            return;
        }
        if let Some(durable) = &durable {
            host.disk.complete(durable);
        }
        if host.pauses > 0 {
            let durable = durable.filter(|durable| matches!(durable, Durable::Dropped { .. }));
            host.deferred.push_back(Event::DiskDone { node, boot, op, reply: result, durable });
            return;
        }
        let is_failed = matches!(durable, Some(Durable::Dropped { .. }));
        if is_failed {
            self.hosts[node].has_disk_failed = true;
        }
        self.record.begin(self.now, 3, Some(node));
        self.record.number(op.0);
        match &result {
            Ok(DiskReply::Done) => self.record.number(0),
            Ok(DiskReply::Data(bytes)) => self.record.bytes(bytes),
            Err(error) => self.record.bytes(format!("{error:?}").as_bytes()),
        }
        self.step(node, Input::DiskDone { op, result });
        if is_failed && self.hosts[node].boot == boot && self.hosts[node].is_up() {
            // What failed once is never known to be durable, whatever a second try says.
            self.fail(ViolationKind::Safety, "no-halt", format!("m{} went on after disk {op} had failed", node + 1));
        }
    }

    /// Plans the wake-up that the node asks for, if it is earlier than the one that is planned.
    pub(super) fn plan_wakeup(&mut self, node: NodeIndex) {
        let host = &mut self.hosts[node];
        let Some(machine) = host.node.as_ref() else { return };
        let at = host.clock.when(machine.next_wakeup().at);
        if at == u64::MAX {
            return;
        }
        let mut at = at.max(self.now + WAKE_STEP_NS);
        if host.wake_every_ns > 0 {
            at = at.next_multiple_of(host.wake_every_ns);
        }
        if host.wake_at.is_none_or(|planned| at < planned) {
            host.wake_at = Some(at);
            host.wake_token += 1;
            self.queue.push(at, Event::Wake { node, token: host.wake_token });
        }
    }

    pub(super) fn wake(&mut self, node: NodeIndex, token: u64) {
        let host = &mut self.hosts[node];
        if host.wake_token != token {
            return;
        }
        host.wake_at = None;
        let Some(machine) = host.node.as_ref() else { return };
        let wakeup = machine.next_wakeup();
        if host.clock.local(self.now) < wakeup.at {
            self.plan_wakeup(node);
            return;
        }
        self.record.begin(self.now, 5, Some(node));
        self.record.say(|| format!("to {}", wakeup.why));
        self.step(node, Input::Wakeup);
    }
}
