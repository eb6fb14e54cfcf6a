use super::*;
use crate::played::Played;

/// A stream that a service opens, and the node's end of it.
fn open(played: &Played) -> (Pushes, mpsc::UnboundedSender<Pushed>, u64) {
    let opened = Pushes::open(&played.calls).expect("a free stream");
    let mut items = played.take();
    let [credit] = &credits(&items.split_off(1), opened.stream())[..] else { panic!("it has credit") };
    let Some(Item::Open { stream, pushes }) = items.pop() else { panic!("it is opened") };
    assert_eq!(stream, opened.stream());
    (opened, pushes, *credit)
}

/// A response of about `bytes` bytes.
fn response(bytes: usize) -> WatchMessage {
    pb::WatchResponse { cancel_reason: "x".repeat(bytes), ..pb::WatchResponse::default() }.into()
}

fn credits(items: &[Item], opened: StreamId) -> Vec<u64> {
    let credit = |item: &Item| match item {
        Item::Input { input: Input::Stream { stream, op: StreamOp::Credit(bytes) }, .. } if *stream == opened => *bytes,
        other => panic!("only credit is expected: {other:?}"),
    };
    items.iter().map(credit).collect()
}

#[tokio::test]
async fn credit_comes_back_only_for_what_was_taken_and_to_the_byte() {
    let played = Played::new(1);
    let (mut opened, pushes, first) = open(&played);
    let batch: Vec<_> = (0..20).map(|_| response(100_000)).collect();
    let total: u64 = batch.iter().map(|response| response.encoded_len() as u64).sum();
    pushes.send(Pushed::Batch(batch)).expect("the stream listens");
    assert!(played.take().is_empty(), "nothing was taken yet");
    let mut returned = Vec::new();
    for _ in 0..20 {
        opened.next().await.expect("no error");
        returned.extend(credits(&played.take(), opened.stream()));
    }
    assert!(returned.iter().all(|bytes| *bytes >= first / 4), "{returned:?}");
    let owed = total - returned.iter().sum::<u64>();
    assert!(owed < first / 4, "what is kept back never starves the stream");
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_closed_and_its_place_is_free_when_the_node_knows() {
    let played = Played::new(1);
    let free = played.calls.streams_free.available_permits();
    let (opened, _pushes, _) = open(&played);
    assert_eq!(played.calls.streams_open(), 1);
    let stream = opened.stream();
    drop(opened);
    let items = played.take();
    let [Item::Input { input: Input::Stream { stream: closed, op: StreamOp::Close }, .. }] = &items[..] else {
        panic!("{items:?}");
    };
    assert_eq!(*closed, stream);
    assert_eq!(played.calls.streams_free.available_permits(), free - 1, "the node does not know yet");
    drop(items);
    assert_eq!(played.calls.streams_free.available_permits(), free);
}
