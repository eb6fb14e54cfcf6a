//! An etcd as naive as it gets: every state is kept whole, every rule is the contract's (sections 1.1 and 1.3), and
//! nothing is shared with the checker or the core. Sorts are by key only.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::{Event, KeyValue};
use pb::request_op::Request as Op;
use pb::response_op::Response as Done;

type Keys = BTreeMap<Bytes, KeyValue>;

/// What an operation comes to: its response, or every refusal that is right.
pub(super) type Answer = Result<Response, BTreeSet<Status>>;

#[derive(Clone)]
pub(super) struct Naive {
    /// The state after each revision; the first is the empty one of revision 1.
    states: Vec<Keys>,
    compacted: i64,
    pub(super) leases: BTreeSet<i64>,
}

impl Default for Naive {
    fn default() -> Naive {
        Naive { states: vec![Keys::new()], compacted: -1, leases: BTreeSet::new() }
    }
}

/// A transaction, or a single operation, on its way.
struct Writing {
    keys: Keys,
    events: Vec<Event>,
}

impl Naive {
    pub(super) fn revision(&self) -> i64 {
        i64::try_from(self.states.len()).expect("small")
    }

    fn newest(&self) -> &Keys {
        self.states.last().expect("there is always a state")
    }

    /// Lets happen what the witness told, whoever did it.
    pub(super) fn let_happen(&mut self, events: &[Event]) {
        let mut keys = self.newest().clone();
        for event in events {
            let kv = event.kv.clone().expect("an event has a key");
            if event.r#type == 0 { drop(keys.insert(kv.key.clone(), kv)) } else { drop(keys.remove(&kv.key)) }
        }
        self.states.push(keys);
    }

    /// The same store as it was at an older revision, for a member that lags behind.
    pub(super) fn behind(&self, revision: usize) -> Naive {
        Naive { states: self.states[..revision].to_vec(), compacted: -1, leases: self.leases.clone() }
    }

    /// The end of a lease: its keys go, in byte order.
    pub(super) fn end_lease(&mut self, lease: i64) -> Vec<Event> {
        self.leases.remove(&lease);
        let keys: Vec<Bytes> = self.newest().values().filter(|kv| kv.lease == lease).map(|kv| kv.key.clone()).collect();
        let mut writing = Writing { keys: self.newest().clone(), events: Vec::new() };
        keys.iter().for_each(|key| writing.remove(key, self.revision() + 1));
        self.finish(writing)
    }

    fn finish(&mut self, writing: Writing) -> Vec<Event> {
        if !writing.events.is_empty() {
            self.states.push(writing.keys);
        }
        writing.events
    }

    /// Executes; gives the answer without its member, and the events.
    pub(super) fn execute(&mut self, request: &Request) -> (Answer, Vec<Event>) {
        match request {
            Request::Range(_) | Request::Put(_) | Request::DeleteRange(_) => {
                let op = match request.clone() {
                    Request::Range(range) => Op::RequestRange(range),
                    Request::Put(put) => Op::RequestPut(put),
                    Request::DeleteRange(delete) => Op::RequestDeleteRange(delete),
                    _ => unreachable!("matched above"),
                };
                let refused = self.refusals(&op, false);
                if !refused.is_empty() {
                    return (Err(refused), Vec::new());
                }
                let mut writing = Writing { keys: self.newest().clone(), events: Vec::new() };
                let response = match self.perform(&op, &mut writing) {
                    Done::ResponseRange(response) => Response::Range(response),
                    Done::ResponsePut(response) => Response::Put(response),
                    Done::ResponseDeleteRange(response) => Response::DeleteRange(response),
                    Done::ResponseTxn(response) => Response::Txn(response),
                };
                (Ok(response), self.finish(writing))
            }
            Request::Txn(txn) => {
                let mut refused = self.refusals(&Op::RequestTxn(txn.clone()), true);
                if has_duplicates(txn) {
                    refused.insert(Status::DuplicateKey);
                }
                if !refused.is_empty() {
                    return (Err(refused), Vec::new());
                }
                let mut writing = Writing { keys: self.newest().clone(), events: Vec::new() };
                let mut response = self.txn(txn, &mut writing);
                let events = self.finish(writing);
                response.header = header(self.revision());
                (Ok(Response::Txn(response)), events)
            }
            _ => self.execute_other(request),
        }
    }

    fn execute_other(&mut self, request: &Request) -> (Answer, Vec<Event>) {
        let refuse = |status| (Err(BTreeSet::from([status])), Vec::new());
        match request {
            Request::Compact(compact) if compact.revision <= self.compacted => refuse(Status::Compacted),
            Request::Compact(compact) if compact.revision > self.revision() => refuse(Status::FutureRevision),
            Request::Compact(compact) => {
                self.compacted = compact.revision;
                (Ok(Response::Compact(pb::CompactionResponse { header: header(self.revision()) })), Vec::new())
            }
            Request::LeaseGrant(grant) if self.leases.contains(&grant.id) => refuse(Status::LeaseExists),
            Request::LeaseGrant(grant) => {
                self.leases.insert(grant.id);
                let header = header(self.revision());
                let told = pb::LeaseGrantResponse { header, id: grant.id, ttl: grant.ttl, error: String::new() };
                (Ok(Response::LeaseGrant(told)), Vec::new())
            }
            Request::LeaseRevoke(revoke) if !self.leases.contains(&revoke.id) => refuse(Status::LeaseNotFound),
            Request::LeaseRevoke(revoke) => {
                let events = self.end_lease(revoke.id);
                (Ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: header(self.revision()) })), events)
            }
            other => panic!("{other:?} is not generated"),
        }
    }

    /// Everything that speaks against the operation, on the state before it.
    fn refusals(&self, op: &Op, in_txn: bool) -> BTreeSet<Status> {
        let mut found = BTreeSet::new();
        match op {
            Op::RequestRange(range) => {
                let asked = range.revision > 0 || (in_txn && range.revision < 0);
                if asked && range.revision > self.revision() {
                    found.insert(Status::FutureRevision);
                }
                if asked && range.revision < self.compacted {
                    found.insert(Status::Compacted);
                }
            }
            Op::RequestPut(put) => {
                if (put.ignore_value || put.ignore_lease) && !self.newest().contains_key(&put.key) {
                    found.insert(Status::KeyNotFound);
                }
                if put.lease != 0 && !self.leases.contains(&put.lease) {
                    found.insert(Status::LeaseNotFound);
                }
            }
            Op::RequestDeleteRange(_) => {}
            Op::RequestTxn(txn) => {
                for op in self.branch(txn).1.iter().filter_map(|op| op.request.as_ref()) {
                    found.extend(self.refusals(op, true));
                }
            }
        }
        found
    }

    fn branch<'t>(&self, txn: &'t pb::TxnRequest) -> (bool, &'t [pb::RequestOp]) {
        let held = txn.compare.iter().all(|compare| holds(self.newest(), compare));
        (held, if held { &txn.success } else { &txn.failure })
    }

    fn txn(&self, txn: &pb::TxnRequest, writing: &mut Writing) -> pb::TxnResponse {
        let (succeeded, ops) = self.branch(txn);
        let done = |op: &pb::RequestOp| pb::ResponseOp {
            response: op.request.as_ref().map(|request| self.perform(request, writing)),
        };
        let responses = ops.iter().map(done).collect();
        // Only the outermost one has a header.
        pb::TxnResponse { header: None, succeeded, responses }
    }

    fn perform(&self, op: &Op, writing: &mut Writing) -> Done {
        let next = self.revision() + 1;
        let now = |writing: &Writing| header(if writing.events.is_empty() { next - 1 } else { next });
        match op {
            Op::RequestRange(range) => {
                let past = usize::try_from(range.revision).ok().filter(|revision| *revision > 0);
                let keys = past.map_or(&writing.keys, |revision| &self.states[revision - 1]);
                Done::ResponseRange(pb::RangeResponse { header: now(writing), ..list(keys, range) })
            }
            Op::RequestPut(put) => {
                let before = writing.keys.get(&put.key).cloned();
                let old = before.clone().unwrap_or_default();
                let kv = KeyValue {
                    key: put.key.clone(),
                    value: if put.ignore_value { old.value } else { put.value.clone() },
                    lease: if put.ignore_lease { old.lease } else { put.lease },
                    create_revision: if before.is_some() { old.create_revision } else { next },
                    mod_revision: next,
                    version: old.version + 1,
                };
                writing.keys.insert(put.key.clone(), kv.clone());
                writing.events.push(Event { r#type: 0, kv: Some(kv), prev_kv: None });
                Done::ResponsePut(pb::PutResponse { header: now(writing), prev_kv: before.filter(|_| put.prev_kv) })
            }
            Op::RequestDeleteRange(delete) => {
                let gone: Vec<KeyValue> = writing
                    .keys
                    .values()
                    .filter(|kv| within(&kv.key, &delete.key, &delete.range_end))
                    .cloned()
                    .collect();
                gone.iter().for_each(|kv| writing.remove(&kv.key, next));
                Done::ResponseDeleteRange(pb::DeleteRangeResponse {
                    header: now(writing),
                    deleted: i64::try_from(gone.len()).expect("small"),
                    prev_kvs: if delete.prev_kv { gone } else { Vec::new() },
                })
            }
            Op::RequestTxn(txn) => Done::ResponseTxn(self.txn(txn, writing)),
        }
    }
}

impl Writing {
    fn remove(&mut self, key: &Bytes, revision: i64) {
        self.keys.remove(key);
        let kv = KeyValue { key: key.clone(), mod_revision: revision, ..Default::default() };
        self.events.push(Event { r#type: 1, kv: Some(kv), prev_kv: None });
    }
}

fn header(revision: i64) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { revision, ..Default::default() })
}

fn within(key: &Bytes, start: &Bytes, end: &Bytes) -> bool {
    match end.as_ref() {
        [] => key == start,
        [0] => key >= start,
        _ => key >= start && key < end,
    }
}

fn list(keys: &Keys, range: &pb::RangeRequest) -> pb::RangeResponse {
    let mut all: Vec<KeyValue> =
        keys.values().filter(|kv| within(&kv.key, &range.key, &range.range_end)).cloned().collect();
    let count = i64::try_from(all.len()).expect("small");
    if range.count_only {
        return pb::RangeResponse { count, ..Default::default() };
    }
    all.retain(|kv| {
        (range.min_mod_revision == 0 || kv.mod_revision >= range.min_mod_revision)
            && (range.max_mod_revision == 0 || kv.mod_revision <= range.max_mod_revision)
            && (range.min_create_revision == 0 || kv.create_revision >= range.min_create_revision)
            && (range.max_create_revision == 0 || kv.create_revision <= range.max_create_revision)
    });
    if range.sort_order == 2 {
        all.reverse();
    }
    let limit = usize::try_from(range.limit).expect("not negative");
    let more = limit > 0 && all.len() > limit;
    if more {
        all.truncate(limit);
    }
    if range.keys_only {
        all.iter_mut().for_each(|kv| (kv.value, kv.lease) = (Bytes::new(), 0));
    }
    pb::RangeResponse { header: None, kvs: all, more, count }
}

/// A compare looks at the state before everything; an absent key has zeros, but no value (contract 1.1).
fn holds(keys: &Keys, compare: &pb::Compare) -> bool {
    use pb::compare::TargetUnion;
    let found: Vec<&KeyValue> = keys.values().filter(|kv| within(&kv.key, &compare.key, &compare.range_end)).collect();
    let absent = KeyValue::default();
    let one = |kv: &KeyValue| {
        let order = match compare.target_union.as_ref().expect("generated with one") {
            TargetUnion::Version(number) => kv.version.cmp(number),
            TargetUnion::CreateRevision(number) => kv.create_revision.cmp(number),
            TargetUnion::ModRevision(number) => kv.mod_revision.cmp(number),
            TargetUnion::Lease(number) => kv.lease.cmp(number),
            TargetUnion::Value(value) => kv.value.cmp(value),
        };
        match compare.result {
            0 => order.is_eq(),
            1 => order.is_gt(),
            2 => order.is_lt(),
            _ => order.is_ne(),
        }
    };
    if found.is_empty() { compare.target != 3 && one(&absent) } else { found.into_iter().all(one) }
}

/// What one way through a transaction may write.
#[derive(Clone, Default)]
struct Way {
    puts: Vec<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

/// Whether on some way through the transaction a key is put twice, or put and deleted (contract 1.1 Txn).
fn has_duplicates(txn: &pb::TxnRequest) -> bool {
    ways(txn).iter().any(|way| {
        let twice = |place: usize| way.puts[..place].contains(&way.puts[place]);
        let deleted = |key: &Bytes| way.deletes.iter().any(|(start, end)| within(key, start, end));
        (0..way.puts.len()).any(|place| twice(place) || deleted(&way.puts[place]))
    })
}

fn ways(txn: &pb::TxnRequest) -> Vec<Way> {
    let mut all = Vec::new();
    for branch in [&txn.success, &txn.failure] {
        let mut ways_so_far = vec![Way::default()];
        for op in branch.iter().filter_map(|op| op.request.as_ref()) {
            match op {
                Op::RequestRange(_) => {}
                Op::RequestPut(put) => ways_so_far.iter_mut().for_each(|way| way.puts.push(put.key.clone())),
                Op::RequestDeleteRange(delete) => {
                    let range = (delete.key.clone(), delete.range_end.clone());
                    ways_so_far.iter_mut().for_each(|way| way.deletes.push(range.clone()));
                }
                Op::RequestTxn(nested) => {
                    let nested = ways(nested);
                    let both = |way: &Way| {
                        let join = |inner: &Way| Way {
                            puts: [&way.puts[..], &inner.puts].concat(),
                            deletes: [&way.deletes[..], &inner.deletes].concat(),
                        };
                        nested.iter().map(join).collect::<Vec<Way>>()
                    };
                    ways_so_far = ways_so_far.iter().flat_map(both).collect();
                }
            }
        }
        all.extend(ways_so_far);
    }
    all
}
