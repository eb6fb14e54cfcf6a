//! `detcd-sim check`: the checkers on a history from a file.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use detcd_sim::check::Violation;
use detcd_sim::history::{HistoryEvent, Outcome};
use serde::Serialize;

use crate::args::UsageError;
use crate::history_file::{BadLine, Line, Reader, What};
use crate::judge::Judge;
use crate::row::Verdict;
use crate::trial::said_of;

/// What a history held and came to, as `--json` prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Lines of the file, up to the one that proved a violation.
    pub lines: u64,
    /// Operations that were invoked.
    pub ops: u64,
    /// Operations that were acknowledged.
    pub acknowledged: u64,
    /// Operations of which nobody knows how they ended; without those that never returned.
    pub unknown: u64,
    /// Revisions that the witness told of.
    pub revisions: u64,
    /// Events that watchers received.
    pub events: u64,
    /// Times that a member died.
    pub deaths: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// Who noticed, if it did not end well.
    pub checker: Option<String>,
    /// What happened, in one line.
    pub detail: Option<String>,
    /// What a human should read of it.
    #[serde(skip)]
    said: String,
}

impl Checked {
    fn count(&mut self, line: &Line) {
        match &line.what {
            What::Died(_) => self.deaths += 1,
            What::History(HistoryEvent::Invoke { .. }) => self.ops += 1,
            What::History(HistoryEvent::Return { outcome: Outcome::Ok(_), .. }) => self.acknowledged += 1,
            What::History(HistoryEvent::Return { outcome: Outcome::Unknown, .. }) => self.unknown += 1,
            What::History(HistoryEvent::Revision { .. }) => self.revisions += 1,
            What::History(HistoryEvent::WatchReceive { response, .. }) => self.events += response.events.len() as u64,
            What::History(_) => {}
        }
    }

    fn judged(&mut self, judged: Result<(), Violation>) {
        match judged {
            Ok(()) => {
                self.said = format!(
                    "ok: {} operations, {} of them acknowledged and {} of unknown outcome; {} revisions, {} watched \
                     events, {} deaths of members",
                    self.ops, self.acknowledged, self.unknown, self.revisions, self.events, self.deaths
                );
            }
            Err(violation) => {
                self.verdict = Verdict::of(violation.kind);
                self.said = format!("line {}: {}", self.lines, said_of(&violation));
                self.checker = Some(violation.checker.to_string());
                self.detail = Some(violation.detail);
            }
        }
    }
}

/// Judges the history that `from` holds.
///
/// # Errors
/// The line that no history has.
pub fn judge(from: impl BufRead) -> Result<Checked, BadLine> {
    let mut reader = Reader::begin(from)?;
    let mut judge = Judge::new(reader.header());
    let mut checked = Checked::default();
    let mut judged = Ok(());
    for line in reader.by_ref() {
        let line = line?;
        checked.count(&line);
        judged = judge.take(&line);
        if judged.is_err() {
            break;
        }
    }
    checked.lines = reader.lines();
    checked.judged(judged.and_then(|()| judge.end()));
    Ok(checked)
}

/// Judges the history in `file`, or on standard input for `-`, and prints what came of it to `to`.
///
/// # Errors
/// The file cannot be read, or a line of it is wrong.
pub fn check(file: &Path, json: bool, mut to: impl Write) -> Result<Verdict, UsageError> {
    let wrong = |what: &dyn std::fmt::Display| UsageError(format!("{}: {what}", file.display()));
    let judged = if file == Path::new("-") {
        judge(io::stdin().lock())
    } else {
        judge(BufReader::new(File::open(file).map_err(|error| wrong(&error))?))
    };
    let checked = judged.map_err(|bad| wrong(&bad))?;
    let line = if json { serde_json::to_string(&checked).expect("it is JSON") } else { checked.said.clone() };
    // Without a reader the status has to do.
    let _ = writeln!(to, "{line}");
    Ok(checked.verdict)
}
