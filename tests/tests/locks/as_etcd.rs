//! The leases of calls to the Lock and Election services, and what becomes of odd ones (contract, section 1.7): what is
//! expected of detcd is expected of a real etcd, too.
//!
//! That etcd is the one that `DETCD_ETCD_BIN` names, that `.ci/run packages` has installed, or that is in `PATH`.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::{v3electionpb as election, v3lockpb as lock};
use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::differential::Etcd;
use detcd_tests::launch;
use tonic::{Response, Status};

use super::client::Client;

/// Leases that nobody granted; the last is the one that etcd's own client calls with for those who need none.
const UNKNOWN: [i64; 4] = [12_345, i64::MAX, i64::MIN, -1];

/// What a server says, a line each.
type Told = Vec<(&'static str, String)>;

/// What both say.
const ANSWERS: &[(&str, &str)] = &[
    ("lock without a lease", "at 2"),
    ("its key", "lease 60 s, drawn true, holds it true; named true, b\"\", created 2, version 1"),
    ("its lease", "it passes: true"),
    ("lock again", "at 2, same key true"),
    ("another without a lease", "another lease true"),
    ("its lease is gone", "[]"),
    ("lock on a dead lease", NO_LEASE),
    ("lock on no lease", NO_LEASE),
    ("lock on no lease", NO_LEASE),
    ("lock on no lease", NO_LEASE),
    ("lock on no lease", NO_LEASE),
    ("keys that are left", "[]"),
    ("unlock of nothing", "at 5"),
    ("campaign without a lease", "at 6, office of 6"),
    ("its answer", "b\"e\", its lease true"),
    ("its key", "lease 60 s, drawn true, holds it true; named true, b\"one\", created 6, version 1"),
    ("its lease", "it passes: true"),
    ("campaign again", "at 6, true"),
    ("campaign on no lease", NO_LEASE),
    ("proclaim on no lease", NO_LEASE),
    ("campaign on no lease", NO_LEASE),
    ("proclaim on no lease", NO_LEASE),
    ("campaign on no lease", NO_LEASE),
    ("proclaim on no lease", NO_LEASE),
    ("campaign on no lease", NO_LEASE),
    ("proclaim on no lease", NO_LEASE),
    ("proclaim without a lease", "at 8"),
    ("its key", "another lease true, b\"un\", version 3"),
    ("without its first lease", "1 keys"),
    ("resign of another", "at 8"),
    ("it leads", "1 keys"),
    ("resign on no lease", "at 9"),
    ("resign without a lease", "at 9"),
    ("it has resigned", "[]"),
    ("proclaim afterwards", "Unknown: election: not leader"),
    ("leader", "Unknown: election: no leader"),
];

const NO_LEASE: &str = "Unknown: etcdserver: requested lease not found";

/// One member of `program`, and a connection to it.
async fn one_member(program: PathBuf) -> (Cluster, Client) {
    let cluster =
        Cluster::start(&ClusterOptions { program, members: 1, flags: Vec::new() }).expect("a member comes up");
    let [url] = &cluster.endpoints()[..] else { panic!("one member has one endpoint") };
    let channel =
        tonic::transport::Channel::from_shared(url.clone()).expect("a URL").connect().await.expect("it listens");
    (cluster, Client(channel))
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.expect("a header").revision
}

/// How a call ended: at which revision, or with which error.
fn end<T>(result: Result<Response<T>, Status>, header: impl Fn(T) -> Option<pb::ResponseHeader>) -> String {
    match result {
        Ok(response) => format!("at {}", revision(header(response.into_inner()))),
        Err(why) => format!("{:?}: {}", why.code(), why.message()),
    }
}

fn failure<T>(result: Result<T, Status>) -> String {
    match result {
        Ok(_) => "it succeeded".to_owned(),
        Err(why) => format!("{:?}: {}", why.code(), why.message()),
    }
}

/// The one key below a prefix, with what a lease of its own is granted and keeps, but not which one that is.
async fn key_of_a_drawn_lease(client: &Client, prefix: &str) -> (i64, String) {
    let kvs = client.below(prefix).await;
    let [kv] = &kvs[..] else { panic!("one key below {prefix}, not {kvs:?}") };
    let named = kv.key == format!("{prefix}{:x}", kv.lease);
    let request = pb::LeaseTimeToLiveRequest { id: kv.lease, keys: true };
    let told = client.leases().lease_time_to_live(request).await.expect("it lives").into_inner();
    let (created, version, value) = (kv.create_revision, kv.version, &kv.value);
    let keeps_it = told.keys == [kv.key.clone()];
    let granted = told.granted_ttl;
    let told = format!("lease {granted} s, drawn {}, holds it {keeps_it}; named {named}", kv.lease > 0);
    (kv.lease, format!("{told}, {value:?}, created {created}, version {version}"))
}

/// Whether what remains of a lease of a minute passes, although its lock or its office is held.
async fn passes(client: &Client, lease: i64) -> String {
    let remaining = async || {
        let request = pb::LeaseTimeToLiveRequest { id: lease, keys: false };
        client.leases().lease_time_to_live(request).await.expect("it lives").into_inner().ttl
    };
    let before = remaining().await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    format!("it passes: {}", remaining().await <= before - 2)
}

async fn locks(client: &Client, told: &mut Told) {
    let first = client.lock("n", 0).await.expect("nobody is before it");
    told.push(("lock without a lease", format!("at {}", revision(first.header))));
    let (lease, key) = key_of_a_drawn_lease(client, "n/").await;
    told.push(("its key", key));
    told.push(("its lease", passes(client, lease).await));
    // Whoever knows the lease is the owner.
    let again = client.lock("n", lease).await.expect("it has the lock");
    told.push(("lock again", format!("at {}, same key {}", revision(again.header), again.key == first.key)));
    let second = client.waits("n", 0, 2).await;
    let keys = client.below("n/").await;
    told.push(("another without a lease", format!("another lease {}", keys[0].lease != keys[1].lease)));
    second.leave();
    client.wait_for(1, "n/").await;
    client.revoke(lease).await;
    told.push(("its lease is gone", format!("{:?}", client.below("n/").await)));
    told.push(("lock on a dead lease", failure(client.lock("n", lease).await)));
    for lease in UNKNOWN {
        told.push(("lock on no lease", failure(client.lock("n", lease).await)));
    }
    told.push(("keys that are left", format!("{:?}", client.below("n/").await)));
    let nothing = lock::UnlockRequest { key: "n/1".into() };
    told.push(("unlock of nothing", end(client.locks().unlock(nothing).await, |unlocked| unlocked.header)));
}

async fn elections(client: &Client, told: &mut Told) {
    let mut elections = client.elections();
    let elected = client.campaign("e", 0, "one").await.expect("nobody is before it");
    let leader = elected.leader.expect("a leader");
    let (lease, key) = key_of_a_drawn_lease(client, "e/").await;
    told.push(("campaign without a lease", format!("at {}, office of {}", revision(elected.header), leader.rev)));
    told.push(("its answer", format!("{:?}, its lease {}", leader.name, leader.lease == lease)));
    told.push(("its key", key));
    told.push(("its lease", passes(client, lease).await));
    let again = client.campaign("e", lease, "uno").await.expect("it leads");
    told.push(("campaign again", format!("at {}, {}", revision(again.header), again.leader == Some(leader.clone()))));
    let with = |lease| election::LeaderKey { lease, ..leader.clone() };
    for lease in UNKNOWN {
        told.push(("campaign on no lease", failure(client.campaign("f", lease, "v").await)));
        let proclaim = election::ProclaimRequest { leader: Some(with(lease)), value: "v".into() };
        told.push(("proclaim on no lease", end(elections.proclaim(proclaim).await, |done| done.header)));
    }
    let proclaim = election::ProclaimRequest { leader: Some(with(0)), value: "un".into() };
    told.push(("proclaim without a lease", end(elections.proclaim(proclaim.clone()).await, |done| done.header)));
    let kvs = client.below("e/").await;
    let moved = kvs[0].lease != lease && kvs[0].lease > 0;
    told.push(("its key", format!("another lease {moved}, {:?}, version {}", kvs[0].value, kvs[0].version)));
    client.revoke(lease).await;
    told.push(("without its first lease", format!("{} keys", client.below("e/").await.len())));
    let resign = |leader| election::ResignRequest { leader: Some(leader) };
    let another = election::LeaderKey { rev: leader.rev + 1, ..with(0) };
    told.push(("resign of another", end(elections.resign(resign(another)).await, |done| done.header)));
    told.push(("it leads", format!("{} keys", client.below("e/").await.len())));
    told.push(("resign on no lease", end(elections.resign(resign(with(UNKNOWN[0]))).await, |done| done.header)));
    told.push(("resign without a lease", end(elections.resign(resign(with(0))).await, |done| done.header)));
    told.push(("it has resigned", format!("{:?}", client.below("e/").await)));
    told.push(("proclaim afterwards", end(elections.proclaim(proclaim).await, |done| done.header)));
    let nobody = election::LeaderRequest { name: Bytes::from_static(b"e") };
    told.push(("leader", failure(elections.leader(nobody).await)));
}

async fn told_by(program: PathBuf) -> Told {
    let (_cluster, client) = one_member(program).await;
    let mut told = Told::new();
    locks(&client, &mut told).await;
    elections(&client, &mut told).await;
    told
}

fn expect(told: &Told) {
    for ((what, told), (expected, answer)) in told.iter().zip(ANSWERS) {
        assert_eq!((what, &told[..]), (expected, *answer));
    }
    assert_eq!(told.len(), ANSWERS.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_without_a_lease_or_with_an_unknown_one_are_answered_as_by_etcd() {
    expect(&told_by(launch::detcd()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn etcd_answers_them_so() {
    let Some(etcd) = Etcd::find().unwrap_or_else(|line| panic!("{line}")) else {
        eprintln!("SKIPPED: no etcd to compare with (DETCD_ETCD_BIN names one, .ci/run packages installs one)");
        return;
    };
    expect(&told_by(etcd.program).await);
}
