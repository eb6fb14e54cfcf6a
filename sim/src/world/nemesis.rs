//! Faults strike, and end.

use super::World;
use super::ambush::Lurking;
use super::event::Event;
use super::members::Death;
use super::partition::Partition;
use crate::disk::Failing;
use crate::faults::Episode;
use crate::observe::NodeIndex;
use crate::scenario::{FaultKind, Place};
use crate::weather::{Domain, below, nth, permille};

const MS: u64 = 1_000_000;

/// What a fault does while it lasts, to be undone when it ends.
#[derive(Debug)]
pub(super) enum Struck {
    Links(Partition),
    Down(Vec<NodeIndex>),
    Paused(NodeIndex),
    WokenLate(NodeIndex),
    SlowDisk(NodeIndex),
    StalledDisk,
    StalledSync(NodeIndex),
    FullDisk(NodeIndex),
    /// The member, and whether it has halted over it.
    FailingDisk(NodeIndex, bool),
    Clock(NodeIndex),
    Loss(u64),
    Delay(u64),
    Clients(NodeIndex),
}

impl World<'_> {
    pub(super) fn fault_starts(&mut self, index: usize) {
        let fault = self.plan.faults[index];
        let found = match self.lurking.get(&index) {
            Some(Lurking::Over) => None,
            Some(Lurking::For(node)) => Some(*node),
            None => self.find(fault.place, fault.draw),
        };
        let Some(node) = found else { return };
        self.record.begin(self.now, 16, Some(node));
        self.record.number(fault.id);
        self.record.say(|| {
            let ms = (fault.end - fault.start) / MS;
            format!("FAULT {} (number {}) for {ms} ms, strength {}", fault.kind.name(), fault.id, fault.strength)
        });
        if let Some(lurking) = self.lurking.get_mut(&index) {
            *lurking = Lurking::Over;
        } else if self.lies_in_wait(node, index) {
            return;
        }
        if fault.kind == FaultKind::ClockStep {
            self.step_clock(node, fault.strength * MS);
        } else {
            let Some(struck) = self.strike(node, index) else {
                self.record.say(|| "which changes nothing".into());
                return;
            };
            self.struck[index] = Some(struck);
            self.queue.push(self.end_of(&fault), Event::FaultEnd { index });
        }
        *self.faults.entry(fault.kind.name()).or_default() += 1;
        self.core_changes();
    }

    /// The member that a fault strikes. Without a leader, any.
    fn find(&self, place: Place, draw: u64) -> Option<NodeIndex> {
        let leader = self.leader();
        if place == Place::Leader && leader.is_some() {
            return leader;
        }
        let fits = |node: &NodeIndex| place != Place::Follower || Some(*node) != leader;
        let choice: Vec<NodeIndex> = (0..self.hosts.len()).filter(fits).collect();
        let pick = usize::try_from(below(nth(draw, 0), choice.len() as u64)).expect("few members");
        choice.get(pick).copied()
    }

    /// The fault strikes; none if it changes nothing that would have to be undone.
    fn strike(&mut self, node: NodeIndex, index: usize) -> Option<Struck> {
        let fault = self.plan.faults[index];
        if fault.kind.cuts_links() {
            return self.part(node, index).map(Struck::Links);
        }
        match fault.kind {
            FaultKind::Crash => {
                let death = if permille(nth(fault.draw, 1), 750) { Death::Power } else { Death::Process };
                Some(self.take_down(vec![node], death))
            }
            FaultKind::RotTail | FaultKind::Rot | FaultKind::MisdirectedWrite => self.damage_disk(node, &fault),
            FaultKind::PowerLoss => Some(self.take_down((0..self.hosts.len()).collect(), Death::Power)),
            FaultKind::Restart => {
                if !self.hosts[node].is_up() || self.hosts[node].pauses > 0 {
                    return None;
                }
                self.hosts[node].downs += 1;
                self.ask_to_stop(node);
                Some(Struck::Down(vec![node]))
            }
            FaultKind::Pause => {
                self.hosts[node].pauses += 1;
                Some(Struck::Paused(node))
            }
            FaultKind::LateWakeups => {
                let host = &mut self.hosts[node];
                host.wake_every_ns = host.wake_every_ns.max(fault.strength * MS);
                host.wake_late_until = host.wake_late_until.max(fault.end);
                Some(Struck::WokenLate(node))
            }
            FaultKind::ClockSkew => {
                let skew_ppm = fault.strength * 1_000;
                let is_fast = permille(nth(fault.draw, 1), 500);
                let rate_ppm = if is_fast { 1_000_000 + skew_ppm } else { 1_000_000 - skew_ppm };
                self.set_clock_rate(node, rate_ppm);
                Some(Struck::Clock(node))
            }
            FaultKind::Loss => {
                self.loss_permille += fault.strength;
                self.network.set_extra_loss(self.loss_permille);
                Some(Struck::Loss(fault.strength))
            }
            FaultKind::Delay => {
                self.delay_ms += fault.strength;
                self.network.set_extra_delay(self.delay_ms * MS);
                Some(Struck::Delay(fault.strength))
            }
            FaultKind::ClientCut => {
                self.hosts[node].client_cuts += 1;
                self.break_streams_at(node);
                Some(Struck::Clients(node))
            }
            _ => Some(self.strike_disk(node, &fault)),
        }
    }

    fn strike_disk(&mut self, node: NodeIndex, fault: &Episode) -> Struck {
        let host = &mut self.hosts[node];
        match fault.kind {
            FaultKind::SlowDisk => {
                host.disk_slowness = host.disk_slowness.max(fault.strength);
                host.disk_slow_until = host.disk_slow_until.max(fault.end);
                Struck::SlowDisk(node)
            }
            FaultKind::DiskStall => {
                host.disk_stalled_until = host.disk_stalled_until.max(fault.end);
                Struck::StalledDisk
            }
            FaultKind::SyncStall => {
                host.next_sync_until = fault.end;
                Struck::StalledSync(node)
            }
            FaultKind::NoSpace => {
                host.no_space += 1;
                Struck::FullDisk(node)
            }
            FaultKind::WriteError | FaultKind::SyncError => {
                let is_sync = fault.kind == FaultKind::SyncError;
                host.disk.fail_next(Some(Failing { is_sync, reverts: permille(nth(fault.draw, 1), 500) }));
                Struck::FailingDisk(node, false)
            }
            kind => unreachable!("{} does nothing to a disk", kind.name()),
        }
    }

    pub(super) fn take_down(&mut self, nodes: Vec<NodeIndex>, death: Death) -> Struck {
        for node in &nodes {
            self.kill(*node, death);
            self.hosts[*node].downs += 1;
        }
        Struck::Down(nodes)
    }

    fn set_clock_rate(&mut self, node: NodeIndex, rate_ppm: u64) {
        let host = &mut self.hosts[node];
        host.clock.set_rate(self.now, rate_ppm);
        host.wake_at = None;
        self.plan_wakeup(node);
    }

    /// The member is woken when it is due again, unless another fault delays that.
    fn wake_in_time(&mut self, node: NodeIndex) {
        let host = &mut self.hosts[node];
        if host.wake_late_until <= self.now {
            host.wake_every_ns = 0;
            host.wake_at = None;
            self.plan_wakeup(node);
        }
    }

    fn step_clock(&mut self, node: NodeIndex, ahead_ns: u64) {
        let host = &mut self.hosts[node];
        host.clock.step(self.now, ahead_ns);
        host.wake_at = None;
        self.plan_wakeup(node);
    }

    pub(super) fn fault_ends(&mut self, index: usize) {
        let fault = self.plan.faults[index];
        let Some(struck) = self.struck[index].take() else { return };
        self.record.begin(self.now, 17, None);
        self.record.number(fault.id);
        self.record.say(|| format!("fault {} (number {}) ends", fault.kind.name(), fault.id));
        match struck {
            Struck::Links(partition) => self.unite(&partition),
            Struck::Down(nodes) => nodes.iter().for_each(|node| self.bring_up(*node)),
            Struck::Paused(node) => {
                self.hosts[node].pauses -= 1;
                if self.hosts[node].pauses == 0 {
                    self.resume(node);
                }
            }
            Struck::WokenLate(node) => self.wake_in_time(node),
            Struck::SlowDisk(node) => {
                if self.hosts[node].disk_slow_until <= self.now {
                    self.hosts[node].disk_slowness = 1;
                }
            }
            Struck::StalledDisk => {}
            Struck::StalledSync(node) => self.hosts[node].next_sync_until = 0,
            Struck::FullDisk(node) => self.hosts[node].no_space -= 1,
            Struck::FailingDisk(node, has_halted) => {
                self.hosts[node].disk.fail_next(None);
                if has_halted {
                    self.bring_up(node);
                }
            }
            Struck::Clock(node) => self.set_clock_rate(node, self.plan.clock_ppm[node]),
            Struck::Loss(permille) => {
                self.loss_permille -= permille;
                self.network.set_extra_loss(self.loss_permille);
            }
            Struck::Delay(ms) => {
                self.delay_ms -= ms;
                self.network.set_extra_delay(self.delay_ms * MS);
            }
            Struck::Clients(node) => self.hosts[node].client_cuts -= 1,
        }
        self.core_changes();
    }

    /// A member has halted over an operation that failed. It stays down as long as the fault lasts.
    pub(super) fn halted_over_disk(&mut self, node: NodeIndex) {
        let draw = self.weather.draw(Domain::Crash, &[node as u64, self.now, 1]);
        self.kill(node, if permille(draw, 300) { Death::Power } else { Death::Process });
        self.hosts[node].downs += 1;
        let mut present = self.struck.iter_mut().flatten();
        let over = present.find(|struck| matches!(struck, Struck::FailingDisk(at, false) if *at == node));
        match over {
            Some(struck) => *struck = Struck::FailingDisk(node, true),
            None => self.bring_up(node),
        }
    }

    /// One fault less keeps the member down; if it was the last one, it starts soon.
    pub(super) fn bring_up(&mut self, node: NodeIndex) {
        let host = &mut self.hosts[node];
        host.downs -= 1;
        if host.downs == 0 {
            // A member that has not stopped in time is killed, as an operator would.
            self.kill(node, Death::Process);
            let boot = self.hosts[node].boot;
            let wait_ns = below(nth(node as u64, self.now), 20 * MS);
            self.queue.push(self.now + wait_ns, Event::Start { node, boot });
        }
    }
}
