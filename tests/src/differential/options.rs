//! Which options a request uses, and whether its answer shows that they were understood.

use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::alarm_request::AlarmAction;
use detcd_core::proto::etcdserverpb::compare::{CompareResult, CompareTarget};
use detcd_core::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::proto::etcdserverpb::response_op::Response as OpResponse;
use detcd_core::proto::etcdserverpb::watch_create_request::FilterType;

use super::counters::Counters;
use super::step::Answer;

/// The options of ranges, plain ones and those inside of transactions, without sorts.
const RANGES: [&str; 15] = [
    "linearizable",
    "serializable",
    "one key",
    "interval",
    "empty interval",
    "from key on",
    "everything",
    "limit",
    "keys_only",
    "count_only",
    "min_mod_revision",
    "max_mod_revision",
    "min_create_revision",
    "max_create_revision",
    "revision: past",
];

/// All others, but for compares.
const OTHERS: [&str; 73] = [
    "range revision: the compacted one",
    "range revision: current",
    "range revision: negative",
    "put",
    "put prev_kv",
    "put ignore_value",
    "put ignore_lease",
    "put lease",
    "delete range one key",
    "delete range interval",
    "delete range empty interval",
    "delete range from key on",
    "delete range everything",
    "delete range prev_kv",
    "compact",
    "compact physical",
    "txn: then",
    "txn: else",
    "txn: read-only",
    "txn: read-only, serializable",
    "txn: no operation",
    "txn: two levels",
    "txn: three levels",
    "txn: 128 operations",
    "txn put",
    "txn put prev_kv",
    "txn put ignore_value",
    "txn put ignore_lease",
    "txn put lease",
    "txn delete range one key",
    "txn delete range interval",
    "txn delete range empty interval",
    "txn delete range from key on",
    "txn delete range everything",
    "txn delete range prev_kv",
    "compare: range",
    UNKNOWN_COMPARE,
    "lease grant: given id",
    "lease grant: drawn id",
    "lease grant: raised TTL",
    "lease revoke",
    "lease keep alive",
    "lease time to live",
    "lease time to live: keys",
    "lease leases",
    "lease expiry",
    "watch from now on",
    "watch from the past",
    "watch from the future",
    "watch from the compacted revision",
    "watch from before it",
    "watch prev_kv",
    "watch no put",
    "watch no delete",
    NOTHING,
    "watch progress_notify",
    "watch watch_id",
    FRAGMENT,
    "watch cancel",
    "watch progress request",
    "hash kv: revision 0",
    "hash kv: past revision",
    "hash kv: compacted revision",
    "hash kv: current revision",
    "alarm get: all kinds",
    "alarm get: one kind",
    "alarm get: of a member",
    "alarm activate: NOSPACE",
    "alarm activate: CORRUPT",
    "alarm deactivate: NOSPACE",
    "alarm deactivate: CORRUPT",
    "alarm of two members",
    "defragment",
];

/// A watcher that is told of nothing.
pub(super) const NOTHING: &str = "watch no put, no delete";

/// A watcher that takes long responses in pieces.
pub(super) const FRAGMENT: &str = "watch fragment";

/// A compare with a target or a result that does not exist; etcd takes it.
const UNKNOWN_COMPARE: &str = "compare: unknown target or result";

/// The names of all options.
pub(super) fn all() -> Vec<String> {
    let mut names: Vec<String> = OTHERS.map(str::to_owned).to_vec();
    for prefix in ["range", "txn range"] {
        names.extend(RANGES.map(|name| format!("{prefix} {name}")));
        for order in [SortOrder::None, SortOrder::Ascend, SortOrder::Descend] {
            for target in [SortTarget::Key, SortTarget::Version, SortTarget::Create, SortTarget::Mod, SortTarget::Value]
            {
                names.push(sort_name(prefix, order, target));
            }
        }
    }
    for target in 0..=4 {
        for result in 0..=3 {
            names.push(compare_name(&pb::Compare { target, result, ..Default::default() }));
        }
    }
    names
}

fn sort_name(prefix: &str, order: SortOrder, target: SortTarget) -> String {
    format!("{prefix} sort {} {}", order.as_str_name(), target.as_str_name())
}

/// All that do not exist are one option.
fn compare_name(compare: &pb::Compare) -> String {
    match (CompareTarget::try_from(compare.target), CompareResult::try_from(compare.result)) {
        (Ok(target), Ok(result)) => format!("compare: {} {}", target.as_str_name(), result.as_str_name()),
        _ => UNKNOWN_COMPARE.to_owned(),
    }
}

/// Counts the options of a request and of its answer, `head` being the newest and `compacted` the compacted revision
/// when it was asked.
pub(super) fn count(counters: &mut Counters, request: &Request, answer: &Answer, head: i64, compacted: i64) {
    if let Err(refusal) = answer {
        counters.refused(refusal);
    }
    let ok = answer.is_ok();
    let response = answer.as_ref().ok();
    match (request, response) {
        (Request::Range(request), Some(Response::Range(response))) => {
            range(counters, "range", request, Some(response), head);
            standing(counters, request, head, compacted);
        }
        (Request::Range(request), _) => range(counters, "range", request, None, head),
        (Request::Put(request), Some(Response::Put(response))) => put(counters, "", request, Some(response)),
        (Request::Put(request), _) => put(counters, "", request, None),
        (Request::DeleteRange(request), Some(Response::DeleteRange(response))) => {
            delete(counters, "", request, Some(response));
        }
        (Request::DeleteRange(request), _) => delete(counters, "", request, None),
        (Request::Txn(request), Some(Response::Txn(response))) => {
            let (levels, executed) = (levels(request), txn(counters, request, response, head));
            for (name, depth) in [("txn: two levels", 2), ("txn: three levels", 3)] {
                if levels >= depth {
                    counters.count(name, executed >= depth);
                }
            }
            kind_of_txn(counters, request);
        }
        (Request::Compact(request), _) => {
            counters.count(if request.physical { "compact physical" } else { "compact" }, ok);
        }
        (Request::LeaseGrant(request), Some(Response::LeaseGrant(response))) => {
            counters.count(if request.id == 0 { "lease grant: drawn id" } else { "lease grant: given id" }, true);
            counters.count("lease grant: raised TTL", response.ttl > request.ttl);
        }
        (Request::LeaseRevoke(_), _) => counters.count("lease revoke", ok),
        (_, Some(Response::LeaseKeepAlive(response))) => counters.count("lease keep alive", response.ttl > 0),
        (Request::LeaseTimeToLive(request), Some(Response::LeaseTimeToLive(response))) => {
            counters.count("lease time to live", response.ttl > 0);
            if request.keys {
                counters.count("lease time to live: keys", !response.keys.is_empty());
            }
        }
        (_, Some(Response::LeaseLeases(response))) => counters.count("lease leases", response.leases.len() > 1),
        (Request::HashKv(request), _) => hash_kv(counters, request.revision, ok, head, compacted),
        (Request::Alarm(request), Some(Response::Alarm(response))) => alarm(counters, request, &response.alarms),
        (Request::Defragment(_), _) => counters.count("defragment", ok),
        _ => {}
    }
}

/// Counts a hash by the standing of its revision: that of a compacted one is told by being refused.
fn hash_kv(counters: &mut Counters, revision: i64, ok: bool, head: i64, compacted: i64) {
    match revision {
        0 => counters.count("hash kv: revision 0", ok),
        revision if revision == head => counters.count("hash kv: current revision", ok),
        revision if (1..compacted).contains(&revision) => counters.count("hash kv: compacted revision", !ok),
        revision if (compacted.max(1)..head).contains(&revision) => counters.count("hash kv: past revision", ok),
        _ => {}
    }
}

fn alarm(counters: &mut Counters, request: &pb::AlarmRequest, alarms: &[pb::AlarmMember]) {
    let found = !alarms.is_empty();
    match (AlarmAction::try_from(request.action), pb::AlarmType::try_from(request.alarm)) {
        (Ok(AlarmAction::Get), kind) => {
            let all = kind == Ok(pb::AlarmType::None);
            counters.count(if all { "alarm get: all kinds" } else { "alarm get: one kind" }, found);
            if request.member_id != 0 {
                counters.count("alarm get: of a member", found);
            }
            if alarms.len() > 1 {
                counters.count("alarm of two members", true);
            }
        }
        (Ok(AlarmAction::Activate), Ok(pb::AlarmType::Nospace)) => counters.count("alarm activate: NOSPACE", found),
        (Ok(AlarmAction::Activate), Ok(pb::AlarmType::Corrupt)) => counters.count("alarm activate: CORRUPT", found),
        (Ok(AlarmAction::Deactivate), Ok(pb::AlarmType::Nospace)) => counters.count("alarm deactivate: NOSPACE", found),
        (Ok(AlarmAction::Deactivate), Ok(pb::AlarmType::Corrupt)) => counters.count("alarm deactivate: CORRUPT", found),
        _ => {}
    }
}

fn form(key: &[u8], range_end: &[u8]) -> &'static str {
    match (key, range_end) {
        (_, []) => "one key",
        ([0], [0]) => "everything",
        (_, [0]) => "from key on",
        _ if range_end <= key => "empty interval",
        _ => "interval",
    }
}

fn range(
    counters: &mut Counters,
    prefix: &str,
    request: &pb::RangeRequest,
    response: Option<&pb::RangeResponse>,
    head: i64,
) {
    let ok = response.is_some();
    let found = response.map_or(0, |response| response.kvs.len());
    let mut used = |name: &str, success: bool| counters.count(&format!("{prefix} {name}"), success);
    used(if request.serializable { "serializable" } else { "linearizable" }, ok);
    let form = form(&request.key, &request.range_end);
    used(form, response.is_some_and(|response| response.count > 0 || form == "empty interval"));
    if request.limit > 0 {
        used("limit", response.is_some_and(|response| response.more));
    }
    if request.keys_only {
        used("keys_only", found > 0);
    }
    if request.count_only {
        used("count_only", response.is_some_and(|response| response.count > 0));
    }
    let bounds = [
        ("min_mod_revision", request.min_mod_revision),
        ("max_mod_revision", request.max_mod_revision),
        ("min_create_revision", request.min_create_revision),
        ("max_create_revision", request.max_create_revision),
    ];
    for (name, bound) in bounds {
        if bound != 0 {
            used(name, found > 0);
        }
    }
    if request.revision > 0 && request.revision < head {
        used("revision: past", found > 0);
    }
    if let (Ok(order), Ok(target)) =
        (SortOrder::try_from(request.sort_order), SortTarget::try_from(request.sort_target))
    {
        counters.count(&sort_name(prefix, order, target), found > 1);
    }
}

/// Counts at which revision a plain range was answered.
fn standing(counters: &mut Counters, request: &pb::RangeRequest, head: i64, compacted: i64) {
    match request.revision {
        revision if revision < 0 => counters.count("range revision: negative", true),
        revision if revision == head => counters.count("range revision: current", true),
        revision if revision == compacted && revision > 0 => {
            counters.count("range revision: the compacted one", true);
        }
        _ => {}
    }
}

fn put(counters: &mut Counters, prefix: &str, request: &pb::PutRequest, response: Option<&pb::PutResponse>) {
    let ok = response.is_some();
    counters.count(&format!("{prefix}put"), ok);
    let mut used = |name: &str, on: bool, success: bool| {
        if on {
            counters.count(&format!("{prefix}put {name}"), success);
        }
    };
    used("prev_kv", request.prev_kv, response.is_some_and(|response| response.prev_kv.is_some()));
    used("ignore_value", request.ignore_value, ok);
    used("ignore_lease", request.ignore_lease, ok);
    used("lease", request.lease != 0, ok);
}

fn delete(
    counters: &mut Counters,
    prefix: &str,
    request: &pb::DeleteRangeRequest,
    response: Option<&pb::DeleteRangeResponse>,
) {
    let form = form(&request.key, &request.range_end);
    let success = response.is_some_and(|response| response.deleted > 0 || form == "empty interval");
    counters.count(&format!("{prefix}delete range {form}"), success);
    if request.prev_kv {
        let success = response.is_some_and(|response| !response.prev_kvs.is_empty());
        counters.count(&format!("{prefix}delete range prev_kv"), success);
    }
}

/// How deep a transaction is nested.
fn levels(request: &pb::TxnRequest) -> usize {
    let operations = request.success.iter().chain(&request.failure);
    let nested = operations.filter_map(|operation| match &operation.request {
        Some(Op::RequestTxn(nested)) => Some(levels(nested)),
        _ => None,
    });
    1 + nested.max().unwrap_or(0)
}

/// Counts what a transaction has executed; how many levels of it.
fn txn(counters: &mut Counters, request: &pb::TxnRequest, response: &pb::TxnResponse, head: i64) -> usize {
    counters.count(if response.succeeded { "txn: then" } else { "txn: else" }, !response.responses.is_empty());
    for compare in &request.compare {
        counters.count(&compare_name(compare), response.succeeded);
        if !compare.range_end.is_empty() {
            counters.count("compare: range", response.succeeded);
        }
    }
    let branch = if response.succeeded { &request.success } else { &request.failure };
    let mut depth = 1;
    for (operation, response) in branch.iter().zip(&response.responses) {
        match (&operation.request, &response.response) {
            (Some(Op::RequestRange(request)), Some(OpResponse::ResponseRange(response))) => {
                range(counters, "txn range", request, Some(response), head);
            }
            (Some(Op::RequestPut(request)), Some(OpResponse::ResponsePut(response))) => {
                put(counters, "txn ", request, Some(response));
            }
            (Some(Op::RequestDeleteRange(request)), Some(OpResponse::ResponseDeleteRange(response))) => {
                delete(counters, "txn ", request, Some(response));
            }
            (Some(Op::RequestTxn(request)), Some(OpResponse::ResponseTxn(response))) => {
                depth = depth.max(1 + txn(counters, request, response, head));
            }
            _ => {}
        }
    }
    depth
}

fn kind_of_txn(counters: &mut Counters, request: &pb::TxnRequest) {
    let operations: Vec<&Op> =
        request.success.iter().chain(&request.failure).filter_map(|operation| operation.request.as_ref()).collect();
    let all = |accept: fn(&pb::RangeRequest) -> bool| {
        operations.iter().all(|operation| matches!(operation, Op::RequestRange(range) if accept(range)))
    };
    if operations.is_empty() {
        counters.count("txn: no operation", true);
    } else if all(|range| range.serializable) {
        counters.count("txn: read-only, serializable", true);
    } else if all(|_| true) {
        counters.count("txn: read-only", true);
    }
    let nested = |operation: &&Op| matches!(operation, Op::RequestTxn(nested) if nested.success.len() == 127);
    if request.failure.len() == 128 || operations.iter().any(nested) {
        counters.count("txn: 128 operations", true);
    }
}

/// The options of a watcher, whose success shows in the events that it is told; `head` and `compacted` as in [`count`].
pub(super) fn of_watcher(create: &pb::WatchCreateRequest, head: i64, compacted: i64) -> Vec<&'static str> {
    let (no_put, no_delete) = (FilterType::Noput as i32, FilterType::Nodelete as i32);
    let filters = (create.filters.contains(&no_put), create.filters.contains(&no_delete));
    let mut options = vec![match create.start_revision {
        0 => "watch from now on",
        start if start > head => "watch from the future",
        start if start < compacted => "watch from before it",
        start if start == compacted => "watch from the compacted revision",
        _ => "watch from the past",
    }];
    match filters {
        (true, true) => options.push(NOTHING),
        (true, false) => options.push("watch no put"),
        (false, true) => options.push("watch no delete"),
        (false, false) => {}
    }
    let flags = [
        ("watch prev_kv", create.prev_kv),
        ("watch progress_notify", create.progress_notify),
        ("watch watch_id", create.watch_id != 0),
        (FRAGMENT, create.fragment),
    ];
    options.extend(flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| name));
    options
}
