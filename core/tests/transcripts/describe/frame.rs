//! What members say to each other. A raft message is written as [`super::super::forge`] reads it.

use bytes::Bytes;
use detcd_core::log::EntryKind;
use detcd_core::peer::{self, Body};
use detcd_core::proto::detcdpeer as pb;
use detcd_core::proto::etcdserverpb::InternalRaftRequest;
use detcd_core::proto::raftpb;
use detcd_core::types::{ClusterId, NodeId};
use prost::Message as _;
use raft::eraftpb::{self, MessageType};

use super::entry::{show_entry, show_request};

/// A message by its kind, which a script may pick it by, and what it says.
pub struct Message {
    /// Raft's name of it, or the name of a kind of ours.
    pub kind: String,
    /// The rest of its line.
    pub text: String,
}

/// Reads a frame.
pub fn message(cluster: ClusterId, from: NodeId, to: NodeId, frame: &Bytes) -> Message {
    let body = peer::decode(cluster, from, to, frame.clone()).expect("members send well-formed frames");
    let kind = peer::kind(&body).to_owned();
    match body {
        Body::Raft(bytes) => {
            let message = <eraftpb::Message as prost_raft::Message>::decode(&bytes[..]).expect("a raft message");
            let kind = MessageType::from_i32(message.msg_type).expect("a known one");
            Message { kind: format!("{kind:?}"), text: raft_text(kind, &message) }
        }
        Body::Forward(request) => Message { kind, text: forward_text(&request) },
        Body::ForwardReply(reply) => Message { kind, text: reply_text(&reply) },
        Body::SnapshotFetch(fetch) => {
            let first = fetch.chunk;
            let wants = if fetch.room == 0 { "at work".to_string() } else { format!("chunk={first}+{}", fetch.room) };
            Message { kind, text: format!("at={}/{} {wants}", fetch.index, fetch.term) }
        }
        Body::SnapshotChunk(chunk) => {
            let mut text = format!("at={}/{} chunk={}", chunk.index, chunk.term, chunk.chunk);
            text.push_str(if chunk.last { " last" } else { "" });
            text.push_str(if chunk.gone { " gone" } else { "" });
            Message { kind, text }
        }
    }
}

fn raft_text(kind: MessageType, message: &eraftpb::Message) -> String {
    let eraftpb::Message { term, index, log_term, commit, .. } = message;
    let base = format!("t={term}");
    match kind {
        MessageType::MsgAppend => {
            let entries: String = message.entries.iter().map(|entry| format!(" [{}]", raft_entry(entry))).collect();
            format!("{base} prev={index}/{log_term} commit={commit}{entries}")
        }
        MessageType::MsgAppendResponse if message.reject => {
            format!("{base} index={index} reject hint={}", message.reject_hint)
        }
        MessageType::MsgAppendResponse => format!("{base} index={index}"),
        MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
            let transfer = if message.context.is_empty() { "" } else { " transfer" };
            format!("{base} last={index}/{log_term}{transfer}")
        }
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse => {
            format!("{base} {}", if message.reject { "reject" } else { "grant" })
        }
        MessageType::MsgHeartbeat => format!("{base} commit={commit}{}", round(&message.context)),
        MessageType::MsgHeartbeatResponse => format!("{base}{}", round(&message.context)),
        MessageType::MsgSnapshot => {
            let meta = message.get_snapshot().get_metadata();
            format!("{base} at={}/{}", meta.index, meta.term)
        }
        _ => base,
    }
}

/// The read round that a heartbeat confirms: the life of the member, and the round's number in it.
fn round(context: &[u8]) -> String {
    let (numbers, _) = context.as_chunks::<8>();
    match numbers {
        [boot, round] => format!(" round={}.{}", u64::from_le_bytes(*boot), u64::from_le_bytes(*round)),
        _ => String::new(),
    }
}

fn raft_entry(entry: &eraftpb::Entry) -> String {
    let (kind, data) = match entry.entry_type {
        0 => (EntryKind::Normal, Bytes::from(entry.data.clone())),
        1 => (EntryKind::ConfChange, etcd_conf_change(&entry.data)),
        _ => (EntryKind::ConfChangeV2, Bytes::from(entry.data.clone())),
    };
    show_entry(entry.index, entry.term, kind, &data)
}

/// A conf change with etcd's numbers, in which a learner is 3; raft-rs numbers it 2.
fn etcd_conf_change(data: &[u8]) -> Bytes {
    let change = <eraftpb::ConfChange as prost_raft::Message>::decode(data).expect("a conf change");
    let number = if change.change_type == 2 { 3 } else { change.change_type };
    let etcd = raftpb::ConfChange {
        id: Some(change.id),
        r#type: Some(number),
        node_id: Some(change.node_id),
        context: Some(change.context.into()),
    };
    etcd.encode_to_vec().into()
}

fn forward_text(request: &pb::ForwardRequest) -> String {
    use pb::forward_request::What;
    let base = format!("t={} seq={}.{}", request.term, request.boot, request.sequence);
    match &request.what {
        Some(What::Propose(batch)) => {
            let proposals: Vec<String> = batch.proposals.iter().map(proposal_text).collect();
            format!("t={} boot={} {}", request.term, request.boot, proposals.join(" "))
        }
        Some(What::LeaseKeepAlive(lease)) => format!("{base} lease={:x}", lease.id),
        Some(What::LeaseTimeToLive(lease)) => format!("{base} lease={:x}", lease.id),
        Some(What::ReadIndex(_)) | None => base,
    }
}

fn proposal_text(proposal: &pb::Proposal) -> String {
    let entry = InternalRaftRequest::decode(proposal.data.clone()).expect("a request");
    format!("seq={} [{}]", proposal.sequence, show_request(&entry))
}

fn reply_text(reply: &pb::ForwardReply) -> String {
    use pb::forward_reply::What;
    let base = format!("seq={}.{}", reply.boot, reply.sequence);
    match &reply.what {
        Some(What::Refused(refused)) => format!("{base} refused {:?} t={}", refused.reason(), refused.term),
        Some(What::ReadIndex(index)) => format!("{base} read-index={index}"),
        Some(What::Lease(lease)) if !lease.found => format!("{base} no such lease read-index={}", lease.read_index),
        Some(What::Lease(lease)) => format!("{base} ttl={} read-index={}", lease.granted_ttl_s, lease.read_index),
        None => base,
    }
}
