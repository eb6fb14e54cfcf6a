//! While a core of the cluster holds, something is committed: liveness before all faults have ended.
//!
//! What Raft with pre-vote and check-quorum promises of a network that is cut, but stays as it is (Raft thesis,
//! sections 6.2 and 9.6; Howard and Abraham, "Raft does not guarantee liveness in the face of network faults", 2020):
//! * A quorum of members each of which reaches each other elects a leader, or follows one outside it. Whoever cannot
//!   hear that leader cannot disturb it: members that hear it ignore pre-votes, and nobody raises a term without a
//!   quorum of them. A leader that reaches no quorum steps down.
//! * Without such a quorum nothing is promised in general: the one member that reaches a quorum may lack entries that
//!   others have, and then nobody can be elected ("constrained election" in Ng and others, "Omni-Paxos", EuroSys 2023).
//!   But if every member reaches a quorum, the one with the newest log does, and can be elected: a ring of five.
//!
//! So progress is judged while the members that are up form one of these two, no other fault is at work, and clients
//! reach all of them. Links with one direction count as cut.

use detcd_core::Phase;
use detcd_core::types::LogIndex;

use super::World;
use super::host::Host;
use super::nemesis::Struck;
use crate::check::ViolationKind;
use crate::observe::NodeIndex;

const MS: u64 = 1_000_000;
/// Below this many operations a second, among them puts, there may be nothing to commit.
const OPS_PER_SECOND_MIN: u64 = 20;

/// What has been committed, and since when something has to be.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub newest: LogIndex,
    at: u64,
    /// Since when a core holds, as it is now.
    since: Option<u64>,
    /// Whether links have been cut since then.
    is_partitioned: bool,
}

impl World<'_> {
    /// Something more was committed.
    pub(super) fn progressed(&mut self, commit: LogIndex) {
        self.judge_progress();
        self.progress.newest = commit;
        self.progress.at = self.now;
    }

    /// Members or links are not as they were.
    pub(super) fn core_changes(&mut self) {
        self.judge_progress();
        if let Some(since) = self.progress.since
            && self.progress.is_partitioned
            && self.now > since + self.patience_ns()
        {
            self.mark("partition: a core went on throughout a long one");
        }
        self.progress.since = self.has_core().then_some(self.now);
        let cuts = |struck: &Struck| matches!(struck, Struck::Links(_));
        self.progress.is_partitioned = self.struck.iter().flatten().any(cuts);
    }

    fn judge_progress(&mut self) {
        let Some(since) = self.progress.since else { return };
        let waited_ns = self.now - since.max(self.progress.at);
        if waited_ns > self.patience_ns() {
            let core: Vec<String> = self.reaching_quorum().iter().map(|node| format!("m{}", node + 1)).collect();
            let (core, waited_ms) = (core.join(", "), waited_ns / MS);
            let detail = format!("{core} reach enough of each other, and nothing was committed for {waited_ms} ms");
            self.fail(ViolationKind::Liveness, "progress", detail);
        }
    }

    /// A leader steps down and another one is elected, in several attempts; and clients go elsewhere.
    fn patience_ns(&self) -> u64 {
        let election_ns = detcd_core::time::nanos(self.plan.nodes[0].election_timeout);
        5_000 * MS + 10 * election_ns + 2 * self.plan.workload.timeout_ns
    }

    fn has_core(&self) -> bool {
        let workload = &self.plan.workload;
        let has_load = workload.ops_per_second >= OPS_PER_SECOND_MIN && workload.mix.put >= 8;
        has_load && self.now < self.plan.heal_at && self.is_calm() && (self.has_clique() || self.is_ring_like())
    }

    /// Whether nothing is at work but partitions, and members that are down.
    fn is_calm(&self) -> bool {
        let harmless = |struck: &Struck| matches!(struck, Struck::Links(_) | Struck::Down(_));
        let is_calm = |host: &Host| host.pauses == 0 && !host.stopping && host.disk_stalled_until <= self.now;
        self.struck.iter().flatten().all(harmless) && self.hosts.iter().all(is_calm)
    }

    fn is_healthy(&self, node: NodeIndex) -> bool {
        self.hosts[node].is_up() && self.hosts[node].status.phase == Phase::Serving
    }

    fn reach_each_other(&self, one: NodeIndex, other: NodeIndex) -> bool {
        one == other || !self.network.is_cut(one, other) && !self.network.is_cut(other, one)
    }

    /// Whether so many members are a quorum.
    pub(super) fn is_majority(&self, count: usize) -> bool {
        count > self.hosts.len() / 2
    }

    /// The healthy members that reach a quorum of healthy ones, themselves included.
    fn reaching_quorum(&self) -> Vec<NodeIndex> {
        let healthy: Vec<NodeIndex> = (0..self.hosts.len()).filter(|node| self.is_healthy(*node)).collect();
        let reached = |node: NodeIndex| healthy.iter().filter(|other| self.reach_each_other(node, **other)).count();
        healthy.iter().copied().filter(|node| self.is_majority(reached(*node))).collect()
    }

    /// Whether some quorum of healthy members reach each other, all of them.
    fn has_clique(&self) -> bool {
        let nodes = self.hosts.len();
        let within = |set: u32, node: NodeIndex| set & 1 << node != 0;
        (0..1u32 << nodes).filter(|set| self.is_majority(set.count_ones() as usize)).any(|set| {
            let members: Vec<NodeIndex> = (0..nodes).filter(|node| within(set, *node)).collect();
            let all_reach = |one: &NodeIndex| members.iter().all(|other| self.reach_each_other(*one, *other));
            members.iter().all(|node| self.is_healthy(*node)) && members.iter().all(all_reach)
        })
    }

    /// Whether every member is healthy and reaches a quorum.
    fn is_ring_like(&self) -> bool {
        self.reaching_quorum().len() == self.hosts.len()
    }
}
