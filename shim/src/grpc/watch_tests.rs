use tokio_stream::StreamExt;

use super::*;
use crate::played::Played;

/// A stream as the service makes it, and the node's end of it.
fn open(played: &Played) -> (Responses, mpsc::UnboundedSender<Pushed>, oneshot::Sender<Status>) {
    let (pushes, pushed) = mpsc::unbounded_channel();
    let (end, ended) = oneshot::channel();
    let permit = Arc::clone(&played.calls.streams_free).try_acquire_owned().expect("a free stream");
    let responses = Responses {
        calls: Arc::clone(&played.calls),
        stream: StreamId(5),
        pushed,
        batch: VecDeque::new(),
        owed_bytes: 0,
        ended: Some(ended),
        _requests: played.calls.host().spawn(std::future::pending()),
        place: Some(permit),
    };
    (responses, pushes, end)
}

/// A response of about `bytes` bytes.
fn response(bytes: usize) -> pb::WatchResponse {
    pb::WatchResponse { cancel_reason: "x".repeat(bytes), ..pb::WatchResponse::default() }
}

fn credits(items: &[Item]) -> Vec<u64> {
    let credit = |item: &Item| match item {
        Item::Input { input: Input::Stream { stream: StreamId(5), op: StreamOp::Credit(bytes) }, .. } => *bytes,
        other => panic!("only credit is expected: {other:?}"),
    };
    items.iter().map(credit).collect()
}

#[tokio::test]
async fn credit_comes_back_only_for_what_was_taken_and_to_the_byte() {
    let played = Played::new(1);
    let (mut responses, pushes, _end) = open(&played);
    let batch: Vec<_> = (0..20).map(|_| response(100_000)).collect();
    let total: u64 = batch.iter().map(|response| response.encoded_len() as u64).sum();
    pushes.send(Pushed::Batch(batch)).expect("the stream listens");
    assert!(played.take().is_empty(), "nothing was taken yet");
    let mut returned = Vec::new();
    for _ in 0..20 {
        responses.next().await.expect("a response").expect("no error");
        returned.extend(credits(&played.take()));
    }
    assert!(returned.iter().all(|bytes| *bytes >= CREDIT_PORTION_BYTES), "{returned:?}");
    let owed = total - returned.iter().sum::<u64>();
    assert_eq!(owed, responses.owed_bytes);
    assert!(owed < CREDIT_PORTION_BYTES, "what is kept back never starves the stream");
}

#[tokio::test]
async fn a_stream_that_the_node_ends_gives_what_came_before_and_then_the_reason() {
    let played = Played::new(1);
    let (mut responses, pushes, _end) = open(&played);
    pushes.send(Pushed::Batch(vec![response(1)])).expect("the stream listens");
    pushes.send(Pushed::End(api::Status::TooManyRequests)).expect("the stream listens");
    assert!(responses.next().await.expect("a response").is_ok());
    let error = responses.next().await.expect("the reason").expect_err("the reason");
    assert_eq!(error.message(), "etcdserver: too many requests");
    assert!(responses.next().await.is_none());
}

#[tokio::test]
async fn a_node_that_is_gone_ends_its_streams() {
    let played = Played::new(1);
    let (mut responses, pushes, _end) = open(&played);
    drop(pushes);
    let error = responses.next().await.expect("the reason").expect_err("the reason");
    assert_eq!(error.message(), "etcdserver: server stopped");
    assert!(responses.next().await.is_none());
}

#[tokio::test]
async fn a_client_that_goes_away_closes_the_stream_and_frees_its_place() {
    let played = Played::new(1);
    let free = played.calls.streams_free.available_permits();
    let (responses, _pushes, _end) = open(&played);
    drop(responses);
    let items = played.take();
    let [Item::Input { input: Input::Stream { stream: StreamId(5), op: StreamOp::Close }, .. }] = &items[..] else {
        panic!("{items:?}");
    };
    assert_eq!(played.calls.streams_free.available_permits(), free - 1, "the node does not know yet");
    drop(items);
    assert_eq!(played.calls.streams_free.available_permits(), free);
}
