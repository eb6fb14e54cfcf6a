//! The results of a campaign as JSON lines: a head for each sitting, then a line a run, which is that of `--json` with
//! some fields more.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::args::SeedRange;
use crate::campaign::Seeds;
use crate::failure::Build;
use crate::row::{Row, Verdict};
use crate::signature::signature;
use crate::trial::Trial;

/// The name of the format, in each head.
const FORMAT: &str = "detcd-campaign";

/// The version of the format that this build writes and reads.
const VERSION: u64 = 1;

/// A commit: newer ones are greater.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Commit {
    /// When it was made, in seconds since 1970; 0 if nobody knows.
    pub at_s: u64,
    /// Its hash, or whatever else it is called.
    pub name: String,
}

impl FromStr for Commit {
    type Err = std::convert::Infallible;

    /// `SECONDS NAME`, or only a name.
    fn from_str(text: &str) -> Result<Commit, Self::Err> {
        let timed = text.split_once(' ').and_then(|(at_s, name)| Some((at_s.parse().ok()?, name)));
        let (at_s, name) = timed.unwrap_or((0, text));
        Ok(Commit { at_s, name: name.to_string() })
    }
}

impl fmt::Display for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.name.as_str(), self.at_s) {
            ("", _) => f.write_str("unknown commit"),
            (name, 0) => f.write_str(name),
            (name, at_s) => write!(f, "{at_s} {name}"),
        }
    }
}

impl Commit {
    /// That of this build, if it was built in a git repository or was told.
    pub fn of_this_build() -> Commit {
        env!("DETCD_COMMIT").parse().unwrap_or_default()
    }
}

/// What a sitting of a campaign sets out to do, and with which build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    format: String,
    version: u64,
    /// The commit of the build, as [`Commit`] reads it.
    pub commit: String,
    /// The build.
    pub build: Build,
    /// The names of the scenarios, in the order in which they are run on each seed.
    pub scenarios: Vec<String>,
    /// The first seed.
    pub first_seed: u64,
    /// The seed after the last, if there is a last.
    pub end_seed: Option<u64>,
    /// Which part of how many.
    pub shard: String,
}

impl Head {
    /// The head of a sitting with this build.
    pub fn new(commit: &Commit, scenarios: Vec<String>, seeds: Seeds, shard: String) -> Head {
        let (first_seed, end_seed) = match seeds {
            Seeds::Range(SeedRange { start, end }) => (start, Some(end)),
            Seeds::From(start) => (start, None),
        };
        let (format, version, commit) = (FORMAT.to_string(), VERSION, commit.to_string());
        Head { format, version, commit, build: Build::this(), scenarios, first_seed, end_seed, shard }
    }

    /// The seeds of all sittings.
    pub fn seeds(&self) -> Seeds {
        match self.end_seed {
            Some(end) => Seeds::Range(SeedRange { start: self.first_seed, end }),
            None => Seeds::From(self.first_seed),
        }
    }
}

/// One run, as a campaign keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// The line of `--json`.
    #[serde(flatten)]
    pub row: Row,
    /// What it did not reach of what its scenario expects of one run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortfalls: Vec<String>,
    /// How often each rare place was reached.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub marks: BTreeMap<String, u64>,
    /// Who noticed what, without numbers, if it did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// It is the planted failure, and was reported as it has to be (or was not).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planted: Option<bool>,
}

impl Told {
    /// What is kept of a run.
    pub fn of(trial: &Trial) -> Told {
        let row = trial.row.clone();
        let shortfalls = trial.shortfalls.clone();
        let marks = trial.marks.iter().map(|(mark, count)| (mark.to_string(), *count)).collect();
        Told { signature: signature_of(&row), row, shortfalls, marks, planted: None }
    }

    /// The signature of its failure.
    pub fn signature(&self) -> Option<String> {
        self.signature.clone().or_else(|| signature_of(&self.row))
    }
}

/// The signature of a run's failure, if it failed.
pub fn signature_of(row: &Row) -> Option<String> {
    if row.verdict == Verdict::Ok {
        return None;
    }
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    Some(signature(row.verdict, &text(&row.checker), &text(&row.detail)))
}

/// A line of results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// A sitting begins.
    Head(Box<Head>),
    /// A run.
    Run(Box<Told>),
}

impl Line {
    /// Reads a line: of a campaign's results, or of the output of `run --json`.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<Line, String> {
        let neither = |error: serde_json::Error| format!("neither a head nor a run of a campaign: {error}");
        let value: Value = serde_json::from_str(text).map_err(neither)?;
        if value.get("format").is_none() {
            return serde_json::from_value(value).map(|told| Line::Run(Box::new(told))).map_err(neither);
        }
        if value["format"] != FORMAT {
            return Err(format!("its format is {}, not \"{FORMAT}\"", value["format"]));
        }
        if value["version"] != VERSION {
            let version = &value["version"];
            return Err(format!("results of format version {version}; this build reads version {VERSION}"));
        }
        serde_json::from_value(value).map(|head| Line::Head(Box::new(head))).map_err(neither)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_written() {
        let head = Head::new(&Commit::of_this_build(), vec!["calm".into()], Seeds::From(u64::MAX), "1/1".into());
        let line = serde_json::to_string(&head).expect("JSON");
        assert_eq!(Line::parse(&line), Ok(Line::Head(Box::new(head))));
        let row = Row {
            seed: u64::MAX,
            verdict: Verdict::Crash,
            checker: Some("no-panic".into()),
            detail: Some("m1 panicked".into()),
            ..Row::default()
        };
        let marks = BTreeMap::from([("log: rotated".to_string(), 3)]);
        let told = Told { signature: signature_of(&row), row: row.clone(), marks, ..Told::default() };
        let line = serde_json::to_string(&told).expect("JSON");
        assert_eq!(Line::parse(&line), Ok(Line::Run(Box::new(told))));
        // The output of `run --json` will do.
        let line = serde_json::to_string(&row).expect("JSON");
        let Ok(Line::Run(told)) = Line::parse(&line) else { panic!("it is a run") };
        assert_eq!(told.signature().as_deref(), Some("crash no-panic: m# panicked"));
    }

    #[test]
    fn other_lines_are_refused() {
        assert!(Line::parse("{}").expect_err("it is empty").starts_with("neither"));
        assert!(Line::parse("{\"format\":\"x\"}").expect_err("it is something else").contains("\"x\""));
        assert!(Line::parse("{\"format\":\"detcd-campaign\",\"version\":2}").expect_err("newer").contains("version 2"));
    }

    #[test]
    fn newer_commits_are_greater() {
        let commit = |text: &str| text.parse::<Commit>().expect("any text is a commit");
        assert!(commit("1790000000 abc") > commit("999999999 def"));
        assert!(commit("1 abc") > commit("abc") && commit("abc") > commit(""));
        assert_eq!(commit("12 abc").to_string(), "12 abc");
        assert_eq!(commit("my build").to_string(), "my build");
    }
}
