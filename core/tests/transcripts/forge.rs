//! Messages that a script makes up: those of members that it does not play, and those that no member would send.
//! They are written as they are printed: `MsgAppend t=2 prev=4/1 commit=4 [5/2 put k=v] [6/2 remove 3]`.

use bytes::Bytes;
use detcd_core::peer::{self, Body};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::raftpb;
use detcd_core::state_machine::{MemberAction, MemberAttributes, MemberChange};
use detcd_core::types::NodeId;
use prost::Message as _;
use raft::eraftpb::{self, MessageType};

use crate::command::number;
use crate::network::Link;
use crate::world::CLUSTER;

/// The numbers that a field of a message may have, and how it is written.
const FIELDS: &str = "t=TERM prev=INDEX/TERM last=INDEX/TERM index=INDEX commit=INDEX hint=INDEX at=INDEX/TERM reject";

/// What an entry may ask for.
const ENTRIES: &str = "[INDEX/TERM WHAT], where WHAT is empty, put K=V, remove ID, learner ID, voter ID";

/// A frame with the message that is written in `text`.
///
/// # Errors
/// What is wrong with it, and what is allowed.
pub fn frame(link: Link, text: &str) -> Result<Bytes, String> {
    let (from, to) = link;
    let (head, entries) = text.split_once('[').map_or((text, ""), |(head, entries)| (head, entries));
    let (kind, fields) = head.split_once(' ').unwrap_or((head, ""));
    let mut message = eraftpb::Message { from: from.0, to: to.0, ..Default::default() };
    message.msg_type = kind_number(kind)?;
    fields.split_whitespace().try_for_each(|field| set(&mut message, field))?;
    for text in entries.split('[').filter(|text| !text.is_empty()) {
        let text = text.trim_end().strip_suffix(']').ok_or_else(|| format!("an entry is {ENTRIES}"))?;
        message.entries.push(entry(text)?);
    }
    let bytes = prost_raft::Message::encode_to_vec(&message);
    Ok(peer::encode(CLUSTER, from, to, Body::Raft(bytes.into())))
}

fn kind_number(kind: &str) -> Result<i32, String> {
    let kinds = (0..32).filter_map(MessageType::from_i32);
    let found = kinds.clone().find(|known| format!("{known:?}") == kind);
    found.map(|known| known as i32).ok_or_else(|| {
        let names: Vec<String> = kinds.map(|known| format!("{known:?}")).collect();
        format!("no raft message is a '{kind}'; there are: {}", names.join(" "))
    })
}

fn set(message: &mut eraftpb::Message, field: &str) -> Result<(), String> {
    let (name, value) = field.split_once('=').unwrap_or((field, ""));
    let (index, term) = value.split_once('/').unwrap_or((value, ""));
    match name {
        "reject" => message.reject = true,
        "t" => message.term = number(value)?,
        "prev" | "last" => (message.index, message.log_term) = (number(index)?, number(term)?),
        "index" => message.index = number(value)?,
        "commit" => message.commit = number(value)?,
        "hint" => message.reject_hint = number(value)?,
        "at" => {
            let metadata = eraftpb::SnapshotMetadata { index: number(index)?, term: number(term)?, conf_state: None };
            message.snapshot = Some(eraftpb::Snapshot { metadata: Some(metadata), ..Default::default() });
        }
        _ => return Err(format!("'{field}' is no field; there are: {FIELDS}")),
    }
    Ok(())
}

fn entry(text: &str) -> Result<eraftpb::Entry, String> {
    let wrong = || format!("'{text}' is no entry; one is {ENTRIES}");
    let (place, what) = text.split_once(' ').ok_or_else(wrong)?;
    let (index, term) = place.split_once('/').ok_or_else(wrong)?;
    let (index, term) = (number(index)?, number(term)?);
    let (entry_type, data) = match what.split_once(' ') {
        None if what == "empty" => (0, Vec::new()),
        Some(("put", pair)) => (0, put(index, pair)?),
        Some(("remove", id)) => (1, conf_change(NodeId(number(id)?), MemberAction::Remove)),
        Some(("learner", id)) => {
            let id = NodeId(number(id)?);
            (1, conf_change(id, MemberAction::AddLearner(attributes(id))))
        }
        Some(("voter", id)) => {
            let id = NodeId(number(id)?);
            (1, conf_change(id, MemberAction::AddVoter(attributes(id))))
        }
        _ => return Err(wrong()),
    };
    Ok(eraftpb::Entry { entry_type, index, term, data, ..Default::default() })
}

/// A put that no member of the cluster has proposed in this life.
fn put(index: u64, pair: &str) -> Result<Vec<u8>, String> {
    let (key, value) = pair.split_once('=').ok_or_else(|| format!("'{pair}' is no KEY=VALUE"))?;
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    let put = Some(pb::PutRequest { key, value, ..Default::default() });
    let header = Some(pb::RequestHeader { id: index, ..Default::default() });
    Ok(pb::InternalRaftRequest { header, put, ..Default::default() }.encode_to_vec())
}

fn attributes(id: NodeId) -> MemberAttributes {
    MemberAttributes { peer_urls: vec![format!("http://forged-{id}:2380")], ..MemberAttributes::default() }
}

/// A conf change as raft-rs writes it between members: a learner has number 2 there, and 3 with etcd.
fn conf_change(node_id: NodeId, action: MemberAction) -> Vec<u8> {
    let etcd = MemberChange { id: 0, node_id, action }.encode();
    let etcd = raftpb::ConfChange::decode(etcd).expect("just encoded");
    let change_type = if etcd.r#type() == 3 { 2 } else { etcd.r#type() };
    let context = etcd.context.clone().unwrap_or_default().to_vec();
    let change = eraftpb::ConfChange { id: etcd.id(), change_type, node_id: node_id.0, context };
    prost_raft::Message::encode_to_vec(&change)
}
