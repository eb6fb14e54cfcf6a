//! What may differ, and why: everything else is a difference.
//!
//! An entry is no blanket. It says in code where exactly the two answers may differ, takes just that out of them, and
//! is counted; what is left of the answers still has to be equal.

mod overlaps;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::proto::etcdserverpb::response_op::Response as OpResponse;
use detcd_core::proto::mvccpb::{Event, KeyValue, event::EventType};

use super::step::{Answer, Refusal};

/// The version of an etcd: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u32, pub u32, pub u32);

impl FromStr for Version {
    type Err = String;

    /// Reads `3.5.1`, also with something like `-rc.0` behind it.
    fn from_str(text: &str) -> Result<Version, String> {
        let mut numbers = text.split(['.', '-', '+']).map(str::parse);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch))) => Ok(Version(major, minor, patch)),
            _ => Err(format!("{text:?} is no version such as 3.5.1")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// A difference that has its reason. Where no version is named, all have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// Before 3.7: `keys_only` keeps the leases. We answer as 3.7 does, which reads its index only (contract, section
    /// 0).
    LeaseOfKeysOnly,
    /// Go's sort leaves ties in any order (contract, section 1.1: "sort is unstable on ties") when there are more than
    /// twelve elements, and before Go 1.19 more than six; ours are in the order of the keys.
    OrderOfTies,
    /// With several members: one that does not lead knows no lease's expiry, and lists them in any order there, and by
    /// their id here. A leader lists them by their expiry, and so does the only member.
    OrderOfLeases,
    /// The keys of a lease come from a hashed map (contract, section 1.3: "unordered").
    OrderOfLeaseKeys,
    /// The whole seconds that are left change at different moments, a few milliseconds apart.
    SecondBoundary,
    /// An id that a server draws for a lease is its own.
    DrawnLease,
    /// A put behind the key of a deletion without end (`\0`) is accepted, because the end is taken for the key `\0`;
    /// and so is a put in a nested transaction before another one that deletes the key. The contract wants both refused
    /// (section 1.1), and we do. Such a transaction is asked of us, and etcd is shown it where it is not executed.
    Overlap,
    /// A message that is too long is refused by the library of gRPC, in its own words, with the same two numbers.
    WordsOfGrpc,
    /// The revision in the header of events that were history when their watcher was created, or happened while it
    /// caught up. etcd names its newest one in every batch; we name how far the watcher has everything, since whoever
    /// resumes after the header's revision would miss events otherwise. Of synced watchers both are equal.
    HeaderOfHistory,
    /// With several members: one that hears of two writes at once tells their events together, and the header names the
    /// later one; etcd tells those of each revision alone.
    HeaderOfBatch,
    /// A watcher that was canceled for a compaction keeps its id until its client cancels it, as etcd's own client
    /// does, and that gets a reply. For us it is gone already, and what is unknown is canceled without a reply
    /// (contract, section 1.2).
    CancelOfCompacted,
    /// Before 3.6: a transaction that cannot run for a put (its lease, or the key that it keeps) and for a range (its
    /// revision) names the put, wherever it stands; now the first of them is named.
    OrderOfChecks,
    /// Before 3.5.16 (etcd pull request 18474): a tombstone at the compacted revision is swept, so that a watcher that
    /// begins there misses the deletion.
    LostTombstone,
    /// Before 3.5.8 (etcd issue 15220): a request for progress is answered at once, whatever watchers the stream has.
    /// Before 3.5.22 and 3.6.2 (etcd pull request 20229): also if one of them waits for a future revision.
    EarlyProgress,
    /// Before 3.6: the hash of a history does not say up to which revision it goes.
    NoHashRevision,
    /// Before 3.5.10 (etcd pull request 16048): the compacted revision itself has no hash any more, although it can be
    /// read.
    HashOfCompacted,
    /// After a compaction, the hash up to a revision at which no key lives counts whatever the sweep has left of older
    /// ones, which depends on how far it is. Ours counts none of them, as both do once any key lives.
    HashOfEmpty,
    /// Alarms come from a hashed map there, and by kind and member here.
    OrderOfAlarms,
    /// Without space, a transaction is taken whose puts are all in nested ones, because those cost nothing there. The
    /// contract refuses what puts (section 1.5), and we do. Such a transaction is asked of us, and etcd is shown it
    /// where it is not executed.
    NestedPut,
    /// While an alarm is on, a lease with too long a TTL is refused for the alarm. We refuse it for its TTL, before it
    /// is known whether an alarm is on: no state makes it a lease.
    AlarmBeforeTtl,
}

/// How often each known difference was met.
pub type Counts = BTreeMap<Known, u64>;

/// Whether a version has what came with these patches of 3.5 and 3.6.
fn has(etcd: Version, of_3_5: u32, of_3_6: u32) -> bool {
    match etcd {
        Version(3, 5, patch) => patch >= of_3_5,
        Version(3, 6, patch) => patch >= of_3_6,
        _ => etcd > Version(3, 6, 0),
    }
}

/// Whether a sort order or target that does not exist can be sent: before 3.6 it is a panic of the server.
pub(super) fn takes_invalid_sorts(etcd: Version) -> bool {
    etcd >= Version(3, 6, 0)
}

/// Whether watchers from a negative revision are refused as the contract says. Before 3.5.24 and 3.6.6 they are not, so
/// none is created there.
pub(super) fn refuses_negative_starts(etcd: Version) -> bool {
    has(etcd, 24, 6)
}

/// Takes out of a transaction what makes members of etcd differ from each other before 3.7 (etcd issue 18667): a member
/// that nobody asked leaves the ranges of a transaction out, and so executes one that the asked member refuses, because
/// a range's revision is in the future of `head`, or before `compacted`.
pub(super) fn keep_members_equal(etcd: Version, txn: &mut pb::TxnRequest, head: i64, compacted: i64) {
    if etcd >= Version(3, 7, 0) {
        return;
    }
    for operation in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut operation.request {
            Some(Op::RequestRange(range)) if range.revision > head || range.revision < compacted => range.revision = 0,
            Some(Op::RequestTxn(nested)) => keep_members_equal(etcd, nested, head, compacted),
            _ => {}
        }
    }
}

/// Whether etcd answers a request for progress: if there are `watchers`, and whether some are `early`, waiting for a
/// future revision. See [`Known::EarlyProgress`].
pub(super) fn tells_progress(etcd: Version, watchers: bool, early: bool) -> bool {
    etcd < Version(3, 5, 8) || watchers && !(early && has(etcd, 22, 2))
}

/// See [`Known::LostTombstone`].
pub(super) fn may_lose(etcd: Version, event: &Event, compacted: i64) -> bool {
    let at = event.kv.as_ref().map_or(0, |pair| pair.mod_revision);
    etcd < Version(3, 5, 16) && event.r#type() == EventType::Delete && at == compacted
}

/// Whether no key lives at a revision, by all events up to it. See [`Known::HashOfEmpty`].
pub(super) fn nothing_lives(history: &[Event], revision: i64) -> bool {
    let mut alive = BTreeSet::new();
    for event in history {
        let Some(pair) = event.kv.as_ref().filter(|pair| pair.mod_revision <= revision) else { continue };
        match event.r#type() {
            EventType::Put => alive.insert(&pair.key),
            EventType::Delete => alive.remove(&pair.key),
        };
    }
    alive.is_empty()
}

/// For a transaction that we may have to refuse although etcd takes it, one that etcd takes for the same reason, but
/// that writes nothing; see [`gap`].
pub(super) fn taken_by_etcd(request: &Request) -> Option<Request> {
    let Request::Txn(txn) = request else { return None };
    let taken = overlaps::only_we_refuse(txn) || overlaps::puts_only_nested(txn);
    taken.then(|| Request::Txn(overlaps::unexecuted(txn)))
}

/// Why we refuse a transaction that etcd takes, if that is known: [`Known::Overlap`] or [`Known::NestedPut`].
pub(super) fn gap(request: &Request, answer: &Answer) -> Option<Known> {
    let (Request::Txn(txn), Err(refusal)) = (request, answer) else { return None };
    match (refusal.code, refusal.text.as_str()) {
        (tonic::Code::InvalidArgument, "etcdserver: duplicate key given in txn request") => {
            overlaps::only_we_refuse(txn).then_some(Known::Overlap)
        }
        (tonic::Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded") => {
            overlaps::puts_only_nested(txn).then_some(Known::NestedPut)
        }
        _ => None,
    }
}

/// Whether a transaction is too long, as one may be that another was put around.
pub(super) fn is_too_many_ops(refusal: &Refusal) -> bool {
    refusal.text == "etcdserver: too many operations in txn request"
}

/// Takes out of both answers what may differ in them.
pub(super) fn reconcile(version: Version, request: &Request, etcd: &mut Answer, detcd: &mut Answer) -> Counts {
    let mut counts = Counts::new();
    reconcile_refusals(version, request, etcd, detcd, &mut counts);
    let (Ok(etcd), Ok(detcd)) = (etcd, detcd) else { return counts };
    match (request, etcd, detcd) {
        (Request::Range(request), Response::Range(etcd), Response::Range(detcd)) => {
            reconcile_ranges(version, request, etcd, detcd, &mut counts);
        }
        (Request::Txn(request), Response::Txn(etcd), Response::Txn(detcd)) => {
            reconcile_txns(version, request, etcd, detcd, &mut counts);
        }
        (Request::LeaseGrant(request), Response::LeaseGrant(etcd), Response::LeaseGrant(detcd))
            if request.id == 0 && etcd.id > 0 && detcd.id > 0 =>
        {
            (etcd.id, detcd.id) = (0, 0);
            count(&mut counts, Known::DrawnLease, true);
        }
        (_, Response::LeaseTimeToLive(etcd), Response::LeaseTimeToLive(detcd)) => {
            let mixed = etcd.keys != detcd.keys;
            etcd.keys.sort();
            detcd.keys.sort();
            count(&mut counts, Known::OrderOfLeaseKeys, mixed);
            // An unknown lease has −1 left, which is no second away from anything.
            let apart = etcd.ttl >= 0 && detcd.ttl >= 0 && (etcd.ttl - detcd.ttl).abs() == 1;
            if apart {
                detcd.ttl = etcd.ttl;
            }
            count(&mut counts, Known::SecondBoundary, apart);
        }
        (Request::HashKv(request), Response::HashKv(etcd), Response::HashKv(detcd)) => {
            reconcile_hashes(version, request.revision, etcd, detcd, &mut counts);
        }
        (_, Response::Alarm(etcd), Response::Alarm(detcd)) => {
            let mixed = etcd.alarms != detcd.alarms;
            for alarms in [&mut etcd.alarms, &mut detcd.alarms] {
                alarms.sort_by_key(|alarm| (alarm.alarm, alarm.member_id));
            }
            count(&mut counts, Known::OrderOfAlarms, mixed);
        }
        _ => {}
    }
    counts
}

/// Takes out of both answers what may differ in them if there are several members, who need not be led by the same.
pub(super) fn reconcile_members(etcd: &mut Answer, detcd: &mut Answer) -> Counts {
    let mut counts = Counts::new();
    if let (Ok(Response::LeaseLeases(etcd)), Ok(Response::LeaseLeases(detcd))) = (etcd, detcd) {
        let mixed = etcd.leases != detcd.leases;
        etcd.leases.sort_by_key(|lease| lease.id);
        detcd.leases.sort_by_key(|lease| lease.id);
        count(&mut counts, Known::OrderOfLeases, mixed);
    }
    counts
}

/// Where etcd refuses: for another reason than we, in other words, or what we do not.
fn reconcile_refusals(version: Version, request: &Request, etcd: &mut Answer, detcd: &Answer, counts: &mut Counts) {
    if let (Request::Txn(_), Err(one), Err(other)) = (request, &*etcd, detcd)
        && version < Version(3, 6, 0)
        && refuses_a_put(one)
        && refuses_a_range(other)
    {
        *etcd = detcd.clone();
        count(counts, Known::OrderOfChecks, true);
    }
    if let (Request::LeaseGrant(_), Err(one), Err(other)) = (request, &*etcd, detcd)
        && refuses_for_an_alarm(one)
        && other.text == "etcdserver: too large lease TTL"
    {
        *etcd = detcd.clone();
        count(counts, Known::AlarmBeforeTtl, true);
    }
    if let (Err(one), Err(other)) = (&*etcd, detcd)
        && say_the_same_of_length(one, other)
    {
        *etcd = detcd.clone();
        count(counts, Known::WordsOfGrpc, true);
    }
    if let (Request::HashKv(request), Err(one), Ok(Response::HashKv(other))) = (request, &*etcd, detcd)
        && !has(version, 10, 0)
        && one.text == "etcdserver: mvcc: required revision has been compacted"
        && [other.compact_revision, other.hash_revision] == [request.revision; 2]
    {
        *etcd = detcd.clone();
        count(counts, Known::HashOfCompacted, true);
    }
}

fn reconcile_hashes(
    version: Version,
    revision: i64,
    etcd: &mut pb::HashKvResponse,
    detcd: &pb::HashKvResponse,
    counts: &mut Counts,
) {
    let current = etcd.header.as_ref().map_or(0, |header| header.revision);
    let up_to = if revision == 0 { current } else { revision };
    let unsaid = version < Version(3, 6, 0) && etcd.hash_revision == 0 && detcd.hash_revision == up_to;
    if unsaid {
        etcd.hash_revision = up_to;
    }
    count(counts, Known::NoHashRevision, unsaid);
}

fn say_the_same_of_length(etcd: &Refusal, detcd: &Refusal) -> bool {
    let numbers = |refusal: &Refusal| {
        let words = refusal.text.split(|letter: char| !letter.is_ascii_digit());
        words.filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<String>>()
    };
    etcd.code == tonic::Code::ResourceExhausted
        && detcd.code == etcd.code
        && etcd.text.starts_with("grpc: received message larger than max")
        && detcd.text.starts_with("Error, decoded message length too large")
        && numbers(etcd) == numbers(detcd)
}

fn refuses_for_an_alarm(refusal: &Refusal) -> bool {
    ["etcdserver: mvcc: database space exceeded", "etcdserver: corrupt cluster"].contains(&refusal.text.as_str())
}

fn refuses_a_put(refusal: &Refusal) -> bool {
    ["etcdserver: key not found", "etcdserver: requested lease not found"].contains(&refusal.text.as_str())
}

fn refuses_a_range(refusal: &Refusal) -> bool {
    refusal.code == tonic::Code::OutOfRange && refusal.text.starts_with("etcdserver: mvcc: required revision ")
}

fn count(counts: &mut Counts, known: Known, met: bool) {
    if met {
        *counts.entry(known).or_default() += 1;
    }
}

fn reconcile_txns(
    version: Version,
    request: &pb::TxnRequest,
    etcd: &mut pb::TxnResponse,
    detcd: &mut pb::TxnResponse,
    counts: &mut Counts,
) {
    if etcd.succeeded != detcd.succeeded {
        return;
    }
    let branch = if etcd.succeeded { &request.success } else { &request.failure };
    for ((operation, etcd), detcd) in branch.iter().zip(&mut etcd.responses).zip(&mut detcd.responses) {
        match (&operation.request, &mut etcd.response, &mut detcd.response) {
            (
                Some(Op::RequestRange(request)),
                Some(OpResponse::ResponseRange(etcd)),
                Some(OpResponse::ResponseRange(detcd)),
            ) => reconcile_ranges(version, request, etcd, detcd, counts),
            (
                Some(Op::RequestTxn(request)),
                Some(OpResponse::ResponseTxn(etcd)),
                Some(OpResponse::ResponseTxn(detcd)),
            ) => reconcile_txns(version, request, etcd, detcd, counts),
            _ => {}
        }
    }
}

fn reconcile_ranges(
    version: Version,
    request: &pb::RangeRequest,
    etcd: &mut pb::RangeResponse,
    detcd: &mut pb::RangeResponse,
    counts: &mut Counts,
) {
    let clears = request.keys_only && request.sort_target() != SortTarget::Value;
    if clears && version < Version(3, 7, 0) {
        count(counts, Known::LeaseOfKeysOnly, etcd.kvs.iter().any(|pair| pair.lease != 0));
        etcd.kvs.iter_mut().for_each(|pair| pair.lease = 0);
    }
    if etcd.kvs != detcd.kvs && has_long_ties(version, request, etcd) {
        count(counts, Known::OrderOfTies, settle_ties(request, etcd, detcd));
    }
}

/// Go sorts as many elements as this stably in all versions.
pub(super) const STABLE_MAX: usize = 6;

/// Whether so many pairs were sorted by something that they may share that Go's sort is not stable. By values that are
/// not told nobody can see who shares them.
fn has_long_ties(version: Version, request: &pb::RangeRequest, etcd: &pb::RangeResponse) -> bool {
    let stable_max = if version < Version(3, 6, 0) { STABLE_MAX } else { 12 };
    let is_long = usize::try_from(etcd.count).is_ok_and(|count| count > stable_max);
    match request.sort_target() {
        SortTarget::Key => false,
        SortTarget::Value => is_long && !request.keys_only,
        SortTarget::Version | SortTarget::Create | SortTarget::Mod => is_long,
    }
}

/// Puts the members of each tie in the order of their keys; whether the answers are equal then. Which members of the
/// last tie come below the limit is open too: these are left out of both, if they tie.
fn settle_ties(request: &pb::RangeRequest, etcd: &mut pb::RangeResponse, detcd: &mut pb::RangeResponse) -> bool {
    let target = request.sort_target();
    let rank = |pair: &KeyValue| match target {
        SortTarget::Key => Rank::Bytes(pair.key.clone()),
        SortTarget::Version => Rank::Number(pair.version),
        SortTarget::Create => Rank::Number(pair.create_revision),
        SortTarget::Mod => Rank::Number(pair.mod_revision),
        SortTarget::Value => Rank::Bytes(pair.value.clone()),
    };
    let ranks = |response: &pb::RangeResponse| response.kvs.iter().map(rank).collect::<Vec<Rank>>();
    if ranks(etcd) != ranks(detcd) {
        return false;
    }
    let cut = etcd.more && detcd.more;
    let last = etcd.kvs.last().map(rank);
    for response in [etcd, detcd] {
        let order = |pair: &KeyValue| (rank(pair), pair.key.clone());
        let descends = request.sort_order() == SortOrder::Descend;
        response.kvs.sort_by(|one, other| {
            let (one, other) = (order(one), order(other));
            if descends { other.0.cmp(&one.0).then(one.1.cmp(&other.1)) } else { one.cmp(&other) }
        });
        if cut {
            response.kvs.retain(|pair| Some(rank(pair)) != last);
        }
    }
    true
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Number(i64),
    Bytes(bytes::Bytes),
}

#[cfg(test)]
mod tests;
