//! A plain, slow etcd: a list of everything that ever happened. Every question is answered by going through the list.
//!
//! Written from the contract alone (sections 1.1 and 1.3); shares no code with the store.

use std::collections::{BTreeMap, BTreeSet};

use detcd_core::api::Status;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::proto::etcdserverpb::response_op::Response as OpResponse;
use detcd_core::proto::mvccpb::KeyValue;

/// One write: a key got a value, or lost it.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub revision: i64,
    pub key: Vec<u8>,
    /// None for a deletion.
    pub kv: Option<KeyValue>,
}

#[derive(Clone, Debug)]
pub struct Model {
    pub events: Vec<Event>,
    pub revision: i64,
    pub compacted: Option<i64>,
    pub leases: BTreeMap<i64, i64>,
}

type State = BTreeMap<Vec<u8>, KeyValue>;

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

pub fn in_range(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    if end.is_empty() {
        key == start
    } else if end == [0] {
        key >= start
    } else {
        key >= start && key < end
    }
}

impl Model {
    pub fn new() -> Model {
        Model { events: Vec::new(), revision: 1, compacted: None, leases: BTreeMap::new() }
    }

    /// What existed after everything up to `revision`.
    pub fn state_at(&self, revision: i64) -> State {
        let mut state = State::new();
        for event in self.events.iter().filter(|event| event.revision <= revision) {
            match &event.kv {
                Some(kv) => state.insert(event.key.clone(), kv.clone()),
                None => state.remove(&event.key),
            };
        }
        state
    }

    fn now(&self) -> State {
        self.state_at(i64::MAX)
    }

    pub fn keys_of(&self, lease: i64) -> BTreeSet<Vec<u8>> {
        self.now().into_iter().filter(|(_, kv)| kv.lease == lease).map(|(key, _)| key).collect()
    }

    /// The revision that writes of the operation in progress get.
    fn next(&self) -> i64 {
        self.revision + 1
    }

    fn has_written(&self) -> bool {
        self.events.last().is_some_and(|event| event.revision > self.revision)
    }

    fn seen(&self) -> i64 {
        if self.has_written() { self.next() } else { self.revision }
    }

    fn commit(&mut self) {
        self.revision = self.seen();
    }

    pub fn range(&self, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        if request.revision > self.seen() {
            return Err(Status::FutureRevision);
        }
        if request.revision > 0 && self.compacted.is_some_and(|compacted| request.revision < compacted) {
            return Err(Status::Compacted);
        }
        let at = if request.revision <= 0 { i64::MAX } else { request.revision };
        let mut kvs: Vec<KeyValue> = self.state_at(at).into_values().collect();
        kvs.retain(|kv| in_range(&kv.key, &request.key, &request.range_end));
        let count = kvs.len() as i64;
        let header = header(self.seen());
        if request.count_only {
            return Ok(pb::RangeResponse { header, kvs: vec![], more: false, count });
        }
        let (order, target) = (request.sort_order, request.sort_target);
        let filtered = [
            request.min_mod_revision,
            request.max_mod_revision,
            request.min_create_revision,
            request.max_create_revision,
        ] != [0; 4];
        let in_key_order = order == 0 || (order == 1 && target == 0);
        if request.limit > 0 && in_key_order && !filtered {
            kvs.truncate(request.limit as usize + 1);
        }
        kvs.retain(|kv| {
            (request.min_mod_revision == 0 || request.min_mod_revision <= kv.mod_revision)
                && (request.max_mod_revision == 0 || request.max_mod_revision >= kv.mod_revision)
                && (request.min_create_revision == 0 || request.min_create_revision <= kv.create_revision)
                && (request.max_create_revision == 0 || request.max_create_revision >= kv.create_revision)
        });
        let sort_key = |kv: &KeyValue| match target {
            0 => (0, kv.key.to_vec()),
            1 => (kv.version, vec![]),
            2 => (kv.create_revision, vec![]),
            3 => (kv.mod_revision, vec![]),
            _ => (0, kv.value.to_vec()),
        };
        kvs.sort_by(|a, b| {
            let ordering = sort_key(a).cmp(&sort_key(b));
            if order == 2 { ordering.reverse() } else { ordering }
        });
        let more = request.limit > 0 && kvs.len() as i64 > request.limit;
        if more {
            kvs.truncate(request.limit as usize);
        }
        for kv in kvs.iter_mut().filter(|_| request.keys_only) {
            kv.value.clear();
            if target != 4 {
                kv.lease = 0;
            }
        }
        Ok(pb::RangeResponse { header, kvs, more, count })
    }

    fn lacks_lease(&self, request: &pb::PutRequest) -> bool {
        request.lease != 0 && !self.leases.contains_key(&request.lease)
    }

    fn lacks_key(&self, request: &pb::PutRequest) -> bool {
        (request.ignore_value || request.ignore_lease) && !self.now().contains_key(request.key.as_ref())
    }

    pub fn put(&mut self, request: &pb::PutRequest) -> Result<pb::PutResponse, Status> {
        if self.lacks_lease(request) {
            return Err(Status::LeaseNotFound);
        }
        if self.lacks_key(request) {
            return Err(Status::KeyNotFound);
        }
        let response = self.write(request);
        self.commit();
        Ok(response)
    }

    fn write(&mut self, request: &pb::PutRequest) -> pb::PutResponse {
        let previous = self.now().remove(request.key.as_ref());
        let revision = self.next();
        let mut kv = KeyValue {
            key: request.key.clone(),
            create_revision: revision,
            mod_revision: revision,
            version: 1,
            value: request.value.clone(),
            lease: request.lease,
        };
        if let Some(previous) = &previous {
            kv.create_revision = previous.create_revision;
            kv.version = previous.version + 1;
            if request.ignore_value {
                kv.value = previous.value.clone();
            }
            if request.ignore_lease {
                kv.lease = previous.lease;
            }
        }
        self.events.push(Event { revision, key: request.key.to_vec(), kv: Some(kv) });
        pb::PutResponse { header: header(revision), prev_kv: previous.filter(|_| request.prev_kv) }
    }

    pub fn delete_range(&mut self, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        let response = self.erase(request);
        self.commit();
        response
    }

    fn erase(&mut self, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        let mut prev_kvs = Vec::new();
        for (key, kv) in self.now() {
            if in_range(&key, &request.key, &request.range_end) {
                self.events.push(Event { revision: self.next(), key, kv: None });
                prev_kvs.push(kv);
            }
        }
        let deleted = prev_kvs.len() as i64;
        if !request.prev_kv {
            prev_kvs.clear();
        }
        pb::DeleteRangeResponse { header: header(self.seen()), deleted, prev_kvs }
    }

    pub fn txn(&mut self, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        let before = self.clone();
        before.check_txn(request)?;
        let mut response = self.run_txn(&before, request);
        response.header = header(self.seen());
        self.commit();
        Ok(response)
    }

    fn taken<'a>(&self, request: &'a pb::TxnRequest) -> (bool, &'a [pb::RequestOp]) {
        if request.compare.iter().all(|compare| self.compare(compare)) {
            (true, &request.success)
        } else {
            (false, &request.failure)
        }
    }

    fn check_txn(&self, request: &pb::TxnRequest) -> Result<(), Status> {
        for operation in self.taken(request).1 {
            match operation.request.as_ref().unwrap() {
                Op::RequestRange(range) => {
                    let first = self.compacted.unwrap_or(-1);
                    if range.revision > self.revision {
                        return Err(Status::FutureRevision);
                    }
                    if range.revision != 0 && range.revision < first {
                        return Err(Status::Compacted);
                    }
                }
                Op::RequestPut(put) if self.lacks_key(put) => return Err(Status::KeyNotFound),
                Op::RequestPut(put) if self.lacks_lease(put) => return Err(Status::LeaseNotFound),
                Op::RequestPut(_) => {}
                Op::RequestDeleteRange(_) => {}
                Op::RequestTxn(nested) => self.check_txn(nested)?,
            }
        }
        Ok(())
    }

    fn run_txn(&mut self, before: &Model, request: &pb::TxnRequest) -> pb::TxnResponse {
        let (succeeded, operations) = before.taken(request);
        let mut responses = Vec::new();
        for operation in operations {
            let response = match operation.request.as_ref().unwrap() {
                Op::RequestRange(range) => OpResponse::ResponseRange(self.range(range).unwrap()),
                Op::RequestPut(put) => OpResponse::ResponsePut(self.write(put)),
                Op::RequestDeleteRange(delete) => OpResponse::ResponseDeleteRange(self.erase(delete)),
                Op::RequestTxn(nested) => OpResponse::ResponseTxn(self.run_txn(before, nested)),
            };
            responses.push(pb::ResponseOp { response: Some(response) });
        }
        pb::TxnResponse { header: header(0), succeeded, responses }
    }

    fn compare(&self, compare: &pb::Compare) -> bool {
        use pb::compare::TargetUnion;
        let state = self.now();
        let mut kvs: Vec<_> =
            state.values().filter(|kv| in_range(&kv.key, &compare.key, &compare.range_end)).cloned().collect();
        let by_value = compare.target == pb::compare::CompareTarget::Value as i32;
        if kvs.is_empty() {
            if by_value {
                return false;
            }
            kvs.push(KeyValue::default());
        }
        kvs.iter().all(|kv| {
            let ordering = match compare.target_union.as_ref().unwrap() {
                TargetUnion::Version(number) => kv.version.cmp(number),
                TargetUnion::CreateRevision(number) => kv.create_revision.cmp(number),
                TargetUnion::ModRevision(number) => kv.mod_revision.cmp(number),
                TargetUnion::Lease(number) => kv.lease.cmp(number),
                TargetUnion::Value(value) => kv.value.cmp(value),
            };
            match compare.result {
                0 => ordering.is_eq(),
                1 => ordering.is_gt(),
                2 => ordering.is_lt(),
                _ => ordering.is_ne(),
            }
        })
    }

    pub fn compact(&mut self, revision: i64) -> Result<pb::CompactionResponse, Status> {
        if revision < 0 || self.compacted.is_some_and(|compacted| revision <= compacted) {
            return Err(Status::Compacted);
        }
        if revision > self.revision {
            return Err(Status::FutureRevision);
        }
        self.compacted = Some(revision);
        Ok(pb::CompactionResponse { header: header(self.revision) })
    }

    pub fn grant(&mut self, id: i64, ttl: i64) -> Result<pb::LeaseGrantResponse, Status> {
        if self.leases.contains_key(&id) {
            return Err(Status::LeaseExists);
        }
        self.leases.insert(id, ttl);
        Ok(pb::LeaseGrantResponse { header: header(self.revision), id, ttl, error: String::new() })
    }

    pub fn revoke(&mut self, id: i64) -> Result<pb::LeaseRevokeResponse, Status> {
        if self.leases.remove(&id).is_none() {
            return Err(Status::LeaseNotFound);
        }
        for key in self.keys_of(id) {
            self.events.push(Event { revision: self.next(), key, kv: None });
        }
        self.commit();
        Ok(pb::LeaseRevokeResponse { header: header(self.revision) })
    }
}
