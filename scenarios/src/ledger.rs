//! The folder of a campaign: its results so far, from which an interrupted one goes on.
//!
//! `results.jsonl` gets each run in one write, in the order of the plan, so the number of its runs is the place of the
//! next one; a line that was torn when the machine went down is cut. `spent_ms` says how much of `--for` is used up.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::args::UsageError;
use crate::results::{Head, Line, Told};

/// How often the time that was spent is written down.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// The folder of a campaign, while somebody works on it.
#[derive(Debug)]
pub struct Ledger {
    folder: PathBuf,
    results: File,
    /// The time of the earlier sittings.
    spent_before: Duration,
    began: Instant,
    noted: Instant,
}

/// What earlier sittings left.
#[derive(Debug, Default)]
pub struct Past {
    /// The heads and runs, in order.
    pub lines: Vec<Line>,
    /// The time that was spent on them.
    pub spent: Duration,
}

impl Past {
    /// What the first sitting set out to do.
    pub fn head(&self) -> Option<&Head> {
        self.lines.iter().find_map(|line| match line {
            Line::Head(head) => Some(&**head),
            Line::Run(_) => None,
        })
    }

    /// The runs, without the planted one.
    pub fn runs(&self) -> impl Iterator<Item = &Told> {
        self.lines.iter().filter_map(|line| match line {
            Line::Run(told) if told.planted.is_none() => Some(&**told),
            _ => None,
        })
    }

    /// Whether the planted failure was reported as it has to be.
    pub fn planted(&self) -> bool {
        self.lines.iter().any(|line| matches!(line, Line::Run(told) if told.planted == Some(true)))
    }
}

impl Ledger {
    /// Opens a campaign's folder, which is made if it is not there.
    ///
    /// # Errors
    /// The folder cannot be had, somebody else works on it, or a line of its results is wrong.
    pub fn open(folder: &Path) -> Result<(Ledger, Past), UsageError> {
        let path = folder.join("results.jsonl");
        let wrong = |what: &dyn std::fmt::Display| UsageError(format!("--campaign {}: {what}", folder.display()));
        let opened = fs::create_dir_all(folder)
            .and_then(|()| File::options().create(true).read(true).write(true).truncate(false).open(&path));
        let mut results = opened.map_err(|error| wrong(&error))?;
        match results.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(wrong(&"another process works on it")),
            Err(TryLockError::Error(error)) => return Err(wrong(&error)),
        }
        let lines = whole_lines(&mut results).map_err(|error| wrong(&error))?;
        let parse = |(text, number): (&String, u64)| {
            Line::parse(text).map_err(|what| wrong(&format!("results.jsonl: line {number}: {what}")))
        };
        let lines = lines.iter().zip(1..).map(parse).collect::<Result<Vec<Line>, UsageError>>()?;
        let spent = fs::read_to_string(folder.join("spent_ms")).ok().and_then(|text| text.trim().parse().ok());
        let spent = Duration::from_millis(spent.unwrap_or(0));
        let now = Instant::now();
        let folder = folder.to_path_buf();
        Ok((Ledger { folder, results, spent_before: spent, began: now, noted: now }, Past { lines, spent }))
    }

    /// Keeps a line for good.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn keep(&mut self, line: &impl Serialize) -> io::Result<()> {
        let mut text = serde_json::to_string(line).expect("a line is JSON");
        text.push('\n');
        self.results.write_all(text.as_bytes())?;
        if self.noted.elapsed() >= NOTE_EVERY { self.note() } else { Ok(()) }
    }

    /// Notes the time that was spent so far.
    ///
    /// # Errors
    /// Whatever the file system says.
    pub fn note(&mut self) -> io::Result<()> {
        self.noted = Instant::now();
        let spent = self.spent_before + self.began.elapsed();
        let half = self.folder.join(".spent_ms");
        fs::write(&half, format!("{}\n", spent.as_millis()))?;
        fs::rename(half, self.folder.join("spent_ms"))
    }
}

/// The lines of a file; what follows the last whole one is cut off.
fn whole_lines(file: &mut File) -> io::Result<Vec<String>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
    bytes.truncate(whole);
    file.set_len(whole as u64)?;
    file.seek(SeekFrom::End(0))?;
    let text = String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(text.lines().map(str::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Row;

    fn told(seed: u64) -> Told {
        Told { row: Row { seed, ..Row::default() }, ..Told::default() }
    }

    #[test]
    fn a_torn_line_is_cut_and_what_was_whole_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("a/campaign");
        let (mut ledger, past) = Ledger::open(&folder).expect("it is made");
        assert!(past.lines.is_empty() && past.head().is_none() && past.spent.is_zero());
        assert!(Ledger::open(&folder).expect_err("it is taken").0.contains("another process works on it"));
        (1..4).try_for_each(|seed| ledger.keep(&told(seed))).expect("there is room");
        ledger.note().expect("there is room");
        drop(ledger);
        let path = folder.join("results.jsonl");
        let text = fs::read_to_string(&path).expect("it is there");
        fs::write(&path, &text[..text.len() - 5]).expect("written");
        let (mut ledger, past) = Ledger::open(&folder).expect("it is whole enough");
        assert_eq!(past.runs().map(|told| told.row.seed).collect::<Vec<_>>(), [1, 2]);
        ledger.keep(&told(9)).expect("there is room");
        drop(ledger);
        let (_, past) = Ledger::open(&folder).expect("it is whole");
        assert_eq!(past.runs().map(|told| told.row.seed).collect::<Vec<_>>(), [1, 2, 9]);
    }

    #[test]
    fn a_wrong_line_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("results.jsonl"), "{\"seed\":\"x\"}\n").expect("written");
        let line = Ledger::open(folder.path()).expect_err("it is wrong").0;
        assert!(line.contains("results.jsonl: line 1: neither a head nor a run"), "{line}");
    }
}
