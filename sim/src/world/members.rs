//! Members come up, go down, stand still and go on.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use detcd_core::{HaltReason, Input, Node, Outputs};

use super::event::Event;
use super::{World, describe};
use crate::check::ViolationKind;
use crate::clock::Clock;
use crate::observe::{NodeIndex, Observation};
use crate::weather::{Domain, below, nth};

const MS: u64 = 1_000_000;

/// How a member goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The machine loses power: what was not synced is at the mercy of the weather.
    Power,
    /// The process dies; the operating system keeps what it wrote.
    Process,
}

impl World<'_> {
    /// Starts the member on what its disk holds, unless it is up, or was started since this was planned.
    pub(super) fn start(&mut self, node: NodeIndex, boot: u32) {
        let host = &mut self.hosts[node];
        if host.is_up() || host.downs > 0 || host.boot != boot {
            return;
        }
        host.boot += 1;
        let draw = self.weather.draw(Domain::Node, &[node as u64, u64::from(host.boot), 1]);
        let rate_ppm = self.plan.clock_ppm[node];
        // A clock starts anywhere: its reading means nothing.
        host.clock = Clock::new(self.now, below(draw, 1_000_000 * MS), rate_ppm);
        let mut config = self.plan.nodes[node].clone();
        config.seed = nth(config.seed, u64::from(host.boot));
        let (listing, now) = (host.disk.listing(), host.clock.local(self.now));
        self.record.begin(self.now, 6, Some(node));
        self.record.number(u64::from(host.boot));
        for (name, size) in &listing.files {
            self.record.bytes(name.as_bytes());
            self.record.number(*size);
        }
        self.record.say(|| format!("starts on {} files", listing.files.len()));
        self.observe(Observation::Opened { node });
        let mut out = Outputs::default();
        match catch_unwind(AssertUnwindSafe(|| Node::open(config, listing, now, &mut out))) {
            Ok(machine) => {
                self.hosts[node].node = Some(machine);
                self.stepped(node, &mut out);
                self.hint_peers(node, true);
            }
            Err(payload) => {
                let why = describe::panic(&*payload);
                self.fail(ViolationKind::Crash, "no-panic", format!("m{} panicked when opened: {why}", node + 1));
            }
        }
    }

    /// The member goes down, if it is up.
    pub(super) fn kill(&mut self, node: NodeIndex, death: Death) {
        if !self.hosts[node].is_up() {
            return;
        }
        self.record.say(|| format!("m{} dies ({death:?})", node + 1));
        self.break_connections(node, death == Death::Process);
        let draw = self.weather.draw(Domain::Crash, &[node as u64, self.now]);
        let odds = self.plan.disk.crash;
        let host = &mut self.hosts[node];
        host.die(self.now);
        if death == Death::Power {
            host.disk.crash(odds, draw);
        }
        self.observe(Observation::Crashed { node });
        self.hint_peers(node, false);
        self.core_changes();
    }

    /// The member has stopped cleanly: its process ends by itself.
    pub(super) fn stopped(&mut self, node: NodeIndex) {
        if self.hosts[node].stopping {
            // Effects of the same step that come after this one find nobody, as they should.
            self.kill(node, Death::Process);
        } else {
            self.fail(ViolationKind::Crash, "no-halt", format!("m{} stopped without being asked", node + 1));
        }
    }

    /// The member says that it must not go on. It may, if its disk has failed.
    pub(super) fn halted(&mut self, node: NodeIndex, reason: &HaltReason) {
        if let HaltReason::Damaged { file, offset, .. } = reason
            && !self.hosts[node].damaged_files.is_empty()
        {
            self.refused(node, reason, (file, *offset));
            return;
        }
        let is_excused = matches!(reason, HaltReason::Disk { .. }) && self.hosts[node].has_disk_failed;
        if is_excused {
            self.record.say(|| format!("m{} halts: {reason}", node + 1));
            self.mark("disk: a member halted over a failed operation");
            self.halted_over_disk(node);
        } else {
            self.fail(ViolationKind::Crash, "no-halt", format!("m{} halted: {reason}", node + 1));
        }
    }

    /// The member is asked to stop, as an operator asks.
    pub(super) fn ask_to_stop(&mut self, node: NodeIndex) {
        if self.hosts[node].is_up() && !self.hosts[node].stopping {
            self.hosts[node].stopping = true;
            self.step(node, Input::Stop);
        }
    }

    /// Peers learn that a member came or went, if they can.
    pub(super) fn hint_peers(&mut self, node: NodeIndex, up: bool) {
        for peer in 0..self.hosts.len() {
            let draw = self.weather.draw(Domain::Message, &[node as u64, peer as u64, self.now]);
            let at = self.now + MS + below(draw, 50 * MS);
            if peer != node {
                self.queue.push(at, Event::LinkHint { node: peer, peer: node, up });
            }
            if peer != node && up {
                self.queue.push(at, Event::LinkHint { node, peer, up });
            }
        }
    }

    /// Where an event waits that would happen to a member which stands still; `None` if it may happen.
    pub(super) fn waiting_room(&mut self, event: &Event) -> Option<&mut VecDeque<Event>> {
        let node = match event {
            Event::Wake { node, .. }
            | Event::ReadDue { node, .. }
            | Event::LinkHint { node, .. }
            | Event::Arrive { node, .. }
            | Event::Hangup { node, .. }
            | Event::StreamIn { node, .. }
            | Event::Conversation { node, .. } => *node,
            Event::Frame { to, .. } => *to,
            _ => return None,
        };
        let host = &mut self.hosts[node];
        (host.pauses > 0 && host.is_up()).then_some(&mut host.deferred)
    }

    /// The member goes on where it stood still.
    pub(super) fn resume(&mut self, node: NodeIndex) {
        while let Some(event) = self.hosts[node].deferred.pop_front() {
            self.queue.push(self.now, event);
        }
    }
}
