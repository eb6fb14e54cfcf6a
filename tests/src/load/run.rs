//! One run: connect, fill, drive, measure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::seed::draw_below;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use super::cpu::CpuMeter;
use super::operation::{Client, Operation, key, put};
use super::report::{Latency, Report};
use crate::rpc::kv_client::KvClient;

/// The longest latency that is told from longer ones.
const MAX_LATENCY_US: u64 = 60_000_000;

/// How long an operation may take before it counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How many keys one transaction writes when the key space is filled.
const FILL_BATCH: u64 = 100;

/// What to do.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// Client URLs of the cluster, comma separated; connections go round them.
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2379")]
    pub endpoints: Vec<String>,
    /// HTTP/2 connections, each shared by clients / connections clients.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Clients; each has one operation open at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,
    /// What each client repeats.
    #[arg(long, value_enum, default_value = "put")]
    pub op: Operation,
    /// Keys are drawn from this many.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub key_space: u64,
    /// Length of the values that are written.
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
    /// Stop after this many seconds.
    #[arg(long, default_value_t = 10.0, value_parser = positive_seconds)]
    pub seconds: f64,
    /// Stop after this many operations, if that comes first.
    #[arg(long)]
    pub ops: Option<u64>,
    /// Draws the keys.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Process numbers of the servers, comma separated, to measure their processor time (Linux).
    #[arg(long, value_delimiter = ',')]
    pub server_pids: Vec<u32>,
    /// Threads of the load generator itself.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub threads: u32,
}

/// Reads a number of seconds.
pub(super) fn positive_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 1e6 => Ok(seconds),
        _ => Err("seconds are a number above 0 and up to 1000000".to_owned()),
    }
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An endpoint is no URL.
    #[error("--endpoints: {0:?} is no URL of a server")]
    Endpoint(String),
    /// An endpoint cannot be reached.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, String),
    /// The keys to read could not be written, or a watcher not created.
    #[error("cannot prepare the run: {0}")]
    Prepare(String),
    /// The machine refuses threads.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
}

/// Runs the load on threads of its own and gives what it measured.
///
/// # Errors
/// The run could not begin. Operations that fail during the run are counted, not errors.
pub fn run(options: &LoadOptions) -> Result<Report, LoadError> {
    let threads = usize::try_from(options.threads).expect("u32 fits");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(drive(options))
}

async fn drive(options: &LoadOptions) -> Result<Report, LoadError> {
    let channels = connect(options).await?;
    if options.op.reads() {
        fill(options, &channels[0]).await?;
    }
    let mut clients = Vec::new();
    for (number, channel) in (0..options.clients).zip(channels.iter().cycle()) {
        let value = Bytes::from(vec![b'v'; options.value_bytes]);
        let client = Client::open(options.op, channel.clone(), value, u64::from(number)).await;
        clients.push(client.map_err(|status| LoadError::Prepare(status.message().to_owned()))?);
    }
    let servers = (!options.server_pids.is_empty()).then(|| CpuMeter::new(options.server_pids.clone()));
    let own = CpuMeter::new(vec![std::process::id()]);
    let (servers_before, own_before) = (servers.as_ref().and_then(CpuMeter::read), own.read());
    let begin = Instant::now();
    let budget = Arc::new(AtomicU64::new(options.ops.unwrap_or(u64::MAX)));
    let until = begin + Duration::from_secs_f64(options.seconds);
    let mut running = JoinSet::new();
    for (number, client) in (0..).zip(clients) {
        let draws = Draws { seed: options.seed, client: number, key_space: options.key_space };
        running.spawn(repeat(client, draws, budget.clone(), until));
    }
    let mut total = Tally::new();
    for tally in running.join_all().await {
        total.add(&tally);
    }
    let elapsed = begin.elapsed();
    let servers_after = servers.as_ref().and_then(CpuMeter::read);
    Ok(Report {
        operation: options.op,
        connections: channels.len(),
        clients: usize::try_from(options.clients).expect("u32 fits"),
        elapsed,
        operations: total.latencies_us.len(),
        errors: total.errors,
        first_error: total.first_error,
        latency: Latency::of(&total.latencies_us),
        server_cpu: servers_after.zip(servers_before).map(|(after, before)| after.saturating_sub(before)),
        own_cpu: own.read().zip(own_before).map(|(after, before)| after.saturating_sub(before)),
    })
}

async fn connect(options: &LoadOptions) -> Result<Vec<Channel>, LoadError> {
    let mut channels = Vec::new();
    for (_, endpoint) in (0..options.connections).zip(options.endpoints.iter().cycle()) {
        let url = if endpoint.contains("://") { endpoint.clone() } else { format!("http://{endpoint}") };
        let channel = Endpoint::from_shared(url)
            .map_err(|_| LoadError::Endpoint(endpoint.clone()))?
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .timeout(REQUEST_TIMEOUT)
            .connect()
            .await
            .map_err(|error| LoadError::Connect(endpoint.clone(), root_cause(&error)))?;
        channels.push(channel);
    }
    Ok(channels)
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// Writes every key once.
async fn fill(options: &LoadOptions, channel: &Channel) -> Result<(), LoadError> {
    let value = Bytes::from(vec![b'v'; options.value_bytes]);
    let mut kv = KvClient::new(channel.clone());
    let mut first = 0;
    while first < options.key_space {
        let end = (first + FILL_BATCH).min(options.key_space);
        let write = |number| pb::request_op::Request::RequestPut(put(key(number), value.clone()));
        let success = (first..end).map(|number| pb::RequestOp { request: Some(write(number)) }).collect();
        let request = pb::TxnRequest { success, ..Default::default() };
        kv.txn(request).await.map_err(|status| LoadError::Prepare(status.message().to_owned()))?;
        first = end;
    }
    Ok(())
}

/// Which key comes next: a function of the seed, the client and the number of the operation.
struct Draws {
    seed: u64,
    client: u64,
    key_space: u64,
}

async fn repeat(mut client: Client, draws: Draws, budget: Arc<AtomicU64>, until: Instant) -> Tally {
    let mut tally = Tally::new();
    let take = |left: u64| left.checked_sub(1);
    for number in 0.. {
        let begin = Instant::now();
        if begin >= until || budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_err() {
            break;
        }
        match client.perform(draw_below(draws.seed, &[draws.client, number], draws.key_space)).await {
            Ok(()) => tally.succeeded(begin.elapsed()),
            Err(status) => {
                tally.failed(&status);
                // A server that is down answers at once; without a pause the run would only count refusals.
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
    tally
}

/// What one client counted.
struct Tally {
    latencies_us: Histogram<u64>,
    errors: u64,
    first_error: Option<String>,
}

impl Tally {
    fn new() -> Tally {
        let latencies_us = Histogram::new_with_bounds(1, MAX_LATENCY_US, 3).expect("the bounds are in order");
        Tally { latencies_us, errors: 0, first_error: None }
    }

    fn succeeded(&mut self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(MAX_LATENCY_US);
        self.latencies_us.saturating_record(took_us);
    }

    fn failed(&mut self, status: &tonic::Status) {
        self.errors += 1;
        self.first_error.get_or_insert_with(|| format!("{}: {}", status.code(), status.message()));
    }

    fn add(&mut self, other: &Tally) {
        self.latencies_us.add(&other.latencies_us).expect("all have the same bounds");
        self.errors += other.errors;
        if self.first_error.is_none() {
            self.first_error.clone_from(&other.first_error);
        }
    }
}
