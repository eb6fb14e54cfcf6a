//! Three members, and clients of each.

use std::time::{Duration, Instant};

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::KeyValue;
use detcd_core::proto::{v3electionpb as election, v3lockpb as lock};
use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;
use detcd_tests::rpc::election_client::ElectionClient;
use detcd_tests::rpc::kv_client::KvClient;
use detcd_tests::rpc::lease_client::LeaseClient;
use detcd_tests::rpc::lock_client::LockClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

/// How long anything may take that does happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for what must not happen.
pub const QUIET: Duration = Duration::from_millis(300);

/// Three fresh members, and a connection to each.
pub async fn three_members() -> (Cluster, Vec<Client>) {
    let cluster = Cluster::start(&ClusterOptions::three(launch::detcd())).expect("three members come up");
    let mut clients = Vec::new();
    for url in cluster.endpoints() {
        clients.push(Client(Channel::from_shared(url).expect("a URL").connect().await.expect("it listens")));
    }
    (cluster, clients)
}

/// A connection to one member.
#[derive(Clone)]
pub struct Client(pub Channel);

/// Asks until the cluster is able to answer: on a busy machine a leader may lose its office at any time. What these
/// services pass on of that has no code. No function of a closure, so that what it asks may be asked on any thread.
macro_rules! insist {
    ($what:literal, $ask:expr) => {{
        let begin = Instant::now();
        loop {
            match $ask.await {
                Ok(answer) => break answer,
                Err(why) => assert!(matches!(why.code(), Code::Unavailable | Code::Unknown), "{}: {why:?}", $what),
            }
            assert!(begin.elapsed() < PATIENCE, "no answer in time: {}", $what);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }};
}

impl Client {
    pub fn locks(&self) -> LockClient<Channel> {
        LockClient::new(self.0.clone())
    }

    pub fn elections(&self) -> ElectionClient<Channel> {
        ElectionClient::new(self.0.clone())
    }

    pub fn kv(&self) -> KvClient<Channel> {
        KvClient::new(self.0.clone())
    }

    pub fn leases(&self) -> LeaseClient<Channel> {
        LeaseClient::new(self.0.clone())
    }

    /// A lease that nobody keeps alive.
    pub async fn grant(&self, ttl: i64) -> i64 {
        let grant = pb::LeaseGrantRequest { ttl, id: 0 };
        insist!("a lease", self.leases().lease_grant(grant)).into_inner().id
    }

    pub async fn revoke(&self, id: i64) {
        let revoke = pb::LeaseRevokeRequest { id };
        insist!("a revocation", self.leases().lease_revoke(revoke));
    }

    /// Everything below a prefix, in the order of creation.
    pub async fn below(&self, prefix: &str) -> Vec<KeyValue> {
        let (key, mut end) = (Bytes::from(prefix.to_owned()), prefix.as_bytes().to_vec());
        *end.last_mut().expect("a prefix") += 1;
        let range = pb::RangeRequest { key, range_end: end.into(), ..Default::default() };
        let found = insist!("a range", self.kv().range(range.clone()));
        let mut kvs = found.into_inner().kvs;
        kvs.sort_by_key(|kv| kv.create_revision);
        kvs
    }

    /// Waits until so many keys are below a prefix.
    pub async fn wait_for(&self, count: usize, prefix: &str) -> Vec<KeyValue> {
        let begin = Instant::now();
        loop {
            let kvs = self.below(prefix).await;
            if kvs.len() == count {
                return kvs;
            }
            assert!(begin.elapsed() < PATIENCE, "not {count} keys below {prefix} in time but {}", kvs.len());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn lock(&self, name: &str, lease: i64) -> Result<lock::LockResponse, Status> {
        let request = lock::LockRequest { name: Bytes::from(name.to_owned()), lease };
        self.locks().lock(request).await.map(tonic::Response::into_inner)
    }

    /// Begins to wait for a lock, and says so once its key is there: the `count`th of those who want it.
    pub async fn waits(&self, name: &str, lease: i64, count: usize) -> Waiting<lock::LockResponse> {
        let (client, name) = (self.clone(), name.to_owned());
        let prefix = format!("{name}/");
        let waiting = Waiting(tokio::spawn(async move { client.lock(&name, lease).await }));
        self.wait_for(count, &prefix).await;
        waiting
    }

    pub async fn unlock(&self, key: &Bytes) -> lock::UnlockResponse {
        let request = lock::UnlockRequest { key: key.clone() };
        insist!("an unlock", self.locks().unlock(request.clone())).into_inner()
    }

    pub async fn campaign(&self, name: &str, lease: i64, value: &str) -> Result<election::CampaignResponse, Status> {
        let (name, value) = (Bytes::from(name.to_owned()), Bytes::from(value.to_owned()));
        let request = election::CampaignRequest { name, lease, value };
        self.elections().campaign(request).await.map(tonic::Response::into_inner)
    }

    /// Begins to run for an election, and says so once its key is there: the `count`th candidate.
    pub async fn runs(&self, name: &str, lease: i64, value: &str, count: usize) -> Waiting<election::CampaignResponse> {
        let (client, name, value) = (self.clone(), name.to_owned(), value.to_owned());
        let prefix = format!("{name}/");
        let waiting = Waiting(tokio::spawn(async move { client.campaign(&name, lease, &value).await }));
        self.wait_for(count, &prefix).await;
        waiting
    }
}

/// A call that is under way.
pub struct Waiting<T>(tokio::task::JoinHandle<Result<T, Status>>);

impl<T> Waiting<T> {
    /// Its end, which comes in time.
    pub async fn end(self) -> Result<T, Status> {
        tokio::time::timeout(PATIENCE, self.0).await.expect("it ends in time").expect("no panic")
    }

    /// It does not end.
    pub async fn waits_on(&mut self) {
        assert!(tokio::time::timeout(QUIET, &mut self.0).await.is_err(), "it ended");
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.0.is_finished()
    }

    /// Its caller goes away.
    pub fn leave(self) {
        self.0.abort();
    }
}
