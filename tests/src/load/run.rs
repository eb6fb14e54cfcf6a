//! One run: connect, preload, drive, measure.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use detcd_core::seed::draw_below;
use hdrhistogram::Histogram;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::client::{Client, Task};
use super::cpu::CpuMeter;
use super::fan_out::FanOut;
use super::operation::Operation;
use super::preload::Preload;
use super::report::{Latency, Preloaded, Report};
use super::shape::{Shape, TooFewKeys};

/// The longest latency that is told from longer ones.
const MAX_LATENCY_US: u64 = 60_000_000;

/// How long an operation may take before it counts as failed.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an operation may take that waits for what a stream tells, too.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

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
    /// Keys to write first; without it those that are drawn from, if the operation reads, else none.
    #[arg(long)]
    pub preload: Option<u64>,
    /// What they are like.
    #[command(flatten)]
    pub shape: Shape,
    /// Watchers that are told of each write (with `--op watch`); without it each client has one, told of its own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub watchers: Option<u32>,
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
    /// Options that do not fit together.
    #[error("--watchers: only --op watch has watchers, not --op {0}")]
    NothingWatched(&'static str),
    /// Ranges would be shorter than they are said to be.
    #[error(transparent)]
    TooFewKeys(#[from] TooFewKeys),
    /// An endpoint is no URL.
    #[error("--endpoints: {0:?} is no URL of a server")]
    Endpoint(String),
    /// An endpoint cannot be reached.
    #[error("cannot connect to {0}: {1}")]
    Connect(String, String),
    /// The keys could not be written, or a watcher or a lease not created.
    #[error("cannot prepare the run: {0}")]
    Prepare(String),
    /// The machine refuses threads.
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

fn cannot_prepare(status: Status) -> LoadError {
    LoadError::Prepare(status.message().to_owned())
}

/// Runs the load on threads of its own and gives what it measured.
///
/// # Errors
/// The run could not begin. Operations that fail during the run are counted, not errors.
pub fn run(options: &LoadOptions) -> Result<Report, LoadError> {
    if let (Some(_), true) = (options.watchers, options.op != Operation::Watch) {
        return Err(LoadError::NothingWatched(options.op.name()));
    }
    if options.op == Operation::Range {
        options.shape.fits(options.key_space)?;
    }
    on_threads(options.threads, drive(options))
}

/// Writes the keys that come first, and says what that took. As many transactions are on their way as there are
/// clients.
///
/// # Errors
/// The servers cannot be reached, or refuse a transaction.
pub fn preload(options: &LoadOptions) -> Result<Preloaded, LoadError> {
    on_threads(options.threads, async {
        let channels = connect(&options.endpoints, connections(options)).await?;
        let meter = Meters::start(options);
        let keys = preload_over(options, &channels).await?;
        let (elapsed, server_cpu, _) = meter.stop();
        Ok(Preloaded { keys, elapsed, server_cpu })
    })
}

/// Does something on threads of its own, until it is over or a signal asks to end: then what was started is taken
/// back by whoever holds it, as after any other error.
pub(super) fn on_threads<T>(threads: u32, work: impl Future<Output = Result<T, LoadError>>) -> Result<T, LoadError> {
    let threads = usize::try_from(threads).expect("u32 fits");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?;
    runtime.block_on(async {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            outcome = work => outcome,
            _ = interrupt.recv() => Err(LoadError::Interrupted),
            _ = terminate.recv() => Err(LoadError::Interrupted),
        }
    })
}

async fn drive(options: &LoadOptions) -> Result<Report, LoadError> {
    let channels = connect(&options.endpoints, connections(options)).await?;
    preload_over(options, &channels).await?;
    let fan_out = match options.watchers {
        Some(watchers) => {
            Some(FanOut::open(&channels, watchers, options.shape.watch_streams).await.map_err(cannot_prepare)?)
        }
        None => None,
    };
    let task = Task {
        operation: options.op,
        value: value(options),
        limit: options.shape.limit,
        key_space: options.key_space,
        fan_out: fan_out.clone(),
    };
    let mut clients = Vec::new();
    for (number, channel) in (0..options.clients).zip(channels.iter().cycle()) {
        let client = Client::open(task.clone(), channel.clone(), u64::from(number)).await;
        clients.push(client.map_err(cannot_prepare)?);
    }
    let meters = Meters::start(options);
    let total = repeat_all(options, clients).await;
    let (elapsed, server_cpu, own_cpu) = meters.stop();
    let operations = total.latencies_us.len();
    let events = fan_out.map(|fan_out| fan_out.delivered());
    Ok(Report {
        operation: options.op,
        watchers: options.watchers,
        connections: channels.len(),
        clients: usize::try_from(options.clients).expect("u32 fits"),
        elapsed,
        operations,
        events: events.or_else(|| (options.op == Operation::Watch).then_some(operations)),
        errors: total.errors,
        first_error: total.first_error,
        latency: Latency::of(&total.latencies_us),
        server_cpu,
        own_cpu,
    })
}

/// Lets all clients repeat their operation until time or budget are used up.
async fn repeat_all(options: &LoadOptions, clients: Vec<Client>) -> Tally {
    let budget = Arc::new(AtomicU64::new(options.ops.unwrap_or(u64::MAX)));
    let until = Instant::now() + Duration::from_secs_f64(options.seconds);
    let mut running = JoinSet::new();
    for (number, client) in (0..).zip(clients) {
        let draws = Draws { seed: options.seed, client: number, key_space: options.key_space };
        running.spawn(repeat(client, draws, budget.clone(), until));
    }
    let mut total = Tally::new();
    for tally in running.join_all().await {
        total.add(&tally);
    }
    total
}

/// What was used when something began.
struct Meters {
    begin: Instant,
    servers: Option<(CpuMeter, Option<Duration>)>,
    own: (CpuMeter, Option<Duration>),
}

impl Meters {
    fn start(options: &LoadOptions) -> Meters {
        let begin_with = |pids| {
            let meter = CpuMeter::new(pids);
            let before = meter.read();
            (meter, before)
        };
        Meters {
            servers: (!options.server_pids.is_empty()).then(|| begin_with(options.server_pids.clone())),
            own: begin_with(vec![std::process::id()]),
            begin: Instant::now(),
        }
    }

    /// What passed since: time, processor time of the servers and of this process.
    fn stop(self) -> (Duration, Option<Duration>, Option<Duration>) {
        let elapsed = self.begin.elapsed();
        let used = |(meter, before): (CpuMeter, Option<Duration>)| {
            meter.read().zip(before).map(|(after, before)| after.saturating_sub(before))
        };
        (elapsed, self.servers.and_then(used), used(self.own))
    }
}

fn connections(options: &LoadOptions) -> usize {
    usize::try_from(options.connections).expect("u32 fits")
}

fn value(options: &LoadOptions) -> Bytes {
    Bytes::from(vec![b'v'; options.shape.value_bytes])
}

/// Writes the keys that have to be there first; gives how many.
async fn preload_over(options: &LoadOptions, channels: &[Channel]) -> Result<u64, LoadError> {
    let keys = options.preload.unwrap_or(if options.op.reads() { options.key_space } else { 0 });
    let (batch, in_flight) = (options.shape.preload_batch, options.clients);
    let preload = Preload { keys, value: value(options), batch, in_flight };
    preload.write(channels).await.map_err(cannot_prepare)?;
    Ok(keys)
}

/// Opens `count` connections that go round the endpoints.
pub(super) async fn connect(endpoints: &[String], count: usize) -> Result<Vec<Channel>, LoadError> {
    let mut channels = Vec::new();
    for endpoint in endpoints.iter().cycle().take(count) {
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
        let operation = client.perform(draw_below(draws.seed, &[draws.client, number], draws.key_space));
        let late = |_| Err(Status::deadline_exceeded("the operation was not over in time"));
        match tokio::time::timeout(OPERATION_TIMEOUT, operation).await.unwrap_or_else(late) {
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        load: LoadOptions,
    }

    fn parse(words: &str) -> Result<LoadOptions, String> {
        let words = std::iter::once("load").chain(words.split_ascii_whitespace());
        match Command::try_parse_from(words) {
            Ok(command) => Ok(command.load),
            Err(error) => Err(error.to_string().lines().next().unwrap_or_default().to_owned()),
        }
    }

    #[test]
    fn every_operation_has_the_name_by_which_it_is_asked_for() {
        for operation in <Operation as clap::ValueEnum>::value_variants() {
            let options = parse(&format!("--op {}", operation.name())).expect("it is one");
            assert_eq!(options.op, *operation);
        }
    }

    #[test]
    fn a_bad_value_is_told_in_one_line_with_what_would_be_right() {
        for (words, expected) in [
            ("--limit 0", "error: invalid value '0' for '--limit <LIMIT>': 0 is not in 1..=1000000"),
            ("--preload many", "error: invalid value 'many' for '--preload <PRELOAD>': invalid digit found in string"),
            (
                "--preload-batch 129",
                "error: invalid value '129' for '--preload-batch <PRELOAD_BATCH>': 129 is not in 1..=128",
            ),
            (
                "--value-bytes 2000000",
                "error: invalid value '2000000' for '--value-bytes <VALUE_BYTES>': a value has 0 to 1500000 bytes, \
                 since a request may have 1.5 MiB",
            ),
            ("--watchers 0", "error: invalid value '0' for '--watchers <WATCHERS>': 0 is not in 1..=1000000"),
            (
                "--watch-streams 0",
                "error: invalid value '0' for '--watch-streams <WATCH_STREAMS>': 0 is not in 1..=10000",
            ),
        ] {
            assert_eq!(parse(words).expect_err("it is refused"), expected);
        }
    }

    #[test]
    fn watchers_of_an_operation_without_any_are_refused() {
        let options = parse("--op put --watchers 3").expect("each is right by itself");
        let refusal = run(&options).expect_err("together they are not").to_string();
        assert_eq!(refusal, "--watchers: only --op watch has watchers, not --op put");
    }

    #[test]
    fn a_range_of_more_keys_than_there_are_is_refused() {
        let options = parse("--op range --limit 41 --key-space 40").expect("each is right by itself");
        let refusal = run(&options).expect_err("together they are not").to_string();
        let expected = "--limit: a range of 41 keys cannot be read of 40, take at most that or a larger --key-space";
        assert_eq!(refusal, expected);
    }
}
