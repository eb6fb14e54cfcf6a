//! Between raft-rs's types and the core's own. raft-rs numbers learners 2, etcd 3; disk and state machine have etcd's
//! numbers, raft-rs and the messages between members have raft-rs's.

use bytes::Bytes;
use prost::Message as _;
use prost_raft::Message as _;
use raft::eraftpb;

use super::wire;
use crate::digest::Digest;
use crate::log::{ConfState, Entry, EntryKind, HardState, SnapshotMeta};
use crate::proto::raftpb;
use crate::types::{LogIndex, NodeId, Term};

/// etcd's number for "add a learner" (contract, section 7).
const ETCD_ADD_LEARNER: i32 = 3;
/// etcd's number for "change a member's addresses"; raft-rs has no such change.
const ETCD_UPDATE: i32 = 2;

/// An entry as the rest of the core knows it; not for one whose data stands elsewhere.
pub(super) fn entry_from_raft(entry: eraftpb::Entry) -> Entry {
    assert!(!wire::is_elsewhere(&entry), "its data stands elsewhere");
    let kind = match entry.entry_type {
        1 => EntryKind::ConfChange,
        2 => EntryKind::ConfChangeV2,
        _ => EntryKind::Normal,
    };
    let data = match kind {
        EntryKind::ConfChange => conf_change_to_etcd(&entry.data),
        EntryKind::Normal | EntryKind::ConfChangeV2 => Bytes::from(entry.data),
    };
    Entry { term: Term(entry.term), index: LogIndex(entry.index), kind, data }
}

/// An entry as raft-rs knows it: without its data, if that is not a conf change.
#[inline]
pub(super) fn entry_to_raft(entry: &Entry) -> eraftpb::Entry {
    if entry.kind == EntryKind::Normal && !entry.data.is_empty() {
        return wire::elsewhere(entry.term, entry.index);
    }
    all_to_raft(entry)
}

/// An entry as raft-rs knows it, with its data.
fn all_to_raft(entry: &Entry) -> eraftpb::Entry {
    let (entry_type, data) = match entry.kind {
        EntryKind::Normal => (0, entry.data.to_vec()),
        EntryKind::ConfChange => (1, conf_change_from_etcd(&entry.data)),
        EntryKind::ConfChangeV2 => (2, entry.data.to_vec()),
    };
    eraftpb::Entry { entry_type, term: entry.term.0, index: entry.index.0, data, ..Default::default() }
}

/// The digest of what an entry means, for observers.
pub(crate) fn entry_digest(entry: &Entry) -> Digest {
    Digest::of(&entry.data).then(Digest(match entry.kind {
        EntryKind::Normal => 0,
        EntryKind::ConfChange => 1,
        EntryKind::ConfChangeV2 => 2,
    }))
}

fn conf_change_to_etcd(data: &[u8]) -> Bytes {
    let Ok(change) = <eraftpb::ConfChange as prost_raft::Message>::decode(data) else {
        return Bytes::copy_from_slice(data);
    };
    let number = if change.change_type == 2 { ETCD_ADD_LEARNER } else { change.change_type };
    let etcd = raftpb::ConfChange {
        id: Some(change.id),
        r#type: Some(number),
        node_id: Some(change.node_id),
        context: Some(Bytes::from(change.context)),
    };
    Bytes::from(etcd.encode_to_vec())
}

fn conf_change_from_etcd(data: &[u8]) -> Vec<u8> {
    to_raft_conf_change(data).map_or_else(|| data.to_vec(), |change| change.encode_to_vec())
}

/// The conf change that `data`, in etcd's encoding, means to raft-rs. `None` if it changes nothing there: it cannot be
/// read, or only changes addresses.
pub(super) fn to_raft_conf_change(data: &[u8]) -> Option<eraftpb::ConfChange> {
    let change = raftpb::ConfChange::decode(data).ok()?;
    let change_type = match change.r#type() {
        0 => 0,
        1 => 1,
        ETCD_ADD_LEARNER => 2,
        ETCD_UPDATE => return None,
        _ => return None,
    };
    Some(eraftpb::ConfChange {
        change_type,
        node_id: change.node_id(),
        id: change.id(),
        context: change.context().to_vec(),
    })
}

/// A hard state as the rest of the core knows it.
pub(super) fn hard_state_from_raft(state: &eraftpb::HardState) -> HardState {
    HardState { term: Term(state.term), vote: NodeId(state.vote), commit: LogIndex(state.commit) }
}

/// A hard state as raft-rs knows it.
pub(super) fn hard_state_to_raft(state: HardState) -> eraftpb::HardState {
    eraftpb::HardState { term: state.term.0, vote: state.vote.0, commit: state.commit.0 }
}

/// A configuration, each list sorted: raft-rs keeps them in hash order.
pub(super) fn conf_state_from_raft(state: &eraftpb::ConfState) -> ConfState {
    let sorted = |ids: &[u64]| {
        let mut ids: Vec<NodeId> = ids.iter().map(|id| NodeId(*id)).collect();
        ids.sort_unstable();
        ids
    };
    ConfState {
        voters: sorted(&state.voters),
        learners: sorted(&state.learners),
        voters_outgoing: sorted(&state.voters_outgoing),
        learners_next: sorted(&state.learners_next),
        auto_leave: state.auto_leave,
    }
}

/// A configuration as raft-rs knows it.
pub(super) fn conf_state_to_raft(state: &ConfState) -> eraftpb::ConfState {
    let ids = |ids: &[NodeId]| ids.iter().map(|id| id.0).collect();
    eraftpb::ConfState {
        voters: ids(&state.voters),
        learners: ids(&state.learners),
        voters_outgoing: ids(&state.voters_outgoing),
        learners_next: ids(&state.learners_next),
        auto_leave: state.auto_leave,
    }
}

/// Where a snapshot stands, from raft-rs's metadata.
pub(super) fn meta_from_raft(meta: &eraftpb::SnapshotMetadata) -> SnapshotMeta {
    let conf_state = meta.conf_state.as_ref().map(conf_state_from_raft).unwrap_or_default();
    SnapshotMeta { index: LogIndex(meta.index), term: Term(meta.term), conf_state }
}

/// raft-rs's metadata of a snapshot.
pub(super) fn meta_to_raft(meta: &SnapshotMeta) -> eraftpb::SnapshotMetadata {
    eraftpb::SnapshotMetadata {
        conf_state: Some(conf_state_to_raft(&meta.conf_state)),
        index: meta.index.0,
        term: meta.term.0,
    }
}

/// The name of a raft message's kind.
pub(super) fn kind_name(msg_type: i32) -> &'static str {
    match msg_type {
        3 => "append",
        4 => "append-reply",
        5 => "vote",
        6 => "vote-reply",
        7 => "snapshot",
        8 => "heartbeat",
        9 => "heartbeat-reply",
        14 => "timeout-now",
        17 => "pre-vote",
        18 => "pre-vote-reply",
        _ => "raft-other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_learner_has_number_three_on_disk_and_two_in_raft_rs() {
        let change = eraftpb::ConfChange { change_type: 2, node_id: 7, id: 1, context: vec![1, 2] };
        let raft_entry = eraftpb::Entry { entry_type: 1, data: change.encode_to_vec(), ..Default::default() };
        let entry = entry_from_raft(raft_entry.clone());
        assert_eq!(raftpb::ConfChange::decode(entry.data.clone()).unwrap().r#type(), 3);
        assert_eq!(entry_to_raft(&entry).data, raft_entry.data);
    }

    #[test]
    fn an_address_change_never_reaches_raft_rs() {
        let etcd = raftpb::ConfChange { r#type: Some(ETCD_UPDATE), node_id: Some(7), ..Default::default() };
        assert_eq!(to_raft_conf_change(&etcd.encode_to_vec()), None);
    }

    #[test]
    fn configurations_come_back_sorted() {
        let state = eraftpb::ConfState { voters: vec![3, 1, 2], ..Default::default() };
        assert_eq!(conf_state_from_raft(&state).voters, vec![NodeId(1), NodeId(2), NodeId(3)]);
    }
}
