use prost::Message;

use super::*;
use crate::proto::etcdserverpb::ResponseHeader;
use crate::proto::mvccpb::KeyValue;

fn event(key: &'static str, value: &'static str) -> Event {
    let kv = KeyValue {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(value.as_bytes()),
        mod_revision: 300,
        ..KeyValue::default()
    };
    Event { kv: Some(kv.clone()), prev_kv: Some(KeyValue { version: 7, ..kv }), ..Event::default() }
}

fn responses() -> [WatchResponse; 4] {
    let header = Some(ResponseHeader { cluster_id: u64::MAX, member_id: 1, revision: 300, raft_term: 2 });
    let events = vec![event("a", "1"), Event::default(), event("b", "")];
    [
        WatchResponse::default(),
        WatchResponse { header, watch_id: -1, canceled: true, cancel_reason: "why".into(), ..WatchResponse::default() },
        WatchResponse { header, watch_id: 5, events: events.clone(), ..WatchResponse::default() },
        WatchResponse { created: true, compact_revision: 9, fragment: true, events, ..WatchResponse::default() },
    ]
}

#[test]
fn encoded_it_is_the_response() {
    for response in responses() {
        let message = WatchMessage::from(response.clone());
        assert_eq!(message.encoded_len(), response.encoded_len());
        assert_eq!(message.encode_to_vec(), response.encode_to_vec());
        assert_eq!(message.into_response(), response);
    }
}

#[test]
fn it_is_decoded_from_a_response() {
    for response in responses() {
        let message = WatchMessage::decode(&response.encode_to_vec()[..]).expect("what was encoded can be decoded");
        assert_eq!(message.into_response(), response);
    }
    let mut bytes = responses()[2].encode_to_vec();
    bytes.pop();
    WatchMessage::decode(&bytes[..]).expect_err("a part of an event is none");
}

#[test]
fn an_event_is_encoded_once_for_all() {
    let shared = SharedEvent::new(event("a", "1"));
    let messages = [1, 2].map(|watch_id| {
        let head = WatchResponse { watch_id, ..WatchResponse::default() };
        WatchMessage::new(head, vec![shared.clone()])
    });
    assert_ne!(messages[0].encode_to_vec(), messages[1].encode_to_vec());
    let [one, other] = messages.map(|message| message.events[0].field().as_ptr());
    assert_eq!(one, other);
}
