//! Two servers side by side: some members of each on this machine, loaded in turn.
//!
//! Both clusters stand all the time and the load goes to one after the other (A B B A A B …), so that whatever else
//! the machine does falls on both, and neither is always the first. Medians over the rounds are compared.

use std::path::{Path, PathBuf};

use detcd_core::proto::etcdserverpb as pb;

use super::comparison::{Comparison, MemberSize, OperationComparison, Pair, Series, SizeComparison};
use super::cpu::CpuMeter;
use super::memory::Memory;
use super::operation::Operation;
use super::report::{Preloaded, Report};
use super::run::{LoadError, LoadOptions, connect, on_threads, positive_seconds, preload, run};
use super::shape::{Shape, TooFewKeys};
use crate::cluster::{Cluster, ClusterError, ClusterOptions};
use crate::rpc::maintenance_client::MaintenanceClient;

/// Keys are drawn from this many if nothing is said and fewer are preloaded.
const KEY_SPACE: u64 = 10_000;

/// How long both are loaded before a round counts.
const WARM_UP_SECONDS: f64 = 1.0;

/// What to compare.
#[derive(Clone, Debug, clap::Args)]
pub struct BenchOptions {
    /// The `detcd` to measure.
    #[arg(long)]
    pub detcd: PathBuf,
    /// The `etcd` to measure it against.
    #[arg(long)]
    pub etcd: PathBuf,
    /// Operations to compare, comma separated.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "put,get")]
    pub op: Vec<Operation>,
    /// Rounds; each loads both once.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Seconds of each turn.
    #[arg(long, default_value_t = 5.0, value_parser = positive_seconds)]
    pub seconds: f64,
    /// HTTP/2 connections.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub connections: u32,
    /// Clients; each has one operation open at a time.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub clients: u32,
    /// Keys are drawn from this many; without it from those that are preloaded, or from 10,000.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    pub key_space: Option<u64>,
    /// Keys to write into both before anything is measured.
    #[arg(long, default_value_t = 0)]
    pub preload: u64,
    /// What operations are like.
    #[command(flatten)]
    pub shape: Shape,
    /// Watchers that are told of each write, comma separated: `watch` is compared with each number. Without it each
    /// client has one that is told of its own.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub watchers: Vec<u32>,
    /// Members of each cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..10))]
    pub members: u32,
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// Options that do not fit together.
    #[error("--watchers: no operation has watchers, add watch to --op")]
    NothingWatched,
    /// Ranges would be shorter than they are said to be.
    #[error(transparent)]
    TooFewKeys(#[from] TooFewKeys),
    /// A cluster does not come up.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A run could not begin.
    #[error("{server}: {source}")]
    Load {
        /// Where.
        server: &'static str,
        /// Why.
        source: LoadError,
    },
    /// The figures would lie.
    #[error("{failed} of {operations} operations failed on {server}, first: {first}")]
    Failures {
        /// Where.
        server: &'static str,
        /// How many did not.
        operations: u64,
        /// How many did.
        failed: u64,
        /// What the first said.
        first: String,
    },
}

/// Runs the comparison; `progress` is told what is going on.
///
/// # Errors
/// A cluster or a run that does not begin, or one in which more than one of 1,000 operations fails.
pub fn compare(options: &BenchOptions, progress: &mut dyn FnMut(&str)) -> Result<Comparison, BenchError> {
    if !options.watchers.is_empty() && !options.op.contains(&Operation::Watch) {
        return Err(BenchError::NothingWatched);
    }
    if options.op.contains(&Operation::Range) {
        options.shape.fits(key_space(options))?;
    }
    if !CpuMeter::AVAILABLE {
        progress("processor time and memory of servers are measured on Linux only; the other figures follow");
    }
    progress("starting both clusters");
    let servers = Pair {
        detcd: Server::start("detcd", &options.detcd, options.members)?,
        etcd: Server::start("etcd", &options.etcd, options.members)?,
    };
    let preloaded = preload_both(options, &servers, progress)?;
    let mut sizes = Vec::new();
    if preloaded.is_some() {
        sizes.push(sizes_now("preloaded", &servers)?);
        progress(sizes[0].to_string().trim_end());
    }
    let mut operations = Vec::new();
    for turn in turns(options) {
        operations.push(compare_operation(options, &turn, &servers, progress)?);
    }
    sizes.push(sizes_now("at the end", &servers)?);
    Ok(Comparison { preloaded, sizes, operations })
}

/// One of the two, as it stands.
struct Server {
    name: &'static str,
    cluster: Cluster,
}

impl Server {
    fn start(name: &'static str, program: &Path, members: u32) -> Result<Server, BenchError> {
        let members = usize::try_from(members).expect("u32 fits");
        let options = ClusterOptions { program: program.to_owned(), members, flags: Vec::new() };
        Ok(Server { name, cluster: Cluster::start(&options)? })
    }

    fn failed(&self, source: LoadError) -> BenchError {
        BenchError::Load { server: self.name, source }
    }
}

/// What the clients do for some rounds.
#[derive(Clone, Copy, Debug)]
struct Turn {
    operation: Operation,
    watchers: Option<u32>,
    seconds: f64,
}

impl Turn {
    fn name(&self, options: &BenchOptions) -> String {
        match (self.operation, self.watchers) {
            (Operation::Range, _) => format!("range {}", options.shape.limit),
            (operation, Some(watchers)) => format!("{} {watchers}", operation.name()),
            (operation, None) => operation.name().to_owned(),
        }
    }
}

/// Everything that is compared, in order: watches once for each number of watchers.
fn turns(options: &BenchOptions) -> Vec<Turn> {
    let mut turns = Vec::new();
    for operation in options.op.iter().copied() {
        let turn = Turn { operation, watchers: None, seconds: options.seconds };
        if operation == Operation::Watch && !options.watchers.is_empty() {
            turns.extend(options.watchers.iter().map(|watchers| Turn { watchers: Some(*watchers), ..turn }));
        } else {
            turns.push(turn);
        }
    }
    turns
}

fn key_space(options: &BenchOptions) -> u64 {
    let preloaded = if options.preload == 0 { KEY_SPACE } else { options.preload };
    options.key_space.unwrap_or(preloaded)
}

/// Writes the keys that were asked for, or those that will be read.
fn preload_both(
    options: &BenchOptions,
    servers: &Pair<Server>,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<Pair<Preloaded>>, BenchError> {
    let read = if options.op.iter().any(|operation| operation.reads()) { key_space(options) } else { 0 };
    let keys = options.preload.max(read);
    if keys == 0 {
        return Ok(None);
    }
    let mut write = |server: &Server| -> Result<Preloaded, BenchError> {
        let turn = Turn { operation: Operation::Put, watchers: None, seconds: options.seconds };
        let load = LoadOptions { preload: Some(keys), ..load_options(options, &turn, server, 0) };
        let preloaded = preload(&load).map_err(|error| server.failed(error))?;
        let (seconds, rate) = (preloaded.elapsed.as_secs_f64(), preloaded.throughput());
        progress(&format!("preload {:<6}{keys} keys in {seconds:.1} s, {rate:.0} a second", server.name));
        Ok(preloaded)
    };
    Ok(Some(Pair { detcd: write(&servers.detcd)?, etcd: write(&servers.etcd)? }))
}

fn sizes_now(when: &'static str, servers: &Pair<Server>) -> Result<SizeComparison, BenchError> {
    let members = Pair { detcd: member_sizes(&servers.detcd)?, etcd: member_sizes(&servers.etcd)? };
    Ok(SizeComparison { when, members })
}

fn member_sizes(server: &Server) -> Result<Vec<MemberSize>, BenchError> {
    let (endpoints, pids) = (server.cluster.endpoints(), server.cluster.pids());
    let statuses = on_threads(1, async {
        let mut statuses = Vec::new();
        for channel in connect(&endpoints, endpoints.len()).await? {
            let answer = MaintenanceClient::new(channel).status(pb::StatusRequest {}).await;
            let refused = |status: tonic::Status| LoadError::Prepare(status.message().to_owned());
            statuses.push(answer.map_err(refused)?.into_inner());
        }
        Ok(statuses)
    });
    let size = |(status, pid): (pb::StatusResponse, u32)| MemberSize {
        memory: Memory::of(pid),
        db_bytes: status.db_size,
        db_in_use_bytes: status.db_size_in_use,
    };
    Ok(statuses.map_err(|error| server.failed(error))?.into_iter().zip(pids).map(size).collect())
}

fn compare_operation(
    options: &BenchOptions,
    turn: &Turn,
    servers: &Pair<Server>,
    progress: &mut dyn FnMut(&str),
) -> Result<OperationComparison, BenchError> {
    let name = turn.name(options);
    let mut series = Pair { detcd: Series::default(), etcd: Series::default() };
    for server in [&servers.detcd, &servers.etcd] {
        take(options, &Turn { seconds: WARM_UP_SECONDS, ..*turn }, server, 0)?;
    }
    for round in 1..=options.rounds {
        let mut both = [(&mut series.detcd, &servers.detcd), (&mut series.etcd, &servers.etcd)];
        if round % 2 == 0 {
            both.reverse();
        }
        for (series, server) in both {
            let report = take(options, turn, server, round)?;
            progress(&line(&name, server.name, round, &report));
            series.rounds.push(report);
        }
    }
    Ok(OperationComparison { name, series })
}

/// Loads one server once.
fn take(options: &BenchOptions, turn: &Turn, server: &Server, round: u32) -> Result<Report, BenchError> {
    let report = run(&load_options(options, turn, server, round)).map_err(|error| server.failed(error))?;
    if report.operations == 0 || report.errors * 1000 > report.operations {
        let first = report.first_error.unwrap_or_else(|| "nothing was answered".to_owned());
        let (operations, failed) = (report.operations, report.errors);
        return Err(BenchError::Failures { server: server.name, operations, failed, first });
    }
    Ok(report)
}

fn load_options(options: &BenchOptions, turn: &Turn, server: &Server, round: u32) -> LoadOptions {
    LoadOptions {
        endpoints: server.cluster.endpoints(),
        connections: options.connections,
        clients: options.clients,
        op: turn.operation,
        key_space: key_space(options),
        shape: options.shape.clone(),
        // They are there already.
        preload: Some(0),
        watchers: turn.watchers,
        seconds: turn.seconds,
        ops: None,
        seed: u64::from(round),
        server_pids: server.cluster.pids(),
        threads: 2,
    }
}

fn line(name: &str, server: &str, round: u32, report: &Report) -> String {
    let cpu = report.server_cpu_us().map_or_else(String::new, |cpu| format!("{cpu:.1} us of CPU per op, "));
    let event = match report.watchers {
        Some(_) => report.server_cpu_us_per_event().map_or_else(String::new, |cpu| format!("{cpu:.2} per event, ")),
        None => String::new(),
    };
    let (rate, p99) = (report.throughput(), report.latency.p99_us);
    format!("round {round} {name:<16}{server:<6} {cpu}{event}{rate:.0} op/s, p99 {p99} us")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        options: BenchOptions,
    }

    fn parse(words: &str) -> BenchOptions {
        let words = ["bench", "--detcd", "a", "--etcd", "b"].into_iter().chain(words.split_ascii_whitespace());
        Command::try_parse_from(words).expect("these are good").options
    }

    #[test]
    fn watches_are_compared_with_each_number_of_watchers() {
        let options = parse("--op range,watch,lease-grant --watchers 100,10000 --limit 1000");
        let names: Vec<String> = turns(&options).iter().map(|turn| turn.name(&options)).collect();
        assert_eq!(names, ["range 1000", "watch 100", "watch 10000", "lease-grant"]);
        let options = parse("--op watch");
        assert_eq!(turns(&options).len(), 1, "with a watcher for each client");
    }

    #[test]
    fn keys_are_drawn_from_what_is_preloaded_unless_something_else_is_said() {
        assert_eq!(key_space(&parse("")), 10_000);
        assert_eq!(key_space(&parse("--preload 500")), 500);
        assert_eq!(key_space(&parse("--preload 500 --key-space 40")), 40);
    }

    #[test]
    fn watchers_without_a_watch_are_refused_before_anything_starts() {
        let refusal = compare(&parse("--op put --watchers 3"), &mut |_| ()).expect_err("nothing watches");
        assert_eq!(refusal.to_string(), "--watchers: no operation has watchers, add watch to --op");
    }

    #[test]
    fn a_range_of_more_keys_than_there_are_is_refused_before_anything_starts() {
        let words = "--op get,range --preload 99";
        let refusal = compare(&parse(words), &mut |_| ()).expect_err("a hundred are read if nothing is said");
        let expected = "--limit: a range of 100 keys cannot be read of 99, take at most that or a larger --key-space";
        assert_eq!(refusal.to_string(), expected);
    }
}
