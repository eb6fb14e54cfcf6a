//! One recorded run: clients, watchers and faults together, until enough has happened.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use detcd_core::api::Response;
use detcd_sim::history::ClientId;
use tokio::task::JoinSet;

use super::client::RecordedClient;
use super::nemesis::{Done, strike};
use super::watcher::Watching;
use super::workload::everything;
use super::{Recorder, TimedHistory};
use crate::cluster::{Cluster, ClusterError};

/// What a run has to contain; it ends when it does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Draws the operations and some of the faults.
    pub seed: u64,
    /// How many clients work at once.
    pub clients: u32,
    /// It lasts at least this long.
    pub at_least: Duration,
    /// It has at least this many kills.
    pub kills: u64,
    /// It has at least this many acknowledged writes.
    pub writes: u64,
    /// It ends here even if that is missing.
    pub at_most: Duration,
    /// How long the cluster is left alone between two faults.
    pub calm: Duration,
}

/// What a run was.
#[derive(Debug)]
pub struct RealRun {
    /// What clients did and saw.
    pub history: TimedHistory,
    /// How long the load lasted.
    pub elapsed: Duration,
    /// Writes that were acknowledged.
    pub acknowledged_writes: u64,
    /// Processes that were killed.
    pub kills: u64,
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

async fn drive(cluster: &mut Cluster, plan: &Plan) -> Result<RealRun, ClusterError> {
    let recorder = Arc::new(Recorder::default());
    let over = Arc::new(AtomicBool::new(false));
    let stop = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicU64::new(0));
    let told = Arc::new(AtomicI64::new(1));
    let endpoints = cluster.endpoints();
    let watching =
        Watching { endpoints: endpoints.clone(), recorder: recorder.clone(), over: over.clone(), told: told.clone() };
    let mut watchers = JoinSet::new();
    watchers.spawn(watching.clone().witness());
    for (number, (key, range_end)) in
        [("k/0000", "k/0100"), ("k/01", "k/02"), ("k/0250", "k/0251"), ("k/", "k0")].into_iter().enumerate()
    {
        let client = ClientId(plan.clients + u32::try_from(number).expect("few watchers"));
        watchers.spawn(watching.clone().follow(client, key, range_end));
    }
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        let client = RecordedClient::new(ClientId(number), endpoints.clone(), recorder.clone());
        clients.spawn(work(client, plan.seed, stop.clone(), writes.clone()));
    }
    let begin = Instant::now();
    let done = torment(cluster, plan, begin, &writes).await;
    stop.store(true, Ordering::Release);
    clients.join_all().await;
    let elapsed = begin.elapsed();
    let done = done?;
    let revision = settle(&endpoints, &recorder, plan).await;
    wait_for_witness(&told, revision).await;
    over.store(true, Ordering::Release);
    watchers.join_all().await;
    drop(watching);
    let recorder = Arc::into_inner(recorder).expect("all clients are gone");
    Ok(RealRun {
        history: recorder.into_history(),
        elapsed,
        acknowledged_writes: writes.load(Ordering::Acquire),
        kills: done.kills,
        pauses: done.pauses,
        blackouts: done.blackouts,
        revision,
    })
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
async fn torment(cluster: &mut Cluster, plan: &Plan, begin: Instant, writes: &AtomicU64) -> Result<Done, ClusterError> {
    let mut done = Done::default();
    for number in 0.. {
        tokio::time::sleep(plan.calm).await;
        let fulfilled = begin.elapsed() >= plan.at_least
            && done.kills >= plan.kills
            && writes.load(Ordering::Acquire) >= plan.writes;
        if fulfilled || begin.elapsed() >= plan.at_most {
            return Ok(done);
        }
        strike(cluster, plan.seed, number, &mut done).await?;
    }
    unreachable!("the loop ends by returning")
}

/// Reads everything once more, and gives the newest revision.
async fn settle(endpoints: &[String], recorder: &Arc<Recorder>, plan: &Plan) -> i64 {
    let begin = Instant::now();
    let mut client = RecordedClient::new(ClientId(plan.clients + 1_000), endpoints.to_vec(), recorder.clone());
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
