//! Every error of the Lock and Election services, with its code and its text to the letter.

use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::{v3electionpb as election, v3lockpb as lock};
use detcd_tests::rpc::maintenance_client::MaintenanceClient;
use pb::alarm_request::AlarmAction;
use tonic::{Code, Status};

use super::client::{Client, three_members};

/// Etcd's own client library makes these services, and its errors have no code for gRPC.
fn expect(what: &str, error: Status, text: &str) {
    assert_eq!((error.code(), error.message()), (Code::Unknown, text), "{what}");
}

async fn proclaim(client: &Client, leader: Option<election::LeaderKey>) -> Status {
    let request = election::ProclaimRequest { leader, value: "v".into() };
    client.elections().proclaim(request).await.expect_err("refused")
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_etcds_words_and_no_code() {
    let (_cluster, clients) = three_members().await;
    let client = &clients[0];
    let lease = client.grant(60).await;
    let no_lease = "etcdserver: requested lease not found";
    expect("lock", client.lock("n", 12_345).await.expect_err("refused"), no_lease);
    expect("campaign", client.campaign("e", 12_345, "v").await.expect_err("refused"), no_lease);
    let no_key = "etcdserver: key is not provided";
    let error = client.locks().unlock(lock::UnlockRequest::default()).await.expect_err("refused");
    expect("unlock", error, no_key);
    let nameless = Some(election::LeaderKey { lease, ..Default::default() });
    expect("proclaim", proclaim(client, nameless.clone()).await, no_key);
    let error = client.elections().resign(election::ResignRequest { leader: nameless }).await.expect_err("refused");
    expect("resign", error, no_key);
    let missing = r#""leader" field must be provided"#;
    expect("proclaim", proclaim(client, None).await, missing);
    let error = client.elections().resign(election::ResignRequest { leader: None }).await.expect_err("refused");
    expect("resign", error, missing);
    let nobody = election::LeaderRequest { name: "e".into() };
    let error = client.elections().leader(nobody).await.expect_err("nobody leads");
    expect("leader", error, "election: no leader");

    let leader = client.campaign("e", lease, "v").await.expect("nobody is before it").leader;
    let resign = election::ResignRequest { leader: leader.clone() };
    client.elections().resign(resign.clone()).await.expect("resigned");
    client.elections().resign(resign).await.expect("all is well");
    expect("proclaim", proclaim(client, leader.clone()).await, "election: not leader");
    client.campaign("e", lease, "v").await.expect("nobody is before it");
    expect("proclaim", proclaim(client, leader).await, "election: not leader");
    let long = election::CampaignRequest { name: "e".into(), lease, value: vec![0; 1_700_000].into() };
    let error = client.elections().campaign(long).await.expect_err("refused");
    expect("campaign", error, "etcdserver: request is too large");
    // What no member reads at all is gRPC's matter.
    let long = election::CampaignRequest { name: "e".into(), lease, value: vec![0; 3_000_000].into() };
    let error = client.elections().campaign(long).await.expect_err("refused");
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_quorum_says_so_in_time_and_at_once_if_a_leader_is_asked_for() {
    let (mut cluster, clients) = three_members().await;
    let lease = clients[0].grant(60).await;
    cluster.kill(1);
    cluster.kill(2);
    let begin = std::time::Instant::now();
    let error = clients[0].lock("n", lease).await.expect_err("nobody answers");
    assert_eq!(error.code(), Code::Unknown, "{error:?}");
    assert!(error.message().starts_with("etcdserver: request timed out"), "{error:?}");
    assert!(begin.elapsed() >= std::time::Duration::from_secs(6));
    let mut request = tonic::Request::new(lock::LockRequest { name: "n".into(), lease });
    request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
    let error = clients[0].locks().lock(request).await.expect_err("nobody leads");
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: no leader"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_nobody_enters_and_who_leaves_still_leaves_no_key() {
    let (_cluster, clients) = three_members().await;
    let client = &clients[0];
    let leases = [client.grant(60).await, client.grant(60).await];
    let first = client.lock("n", leases[0]).await.expect("nobody is before it");
    let second = clients[1].waits("n", leases[1], 2).await;
    let (action, alarm) = (AlarmAction::Activate.into(), pb::AlarmType::Nospace.into());
    let request = pb::AlarmRequest { action, alarm, member_id: 1 };
    MaintenanceClient::new(client.0.clone()).alarm(request).await.expect("the alarm is on");
    let no_room = "etcdserver: mvcc: database space exceeded";
    expect("lock", client.lock("m", leases[0]).await.expect_err("no room"), no_room);
    expect("lock", client.lock("m", 0).await.expect_err("no room"), no_room);
    expect("campaign", client.campaign("e", leases[0], "v").await.expect_err("no room"), no_room);
    second.leave();
    assert_eq!(client.wait_for(1, "n/").await[0].key, first.key);
    client.unlock(&first.key).await;
    client.wait_for(0, "n/").await;
}
