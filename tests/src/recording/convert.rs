//! From the types of the crate `etcd-client` to those of detcd: same messages, two crates' structs.

use bytes::Bytes;
use detcd_core::proto::{etcdserverpb as pb, mvccpb};
use etcd_client::{
    CompactionResponse, DeleteResponse, Event, EventType, GetResponse, KeyValue, LeaseGrantResponse,
    LeaseKeepAliveResponse, LeaseRevokeResponse, PutResponse, ResponseHeader, TxnOpResponse, TxnResponse,
    WatchResponse,
};

pub(super) fn header(header: Option<&ResponseHeader>) -> Option<pb::ResponseHeader> {
    header.map(|header| pb::ResponseHeader {
        cluster_id: header.cluster_id(),
        member_id: header.member_id(),
        revision: header.revision(),
        raft_term: header.raft_term(),
    })
}

fn key_value(kv: &KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: Bytes::copy_from_slice(kv.key()),
        create_revision: kv.create_revision(),
        mod_revision: kv.mod_revision(),
        version: kv.version(),
        value: Bytes::copy_from_slice(kv.value()),
        lease: kv.lease(),
    }
}

pub(super) fn put(response: &PutResponse) -> pb::PutResponse {
    pb::PutResponse { header: header(response.header()), prev_kv: response.prev_key().map(key_value) }
}

pub(super) fn range(response: &GetResponse) -> pb::RangeResponse {
    pb::RangeResponse {
        header: header(response.header()),
        kvs: response.kvs().iter().map(key_value).collect(),
        more: response.more(),
        count: response.count(),
    }
}

pub(super) fn delete_range(response: &DeleteResponse) -> pb::DeleteRangeResponse {
    pb::DeleteRangeResponse {
        header: header(response.header()),
        deleted: response.deleted(),
        prev_kvs: response.prev_kvs().iter().map(key_value).collect(),
    }
}

pub(super) fn txn(response: &TxnResponse) -> pb::TxnResponse {
    use pb::response_op::Response;
    let one = |response: TxnOpResponse| match response {
        TxnOpResponse::Put(response) => Response::ResponsePut(put(&response)),
        TxnOpResponse::Get(response) => Response::ResponseRange(range(&response)),
        TxnOpResponse::Delete(response) => Response::ResponseDeleteRange(delete_range(&response)),
        TxnOpResponse::Txn(response) => Response::ResponseTxn(txn(&response)),
    };
    pb::TxnResponse {
        header: header(response.header()),
        succeeded: response.succeeded(),
        responses: response
            .op_responses()
            .into_iter()
            .map(|response| pb::ResponseOp { response: Some(one(response)) })
            .collect(),
    }
}

pub(super) fn compaction(response: &CompactionResponse) -> pb::CompactionResponse {
    pb::CompactionResponse { header: header(response.header()) }
}

pub(super) fn grant(response: &LeaseGrantResponse) -> pb::LeaseGrantResponse {
    pb::LeaseGrantResponse {
        header: header(response.header()),
        id: response.id(),
        ttl: response.ttl(),
        error: response.error().to_owned(),
    }
}

pub(super) fn revocation(response: &LeaseRevokeResponse) -> pb::LeaseRevokeResponse {
    pb::LeaseRevokeResponse { header: header(response.header()) }
}

pub(super) fn keep_alive(response: &LeaseKeepAliveResponse) -> pb::LeaseKeepAliveResponse {
    pb::LeaseKeepAliveResponse { header: header(response.header()), id: response.id(), ttl: response.ttl() }
}

pub(super) fn event(event: &Event) -> mvccpb::Event {
    let kind = match event.event_type() {
        EventType::Put => mvccpb::event::EventType::Put,
        EventType::Delete => mvccpb::event::EventType::Delete,
    };
    mvccpb::Event { r#type: kind.into(), kv: event.kv().map(key_value), prev_kv: event.prev_kv().map(key_value) }
}

pub(super) fn watch(response: &WatchResponse) -> pb::WatchResponse {
    pb::WatchResponse {
        header: header(response.header()),
        watch_id: response.watch_id(),
        created: response.created(),
        canceled: response.canceled(),
        compact_revision: response.compact_revision(),
        cancel_reason: response.cancel_reason().to_owned(),
        fragment: false,
        events: response.events().iter().map(event).collect(),
    }
}
