//! What records carry: metadata, entries, hard states and snapshot marks, in etcd's encoding.
//!
//! Every field is always present, the data of an entry too, even if it is empty. So the record types cannot be taken
//! for one another: the checksum does not cover the type, and an entry without data would read as a hard state.

use bytes::Bytes;
use prost::Message;

use crate::fields::Head;
use crate::log::{ConfState, Entry, EntryKind, HardState, SnapshotMeta};
use crate::proto::raftpb;
use crate::types::{ClusterId, LogIndex, NodeId, Term};

use super::NUMBER_MAX;
use super::record::{RecordKind, framed_bytes_max, put_record};

/// Three keys and varints, and the key and length of the data.
const ENTRY_HEAD_BYTES_MAX: usize = 2 + 11 + 11 + 1 + 10;

/// One value on its way into the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Entry(Entry),
    HardState(HardState),
    /// Apart, as it is large and rare.
    Mark(Box<SnapshotMeta>),
}

impl Payload {
    /// An upper bound of the framed size.
    pub(super) fn framed_bytes_max(&self) -> u64 {
        framed_bytes_max(match self {
            Payload::Entry(entry) => ENTRY_HEAD_BYTES_MAX + entry.data.len(),
            Payload::HardState(_) => 3 * 11,
            Payload::Mark(mark) => mark_message(mark).encoded_len(),
        })
    }

    /// Appends the framed record.
    pub(super) fn put(&self, out: &mut Vec<u8>, running_crc: &mut u32) {
        match self {
            Payload::Entry(entry) => {
                let head = entry_head(entry);
                let head = head.bytes();
                put_record(out, running_crc, RecordKind::Entry, head.len() + entry.data.len(), |out| {
                    out.extend_from_slice(head);
                    out.extend_from_slice(&entry.data);
                });
            }
            Payload::HardState(state) => {
                put_message(out, running_crc, RecordKind::HardState, &hard_state_message(state));
            }
            Payload::Mark(mark) => put_message(out, running_crc, RecordKind::SnapshotMark, &mark_message(mark)),
        }
    }
}

/// Appends the header of a segment: the running checksum, whose log it is, and what must not be forgotten.
///
/// The first segment of all starts with the mark {0, 0}; the others with the hard state at the cut, if there is one.
pub(super) fn put_header(
    out: &mut Vec<u8>,
    running_crc: &mut u32,
    node_id: NodeId,
    cluster_id: ClusterId,
    first: bool,
    hard_state: HardState,
) {
    put_record(out, running_crc, RecordKind::Crc, 0, |_| ());
    let metadata = raftpb::Metadata { node_id: Some(node_id.0), cluster_id: Some(cluster_id.0) };
    put_message(out, running_crc, RecordKind::Metadata, &metadata);
    if first {
        Payload::Mark(Box::default()).put(out, running_crc);
    }
    if hard_state != HardState::default() {
        Payload::HardState(hard_state).put(out, running_crc);
    }
}

/// An upper bound of what [`put_header`] appends.
pub(super) fn header_bytes_max() -> u64 {
    framed_bytes_max(0) + 2 * framed_bytes_max(22) + framed_bytes_max(33)
}

fn put_message(out: &mut Vec<u8>, running_crc: &mut u32, kind: RecordKind, message: &impl Message) {
    put_record(out, running_crc, kind, message.encoded_len(), |out| {
        // Growing a buffer in memory cannot fail, and that is the only error of `encode`.
        message.encode(out).unwrap_or_else(|_| unreachable!("a vector grows"));
    });
}

/// Everything of an entry that comes before its data, in the encoding of [`raftpb::Entry`].
fn entry_head(entry: &Entry) -> Head<ENTRY_HEAD_BYTES_MAX> {
    let mut head = Head::new();
    head.always(
        1,
        match entry.kind {
            EntryKind::Normal => 0,
            EntryKind::ConfChange => 1,
            EntryKind::ConfChangeV2 => 2,
        },
    );
    head.always(2, entry.term.0);
    head.always(3, entry.index.0);
    head.length(4, entry.data.len());
    head
}

fn hard_state_message(state: &HardState) -> raftpb::HardState {
    raftpb::HardState { term: Some(state.term.0), vote: Some(state.vote.0), commit: Some(state.commit.0) }
}

fn mark_message(mark: &SnapshotMeta) -> raftpb::SnapshotMark {
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.0).collect();
    let conf_state = (mark.index > LogIndex(0)).then(|| raftpb::ConfState {
        voters: ids(&mark.conf_state.voters),
        learners: ids(&mark.conf_state.learners),
        voters_outgoing: ids(&mark.conf_state.voters_outgoing),
        learners_next: ids(&mark.conf_state.learners_next),
        auto_leave: Some(mark.conf_state.auto_leave),
    });
    raftpb::SnapshotMark { index: Some(mark.index.0), term: Some(mark.term.0), conf_state }
}

/// Decodes a message that has to be exactly what we would encode: nothing unknown, nothing twice, nothing longer.
fn decode<M: Message + Default>(data: Bytes) -> Option<M> {
    let data_bytes = data.len();
    let message = M::decode(data).ok()?;
    (message.encoded_len() == data_bytes).then_some(message)
}

/// An index that can be counted on from without overflow.
fn log_index(number: u64) -> Option<LogIndex> {
    (number <= NUMBER_MAX).then_some(LogIndex(number))
}

/// Decodes the owner of a log.
pub(super) fn decode_metadata(data: Bytes) -> Option<(NodeId, ClusterId)> {
    let message: raftpb::Metadata = decode(data)?;
    Some((NodeId(message.node_id?), ClusterId(message.cluster_id?)))
}

/// Decodes an entry; its data shares the memory of `data`.
pub(super) fn decode_entry(data: Bytes) -> Option<Entry> {
    let message: raftpb::Entry = decode(data)?;
    let kind = match message.r#type? {
        0 => EntryKind::Normal,
        1 => EntryKind::ConfChange,
        2 => EntryKind::ConfChangeV2,
        _ => return None,
    };
    Some(Entry { term: Term(message.term?), index: log_index(message.index?)?, kind, data: message.data? })
}

/// Decodes a hard state.
pub(super) fn decode_hard_state(data: Bytes) -> Option<HardState> {
    let message: raftpb::HardState = decode(data)?;
    Some(HardState { term: Term(message.term?), vote: NodeId(message.vote?), commit: LogIndex(message.commit?) })
}

/// Decodes a snapshot mark. Only the mark {0, 0} has no configuration.
pub(super) fn decode_mark(data: Bytes) -> Option<SnapshotMeta> {
    let message: raftpb::SnapshotMark = decode(data)?;
    let (index, term) = (log_index(message.index?)?, Term(message.term?));
    let Some(conf) = message.conf_state else {
        let is_start = index == LogIndex(0) && term == Term(0);
        return is_start.then(SnapshotMeta::default);
    };
    let ids = |nodes: Vec<u64>| nodes.into_iter().map(NodeId).collect();
    let conf_state = ConfState {
        voters: ids(conf.voters),
        learners: ids(conf.learners),
        voters_outgoing: ids(conf.voters_outgoing),
        learners_next: ids(conf.learners_next),
        auto_leave: conf.auto_leave?,
    };
    Some(SnapshotMeta { index, term, conf_state })
}
