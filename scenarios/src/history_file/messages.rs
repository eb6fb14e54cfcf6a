//! The messages of etcd's contract that a history holds, and their fields.

use detcd_core::api::{Request, Response};
use detcd_core::proto::{etcdserverpb as pb, mvccpb};
use pb::compare::TargetUnion;
use serde_json::{Map, Value};

use super::json::{Json, Wrong, each, enumerated, enumeration, fields, message, only_field, unknown_field};

message! {
    mvccpb::KeyValue { key, create_revision, mod_revision, version, value, lease }
    mvccpb::Event { r#type = "type" as mvccpb::event::EventType, kv, prev_kv }
    pb::ResponseHeader { cluster_id, member_id, revision, raft_term }
    pb::RangeRequest {
        key, range_end, limit, revision,
        sort_order as pb::range_request::SortOrder, sort_target as pb::range_request::SortTarget,
        serializable, keys_only, count_only,
        min_mod_revision, max_mod_revision, min_create_revision, max_create_revision,
    }
    pb::RangeResponse { header, kvs, more, count }
    pb::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
    pb::PutResponse { header, prev_kv }
    pb::DeleteRangeRequest { key, range_end, prev_kv }
    pb::DeleteRangeResponse { header, deleted, prev_kvs }
    pb::TxnRequest { compare, success, failure }
    pb::TxnResponse { header, succeeded, responses }
    pb::CompactionRequest { revision, physical }
    pb::CompactionResponse { header }
    pb::LeaseGrantRequest { ttl = "TTL", id = "ID" }
    pb::LeaseGrantResponse { header, id = "ID", ttl = "TTL", error }
    pb::LeaseRevokeRequest { id = "ID" }
    pb::LeaseRevokeResponse { header }
    pb::LeaseKeepAliveRequest { id = "ID" }
    pb::LeaseKeepAliveResponse { header, id = "ID", ttl = "TTL" }
    pb::LeaseTimeToLiveRequest { id = "ID", keys }
    pb::LeaseTimeToLiveResponse { header, id = "ID", ttl = "TTL", granted_ttl = "grantedTTL", keys }
    pb::LeaseLeasesRequest {}
    pb::LeaseStatus { id = "ID" }
    pb::LeaseLeasesResponse { header, leases }
    pb::Member { id = "ID", name, peer_ur_ls = "peerURLs", client_ur_ls = "clientURLs", is_learner = "isLearner" }
    pb::MemberListRequest { linearizable }
    pb::MemberListResponse { header, members }
    pb::StatusRequest {}
    pb::StatusResponse {
        header, version, db_size = "dbSize", leader, raft_index = "raftIndex", raft_term = "raftTerm",
        raft_applied_index = "raftAppliedIndex", errors, db_size_in_use = "dbSizeInUse", is_learner = "isLearner",
        storage_version = "storageVersion", db_size_quota = "dbSizeQuota",
    }
    pb::AlarmRequest {
        action as pb::alarm_request::AlarmAction, member_id = "memberID", alarm as pb::AlarmType,
    }
    pb::AlarmMember { member_id = "memberID", alarm as pb::AlarmType }
    pb::AlarmResponse { header, alarms }
    pb::DefragmentRequest {}
    pb::DefragmentResponse { header }
    pb::HashRequest {}
    pb::HashResponse { header, hash }
    pb::HashKvRequest { revision }
    pb::HashKvResponse { header, hash, compact_revision, hash_revision }
    pb::WatchCreateRequest {
        key, range_end, start_revision, progress_notify, filters: [pb::watch_create_request::FilterType], prev_kv,
        watch_id, fragment,
    }
    pb::WatchResponse {
        header, watch_id, created, canceled, compact_revision, cancel_reason, fragment, events,
    }
}

/// A `oneof` whose cases are told apart by the name of the only field there is.
macro_rules! one_of {
    ($($type:ty, $field:ident: $union:path { $($variant:ident = $name:literal),* $(,)? })*) => {$(
        impl Json for $type {
            fn is_default(&self) -> bool {
                self.$field.is_none()
            }

            fn to_json(&self) -> Value {
                use $union as Union;
                let (name, value) = match &self.$field {
                    $(Some(Union::$variant(message)) => ($name, message.to_json()),)*
                    None => return Value::Object(Map::new()),
                };
                Value::Object(Map::from_iter([(name.to_string(), value)]))
            }

            fn from_json(value: &Value) -> Result<Self, Wrong> {
                use $union as Union;
                const NAMES: &[&str] = &[$($name),*];
                // An operation without content is something that a client can send.
                if fields(value)?.is_empty() {
                    return Ok(Self::default());
                }
                let (name, message) = only_field(value, NAMES)?;
                let taken = match name {
                    $($name => Json::from_json(message).map(Union::$variant),)*
                    other => return Err(unknown_field(other, NAMES)),
                };
                Ok(Self { $field: Some(taken.map_err(|wrong| wrong.inside(name))?) })
            }
        }
    )*};
}

one_of! {
    pb::RequestOp, request: pb::request_op::Request {
        RequestRange = "request_range", RequestPut = "request_put",
        RequestDeleteRange = "request_delete_range", RequestTxn = "request_txn",
    }
    pb::ResponseOp, response: pb::response_op::Response {
        ResponseRange = "response_range", ResponsePut = "response_put",
        ResponseDeleteRange = "response_delete_range", ResponseTxn = "response_txn",
    }
}

const COMPARE: &[&str] =
    &["result", "target", "key", "range_end", "version", "create_revision", "mod_revision", "value", "lease"];

impl Json for pb::Compare {
    fn is_default(&self) -> bool {
        *self == pb::Compare::default()
    }

    fn to_json(&self) -> Value {
        use pb::compare::{CompareResult, CompareTarget};
        let pb::Compare { result, target, key, range_end, target_union } = self;
        let result_name = CompareResult::try_from(*result).ok().map(|value| value.as_str_name());
        let target_name = CompareTarget::try_from(*target).ok().map(|value| value.as_str_name());
        let mut object = Map::new();
        // Spelt out even if they are the defaults: a comparison reads badly without.
        object.insert("result".to_string(), enumeration(*result, result_name));
        object.insert("target".to_string(), enumeration(*target, target_name));
        object.insert("key".to_string(), key.to_json());
        if !range_end.is_default() {
            object.insert("range_end".to_string(), range_end.to_json());
        }
        let against = match target_union {
            Some(TargetUnion::Version(number)) => Some(("version", number.to_json())),
            Some(TargetUnion::CreateRevision(number)) => Some(("create_revision", number.to_json())),
            Some(TargetUnion::ModRevision(number)) => Some(("mod_revision", number.to_json())),
            Some(TargetUnion::Value(value)) => Some(("value", value.to_json())),
            Some(TargetUnion::Lease(number)) => Some(("lease", number.to_json())),
            None => None,
        };
        object.extend(against.map(|(name, value)| (name.to_string(), value)));
        Value::Object(object)
    }

    fn from_json(value: &Value) -> Result<pb::Compare, Wrong> {
        use pb::compare::{CompareResult, CompareTarget};
        let mut compare = pb::Compare::default();
        for (name, value) in fields(value)? {
            let union = compare.target_union.clone();
            let against = |taken: Result<TargetUnion, Wrong>| match union {
                Some(_) => Err(Wrong::new("there is something else to compare with already")),
                None => taken.map(Some),
            };
            let taken =
                match name.as_str() {
                    "result" => enumerated(value, |name| CompareResult::from_str_name(name).map(i32::from))
                        .map(|number| compare.result = number),
                    "target" => enumerated(value, |name| CompareTarget::from_str_name(name).map(i32::from))
                        .map(|number| compare.target = number),
                    "key" => Json::from_json(value).map(|key| compare.key = key),
                    "range_end" => Json::from_json(value).map(|end| compare.range_end = end),
                    "version" => against(i64::from_json(value).map(TargetUnion::Version))
                        .map(|union| compare.target_union = union),
                    "create_revision" => against(i64::from_json(value).map(TargetUnion::CreateRevision))
                        .map(|union| compare.target_union = union),
                    "mod_revision" => against(i64::from_json(value).map(TargetUnion::ModRevision))
                        .map(|union| compare.target_union = union),
                    "value" => against(Json::from_json(value).map(TargetUnion::Value))
                        .map(|union| compare.target_union = union),
                    "lease" => {
                        against(i64::from_json(value).map(TargetUnion::Lease)).map(|union| compare.target_union = union)
                    }
                    other => return Err(unknown_field(other, COMPARE)),
                };
            taken.map_err(|wrong| wrong.inside(name))?;
        }
        Ok(compare)
    }
}

/// Requests and responses by the name of the call.
macro_rules! calls {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// The names of all calls.
        const CALLS: &[&str] = &[$($name),*];

        /// The name of the call that a request makes.
        pub(super) fn call_of_request(request: &Request) -> &'static str {
            match request { $(Request::$variant(_) => $name,)* }
        }

        /// The name of the call that a response answers.
        pub(super) fn call_of_response(response: &Response) -> &'static str {
            match response { $(Response::$variant(_) => $name,)* }
        }

        pub(super) fn request_to_json(request: &Request) -> Value {
            let message = match request { $(Request::$variant(message) => message.to_json(),)* };
            Value::Object(Map::from_iter([(call_of_request(request).to_string(), message)]))
        }

        pub(super) fn response_to_json(response: &Response) -> Value {
            let message = match response { $(Response::$variant(message) => message.to_json(),)* };
            Value::Object(Map::from_iter([(call_of_response(response).to_string(), message)]))
        }

        pub(super) fn request_from_json(value: &Value) -> Result<Request, Wrong> {
            let (name, message) = only_field(value, CALLS)?;
            let taken = match name {
                $($name => Json::from_json(message).map(Request::$variant),)*
                other => return Err(unknown_field(other, CALLS)),
            };
            taken.map_err(|wrong| wrong.inside(name))
        }

        pub(super) fn response_from_json(value: &Value) -> Result<Response, Wrong> {
            let (name, message) = only_field(value, CALLS)?;
            let taken = match name {
                $($name => Json::from_json(message).map(Response::$variant),)*
                other => return Err(unknown_field(other, CALLS)),
            };
            taken.map_err(|wrong| wrong.inside(name))
        }
    };
}

calls! {
    Range = "range",
    Put = "put",
    DeleteRange = "delete_range",
    Txn = "txn",
    Compact = "compact",
    LeaseGrant = "lease_grant",
    LeaseRevoke = "lease_revoke",
    LeaseKeepAlive = "lease_keep_alive",
    LeaseTimeToLive = "lease_time_to_live",
    LeaseLeases = "lease_leases",
    MemberList = "member_list",
    Status = "status",
    Alarm = "alarm",
    Defragment = "defragment",
    Hash = "hash",
    HashKv = "hash_kv",
}
