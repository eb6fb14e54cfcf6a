//! Many runs folded into one summary: sums for each scenario, marks, failures by their signatures, and whether enough
//! was done for the silence of the others to mean something.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use crate::results::{Commit, Told};
use crate::row::Verdict;
use crate::summary::Summary;
use crate::trial::replay_command;

/// A campaign of which fewer runs than this, of 100 of a scenario, did what is expected of a run did too little.
const COUNTING_PERCENT_MIN: u64 = 50;

/// Exit status of a campaign that found nothing and proves nothing: it did too little, or lost the planted failure.
pub const EXIT_LACKING: u8 = 4;

/// The least that a campaign has to have done of something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtLeast {
    /// Of what: `runs`, `ops`, `faults`, `leader-changes`, `events`, `sim-s`, or `mark:NAME`.
    pub what: String,
    /// How much.
    pub least: u64,
}

/// All failures with one signature.
#[derive(Clone, Debug, Serialize)]
pub struct Group {
    /// What they have in common.
    pub signature: String,
    /// How often it was seen.
    pub count: u64,
    /// The newest commit on which it was.
    pub commit: String,
    /// The shortest run of those on that commit.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// Its length.
    pub events: u64,
    /// How long it took.
    pub wall_ms: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// What happened in it.
    pub detail: Option<String>,
    /// Its failure file.
    pub repro: Option<String>,
    #[serde(skip)]
    newest: Commit,
}

/// What a campaign came to so far.
#[derive(Debug, Default)]
pub struct Fold {
    summary: Summary,
    marks: BTreeMap<String, u64>,
    groups: BTreeMap<String, Group>,
    lacking: Vec<String>,
}

impl Fold {
    /// A fold with a line in its table for each of `scenarios`, whether they are run or not.
    pub fn of(scenarios: impl IntoIterator<Item = String>) -> Fold {
        Fold { summary: Summary::of(scenarios), ..Fold::default() }
    }

    /// Adds a run that was made with a build of `commit`; tells whether it failed as none before.
    pub fn add(&mut self, told: &Told, commit: &Commit) -> bool {
        self.summary.add(&told.row, told.shortfalls.is_empty());
        for (mark, count) in &told.marks {
            *self.marks.entry(mark.clone()).or_default() += count;
        }
        told.signature().is_some_and(|signature| self.add_failure(signature, told, commit))
    }

    fn add_failure(&mut self, signature: String, told: &Told, commit: &Commit) -> bool {
        let row = &told.row;
        let group = Group {
            signature: signature.clone(),
            count: 1,
            commit: commit.to_string(),
            scenario: row.scenario.clone(),
            seed: row.seed,
            events: row.events,
            wall_ms: row.wall_ms,
            verdict: row.verdict,
            detail: row.detail.clone(),
            repro: row.repro.clone(),
            newest: commit.clone(),
        };
        let Some(before) = self.groups.get_mut(&signature) else {
            self.groups.insert(signature, group);
            return true;
        };
        let count = before.count + 1;
        let is_better = commit > &before.newest || (*commit == before.newest && row.events < before.events);
        if is_better {
            *before = group;
        }
        before.count = count;
        false
    }

    /// Something is missing, so that the campaign proves nothing.
    pub fn lacks(&mut self, what: String) {
        self.lacking.push(what);
    }

    /// Notes what is missing of what a campaign has to do at least.
    pub fn judge_work(&mut self, wanted: &[AtLeast]) {
        for (scenario, runs, counting) in self.summary.counting() {
            if counting * 100 < runs * COUNTING_PERCENT_MIN {
                self.lacking.push(format!("only {counting} of {runs} runs of {scenario} did what it expects of a run"));
            }
        }
        if self.summary.runs() == 0 {
            self.lacking.push("nothing was run".to_string());
        }
        for AtLeast { what, least } in wanted {
            let done = self.done(what).unwrap_or(0);
            if done < *least {
                self.lacking.push(format!("{what} is {done}, not at least {least}"));
            }
        }
    }

    fn done(&self, what: &str) -> Option<u64> {
        match what.strip_prefix("mark:") {
            Some(mark) => self.marks.get(mark).copied(),
            None => self.summary.total_of(what),
        }
    }

    /// How many runs there were.
    pub fn runs(&self) -> u64 {
        self.summary.runs()
    }

    /// How many of them failed.
    pub fn failures(&self) -> u64 {
        self.summary.failures()
    }

    /// The worst verdict of all runs.
    pub fn worst(&self) -> Verdict {
        self.summary.worst()
    }

    /// The exit status: the worst verdict decides; if all is well, whether enough was done.
    pub fn exit_status(&self) -> u8 {
        match self.worst() {
            Verdict::Ok if !self.lacking.is_empty() => EXIT_LACKING,
            worst => worst.exit_status(),
        }
    }

    /// The failures: on newest commits first, and those seen most often first of those.
    pub fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by(|a, b| (&b.newest, b.count).cmp(&(&a.newest, a.count)));
        groups
    }

    /// All of it for people; without failures that were seen once only, if those are told already.
    pub fn text(&self, with_single: bool) -> String {
        let mut text = self.summary.table();
        for group in self.groups().into_iter().filter(|group| with_single || group.count > 1) {
            let Group { signature, count, commit, scenario, seed, events, .. } = group;
            text.push_str(&format!("\n{count} x {signature}\n  {scenario} (seed {seed}, {events} events), {commit}\n"));
            if let Some(detail) = &group.detail {
                text.push_str(&format!("  {detail}\n"));
            }
            if let Some(path) = &group.repro {
                text.push_str(&format!("  again: {}\n", replay_command(path)));
            }
        }
        for what in &self.lacking {
            text.push_str(&format!("\nnot enough: {what}\n"));
        }
        text
    }

    /// All of it for programs.
    pub fn json(&self) -> Value {
        let mut value = self.summary.json();
        value["marks"] = json!(self.marks);
        value["failures"] = json!(self.groups());
        value["lacking"] = json!(self.lacking);
        value["verdict"] = json!(self.worst());
        value
    }
}
