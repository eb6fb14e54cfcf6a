//! What is the same on every host: a raft-rs member in memory, whose messages cross as bytes, and the load.

use std::time::Duration;

use bytes::Bytes;
use prost_raft::Message as _;
use raft::prelude::*;
use raft::storage::MemStorage;

/// When the first member campaigns.
pub const CAMPAIGN_AT: Duration = Duration::from_millis(100);
/// When the first proposal is made.
pub const LOAD_AT: Duration = Duration::from_secs(1);
/// How long after the last proposal a run ends.
pub const REST: Duration = Duration::from_secs(1);
/// The length of a Raft tick.
pub const TICK: Duration = Duration::from_millis(50);
/// A message takes this long at least.
pub const DELAY_MIN: Duration = Duration::from_millis(3);
/// And at most so much longer.
pub const DELAY_SPREAD: Duration = Duration::from_millis(1);

/// What a cluster does.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// How many members there are.
    pub members: usize,
    /// How many proposals the leader makes.
    pub proposals: u64,
    /// How much virtual time is between two of them.
    pub interval: Duration,
    /// How long each is.
    pub bytes: usize,
    /// From what the host draws its delays.
    pub seed: u64,
}

impl Load {
    /// When a run ends, in virtual time.
    pub fn end(&self) -> Duration {
        LOAD_AT + self.interval * u32::try_from(self.proposals).expect("few proposals") + REST
    }
}

/// What a cluster did.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Proposals that every member has committed.
    pub commits: u64,
    /// Messages that members sent each other.
    pub messages: u64,
}

impl Outcome {
    /// Of a cluster whose run is over.
    pub fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Outcome {
        let mut outcome = Outcome { commits: u64::MAX, messages: 0 };
        for member in members {
            outcome.commits = outcome.commits.min(member.commits);
            outcome.messages += member.messages;
        }
        outcome
    }
}

/// A message on its way: the place of its receiver, and its bytes.
pub type Sent = (usize, Bytes);

/// One member.
pub struct Member {
    node: RawNode<MemStorage>,
    bytes: usize,
    commits: u64,
    messages: u64,
}

impl Member {
    /// The member at this place.
    pub fn new(place: usize, load: &Load) -> Member {
        let config = Config {
            id: place as u64 + 1,
            election_tick: 10,
            heartbeat_tick: 1,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 512,
            pre_vote: true,
            check_quorum: true,
            ..Config::default()
        };
        let voters: Vec<u64> = (1..=load.members as u64).collect();
        let storage = MemStorage::new_with_conf_state((voters, vec![]));
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, storage, &logger).expect("a good configuration");
        Member { node, bytes: load.bytes, commits: 0, messages: 0 }
    }

    /// Asks to lead.
    pub fn campaign(&mut self) -> Vec<Sent> {
        self.node.campaign().expect("it may");
        self.ready()
    }

    /// Proposes one entry.
    pub fn propose(&mut self) -> Vec<Sent> {
        self.node.propose(vec![], vec![7; self.bytes]).expect("it leads");
        self.ready()
    }

    /// A tick has passed.
    pub fn tick(&mut self) -> Vec<Sent> {
        self.node.tick();
        self.ready()
    }

    /// A message has come.
    pub fn take(&mut self, frame: &[u8]) -> Vec<Sent> {
        // What a member refuses, it refuses on every host.
        let _ = self.node.step(Message::decode(frame).expect("it was encoded by a member"));
        self.ready()
    }

    fn ready(&mut self) -> Vec<Sent> {
        let mut sent = Vec::new();
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let mut messages = ready.take_messages();
            let store = self.node.raft.raft_log.store.clone();
            if !ready.entries().is_empty() {
                store.wl().append(ready.entries()).expect("entries follow each other");
            }
            if let Some(hard_state) = ready.hs() {
                store.wl().set_hardstate(hard_state.clone());
            }
            messages.append(&mut ready.take_persisted_messages());
            let mut committed = ready.take_committed_entries();
            let mut light = self.node.advance(ready);
            messages.append(&mut light.take_messages());
            committed.append(&mut light.take_committed_entries());
            self.node.advance_apply();
            self.commits += committed.iter().filter(|entry| !entry.data.is_empty()).count() as u64;
            self.messages += messages.len() as u64;
            sent.extend(messages.iter().map(|message| {
                let place = usize::try_from(message.to).expect("a small id") - 1;
                (place, Bytes::from(message.encode_to_vec()))
            }));
        }
        sent
    }
}
