//! The table at the end of a campaign: one line a scenario.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Value, json};

use crate::row::{Row, Verdict};

/// All runs of one scenario, added up.
#[derive(Clone, Debug, Default, Serialize)]
struct Sum {
    scenario: String,
    runs: u64,
    counting: u64,
    ops: u64,
    faults: u64,
    leader_changes: u64,
    events: u64,
    sim_ms: u64,
    wall_ms: u64,
    safety: u64,
    liveness: u64,
    crash: u64,
}

impl Sum {
    /// One run.
    fn of(row: &Row, counts: bool) -> Sum {
        let is = |verdict: Verdict| u64::from(row.verdict == verdict);
        Sum {
            scenario: String::new(),
            runs: 1,
            counting: u64::from(counts),
            ops: row.ops,
            faults: row.faults,
            leader_changes: row.leader_changes,
            events: row.events,
            sim_ms: row.sim_ms,
            wall_ms: row.wall_ms,
            safety: is(Verdict::Safety),
            liveness: is(Verdict::Liveness),
            crash: is(Verdict::Crash),
        }
    }

    fn add(&mut self, other: &Sum) {
        self.runs += other.runs;
        self.counting += other.counting;
        self.ops += other.ops;
        self.faults += other.faults;
        self.leader_changes += other.leader_changes;
        self.events += other.events;
        self.sim_ms += other.sim_ms;
        self.wall_ms += other.wall_ms;
        self.safety += other.safety;
        self.liveness += other.liveness;
        self.crash += other.crash;
    }
}

/// What [`Summary::total_of`] knows.
pub const AMOUNTS: [&str; 6] = ["runs", "ops", "faults", "leader-changes", "events", "sim-s"];

/// What a campaign came to so far.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    sums: Vec<Sum>,
    worst: Verdict,
}

impl Summary {
    /// A summary with a line for each of `scenarios`, in that order.
    pub fn of(scenarios: impl IntoIterator<Item = String>) -> Summary {
        let sums = scenarios.into_iter().map(|scenario| Sum { scenario, ..Sum::default() }).collect();
        Summary { sums, worst: Verdict::Ok }
    }

    /// Adds a run; it counts if it did all that its scenario expects of a run.
    pub fn add(&mut self, row: &Row, counts: bool) {
        let sum = match self.sums.iter_mut().position(|sum| sum.scenario == row.scenario) {
            Some(place) => &mut self.sums[place],
            None => {
                self.sums.push(Sum { scenario: row.scenario.clone(), ..Sum::default() });
                self.sums.last_mut().expect("it was just added")
            }
        };
        sum.add(&Sum::of(row, counts));
        self.worst = self.worst.max(row.verdict);
    }

    /// Each scenario that was run, with the number of its runs and of those that count.
    pub fn counting(&self) -> impl Iterator<Item = (&str, u64, u64)> {
        let run = self.sums.iter().filter(|sum| sum.runs > 0);
        run.map(|sum| (sum.scenario.as_str(), sum.runs, sum.counting))
    }

    /// How much of `what` there was in all: `runs`, `ops`, `faults`, `leader-changes`, `events` or `sim-s`.
    pub fn total_of(&self, what: &str) -> Option<u64> {
        let total = self.total();
        let amounts = [total.runs, total.ops, total.faults, total.leader_changes, total.events, total.sim_ms / 1_000];
        AMOUNTS.iter().zip(amounts).find(|(name, _)| **name == what).map(|(_, amount)| amount)
    }

    /// The sums for programs: those of all runs, and those of each scenario.
    pub fn json(&self) -> Value {
        let mut value = json!(self.total());
        value["scenarios"] = json!(self.sums);
        value
    }

    /// The worst verdict of all runs.
    pub fn worst(&self) -> Verdict {
        self.worst
    }

    /// How many runs there were.
    pub fn runs(&self) -> u64 {
        self.sums.iter().map(|sum| sum.runs).sum()
    }

    /// How many of them ended badly.
    pub fn failures(&self) -> u64 {
        self.sums.iter().map(|sum| sum.safety + sum.liveness + sum.crash).sum()
    }

    /// The table.
    pub fn table(&self) -> String {
        let mut lines = vec![HEAD.map(str::to_string)];
        lines.extend(self.sums.iter().map(cells));
        lines.push(cells(&self.total()));
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
        let mut text = String::new();
        for line in &lines {
            // Names and verdicts start at the left, numbers end at the right.
            let _ = write!(text, "{:<1$}", line[0], widths[0]);
            for column in 1..HEAD.len() - 1 {
                let _ = write!(text, "  {:>1$}", line[column], widths[column]);
            }
            let _ = writeln!(text, "  {}", line[HEAD.len() - 1]);
        }
        text
    }

    fn total(&self) -> Sum {
        let mut total = Sum { scenario: "total".to_string(), ..Sum::default() };
        for sum in &self.sums {
            total.add(sum);
        }
        total
    }
}

/// `count`: how many runs did what their scenario expects of a run.
const HEAD: [&str; 10] =
    ["scenario", "runs", "count", "ops", "faults", "leader changes", "events", "sim s", "sim/wall", "verdict"];

fn cells(sum: &Sum) -> [String; HEAD.len()] {
    let speed = sum.sim_ms.checked_div(sum.wall_ms).map_or("-".to_string(), |times| format!("{times}x"));
    [
        sum.scenario.clone(),
        sum.runs.to_string(),
        sum.counting.to_string(),
        sum.ops.to_string(),
        sum.faults.to_string(),
        sum.leader_changes.to_string(),
        sum.events.to_string(),
        (sum.sim_ms / 1000).to_string(),
        speed,
        verdicts(sum),
    ]
}

fn verdicts(sum: &Sum) -> String {
    let bad = [("crash", sum.crash), ("safety", sum.safety), ("liveness", sum.liveness)];
    let bad: Vec<String> =
        bad.iter().filter(|(_, count)| *count > 0).map(|(word, count)| format!("{count} {word}")).collect();
    match (bad.is_empty(), sum.runs) {
        (false, _) => bad.join(", "),
        (true, 0) => "not run".to_string(),
        (true, _) => "ok".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(verdict: Verdict) -> Row {
        Row { ops: 500, faults: 3, leader_changes: 1, sim_ms: 30_000, wall_ms: 100, verdict, ..Row::default() }
    }

    #[test]
    fn the_table_adds_up_and_names_what_failed() {
        let mut summary = Summary::of(["calm", "swarm", "idle"].map(str::to_string));
        let of = |scenario: &str, verdict| Row { scenario: scenario.to_string(), ..row(verdict) };
        summary.add(&of("calm", Verdict::Ok), true);
        summary.add(&of("swarm", Verdict::Ok), true);
        summary.add(&of("swarm", Verdict::Liveness), false);
        summary.add(&of("swarm", Verdict::Safety), true);
        let table = summary.table();
        let line = |name: &str| table.lines().find(|line| line.starts_with(name)).expect("it has a line").to_string();
        assert!(line("calm").ends_with("  ok"), "{table}");
        assert!(line("idle").ends_with("  not run"), "{table}");
        assert!(line("swarm").ends_with("  1 safety, 1 liveness"), "{table}");
        let numbers = |name: &str| -> Vec<String> { line(name).split_whitespace().map(str::to_string).collect() };
        assert_eq!(numbers("swarm")[1..4], ["3", "2", "1500"], "{table}");
        assert_eq!(numbers("total")[1..4], ["4", "3", "2000"], "{table}");
        assert_eq!(summary.worst(), Verdict::Safety);
        assert_eq!((summary.runs(), summary.failures()), (4, 2));
    }
}
