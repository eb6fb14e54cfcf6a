//! Requests of clients that mean no good: none of them ends a member or holds it up.

use bytes::{BufMut, BytesMut};
use tokio_stream::StreamExt as _;
use tower::ServiceExt as _;

use super::*;

/// How long a put may take beside what a hostile client does.
const SOON: Duration = Duration::from_secs(10);

/// One gRPC message that says to be so long.
fn message(len: u32, bytes: &[u8]) -> Vec<u8> {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(len);
    framed.extend_from_slice(bytes);
    framed.to_vec()
}

/// Posts bytes as they are; gRPC's code, if it comes with the head of the answer.
async fn post(channel: &Channel, path: &str, body: Vec<u8>) -> Option<i32> {
    told(channel, path, body).await.map(|status| status.code() as i32)
}

/// The same with gRPC's words.
async fn told(channel: &Channel, path: &str, body: Vec<u8>) -> Option<tonic::Status> {
    let request = http::Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(tonic::body::Body::new(axum::body::Body::from(body)))
        .expect("a request");
    let response =
        tokio::time::timeout(SOON, channel.clone().oneshot(request)).await.expect("in time").expect("an answer");
    tonic::Status::from_header_map(response.headers())
}

async fn still_serves(channel: &Channel, key: &str) {
    let mut client = KvClient::new(channel.clone());
    let put = client.put(put(key, "v"));
    tokio::time::timeout(SOON, put)
        .await
        .expect("in time")
        .map(drop)
        .unwrap_or_else(|error| panic!("{key}: {error:?}"));
}

/// A transaction in a transaction, and so on, as bytes: the generated code would run out of stack.
fn nested_txn(levels: usize) -> Vec<u8> {
    fn field(tag: u8, inside: &[u8]) -> Vec<u8> {
        let mut out = vec![tag << 3 | 2];
        let mut len = inside.len();
        while len >= 0x80 {
            out.push(len as u8 | 0x80);
            len >>= 7;
        }
        out.push(len as u8);
        out.extend_from_slice(inside);
        out
    }
    // A `TxnRequest` has its operations in field 2; a `RequestOp` has a transaction in field 4.
    (0..levels).fold(Vec::new(), |inside, _| field(2, &field(4, &inside)))
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_messages_are_refused_and_nothing_else_happens() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    const PUT: &str = "/etcdserverpb.KV/Put";
    let resource_exhausted = Code::ResourceExhausted as i32;
    assert_eq!(post(&channel, PUT, message(0x7fff_ffff, b"short")).await, Some(resource_exhausted), "2 GiB, it says");
    still_serves(&channel, "after 2 GiB").await;
    // A key that says to be longer than the message, and bytes that are no message.
    for body in [&[0x0a, 0xff, 0xff, 0xff, 0xff, 0x07, 1][..], &[0xff; 40], &[0x0a]] {
        let status = post(&channel, PUT, message(u32::try_from(body.len()).expect("short"), body)).await;
        assert_eq!(status, Some(Code::Internal as i32), "{body:?}");
    }
    post(&channel, PUT, Vec::new()).await;
    post(&channel, "/etcdserverpb.KV/Nothing", message(0, &[])).await;
    still_serves(&channel, "after what is malformed").await;
    for levels in [33, 60, 10_000] {
        let txn = nested_txn(levels);
        let status =
            post(&channel, "/etcdserverpb.KV/Txn", message(u32::try_from(txn.len()).expect("short"), &txn)).await;
        let refused = [Code::InvalidArgument, Code::Internal].map(|code| Some(code as i32));
        assert!(refused.contains(&status), "{levels} levels: {status:?}");
        still_serves(&channel, "after nested transactions").await;
    }
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_never_reads_holds_up_nobody() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let create = |key: &'static str, range_end: &'static str| pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..Default::default()
        })),
    };
    // Its stream is open, and nobody ever takes a message from it. It has a connection of its own, as it does not give
    // back what HTTP/2 lets a connection have.
    let deaf = plan.channel(0).await;
    let requests = tokio_stream::iter([create("\0", "\0")]).chain(tokio_stream::pending());
    let deaf_stream = WatchClient::new(deaf).watch(requests).await.expect("a stream");
    let live = tokio_stream::iter([create("seen", "")]).chain(tokio_stream::pending());
    let mut live = WatchClient::new(channel.clone()).watch(live).await.expect("a stream").into_inner();
    assert!(live.message().await.expect("no error").expect("a response").head().created);
    let mut kv = KvClient::new(channel.clone());
    for _ in 0..64 {
        kv.put(put("large", vec![b'v'; 1 << 20])).await.expect("it is put");
    }
    kv.put(put("seen", "v")).await.expect("it is put");
    let event = tokio::time::timeout(SOON, live.message()).await.expect("in time").expect("no error");
    assert_eq!(event.expect("a response").events().len(), 1);
    drop(deaf_stream);
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_in_chunks_that_nobody_reads_hold_up_nobody() {
    let plan = Plan { more: "--heartbeat-interval 10 --election-timeout 50".into(), ..Plan::new(1) };
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let mut kv = KvClient::new(channel.clone());
    for n in 0..40 {
        kv.put(put(&format!("k{n:02}"), vec![b'v'; 20_000])).await.expect("it is put");
    }
    let all = pb::RangeRequest { range_end: "l".into(), ..get("k") };
    let deaf = plan.channel(0).await;
    let mut streams = Vec::new();
    let refused = loop {
        match KvClient::new(deaf.clone()).range_stream(all.clone()).await {
            Ok(stream) => streams.push(stream),
            Err(error) => break error,
        }
        assert!(streams.len() < 1_000, "there is an end to it");
    };
    assert_eq!((refused.code(), refused.message()), (Code::Unknown, "etcdserver: too many requests"));
    still_serves(&channel, "beside them").await;
    // Five seconds and a little later they are given up.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let mut stream = kv.range_stream(all).await.expect("there is a place again").into_inner();
    let mut keys = 0;
    while let Some(chunk) = stream.message().await.expect("no error") {
        keys += chunk.range_response.expect("a part").kvs.len();
    }
    assert_eq!(keys, 40);
    drop(streams);
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_watchers_on_one_stream_holds_up_nobody() {
    const WATCHERS: usize = 100_000;
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let create = pb::WatchRequest {
        request_union: Some(RequestUnion::CreateRequest(pb::WatchCreateRequest {
            key: "k".into(),
            ..Default::default()
        })),
    };
    let requests = tokio_stream::iter(std::iter::repeat_n(create, WATCHERS)).chain(tokio_stream::pending());
    let flood = plan.channel(0).await;
    let mut stream = WatchClient::new(flood).watch(requests).await.expect("a stream").into_inner();
    let counted = tokio::spawn(async move {
        let mut created = 0;
        while created < WATCHERS {
            let response = stream.message().await.expect("no error").expect("a response");
            created += usize::from(response.head().created);
        }
        stream
    });
    for n in 0..20 {
        still_serves(&channel, &format!("beside the flood {n}")).await;
    }
    let stream = tokio::time::timeout(PATIENCE, counted).await.expect("in time").expect("all are created");
    drop(stream);
    still_serves(&channel, "after the flood").await;
    stop(member).await;
}

/// In the words of gRPC's library for Go, so that `etcdctl` says what is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_there_is_named() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    for (path, expected) in [
        ("/etcdserverpb.KV/Nothing", "unknown method Nothing for service etcdserverpb.KV"),
        ("/etcdserverpb.Nobody/Nothing", "unknown service etcdserverpb.Nobody"),
        ("/nothing", "unknown service nothing"),
    ] {
        let status = told(&channel, path, message(0, &[])).await.expect("a status");
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, expected));
    }
    stop(member).await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_uint(payload.len() as u64, 3);
    frame.put_u8(kind);
    frame.put_u8(flags);
    frame.put_u32(stream);
    frame.extend_from_slice(payload);
    frame.to_vec()
}

/// The head of a call, in HPACK without a table: the method and the scheme are of the static one.
fn head(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    // `:path`, `:authority` and `content-type`, whose number is more than fits four bits.
    for (name, value) in [(&[4][..], path), (&[1], "127.0.0.1"), (&[15, 16], "application/grpc")] {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// Calls that run out of time together are canceled together, and share a connection with watches.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_canceled_calls_does_not_end_their_connection() {
    const HEADERS: u8 = 1;
    const RST_STREAM: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const GOAWAY: u8 = 7;
    const END_HEADERS: u8 = 4;
    const CANCEL: [u8; 4] = [0, 0, 0, 8];
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let mut connection = TcpStream::connect(("127.0.0.1", plan.client_ports[0])).await.expect("it listens");
    let mut storm = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    storm.extend(frame(SETTINGS, 0, 0, &[]));
    for call in 0..3_000 {
        let stream = 2 * call + 1;
        storm.extend(frame(HEADERS, END_HEADERS, stream, &head("/etcdserverpb.KV/Range")));
        storm.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    storm.extend(frame(PING, 0, 0, b"go on..."));
    connection.write_all(&storm).await.expect("it reads");
    let answered = async {
        loop {
            let mut head = [0; 9];
            connection.read_exact(&mut head).await.expect("the connection lives on");
            let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; len as usize];
            connection.read_exact(&mut payload).await.expect("a whole frame");
            assert_ne!(head[3], GOAWAY, "{:?}", String::from_utf8_lossy(&payload));
            if (head[3], head[4]) == (PING, 1) {
                return payload;
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, answered).await.expect("in time"), b"go on...");
    still_serves(&plan.channel(0).await, "after the storm").await;
    stop(member).await;
}
