//! Which links a partition cuts, and how it opens and closes when it flaps.

use super::World;
use super::event::Event;
use super::nemesis::Struck;
use crate::faults::Episode;
use crate::observe::NodeIndex;
use crate::scenario::FaultKind;
use crate::weather::{below, nth, permille};

/// What a partition does while it lasts.
#[derive(Debug)]
pub(super) struct Partition {
    links: Vec<(NodeIndex, NodeIndex)>,
    is_cut: bool,
    flips: u64,
}

impl World<'_> {
    /// A partition begins; none if it would cut nothing.
    pub(super) fn part(&mut self, node: NodeIndex, index: usize) -> Option<Partition> {
        let fault = self.plan.faults[index];
        let links = links_to_cut(self.hosts.len(), node, &fault);
        if links.is_empty() {
            return None;
        }
        links.iter().for_each(|(from, to)| self.network.cut(*from, *to));
        if fault.flap_ns > 0 {
            self.queue.push(self.now + flap_ns(&fault, 0), Event::Flap { index });
        }
        Some(Partition { links, is_cut: true, flips: 0 })
    }

    /// A partition that flaps opens, or closes again.
    pub(super) fn flap(&mut self, index: usize) {
        let fault = self.plan.faults[index];
        let Some(Struck::Links(partition)) = &mut self.struck[index] else { return };
        partition.is_cut = !partition.is_cut;
        partition.flips += 1;
        let is_cut = partition.is_cut;
        for (from, to) in &partition.links {
            if is_cut {
                self.network.cut(*from, *to);
            } else {
                self.network.mend(*from, *to);
            }
        }
        let next_ns = flap_ns(&fault, partition.flips);
        self.core_changes();
        self.queue.push(self.now + next_ns, Event::Flap { index });
        self.record.begin(self.now, 19, None);
        self.record.number(fault.id);
        self.record.number(u64::from(is_cut));
        self.record.say(|| {
            let how = if is_cut { "closes again" } else { "opens" };
            format!("fault {} (number {}) {how}", fault.kind.name(), fault.id)
        });
    }

    /// A partition is over.
    pub(super) fn unite(&mut self, partition: &Partition) {
        if partition.is_cut {
            partition.links.iter().for_each(|(from, to)| self.network.mend(*from, *to));
        }
    }
}

/// From half of what the fault says to one and a half times as long.
fn flap_ns(fault: &Episode, flips: u64) -> u64 {
    fault.flap_ns / 2 + below(nth(fault.draw, 1_000 + flips), fault.flap_ns) + 1
}

/// The links that a fault at `node` cuts, each with its direction.
fn links_to_cut(nodes: usize, node: NodeIndex, fault: &Episode) -> Vec<(NodeIndex, NodeIndex)> {
    let side = |member: NodeIndex| permille(nth(fault.draw, 100 + member as u64), 500);
    let (outgoing, one_peer) = (permille(nth(fault.draw, 1), 500), permille(nth(fault.draw, 2), 300));
    let peer = usize::try_from(below(nth(fault.draw, 3), nodes as u64)).expect("few members");
    let ring = ring(nodes, fault.draw);
    let cuts = |from: NodeIndex, to: NodeIndex| match fault.kind {
        FaultKind::Isolate => from == node || to == node,
        // The member of the fault is always on the first side, its successor on the second.
        FaultKind::Split | FaultKind::Bridge => {
            let is_bridge = |n| fault.kind == FaultKind::Bridge && n == peer;
            let second = |n: NodeIndex| n != node && (side(n) || n == (node + 1) % nodes);
            second(from) != second(to) && !is_bridge(from) && !is_bridge(to)
        }
        FaultKind::Ring => {
            let apart = ring[from].abs_diff(ring[to]);
            apart != 1 && apart != nodes - 1
        }
        _ => {
            let (near, far) = if outgoing { (from, to) } else { (to, from) };
            near == node && (!one_peer || far == peer)
        }
    };
    let links = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
    links.filter(|(from, to)| from != to && cuts(*from, *to)).collect()
}

/// The place of each member in a ring, in any order.
fn ring(nodes: usize, draw: u64) -> Vec<usize> {
    let mut order: Vec<NodeIndex> = (0..nodes).collect();
    order.sort_by_key(|node| nth(draw, 200 + *node as u64));
    (0..nodes).map(|node| order.iter().position(|other| *other == node).expect("all are there")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Place;

    fn fault(kind: FaultKind, draw: u64) -> Episode {
        Episode { id: 0, kind, place: Place::Any, start: 0, end: 1, is_timed: false, strength: 0, flap_ns: 0, draw }
    }

    #[test]
    fn in_a_ring_each_member_reaches_two_others_and_everybody_is_reached() {
        for nodes in 4..=7 {
            let mut orders = std::collections::BTreeSet::new();
            for draw in 0..50 {
                let links = links_to_cut(nodes, 0, &fault(FaultKind::Ring, draw));
                for node in 0..nodes {
                    let cut = |link: &&(NodeIndex, NodeIndex)| link.0 == node;
                    assert_eq!(links.iter().filter(cut).count(), nodes - 3, "two neighbours are left");
                    assert!(links.iter().all(|(from, to)| links.contains(&(*to, *from))));
                }
                let mut reached = vec![0];
                while let Some(next) = (0..nodes)
                    .find(|to| !reached.contains(to) && reached.iter().any(|from| !links.contains(&(*from, *to))))
                {
                    reached.push(next);
                }
                assert_eq!(reached.len(), nodes);
                orders.insert(links);
            }
            assert!(orders.len() > 2, "the ring goes round in several orders");
        }
        assert_eq!(links_to_cut(3, 1, &fault(FaultKind::Ring, 9)), [], "three members in a ring all reach each other");
    }

    #[test]
    fn a_bridge_leaves_one_member_that_reaches_all() {
        for draw in 0..50 {
            let links = links_to_cut(5, 2, &fault(FaultKind::Bridge, draw));
            let touched = |node: NodeIndex| links.iter().any(|(from, to)| *from == node || *to == node);
            assert!(links.is_empty() || (0..5).any(|node| !touched(node)));
        }
    }

    #[test]
    fn a_partition_that_flaps_changes_after_about_the_time_that_it_says() {
        let fault = Episode { flap_ns: 1_000, ..fault(FaultKind::Split, 3) };
        let times: Vec<u64> = (0..200).map(|flips| flap_ns(&fault, flips)).collect();
        assert!(times.iter().all(|ns| (501..=1_500).contains(ns)));
        assert!(times.iter().max().expect("some") - times.iter().min().expect("some") > 800);
    }
}
