use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as etcd;
use detcd_core::proto::etcdserverpb::response_op::Response as OpResponse;
use detcd_core::proto::mvccpb::{Event, KeyValue, event::EventType};
use detcd_core::proto::v3lockpb::{LockRequest, LockResponse};
use detcd_core::{Input, StreamOp};

use super::*;
use crate::inbox::{Answer, Item, Pushed, Waiting};
use crate::played::Played;
use crate::rpc::election_server::Election;
use crate::rpc::lock_server::Lock;

const PATIENCE: Duration = Duration::from_secs(30);

type Locked = tokio::task::JoinHandle<Result<tonic::Response<LockResponse>, tonic::Status>>;

fn services(played: &Played) -> Services {
    Services::new(Arc::clone(&played.calls), Duration::from_secs(1), 1 << 20)
}

/// A client asks for the lock `n` with lease 2, and so long at most, as `grpc-timeout` says it.
fn lock(played: &Played, timeout: Option<&str>) -> Locked {
    let mut request = tonic::Request::new(LockRequest { name: "n".into(), lease: 2 });
    if let Some(timeout) = timeout {
        request.metadata_mut().insert("grpc-timeout", timeout.parse().expect("ASCII"));
    }
    let services = services(played);
    tokio::spawn(async move { services.lock(request).await })
}

/// Waits for something to come for the node; takes it all.
async fn items(played: &Played) -> Vec<Item> {
    let begin = std::time::Instant::now();
    loop {
        let items = played.take();
        if !items.is_empty() {
            return items;
        }
        assert!(begin.elapsed() < PATIENCE, "nothing came for the node");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Waits for one call.
async fn call(played: &Played) -> (Request, Waiting) {
    let mut items = items(played).await;
    match (items.pop(), items.is_empty()) {
        (Some(Item::Call { request, waiting, .. }), true) => (request, waiting),
        (last, _) => panic!("one call is expected, not {items:?} and {last:?}"),
    }
}

fn range(key: &'static str, created: i64) -> etcd::ResponseOp {
    let kv = KeyValue { key: key.into(), create_revision: created, ..Default::default() };
    let found = etcd::RangeResponse { kvs: vec![kv], ..Default::default() };
    etcd::ResponseOp { response: Some(OpResponse::ResponseRange(found)) }
}

fn txn(succeeded: bool, responses: Vec<etcd::ResponseOp>) -> Answer {
    let header = Some(etcd::ResponseHeader { revision: 9, ..Default::default() });
    Answer::Reply(Ok(Response::Txn(etcd::TxnResponse { header, succeeded, responses })))
}

/// The client's key is created at revision 9, behind that of lease 1, and it looks around.
async fn enters(played: &Played) {
    let (request, waiting) = call(played).await;
    assert!(matches!(&request, Request::Txn(txn) if txn.compare.len() == 1), "{request:?}");
    waiting.answer(txn(true, vec![etcd::ResponseOp::default(), range("n/1", 5)]));
    let (request, waiting) = call(played).await;
    assert!(matches!(&request, Request::Txn(txn) if txn.compare.is_empty()), "{request:?}");
    waiting.answer(txn(true, vec![range("n/1", 5), range("n/2", 9)]));
}

/// Its watchers, which it opens then.
async fn watches(played: &Played) -> mpsc::UnboundedSender<Pushed> {
    let mut pushes = None;
    let mut keys = Vec::new();
    while keys.len() < 2 {
        for item in items(played).await {
            match item {
                Item::Open { pushes: new, .. } => pushes = Some(new),
                Item::Input { input: Input::Stream { op: StreamOp::Request(request), .. }, .. } => {
                    let Some(etcd::watch_request::RequestUnion::CreateRequest(create)) = request.request_union else {
                        panic!("a creation is expected");
                    };
                    keys.push((create.key, create.start_revision));
                }
                Item::Input { input: Input::Stream { op: StreamOp::Credit(_), .. }, .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(keys, [("n/1".into(), 10), ("n/2".into(), 10)]);
    pushes.expect("a stream")
}

fn is_close(item: &Item) -> bool {
    matches!(item, Item::Input { input: Input::Stream { op: StreamOp::Close, .. }, permit: Some(_) })
}

/// The undo that it makes: its own key, as it was created.
async fn undoes(played: &Played) -> Waiting {
    let (request, waiting) = loop {
        let mut items = items(played).await;
        items.retain(|item| !is_close(item) && !matches!(item, Item::Input { input: Input::Cancel { .. }, .. }));
        match items.pop() {
            None => {}
            Some(Item::Call { request, waiting, .. }) => break (request, waiting),
            Some(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(request, Request::Txn(expected_undo()));
    waiting
}

fn expected_undo() -> etcd::TxnRequest {
    use etcd::compare::{CompareTarget, TargetUnion};
    let delete = etcd::DeleteRangeRequest { key: "n/2".into(), ..Default::default() };
    let created = etcd::Compare {
        key: "n/2".into(),
        target: CompareTarget::Create as i32,
        target_union: Some(TargetUnion::CreateRevision(9)),
        ..Default::default()
    };
    let delete = etcd::RequestOp { request: Some(etcd::request_op::Request::RequestDeleteRange(delete)) };
    etcd::TxnRequest { compare: vec![created], success: vec![delete], failure: Vec::new() }
}

fn deletion(key: &'static str) -> etcd::WatchResponse {
    let kv = Some(KeyValue { key: key.into(), mod_revision: 12, ..Default::default() });
    let event = Event { r#type: EventType::Delete as i32, kv, prev_kv: None };
    etcd::WatchResponse { events: vec![event], ..Default::default() }
}

#[tokio::test]
async fn a_lock_is_answered_when_its_turn_has_come() {
    let played = Played::new(2);
    let free = played.calls.streams_free.available_permits();
    let locked = lock(&played, None);
    enters(&played).await;
    let pushes = watches(&played).await;
    let created = etcd::WatchResponse { created: true, ..Default::default() };
    pushes.send(Pushed::Batch(vec![created.clone().into(), created.into()])).expect("it listens");
    pushes.send(Pushed::Batch(vec![deletion("n/1").into()])).expect("it listens");
    let mut items = items(&played).await;
    // The watchers are closed before it looks again.
    assert!(items.first().is_some_and(is_close), "{items:?}");
    let last = if items.len() > 1 { items.pop() } else { played_call(&played).await };
    let Some(Item::Call { waiting, .. }) = last else { panic!("it looks: {last:?}") };
    waiting.answer(txn(true, vec![none(), range("n/2", 9)]));
    let response = locked.await.expect("no panic").expect("locked").into_inner();
    assert_eq!(response.key, "n/2");
    drop(items);
    assert_eq!(played.calls.streams_free.available_permits(), free);
    assert!(played.take().is_empty(), "nothing is undone");
}

async fn played_call(played: &Played) -> Option<Item> {
    items(played).await.pop()
}

fn none() -> etcd::ResponseOp {
    etcd::ResponseOp { response: Some(OpResponse::ResponseRange(etcd::RangeResponse::default())) }
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_waits_takes_its_key_back() {
    let played = Played::new(2);
    let locked = lock(&played, None);
    enters(&played).await;
    let _pushes = watches(&played).await;
    locked.abort();
    // It is tried again while the member is too busy, or knows no leader.
    for why in [Status::TooManyRequests, Status::NoLeader, Status::Timeout] {
        undoes(&played).await.answer(Answer::Reply(Err(why)));
    }
    undoes(&played).await.answer(txn(true, vec![etcd::ResponseOp::default()]));
    tokio::time::sleep(2 * UNDO_PAUSE).await;
    assert!(played.take().is_empty(), "once it is done, it is done");
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_enters_takes_its_key_back_when_that_is_known() {
    let played = Played::new(2);
    let locked = lock(&played, None);
    let (_, waiting) = call(&played).await;
    locked.abort();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(played.take().is_empty(), "it is not known yet");
    waiting.answer(txn(true, vec![etcd::ResponseOp::default(), range("n/1", 5)]));
    undoes(&played).await.answer(Answer::Reply(Err(Status::Stopped)));
}

#[tokio::test]
async fn the_clients_limit_ends_the_wait() {
    let played = Played::new(2);
    let locked = lock(&played, Some("80m"));
    enters(&played).await;
    let _pushes = watches(&played).await;
    let error = locked.await.expect("no panic").expect_err("the limit has passed");
    assert_eq!((error.code(), error.message()), (tonic::Code::DeadlineExceeded, "context deadline exceeded"));
    undoes(&played).await.answer(txn(true, vec![etcd::ResponseOp::default()]));
}

#[tokio::test]
async fn a_member_that_stops_ends_the_wait_with_its_own_words() {
    let played = Played::new(2);
    let locked = lock(&played, None);
    enters(&played).await;
    let pushes = watches(&played).await;
    pushes.send(Pushed::End(Status::Stopped)).expect("it listens");
    undoes(&played).await.answer(Answer::Reply(Err(Status::Stopped)));
    let error = locked.await.expect("no panic").expect_err("the member stops");
    assert_eq!((error.code(), error.message()), (tonic::Code::Unavailable, "etcdserver: server stopped"));
    // And if it goes without a word.
    let locked = lock(&played, None);
    enters(&played).await;
    drop(watches(&played).await);
    undoes(&played).await.answer(Answer::Reply(Err(Status::Stopped)));
    assert_eq!(locked.await.expect("no panic").expect_err("the member stops").code(), tonic::Code::Unavailable);
}

#[tokio::test]
async fn other_errors_of_the_store_have_no_code_and_keep_their_words() {
    let played = Played::new(2);
    let locked = lock(&played, None);
    let (_, waiting) = call(&played).await;
    waiting.answer(Answer::Reply(Err(Status::LeaseNotFound)));
    let error = locked.await.expect("no panic").expect_err("refused");
    assert_eq!((error.code(), error.message()), (tonic::Code::Unknown, "etcdserver: requested lease not found"));
}

#[tokio::test]
async fn without_a_free_stream_it_does_not_wait_and_takes_its_key_back() {
    let played = Played::new(2);
    let all = u32::try_from(played.calls.streams_free.available_permits()).expect("few");
    let taken = Arc::clone(&played.calls.streams_free).acquire_many_owned(all).await.expect("never closed");
    let locked = lock(&played, None);
    enters(&played).await;
    undoes(&played).await.answer(txn(true, vec![etcd::ResponseOp::default()]));
    let error = locked.await.expect("no panic").expect_err("refused");
    assert_eq!((error.code(), error.message()), (tonic::Code::Unknown, "etcdserver: too many requests"));
    drop(taken);
}

#[tokio::test]
async fn a_client_that_asks_for_a_leader_is_refused_without_one() {
    let played = Played::new(2);
    played.lead(0);
    let mut request = tonic::Request::new(LockRequest::default());
    request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
    let error = services(&played).lock(request).await.expect_err("nobody leads");
    assert_eq!((error.code(), error.message()), (tonic::Code::Unavailable, "etcdserver: no leader"));
    let mut request = tonic::Request::new(pb::LeaderRequest::default());
    request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
    let error = services(&played).observe(request).await.expect_err("nobody leads");
    assert_eq!((error.code(), error.message()), (tonic::Code::Unavailable, "etcdserver: no leader"));
    assert!(played.take().is_empty());
}

#[tokio::test]
async fn an_observer_gives_credit_back_as_its_client_reads_and_ends_with_the_member() {
    use tokio_stream::StreamExt;

    let played = Played::new(2);
    let request = tonic::Request::new(pb::LeaderRequest { name: "e".into() });
    let mut told = services(&played).observe(request).await.expect("a stream").into_inner();
    let (_, waiting) = call(&played).await;
    let header = Some(etcd::ResponseHeader { revision: 9, ..Default::default() });
    let kv = KeyValue { key: "e/1".into(), mod_revision: 4, ..Default::default() };
    let found = etcd::RangeResponse { header, kvs: vec![kv.clone()], ..Default::default() };
    waiting.answer(Answer::Reply(Ok(Response::Range(found))));
    assert_eq!(told.next().await.expect("told").expect("no error").kv, Some(kv.clone()));
    let mut opened = items(&played).await;
    while opened.len() < 3 {
        opened.extend(items(&played).await);
    }
    let Item::Open { pushes, .. } = opened.remove(0) else { panic!("{opened:?}") };
    let put = |revision: i64| {
        let kv = Some(KeyValue { value: vec![0; 50_000].into(), mod_revision: revision, ..kv.clone() });
        let event = Event { r#type: EventType::Put as i32, kv, prev_kv: None };
        etcd::WatchResponse { header, events: vec![event], ..Default::default() }.into()
    };
    pushes.send(Pushed::Batch((10..20).map(put).collect())).expect("it listens");
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(played.take().len() <= 1, "nobody has read yet");
    for revision in 10..20 {
        let kv = told.next().await.expect("told").expect("no error").kv.expect("a key");
        assert_eq!(kv.mod_revision, revision);
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let credit = |item: &Item| match item {
        Item::Input { input: Input::Stream { op: StreamOp::Credit(bytes), .. }, .. } => *bytes,
        other => panic!("{other:?}"),
    };
    let back: u64 = played.take().iter().map(credit).sum();
    assert!((360_000..501_000).contains(&back), "{back}");
    pushes.send(Pushed::End(Status::Stopped)).expect("it listens");
    let error = told.next().await.expect("told").expect_err("the member stops");
    assert_eq!((error.code(), error.message()), (tonic::Code::Unavailable, "etcdserver: server stopped"));
    assert!(told.next().await.is_none());
}
