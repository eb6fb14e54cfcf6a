//! Every field of the answers, with the revisions in their headers: what etcd says, word for word.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::KeyValue;
use detcd_core::proto::{v3electionpb as election, v3lockpb as lock};

use super::client::{Client, three_members};

/// Leases that say in their keys which they are; one is negative.
const LEASES: [i64; 3] = [0x2a, -0x2a, i64::MAX];

async fn with_leases() -> (detcd_tests::cluster::Cluster, Client) {
    let (cluster, clients) = three_members().await;
    for id in LEASES {
        let grant = pb::LeaseGrantRequest { id, ttl: 60 };
        clients[0].leases().lease_grant(grant).await.expect("a lease");
    }
    (cluster, clients[0].clone())
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    let header = header.expect("a header");
    assert!(header.cluster_id != 0 && header.member_id != 0 && header.raft_term > 0, "{header:?}");
    header.revision
}

fn locked(response: &lock::LockResponse) -> (String, i64) {
    (String::from_utf8_lossy(&response.key).into_owned(), revision(response.header))
}

fn elected(response: &election::CampaignResponse) -> (String, String, i64, i64, i64) {
    let leader = response.leader.as_ref().expect("a leader");
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    (text(&leader.name), text(&leader.key), leader.rev, leader.lease, revision(response.header))
}

fn key(
    key: &'static str,
    value: &'static str,
    lease: i64,
    created: i64,
    changed: i64,
    version: i64,
) -> Option<KeyValue> {
    let (key, value) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(value.as_bytes()));
    Some(KeyValue { key, value, lease, create_revision: created, mod_revision: changed, version })
}

#[tokio::test(flavor = "multi_thread")]
async fn locks_are_answered_with_the_revision_at_which_they_were_owned() {
    let (_cluster, client) = with_leases().await;
    let first = client.lock("n", LEASES[0]).await.expect("locked");
    assert_eq!(locked(&first), ("n/2a".into(), 2));
    let second = client.waits("n", LEASES[1], 2).await;
    let third = client.waits("n", LEASES[2], 3).await;
    // The owner asks again: nothing is written, and the header is that of now.
    assert_eq!(locked(&client.lock("n", LEASES[0]).await.expect("locked")), ("n/2a".into(), 4));
    assert_eq!(revision(client.unlock(&first.key).await.header), 5);
    assert_eq!(locked(&second.end().await.expect("its turn")), ("n/-2a".into(), 5));
    assert_eq!(revision(client.unlock(&first.key).await.header), 5, "it is gone already");
    client.revoke(LEASES[1]).await;
    assert_eq!(locked(&third.end().await.expect("its turn")), ("n/7fffffffffffffff".into(), 6));
    assert_eq!(client.below("n/").await, Vec::from_iter(key("n/7fffffffffffffff", "", LEASES[2], 4, 4, 1)));
    let nameless = client.lock("", LEASES[0]).await.expect("locked");
    assert_eq!(locked(&nameless), ("/2a".into(), 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn elections_are_answered_with_the_revision_of_what_was_asked_for() {
    let (_cluster, client) = with_leases().await;
    let mut elections = client.elections();
    let first = client.campaign("e", LEASES[0], "one").await.expect("elected");
    assert_eq!(elected(&first), ("e".into(), "e/2a".into(), 2, LEASES[0], 2));
    let second = client.runs("e", LEASES[1], "two", 2).await;
    // A leader that runs again: with the same value nothing is written, with another one it proclaims that.
    let again = client.campaign("e", LEASES[0], "one").await.expect("elected");
    assert_eq!(elected(&again), ("e".into(), "e/2a".into(), 2, LEASES[0], 3));
    let again = client.campaign("e", LEASES[0], "uno").await.expect("elected");
    assert_eq!(elected(&again), ("e".into(), "e/2a".into(), 2, LEASES[0], 3));

    let leader = first.leader.expect("a leader");
    let proclaim = election::ProclaimRequest { leader: Some(leader.clone()), value: "eins".into() };
    let proclaimed = elections.proclaim(proclaim).await.expect("it leads").into_inner();
    assert_eq!(revision(proclaimed.header), 5);
    let named = election::LeaderRequest { name: "e".into() };
    let told = elections.leader(named.clone()).await.expect("somebody leads").into_inner();
    assert_eq!((told.kv, revision(told.header)), (key("e/2a", "eins", LEASES[0], 2, 5, 3), 5));
    let mut observer = elections.observe(named.clone()).await.expect("a stream").into_inner();
    let told = observer.message().await.expect("no error").expect("somebody leads");
    assert_eq!((told.kv, revision(told.header)), (key("e/2a", "eins", LEASES[0], 2, 5, 3), 5));
    let lease_of_its_own = election::LeaderKey { lease: 0, ..leader.clone() };
    let proclaim = election::ProclaimRequest { leader: Some(lease_of_its_own), value: "un".into() };
    let proclaimed = elections.proclaim(proclaim).await.expect("it leads").into_inner();
    assert_eq!(revision(proclaimed.header), 6);
    let told = observer.message().await.expect("no error").expect("it said something");
    let kv = told.kv.expect("a key");
    assert_eq!((&kv.value[..], kv.version, revision(told.header)), (&b"un"[..], 4, 6));
    assert!(!LEASES.contains(&kv.lease) && kv.lease > 0, "{kv:?}");

    let resign = election::ResignRequest { leader: Some(leader) };
    assert_eq!(revision(elections.resign(resign.clone()).await.expect("resigned").into_inner().header), 7);
    assert_eq!(revision(elections.resign(resign).await.expect("all is well").into_inner().header), 7);
    let second = second.end().await.expect("its turn");
    assert_eq!(elected(&second), ("e".into(), "e/-2a".into(), 3, LEASES[1], 3), "the header is that of its entry");
    let told = observer.message().await.expect("no error").expect("somebody leads");
    assert_eq!((told.kv, revision(told.header)), (key("e/-2a", "two", LEASES[1], 3, 3, 1), 7));
}
