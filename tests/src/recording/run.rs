//! One recorded run: clients, watchers and faults together, until enough has happened.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use detcd_core::api::Response;
use detcd_sim::history::ClientId;
use tokio::task::JoinSet;

use super::client::RecordedClient;
use super::etcdctl::Etcdctl;
use super::nemesis::{Death, Done, standing, strike};
use super::watcher::Watching;
use super::workload::everything;
use super::{ETCDCTL_CLIENTS, Recorder, TimedHistory};
use crate::cluster::{Cluster, ClusterError};

/// The client that reads everything once more.
const LAST_CLIENT: u32 = 1_000;

/// Of so many faults one comes later: a new leader gives all leases their whole time again, and with a new leader
/// every few seconds none would ever end by itself.
const LONG_CALM_EVERY: u64 = 8;
/// Which one.
const LONG_CALM_AT: u64 = 2;
/// How much later.
const LONG_CALM_FACTOR: u32 = 6;

/// What a run has to contain; it ends when it does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Draws the operations and some of the faults.
    pub seed: u64,
    /// How many clients of the crate `etcd-client` work at once.
    pub clients: u32,
    /// The program etcdctl, and how many of it work at once, beside one that watches.
    pub etcdctl: Option<(PathBuf, u32)>,
    /// It lasts at least this long.
    pub at_least: Duration,
    /// It has at least this many kills.
    pub kills: u64,
    /// It has at least this many acknowledged writes.
    pub writes: u64,
    /// It ends here even if that is missing.
    pub at_most: Duration,
    /// How long the cluster is left alone between two faults; now and then longer, so that leases end.
    pub calm: Duration,
}

/// What a run was.
#[derive(Debug)]
pub struct RealRun {
    /// What clients did and saw.
    pub history: TimedHistory,
    /// How long the load lasted.
    pub elapsed: Duration,
    /// The ids of the members by their place, as headers show them.
    pub member_ids: Vec<u64>,
    /// Writes that were acknowledged to `etcd-client`.
    pub writes_of_etcd_client: u64,
    /// Writes that were acknowledged to `etcdctl`.
    pub writes_of_etcdctl: u64,
    /// Processes that were killed.
    pub deaths: Vec<Death>,
    /// Members that were paused.
    pub pauses: u64,
    /// Times that all members were down at once.
    pub blackouts: u64,
    /// The newest revision at the end.
    pub revision: i64,
}

/// Runs clients and faults against `cluster`, which has to be empty and all up, as `plan` says.
///
/// # Errors
/// A member does not come back.
///
/// # Panics
/// The cluster does not answer a minute after the last fault, or the witness does not catch up with it: that is a
/// violation of its own.
pub fn run(cluster: &mut Cluster, plan: &Plan) -> Result<RealRun, ClusterError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a machine that runs clusters has threads").block_on(drive(cluster, plan))
}

/// What all clients of a run share.
struct Load {
    endpoints: Vec<String>,
    recorder: Arc<Recorder>,
    /// Set when clients have to stop.
    stop: Arc<AtomicBool>,
    /// Set when watchers have to stop too.
    over: Arc<AtomicBool>,
    /// The newest revision that the witness has told of.
    told: Arc<AtomicI64>,
    /// Acknowledged to `etcd-client`.
    writes: Arc<AtomicU64>,
    /// Acknowledged to `etcdctl`.
    writes_of_etcdctl: Arc<AtomicU64>,
}

impl RealRun {
    /// Writes that were acknowledged to anybody.
    pub fn acknowledged_writes(&self) -> u64 {
        self.writes_of_etcd_client + self.writes_of_etcdctl
    }

    /// Processes that were killed.
    pub fn kills(&self) -> u64 {
        u64::try_from(self.deaths.len()).expect("few kills")
    }
}

impl Load {
    fn new(endpoints: Vec<String>) -> Load {
        Load {
            endpoints,
            recorder: Arc::default(),
            stop: Arc::default(),
            over: Arc::default(),
            told: Arc::new(AtomicI64::new(1)),
            writes: Arc::default(),
            writes_of_etcdctl: Arc::default(),
        }
    }

    fn acknowledged_writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire) + self.writes_of_etcdctl.load(Ordering::Acquire)
    }

    fn client(&self, id: u32) -> RecordedClient {
        RecordedClient::new(ClientId(id), self.endpoints.clone(), self.recorder.clone(), self.told.clone())
    }

    /// The witness, and ordinary watchers.
    fn watchers(&self, plan: &Plan) -> JoinSet<()> {
        let watching = Watching {
            endpoints: self.endpoints.clone(),
            recorder: self.recorder.clone(),
            over: self.over.clone(),
            told: self.told.clone(),
        };
        let mut watchers = JoinSet::new();
        watchers.spawn(watching.clone().witness());
        let ranges = [("k/0000", "k/0100"), ("k/01", "k/02"), ("k/0250", "k/0251"), ("k/", "k0")];
        for (client, (key, range_end)) in (plan.clients..).zip(ranges) {
            watchers.spawn(watching.clone().follow(ClientId(client), key, range_end));
        }
        watchers
    }

    fn clients(&self, plan: &Plan) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for id in 0..plan.clients {
            clients.spawn(work(self.client(id), plan.seed, self.stop.clone(), self.writes.clone()));
        }
        clients
    }

    /// The threads of etcdctl: those that work, and the one that watches.
    fn etcdctl(&self, plan: &Plan) -> (Vec<JoinHandle<()>>, Option<JoinHandle<()>>) {
        let Some((program, clients)) = &plan.etcdctl else { return (Vec::new(), None) };
        let etcdctl = |client: u32| Etcdctl {
            program: program.clone(),
            endpoints: self.endpoints.clone(),
            id: ClientId(ETCDCTL_CLIENTS.start + client),
            recorder: self.recorder.clone(),
        };
        let work = |client: u32| {
            let etcdctl = etcdctl(client);
            let (seed, stop, writes) = (plan.seed, self.stop.clone(), self.writes_of_etcdctl.clone());
            std::thread::spawn(move || etcdctl.work(seed, &stop, &writes))
        };
        let (watcher, over) = (etcdctl(*clients), self.over.clone());
        let watcher = std::thread::spawn(move || watcher.watch(&over));
        ((0..*clients).map(work).collect(), Some(watcher))
    }
}

async fn drive(cluster: &mut Cluster, plan: &Plan) -> Result<RealRun, ClusterError> {
    let load = Load::new(cluster.endpoints());
    let member_ids = member_ids(&load.endpoints).await;
    let watchers = load.watchers(plan);
    let clients = load.clients(plan);
    let (etcdctl_clients, etcdctl_watcher) = load.etcdctl(plan);
    let begin = Instant::now();
    let done = torment(cluster, plan, begin, &load).await;
    load.stop.store(true, Ordering::Release);
    clients.join_all().await;
    join(etcdctl_clients).await;
    let elapsed = begin.elapsed();
    let done = done?;
    let revision = settle(&load).await;
    wait_for_witness(&load.told, revision).await;
    load.over.store(true, Ordering::Release);
    watchers.join_all().await;
    join(etcdctl_watcher).await;
    let (writes, writes_of_etcdctl) = (load.writes.clone(), load.writes_of_etcdctl.clone());
    let recorder = Arc::into_inner(load.recorder).expect("all clients are gone");
    Ok(RealRun {
        history: recorder.into_history(),
        elapsed,
        member_ids,
        writes_of_etcd_client: writes.load(Ordering::Acquire),
        writes_of_etcdctl: writes_of_etcdctl.load(Ordering::Acquire),
        deaths: done.deaths,
        pauses: done.pauses,
        blackouts: done.blackouts,
        revision,
    })
}

/// Waits for threads that were told to end.
async fn join(threads: impl IntoIterator<Item = JoinHandle<()>> + Send + 'static) {
    let joined = tokio::task::spawn_blocking(|| {
        for thread in threads {
            thread.join().expect("a client does not panic");
        }
    });
    joined.await.expect("the thread above does not panic");
}

/// The ids of the members, in order.
async fn member_ids(endpoints: &[String]) -> Vec<u64> {
    let begin = Instant::now();
    let mut ids = Vec::new();
    for endpoint in endpoints {
        ids.push(loop {
            if let Some((id, _leader)) = standing(endpoint).await {
                break id;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{endpoint} does not say who it is");
        });
    }
    ids
}

async fn work(mut client: RecordedClient, seed: u64, stop: Arc<AtomicBool>, writes: Arc<AtomicU64>) {
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            return;
        }
        let before = client.acknowledged_writes();
        let answered = client.step(seed, number).await;
        writes.fetch_add(client.acknowledged_writes() - before, Ordering::AcqRel);
        if !answered {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Strikes until the plan is fulfilled or its time is over.
async fn torment(cluster: &mut Cluster, plan: &Plan, begin: Instant, load: &Load) -> Result<Done, ClusterError> {
    let mut done = Done::default();
    for number in 0.. {
        let calm = if number % LONG_CALM_EVERY == LONG_CALM_AT { plan.calm * LONG_CALM_FACTOR } else { plan.calm };
        tokio::time::sleep(calm).await;
        let fulfilled =
            begin.elapsed() >= plan.at_least && done.kills() >= plan.kills && load.acknowledged_writes() >= plan.writes;
        if fulfilled || begin.elapsed() >= plan.at_most {
            return Ok(done);
        }
        strike(cluster, &load.recorder, plan.seed, number, &mut done).await?;
    }
    unreachable!("the loop ends by returning")
}

/// Reads everything once more, and gives the newest revision.
async fn settle(load: &Load) -> i64 {
    let begin = Instant::now();
    let mut client = load.client(LAST_CLIENT);
    loop {
        if let Some(Response::Range(range)) = client.perform(&everything()).await {
            return range.header.expect("every response has a header").revision;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "no answer within a minute after the last fault");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn wait_for_witness(told: &AtomicI64, revision: i64) {
    let begin = Instant::now();
    while told.load(Ordering::Acquire) < revision {
        let late = begin.elapsed() > Duration::from_secs(60);
        assert!(!late, "a watcher got to {} of {revision} within a minute", told.load(Ordering::Acquire));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
