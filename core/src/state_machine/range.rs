//! Executing a `Range` (contract, section 1.1).

use std::cmp::Ordering;

use super::key_range::KeyRange;
use super::mvcc::{Mvcc, ReadAt};
use super::record::Record;
use crate::api::Status;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::proto::mvccpb;
use crate::types::Revision;

/// Executes a plain `Range`. The response's header carries only the revision.
pub(crate) fn range(mvcc: &Mvcc, request: &pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
    let at = read_at(mvcc, request.revision)?;
    let keys = KeyRange::new(&request.key, &request.range_end);
    let header = Some(pb::ResponseHeader { revision: mvcc.newest_revision(), ..pb::ResponseHeader::default() });
    if request.count_only {
        let count = mvcc.count(&keys, at) as i64;
        return Ok(pb::RangeResponse { header, count, ..pb::RangeResponse::default() });
    }
    let (mut records, count) = collect(mvcc, &keys, at, request);
    sort(&mut records, request);
    let limit = limit_of(request);
    let more = records.len() > limit;
    records.truncate(limit);
    let kvs = records.into_iter().map(|record| present(record, request)).collect();
    Ok(pb::RangeResponse { header, kvs, more, count })
}

/// The first keys of a range without order and filters, `keys_max` at most, and whether there are more. Takes a time in
/// proportion to what it gives, however large the range is.
pub(crate) fn range_uncounted(
    mvcc: &Mvcc,
    request: &pb::RangeRequest,
    keys_max: usize,
) -> Result<(Vec<mvccpb::KeyValue>, bool), Status> {
    let at = read_at(mvcc, request.revision)?;
    let (mut kvs, mut more) = (Vec::new(), false);
    mvcc.visit(&KeyRange::new(&request.key, &request.range_end), at, |record| {
        more = kvs.len() == keys_max;
        if !more {
            kvs.push(present(record, request));
        }
        !more
    });
    Ok((kvs, more))
}

/// How many keys a range has.
pub(crate) fn count(mvcc: &Mvcc, request: &pb::RangeRequest) -> Result<i64, Status> {
    let at = read_at(mvcc, request.revision)?;
    Ok(mvcc.count(&KeyRange::new(&request.key, &request.range_end), at) as i64)
}

/// Which revision a plain `Range` means: 0 and below is the latest.
fn read_at(mvcc: &Mvcc, revision: Revision) -> Result<ReadAt, Status> {
    if revision > mvcc.newest_revision() {
        return Err(Status::FutureRevision);
    }
    if revision <= 0 || revision == mvcc.newest_revision() {
        return Ok(ReadAt::Latest);
    }
    if revision < mvcc.compacted() {
        return Err(Status::Compacted);
    }
    Ok(ReadAt::Revision(revision))
}

/// The records that pass the filters, at least as many as are wanted, and the number of keys without any filter.
fn collect<'a>(mvcc: &'a Mvcc, keys: &KeyRange, at: ReadAt, request: &pb::RangeRequest) -> (Vec<&'a Record>, i64) {
    // One more than the limit shows whether there is more. A sort or a filter has to see all; but without an order the
    // limit comes before the sort, as in etcd.
    let early = is_key_order(request) && !has_filters(request);
    let wanted = if early { limit_of(request).saturating_add(1) } else { usize::MAX };
    let mut records = Vec::new();
    let mut count = 0;
    mvcc.visit(keys, at, |record| {
        count += 1;
        if records.len() < wanted && passes(record, request) {
            records.push(record);
        }
        true
    });
    (records, count)
}

fn limit_of(request: &pb::RangeRequest) -> usize {
    if request.limit <= 0 { usize::MAX } else { usize::try_from(request.limit).unwrap_or(usize::MAX) }
}

fn is_key_order(request: &pb::RangeRequest) -> bool {
    match request.sort_order() {
        SortOrder::None => true,
        SortOrder::Ascend => request.sort_target() == SortTarget::Key,
        SortOrder::Descend => false,
    }
}

fn has_filters(request: &pb::RangeRequest) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(record: &Record, request: &pb::RangeRequest) -> bool {
    let within =
        |value: Revision, min: Revision, max: Revision| (min == 0 || value >= min) && (max == 0 || value <= max);
    within(record.at().revision, request.min_mod_revision, request.max_mod_revision)
        && within(record.create_revision(), request.min_create_revision, request.max_create_revision)
}

fn sort(records: &mut [&Record], request: &pb::RangeRequest) {
    let target = request.sort_target();
    if target == SortTarget::Key && request.sort_order() != SortOrder::Descend {
        return;
    }
    let compare = |a: &Record, b: &Record| -> Ordering {
        match target {
            SortTarget::Key => a.key().cmp(b.key()),
            SortTarget::Version => a.version().cmp(&b.version()),
            SortTarget::Create => a.create_revision().cmp(&b.create_revision()),
            SortTarget::Mod => a.at().revision.cmp(&b.at().revision),
            SortTarget::Value => a.value().cmp(b.value()),
        }
    };
    match request.sort_order() {
        SortOrder::Descend => records.sort_by(|a, b| compare(b, a)),
        SortOrder::None | SortOrder::Ascend => records.sort_by(|a, b| compare(a, b)),
    }
}

/// A record as the request wants it. Without values etcd 3.7 answers from its index, which knows no leases, unless the
/// values decide the order (contract, section 0).
fn present(record: &Record, request: &pb::RangeRequest) -> mvccpb::KeyValue {
    let mut key_value = record.to_key_value();
    if request.keys_only {
        key_value.value.clear();
        if request.sort_target() != SortTarget::Value {
            key_value.lease = 0;
        }
    }
    key_value
}
