//! Executing one request on the state of one revision (contract, section 1.1), and comparing what a client was told.

use std::collections::BTreeMap;

use bytes::Bytes;
use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::{Event, KeyValue, event::EventType};
use detcd_core::types::Revision;
use pb::compare::{CompareResult, CompareTarget, TargetUnion};
use pb::range_request::{SortOrder, SortTarget};
use pb::request_op::Request as Op;
use pb::response_op::Response as Answer;

use super::{KeyRange, Store, show, show_kv, tombstone};

/// Why an operation cannot have happened at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// etcd would have answered this there, and done nothing.
    With(Status),
    /// etcd would have answered something else there.
    Otherwise(String),
}

/// What an operation did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// Its events, in order.
    pub(crate) events: Vec<Event>,
    /// The leases that had to exist for it, in order.
    pub(crate) leases: Vec<i64>,
}

/// Executes a KV request (not a compaction) on the state of `base` and compares what the client was told with it.
///
/// Without a `response` only the effects matter. `compacted` is the compacted revision, or
/// [`super::NEVER_COMPACTED`].
pub(crate) fn execute(
    store: &Store,
    base: Revision,
    compacted: Revision,
    request: &Request,
    response: Option<&Response>,
) -> Result<Done, Refused> {
    let is_txn = matches!(request, Request::Txn(_));
    let mut run = Run { store, base, compacted, is_txn, overlay: BTreeMap::new(), done: Done::default() };
    match (request, response) {
        (Request::Range(range), Some(Response::Range(told))) => run.plain_range(range, Some(told))?,
        (Request::Range(range), None) => run.plain_range(range, None)?,
        (Request::Put(put), Some(Response::Put(told))) => run.plain_put(put, Some(told))?,
        (Request::Put(put), None) => run.plain_put(put, None)?,
        (Request::DeleteRange(delete), Some(Response::DeleteRange(told))) => run.delete(delete, Some(told))?,
        (Request::DeleteRange(delete), None) => run.delete(delete, None)?,
        (Request::Txn(txn), Some(Response::Txn(told))) => run.whole_txn(txn, Some(told))?,
        (Request::Txn(txn), None) => run.whole_txn(txn, None)?,
        _ => return Err(Refused::Otherwise("the response is of another kind than the request".into())),
    }
    Ok(run.done)
}

/// Whether a response says that something was written, and so that a revision was made.
pub(crate) fn has_effect(response: &Response) -> bool {
    match response {
        Response::Put(_) => true,
        Response::DeleteRange(deleted) => deleted.deleted > 0,
        Response::Txn(txn) => txn_has_effect(txn),
        _ => false,
    }
}

fn txn_has_effect(txn: &pb::TxnResponse) -> bool {
    txn.responses.iter().any(|answer| match &answer.response {
        Some(Answer::ResponsePut(_)) => true,
        Some(Answer::ResponseDeleteRange(deleted)) => deleted.deleted > 0,
        Some(Answer::ResponseTxn(nested)) => txn_has_effect(nested),
        _ => false,
    })
}

struct Run<'a> {
    store: &'a Store,
    base: Revision,
    compacted: Revision,
    /// Whether what it has written so far can still be read in it.
    is_txn: bool,
    /// What this operation has written so far, if it is a transaction.
    overlay: BTreeMap<Bytes, Option<KeyValue>>,
    done: Done,
}

impl Run<'_> {
    /// The revision that a read in the middle of the operation sees.
    fn revision(&self) -> Revision {
        self.base + Revision::from(!self.done.events.is_empty())
    }

    fn get(&self, key: &Bytes) -> Option<&KeyValue> {
        match self.overlay.get(key) {
            Some(written) => written.as_ref(),
            None => self.store.at(key, self.base),
        }
    }

    /// The keys of `range` as the operation sees them now, in byte order.
    fn list(&self, range: &KeyRange) -> Vec<KeyValue> {
        if let Some(key) = range.point() {
            return self.get(key).cloned().into_iter().collect();
        }
        let mut before = self.store.range(range, self.base).peekable();
        let mut found = Vec::new();
        for (key, written) in self.overlay.range::<[u8], _>(range.bounds()) {
            while let Some(kv) = before.next_if(|kv| kv.key < *key) {
                found.push(kv.clone());
            }
            let _ = before.next_if(|kv| kv.key == *key);
            found.extend(written.clone());
        }
        found.extend(before.cloned());
        found
    }

    fn plain_range(&mut self, range: &pb::RangeRequest, told: Option<&pb::RangeResponse>) -> Result<(), Refused> {
        if range.revision > 0 {
            self.check_read_revision(range.revision)?;
        }
        self.range(range, told)
    }

    fn check_read_revision(&self, revision: Revision) -> Result<(), Refused> {
        if revision > self.base {
            return Err(Refused::With(Status::FutureRevision));
        }
        if revision < self.compacted {
            return Err(Refused::With(Status::Compacted));
        }
        Ok(())
    }

    fn range(&mut self, range: &pb::RangeRequest, told: Option<&pb::RangeResponse>) -> Result<(), Refused> {
        let Some(told) = told else { return Ok(()) };
        told_revision("the range", told.header.as_ref(), self.revision())?;
        let wanted = KeyRange::new(&range.key, &range.range_end);
        let all: Vec<KeyValue> = if range.revision > 0 {
            if range.revision < self.store.floor() {
                return Ok(()); // Forgotten: nobody can judge it any more.
            }
            self.store.range(&wanted, range.revision).cloned().collect()
        } else {
            self.list(&wanted)
        };
        compare_range(range, all, told).map_err(Refused::Otherwise)
    }

    fn plain_put(&mut self, put: &pb::PutRequest, told: Option<&pb::PutResponse>) -> Result<(), Refused> {
        self.check_put(put)?;
        self.put(put, told)
    }

    fn check_put(&mut self, put: &pb::PutRequest) -> Result<(), Refused> {
        if put.lease != 0
            && let Err(place) = self.done.leases.binary_search(&put.lease)
        {
            self.done.leases.insert(place, put.lease);
        }
        if (put.ignore_value || put.ignore_lease) && self.store.at(&put.key, self.base).is_none() {
            return Err(Refused::With(Status::KeyNotFound));
        }
        Ok(())
    }

    fn put(&mut self, put: &pb::PutRequest, told: Option<&pb::PutResponse>) -> Result<(), Refused> {
        let before = self.get(&put.key);
        if let Some(told) = told {
            let expected = before.filter(|_| put.prev_kv);
            compare_kv("prev_kv of the put", told.prev_kv.as_ref(), expected)?;
            told_revision("the put", told.header.as_ref(), self.base + 1)?;
        }
        let kv = KeyValue {
            key: put.key.clone(),
            create_revision: before.map_or(self.base + 1, |kv| kv.create_revision),
            mod_revision: self.base + 1,
            version: before.map_or(0, |kv| kv.version) + 1,
            value: match before {
                Some(kv) if put.ignore_value => kv.value.clone(),
                _ => put.value.clone(),
            },
            lease: match before {
                Some(kv) if put.ignore_lease => kv.lease,
                _ => put.lease,
            },
        };
        self.write(EventType::Put, kv);
        Ok(())
    }

    fn delete(
        &mut self,
        delete: &pb::DeleteRangeRequest,
        told: Option<&pb::DeleteRangeResponse>,
    ) -> Result<(), Refused> {
        let gone = self.list(&KeyRange::new(&delete.key, &delete.range_end));
        for kv in &gone {
            self.write(EventType::Delete, tombstone(&kv.key, self.base + 1));
        }
        let Some(told) = told else { return Ok(()) };
        told_revision("the deletion", told.header.as_ref(), self.revision())?;
        if usize::try_from(told.deleted) != Ok(gone.len()) {
            return Err(Refused::Otherwise(format!("it deleted {} keys, not {}", told.deleted, gone.len())));
        }
        let expected: &[KeyValue] = if delete.prev_kv { &gone } else { &[] };
        if told.prev_kvs.len() != expected.len() {
            let count = told.prev_kvs.len();
            return Err(Refused::Otherwise(format!("the deletion has {count} prev_kvs, not {}", expected.len())));
        }
        for (told, expected) in told.prev_kvs.iter().zip(expected) {
            compare_kv("prev_kv of the deletion", Some(told), Some(expected))?;
        }
        Ok(())
    }

    fn write(&mut self, kind: EventType, shown: KeyValue) {
        if self.is_txn {
            self.overlay.insert(shown.key.clone(), (kind == EventType::Put).then(|| shown.clone()));
        }
        if self.done.events.is_empty() {
            // Most operations write one key, and an event is large.
            self.done.events.reserve_exact(1);
        }
        self.done.events.push(Event { r#type: kind.into(), kv: Some(shown), prev_kv: None });
    }

    fn whole_txn(&mut self, txn: &pb::TxnRequest, told: Option<&pb::TxnResponse>) -> Result<(), Refused> {
        self.check_txn(txn)?;
        self.txn(txn, told)?;
        match told {
            Some(told) => told_revision("the transaction", told.header.as_ref(), self.revision()),
            None => Ok(()),
        }
    }

    /// Everything that makes etcd refuse a transaction is checked on the state before it.
    fn check_txn(&mut self, txn: &pb::TxnRequest) -> Result<(), Refused> {
        for op in self.branch(txn).1 {
            match &op.request {
                Some(Op::RequestRange(range)) if range.revision != 0 => self.check_read_revision(range.revision)?,
                Some(Op::RequestPut(put)) => self.check_put(put)?,
                Some(Op::RequestTxn(nested)) => self.check_txn(nested)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the compares hold, and the branch that follows; nested ones too look at the state before everything.
    fn branch<'t>(&self, txn: &'t pb::TxnRequest) -> (bool, &'t [pb::RequestOp]) {
        let held = txn.compare.iter().all(|compare| self.compare(compare));
        (held, if held { &txn.success } else { &txn.failure })
    }

    fn compare(&self, compare: &pb::Compare) -> bool {
        let range = KeyRange::new(&compare.key, &compare.range_end);
        let mut found = self.store.range(&range, self.base).peekable();
        if found.peek().is_none() {
            // An absent key compares as zero, but never as a value.
            return compare.target() != CompareTarget::Value && compare_one(compare, &KeyValue::default());
        }
        found.all(|kv| compare_one(compare, kv))
    }

    fn txn(&mut self, txn: &pb::TxnRequest, told: Option<&pb::TxnResponse>) -> Result<(), Refused> {
        let (held, ops) = self.branch(txn);
        if let Some(told) = told {
            if told.succeeded != held {
                return Err(Refused::Otherwise(format!("its compares gave {held}, not {}", told.succeeded)));
            }
            if told.responses.len() != ops.len() {
                let count = told.responses.len();
                return Err(Refused::Otherwise(format!("it has {count} responses, not {}", ops.len())));
            }
        }
        for (place, op) in ops.iter().enumerate() {
            let answer = told.map(|told| told.responses[place].response.as_ref());
            match (&op.request, answer) {
                (Some(Op::RequestRange(range)), None) => self.range(range, None)?,
                (Some(Op::RequestRange(range)), Some(Some(Answer::ResponseRange(told)))) => {
                    self.range(range, Some(told))?;
                }
                (Some(Op::RequestPut(put)), None) => self.put(put, None)?,
                (Some(Op::RequestPut(put)), Some(Some(Answer::ResponsePut(told)))) => self.put(put, Some(told))?,
                (Some(Op::RequestDeleteRange(delete)), None) => self.delete(delete, None)?,
                (Some(Op::RequestDeleteRange(delete)), Some(Some(Answer::ResponseDeleteRange(told)))) => {
                    self.delete(delete, Some(told))?;
                }
                (Some(Op::RequestTxn(nested)), None) => self.txn(nested, None)?,
                (Some(Op::RequestTxn(nested)), Some(Some(Answer::ResponseTxn(told)))) => {
                    self.txn(nested, Some(told))?;
                }
                _ => return Err(Refused::Otherwise(format!("its response {place} does not fit its operation"))),
            }
        }
        Ok(())
    }
}

fn compare_one(compare: &pb::Compare, kv: &KeyValue) -> bool {
    let number = |theirs: i64, ours: i64| theirs.cmp(&ours);
    let order = match (compare.target(), &compare.target_union) {
        (CompareTarget::Version, Some(TargetUnion::Version(ours))) => number(kv.version, *ours),
        (CompareTarget::Version, _) => number(kv.version, 0),
        (CompareTarget::Create, Some(TargetUnion::CreateRevision(ours))) => number(kv.create_revision, *ours),
        (CompareTarget::Create, _) => number(kv.create_revision, 0),
        (CompareTarget::Mod, Some(TargetUnion::ModRevision(ours))) => number(kv.mod_revision, *ours),
        (CompareTarget::Mod, _) => number(kv.mod_revision, 0),
        (CompareTarget::Lease, Some(TargetUnion::Lease(ours))) => number(kv.lease, *ours),
        (CompareTarget::Lease, _) => number(kv.lease, 0),
        (CompareTarget::Value, Some(TargetUnion::Value(ours))) => kv.value.cmp(ours),
        (CompareTarget::Value, _) => kv.value.as_ref().cmp(&[]),
    };
    match compare.result() {
        CompareResult::Equal => order.is_eq(),
        CompareResult::NotEqual => order.is_ne(),
        CompareResult::Greater => order.is_gt(),
        CompareResult::Less => order.is_lt(),
    }
}

fn told_revision(what: &str, header: Option<&pb::ResponseHeader>, expected: Revision) -> Result<(), Refused> {
    let told = header.map_or(0, |header| header.revision);
    if told == expected {
        return Ok(());
    }
    Err(Refused::Otherwise(format!("{what} has header revision {told}, not {expected}")))
}

fn compare_kv(what: &str, told: Option<&KeyValue>, expected: Option<&KeyValue>) -> Result<(), Refused> {
    if told == expected {
        return Ok(());
    }
    let shown = |kv: Option<&KeyValue>| kv.map_or("absent".to_string(), show_kv);
    Err(Refused::Otherwise(format!("{what} is {}, not {}", shown(told), shown(expected))))
}

/// Compares a range response with `all`, the keys of the range in byte order (contract, section 1.1: count, limit,
/// filters, sort, keys_only).
fn compare_range(range: &pb::RangeRequest, all: Vec<KeyValue>, told: &pb::RangeResponse) -> Result<(), String> {
    if usize::try_from(told.count) != Ok(all.len()) {
        return Err(format!("it counts {} keys, not {}", told.count, all.len()));
    }
    let (wanted, more) = if range.count_only { (Vec::new(), false) } else { cut(range, all) };
    if told.more != more {
        return Err(format!("it says more={}, not {more}", told.more));
    }
    let candidates = wanted;
    let shown = match usize::try_from(range.limit) {
        Ok(limit @ 1..) => candidates.len().min(limit),
        _ => candidates.len(),
    };
    if told.kvs.len() != shown {
        return Err(format!("it has {} keys, not {shown}", told.kvs.len()));
    }
    let mut unused: BTreeMap<&Bytes, &KeyValue> = candidates.iter().map(|kv| (&kv.key, kv)).collect();
    for (place, told) in told.kvs.iter().enumerate() {
        // Equal sort keys may come in any order (contract: "sort is unstable on ties").
        let Some(kv) = unused.remove(&told.key) else {
            return Err(format!("it has key {}, which does not belong there", show(&told.key)));
        };
        let expected = as_shown(range, kv);
        if *told != expected {
            return Err(format!("it has {}, not {}", show_kv(told), show_kv(&expected)));
        }
        if !same_rank(range.sort_target(), kv, &candidates[place]) {
            return Err(format!("it has key {} at place {place}, which is out of order", show(&told.key)));
        }
    }
    Ok(())
}

/// The keys among which the response's are, in order, and whether there are more than the limit.
fn cut(range: &pb::RangeRequest, mut all: Vec<KeyValue>) -> (Vec<KeyValue>, bool) {
    let (order, target) = (range.sort_order(), range.sort_target());
    let filtered =
        [range.min_mod_revision, range.max_mod_revision, range.min_create_revision, range.max_create_revision]
            != [0; 4];
    let in_key_order = order == SortOrder::None || (target == SortTarget::Key && order == SortOrder::Ascend);
    let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0);
    if let (Some(limit), true, false) = (limit, in_key_order, filtered) {
        // The quirk: with no order given, the limit is applied in key order before the sort, with one key to spare.
        all.truncate(limit.saturating_add(1));
    }
    let unset_or = |bound: i64, holds: bool| bound == 0 || holds;
    all.retain(|kv| {
        unset_or(range.min_mod_revision, kv.mod_revision >= range.min_mod_revision)
            && unset_or(range.max_mod_revision, kv.mod_revision <= range.max_mod_revision)
            && unset_or(range.min_create_revision, kv.create_revision >= range.min_create_revision)
            && unset_or(range.max_create_revision, kv.create_revision <= range.max_create_revision)
    });
    match target {
        SortTarget::Key => {}
        SortTarget::Version => all.sort_by_key(|kv| kv.version),
        SortTarget::Create => all.sort_by_key(|kv| kv.create_revision),
        SortTarget::Mod => all.sort_by_key(|kv| kv.mod_revision),
        SortTarget::Value => all.sort_by(|a, b| a.value.cmp(&b.value)),
    }
    if order == SortOrder::Descend {
        all.reverse();
    }
    let more = limit.is_some_and(|limit| all.len() > limit);
    (all, more)
}

fn same_rank(target: SortTarget, a: &KeyValue, b: &KeyValue) -> bool {
    match target {
        SortTarget::Key => a.key == b.key,
        SortTarget::Version => a.version == b.version,
        SortTarget::Create => a.create_revision == b.create_revision,
        SortTarget::Mod => a.mod_revision == b.mod_revision,
        SortTarget::Value => a.value == b.value,
    }
}

/// A key as a response shows it. From etcd 3.7 on `keys_only` is answered from the index, which knows no lease, unless
/// the sort needs the value (contract, section 0).
fn as_shown(range: &pb::RangeRequest, kv: &KeyValue) -> KeyValue {
    if !range.keys_only {
        return kv.clone();
    }
    let lease = if range.sort_target() == SortTarget::Value { kv.lease } else { 0 };
    KeyValue { value: Bytes::new(), lease, ..kv.clone() }
}
