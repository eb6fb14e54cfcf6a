//! What etcdctl prints with `--write-out=json`: the messages as Go's encoder writes them. Bytes are in base64, fields
//! that are zero are left out, and those that are not messages begin with capitals.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use detcd_core::proto::{etcdserverpb as pb, mvccpb};
use serde_json::Value;

/// A put's response.
pub(super) fn put(told: &Value) -> Option<pb::PutResponse> {
    Some(pb::PutResponse { header: header(told, "header")?, prev_kv: key_value_if(told, "prev_kv")? })
}

/// A range's response.
pub(super) fn range(told: &Value) -> Option<pb::RangeResponse> {
    Some(pb::RangeResponse {
        header: header(told, "header")?,
        kvs: list(told, "kvs", key_value)?,
        more: boolean(told, "more")?,
        count: number(told, "count")?,
    })
}

/// A deletion's response.
pub(super) fn delete_range(told: &Value) -> Option<pb::DeleteRangeResponse> {
    Some(pb::DeleteRangeResponse {
        header: header(told, "header")?,
        deleted: number(told, "deleted")?,
        prev_kvs: list(told, "prev_kvs", key_value)?,
    })
}

/// A transaction's response.
pub(super) fn txn(told: &Value) -> Option<pb::TxnResponse> {
    Some(pb::TxnResponse {
        header: header(told, "header")?,
        succeeded: boolean(told, "succeeded")?,
        responses: list(told, "responses", response_op)?,
    })
}

/// What a watcher is told. Which watcher it is goes unsaid: there is only one.
pub(super) fn watch(told: &Value) -> Option<pb::WatchResponse> {
    Some(pb::WatchResponse {
        header: header(told, "Header")?,
        canceled: boolean(told, "Canceled")?,
        compact_revision: number(told, "CompactRevision")?,
        events: list(told, "Events", event)?,
        ..Default::default()
    })
}

fn response_op(told: &Value) -> Option<pb::ResponseOp> {
    use pb::response_op::Response;
    let (kind, told) = told.get("Response")?.as_object()?.iter().next()?;
    let response = match kind.as_str() {
        "ResponsePut" => Response::ResponsePut(put(told)?),
        "ResponseRange" => Response::ResponseRange(range(told)?),
        "ResponseDeleteRange" => Response::ResponseDeleteRange(delete_range(told)?),
        "ResponseTxn" => Response::ResponseTxn(txn(told)?),
        _ => return None,
    };
    Some(pb::ResponseOp { response: Some(response) })
}

fn event(told: &Value) -> Option<mvccpb::Event> {
    Some(mvccpb::Event {
        r#type: i32::try_from(number(told, "type")?).ok()?,
        kv: key_value_if(told, "kv")?,
        prev_kv: key_value_if(told, "prev_kv")?,
    })
}

fn key_value(told: &Value) -> Option<mvccpb::KeyValue> {
    Some(mvccpb::KeyValue {
        key: bytes(told, "key")?,
        create_revision: number(told, "create_revision")?,
        mod_revision: number(told, "mod_revision")?,
        version: number(told, "version")?,
        value: bytes(told, "value")?,
        lease: number(told, "lease")?,
    })
}

/// The key in this field, if there is one; `None` if it makes no sense.
fn key_value_if(told: &Value, field: &str) -> Option<Option<mvccpb::KeyValue>> {
    match given(told, field) {
        Some(told) => key_value(told).map(Some),
        None => Some(None),
    }
}

fn header(told: &Value, field: &str) -> Option<Option<pb::ResponseHeader>> {
    let unsigned = |told: &Value, field: &str| given(told, field).map_or(Some(0), Value::as_u64);
    let Some(told) = given(told, field) else { return Some(None) };
    Some(Some(pb::ResponseHeader {
        cluster_id: unsigned(told, "cluster_id")?,
        member_id: unsigned(told, "member_id")?,
        revision: number(told, "revision")?,
        raft_term: unsigned(told, "raft_term")?,
    }))
}

/// The field's value, unless it is zero: then it is left out or, for lists, null.
fn given<'a>(told: &'a Value, field: &str) -> Option<&'a Value> {
    told.get(field).filter(|value| !value.is_null())
}

fn number(told: &Value, field: &str) -> Option<i64> {
    given(told, field).map_or(Some(0), Value::as_i64)
}

fn boolean(told: &Value, field: &str) -> Option<bool> {
    given(told, field).map_or(Some(false), Value::as_bool)
}

fn bytes(told: &Value, field: &str) -> Option<Bytes> {
    let Some(told) = given(told, field) else { return Some(Bytes::new()) };
    BASE64_STANDARD.decode(told.as_str()?).ok().map(Bytes::from)
}

fn list<T>(told: &Value, field: &str, one: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    match given(told, field) {
        Some(told) => told.as_array()?.iter().map(one).collect(),
        None => Some(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    fn kv(value: &'static str, revision: i64, version: i64) -> mvccpb::KeyValue {
        mvccpb::KeyValue {
            key: "a".into(),
            create_revision: 2,
            mod_revision: revision,
            version,
            value: value.into(),
            lease: 0,
        }
    }

    /// As etcdctl 3.4.23 printed it.
    #[test]
    fn a_transaction_reads_back_with_all_that_it_did() {
        let text = r#"{"header":{"cluster_id":12594610892185013773,"member_id":6490522009283052099,"revision":4,
            "raft_term":2},"succeeded":true,"responses":[{"Response":{"ResponsePut":{"header":{"revision":4}}}},
            {"Response":{"ResponseRange":{"header":{"revision":4},"kvs":[{"key":"YQ==","create_revision":2,
            "mod_revision":4,"version":3,"value":"eC4x"}],"count":1}}}]}"#;
        let txn = txn(&told(text)).expect("a response");
        let header = txn.header.expect("a header");
        assert_eq!((header.cluster_id, header.revision), (12_594_610_892_185_013_773, 4));
        let [put, range] = &txn.responses[..] else { panic!("{txn:?}") };
        let header = Some(pb::ResponseHeader { revision: 4, ..Default::default() });
        let expected = pb::PutResponse { header, prev_kv: None };
        assert_eq!(put.response, Some(pb::response_op::Response::ResponsePut(expected)));
        let expected = pb::RangeResponse { header, kvs: vec![kv("x.1", 4, 3)], more: false, count: 1 };
        assert_eq!(range.response, Some(pb::response_op::Response::ResponseRange(expected)));
    }

    #[test]
    fn events_read_back_puts_and_deletions() {
        let text = r#"{"Header":{"revision":5},"Events":[{"kv":{"key":"YQ==","create_revision":2,"mod_revision":3,
            "version":2,"value":"Mg=="},"prev_kv":{"key":"YQ==","create_revision":2,"mod_revision":2,"version":1,
            "value":"MQ=="}},{"type":1,"kv":{"key":"YQ==","mod_revision":5}}],"CompactRevision":0,"Canceled":false,
            "Created":false}"#;
        let response = watch(&told(text)).expect("a response");
        assert_eq!((response.canceled, response.compact_revision), (false, 0));
        let put = mvccpb::Event { r#type: 0, kv: Some(kv("2", 3, 2)), prev_kv: Some(kv("1", 2, 1)) };
        let gone = mvccpb::KeyValue { key: "a".into(), mod_revision: 5, ..Default::default() };
        let deletion = mvccpb::Event { r#type: 1, kv: Some(gone), prev_kv: None };
        assert_eq!(response.events, [put, deletion]);
    }

    /// As etcdctl 3.4.23 printed it when all its members were gone for some time.
    #[test]
    fn a_watch_that_has_ended_reads_back_without_events() {
        let text = r#"{"Header":{},"Events":null,"CompactRevision":0,"Canceled":true,"Created":false}"#;
        let response = watch(&told(text)).expect("a response");
        assert_eq!((response.canceled, response.events.len()), (true, 0));
    }

    #[test]
    fn what_makes_no_sense_is_not_taken_for_nothing() {
        for text in [r#"{"kvs":7}"#, r#"{"count":"many"}"#, r#"{"kvs":[{"key":"?"}]}"#, r#"{"header":{"revision":""}}"#]
        {
            assert_eq!(range(&told(text)), None, "{text}");
        }
    }
}
