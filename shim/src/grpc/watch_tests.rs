use tokio::sync::mpsc;
use tokio_stream::StreamExt;

use super::*;
use crate::inbox::Pushed;
use crate::played::Played;

/// A stream as the service makes it, and the node's end of it.
fn open(played: &Played) -> (Responses, mpsc::UnboundedSender<Pushed>, oneshot::Sender<Status>) {
    let opened = Pushes::open(&played.calls).expect("a free stream");
    let Some(Item::Open { pushes, .. }) = played.take().into_iter().next() else { panic!("it is opened") };
    let (end, ended) = oneshot::channel();
    let requests = played.calls.host().spawn(std::future::pending());
    (Responses { pushes: opened, ended: Some(ended), _requests: requests }, pushes, end)
}

#[tokio::test]
async fn a_stream_that_the_node_ends_gives_what_came_before_and_then_the_reason() {
    let played = Played::new(1);
    let (mut responses, pushes, _end) = open(&played);
    pushes.send(Pushed::Batch(vec![WatchMessage::default()])).expect("the stream listens");
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
async fn a_stream_whose_requests_end_it_says_why() {
    let played = Played::new(1);
    let (mut responses, _pushes, end) = open(&played);
    end.send(status::to_grpc(api::Status::NoLeader)).expect("the stream listens");
    let error = responses.next().await.expect("the reason").expect_err("the reason");
    assert_eq!(error.message(), "etcdserver: no leader");
    assert!(responses.next().await.is_none());
}
