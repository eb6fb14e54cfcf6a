use std::time::Duration;

use bytes::{BufMut, BytesMut};
use detcd_core::Input;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::wire::{FRAME_BYTES_MAX, Hello, Verdict, read_frame, read_hello, read_welcome, write_frames, write_hello};
use super::*;
use crate::host::{Host, Task};
use crate::inbox::{Inbox, Item};
use crate::urls::Url;

const CLUSTER: ClusterId = ClusterId(0xc1);
const A: NodeId = NodeId(0xa);
const B: NodeId = NodeId(0xb);

/// Frames of many sizes, around the limits at which they are written together.
fn frames() -> Vec<Bytes> {
    let sizes = [0, 1, 3, 100, 65_535, 65_536, 65_537, 5, 1 << 20, 7];
    sizes.iter().zip(1u8..).map(|(size, byte)| Bytes::from(vec![byte; *size])).collect()
}

#[tokio::test]
async fn frames_of_every_size_come_out_as_they_went_in() {
    // A narrow pipe, so that reads end in the middle of lengths and frames.
    let (mut near, mut far) = tokio::io::duplex(1_000);
    let writer = tokio::spawn(async move {
        write_frames(&mut near, frames(), &mut BytesMut::new()).await.expect("written");
    });
    let mut buffer = BytesMut::new();
    for frame in frames() {
        let read = read_frame(&mut far, &mut buffer).await.expect("a frame").expect("a frame");
        assert!(read == frame, "{} bytes", frame.len());
    }
    writer.await.expect("the writer ends");
    assert_eq!(read_frame(&mut far, &mut buffer).await.expect("a clean end"), None);
}

#[tokio::test]
async fn cut_and_oversized_frames_are_errors() {
    let mut cut = &[0, 0, 0, 9, 1, 2][..];
    let error = read_frame(&mut cut, &mut BytesMut::new()).await.expect_err("cut");
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    let mut long = BytesMut::new();
    long.put_u32(u32::try_from(FRAME_BYTES_MAX).expect("it fits") + 1);
    let error = read_frame(&mut &long[..], &mut BytesMut::new()).await.expect_err("too long");
    assert!(error.to_string().ends_with("is too long"), "{error}");
}

#[tokio::test]
async fn a_hello_reads_back_and_noise_is_no_hello() {
    let (mut near, mut far) = tokio::io::duplex(1_000);
    let hello = Hello { cluster: CLUSTER, from: A, to: B };
    write_hello(&mut near, hello).await.expect("written");
    assert_eq!(read_hello(&mut far).await.expect("a hello"), hello);
    near.write_all(&[b'G'; 32]).await.expect("written");
    let error = read_hello(&mut far).await.expect_err("noise");
    assert!(error.to_string().contains("protocol"), "{error}");
}

struct Bench {
    host: Host,
    inbox: Arc<Inbox>,
    url: Url,
    _serving: Task,
}

/// Member `B`, which knows `A`, on a port of its own.
async fn bench() -> Bench {
    let host = Host::start();
    let inbox = Arc::new(Inbox::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = Url::parse(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a URL");
    let identity = Identity { cluster: CLUSTER, own: B };
    let inbound = Inbound::new(host.clone(), identity, [A], Arc::clone(&inbox));
    let _serving = host.spawn(inbound.serve(listener));
    Bench { host, inbox, url, _serving }
}

async fn next(inbox: &Arc<Inbox>) -> Input {
    let inbox = Arc::clone(inbox);
    let taken = tokio::task::spawn_blocking(move || {
        let mut items = Vec::new();
        inbox.take(Duration::from_secs(10), &mut items);
        assert_eq!(items.len(), 1, "one item is expected: {items:?}");
        items.pop()
    });
    match taken.await.expect("no panic") {
        Some(Item::Input { input, .. }) => input,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_one_member_queues_the_other_one_receives() {
    let bench = bench().await;
    let outboxes = Outboxes::default();
    outboxes.know([B]);
    let outbox = outboxes.to(B).expect("a queue");
    outboxes.send(B, Bytes::from_static(b"too early"));
    outboxes.send(NodeId(99), Bytes::from_static(b"to nobody"));
    let near = Arc::new(Inbox::default());
    let identity = Identity { cluster: CLUSTER, own: A };
    let link = dial(bench.host.clone(), identity, B, vec![bench.url.clone()], outbox, Arc::clone(&near));
    let link = bench.host.spawn(link);
    assert!(matches!(next(&near).await, Input::Link { peer: B, up: true }));
    outboxes.send(B, Bytes::from_static(b"hello"));
    match next(&bench.inbox).await {
        Input::Peer { from, frame } => assert_eq!((from, &frame[..]), (A, &b"hello"[..])),
        other => panic!("{other:?}"),
    }
    drop(link);
}

#[tokio::test]
async fn foreigners_and_strangers_are_refused_with_the_reason() {
    let bench = bench().await;
    let table = [
        (Hello { cluster: ClusterId(7), from: A, to: B }, Verdict::OtherCluster),
        (Hello { cluster: CLUSTER, from: A, to: NodeId(7) }, Verdict::OtherMember),
        (Hello { cluster: CLUSTER, from: NodeId(7), to: B }, Verdict::Stranger),
        (Hello { cluster: CLUSTER, from: A, to: B }, Verdict::Taken),
    ];
    for (hello, verdict) in table {
        let mut stream = TcpStream::connect((bench.url.host(), bench.url.port())).await.expect("connected");
        write_hello(&mut stream, hello).await.expect("written");
        let welcome = read_welcome(&mut stream).await.expect("a welcome");
        assert_eq!((welcome.verdict, welcome.cluster, welcome.own), (verdict, CLUSTER, B));
    }
}

#[tokio::test]
async fn a_new_connection_of_a_member_replaces_its_old_one() {
    let bench = bench().await;
    let mut streams = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect((bench.url.host(), bench.url.port())).await.expect("connected");
        write_hello(&mut stream, Hello { cluster: CLUSTER, from: A, to: B }).await.expect("written");
        read_welcome(&mut stream).await.expect("a welcome");
        streams.push(stream);
    }
    let read = streams[0].read(&mut [0; 1]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    write_frames(&mut streams[1], [Bytes::from_static(b"new")], &mut BytesMut::new()).await.expect("written");
    assert!(matches!(next(&bench.inbox).await, Input::Peer { from: A, .. }));
}

#[tokio::test]
async fn frames_that_wait_for_the_node_count_whichever_connection_they_came_on() {
    let bench = bench().await;
    let take = async |patience: Duration| {
        let inbox = Arc::clone(&bench.inbox);
        let taken = tokio::task::spawn_blocking(move || {
            let mut items = Vec::new();
            inbox.take(patience, &mut items);
            items
        });
        taken.await.expect("no panic")
    };
    let connect = async || {
        let mut stream = TcpStream::connect((bench.url.host(), bench.url.port())).await.expect("connected");
        write_hello(&mut stream, Hello { cluster: CLUSTER, from: A, to: B }).await.expect("written");
        read_welcome(&mut stream).await.expect("a welcome");
        stream
    };
    let mut first = connect().await;
    let long = Bytes::from(vec![0; FRAME_BYTES_MAX]);
    write_frames(&mut first, [long], &mut BytesMut::new()).await.expect("written");
    let waits = take(Duration::from_secs(30)).await;
    assert_eq!(waits.len(), 1);
    let mut second = connect().await;
    write_frames(&mut second, [Bytes::from_static(b"more")], &mut BytesMut::new()).await.expect("written");
    let more = take(Duration::from_millis(300)).await;
    assert!(more.is_empty(), "the node has still to take what the member sent before: {more:?}");
    drop(waits);
    assert_eq!(take(Duration::from_secs(30)).await.len(), 1);
}

#[tokio::test]
async fn a_lost_link_is_told_and_dialled_again() {
    let host = Host::start();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = Url::parse(&format!("http://{}", listener.local_addr().expect("an address"))).expect("a URL");
    let inbox = Arc::new(Inbox::default());
    let identity = Identity { cluster: CLUSTER, own: A };
    let link = dial(host.clone(), identity, B, vec![url], Arc::default(), Arc::clone(&inbox));
    let _link = host.spawn(link);
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().await.expect("dialled");
        read_hello(&mut stream).await.expect("a hello");
        let welcome = super::wire::Welcome { verdict: Verdict::Taken, cluster: CLUSTER, own: B };
        super::wire::write_welcome(&mut stream, welcome).await.expect("written");
        assert!(matches!(next(&inbox).await, Input::Link { peer: B, up: true }));
        drop(stream);
        assert!(matches!(next(&inbox).await, Input::Link { peer: B, up: false }));
    }
}

#[test]
fn a_full_queue_drops_what_comes_and_never_grows() {
    let outbox = outbound::Outbox::default();
    outbox.connect(true);
    let big = Bytes::from(vec![0; FRAME_BYTES_MAX / 4]);
    for _ in 0..9 {
        outbox.push(big.clone());
    }
    assert_eq!(outbox.waiting(), (4, FRAME_BYTES_MAX));
    outbox.connect(true);
    for _ in 0..10_000 {
        outbox.push(Bytes::from_static(b"x"));
    }
    assert_eq!(outbox.waiting().0, 4_096);
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with the lock").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_frame_that_is_too_long_is_dropped_with_a_word() {
    let outboxes = Outboxes::default();
    outboxes.know([A]);
    let outbox = outboxes.to(A).expect("a queue");
    outbox.connect(true);
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    tracing::subscriber::with_default(subscriber, || {
        outboxes.send(A, Bytes::from(vec![0; FRAME_BYTES_MAX]));
        outboxes.send(A, Bytes::from(vec![0; FRAME_BYTES_MAX + 1]));
    });
    assert_eq!(outbox.waiting(), (1, FRAME_BYTES_MAX));
    let text = String::from_utf8(log.0.lock().expect("nobody panics with the lock").clone()).expect("text");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("ERROR") && text.contains("bytes=67108865"), "{text}");
}
