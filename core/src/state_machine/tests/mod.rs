//! The contract, a sentence at a time.

mod alarms;
mod commands;
mod compaction;
mod kv;
mod leases;
mod members;
mod txns;

use bytes::Bytes;

use super::{Applied, Command, StateMachine};
use crate::api::{ReadRequest, Response, Status, read};
use crate::config::Member;
use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb;
use crate::types::{ClusterId, NodeId};

/// A state machine with a client's tongue. After every entry it compares the digest with the contents.
struct Machine {
    machine: StateMachine,
}

fn member(id: u64) -> Member {
    Member { id: NodeId(id), name: format!("m{id}"), peer_urls: vec![format!("http://m{id}:2380")] }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), value: bytes(value), ..pb::PutRequest::default() }
}

fn delete(key: &str, range_end: &str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(range_end), prev_kv: true }
}

fn range(key: &str, range_end: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), range_end: bytes(range_end), ..pb::RangeRequest::default() }
}

/// Every key there is.
fn everything() -> pb::RangeRequest {
    range("\0", "\0")
}

fn keys(key_values: &[mvccpb::KeyValue]) -> Vec<String> {
    key_values.iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
}

impl Machine {
    fn new() -> Machine {
        Machine { machine: StateMachine::genesis(ClusterId(7), &[member(2), member(1), member(3)]) }
    }

    fn apply(&mut self, command: Command<'_>) -> Applied {
        let index = self.machine.applied().next();
        let applied = self.machine.apply(index, &command);
        assert_eq!(self.machine.applied(), index);
        assert_eq!(self.machine.digest(), self.machine.recompute_digest());
        applied
    }

    fn request(&mut self, request: pb::InternalRaftRequest) -> Result<Response, Status> {
        self.apply(Command::from(request)).result
    }

    fn try_put(&mut self, put: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        let request = pb::InternalRaftRequest { put: Some(put), ..Default::default() };
        self.request(request).map(|response| match response {
            Response::Put(response) => response,
            other => panic!("{other:?}"),
        })
    }

    /// Puts, and gives the revision.
    fn put(&mut self, key: &str, value: &str) -> i64 {
        revision(&self.try_put(put(key, value)).unwrap().header)
    }

    fn delete(&mut self, key: &str, range_end: &str) -> pb::DeleteRangeResponse {
        let request = pb::InternalRaftRequest { delete_range: Some(delete(key, range_end)), ..Default::default() };
        match self.request(request) {
            Ok(Response::DeleteRange(response)) => response,
            other => panic!("{other:?}"),
        }
    }

    fn txn(&mut self, txn: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        let request = pb::InternalRaftRequest { txn: Some(txn), ..Default::default() };
        self.request(request).map(|response| match response {
            Response::Txn(response) => response,
            other => panic!("{other:?}"),
        })
    }

    fn compact(&mut self, revision: i64) -> Result<Response, Status> {
        let compaction = Some(pb::CompactionRequest { revision, physical: false });
        self.request(pb::InternalRaftRequest { compaction, ..Default::default() })
    }

    fn grant(&mut self, id: i64, ttl: i64) -> Result<Response, Status> {
        let lease_grant = Some(pb::LeaseGrantRequest { id, ttl });
        self.request(pb::InternalRaftRequest { lease_grant, ..Default::default() })
    }

    fn revoke(&mut self, id: i64) -> Result<Response, Status> {
        let lease_revoke = Some(pb::LeaseRevokeRequest { id });
        self.request(pb::InternalRaftRequest { lease_revoke, ..Default::default() })
    }

    fn read(&self, request: &ReadRequest) -> Result<Response, Status> {
        let header = pb::ResponseHeader { cluster_id: 7, member_id: 1, revision: 0, raft_term: 3 };
        read::execute(&self.machine.view(), request, header)
    }

    fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        self.read(&ReadRequest::Range(request)).map(|response| match response {
            Response::Range(response) => response,
            other => panic!("{other:?}"),
        })
    }

    fn get(&self, key: &str) -> Option<mvccpb::KeyValue> {
        self.machine.view().get(&bytes(key))
    }

    /// Applies empty entries until the sweep has nothing left to do.
    fn sweep(&mut self) {
        while self.machine.view().is_sweeping() {
            self.apply(Command::Empty);
        }
    }

    /// The events from a revision on: "revision+key" for a put, "revision-key" for a deletion.
    fn events_since(&self, first: i64) -> Vec<String> {
        let view = self.machine.view();
        view.events_since(first)
            .map(|event| {
                let sign = if event.r#type() == mvccpb::event::EventType::Delete { '-' } else { '+' };
                let kv = event.kv.expect("every event has a key");
                format!("{}{sign}{}", kv.mod_revision, String::from_utf8_lossy(&kv.key))
            })
            .collect()
    }
}

fn revision(header: &Option<pb::ResponseHeader>) -> i64 {
    header.as_ref().expect("every response has a header").revision
}
