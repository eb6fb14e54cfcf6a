//! What happens to bytes that a client sends, from their being decoded to their being applied or read: for whatever
//! bytes, without a panic, and with a state that is what it says. Used by the tests beside it and by the fuzz targets.

use std::time::Duration;

use bytes::Bytes;
use detcd_core::api::validate::{Limits, Proposal, check_size, is_read_only, propose, validate};
use detcd_core::api::{ReadRequest, Request, Response, Status, read};
use detcd_core::log::{ConfState, EntryKind, SnapshotMeta};
use detcd_core::proto::detcdpeer::frame::Body;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::snapshot::{SnapshotLoader, SnapshotWriter};
use detcd_core::state_machine::{Command, StateMachine};
use detcd_core::types::{ClusterId, LeaseId, NodeId, StreamId, Term};
use detcd_core::watch::WatchHub;
use detcd_core::{Instant, Outputs, peer};
use prost::Message;

/// etcd's defaults.
const LIMITS: Limits = Limits { txn_ops_max: 128, request_bytes_max: 1_572_864 };
const PROPOSAL: Proposal = Proposal { id: 1, drawn_lease: LeaseId(77), lease_ttl_min_s: 2 };

/// How far bytes got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// They are no request.
    Undecodable,
    /// A check that needs no store refused it.
    Refused(Status),
    /// The store answered, well or not.
    Answered,
}

/// One of the requests that clients can send, by a number.
fn decode(kind: u8, bytes: Bytes) -> Result<Request, prost::DecodeError> {
    Ok(match kind % 12 {
        0 => Request::Range(Message::decode(bytes)?),
        1 => Request::Put(Message::decode(bytes)?),
        2 => Request::DeleteRange(Message::decode(bytes)?),
        3..=5 => Request::Txn(Message::decode(bytes)?),
        6 => Request::Compact(Message::decode(bytes)?),
        7 => Request::LeaseGrant(Message::decode(bytes)?),
        8 => Request::LeaseRevoke(Message::decode(bytes)?),
        9 => Request::LeaseTimeToLive(Message::decode(bytes)?),
        10 => Request::Alarm(Message::decode(bytes)?),
        _ => Request::HashKv(Message::decode(bytes)?),
    })
}

/// A store with a few keys of some versions, a lease and a compaction.
fn store() -> StateMachine {
    let mut machine = StateMachine::default();
    let mut apply = |entry: pb::InternalRaftRequest| {
        machine.apply(machine.applied().next(), &Command::from(entry)).result.expect("it is valid");
    };
    let grant = pb::LeaseGrantRequest { id: 7, ttl: 60 };
    apply(pb::InternalRaftRequest { lease_grant: Some(grant), ..Default::default() });
    for (key, value, lease) in [("a", "1", 0), ("b", "", 7), ("a", "2", 7), ("a/b", "3", 0)] {
        let put = pb::PutRequest { key: key.into(), value: value.into(), lease, ..Default::default() };
        apply(pb::InternalRaftRequest { put: Some(put), ..Default::default() });
    }
    let compaction = pb::CompactionRequest { revision: 3, physical: false };
    apply(pb::InternalRaftRequest { compaction: Some(compaction), ..Default::default() });
    machine
}

/// A client's call: the first byte says which, the others are its request.
pub fn call(data: &[u8]) -> Fate {
    let Some((kind, bytes)) = data.split_first() else { return Fate::Undecodable };
    let Ok(request) = decode(*kind, Bytes::copy_from_slice(bytes)) else { return Fate::Undecodable };
    if let Err(status) = validate(&request, &LIMITS) {
        return Fate::Refused(status);
    }
    match as_read(&request) {
        Some(read) => answer(read::execute(&store().view(), &read, pb::ResponseHeader::default())),
        None => write(request),
    }
}

fn as_read(request: &Request) -> Option<ReadRequest> {
    match request {
        Request::Range(range) => Some(ReadRequest::Range(range.clone())),
        Request::Txn(txn) if is_read_only(txn) => Some(ReadRequest::Txn(txn.clone())),
        Request::LeaseTimeToLive(request) => {
            Some(ReadRequest::LeaseTimeToLive { request: *request, remaining_ttl_s: Some(-1) })
        }
        Request::HashKv(request) => Some(ReadRequest::HashKv(*request)),
        _ => None,
    }
}

/// A write goes through the log, where it is decoded again, to the store.
fn write(request: Request) -> Fate {
    let entry = propose(request, PROPOSAL).expect("it is a write");
    let bytes = Bytes::from(entry.encode_to_vec());
    if let Err(status) = check_size(bytes.len(), &LIMITS) {
        return Fate::Refused(status);
    }
    let command = Command::decode(EntryKind::Normal, &bytes).expect("what a client could send can be decoded again");
    let (mut machine, mut asked) = (store(), store());
    let applied = machine.apply(machine.applied().next(), &command);
    let as_asked = asked.apply(asked.applied().next(), &Command::from(entry));
    assert_eq!((&applied.result, machine.digest()), (&as_asked.result, asked.digest()), "the log keeps it as it is");
    assert_eq!(machine.digest(), machine.recompute_digest(), "the digest moves along with the state");
    answer(applied.result)
}

fn answer(result: Result<Response, Status>) -> Fate {
    if let Ok(mut response) = result {
        response.header_mut().get_or_insert_default();
        // Every field of it is looked at.
        assert!(!format!("{response:?}").is_empty());
    }
    Fate::Answered
}

/// A client's requests on a watch stream, each with a length of one byte before it.
pub fn watch(mut data: &[u8]) -> Fate {
    let machine = store();
    let (view, header, now) = (machine.view(), pb::ResponseHeader::default(), Instant::default());
    let mut hub = WatchHub::new(1 << 10, Duration::from_secs(1)).with_fragment_bytes(100).with_slice_events(3);
    let mut out = Outputs::default();
    hub.open(StreamId(1));
    hub.credit(StreamId(1), 1 << 20, &view, &header, now, &mut out);
    let mut fate = Fate::Undecodable;
    while let Some((len, rest)) = data.split_first() {
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(*len)));
        data = rest;
        if let Ok(request) = pb::WatchRequest::decode(bytes) {
            hub.request(StreamId(1), request, &view, &header, now, &mut out);
            fate = Fate::Answered;
        }
    }
    while hub.pump(&view, &header, now, &mut out) {}
    fate
}

/// A frame of another member, or of somebody who says so.
pub fn frame(data: &[u8]) -> Fate {
    match peer::decode(ClusterId(1), NodeId(2), NodeId(1), Bytes::copy_from_slice(data)) {
        Ok(_) => Fate::Answered,
        Err(_) => Fate::Undecodable,
    }
}

/// A frame from member 2 to this one, with this for a raft message.
pub fn valid_frame(raft: Vec<u8>) -> Vec<u8> {
    peer::encode(ClusterId(1), NodeId(2), NodeId(1), Body::Raft(raft.into())).into()
}

/// A checkpoint of the store in chunks of about so many bytes, as [`checkpoint`] takes it.
pub fn valid_checkpoint(chunk_bytes: usize) -> Vec<u8> {
    let conf_state = ConfState { voters: vec![NodeId(1)], ..Default::default() };
    let meta = SnapshotMeta { index: store().applied(), term: Term(1), conf_state };
    let mut writer = SnapshotWriter::new(store().view(), meta, store().view().cluster_id());
    let mut bytes = vec![50];
    while let Some(chunk) = writer.next_chunk(chunk_bytes) {
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// A checkpoint, in pieces whose length is the first byte.
pub fn checkpoint(data: &[u8]) -> Fate {
    let Some((len, bytes)) = data.split_first() else { return Fate::Undecodable };
    let mut loader = SnapshotLoader::new();
    for piece in bytes.chunks(usize::from(*len).max(1)) {
        if loader.feed(piece).is_err() {
            return Fate::Undecodable;
        }
    }
    match loader.finish() {
        Ok((_, machine)) => {
            assert_eq!(machine.digest(), machine.recompute_digest(), "a checkpoint that is taken is whole");
            Fate::Answered
        }
        Err(_) => Fate::Undecodable,
    }
}
