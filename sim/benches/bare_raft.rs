//! The yardstick: raft-rs, its in-memory storage, one heap of messages with delays, nothing else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use raft::prelude::*;
use raft::storage::MemStorage;

/// What a bare cluster does.
#[derive(Clone, Copy, Debug)]
pub struct BareLoad {
    /// How many members there are.
    pub nodes: u64,
    /// How many proposals are made.
    pub proposals: u64,
    /// How much virtual time is between two of them.
    pub interval_ns: u64,
    /// How long each is.
    pub bytes: usize,
    /// A message takes this long, and up to as long again.
    pub delay_ns: u64,
}

/// What a bare cluster did.
#[derive(Clone, Copy, Debug)]
pub struct BareRun {
    /// Proposals committed and handed out by the leader.
    pub commits: u64,
    /// Messages that the members sent each other.
    pub messages: u64,
}

struct Bare {
    load: BareLoad,
    now: u64,
    nodes: Vec<RawNode<MemStorage>>,
    order: BinaryHeap<Reverse<(u64, usize)>>,
    in_flight: Vec<Option<Message>>,
    free: Vec<usize>,
    messages: u64,
    commits: u64,
}

impl Bare {
    fn new(load: BareLoad) -> Bare {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let voters: Vec<u64> = (1..=load.nodes).collect();
        let node = |id: &u64| {
            let config = Config {
                id: *id,
                election_tick: 10,
                heartbeat_tick: 1,
                max_size_per_msg: 1 << 20,
                max_inflight_msgs: 512,
                pre_vote: true,
                check_quorum: true,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state((voters.clone(), vec![]));
            RawNode::new(&config, storage, &logger).expect("a good configuration")
        };
        Bare {
            load,
            now: 0,
            nodes: voters.iter().map(node).collect(),
            order: BinaryHeap::new(),
            in_flight: Vec::new(),
            free: Vec::new(),
            messages: 0,
            commits: 0,
        }
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.messages += 1;
            let spread = self.messages.wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.load.delay_ns;
            let at = self.now + self.load.delay_ns + spread;
            let slot = self.free.pop().unwrap_or(self.in_flight.len());
            if slot == self.in_flight.len() {
                self.in_flight.push(None);
            }
            self.in_flight[slot] = Some(message);
            self.order.push(Reverse((at, slot)));
        }
    }

    fn ready(&mut self, place: usize) {
        while self.nodes[place].has_ready() {
            let node = &mut self.nodes[place];
            let mut ready = node.ready();
            let mut messages = ready.take_messages();
            let store = node.raft.raft_log.store.clone();
            if !ready.entries().is_empty() {
                store.wl().append(ready.entries()).expect("entries follow each other");
            }
            if let Some(hard_state) = ready.hs() {
                store.wl().set_hardstate(hard_state.clone());
            }
            messages.append(&mut ready.take_persisted_messages());
            let mut committed = ready.take_committed_entries();
            let mut light = node.advance(ready);
            messages.append(&mut light.take_messages());
            committed.append(&mut light.take_committed_entries());
            node.advance_apply();
            if place == 0 {
                self.commits += committed.iter().filter(|entry| !entry.data.is_empty()).count() as u64;
            }
            self.send(messages);
        }
    }

    /// Delivers everything that arrives up to `until`.
    fn deliver(&mut self, until: u64) {
        while let Some(Reverse((at, slot))) = self.order.peek().copied() {
            if at > until {
                break;
            }
            self.order.pop();
            self.now = at;
            self.free.push(slot);
            let message = self.in_flight[slot].take().expect("it is in flight");
            let place = usize::try_from(message.to).expect("a small id") - 1;
            // What a member refuses, it refuses in every cluster.
            let _ = self.nodes[place].step(message);
            self.ready(place);
        }
        self.now = until;
    }
}

/// Lets a bare cluster commit the proposals of `load`.
pub fn run(load: BareLoad) -> BareRun {
    let mut bare = Bare::new(load);
    bare.nodes[0].campaign().expect("it may");
    bare.ready(0);
    bare.deliver(1_000_000_000);
    let before = bare.messages;
    for _ in 0..load.proposals {
        bare.nodes[0].propose(vec![], vec![7; load.bytes]).expect("it leads");
        bare.ready(0);
        let next = bare.now + load.interval_ns;
        bare.deliver(next);
    }
    let end = bare.now + 1_000_000_000;
    bare.deliver(end);
    assert_eq!(bare.commits, load.proposals, "everything is committed");
    BareRun { commits: bare.commits, messages: bare.messages - before }
}
