//! Callers, leases and members that go away while somebody waits.

use std::time::{Duration, Instant};

use detcd_core::proto::{v3electionpb as election, v3lockpb as lock};
use tonic::Code;

use super::client::{PATIENCE, three_members};

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_while_it_waits_leaves_no_key() {
    let (_cluster, clients) = three_members().await;
    let leases = [clients[0].grant(60).await, clients[1].grant(60).await, clients[2].grant(60).await];
    let first = clients[0].lock("n", leases[0]).await.expect("nobody is before it");
    let second = clients[1].waits("n", leases[1], 2).await;
    let third = clients[2].waits("n", leases[2], 3).await;
    let own = clients[0].waits("n", 0, 4).await;
    second.leave();
    let left = clients[0].wait_for(3, "n/").await;
    assert!(left.iter().all(|kv| kv.lease != leases[1]), "{left:?}");
    own.leave();
    clients[0].wait_for(2, "n/").await;
    clients[1].unlock(&first.key).await;
    third.end().await.expect("its turn");

    let candidate = clients[0].campaign("e", leases[0], "one").await.expect("nobody is before it").leader;
    clients[1].runs("e", leases[1], "two", 2).await.leave();
    let left = clients[0].wait_for(1, "e/").await;
    assert_eq!(Some(&left[0].key), candidate.as_ref().map(|leader| &leader.key));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_that_passes_ends_the_wait_and_leaves_no_key() {
    let (_cluster, clients) = three_members().await;
    let leases = [clients[0].grant(60).await, clients[1].grant(60).await];
    clients[0].lock("n", leases[0]).await.expect("nobody is before it");
    let mut request = tonic::Request::new(lock::LockRequest { name: "n".into(), lease: leases[1] });
    request.metadata_mut().insert("grpc-timeout", "700m".parse().expect("ASCII"));
    let begin = Instant::now();
    let error = clients[1].locks().lock(request).await.expect_err("somebody is before it");
    // The client's own library keeps the limit, too, and says so in its own words if it is the first.
    assert!(matches!(error.code(), Code::DeadlineExceeded | Code::Cancelled), "{error:?}");
    assert!(begin.elapsed() >= Duration::from_millis(700));
    let left = clients[1].wait_for(1, "n/").await;
    assert_eq!(left[0].lease, leases[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_ends_while_it_waits_ends_the_wait() {
    let (_cluster, clients) = three_members().await;
    let owner = clients[0].grant(60).await;
    clients[0].lock("n", owner).await.expect("nobody is before it");
    clients[0].campaign("e", owner, "one").await.expect("nobody is before it");
    // Revoked, or ended by itself.
    for ttl in [60, 2] {
        let lease = clients[1].grant(ttl).await;
        let waiting = clients[1].waits("n", lease, 2).await;
        let candidate = clients[2].runs("e", lease, "two", 2).await;
        if ttl == 60 {
            clients[2].revoke(lease).await;
        }
        let error = waiting.end().await.expect_err("its lease is dead");
        assert_eq!((error.code(), error.message()), (Code::Unknown, "mutex: session is expired"), "{ttl}");
        let error = candidate.end().await.expect_err("its lease is dead");
        assert_eq!((error.code(), error.message()), (Code::Unknown, "election: not leader"), "{ttl}");
        assert_eq!(clients[0].below("n/").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_whose_lease_ends_is_followed() {
    let (_cluster, clients) = three_members().await;
    let leases = [clients[0].grant(2).await, clients[1].grant(60).await];
    clients[0].lock("n", leases[0]).await.expect("nobody is before it");
    let second = clients[1].waits("n", leases[1], 2).await;
    let done = second.end().await.expect("its turn");
    assert_eq!(done.key, format!("n/{:x}", leases[1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_stops_says_so_to_all_who_wait_there_and_others_wait_on() {
    let (mut cluster, clients) = three_members().await;
    let leases = [clients[0].grant(60).await, clients[1].grant(60).await, clients[2].grant(60).await];
    let first = clients[0].lock("n", leases[0]).await.expect("nobody is before it");
    clients[0].campaign("e", leases[0], "one").await.expect("nobody is before it");
    let waiting = clients[1].waits("n", leases[1], 2).await;
    let candidate = clients[1].runs("e", leases[1], "two", 2).await;
    let third = clients[2].waits("n", leases[2], 3).await;
    let observe = election::LeaderRequest { name: "e".into() };
    let mut observer = clients[1].elections().observe(observe).await.expect("a stream").into_inner();
    observer.message().await.expect("no error").expect("somebody leads");
    let begin = Instant::now();
    cluster.terminate(1).expect("it stops");
    assert!(begin.elapsed() < PATIENCE);
    let stopped = (Code::Unavailable, "etcdserver: server stopped");
    let error = waiting.end().await.expect_err("the member has stopped");
    assert_eq!((error.code(), error.message()), stopped);
    let error = candidate.end().await.expect_err("the member has stopped");
    assert_eq!((error.code(), error.message()), stopped);
    let error = observer.message().await.expect_err("the member has stopped");
    assert_eq!((error.code(), error.message()), stopped);
    // Whether the member could still take its clients' keys back depends on how fast it was.
    clients[0].revoke(leases[1]).await;
    clients[0].unlock(&first.key).await;
    third.end().await.expect("its turn");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lock_goes_on_while_a_member_is_dead() {
    let (mut cluster, clients) = three_members().await;
    let leases = [clients[0].grant(60).await, clients[1].grant(60).await];
    let first = clients[0].lock("n", leases[0]).await.expect("nobody is before it");
    let second = clients[1].waits("n", leases[1], 2).await;
    cluster.kill(2);
    clients[0].unlock(&first.key).await;
    second.end().await.expect("its turn");
}

/// How many threads a member has; `None` where the system does not say.
fn threads(cluster: &detcd_tests::cluster::Cluster, member: usize) -> Option<usize> {
    let pid = cluster.members()[member].pid().expect("it runs");
    Some(std::fs::read_dir(format!("/proc/{pid}/task")).ok()?.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_may_wait_without_a_thread_each_and_go_away_all_at_once() {
    const WAITING: usize = 500;
    let (cluster, clients) = three_members().await;
    let lease = clients[0].grant(60).await;
    clients[0].lock("n", lease).await.expect("nobody is before it");
    // Looking around, each reads a range once; those threads stay for a while, and they are few.
    const THREADS_MORE_MAX: usize = WAITING / 10;
    let before = threads(&cluster, 1);
    let client = clients[1].clone();
    let mut waiting = Vec::new();
    for _ in 0..WAITING {
        let client = client.clone();
        waiting.push(tokio::spawn(async move { client.lock("n", 0).await }));
    }
    clients[0].wait_for(1 + WAITING, "n/").await;
    if let (Some(before), Some(now)) = (before, threads(&cluster, 1)) {
        assert!(now <= before + THREADS_MORE_MAX, "{before} threads became {now}");
    }
    assert!(waiting.iter().all(|call| !call.is_finished()));
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    let left = clients[0].wait_for(1, "n/").await;
    assert_eq!(left[0].lease, lease);
}
