//! Each fence around raft-rs, by the schedule that fails without it.

use std::collections::BTreeSet;

use prost_raft::Message as _;

use super::outbox::{InFlight, Outbox};
use super::*;
use crate::config::Member;
use crate::log::ConfState;
use crate::peer;

const ELECTION_TICKS: usize = 10;

fn config(node: u64) -> NodeConfig {
    let member = |id| Member { id: NodeId(id), name: format!("m{id}"), peer_urls: Vec::new() };
    NodeConfig::with_etcd_defaults(ClusterId(1), NodeId(node), (1..=3).map(member).collect(), 7)
}

fn conf(voters: &[u64], learners: &[u64]) -> ConfState {
    let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect();
    ConfState { voters: ids(voters), learners: ids(learners), ..ConfState::default() }
}

/// A member with a founders' state at index 3, term 1.
fn member(node: u64, voters: &[u64], learners: &[u64]) -> Consensus {
    let applied = SnapshotMeta { index: LogIndex(3), term: Term(1), conf_state: conf(voters, learners) };
    let hard_state = HardState { term: Term(1), vote: NodeId(0), commit: LogIndex(3) };
    let start =
        Start { hard_state, base: (LogIndex(3), Term(1)), entries: Vec::new(), applied, boot: 1, lost_until: None };
    Consensus::open(&config(node), start)
}

/// A member with a disk that the test completes.
struct Bench {
    consensus: Consensus,
    last_write: u64,
    sent: Vec<Outgoing>,
    committed: Vec<Entry>,
    reads: Vec<(u64, LogIndex)>,
}

impl Bench {
    fn new(consensus: Consensus) -> Bench {
        Bench { consensus, last_write: 0, sent: Vec::new(), committed: Vec::new(), reads: Vec::new() }
    }

    /// Drains everything; writes are issued and stay in flight. Committed entries are applied at once.
    fn drain(&mut self) {
        self.consensus.append_proposed();
        while let Some(mut batch) = self.consensus.next_batch() {
            let write = batch.must_sync.then(|| {
                self.last_write += 1;
                WriteId(self.last_write)
            });
            self.reads.extend(std::mem::take(&mut batch.reads));
            let committed = std::mem::take(&mut batch.committed);
            self.consensus.wrote(&mut batch, write);
            for entry in &committed {
                self.consensus.apply_conf_change(entry);
                self.consensus.applied_to(entry.index, entry.term);
            }
            self.committed.extend(committed);
        }
        self.consensus.take_outgoing(&mut self.sent);
    }

    /// Everything that is in flight becomes durable.
    fn sync(&mut self) {
        self.consensus.persisted(WriteId(self.last_write));
        self.drain();
    }

    fn tick(&mut self, times: usize) {
        for _ in 0..times {
            self.consensus.tick();
            self.drain();
        }
    }

    fn receive(&mut self, message: eraftpb::Message) -> Result<(), Rejected> {
        let received = self.receive_undrained(&message);
        self.drain();
        received
    }

    /// Takes a message; what comes of it stays where it is.
    fn receive_undrained(&mut self, message: &eraftpb::Message) -> Result<(), Rejected> {
        self.consensus.receive(NodeId(message.from), &message.encode_to_vec())
    }

    fn kinds_sent(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.sent).iter().map(|message| message.kind).collect()
    }

    /// Ticks and syncs until the member leads; other voters grant what it asks.
    fn lead(&mut self, voters: &[u64]) {
        for _ in 0..4 * ELECTION_TICKS {
            if self.consensus.is_leader() {
                return;
            }
            self.tick(1);
            self.sync();
            for asked in std::mem::take(&mut self.sent) {
                let bytes = raft_bytes(self.consensus.node, asked.to, asked.frame);
                let message = <eraftpb::Message as prost_raft::Message>::decode(&bytes[..]).unwrap();
                let reply = match asked.kind {
                    "vote" => MessageType::MsgRequestVoteResponse,
                    "pre-vote" => MessageType::MsgRequestPreVoteResponse,
                    _ => continue,
                };
                if voters.contains(&message.to) && !self.consensus.is_leader() {
                    let _ = self.receive(reply_to(&message, reply));
                }
            }
        }
        assert!(self.consensus.is_leader(), "nobody won");
    }

    fn acknowledge(&mut self, from: u64, index: LogIndex) {
        let term = self.consensus.standing().1;
        let mut reply = message(MessageType::MsgAppendResponse, from, self.consensus.node.0, term);
        reply.index = index.0;
        self.receive(reply).unwrap();
    }
}

/// The raft message in a frame.
fn raft_bytes(from: NodeId, to: NodeId, frame: Bytes) -> Bytes {
    let Ok(peer::Body::Raft(bytes)) = peer::decode(ClusterId(1), from, to, frame) else {
        panic!("it is a raft message")
    };
    bytes
}

fn message(kind: MessageType, from: u64, to: u64, term: Term) -> eraftpb::Message {
    eraftpb::Message { msg_type: kind as i32, from, to, term: term.0, ..Default::default() }
}

fn reply_to(asked: &eraftpb::Message, kind: MessageType) -> eraftpb::Message {
    eraftpb::Message { msg_type: kind as i32, from: asked.to, to: asked.from, term: asked.term, ..Default::default() }
}

fn entry(index: u64, term: u64) -> eraftpb::Entry {
    eraftpb::Entry { index, term, data: vec![index as u8, term as u8], ..Default::default() }
}

fn append(from: u64, to: u64, term: u64, after: (u64, u64), entries: Vec<eraftpb::Entry>) -> eraftpb::Message {
    let (index, log_term) = after;
    let base = message(MessageType::MsgAppend, from, to, Term(term));
    eraftpb::Message { index, log_term, entries, ..base }
}

#[test]
fn a_member_that_wins_alone_says_nothing_before_its_term_is_durable() {
    let mut alone = Bench::new(member(1, &[1], &[2]));
    while !alone.consensus.is_leader() {
        alone.tick(1);
    }
    alone.consensus.propose(Bytes::from_static(b"x")).unwrap();
    alone.tick(1);
    assert_eq!(alone.kinds_sent(), Vec::<&str>::new(), "its term may be forgotten yet");
    alone.sync();
    assert!(alone.kinds_sent().contains(&"append"));
}

#[test]
fn a_member_that_could_win_alone_does_not_campaign_over_unsynced_entries() {
    let mut alone = Bench::new(member(1, &[1], &[]));
    alone.receive(append(2, 1, 5, (3, 1), vec![entry(4, 5)])).unwrap();
    alone.tick(3 * ELECTION_TICKS);
    assert!(!alone.consensus.is_leader(), "raft-rs would have panicked");
    alone.sync();
    alone.tick(2 * ELECTION_TICKS);
    assert!(alone.consensus.is_leader());
}

#[test]
fn leadership_is_not_taken_over_while_entries_are_unsynced() {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    follower.receive(append(2, 1, 5, (3, 1), vec![entry(4, 5)])).unwrap();
    let hand_over = message(MessageType::MsgTimeoutNow, 2, 1, Term(5));
    assert_eq!(follower.receive(hand_over.clone()), Err(Rejected::Busy));
    follower.sync();
    assert_eq!(follower.receive(hand_over), Ok(()));
    assert_eq!(follower.consensus.standing().1, Term(6));
}

#[test]
fn acknowledgements_and_votes_wait_for_the_disk() {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    follower.receive(append(2, 1, 5, (3, 1), vec![entry(4, 5)])).unwrap();
    assert_eq!(follower.kinds_sent(), Vec::<&str>::new());
    follower.sync();
    assert_eq!(follower.kinds_sent(), vec!["append-reply"]);

    follower.tick(2 * ELECTION_TICKS);
    follower.sync();
    follower.kinds_sent();
    let mut vote = message(MessageType::MsgRequestVote, 3, 1, Term(9));
    (vote.index, vote.log_term) = (4, 5);
    follower.receive(vote).unwrap();
    assert_eq!(follower.kinds_sent(), Vec::<&str>::new());
    follower.sync();
    assert_eq!(follower.kinds_sent(), vec!["vote-reply"]);
    assert_eq!(follower.consensus.durable(), (LogIndex(4), Term(9), NodeId(3)));
}

#[test]
fn a_leader_sends_while_its_own_write_is_in_flight_and_its_entry_does_not_count_before() {
    let mut leader = Bench::new(member(1, &[1, 2, 3], &[]));
    leader.lead(&[2]);
    leader.sync();
    leader.acknowledge(2, LogIndex(4));
    leader.kinds_sent();
    leader.consensus.propose(Bytes::from_static(b"x")).unwrap();
    leader.drain();
    assert!(leader.kinds_sent().contains(&"append"), "it does not wait for its own disk");
    assert_eq!(leader.consensus.commit(), LogIndex(4));
    leader.acknowledge(3, LogIndex(5));
    assert_eq!(leader.consensus.commit(), LogIndex(4), "one of three has it durably");
    leader.sync();
    assert_eq!(leader.consensus.commit(), LogIndex(5));
}

#[test]
fn an_old_completion_does_not_make_a_rewritten_tail_durable() {
    // Raft-rs compares (index, term) only: written as term 2, overwritten by term 3, brought back as term 2 of another
    // write, the first completion would count although the disk may still pass through term 3.
    let state = HardState { term: Term(3), vote: NodeId(0), commit: LogIndex(0) };
    let mut outbox = Outbox::new(state, LogIndex(0));
    let write = |write, first, last| InFlight {
        last_term: Some(Term(1)),
        write: WriteId(write),
        ready: write,
        entries: Some((LogIndex(first), LogIndex(last))),
        hard_state: None,
        messages: Vec::new(),
    };
    outbox.push(write(1, 1, 2));
    outbox.push(write(2, 1, 1));
    outbox.push(write(3, 1, 2));
    assert_eq!(outbox.complete(WriteId(1)).persisted, None, "overlapped by a write in flight");
    assert_eq!(outbox.complete(WriteId(2)).persisted, None, "and again");
    assert_eq!(outbox.complete(WriteId(3)).persisted, Some(3));
    outbox.push(write(4, 3, 4));
    outbox.push(write(5, 5, 5));
    assert_eq!(outbox.complete(WriteId(4)).persisted, Some(4), "an append behind overlaps nothing");
}

#[test]
fn what_a_write_in_flight_overwrites_is_not_told_as_durable() {
    let state = HardState { term: Term(3), vote: NodeId(0), commit: LogIndex(0) };
    let mut outbox = Outbox::new(state, LogIndex(2));
    let write = |write, first, last| InFlight {
        last_term: Some(Term(3)),
        write: WriteId(write),
        ready: write,
        entries: Some((LogIndex(first), LogIndex(last))),
        hard_state: None,
        messages: Vec::new(),
    };
    outbox.push(write(1, 3, 9));
    outbox.push(write(2, 10, 10));
    assert_eq!(outbox.durable().0, LogIndex(2));
    outbox.push(write(3, 5, 6));
    outbox.complete(WriteId(2));
    assert_eq!(outbox.durable().0, LogIndex(4), "the log ends with 6, and from 5 on the disk has what it had before");
    outbox.push(write(4, 7, 7));
    outbox.complete(WriteId(3));
    assert_eq!(outbox.durable().0, LogIndex(6));
    outbox.complete(WriteId(4));
    assert_eq!(outbox.durable().0, LogIndex(7));
}

#[test]
fn a_leader_that_is_removed_stops_leading_at_once() {
    let mut leader = Bench::new(member(1, &[1, 2, 3], &[]));
    leader.lead(&[2]);
    leader.sync();
    let removal = eraftpb::ConfChange { change_type: 1, node_id: 1, ..Default::default() };
    leader.acknowledge(2, LogIndex(4));
    leader.consensus.raw.propose_conf_change(Vec::new(), removal).unwrap();
    leader.drain();
    leader.sync();
    leader.consensus.propose(Bytes::from_static(b"behind it")).unwrap();
    leader.drain();
    leader.acknowledge(2, LogIndex(5));
    leader.acknowledge(3, LogIndex(5));
    assert_eq!(leader.consensus.applied().conf_state.voters, vec![NodeId(2), NodeId(3)]);
    assert!(!leader.consensus.is_leader());
    // Without stepping down raft-rs panics here: it has no progress of its own any more.
    leader.sync();
    leader.tick(3 * ELECTION_TICKS);
    assert!(!leader.consensus.is_leader());
}

#[test]
fn a_new_leader_leaves_the_joint_configuration_that_it_finds() {
    let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
    let joint =
        ConfState { voters: ids(&[1, 2, 4]), voters_outgoing: ids(&[1, 2, 3]), auto_leave: true, ..conf(&[], &[]) };
    let applied = SnapshotMeta { index: LogIndex(3), term: Term(1), conf_state: joint };
    let hard_state = HardState { term: Term(1), vote: NodeId(0), commit: LogIndex(3) };
    let start =
        Start { hard_state, base: (LogIndex(3), Term(1)), entries: Vec::new(), applied, boot: 1, lost_until: None };
    let mut leader = Bench::new(Consensus::open(&config(1), start));
    leader.lead(&[2]);
    leader.sync();
    leader.acknowledge(2, LogIndex(4));
    leader.tick(1);
    leader.sync();
    leader.acknowledge(2, LogIndex(5));
    assert_eq!(leader.consensus.applied().conf_state, conf(&[1, 2, 4], &[]));
}

#[test]
#[should_panic(expected = "without voters")]
fn a_member_without_voters_applies_no_conf_change() {
    let mut joiner = member(4, &[], &[]);
    let change = eraftpb::ConfChange { change_type: 0, node_id: 4, ..Default::default() };
    let raft_entry =
        eraftpb::Entry { entry_type: 1, index: 4, term: 2, data: change.encode_to_vec(), ..Default::default() };
    joiner.apply_conf_change(&convert::entry_from_raft(raft_entry));
}

#[test]
fn a_proposal_on_a_follower_is_refused_and_not_lost() {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    follower.receive(append(2, 1, 5, (3, 1), Vec::new())).unwrap();
    assert_eq!(follower.consensus.propose(Bytes::from_static(b"x")), Err(Refusal::NotLeader));
}

#[test]
fn a_leader_confirms_reads_only_when_it_has_committed_in_its_term() {
    let mut leader = Bench::new(member(1, &[1, 2, 3], &[]));
    leader.lead(&[2]);
    leader.sync();
    assert!(leader.consensus.is_leader());
    assert!(!leader.consensus.leads_with_commit(), "it may not know what was acknowledged before");
    leader.acknowledge(2, LogIndex(4));
    assert!(leader.consensus.leads_with_commit());

    leader.consensus.confirm(1);
    leader.consensus.confirm(2);
    leader.drain();
    assert_eq!(leader.reads, vec![]);
    let term = leader.consensus.standing().1;
    let mut late = message(MessageType::MsgHeartbeatResponse, 2, 1, term);
    late.context = [1u64.to_le_bytes(), 1u64.to_le_bytes()].concat();
    leader.receive(late).unwrap();
    assert_eq!(leader.reads, vec![(1, LogIndex(4))], "an answer to the first round does not confirm the second");
}

#[test]
fn a_snapshot_attempt_that_is_reported_lost_is_made_again() {
    let mut leader = Bench::new(member(1, &[1, 2, 3], &[]));
    leader.lead(&[2]);
    leader.sync();
    leader.acknowledge(2, LogIndex(4));
    leader.consensus.compact(LogIndex(4));
    let term = leader.consensus.standing().1;
    let refusal = |index: u64| {
        let mut reply = message(MessageType::MsgAppendResponse, 3, 1, term);
        (reply.reject, reply.index, reply.reject_hint) = (true, index, 0);
        reply
    };
    leader.kinds_sent();
    leader.receive(refusal(3)).unwrap();
    assert_eq!(leader.kinds_sent(), vec!["snapshot"]);
    assert!(leader.consensus.wants_snapshot(NodeId(3)));

    let mut alive = message(MessageType::MsgHeartbeatResponse, 3, 1, term);
    alive.commit = 3;
    for _ in 0..5 {
        leader.tick(1);
        leader.receive(alive.clone()).unwrap();
    }
    assert!(!leader.kinds_sent().contains(&"snapshot"), "raft-rs waits for ever");
    leader.consensus.snapshot_sent(NodeId(3), false);
    leader.receive(alive).unwrap();
    assert!(leader.kinds_sent().contains(&"snapshot"), "and tries again when it is told");
}

#[test]
fn messages_leave_ordered_by_destination() {
    let mut leader = Bench::new(member(2, &[1, 2, 3], &[4, 5]));
    leader.lead(&[1]);
    leader.sync();
    leader.sent.clear();
    leader.tick(1);
    let to: Vec<NodeId> = leader.sent.iter().map(|message| message.to).collect();
    let mut sorted = to.clone();
    sorted.sort_unstable();
    assert_eq!(to, sorted);
    assert_eq!(to.iter().collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn an_election_timeout_is_a_function_of_the_seed() {
    let ticks_to_campaign = |seed: u64, boot: u64| {
        let applied = SnapshotMeta { index: LogIndex(3), term: Term(1), conf_state: conf(&[1, 2, 3], &[]) };
        let hard_state = HardState { term: Term(1), vote: NodeId(0), commit: LogIndex(3) };
        let start =
            Start { hard_state, base: (LogIndex(3), Term(1)), entries: Vec::new(), applied, boot, lost_until: None };
        let mut config = config(1);
        config.seed = seed;
        let mut follower = Bench::new(Consensus::open(&config, start));
        (1..100).find(|_| {
            follower.tick(1);
            follower.consensus.standing().0 == Role::PreCandidate
        })
    };
    let drawn: Vec<_> = (0..20).map(|seed| ticks_to_campaign(seed, 1)).collect();
    let again: Vec<_> = (0..20).map(|seed| ticks_to_campaign(seed, 1)).collect();
    assert_eq!(drawn, again, "raft-rs draws from the thread's generator");
    assert!(drawn.iter().collect::<BTreeSet<_>>().len() > 3, "{drawn:?}");
    assert_ne!(drawn, (0..20).map(|seed| ticks_to_campaign(seed, 2)).collect::<Vec<_>>(), "lives differ");
}

#[test]
fn a_message_that_proves_loss_is_told_apart() {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    let mut heartbeat = message(MessageType::MsgHeartbeat, 2, 1, Term(5));
    heartbeat.commit = 9;
    assert!(matches!(follower.receive(heartbeat), Err(Rejected::ProvesLoss(_))), "raft-rs would have panicked");
}

#[test]
fn an_announced_snapshot_is_fetched_before_raft_rs_sees_it() {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    let conf_state = convert::conf_state_to_raft(&conf(&[1, 2, 3], &[]));
    let metadata = eraftpb::SnapshotMetadata { conf_state: Some(conf_state), index: 20, term: 4 };
    let mut announced = message(MessageType::MsgSnapshot, 2, 1, Term(5));
    announced.snapshot = Some(eraftpb::Snapshot { data: Vec::new(), metadata: Some(metadata) });
    let Err(Rejected::NeedsSnapshot(_, meta)) = follower.receive(announced.clone()) else { panic!("not held back") };
    assert_eq!((meta.index, meta.term), (LogIndex(20), Term(4)));

    follower.consensus.receive_fetched(&announced.encode_to_vec());
    let mut batch = follower.consensus.next_batch().expect("it installs");
    assert_eq!(batch.snapshot.as_ref().map(|meta| meta.index), Some(LogIndex(20)));
    follower.consensus.wrote(&mut batch, Some(WriteId(1)));
    follower.consensus.tick();
    assert!(follower.consensus.next_batch().is_none(), "nothing may happen meanwhile");
    assert_eq!(follower.receive(append(2, 1, 5, (20, 4), vec![entry(21, 5)])), Err(Rejected::Busy));
    follower.consensus.installed(batch.hard_state);
    follower.drain();
    assert_eq!(follower.kinds_sent(), vec!["append-reply"]);
    follower.receive(append(2, 1, 5, (20, 4), vec![entry(21, 5)])).unwrap();
    assert_eq!(follower.consensus.last(), LogIndex(21));
}

/// A follower that was sent two entries with data, before anything was drained.
fn follower_with_two_entries() -> Bench {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    follower.receive(append(2, 1, 5, (3, 1), Vec::new())).unwrap();
    let two = append(2, 1, 5, (3, 1), vec![entry(4, 5), entry(5, 5)]);
    follower.receive_undrained(&two).unwrap();
    follower
}

/// What a follower hands to its disk next.
fn data_written(follower: &mut Bench) -> Vec<(u64, Vec<u8>)> {
    let batch = follower.consensus.next_batch().expect("there are entries to write");
    batch.entries.iter().map(|entry| (entry.index.0, entry.data.to_vec())).collect()
}

#[test]
fn entries_that_arrive_again_before_they_are_written_keep_their_data_and_that_of_those_behind() {
    let mut follower = follower_with_two_entries();
    let again = append(2, 1, 5, (3, 1), vec![entry(4, 5)]);
    follower.receive_undrained(&again).unwrap();
    assert_eq!(data_written(&mut follower), [(4, vec![4, 5]), (5, vec![5, 5])]);
}

#[test]
fn entries_that_are_replaced_before_they_are_written_come_with_the_data_of_the_new_leader() {
    let mut follower = follower_with_two_entries();
    let other = append(3, 1, 6, (4, 5), vec![entry(5, 6), entry(6, 6)]);
    follower.receive_undrained(&other).unwrap();
    assert_eq!(data_written(&mut follower), [(4, vec![4, 5]), (5, vec![5, 6]), (6, vec![6, 6])]);
}

#[test]
fn an_entry_that_was_written_and_replaced_may_come_back_before_either_is_written_again() {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    follower.receive(append(2, 1, 5, (3, 1), vec![entry(4, 5)])).unwrap();
    let other = append(3, 1, 6, (3, 1), vec![entry(4, 6)]);
    follower.receive_undrained(&other).unwrap();
    let back = append(2, 1, 7, (3, 1), vec![entry(4, 5), entry(5, 7)]);
    follower.receive_undrained(&back).unwrap();
    assert_eq!(data_written(&mut follower), [(4, vec![4, 5]), (5, vec![5, 7])]);
}

#[test]
fn a_late_copy_of_entries_that_are_forgotten_takes_nothing_from_new_ones() {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    let mut first = append(2, 1, 5, (3, 1), (4..8).map(|index| entry(index, 5)).collect());
    first.commit = 7;
    follower.receive(first).unwrap();
    follower.sync();
    assert_eq!(follower.committed.len(), 4);
    follower.consensus.compact(LogIndex(5));
    let new = append(2, 1, 5, (7, 5), vec![entry(8, 5), entry(9, 5)]);
    follower.receive_undrained(&new).unwrap();
    let late = append(2, 1, 5, (4, 5), vec![entry(5, 5), entry(6, 5), entry(7, 5)]);
    follower.receive_undrained(&late).unwrap();
    assert_eq!(data_written(&mut follower), [(8, vec![8, 5]), (9, vec![9, 5])]);
}

#[test]
fn an_append_with_an_entry_of_no_term_is_refused() {
    let mut follower = Bench::new(member(1, &[1, 2, 3], &[]));
    let hostile = append(2, 1, 5, (0, 0), vec![entry(1, 0)]);
    assert_eq!(follower.receive(hostile), Err(Rejected::Malformed("an entry without a term")));
}

#[test]
fn the_data_of_a_message_that_raft_rs_ignores_replaces_nothing() {
    let mut follower = follower_with_two_entries();
    let mut stale = append(3, 1, 4, (3, 1), vec![entry(4, 4), entry(5, 4)]);
    follower.receive_undrained(&stale).unwrap();
    stale = append(2, 1, 5, (9, 5), vec![entry(10, 5)]);
    follower.receive_undrained(&stale).unwrap();
    assert_eq!(data_written(&mut follower), [(4, vec![4, 5]), (5, vec![5, 5])]);
}

#[test]
fn proposals_are_refused_while_more_data_is_uncommitted_than_may_be() {
    let mut leader = Bench::new(member(1, &[1, 2, 3], &[]));
    leader.consensus.uncommitted_bytes_max = 10;
    leader.lead(&[2, 3]);
    leader.sync();
    let large = Bytes::from_static(&[7; 30]);
    leader.consensus.propose(large.clone()).expect("one is always taken");
    assert_eq!(leader.consensus.propose(Bytes::from_static(b"x")), Err(Refusal::Busy));
    leader.drain();
    leader.sync();
    leader.acknowledge(2, leader.consensus.last());
    assert_eq!(leader.committed.last().map(|entry| &entry.data), Some(&large));
    leader.consensus.propose(Bytes::from_static(b"xxxxx")).expect("it is committed");
    leader.consensus.propose(Bytes::from_static(b"xxxxx")).expect("ten in all");
    assert_eq!(leader.consensus.propose(Bytes::from_static(b"x")), Err(Refusal::Busy));
}

#[test]
fn a_message_takes_along_no_more_data_than_a_message_may_have_and_the_rest_follows() {
    let mut leader = Bench::new(member(1, &[1, 2, 3], &[]));
    leader.consensus.message_bytes_max = 100;
    leader.lead(&[2, 3]);
    leader.sync();
    let first = leader.consensus.last();
    leader.sent.clear();
    // Nothing is sent to a follower that was not heard of yet; what it says first comes when none of this is written.
    for value in 1..=3 {
        leader.consensus.propose(Bytes::from(vec![value; 60])).unwrap();
    }
    leader.consensus.append_proposed();
    leader.acknowledge(2, first);
    assert_eq!(data_sent(&mut leader), [1], "60 bytes fit into 100, 120 do not");
    leader.sync();
    leader.acknowledge(2, LogIndex(first.0 + 1));
    leader.consensus.propose(Bytes::from(vec![4; 60])).unwrap();
    leader.drain();
    assert_eq!(data_sent(&mut leader), [4], "raft-rs believes that all of it was sent");
    let mut refused = message(MessageType::MsgAppendResponse, 2, 1, leader.consensus.standing().1);
    (refused.index, refused.reject, refused.reject_hint) = (first.0 + 3, true, first.0 + 1);
    leader.receive(refused).unwrap();
    leader.sync();
    leader.acknowledge(2, LogIndex(first.0 + 1));
    assert_eq!(data_sent(&mut leader).first(), Some(&2), "it goes on where the follower stands");
}

/// The first byte of each entry with data that was sent to member 2.
fn data_sent(leader: &mut Bench) -> Vec<u8> {
    let mut data = Vec::new();
    for sent in std::mem::take(&mut leader.sent).into_iter().filter(|sent| sent.to == NodeId(2)) {
        let bytes = raft_bytes(NodeId(1), sent.to, sent.frame);
        let entries = wire::decode(&bytes).unwrap().into_entries();
        data.extend(entries.iter().filter_map(|entry| entry.data.first()));
    }
    data
}
