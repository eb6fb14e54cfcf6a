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

/// What it took to write the keys that come first.
#[derive(Clone, Debug)]
pub struct Preloaded {
    /// How many keys.
    pub keys: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Processor time of all servers together.
    pub server_cpu: Option<Duration>,
}

impl Preloaded {
    /// Keys in a second.
    pub fn throughput(&self) -> f64 {
        per_operation(self.keys as f64, self.elapsed.as_secs_f64())
    }

    /// Microseconds of processor time, of all servers together, for each key.
    pub fn server_cpu_us(&self) -> Option<f64> {
        self.server_cpu.map(|cpu| per_operation(cpu.as_secs_f64() * 1e6, self.keys as f64))
    }

    /// One object with all figures; the names carry the units.
    pub fn json(&self) -> Value {
        json!({
            "keys": self.keys,
            "seconds": self.elapsed.as_secs_f64(),
            "keys_per_second": self.throughput(),
            "server_cpu_us_per_key": self.server_cpu_us(),
        })
    }
}

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// What the clients did.
    pub operation: Operation,
    /// How many watchers were told of each write, if not each client had its own.
    pub watchers: Option<u32>,
    /// How many connections they shared.
    pub connections: usize,
    /// How many clients.
    pub clients: usize,
    /// How long it took.
    pub elapsed: Duration,
    /// Operations that succeeded.
    pub operations: u64,
    /// Events that watchers were told, all together, if there were watchers.
    pub events: Option<u64>,
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

    /// Microseconds of processor time, of all servers together, for each event that a watcher was told.
    pub fn server_cpu_us_per_event(&self) -> Option<f64> {
        let (cpu, events) = self.server_cpu.zip(self.events)?;
        Some(per_operation(cpu.as_secs_f64() * 1e6, events as f64))
    }

    fn own_cpu_us(&self) -> Option<f64> {
        self.own_cpu.map(|cpu| per_operation(cpu.as_secs_f64() * 1e6, self.operations as f64))
    }

    /// One object with all figures; the names carry the units.
    pub fn json(&self) -> Value {
        json!({
            "op": self.operation.name(),
            "watchers": self.watchers,
            "connections": self.connections,
            "clients": self.clients,
            "seconds": self.elapsed.as_secs_f64(),
            "operations": self.operations,
            "events": self.events,
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
            "server_cpu_us_per_event": self.server_cpu_us_per_event(),
            "load_cpu_us_per_op": self.own_cpu_us(),
        })
    }
}

fn per_operation(amount: f64, operations: f64) -> f64 {
    if operations > 0.0 { amount / operations } else { 0.0 }
}

fn microseconds(f: &mut fmt::Formatter<'_>, what: &str, value: Option<f64>, of: &str) -> fmt::Result {
    match value {
        Some(value) => writeln!(f, "{what} {value:.1} us of processor time per {of}"),
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
        if let Some(watchers) = self.watchers {
            writeln!(f, "delivered   {} events to {watchers} watchers", self.events.unwrap_or(0))?;
        }
        if let Some(error) = &self.first_error {
            writeln!(f, "failed      {}, first: {error}", self.errors)?;
        }
        writeln!(
            f,
            "latency     p50 {p50_us} us, p90 {p90_us} us, p99 {p99_us} us, p99.9 {p99_9_us} us, max {max_us} us"
        )?;
        microseconds(f, "servers    ", self.server_cpu_us(), "operation")?;
        if self.watchers.is_some() {
            microseconds(f, "servers    ", self.server_cpu_us_per_event(), "delivered event")?;
        }
        microseconds(f, "load itself", self.own_cpu_us(), "operation")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(operation: Operation, watchers: Option<u32>, events: Option<u64>) -> Report {
        Report {
            operation,
            watchers,
            connections: 2,
            clients: 4,
            elapsed: Duration::from_secs(2),
            operations: 100,
            events,
            errors: 0,
            first_error: None,
            latency: Latency { p50_us: 1, p90_us: 2, p99_us: 3, p99_9_us: 4, max_us: 5 },
            server_cpu: Some(Duration::from_millis(10)),
            own_cpu: None,
        }
    }

    #[test]
    fn events_are_told_beside_operations_if_there_are_watchers() {
        let report = report(Operation::Watch, Some(50), Some(5_000));
        assert_eq!(report.json()["server_cpu_us_per_op"], 100.0);
        assert_eq!(report.json()["server_cpu_us_per_event"], 2.0);
        let text = report.to_string();
        assert!(text.contains("delivered   5000 events to 50 watchers\n"), "{text}");
        assert!(text.contains("servers     2.0 us of processor time per delivered event\n"), "{text}");
    }

    #[test]
    fn without_watchers_there_is_no_word_of_events() {
        let report = report(Operation::Put, None, None);
        assert!(report.json()["server_cpu_us_per_event"].is_null());
        assert!(!report.to_string().contains("event"));
    }

    #[test]
    fn a_preload_is_told_by_key() {
        let preloaded =
            Preloaded { keys: 1_000, elapsed: Duration::from_secs(2), server_cpu: Some(Duration::from_millis(5)) };
        let expected = json!({"keys": 1_000, "seconds": 2.0, "keys_per_second": 500.0, "server_cpu_us_per_key": 5.0});
        assert_eq!(preloaded.json(), expected);
    }
}
