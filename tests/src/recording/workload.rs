//! What a recorded client does next: a function of the seed, the client and the number of the operation.

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::seed::draw_below;
use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, Txn, TxnOp};

/// All keys begin with this.
const PREFIX: &str = "k/";

/// Keys are drawn from this many: few enough that clients meet, many enough that old values live on.
const KEYS: u64 = 400;

/// How many keys a scan in the middle of the run reads at most.
const SCAN_LIMIT: i64 = 20;

/// One operation: the request as detcd's types have it, made into calls of etcd-client by [`super::client`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// Writes a value that nobody else ever writes.
    Put { key: Bytes, value: Bytes, prev_kv: bool },
    /// Reads one key.
    Get { key: Bytes, serializable: bool },
    /// Reads keys from one on.
    Scan { key: Bytes, limit: i64 },
    /// Deletes one key.
    Delete { key: Bytes },
    /// Writes two keys if the first still has that revision, else reads it.
    Swap { key: Bytes, expected: i64, other: Bytes, value: Bytes },
}

/// Everything there is: the range from the prefix to the end of the keys.
pub(super) fn everything() -> Step {
    Step::Scan { key: Bytes::from_static(PREFIX.as_bytes()), limit: 0 }
}

/// A key by its number.
fn key(number: u64) -> Bytes {
    Bytes::from(format!("{PREFIX}{number:04}"))
}

/// The first key that does not begin with the prefix.
fn end() -> Bytes {
    Bytes::from_static(b"k0")
}

/// Draws what client `client` does as its operation number `number`; `expected` tells the revision that the client
/// believes a key has.
pub(super) fn draw_step(seed: u64, client: u64, number: u64, expected: impl Fn(&Bytes) -> i64) -> Step {
    let draw = |place: u64, bound: u64| draw_below(seed, &[client, number, place], bound);
    let (first, second) = (key(draw(1, KEYS)), key(draw(2, KEYS)));
    let value = Bytes::from(format!("{client}.{number}"));
    match draw(0, 100) {
        0..50 => Step::Put { key: first, value, prev_kv: draw(3, 4) == 0 },
        50..70 => Step::Get { key: first, serializable: false },
        70..75 => Step::Get { key: first, serializable: true },
        75..80 => Step::Scan { key: first, limit: SCAN_LIMIT },
        80..88 => Step::Delete { key: first },
        _ if first == second => Step::Delete { key: first },
        _ => Step::Swap { expected: expected(&first), key: first, other: second, value },
    }
}

impl Step {
    /// Whether it may write.
    pub(super) fn writes(&self) -> bool {
        matches!(self, Step::Put { .. } | Step::Delete { .. } | Step::Swap { .. })
    }

    /// The request in detcd's types.
    pub(super) fn request(&self) -> Request {
        match self.clone() {
            Step::Put { key, value, prev_kv } => {
                Request::Put(pb::PutRequest { key, value, prev_kv, ..Default::default() })
            }
            Step::Get { key, serializable } => {
                Request::Range(pb::RangeRequest { key, serializable, ..Default::default() })
            }
            Step::Scan { key, limit } => {
                Request::Range(pb::RangeRequest { key, range_end: end(), limit, ..Default::default() })
            }
            Step::Delete { key } => {
                Request::DeleteRange(pb::DeleteRangeRequest { key, prev_kv: true, ..Default::default() })
            }
            Step::Swap { key, expected, other, value } => Request::Txn(swap(&key, expected, other, value)),
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
pub(super) fn put_options(prev_kv: bool) -> Option<PutOptions> {
    prev_kv.then(|| PutOptions::new().with_prev_key())
}

/// See [`put_options`].
pub(super) fn get_options(serializable: bool) -> Option<GetOptions> {
    serializable.then(|| GetOptions::new().with_serializable())
}

/// See [`put_options`].
pub(super) fn scan_options(limit: i64) -> Option<GetOptions> {
    Some(GetOptions::new().with_range(end()).with_limit(limit))
}

/// See [`put_options`].
pub(super) fn delete_options() -> Option<DeleteOptions> {
    Some(DeleteOptions::new().with_prev_key())
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
