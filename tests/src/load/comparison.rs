//! What a comparison of two servers found, for people and as JSON.

use std::fmt;

use serde_json::{Value, json};

use super::memory::Memory;
use super::report::{Preloaded, Report};

const MIB: f64 = 1024.0 * 1024.0;

/// The same of both servers.
#[derive(Clone, Debug)]
pub struct Pair<T> {
    /// Of `detcd`.
    pub detcd: T,
    /// Of the etcd that it is measured against.
    pub etcd: T,
}

impl<T> Pair<T> {
    fn json(&self, of: impl Fn(&T) -> Value) -> Value {
        json!({"detcd": of(&self.detcd), "etcd": of(&self.etcd)})
    }

    /// One line of the table, unless a figure is missing.
    fn line(
        &self,
        f: &mut fmt::Formatter<'_>,
        name: &str,
        figure: &str,
        of: impl Fn(&T) -> Option<f64>,
    ) -> fmt::Result {
        let Some((ours, theirs)) = of(&self.detcd).zip(of(&self.etcd)) else { return Ok(()) };
        let ratio = if theirs > 0.0 { format!("{:.2}", ours / theirs) } else { "-".to_owned() };
        writeln!(f, "{name:<16}{figure:<24}{ours:>10.1}{theirs:>10.1}{ratio:>8}")
    }
}

/// The rounds of one operation on one server.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// One report a round.
    pub rounds: Vec<Report>,
}

impl Series {
    /// The median of a figure; `None` if a round lacks it.
    fn median(&self, figure: impl Fn(&Report) -> Option<f64>) -> Option<f64> {
        self.rounds.iter().map(figure).collect::<Option<Vec<f64>>>().map(median)
    }

    fn json(&self) -> Value {
        json!({
            "median_server_cpu_us_per_op": self.median(Report::server_cpu_us),
            "median_server_cpu_us_per_event": self.median(Report::server_cpu_us_per_event),
            "median_ops_per_second": self.median(|report| Some(report.throughput())),
            "median_p50_us": self.median(|report| Some(report.latency.p50_us as f64)),
            "median_p99_us": self.median(|report| Some(report.latency.p99_us as f64)),
            "rounds": self.rounds.iter().map(Report::json).collect::<Vec<Value>>(),
        })
    }
}

/// One operation on both servers.
#[derive(Clone, Debug)]
pub struct OperationComparison {
    /// Which, and how many keys or watchers it is about.
    pub name: String,
    /// What was measured.
    pub series: Pair<Series>,
}

impl OperationComparison {
    /// Processor time of `detcd` for one operation, divided by that of etcd; `None` where the system tells none.
    pub fn cpu_ratio(&self) -> Option<f64> {
        let cpu = |series: &Series| series.median(Report::server_cpu_us);
        let (ours, theirs) = (cpu(&self.series.detcd)?, cpu(&self.series.etcd)?);
        // Too short a turn for the clock of processes.
        (theirs > 0.0).then(|| ours / theirs)
    }

    fn json(&self) -> Value {
        json!({"op": self.name, "cpu_ratio": self.cpu_ratio(), "servers": self.series.json(Series::json)})
    }
}

impl fmt::Display for OperationComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |figure: &str, of: &dyn Fn(&Report) -> Option<f64>| {
            self.series.line(f, &self.name, figure, |series| series.median(of))
        };
        line("server CPU us per op", &Report::server_cpu_us)?;
        line("server CPU us per event", &Report::server_cpu_us_per_event)?;
        line("operations a second", &|report| Some(report.throughput()))?;
        line("p50 us", &|report| Some(report.latency.p50_us as f64))?;
        line("p99 us", &|report| Some(report.latency.p99_us as f64))
    }
}

/// How large one member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberSize {
    /// What its process has in memory; `None` where the system does not tell.
    pub memory: Option<Memory>,
    /// Its own `dbSize`.
    pub db_bytes: i64,
    /// Its own `dbSizeInUse`.
    pub db_in_use_bytes: i64,
}

impl MemberSize {
    fn json(&self) -> Value {
        json!({
            "resident_bytes": self.memory.map(|memory| memory.resident_bytes),
            "peak_bytes": self.memory.map(|memory| memory.peak_bytes),
            "db_bytes": self.db_bytes,
            "db_in_use_bytes": self.db_in_use_bytes,
        })
    }
}

/// How large all members are at some moment.
#[derive(Clone, Debug)]
pub struct SizeComparison {
    /// Which moment.
    pub when: &'static str,
    /// Each member, in order.
    pub members: Pair<Vec<MemberSize>>,
}

impl SizeComparison {
    fn json(&self) -> Value {
        let each = |members: &Vec<MemberSize>| members.iter().map(MemberSize::json).collect();
        json!({"when": self.when, "servers": self.members.json(each)})
    }
}

impl fmt::Display for SizeComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |figure: &str, of: &dyn Fn(&MemberSize) -> Option<f64>| {
            self.members.line(f, self.when, figure, |members| mean(members.iter().map(of)))
        };
        line("resident MiB a member", &|size| Some(size.memory?.resident_bytes as f64 / MIB))?;
        line("peak MiB a member", &|size| Some(size.memory?.peak_bytes as f64 / MIB))?;
        line("dbSize MiB a member", &|size| Some(size.db_bytes as f64 / MIB))?;
        line("dbSizeInUse MiB a member", &|size| Some(size.db_in_use_bytes as f64 / MIB))
    }
}

/// All that a comparison found.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// What it took to write the keys that come first, if there were any.
    pub preloaded: Option<Pair<Preloaded>>,
    /// How large the members were.
    pub sizes: Vec<SizeComparison>,
    /// The operations, in the order in which they were asked for.
    pub operations: Vec<OperationComparison>,
}

impl Comparison {
    /// One object with the medians and all rounds; the names carry the units.
    pub fn json(&self) -> Value {
        json!({
            "preload": self.preloaded.as_ref().map(|pair| pair.json(Preloaded::json)),
            "sizes": self.sizes.iter().map(SizeComparison::json).collect::<Vec<Value>>(),
            "operations": self.operations.iter().map(OperationComparison::json).collect::<Vec<Value>>(),
        })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<40}{:>10}{:>10}{:>8}", "medians", "detcd", "etcd", "ratio")?;
        if let Some(preloaded) = &self.preloaded {
            preloaded.line(f, "preload", "server CPU us per key", Preloaded::server_cpu_us)?;
            preloaded.line(f, "preload", "keys a second", |preloaded| Some(preloaded.throughput()))?;
        }
        self.sizes.iter().try_for_each(|sizes| sizes.fmt(f))?;
        self.operations.iter().try_for_each(|operation| operation.fmt(f))
    }
}

/// The middle of the values, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "there is at least one round");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { f64::midpoint(values[middle - 1], values[middle]) }
}

/// The mean, if each has a value and there is one.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::load::operation::Operation;
    use crate::load::report::Latency;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_middle_two() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
    }

    fn series(cpu_ms: u64, events: Option<u64>) -> Series {
        let latency = Latency { p50_us: 10, p90_us: 20, p99_us: 30, p99_9_us: 40, max_us: 50 };
        let report = Report {
            operation: Operation::Watch,
            watchers: Some(10),
            connections: 1,
            clients: 1,
            elapsed: Duration::from_secs(1),
            operations: 1_000,
            events,
            errors: 0,
            first_error: None,
            latency,
            server_cpu: Some(Duration::from_millis(cpu_ms)),
            own_cpu: None,
        };
        Series { rounds: vec![report] }
    }

    fn size(resident_mib: u64) -> MemberSize {
        let memory = Memory { resident_bytes: resident_mib << 20, peak_bytes: resident_mib << 21 };
        MemberSize { memory: Some(memory), db_bytes: 3 << 20, db_in_use_bytes: 2 << 20 }
    }

    fn comparison() -> Comparison {
        let watch = Pair { detcd: series(20, Some(10_000)), etcd: series(40, Some(10_000)) };
        let members = Pair { detcd: vec![size(10), size(30)], etcd: vec![size(40), size(40)] };
        Comparison {
            preloaded: None,
            sizes: vec![SizeComparison { when: "at the end", members }],
            operations: vec![OperationComparison { name: "watch 10".to_owned(), series: watch }],
        }
    }

    #[test]
    fn a_line_has_both_servers_and_their_ratio() {
        let text = comparison().to_string();
        for line in [
            "at the end      resident MiB a member         20.0      40.0    0.50\n",
            "watch 10        server CPU us per op          20.0      40.0    0.50\n",
            "watch 10        server CPU us per event        2.0       4.0    0.50\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }

    #[test]
    fn json_has_what_the_lines_have_and_each_member() {
        let json = comparison().json();
        assert_eq!(json["operations"][0]["cpu_ratio"], 0.5);
        assert_eq!(json["operations"][0]["servers"]["etcd"]["median_server_cpu_us_per_event"], 4.0);
        assert_eq!(json["sizes"][0]["servers"]["detcd"][1]["resident_bytes"], 30 << 20);
        assert!(json["preload"].is_null());
    }

    #[test]
    fn what_one_round_lacks_has_no_line() {
        let mut comparison = comparison();
        comparison.operations[0].series.detcd = series(20, None);
        assert!(!comparison.to_string().contains("per event"));
    }
}
