//! Two servers side by side: three members of each on this machine, loaded in turn.
//!
//! Both clusters stand all the time and the load goes to one after the other (A B A B …), so that whatever else the
//! machine does falls on both. Medians over the rounds are compared.

use std::fmt;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::cpu::CpuMeter;
use super::operation::Operation;
use super::report::Report;
use super::run::{LoadError, LoadOptions, positive_seconds, run};
use crate::cluster::{Cluster, ClusterError, ClusterOptions};

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
    /// Keys are drawn from this many.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub key_space: u64,
    /// Length of the values that are written.
    #[arg(long, default_value_t = 256)]
    pub value_bytes: usize,
    /// Members of each cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..10))]
    pub members: u32,
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A cluster does not come up.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// A run could not begin.
    #[error(transparent)]
    Load(#[from] LoadError),
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

/// The rounds of one operation on one server.
#[derive(Debug)]
pub struct Series {
    server: &'static str,
    reports: Vec<Report>,
}

impl Series {
    fn median(&self, figure: impl Fn(&Report) -> f64) -> f64 {
        median(self.reports.iter().map(figure).collect())
    }

    fn server_cpu_us(&self) -> f64 {
        self.median(|report| report.server_cpu_us().unwrap_or(f64::NAN))
    }

    fn json(&self) -> Value {
        json!({
            "server": self.server,
            "median_server_cpu_us_per_op": self.server_cpu_us(),
            "median_ops_per_second": self.median(Report::throughput),
            "median_p50_us": self.median(|report| report.latency.p50_us as f64),
            "median_p99_us": self.median(|report| report.latency.p99_us as f64),
            "rounds": self.reports.iter().map(Report::json).collect::<Vec<Value>>(),
        })
    }
}

/// One operation on both servers.
#[derive(Debug)]
pub struct Comparison {
    operation: Operation,
    detcd: Series,
    etcd: Series,
}

impl Comparison {
    /// Processor time of `detcd` for one operation, divided by that of etcd.
    pub fn cpu_ratio(&self) -> f64 {
        self.detcd.server_cpu_us() / self.etcd.server_cpu_us()
    }

    /// One object with the medians and all rounds.
    pub fn json(&self) -> Value {
        json!({
            "op": self.operation.name(),
            "cpu_ratio": self.cpu_ratio(),
            "servers": [self.detcd.json(), self.etcd.json()],
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.operation.name();
        let mut line = |figure: &str, of: &dyn Fn(&Series) -> f64| {
            let (ours, theirs) = (of(&self.detcd), of(&self.etcd));
            writeln!(f, "{name:<6}{figure:<22}{ours:>10.1}{theirs:>10.1}{:>8.2}", ours / theirs)
        };
        line("server CPU us per op", &Series::server_cpu_us)?;
        line("operations a second", &|series| series.median(Report::throughput))?;
        line("p50 us", &|series| series.median(|report| report.latency.p50_us as f64))?;
        line("p99 us", &|series| series.median(|report| report.latency.p99_us as f64))
    }
}

/// Runs the comparison; `progress` is told what is going on.
///
/// # Errors
/// A cluster or a run that does not begin, or one in which more than one of 1,000 operations fails.
pub fn compare(options: &BenchOptions, progress: &mut dyn FnMut(&str)) -> Result<Vec<Comparison>, BenchError> {
    if !CpuMeter::AVAILABLE {
        progress("processor time of servers is measured on Linux only; the other figures follow");
    }
    let members = usize::try_from(options.members).expect("u32 fits");
    let cluster =
        |program: &PathBuf| Cluster::start(&ClusterOptions { program: program.clone(), members, flags: Vec::new() });
    progress("starting both clusters");
    let (detcd, etcd) = (cluster(&options.detcd)?, cluster(&options.etcd)?);
    let mut comparisons = Vec::new();
    for operation in &options.op {
        let mut ours = Series { server: "detcd", reports: Vec::new() };
        let mut theirs = Series { server: "etcd", reports: Vec::new() };
        for (series, cluster) in [(&ours, &detcd), (&theirs, &etcd)] {
            turn(options, *operation, cluster, series.server, 0, 1.0)?;
        }
        for round in 1..=options.rounds {
            for (series, cluster) in [(&mut ours, &detcd), (&mut theirs, &etcd)] {
                let report = turn(options, *operation, cluster, series.server, round, options.seconds)?;
                progress(&line(*operation, series.server, round, &report));
                series.reports.push(report);
            }
        }
        comparisons.push(Comparison { operation: *operation, detcd: ours, etcd: theirs });
    }
    Ok(comparisons)
}

fn turn(
    options: &BenchOptions,
    op: Operation,
    cluster: &Cluster,
    server: &'static str,
    round: u32,
    seconds: f64,
) -> Result<Report, BenchError> {
    let load = LoadOptions {
        endpoints: cluster.endpoints(),
        connections: options.connections,
        clients: options.clients,
        op,
        key_space: options.key_space,
        value_bytes: options.value_bytes,
        seconds,
        ops: None,
        seed: u64::from(round),
        server_pids: cluster.pids(),
        threads: 2,
    };
    let report = run(&load)?;
    if report.operations == 0 || report.errors * 1000 > report.operations {
        let first = report.first_error.unwrap_or_else(|| "nothing was answered".to_owned());
        return Err(BenchError::Failures { server, operations: report.operations, failed: report.errors, first });
    }
    Ok(report)
}

fn line(operation: Operation, server: &str, round: u32, report: &Report) -> String {
    let cpu = report.server_cpu_us().map_or_else(String::new, |cpu| format!("{cpu:.1} us of CPU per op, "));
    let (rate, p99) = (report.throughput(), report.latency.p99_us);
    format!("round {round} {:<6}{server:<6} {cpu}{rate:.0} op/s, p99 {p99} us", operation.name())
}

/// The middle of the values, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "there is at least one round");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
    }
}
