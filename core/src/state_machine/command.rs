//! What a Raft entry asks of the state machine, in etcd's encoding.

use std::fmt;

use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use super::plain_put;
use super::put::Put;
use crate::config::Member;
use crate::log::{Entry, EntryKind};
use crate::proto::{etcdserverpb as pb, raftpb};
use crate::types::{ClusterId, LogIndex, NodeId, Term};

/// What an entry asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Command<'a> {
    /// Nothing: the entry that opens a leader's term, or one that leaves a joint configuration.
    Empty,
    /// A put and nothing else, of no user, read from the bytes of its entry: most entries are one.
    Put(PlainPut<'a>),
    /// Another write of a client's, or a member's own, or one that is not read from an entry.
    Request(Box<pb::InternalRaftRequest>),
    /// A change of the members.
    ConfChange(MemberChange),
}

/// A put that is all that its entry asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainPut<'a> {
    /// Who proposed it; 0 if that does not stand there.
    pub proposer: NodeId,
    /// Under which id; 0 for none.
    pub request_id: u64,
    /// The put.
    pub put: Put<'a>,
}

impl From<pb::InternalRaftRequest> for Command<'_> {
    /// What the entry of this request asks for.
    fn from(request: pb::InternalRaftRequest) -> Self {
        Command::Request(Box::new(request))
    }
}

/// The bytes of an entry that asks for this.
pub(crate) fn encode_request(request: &pb::InternalRaftRequest) -> Bytes {
    plain_put::encode(request).unwrap_or_else(|| request.encode_to_vec()).into()
}

/// A change of the members: etcd's `ConfChange` with its context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// Names the proposal.
    pub id: u64,
    /// Which member.
    pub node_id: NodeId,
    /// What becomes of it.
    pub action: MemberAction,
}

/// What becomes of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberAction {
    /// It joins and votes.
    AddVoter(MemberAttributes),
    /// It joins as a learner.
    AddLearner(MemberAttributes),
    /// The learner becomes a voter.
    Promote,
    /// It leaves for good.
    Remove,
    /// Its peers reach it elsewhere.
    Update {
        /// Where.
        peer_urls: Vec<String>,
    },
}

/// What is known of a member when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberAttributes {
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
    /// Its name; empty until it has started.
    pub name: String,
    /// Where clients reach it.
    pub client_urls: Vec<String>,
}

/// Why an entry has no meaning. It is then applied as [`Command::Empty`], and a conf change changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    what: String,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the entry cannot be decoded: {}", self.what)
    }
}

impl std::error::Error for CommandError {}

fn unreadable(what: impl fmt::Display) -> CommandError {
    CommandError { what: what.to_string() }
}

impl<'a> Command<'a> {
    /// What an entry of this kind with this payload asks for. The same answer on every member.
    pub fn decode(kind: EntryKind, data: &'a Bytes) -> Result<Command<'a>, CommandError> {
        match kind {
            EntryKind::Normal | EntryKind::ConfChangeV2 if data.is_empty() => Ok(Command::Empty),
            EntryKind::Normal => match plain_put::decode(data) {
                Some(put) => Ok(Command::Put(put)),
                None => pb::InternalRaftRequest::decode(data.clone()).map(Command::from).map_err(unreadable),
            },
            EntryKind::ConfChange => MemberChange::decode(data).map(Command::ConfChange),
            EntryKind::ConfChangeV2 => Err(unreadable("members change by simple conf changes only")),
        }
    }

    fn request(&self) -> Option<&pb::InternalRaftRequest> {
        match self {
            Command::Request(request) => Some(request),
            Command::Empty | Command::Put(_) | Command::ConfChange(_) => None,
        }
    }

    /// Who proposed it, and under which id; 0 for what does not stand there.
    pub fn origin(&self) -> (NodeId, u64) {
        match self {
            Command::Put(put) => (put.proposer, put.request_id),
            Command::Request(request) => (NodeId(request.id), request.header.as_ref().map_or(0, |header| header.id)),
            Command::Empty | Command::ConfChange(_) => (NodeId(0), 0),
        }
    }

    /// The compaction that it asks for.
    pub fn compaction(&self) -> Option<&pb::CompactionRequest> {
        self.request()?.compaction.as_ref()
    }

    /// How many records it asks to be swept.
    pub fn swept_records(&self) -> usize {
        let sweep = self.request().and_then(|request| request.sweep.as_ref());
        sweep.map_or(0, |sweep| sweep.records as usize)
    }

    /// Whether it adds no data of a client's to the store: it deletes, compacts or revokes, or is about members,
    /// alarms or the remaining times of leases.
    pub fn adds_no_data(&self) -> bool {
        match self {
            Command::Empty | Command::ConfChange(_) => true,
            Command::Put(_) => false,
            Command::Request(request) => {
                request.delete_range.is_some()
                    || request.compaction.is_some()
                    || request.lease_revoke.is_some()
                    || request.alarm.is_some()
                    || request.lease_checkpoint.is_some()
                    || request.sweep.is_some()
                    || request.quota_reached.is_some()
                    || request.txn.as_ref().is_some_and(|txn| !puts(txn))
            }
        }
    }
}

/// Whether a transaction may put something, on either branch. Its nesting was checked when it was proposed.
fn puts(txn: &pb::TxnRequest) -> bool {
    use pb::request_op::Request;
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Request::RequestPut(_)) => true,
        Some(Request::RequestTxn(nested)) => puts(nested),
        Some(Request::RequestRange(_) | Request::RequestDeleteRange(_)) | None => false,
    })
}

const CHANGE_ADD_VOTER: i32 = 0;
const CHANGE_REMOVE: i32 = 1;
const CHANGE_UPDATE: i32 = 2;
const CHANGE_ADD_LEARNER: i32 = 3;

/// etcd's JSON of a member, the context of a conf change. The order of the fields is etcd's.
#[derive(Debug, Default, Serialize, Deserialize)]
struct MemberJson {
    id: u64,
    #[serde(rename = "peerURLs", default)]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "is_false")]
    is_learner: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Option::is_none")]
    client_urls: Option<Vec<String>>,
    /// Only in changes of a running cluster, there always.
    #[serde(rename = "isPromote", default, skip_serializing_if = "Option::is_none")]
    is_promote: Option<bool>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl MemberJson {
    fn of(id: NodeId, attributes: &MemberAttributes, is_learner: bool) -> MemberJson {
        MemberJson {
            id: id.0,
            peer_urls: Some(attributes.peer_urls.clone()),
            is_learner,
            name: attributes.name.clone(),
            client_urls: (!attributes.client_urls.is_empty()).then(|| attributes.client_urls.clone()),
            is_promote: Some(false),
        }
    }

    fn into_attributes(self) -> MemberAttributes {
        MemberAttributes {
            peer_urls: self.peer_urls.unwrap_or_default(),
            name: self.name,
            client_urls: self.client_urls.unwrap_or_default(),
        }
    }

    fn encode(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("strings and numbers always encode"))
    }
}

impl MemberChange {
    /// Reads etcd's `ConfChange` and its context, which have to agree.
    pub fn decode(data: &Bytes) -> Result<MemberChange, CommandError> {
        let change = raftpb::ConfChange::decode(data.clone()).map_err(unreadable)?;
        let node_id = NodeId(change.node_id());
        if node_id == NodeId(0) {
            return Err(unreadable("conf change of nobody"));
        }
        let action = if change.r#type() == CHANGE_REMOVE {
            MemberAction::Remove
        } else {
            let member: MemberJson = serde_json::from_slice(change.context()).map_err(unreadable)?;
            if member.id != node_id.0 {
                return Err(unreadable(format_args!("conf change of {node_id} speaks of {:x}", member.id)));
            }
            match change.r#type() {
                CHANGE_ADD_VOTER if member.is_promote == Some(true) => MemberAction::Promote,
                CHANGE_ADD_VOTER => MemberAction::AddVoter(member.into_attributes()),
                CHANGE_ADD_LEARNER => MemberAction::AddLearner(member.into_attributes()),
                CHANGE_UPDATE => MemberAction::Update { peer_urls: member.into_attributes().peer_urls },
                other => return Err(unreadable(format_args!("unknown conf change {other}"))),
            }
        };
        Ok(MemberChange { id: change.id(), node_id, action })
    }

    /// Writes etcd's `ConfChange` with its context.
    pub fn encode(&self) -> Bytes {
        let none = MemberAttributes::default();
        let (kind, member) = match &self.action {
            MemberAction::AddVoter(attributes) => {
                (CHANGE_ADD_VOTER, Some(MemberJson::of(self.node_id, attributes, false)))
            }
            MemberAction::AddLearner(attributes) => {
                (CHANGE_ADD_LEARNER, Some(MemberJson::of(self.node_id, attributes, true)))
            }
            MemberAction::Promote => {
                let member = MemberJson { is_promote: Some(true), ..MemberJson::of(self.node_id, &none, false) };
                (CHANGE_ADD_VOTER, Some(member))
            }
            MemberAction::Remove => (CHANGE_REMOVE, None),
            MemberAction::Update { peer_urls } => {
                let attributes = MemberAttributes { peer_urls: peer_urls.clone(), ..none };
                let member = MemberJson { is_promote: None, ..MemberJson::of(self.node_id, &attributes, false) };
                (CHANGE_UPDATE, Some(member))
            }
        };
        encode_conf_change(self.id, kind, self.node_id, member.map(|member| member.encode()))
    }
}

fn encode_conf_change(id: u64, kind: i32, node_id: NodeId, context: Option<Bytes>) -> Bytes {
    let change = raftpb::ConfChange { id: Some(id), r#type: Some(kind), node_id: Some(node_id.0), context };
    change.encode_to_vec().into()
}

/// The entries that every founder begins with: the conf changes that add the members, by id, at indexes 1..=n of
/// term 1, as etcd writes them. [`super::StateMachine::genesis`] is the state after them.
pub fn bootstrap_entries(_cluster_id: ClusterId, members: &[Member]) -> Vec<Entry> {
    let entry = |(index, member): (u64, &Member)| {
        let attributes = MemberAttributes {
            peer_urls: member.peer_urls.clone(),
            name: member.name.clone(),
            client_urls: Vec::new(),
        };
        let context = MemberJson { is_promote: None, ..MemberJson::of(member.id, &attributes, false) };
        Entry {
            term: Term(1),
            index: LogIndex(index),
            kind: EntryKind::ConfChange,
            data: encode_conf_change(0, CHANGE_ADD_VOTER, member.id, Some(context.encode())),
        }
    };
    (1..).zip(by_id(members)).map(entry).collect()
}

/// The founders, by id.
pub(crate) fn by_id(members: &[Member]) -> Vec<&Member> {
    let mut sorted: Vec<&Member> = members.iter().collect();
    sorted.sort_by_key(|member| member.id);
    sorted
}
