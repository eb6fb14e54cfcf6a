//! Executing a transaction (contract, section 1.1).
//!
//! Which branches run, and whether every operation in them can, is decided on the state before the transaction; only
//! then is anything written, so that a transaction that fails changes nothing.

use std::cmp::Ordering;

use super::Asker;
use super::key_range::KeyRange;
use super::mvcc::ReadAt;
use super::put::Put;
use super::range::range;
use super::record::Record;
use super::store::{Store, header};
use crate::api::Status;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::response_op::Response as OpResponse;
use crate::types::LeaseId;

/// Which branch each transaction takes, this one first, nested ones in the order of the branches taken.
type Path = Vec<bool>;

/// Executes a transaction that may write.
pub(crate) fn txn(store: &mut Store, request: &pb::TxnRequest, asker: Asker) -> Result<pb::TxnResponse, Status> {
    let path = decide(store, request)?;
    let mut response = execute(&mut Writer { store, asker }, request, &mut path.iter().copied());
    response.header = header(store.mvcc.newest_revision());
    store.mvcc.commit();
    Ok(response)
}

/// Executes a transaction that only reads.
pub(crate) fn read_txn(store: &Store, request: &pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
    let path = decide(store, request)?;
    let mut response = execute(&mut Reader(store), request, &mut path.iter().copied());
    response.header = header(store.mvcc.revision());
    Ok(response)
}

fn decide(store: &Store, request: &pb::TxnRequest) -> Result<Path, Status> {
    let mut path = Path::new();
    choose(store, request, &mut path);
    check(store, request, &mut path.iter().copied())?;
    Ok(path)
}

fn choose(store: &Store, request: &pb::TxnRequest, path: &mut Path) {
    let succeeded = request.compare.iter().all(|compare| holds(store, compare));
    path.push(succeeded);
    for operation in branch(request, succeeded) {
        if let Some(Op::RequestTxn(nested)) = &operation.request {
            choose(store, nested, path);
        }
    }
}

fn branch(request: &pb::TxnRequest, succeeded: bool) -> &[pb::RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

/// Whether a compare holds: for every key in its range, or against zeros if there is none; but a value that does not
/// exist equals, and differs from, nothing.
fn holds(store: &Store, compare: &pb::Compare) -> bool {
    let mut found = false;
    let mut all = true;
    store.mvcc.visit(&KeyRange::new(&compare.key, &compare.range_end), ReadAt::Latest, |record| {
        found = true;
        all = matches(compare, Some(record));
        all
    });
    if found { all } else { compare.target() != CompareTarget::Value && matches(compare, None) }
}

/// A target or result that etcd does not know compares as equal, or holds; an operand of another kind than the target
/// counts as zero.
fn matches(compare: &pb::Compare, record: Option<&Record>) -> bool {
    let number = |field: fn(&Record) -> i64| record.map_or(0, field);
    let operand = compare.target_union.as_ref();
    let ordering = match (CompareTarget::try_from(compare.target), operand) {
        (Ok(CompareTarget::Version), Some(TargetUnion::Version(version))) => number(|r| r.version()).cmp(version),
        (Ok(CompareTarget::Version), _) => number(|r| r.version()).cmp(&0),
        (Ok(CompareTarget::Create), Some(TargetUnion::CreateRevision(revision))) => {
            number(|r| r.create_revision()).cmp(revision)
        }
        (Ok(CompareTarget::Create), _) => number(|r| r.create_revision()).cmp(&0),
        (Ok(CompareTarget::Mod), Some(TargetUnion::ModRevision(revision))) => number(|r| r.at().revision).cmp(revision),
        (Ok(CompareTarget::Mod), _) => number(|r| r.at().revision).cmp(&0),
        (Ok(CompareTarget::Lease), Some(TargetUnion::Lease(lease))) => number(|r| r.lease()).cmp(lease),
        (Ok(CompareTarget::Lease), _) => number(|r| r.lease()).cmp(&0),
        (Ok(CompareTarget::Value), operand) => {
            let operand: &[u8] = if let Some(TargetUnion::Value(value)) = operand { value } else { &[] };
            record.map_or(&[][..], |record| record.value()).cmp(operand)
        }
        (Err(_), _) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => ordering == Ordering::Equal,
        Ok(CompareResult::NotEqual) => ordering != Ordering::Equal,
        Ok(CompareResult::Greater) => ordering == Ordering::Greater,
        Ok(CompareResult::Less) => ordering == Ordering::Less,
        Err(_) => true,
    }
}

/// Whether every operation that will run can: the first that cannot, in order, names the error.
fn check(store: &Store, request: &pb::TxnRequest, path: &mut impl Iterator<Item = bool>) -> Result<(), Status> {
    let succeeded = path.next().expect("the path has a turn for every transaction");
    for operation in branch(request, succeeded) {
        match &operation.request {
            Some(Op::RequestRange(request)) => check_range(store, request)?,
            Some(Op::RequestPut(request)) => {
                let put = Put::from(request);
                check_kept(store, &put)?;
                check_lease(store, &put)?;
            }
            Some(Op::RequestTxn(nested)) => check(store, nested, path)?,
            Some(Op::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

/// Inside a transaction only 0 means the latest revision; what lies before the first readable one is compacted, and
/// before any compaction that is −1.
fn check_range(store: &Store, request: &pb::RangeRequest) -> Result<(), Status> {
    match request.revision {
        0 => Ok(()),
        revision if revision > store.mvcc.revision() => Err(Status::FutureRevision),
        revision if revision < store.mvcc.compacted() => Err(Status::Compacted),
        _ => Ok(()),
    }
}

/// Whether a put can run on the present state: its lease exists, and its key, if something of it is to be kept. As in
/// etcd, a put by itself is asked for the lease first, and one of a transaction for the key.
pub(crate) fn check_put(store: &Store, put: &Put<'_>) -> Result<(), Status> {
    check_lease(store, put)?;
    check_kept(store, put)
}

fn check_lease(store: &Store, put: &Put<'_>) -> Result<(), Status> {
    let exists = put.lease == 0 || store.leases.get(LeaseId(put.lease)).is_some();
    if exists { Ok(()) } else { Err(Status::LeaseNotFound) }
}

fn check_kept(store: &Store, put: &Put<'_>) -> Result<(), Status> {
    let keeps = put.ignore_value || put.ignore_lease;
    let exists = !keeps || store.mvcc.get(put.key, ReadAt::Latest).is_some();
    if exists { Ok(()) } else { Err(Status::KeyNotFound) }
}

/// What runs the operations of a transaction.
trait Executor {
    fn range(&self, request: &pb::RangeRequest) -> pb::RangeResponse;
    fn put(&mut self, request: &pb::PutRequest) -> pb::PutResponse;
    fn delete_range(&mut self, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse;
}

struct Writer<'a> {
    store: &'a mut Store,
    asker: Asker,
}

struct Reader<'a>(&'a Store);

impl Executor for Writer<'_> {
    fn range(&self, request: &pb::RangeRequest) -> pb::RangeResponse {
        match self.asker {
            Asker::Waits => range_of(self.store, request),
            Asker::IsElsewhere => pb::RangeResponse::default(),
        }
    }

    fn put(&mut self, request: &pb::PutRequest) -> pb::PutResponse {
        let previous = self.store.put(&Put::from(request), self.asker);
        self.store.put_response(previous)
    }

    fn delete_range(&mut self, request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        self.store.delete_range(request, self.asker)
    }
}

impl Executor for Reader<'_> {
    fn range(&self, request: &pb::RangeRequest) -> pb::RangeResponse {
        range_of(self.0, request)
    }

    fn put(&mut self, _request: &pb::PutRequest) -> pb::PutResponse {
        unreachable!("a transaction with a put is no read")
    }

    fn delete_range(&mut self, _request: &pb::DeleteRangeRequest) -> pb::DeleteRangeResponse {
        unreachable!("a transaction with a deletion is no read")
    }
}

fn range_of(store: &Store, request: &pb::RangeRequest) -> pb::RangeResponse {
    range(&store.mvcc, request).expect("the revision was checked before")
}

fn execute(
    executor: &mut impl Executor,
    request: &pb::TxnRequest,
    path: &mut dyn Iterator<Item = bool>,
) -> pb::TxnResponse {
    let succeeded = path.next().expect("the path has a turn for every transaction");
    let mut responses = Vec::with_capacity(branch(request, succeeded).len());
    for operation in branch(request, succeeded) {
        let response = match &operation.request {
            Some(Op::RequestRange(request)) => Some(OpResponse::ResponseRange(executor.range(request))),
            Some(Op::RequestPut(request)) => Some(OpResponse::ResponsePut(executor.put(request))),
            Some(Op::RequestDeleteRange(request)) => {
                Some(OpResponse::ResponseDeleteRange(executor.delete_range(request)))
            }
            Some(Op::RequestTxn(nested)) => Some(OpResponse::ResponseTxn(execute(executor, nested, path))),
            None => None,
        };
        responses.push(pb::ResponseOp { response });
    }
    // Only the outermost transaction fills its header, as in etcd.
    pb::TxnResponse { header: Some(pb::ResponseHeader::default()), succeeded, responses }
}
