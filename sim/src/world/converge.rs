//! After the faults: a core of the cluster has to converge, and everything that was begun has to end.

use std::collections::VecDeque;

use detcd_core::types::{LogIndex, Term};
use detcd_core::{Node, NodeStatus, Phase, Role};

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
/// What a leader writes by itself has to be everywhere after this time.
const ARRIVES_WITHIN_NS: u64 = 2_000 * MS;
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
    /// When it was looked, and the term and the last entry of the newest leader then.
    heads: VecDeque<(u64, Term, LogIndex)>,
    /// Why nothing has to happen any more, if so.
    pub entitled: Option<String>,
}

impl Convergence {
    /// The last entry that this leader had [`ARRIVES_WITHIN_NS`] ago; `None` if it did not lead then.
    fn had(&self, head: &NodeStatus, now: u64) -> Option<LogIndex> {
        let before = self.heads.iter().rfind(|(at, ..)| at + ARRIVES_WITHIN_NS <= now);
        before.filter(|(_, term, _)| *term == head.term).map(|(.., last)| *last)
    }
}

/// Whether a member has what it has to have of the log of the leader of `head`, in which `had` is the last entry that
/// has to be everywhere. If that is the leader's last, it is everything: both are the same.
fn follows(status: &NodeStatus, head: &NodeStatus, had: Option<LogIndex>) -> bool {
    let Some(had) = had else { return false };
    let is_of_it = (status.term, status.leader) == (head.term, head.leader);
    let has_it = status.applied >= had && status.applied <= head.last;
    let is_equal = status.applied != head.applied || status.state == head.state;
    let is_all = had < head.last || (status.applied, status.commit, status.last) == (had, had, had);
    is_of_it && has_it && is_equal && is_all
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
        self.note_heads();
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

    /// Whether a leader goes on writing while nobody asks for anything: as long as leases live, it writes down every so
    /// often what remains of them (contract, section 1.3).
    fn writes_down_leases(&self, leader: NodeIndex) -> bool {
        let interval = self.plan.nodes[leader].lease_checkpoint_interval;
        let view = self.hosts[leader].node.as_ref().map(Node::view);
        interval.as_nanos() <= u128::from(SETTLED_NS) && view.is_some_and(|view| view.leases().next().is_some())
    }

    /// Remembers what the log of the newest leader has now.
    fn note_heads(&mut self) {
        let leaders = self.hosts.iter().map(|host| host.status).filter(|status| status.role == Role::Leader);
        if let Some(head) = leaders.max_by_key(|status| status.term) {
            self.convergence.heads.push_back((self.now, head.term, head.last));
        }
        while self.convergence.heads.front().is_some_and(|(at, ..)| at + 2 * ARRIVES_WITHIN_NS < self.now) {
            self.convergence.heads.pop_front();
        }
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
        let had = if self.writes_down_leases(leader) { self.convergence.had(&head, self.now) } else { Some(head.last) };
        for &node in &core {
            let status = self.hosts[node].status;
            if !follows(&status, &head, had) {
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
        if let Some(worker) = self.workers.iter().position(|worker| self.is_at_work(worker)) {
            return Some(format!("lock worker {worker} has not ended its session"));
        }
        if let Some(node) = core.iter().find(|node| self.hosts[**node].conversations.has_to_end()) {
            return Some(format!("m{} has not ended all conversations about locks", node + 1));
        }
        let deaf = self.sessions.iter().find(|session| session.is_waiting());
        deaf.map(|session| format!("nobody confirmed the watch of operation {}", session.op()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use detcd_core::digest::Digest;
    use detcd_core::types::NodeId;

    fn status(applied: u64, last: u64, state: u128) -> NodeStatus {
        NodeStatus {
            phase: Phase::Serving,
            role: Role::Follower,
            term: Term(3),
            leader: NodeId(1),
            commit: LogIndex(applied),
            applied: LogIndex(applied),
            last: LogIndex(last),
            durable: LogIndex(last),
            state: Digest(state),
        }
    }

    #[test]
    fn where_nobody_writes_everybody_has_everything() {
        let head = status(10, 10, 7);
        assert!(follows(&status(10, 10, 7), &head, Some(LogIndex(10))));
        assert!(!follows(&status(9, 10, 7), &head, Some(LogIndex(10))), "it lags");
        assert!(!follows(&status(10, 11, 7), &head, Some(LogIndex(10))), "it has something else");
        assert!(!follows(&status(10, 10, 8), &head, Some(LogIndex(10))), "it differs");
        assert!(!follows(&NodeStatus { term: Term(2), ..head }, &head, Some(LogIndex(10))), "of another term");
        let lags = status(9, 10, 7);
        assert!(!follows(&lags, &lags, Some(LogIndex(10))), "a leader has to have applied it, too");
    }

    /// A leader writes down what remains of leases for as long as they live.
    #[test]
    fn where_a_leader_goes_on_writing_everybody_has_what_it_had() {
        let head = status(11, 12, 7);
        for behind in [status(10, 10, 1), status(10, 12, 1), status(11, 12, 7), status(12, 12, 9)] {
            assert!(follows(&behind, &head, Some(LogIndex(10))), "{behind:?}");
        }
        assert!(!follows(&status(9, 12, 1), &head, Some(LogIndex(10))), "it had that before");
        assert!(!follows(&status(11, 12, 8), &head, Some(LogIndex(10))), "it differs");
        assert!(!follows(&status(13, 13, 8), &head, Some(LogIndex(10))), "nobody wrote that");
        assert!(!follows(&head, &head, None), "the leader is new");
    }

    #[test]
    fn what_a_leader_had_is_known_only_if_it_led() {
        let mut convergence = Convergence::default();
        convergence.heads.extend([(0, Term(2), LogIndex(5)), (100 * MS, Term(3), LogIndex(6))]);
        convergence.heads.push_back((3_000 * MS, Term(3), LogIndex(9)));
        let head = status(9, 9, 1);
        assert_eq!(convergence.had(&head, 1_000 * MS), None, "too early");
        assert_eq!(convergence.had(&head, 2_050 * MS), None, "another led");
        assert_eq!(convergence.had(&head, 3_000 * MS), Some(LogIndex(6)));
    }
}
