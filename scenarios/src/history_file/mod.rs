//! Histories on file: what clients did and saw, one JSON object a line, so that a recorded run of any etcd cluster can
//! be judged by the simulator's checkers. `scenarios/HISTORY.md` describes the format for those who write one.
//!
//! The first line is the [`Header`]; each other line has its time and an event. Reading checks what any history has to
//! keep to, whatever the cluster did (times in order, answers to what was asked); everything else is for the checkers.

mod json;
mod line;
mod messages;
mod read;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, Write};

use detcd_sim::check::Witness;
use detcd_sim::history::{HistoryEvent, Nanos};

pub use line::outcome_of_error;
pub use read::Reader;

/// The name of the format, on the first line.
pub const FORMAT: &str = "detcd-history";

/// The version of the format that this build writes and reads.
pub const VERSION: u64 = 1;

/// What has to be known of a history beforehand: its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The ids of the cluster's members, as headers show them.
    pub members: Vec<u64>,
    /// Whether revisions are told as they come about, or by a watcher that may lag.
    pub witness: Witness,
    /// The members' `--max-txn-ops`; the smallest, if they differ.
    pub txn_ops_max: usize,
    /// How far the rate of a member's clock may be off from that of the recorder's, in parts per million.
    pub clock_skew_ppm_max: u64,
    /// How far members' clocks may jump ahead during the history, all jumps taken together.
    pub clock_steps: Nanos,
}

impl Header {
    /// For a real cluster of these members with etcd's defaults and clocks that are right to a tenth of a percent.
    pub fn of_real_cluster(members: Vec<u64>) -> Header {
        Header { members, witness: Witness::Recorded, txn_ops_max: 128, clock_skew_ppm_max: 1_000, clock_steps: 0 }
    }
}

/// One line after the first.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When, in nanoseconds on the recorder's clock; never less than on the line before.
    pub at: Nanos,
    /// What.
    pub what: What,
}

/// What a line tells.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// A client did or saw something, or the witness told of a revision.
    History(HistoryEvent),
    /// The member with this id is dead and will be started again: it may be behind what it told before.
    Died(u64),
}

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Which, counted from 1.
    pub line: u64,
    /// What is wrong with it, and what would be right.
    pub what: String,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for BadLine {}

/// Writes a history, line by line.
#[derive(Debug)]
pub struct Writer<W> {
    to: W,
}

impl<W: Write> Writer<W> {
    /// Begins a history with its first line.
    ///
    /// # Errors
    /// Whatever `to` says.
    pub fn begin(mut to: W, header: &Header) -> io::Result<Writer<W>> {
        writeln!(to, "{}", line::header_to_json(header))?;
        Ok(Writer { to })
    }

    /// Writes one line.
    ///
    /// # Errors
    /// Whatever the file says.
    pub fn line(&mut self, line: &Line) -> io::Result<()> {
        writeln!(self.to, "{}", line::to_json(line))
    }

    /// Sees to it that everything is written, and gives the file back.
    ///
    /// # Errors
    /// Whatever the file says.
    pub fn end(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }
}
