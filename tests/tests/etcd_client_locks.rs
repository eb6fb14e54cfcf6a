//! Locks and elections by the crate `etcd-client`, on three real members.

use std::time::Duration;

use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;
use etcd_client::{Client, Error, LeaderKey, LockOptions, ProclaimOptions, ResignOptions};

/// How long anything may take that does happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for what must not happen.
const QUIET: Duration = Duration::from_millis(300);

async fn three_members() -> (Cluster, Client) {
    let cluster = Cluster::start(&ClusterOptions::three(launch::detcd())).expect("three members come up");
    let client = Client::connect(cluster.endpoints(), None).await.expect("they serve");
    (cluster, client)
}

async fn grant(client: &mut Client) -> i64 {
    client.lease_grant(60, None).await.expect("a lease").id()
}

/// What the server said, word for word.
fn refusal<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::GRpcStatus(status)) => status.message().to_owned(),
        other => panic!("a refusal is expected: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_taken_waited_for_and_given_back() {
    let (_cluster, mut client) = three_members().await;
    let leases = [grant(&mut client).await, grant(&mut client).await];
    let options = |lease| Some(LockOptions::new().with_lease(lease));
    let first = client.lock("n", options(leases[0])).await.expect("nobody is before it");
    assert_eq!(first.key(), format!("n/{:x}", leases[0]).as_bytes());
    assert!(first.header().expect("a header").revision() > 1);
    let mut other = client.clone();
    let mut second = tokio::spawn(async move { other.lock("n", options(leases[1])).await });
    assert!(tokio::time::timeout(QUIET, &mut second).await.is_err(), "somebody is before it");
    let unlocked = client.unlock(first.key()).await.expect("unlocked");
    let second = tokio::time::timeout(PATIENCE, second).await.expect("in time").expect("no panic").expect("its turn");
    assert!(second.header().expect("a header").revision() >= unlocked.header().expect("a header").revision());
    client.unlock(second.key()).await.expect("unlocked");
    let own = client.lock("n", None).await.expect("nobody is before it");
    assert!(client.get(own.key(), None).await.expect("a get").kvs()[0].lease() != 0);
    assert_eq!(refusal(client.lock("m", options(12_345)).await), "etcdserver: requested lease not found");
    assert_eq!(refusal(client.unlock("").await), "etcdserver: key is not provided");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_election_is_won_proclaimed_observed_and_resigned() {
    let (_cluster, mut client) = three_members().await;
    let leases = [grant(&mut client).await, grant(&mut client).await];
    assert_eq!(refusal(client.leader("e").await), "election: no leader");
    let first = client.campaign("e", "one", leases[0]).await.expect("nobody is before it");
    let leader: LeaderKey = first.leader().expect("a leader").clone();
    assert_eq!((leader.name(), leader.lease()), (&b"e"[..], leases[0]));
    assert_eq!(leader.key(), format!("e/{:x}", leases[0]).as_bytes());
    let mut observer = client.observe("e").await.expect("a stream");
    let told = observer.message().await.expect("no error").expect("somebody leads");
    assert_eq!(told.kv().expect("a key").value(), b"one");

    let mut other = client.clone();
    let mut second = tokio::spawn(async move { other.campaign("e", "two", leases[1]).await });
    assert!(tokio::time::timeout(QUIET, &mut second).await.is_err(), "somebody leads");
    let as_leader = || Some(ProclaimOptions::new().with_leader(leader.clone()));
    client.proclaim("uno", as_leader()).await.expect("it leads");
    let told = client.leader("e").await.expect("somebody leads");
    assert_eq!(
        (told.kv().expect("a key").value(), told.kv().expect("a key").create_revision()),
        (&b"uno"[..], leader.rev())
    );
    let told = observer.message().await.expect("no error").expect("it said something");
    assert_eq!(told.kv().expect("a key").value(), b"uno");

    client.resign(Some(ResignOptions::new().with_leader(leader.clone()))).await.expect("resigned");
    let second = tokio::time::timeout(PATIENCE, second).await.expect("in time").expect("no panic").expect("its turn");
    assert_eq!(second.leader().expect("a leader").lease(), leases[1]);
    let told = tokio::time::timeout(PATIENCE, observer.message()).await.expect("in time");
    let told = told.expect("no error").expect("somebody leads");
    assert_eq!(told.kv().expect("a key").key(), second.leader().expect("a leader").key());
    assert_eq!(refusal(client.proclaim("eins", as_leader()).await), "election: not leader");
    let missing = r#""leader" field must be provided"#;
    assert_eq!(refusal(client.proclaim("x", None).await), missing);
    assert_eq!(refusal(client.resign(None).await), missing);
}
