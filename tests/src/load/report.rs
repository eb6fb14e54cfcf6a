//! What a run measured.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::operation::Operation;

/// Latencies of the operations that succeeded, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_us: u64,
    /// Nine of ten took no longer.
    pub p90_us: u64,
    /// 99 of 100 took no longer.
    pub p99_us: u64,
    /// 999 of 1,000 took no longer.
    pub p99_9_us: u64,
    /// The longest.
    pub max_us: u64,
}

impl Latency {
    /// Reads the quantiles of a histogram of microseconds.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        Latency {
            p50_us: histogram.value_at_quantile(0.5),
            p90_us: histogram.value_at_quantile(0.9),
            p99_us: histogram.value_at_quantile(0.99),
            p99_9_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the clients did.
    pub operation: Operation,
    /// How many connections they shared.
    pub connections: usize,
    /// How many clients.
    pub clients: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Operations that succeeded.
    pub operations: u64,
    /// Operations that failed.
    pub errors: u64,
    /// What the first failure said.
    pub first_error: Option<String>,
    /// Latencies of those that succeeded.
    pub latency: Latency,
    /// Processor time of all servers together during the run.
    pub server_cpu: Option<Duration>,
    /// Processor time of the load generator itself.
    pub own_cpu: Option<Duration>,
}

impl Report {
    /// Operations that succeeded, in a second.
    pub fn throughput(&self) -> f64 {
        per_operation(self.operations as f64, self.elapsed.as_secs_f64())
    }

    /// Microseconds of processor time, of all servers together, for each operation that succeeded.
    pub fn server_cpu_us(&self) -> Option<f64> {
        self.server_cpu.map(|cpu| per_operation(cpu.as_secs_f64() * 1e6, self.operations as f64))
    }

    fn own_cpu_us(&self) -> Option<f64> {
        self.own_cpu.map(|cpu| per_operation(cpu.as_secs_f64() * 1e6, self.operations as f64))
    }

    /// One object with all figures; the names carry the units.
    pub fn json(&self) -> Value {
        json!({
            "op": self.operation.name(),
            "connections": self.connections,
            "clients": self.clients,
            "seconds": self.elapsed.as_secs_f64(),
            "operations": self.operations,
            "errors": self.errors,
            "first_error": self.first_error,
            "ops_per_second": self.throughput(),
            "latency_us": {
                "p50": self.latency.p50_us,
                "p90": self.latency.p90_us,
                "p99": self.latency.p99_us,
                "p99.9": self.latency.p99_9_us,
                "max": self.latency.max_us,
            },
            "server_cpu_us_per_op": self.server_cpu_us(),
            "load_cpu_us_per_op": self.own_cpu_us(),
        })
    }
}

fn per_operation(amount: f64, operations: f64) -> f64 {
    if operations > 0.0 { amount / operations } else { 0.0 }
}

fn microseconds(f: &mut fmt::Formatter<'_>, what: &str, value: Option<f64>) -> fmt::Result {
    match value {
        Some(value) => writeln!(f, "{what} {value:.1} us of processor time per operation"),
        None => Ok(()),
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50_us, p90_us, p99_us, p99_9_us, max_us } = self.latency;
        writeln!(
            f,
            "operation   {} by {} clients on {} connections",
            self.operation.name(),
            self.clients,
            self.connections
        )?;
        writeln!(
            f,
            "succeeded   {} in {:.2} s, {:.0} a second",
            self.operations,
            self.elapsed.as_secs_f64(),
            self.throughput()
        )?;
        if let Some(error) = &self.first_error {
            writeln!(f, "failed      {}, first: {error}", self.errors)?;
        }
        writeln!(
            f,
            "latency     p50 {p50_us} us, p90 {p90_us} us, p99 {p99_us} us, p99.9 {p99_9_us} us, max {max_us} us"
        )?;
        microseconds(f, "servers    ", self.server_cpu_us())?;
        microseconds(f, "load itself", self.own_cpu_us())
    }
}
