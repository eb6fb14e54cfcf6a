//! What a raft message must be before raft-rs may see it: raft-rs panics on malformed ones, or believes them.

use raft::eraftpb::{EntryType, Message, MessageType};

use crate::types::{LogIndex, NodeId, Term};

/// Beyond this a term is not one that elections reached.
const TERM_MAX: u64 = 1 << 62;

/// What the check knows of the member.
pub(super) struct Here {
    /// This member.
    pub(super) node: NodeId,
    /// Its term.
    pub(super) term: Term,
    /// Who leads it; 0 for nobody.
    pub(super) leader: NodeId,
    /// The last entry of its log.
    pub(super) last: LogIndex,
}

/// Why a message is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It is malformed, or of a kind that members do not send each other here.
    Malformed(&'static str),
    /// It proves that this member lost entries that it had acknowledged.
    ProvesLoss {
        /// How far the leader knows this member's log to reach.
        commit: LogIndex,
    },
}

/// Checks a message that the network says comes from `from`.
pub(super) fn check(here: &Here, from: NodeId, message: &Message) -> Result<(), Refused> {
    let kind = MessageType::from_i32(message.msg_type).ok_or(Refused::Malformed("unknown message type"))?;
    require(message.from == from.0, "sender does not match the frame")?;
    require(message.to == here.node.0, "meant for another member")?;
    require(message.term > 0 && message.term < TERM_MAX, "no such term")?;
    match kind {
        MessageType::MsgAppend => check_append(message),
        MessageType::MsgHeartbeat => check_heartbeat(here, message),
        MessageType::MsgSnapshot => check_snapshot(message),
        MessageType::MsgAppendResponse => check_append_reply(here, message),
        MessageType::MsgTimeoutNow => {
            require(message.term == here.term.0 && from == here.leader, "only the leader hands leadership on")
        }
        MessageType::MsgHeartbeatResponse
        | MessageType::MsgRequestVote
        | MessageType::MsgRequestVoteResponse
        | MessageType::MsgRequestPreVote
        | MessageType::MsgRequestPreVoteResponse => Ok(()),
        // Proposals and reads have messages of their own; raft-rs loses its own silently.
        MessageType::MsgPropose
        | MessageType::MsgReadIndex
        | MessageType::MsgReadIndexResp
        | MessageType::MsgTransferLeader => Err(Refused::Malformed("not spoken between members")),
        MessageType::MsgHup
        | MessageType::MsgBeat
        | MessageType::MsgUnreachable
        | MessageType::MsgSnapStatus
        | MessageType::MsgCheckQuorum => Err(Refused::Malformed("local to a member")),
    }
}

fn require(holds: bool, what: &'static str) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(Refused::Malformed(what)) }
}

fn check_append(message: &Message) -> Result<(), Refused> {
    require((message.log_term > 0) == (message.index > 0), "append after an entry without a term")?;
    require(message.index < u64::MAX - message.entries.len() as u64, "index out of range")?;
    let mut index = message.index;
    let mut term = message.log_term;
    for entry in &message.entries {
        index += 1;
        require(EntryType::from_i32(entry.entry_type).is_some(), "unknown entry type")?;
        require(entry.index == index, "entries with a gap")?;
        require(entry.term > 0, "an entry without a term")?;
        require(entry.term >= term && entry.term <= message.term, "entry terms out of order")?;
        term = entry.term;
    }
    Ok(())
}

fn check_heartbeat(here: &Here, message: &Message) -> Result<(), Refused> {
    // A leader never tells a member to commit more than that member acknowledged to it in this term.
    if message.term >= here.term.0 && message.commit > here.last.0 {
        return Err(Refused::ProvesLoss { commit: LogIndex(message.commit) });
    }
    Ok(())
}

fn check_append_reply(here: &Here, message: &Message) -> Result<(), Refused> {
    if message.term != here.term.0 {
        return Ok(());
    }
    require(message.index <= here.last.0, "acknowledges more than there is")?;
    require(!message.reject || message.reject_hint <= message.index.max(here.last.0), "hint out of range")
}

fn check_snapshot(message: &Message) -> Result<(), Refused> {
    let meta = message.snapshot.as_ref().and_then(|snapshot| snapshot.metadata.as_ref());
    let meta = meta.ok_or(Refused::Malformed("snapshot without metadata"))?;
    let conf = meta.conf_state.as_ref().ok_or(Refused::Malformed("snapshot without a configuration"))?;
    require(meta.index > 0 && meta.term > 0 && meta.term <= message.term, "snapshot without a place")?;
    require(!conf.voters.is_empty(), "snapshot without voters")?;
    let learners = || conf.learners.iter().chain(&conf.learners_next);
    require(!conf.learners.iter().any(|id| conf.voters.contains(id)), "a learner that votes")?;
    require(!learners().any(|id| *id == 0) && !conf.voters.contains(&0), "member 0")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raft::eraftpb::{ConfState, Entry, Snapshot, SnapshotMetadata};

    use super::*;

    const HERE: Here = Here { node: NodeId(1), term: Term(5), leader: NodeId(2), last: LogIndex(10) };

    fn message(kind: MessageType) -> Message {
        Message { msg_type: kind as i32, from: 2, to: 1, term: 5, ..Default::default() }
    }

    fn refused(message: &Message) -> bool {
        check(&HERE, NodeId(2), message).is_err()
    }

    #[test]
    fn a_heartbeat_that_commits_beyond_the_log_proves_loss() {
        let mut heartbeat = message(MessageType::MsgHeartbeat);
        heartbeat.commit = 10;
        assert_eq!(check(&HERE, NodeId(2), &heartbeat), Ok(()));
        heartbeat.commit = 11;
        assert_eq!(check(&HERE, NodeId(2), &heartbeat), Err(Refused::ProvesLoss { commit: LogIndex(11) }));
        heartbeat.term = 4;
        assert_eq!(check(&HERE, NodeId(2), &heartbeat), Ok(()), "an old leader proves nothing");
    }

    #[test]
    fn appends_must_be_contiguous_and_their_terms_in_order() {
        let entry = |index, term| Entry { index, term, ..Default::default() };
        let mut append = message(MessageType::MsgAppend);
        (append.index, append.log_term) = (3, 2);
        append.entries = vec![entry(4, 2), entry(5, 5)];
        assert!(!refused(&append));
        append.entries = vec![entry(4, 2), entry(6, 5)];
        assert!(refused(&append));
        append.entries = vec![entry(4, 3), entry(5, 2)];
        assert!(refused(&append));
        append.entries = vec![entry(4, 6)];
        assert!(refused(&append));
        append.entries = vec![Entry { entry_type: 9, ..entry(4, 5) }];
        assert!(refused(&append));
        append.entries.clear();
        append.log_term = 0;
        assert!(refused(&append));
    }

    #[test]
    fn snapshots_need_voters_and_disjoint_roles() {
        let with = |conf: ConfState| {
            let mut snapshot = message(MessageType::MsgSnapshot);
            let metadata = Some(SnapshotMetadata { index: 7, term: 5, conf_state: Some(conf) });
            snapshot.snapshot = Some(Snapshot { metadata, ..Default::default() });
            snapshot
        };
        assert!(!refused(&with(ConfState { voters: vec![1, 2], ..Default::default() })));
        assert!(refused(&with(ConfState::default())));
        assert!(refused(&with(ConfState { voters: vec![1], learners: vec![1], ..Default::default() })));
    }

    #[test]
    fn what_members_do_not_say_is_not_heard() {
        for kind in [MessageType::MsgPropose, MessageType::MsgReadIndex, MessageType::MsgHup, MessageType::MsgBeat] {
            assert!(refused(&message(kind)));
        }
        let mut handed_on = message(MessageType::MsgTimeoutNow);
        assert!(!refused(&handed_on));
        handed_on.from = 3;
        assert!(check(&HERE, NodeId(3), &handed_on).is_err(), "only the leader may");
        assert!(refused(&Message { msg_type: 99, ..message(MessageType::MsgBeat) }));
    }

    proptest! {
        #[test]
        fn any_message_is_judged_without_a_panic(kind in -1..30, index: u64, log_term: u64, commit: u64, hint: u64,
                                                 entries in proptest::collection::vec((0u64..6, 0u64..6, 0..4), 0..4)) {
            let entry = |(index, term, entry_type)| Entry { index, term, entry_type, ..Default::default() };
            let entries = entries.into_iter().map(entry);
            let message = Message { msg_type: kind, from: 2, to: 1, term: 5, index, log_term, commit, reject_hint: hint,
                                    entries: entries.collect(), ..Default::default() };
            let _ = check(&HERE, NodeId(2), &message);
        }
    }
}
