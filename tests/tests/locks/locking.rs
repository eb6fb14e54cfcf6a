//! Locks: one owner at a time, in the order in which they came.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;

use super::client::{PATIENCE, three_members};

#[tokio::test(flavor = "multi_thread")]
async fn contenders_on_different_members_get_the_lock_one_after_the_other() {
    let (_cluster, clients) = three_members().await;
    let leases = [clients[0].grant(60).await, clients[1].grant(60).await, clients[2].grant(60).await];
    let first = clients[0].lock("n", leases[0]).await.expect("nobody is before it");
    assert_eq!(first.key, format!("n/{:x}", leases[0]));
    let mut second = clients[1].waits("n", leases[1], 2).await;
    let mut third = clients[2].waits("n", leases[2], 3).await;
    second.waits_on().await;
    assert!(!third.is_over());
    // The owner asks again, through another member.
    let again = clients[2].lock("n", leases[0]).await.expect("it has the lock");
    assert_eq!(again.key, first.key);

    let unlocked = clients[0].unlock(&first.key).await.header.expect("a header").revision;
    let done = second.end().await.expect("its turn");
    assert_eq!(done.key, format!("n/{:x}", leases[1]));
    assert!(done.header.expect("a header").revision >= unlocked);
    third.waits_on().await;
    clients[0].unlock(&done.key).await;
    let done = third.end().await.expect("its turn");
    let keys = clients[0].below("n/").await;
    assert_eq!(keys.iter().map(|kv| &kv.key).collect::<Vec<_>>(), [&done.key]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_without_a_lease_gets_one_of_a_minute() {
    let (_cluster, clients) = three_members().await;
    let done = clients[0].lock("n", 0).await.expect("nobody is before it");
    let lease = clients[1].below("n/").await[0].lease;
    assert_eq!(done.key, format!("n/{lease:x}"));
    let request = pb::LeaseTimeToLiveRequest { id: lease, keys: true };
    let told = clients[0].leases().lease_time_to_live(request).await.expect("it lives").into_inner();
    assert_eq!((told.granted_ttl, told.keys), (60, vec![done.key]));
}

/// Each owner reads a number, thinks, and writes the next one: only if owners exclude each other is it right at last.
#[tokio::test(flavor = "multi_thread")]
async fn what_owners_do_is_never_mixed() {
    const WORKERS: usize = 6;
    const ROUNDS: usize = 5;
    let (_cluster, clients) = three_members().await;
    let inside = Arc::new(AtomicU32::new(0));
    let number = Bytes::from_static(b"number");
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (client, inside, number) = (clients[worker % clients.len()].clone(), Arc::clone(&inside), number.clone());
        workers.push(tokio::spawn(async move {
            let lease = client.grant(60).await;
            for _ in 0..ROUNDS {
                let done = client.lock("n", lease).await.expect("its turn");
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two owners");
                let range = pb::RangeRequest { key: number.clone(), ..Default::default() };
                let found = client.kv().range(range).await.expect("a range").into_inner();
                let before: u64 =
                    found.kvs.first().map_or(0, |kv| String::from_utf8_lossy(&kv.value).parse().expect("one"));
                tokio::time::sleep(Duration::from_millis(2)).await;
                let value = Bytes::from((before + 1).to_string());
                let put = pb::PutRequest { key: number.clone(), value, ..Default::default() };
                client.kv().put(put).await.expect("a put");
                assert_eq!(inside.fetch_sub(1, Ordering::SeqCst), 1, "two owners");
                client.unlock(&done.key).await;
            }
        }));
    }
    for worker in workers {
        tokio::time::timeout(3 * PATIENCE, worker).await.expect("in time").expect("no panic");
    }
    let found = clients[0].below("number").await;
    assert_eq!(found[0].value, (WORKERS * ROUNDS).to_string());
    assert_eq!(clients[0].below("n/").await, []);
}
