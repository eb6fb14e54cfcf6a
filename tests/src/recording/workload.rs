//! What a recorded client does next: a function of the seed, the client and the number of the operation.

use std::collections::BTreeMap;

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::seed::draw_below;
use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, LeaseGrantOptions, PutOptions, Txn, TxnOp};

/// All keys begin with this.
const PREFIX: &str = "k/";

/// Keys are drawn from this many: few enough that clients meet, many enough that old values live on.
const KEYS: u64 = 400;

/// How many keys a scan in the middle of the run reads at most.
const SCAN_LIMIT: i64 = 20;

/// One operation in so many is a compaction.
const COMPACT_EVERY: u64 = 2_000;

/// How many revisions behind the newest one compactions and reads of the past may lie.
const PAST_REVISIONS: u64 = 500;

/// Leases live for up to so many seconds: short enough that some end by themselves.
const TTL_S_MAX: u64 = 12;

/// One operation: the request as detcd's types have it, made into calls of etcd-client or into arguments of etcdctl
/// where those are the clients.
#[expect(missing_docs, reason = "the fields have etcd's names")]
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Writes a value that nobody else ever writes, with a lease unless that is 0.
    Put { key: Bytes, value: Bytes, prev_kv: bool, lease: i64 },
    /// Reads one key, as it is or, unless that is 0, as it was at a revision.
    Get { key: Bytes, serializable: bool, revision: i64 },
    /// Reads keys from one on.
    Scan { key: Bytes, limit: i64 },
    /// Deletes one key.
    Delete { key: Bytes },
    /// Writes two keys if the first still has that revision, else reads it.
    Swap { key: Bytes, expected: i64, other: Bytes, value: Bytes },
    /// Asks for a lease.
    Grant { lease: i64, ttl_s: i64 },
    /// Renews a lease.
    KeepAlive { lease: i64 },
    /// Ends a lease.
    Revoke { lease: i64 },
    /// Gives up the past before a revision.
    Compact { revision: i64 },
}

/// What a client believes, on which its next operation depends.
#[derive(Debug, Default)]
pub struct Known {
    /// The revisions of keys as last seen.
    pub seen: BTreeMap<Bytes, i64>,
    /// Its lease; 0 for none.
    pub lease: i64,
    /// An earlier one that it left to its end and still remembers; 0 for none.
    pub left: i64,
    /// The newest revision that the witness has told of. The past is only given up behind it: a witness that misses a
    /// revision could not tell what it did.
    pub told: i64,
}

impl Known {
    /// Learns from the answer to an operation of this client's own.
    pub fn learn(&mut self, step: &Step, response: &Response) {
        match (step, response) {
            (Step::Put { key, .. }, Response::Put(put)) => {
                self.seen.extend(put.header.map(|header| (key.clone(), header.revision)));
            }
            (Step::Get { key, revision: 0, .. }, Response::Range(range)) => {
                self.seen.insert(key.clone(), range.kvs.first().map_or(0, |kv| kv.mod_revision));
            }
            (Step::Grant { lease, .. }, _) => {
                let before = std::mem::replace(&mut self.lease, *lease);
                if self.left == 0 {
                    self.left = before;
                }
            }
            (Step::KeepAlive { lease }, Response::LeaseKeepAlive(kept)) if kept.ttl <= 0 => self.forget(*lease),
            (Step::Revoke { lease }, _) => self.forget(*lease),
            _ => {}
        }
    }

    /// Gives up the lease that `step`, which did not succeed, was about: it may be gone.
    pub fn forget_lease(&mut self, step: &Step) {
        if let Step::Put { lease, .. } | Step::KeepAlive { lease } | Step::Revoke { lease } = step {
            self.forget(*lease);
        }
    }

    fn forget(&mut self, lease: i64) {
        for known in [&mut self.lease, &mut self.left] {
            if *known == lease {
                *known = 0;
            }
        }
    }
}

/// Everything there is: the range from the prefix to the end of the keys.
pub fn everything() -> Step {
    Step::Scan { key: Bytes::from_static(PREFIX.as_bytes()), limit: 0 }
}

/// A key by its number.
fn key(number: u64) -> Bytes {
    Bytes::from(format!("{PREFIX}{number:04}"))
}

/// The first key that does not begin with the prefix.
pub(super) fn end() -> Bytes {
    Bytes::from_static(b"k0")
}

/// Draws what client `client` does as its operation number `number`, by what it knows.
pub fn draw_step(seed: u64, client: u64, number: u64, known: &Known) -> Step {
    let draw = |place: u64, bound: u64| draw_below(seed, &[client, number, place], bound);
    let past = || known.told - i64::try_from(draw(4, PAST_REVISIONS)).expect("small");
    if draw(5, COMPACT_EVERY) == 0 && past() > 1 {
        return Step::Compact { revision: past() };
    }
    match (draw(6, 100), draw_plain_step(seed, client, number, known)) {
        // One that was left for some time may have ended.
        (0, _) if known.left != 0 && draw(8, 8) == 0 => Step::Revoke { lease: known.left },
        (0, _) if known.lease != 0 => Step::Revoke { lease: known.lease },
        (1..4, _) if known.lease != 0 => Step::KeepAlive { lease: known.lease },
        (0..5, _) => {
            // Every id is used once, so that a lease has one life. One that the client has is left to its end.
            let lease = i64::try_from(((client + 1) << 32) + number).expect("few clients");
            Step::Grant { lease, ttl_s: i64::try_from(2 + draw(7, TTL_S_MAX - 1)).expect("small") }
        }
        (5..25, Step::Put { key, value, prev_kv, .. }) => Step::Put { key, value, prev_kv, lease: known.lease },
        (5..15, Step::Get { key, serializable, .. }) if past() > 1 => Step::Get { key, serializable, revision: past() },
        (_, step) => step,
    }
}

/// As [`draw_step`], from what every client can do: reads and writes of keys without leases.
pub(super) fn draw_plain_step(seed: u64, client: u64, number: u64, known: &Known) -> Step {
    let draw = |place: u64, bound: u64| draw_below(seed, &[client, number, place], bound);
    let (first, second) = (key(draw(1, KEYS)), key(draw(2, KEYS)));
    let value = Bytes::from(format!("{client}.{number}"));
    match draw(0, 100) {
        0..50 => Step::Put { key: first, value, prev_kv: draw(3, 4) == 0, lease: 0 },
        50..70 => Step::Get { key: first, serializable: false, revision: 0 },
        70..75 => Step::Get { key: first, serializable: true, revision: 0 },
        75..80 => Step::Scan { key: first, limit: SCAN_LIMIT },
        80..88 => Step::Delete { key: first },
        _ if first == second => Step::Delete { key: first },
        _ => {
            let expected = known.seen.get(&first).copied().unwrap_or(0);
            Step::Swap { key: first, expected, other: second, value }
        }
    }
}

impl Step {
    /// Whether it may write a key.
    pub fn writes(&self) -> bool {
        matches!(self, Step::Put { .. } | Step::Delete { .. } | Step::Swap { .. })
    }

    /// The request in detcd's types.
    pub fn request(&self) -> Request {
        match self.clone() {
            Step::Put { key, value, prev_kv, lease } => {
                Request::Put(pb::PutRequest { key, value, prev_kv, lease, ..Default::default() })
            }
            Step::Get { key, serializable, revision } => {
                Request::Range(pb::RangeRequest { key, serializable, revision, ..Default::default() })
            }
            Step::Scan { key, limit } => {
                Request::Range(pb::RangeRequest { key, range_end: end(), limit, ..Default::default() })
            }
            Step::Delete { key } => {
                Request::DeleteRange(pb::DeleteRangeRequest { key, prev_kv: true, ..Default::default() })
            }
            Step::Swap { key, expected, other, value } => Request::Txn(swap(&key, expected, other, value)),
            Step::Grant { lease: id, ttl_s: ttl } => Request::LeaseGrant(pb::LeaseGrantRequest { ttl, id }),
            Step::KeepAlive { lease: id } => Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id }),
            Step::Revoke { lease: id } => Request::LeaseRevoke(pb::LeaseRevokeRequest { id }),
            Step::Compact { revision } => Request::Compact(pb::CompactionRequest { revision, ..Default::default() }),
        }
    }
}

fn swap(key: &Bytes, expected: i64, other: Bytes, value: Bytes) -> pb::TxnRequest {
    use pb::request_op::Request;
    let op = |request| pb::RequestOp { request: Some(request) };
    let put = |key, value| op(Request::RequestPut(pb::PutRequest { key, value, ..Default::default() }));
    let get = || op(Request::RequestRange(pb::RangeRequest { key: key.clone(), ..Default::default() }));
    let unchanged = pb::Compare {
        result: pb::compare::CompareResult::Equal.into(),
        target: pb::compare::CompareTarget::Mod.into(),
        key: key.clone(),
        target_union: Some(pb::compare::TargetUnion::ModRevision(expected)),
        ..Default::default()
    };
    pb::TxnRequest {
        compare: vec![unchanged],
        success: vec![put(key.clone(), value.clone()), get(), put(other, value)],
        failure: vec![get()],
    }
}

/// The options of etcd-client that make the request of [`Step::request`].
pub(super) fn put_options(prev_kv: bool, lease: i64) -> PutOptions {
    let options = PutOptions::new().with_lease(lease);
    if prev_kv { options.with_prev_key() } else { options }
}

/// See [`put_options`].
pub(super) fn get_options(serializable: bool, revision: i64) -> GetOptions {
    let options = GetOptions::new().with_revision(revision);
    if serializable { options.with_serializable() } else { options }
}

/// See [`put_options`].
pub(super) fn grant_options(lease: i64) -> LeaseGrantOptions {
    LeaseGrantOptions::new().with_id(lease)
}

/// See [`put_options`].
pub(super) fn scan_options(limit: i64) -> GetOptions {
    GetOptions::new().with_range(end()).with_limit(limit)
}

/// See [`put_options`].
pub(super) fn delete_options() -> DeleteOptions {
    DeleteOptions::new().with_prev_key()
}

/// See [`put_options`].
pub(super) fn swap_txn(key: &Bytes, expected: i64, other: &Bytes, value: &Bytes) -> Txn {
    let get = || TxnOp::get(key.clone(), None);
    let put = |key: &Bytes| TxnOp::put(key.clone(), value.clone(), None);
    Txn::new()
        .when([Compare::mod_revision(key.clone(), CompareOp::Equal, expected)])
        .and_then([put(key), get(), put(other)])
        .or_else([get()])
}
