//! The yardstick: raft-rs, its in-memory storage, one queue of messages, nothing else.

use raft::prelude::*;
use raft::storage::MemStorage;

/// What a bare cluster did.
pub struct BareRun {
    /// Proposals committed and handed out by the leader.
    pub commits: u64,
    /// Messages that the members sent each other.
    pub messages: u64,
}

struct Bare {
    nodes: Vec<RawNode<MemStorage>>,
    inbox: Vec<Message>,
    messages: u64,
    commits: u64,
}

impl Bare {
    fn new(nodes: u64) -> Bare {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let voters: Vec<u64> = (1..=nodes).collect();
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
        Bare { nodes: voters.iter().map(node).collect(), inbox: Vec::new(), messages: 0, commits: 0 }
    }

    fn ready(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        while node.has_ready() {
            let mut ready = node.ready();
            self.inbox.append(&mut ready.take_messages());
            let store = node.raft.raft_log.store.clone();
            if !ready.entries().is_empty() {
                store.wl().append(ready.entries()).expect("entries follow each other");
            }
            if let Some(hard_state) = ready.hs() {
                store.wl().set_hardstate(hard_state.clone());
            }
            self.inbox.append(&mut ready.take_persisted_messages());
            let mut committed = ready.take_committed_entries();
            let mut light = node.advance(ready);
            self.inbox.append(&mut light.take_messages());
            committed.append(&mut light.take_committed_entries());
            if place == 0 {
                self.commits += committed.iter().filter(|entry| !entry.data.is_empty()).count() as u64;
            }
            node.advance_apply();
        }
    }

    fn drain(&mut self) {
        for place in 0..self.nodes.len() {
            self.ready(place);
        }
        while !self.inbox.is_empty() {
            let batch = std::mem::take(&mut self.inbox);
            self.messages += batch.len() as u64;
            for message in batch {
                let place = usize::try_from(message.to).expect("a small id") - 1;
                // What a member refuses, it refuses in every cluster.
                let _ = self.nodes[place].step(message);
                self.ready(place);
            }
        }
    }
}

/// Lets `nodes` members commit `proposals` proposals of `bytes` bytes, `at_once` of them between two rounds of
/// messages.
pub fn run(nodes: u64, proposals: u64, at_once: u64, bytes: usize) -> BareRun {
    let mut bare = Bare::new(nodes);
    bare.nodes[0].campaign().expect("it may");
    bare.drain();
    let (mut proposed, before) = (0, bare.messages);
    while proposed < proposals {
        for _ in 0..at_once.min(proposals - proposed) {
            bare.nodes[0].propose(vec![], vec![7; bytes]).expect("it leads");
            proposed += 1;
        }
        bare.drain();
    }
    assert_eq!(bare.commits, proposals, "everything is committed");
    BareRun { commits: bare.commits, messages: bare.messages - before }
}
