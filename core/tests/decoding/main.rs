//! Bytes from outside: arbitrary ones, and valid ones that were damaged. The fuzz targets under `fuzz/` put the same
//! questions for as long as one likes.

mod harness;

use bytes::Bytes;
use detcd_core::api::Status;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use harness::Fate;
use proptest::prelude::*;
use prost::Message;

/// Keys of the store, and others.
fn key() -> impl Strategy<Value = Bytes> {
    prop_oneof![Just("a"), Just("b"), Just("a/b"), Just("c"), Just("\0"), Just("")]
        .prop_map(|key| Bytes::from_static(key.as_bytes()))
}

fn put() -> impl Strategy<Value = pb::PutRequest> {
    (key(), key(), prop_oneof![Just(0i64), Just(7), any::<i64>()], any::<[bool; 3]>()).prop_map(
        |(key, value, lease, [prev_kv, ignore_value, ignore_lease])| pb::PutRequest {
            key,
            value,
            lease,
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

fn range() -> impl Strategy<Value = pb::RangeRequest> {
    (key(), key(), -2..9i64, -1..3i64, -1..4i32, -1..6i32, any::<[bool; 3]>()).prop_map(
        |(key, range_end, revision, limit, sort_order, sort_target, [serializable, keys_only, count_only])| {
            let base = pb::RangeRequest { key, range_end, revision, limit, serializable, ..Default::default() };
            pb::RangeRequest { sort_order, sort_target, keys_only, count_only, ..base }
        },
    )
}

fn compare() -> impl Strategy<Value = pb::Compare> {
    use pb::compare::TargetUnion;
    (key(), key(), -1..5i32, -1..6i32, -1..9i64).prop_map(|(key, range_end, result, target, number)| pb::Compare {
        key,
        range_end,
        result,
        target,
        target_union: Some(TargetUnion::ModRevision(number)),
    })
}

fn txn() -> impl Strategy<Value = pb::TxnRequest> {
    let op = prop_oneof![
        put().prop_map(Op::RequestPut),
        range().prop_map(Op::RequestRange),
        (key(), key(), any::<bool>()).prop_map(|(key, range_end, prev_kv)| {
            Op::RequestDeleteRange(pb::DeleteRangeRequest { key, range_end, prev_kv })
        }),
    ];
    let leaf = op.prop_map(|op| pb::RequestOp { request: Some(op) });
    let ops = leaf.prop_recursive(3, 12, 4, |inner| {
        (prop::collection::vec(compare(), 0..2), prop::collection::vec(inner, 0..4)).prop_map(|(compare, success)| {
            let txn = pb::TxnRequest { compare, success, failure: Vec::new() };
            pb::RequestOp { request: Some(Op::RequestTxn(txn)) }
        })
    });
    (prop::collection::vec(compare(), 0..3), prop::collection::vec(ops.clone(), 0..4), prop::collection::vec(ops, 0..4))
        .prop_map(|(compare, success, failure)| pb::TxnRequest { compare, success, failure })
}

/// A call as the harness takes it: its number, then its request.
fn valid_call() -> impl Strategy<Value = Vec<u8>> {
    let call = |kind: u8, request: Vec<u8>| [&[kind], &request[..]].concat();
    prop_oneof![
        range().prop_map(move |request| call(0, request.encode_to_vec())),
        put().prop_map(move |request| call(1, request.encode_to_vec())),
        txn().prop_map(move |request| call(3, request.encode_to_vec())),
    ]
}

/// Requests on a watch stream as the harness takes them: each behind its length.
fn valid_watch() -> impl Strategy<Value = Vec<u8>> {
    use pb::watch_request::RequestUnion;
    let create = (key(), key(), -1..9i64, 0..3i64, any::<[bool; 3]>(), prop::collection::vec(0..3i32, 0..3)).prop_map(
        |(key, range_end, start_revision, watch_id, [progress_notify, prev_kv, fragment], filters)| {
            let base = pb::WatchCreateRequest { key, range_end, start_revision, watch_id, ..Default::default() };
            let create = pb::WatchCreateRequest { progress_notify, prev_kv, fragment, filters, ..base };
            RequestUnion::CreateRequest(create)
        },
    );
    let request = prop_oneof![
        4 => create,
        1 => (0..3i64).prop_map(|watch_id| RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id })),
        1 => Just(RequestUnion::ProgressRequest(pb::WatchProgressRequest {})),
    ];
    prop::collection::vec(request, 1..8).prop_map(|requests| {
        let encoded = requests.into_iter().map(|union| {
            let bytes = pb::WatchRequest { request_union: Some(union) }.encode_to_vec();
            [&[u8::try_from(bytes.len()).expect("it is short")], &bytes[..]].concat()
        });
        encoded.collect::<Vec<_>>().concat()
    })
}

/// The same with some bytes changed, or cut off.
fn damaged(valid: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let damage = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    (valid, damage, any::<prop::sample::Index>()).prop_map(|(mut bytes, damage, end)| {
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let end = end.index(2 * bytes.len());
        bytes.truncate(end.max(1));
        bytes
    })
}

proptest! {
    #[test]
    fn any_call_is_answered_or_refused(call in prop_oneof![
        valid_call(), damaged(valid_call()), prop::collection::vec(any::<u8>(), 0..200)
    ]) {
        harness::call(&call);
    }

    #[test]
    fn any_requests_on_a_watch_stream_are_taken(data in prop_oneof![
        valid_watch(), damaged(valid_watch()), prop::collection::vec(any::<u8>(), 0..300)
    ]) {
        harness::watch(&data);
    }

    #[test]
    fn any_frame_is_taken_or_refused(data in prop_oneof![
        damaged(prop::collection::vec(any::<u8>(), 0..100).prop_map(harness::valid_frame)),
        prop::collection::vec(any::<u8>(), 0..300),
    ]) {
        harness::frame(&data);
    }

    #[test]
    fn any_checkpoint_is_loaded_or_refused(data in prop_oneof![
        damaged((1..200usize).prop_map(harness::valid_checkpoint)), prop::collection::vec(any::<u8>(), 0..300)
    ]) {
        harness::checkpoint(&data);
    }
}

/// The harness does get to where it wants: valid requests are answered, in each of its ways.
#[test]
fn requests_reach_the_store() {
    let put = pb::PutRequest { key: "k".into(), ..Default::default() };
    let range = pb::RangeRequest { key: "a".into(), ..Default::default() };
    let op = |op| pb::RequestOp { request: Some(op) };
    let reads = pb::TxnRequest { success: vec![op(Op::RequestRange(range.clone()))], ..Default::default() };
    let writes = pb::TxnRequest { success: vec![op(Op::RequestPut(put.clone()))], ..Default::default() };
    let call = |kind: u8, request: Vec<u8>| harness::call(&[&[kind], &request[..]].concat());
    assert_eq!(call(0, range.encode_to_vec()), Fate::Answered);
    assert_eq!(call(1, put.encode_to_vec()), Fate::Answered);
    assert_eq!(call(3, reads.encode_to_vec()), Fate::Answered);
    assert_eq!(call(4, writes.encode_to_vec()), Fate::Answered);
    assert_eq!(call(1, Vec::new()), Fate::Refused(Status::EmptyKey));
    assert_eq!(call(1, vec![0xff]), Fate::Undecodable);
    let watch = pb::WatchRequest {
        request_union: Some(pb::watch_request::RequestUnion::CreateRequest(pb::WatchCreateRequest::default())),
    };
    let bytes = watch.encode_to_vec();
    let len = u8::try_from(bytes.len()).expect("it is short");
    assert_eq!(harness::watch(&[&[len], &bytes[..]].concat()), Fate::Answered);
    assert_eq!(harness::frame(&harness::valid_frame(vec![1, 2, 3])), Fate::Answered);
    for chunk_bytes in [1, 100, 10_000] {
        assert_eq!(harness::checkpoint(&harness::valid_checkpoint(chunk_bytes)), Fate::Answered);
    }
}
