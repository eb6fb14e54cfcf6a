//! What one client does again and again, and the requests that it takes.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;

/// Which operation the clients repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Operation {
    /// Writes one key.
    Put,
    /// Reads one key, linearizably.
    Get,
    /// Reads some keys in a row, linearizably.
    Range,
    /// Reads and overwrites one key if it exists, else creates it.
    Txn,
    /// Writes one key and waits until its watchers are told.
    Watch,
    /// Grants a lease that outlives the run.
    LeaseGrant,
    /// Renews the client's lease, on a stream that stays open.
    LeaseKeepalive,
}

impl Operation {
    /// As written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Range => "range",
            Operation::Txn => "txn",
            Operation::Watch => "watch",
            Operation::LeaseGrant => "lease-grant",
            Operation::LeaseKeepalive => "lease-keepalive",
        }
    }

    /// Whether the keys have to exist before it makes sense.
    pub fn reads(self) -> bool {
        matches!(self, Operation::Get | Operation::Range)
    }
}

/// The key with this number: 16 bytes, in order of the numbers.
pub fn key(number: u64) -> Bytes {
    Bytes::from(format!("load/{number:011}"))
}

/// The key that the client with this number writes for watchers.
pub fn watched_key(number: u64) -> Bytes {
    Bytes::from(format!("watched/{number:08}"))
}

/// All keys of [`watched_key`], as first key and end.
pub fn watched_keys() -> (Bytes, Bytes) {
    (Bytes::from_static(b"watched/"), Bytes::from_static(b"watched0"))
}

/// A put of `value` at `key`.
pub fn put(key: Bytes, value: Bytes) -> pb::PutRequest {
    pb::PutRequest { key, value, ..Default::default() }
}

/// A read of `count` keys from the one with number `first` on. It ends where they end: to a limit, etcd would count all
/// keys up to the end of the range.
pub fn range(first: u64, count: u64) -> pb::RangeRequest {
    pb::RangeRequest { key: key(first), range_end: key(first + count), ..Default::default() }
}

/// A read and an overwrite of `key` if it exists, else its creation.
pub fn read_and_write(key: &Bytes, value: &Bytes) -> pb::TxnRequest {
    use pb::request_op::Request;
    let operation = |request| pb::RequestOp { request: Some(request) };
    let write = operation(Request::RequestPut(put(key.clone(), value.clone())));
    let read = operation(Request::RequestRange(pb::RangeRequest { key: key.clone(), ..Default::default() }));
    let exists = pb::Compare {
        result: pb::compare::CompareResult::Greater.into(),
        target: pb::compare::CompareTarget::Create.into(),
        key: key.clone(),
        target_union: Some(pb::compare::TargetUnion::CreateRevision(0)),
        ..Default::default()
    };
    pb::TxnRequest { compare: vec![exists], success: vec![read, write.clone()], failure: vec![write] }
}
