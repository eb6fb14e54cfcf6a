//! Elections: one leader at a time, and observers that are told.

use bytes::Bytes;
use detcd_core::proto::v3electionpb as pb;
use tonic::{Code, Streaming};

use super::client::{PATIENCE, QUIET, three_members};

/// Key and value of the next leader that an observer is told of.
async fn next(observer: &mut Streaming<pb::LeaderResponse>) -> (Bytes, Bytes) {
    let told = tokio::time::timeout(PATIENCE, observer.message()).await.expect("in time");
    let told = told.expect("no error").expect("no end");
    assert!(told.header.expect("a header").revision > 1);
    let kv = told.kv.expect("a key");
    (kv.key, kv.value)
}

fn named(name: &'static str) -> pb::LeaderRequest {
    pb::LeaderRequest { name: Bytes::from_static(name.as_bytes()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn candidates_on_different_members_lead_one_after_the_other_and_observers_see_it() {
    let (_cluster, clients) = three_members().await;
    let leases = [clients[0].grant(60).await, clients[1].grant(60).await];
    let keys = leases.map(|lease| Bytes::from(format!("e/{lease:x}")));
    // It waits for the first leader. A server may begin its response with that one.
    let client = clients[2].clone();
    let early = tokio::spawn(async move { client.elections().observe(named("e")).await });
    tokio::time::sleep(QUIET).await;
    let first = clients[0].campaign("e", leases[0], "one").await.expect("nobody is before it");
    let leader = first.leader.expect("a key");
    assert_eq!((&leader.name[..], &leader.key, leader.lease), (&b"e"[..], &keys[0], leases[0]));
    let mut early = early.await.expect("no panic").expect("a stream").into_inner();
    assert_eq!(next(&mut early).await, (keys[0].clone(), "one".into()));
    let mut late = clients[0].elections().observe(named("e")).await.expect("a stream").into_inner();
    assert_eq!(next(&mut late).await, (keys[0].clone(), "one".into()));

    let mut second = clients[1].runs("e", leases[1], "two", 2).await;
    second.waits_on().await;
    let proclaim = pb::ProclaimRequest { leader: Some(leader.clone()), value: "uno".into() };
    clients[2].elections().proclaim(proclaim).await.expect("it leads");
    for observer in [&mut early, &mut late] {
        assert_eq!(next(observer).await, (keys[0].clone(), "uno".into()));
    }
    let told = clients[1].elections().leader(named("e")).await.expect("somebody leads").into_inner();
    let kv = told.kv.expect("a key");
    assert_eq!((kv.key, kv.create_revision), (keys[0].clone(), leader.rev));

    clients[2].elections().resign(pb::ResignRequest { leader: Some(leader) }).await.expect("resigned");
    let done = second.end().await.expect("its turn");
    assert_eq!(done.leader.expect("a key").key, keys[1]);
    for observer in [&mut early, &mut late] {
        assert_eq!(next(observer).await, (keys[1].clone(), "two".into()));
    }
    // A leader's lease takes the office along.
    clients[0].revoke(leases[1]).await;
    let error = clients[0].elections().leader(named("e")).await.expect_err("nobody leads");
    assert_eq!((error.code(), error.message()), (Code::Unknown, "election: no leader"));
    let third = clients[0].campaign("e", leases[0], "three").await.expect("nobody is before it");
    assert_eq!(third.leader.expect("a key").key, keys[0]);
    assert_eq!(next(&mut late).await, (keys[0].clone(), "three".into()));
}

/// Far more than a stream's credit, while nobody reads; an observer that is slow holds up nobody, and misses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_observer_that_reads_late_is_told_everything_in_order() {
    const VALUES: usize = 60;
    let (_cluster, clients) = three_members().await;
    let lease = clients[0].grant(60).await;
    let leader = clients[0].campaign("e", lease, "begin").await.expect("nobody is before it").leader;
    let mut observer = clients[1].elections().observe(named("e")).await.expect("a stream").into_inner();
    assert_eq!(next(&mut observer).await.1, "begin");
    for number in 0..VALUES {
        let value = Bytes::from(vec![u8::try_from(number).expect("small"); 50_000]);
        let proclaim = pb::ProclaimRequest { leader: leader.clone(), value };
        clients[0].elections().proclaim(proclaim).await.expect("it leads");
    }
    for number in 0..VALUES {
        let (_, value) = next(&mut observer).await;
        assert_eq!((usize::from(value[0]), value.len()), (number, 50_000));
    }
}
