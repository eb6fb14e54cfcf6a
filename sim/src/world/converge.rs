//! After the faults: a core of the cluster has to converge, and everything that was begun has to end.

use detcd_core::{Phase, Role};

use super::World;
use super::client::{self, Client};
use super::event::Event;
use super::host::Host;
use crate::check::ViolationKind;
use crate::history::OpId;
use crate::observe::{NodeIndex, Observation};
use crate::weather::nth;
use crate::workload;

const MS: u64 = 1_000_000;
/// How often it is looked whether the core has converged.
const CHECK_EVERY_NS: u64 = 100 * MS;
/// For so long everything has to stay as it is, so that what is on its way arrives.
const SETTLED_NS: u64 = 3_000 * MS;
/// Clients begin what they had not yet begun when faults ended for so long; what is left then is not begun any more.
const BACKLOG_NS: u64 = 10_000 * MS;
/// What has to happen for a client once the core has converged has to happen within this time.
pub(super) const SETTLE_WITHIN_NS: u64 = 2_500 * MS;
/// Probes are numbered from here on.
const FIRST_PROBE: u64 = 1 << 40;

#[derive(Debug, Default)]
pub(super) struct Convergence {
    /// Which probers have not yet written and read.
    to_probe: Vec<u32>,
    probes_made: u64,
    /// Since when everything is as it has to be.
    settled_since: Option<u64>,
    /// Why nothing has to happen any more, if so.
    pub entitled: Option<String>,
}

impl World<'_> {
    /// Faults have ended; who is not of the core stays cut off.
    pub(super) fn heal(&mut self) {
        self.record.begin(self.now, 18, None);
        self.record.say(|| "HEALED: from here on the core has to converge".into());
        let nodes = self.hosts.len();
        if !self.is_quorum(|node| self.plan.core[node] && self.hosts[node].refusal.is_none()) {
            self.plan.core.fill(true);
        }
        let left_behind: Vec<NodeIndex> = (0..nodes).filter(|node| !self.plan.core[*node]).collect();
        for left in left_behind {
            for other in (0..nodes).filter(|other| *other != left) {
                self.network.cut(left, other);
                self.network.cut(other, left);
            }
            self.hosts[left].client_cuts += 1;
            self.break_streams_at(left);
        }
        self.core_changes();
        self.observe(Observation::Healed);
        self.read_freely();
        let can_start = |client: &Client| self.hosts[client.node].refusal.is_none();
        let probers = (0u32..).zip(&self.clients).filter(|(_, client)| client.role == client::Role::Prober);
        self.convergence.to_probe = probers.filter(|(_, prober)| can_start(prober)).map(|(n, _)| n).collect();
        for prober in self.convergence.to_probe.clone() {
            self.probe(prober);
        }
        self.queue.push(self.now + CHECK_EVERY_NS, Event::Check);
    }

    /// A member stays down for good: nobody waits for it, and if too many do, nobody waits for anything.
    pub(super) fn do_without(&mut self, node: NodeIndex) {
        let clients = &self.clients;
        self.convergence.to_probe.retain(|prober| clients[*prober as usize].node != node);
        if !self.is_quorum(|node| self.hosts[node].refusal.is_none()) {
            self.is_entitled("refuse to start", |host| host.refusal.is_some());
        }
    }

    fn is_quorum(&self, counts: impl Fn(NodeIndex) -> bool) -> bool {
        self.is_majority((0..self.hosts.len()).filter(|node| counts(*node)).count())
    }

    /// A correct system could not go on either: the run is over.
    fn is_entitled(&mut self, what: &str, who: impl Fn(&Host) -> bool) {
        let members: Vec<String> =
            (1..).zip(&self.hosts).filter(|(_, host)| who(host)).map(|(n, _)| format!("m{n}")).collect();
        let why = format!("entitled to be stuck: {} {what}, and the others are no quorum", members.join(", "));
        self.record.say(|| why.clone());
        self.mark("run: entitled to be stuck");
        self.convergence.entitled = Some(why);
        self.is_over = true;
    }

    /// The prober writes, which proves that its member can get something committed and applied.
    fn probe(&mut self, prober: u32) {
        self.convergence.probes_made += 1;
        let op = FIRST_PROBE + self.convergence.probes_made;
        let node = self.clients[prober as usize].node as u64;
        let alarms = self.plan.workload.mix.alarm > 0 || self.plan.has_quota();
        let request = if alarms { workload::probe_alarm(node + 1) } else { workload::probe_put(op) };
        self.begin(prober, OpId(op), nth(op, 0), request);
    }

    /// A probe has ended.
    pub(super) fn probe_ended(&mut self, prober: u32, is_ok: bool) {
        if is_ok {
            self.convergence.to_probe.retain(|other| *other != prober);
        }
    }

    pub(super) fn check_convergence(&mut self) {
        if self.now >= self.plan.heal_at + BACKLOG_NS {
            self.clients.iter_mut().for_each(|client| client.waiting.clear());
        }
        match self.unsettled() {
            None => {
                let since = *self.convergence.settled_since.get_or_insert(self.now);
                if self.now >= since + SETTLED_NS {
                    self.is_over = true;
                    return;
                }
            }
            Some(why) => {
                self.convergence.settled_since = None;
                if self.now >= self.plan.heal_at + self.plan.converge_within_ns {
                    // A member in repair has no vote, and if the others elect nobody it gets none.
                    let is_lost = |host: &Host| host.refusal.is_some() || host.status.phase == Phase::Repairing;
                    if !self.is_quorum(|node| !is_lost(&self.hosts[node])) {
                        self.is_entitled("have lost what they had acknowledged", is_lost);
                        return;
                    }
                    let after_ms = self.plan.converge_within_ns / MS;
                    self.fail(ViolationKind::Liveness, "convergence", format!("{after_ms} ms after all faults: {why}"));
                    return;
                }
            }
        }
        let probers = self.convergence.to_probe.clone();
        for prober in probers {
            if self.clients[prober as usize].open.is_none() {
                self.probe(prober);
            }
        }
        self.queue.push(self.now + CHECK_EVERY_NS, Event::Check);
    }

    /// The first thing that is not yet as it has to be.
    fn unsettled(&self) -> Option<String> {
        let waits_for = |node: &NodeIndex| self.plan.core[*node] && self.hosts[*node].refusal.is_none();
        let core: Vec<NodeIndex> = (0..self.hosts.len()).filter(waits_for).collect();
        for &node in &core {
            let phase = self.hosts[node].status.phase;
            if phase != Phase::Serving {
                return Some(format!("m{} is {phase:?}", node + 1));
            }
        }
        let leads = |node: &NodeIndex| self.hosts[*node].status.role == Role::Leader;
        let Some(leader) = core.iter().copied().filter(leads).max_by_key(|node| self.hosts[*node].status.term) else {
            return Some("nobody leads".into());
        };
        let head = self.hosts[leader].status;
        for &node in &core {
            let status = self.hosts[node].status;
            let has = (status.term, status.leader, status.applied, status.commit, status.last, status.state);
            if has != (head.term, head.leader, head.last, head.last, head.last, head.state) {
                return Some(format!("m{} differs from the leader m{}: {status:?} {head:?}", node + 1, leader + 1));
            }
        }
        if let Some(prober) = self.convergence.to_probe.first() {
            let node = self.clients[*prober as usize].node;
            return Some(format!("nobody can write at m{}", node + 1));
        }
        let busy = self.clients.iter().position(|client| !client.is_idle());
        if let Some(client) = busy {
            let op = self.clients[client].open.as_ref().map_or(0, |open| open.op.0);
            return Some(format!("client {client} still waits for operation {op}"));
        }
        if let Some(worker) = self.workers.iter().position(|worker| worker.session.is_some()) {
            return Some(format!("lock worker {worker} has not ended its session"));
        }
        if let Some(node) = core.iter().find(|node| !self.hosts[**node].conversations.held.is_empty()) {
            return Some(format!("m{} has not ended all conversations about locks", node + 1));
        }
        let deaf = self.sessions.iter().find(|session| session.is_waiting());
        deaf.map(|session| format!("nobody confirmed the watch of operation {}", session.op()))
    }
}
