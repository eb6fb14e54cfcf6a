//! What is wrong with a scenario file, in one line.

use std::fmt;

/// What is wrong with a scenario: file, line, and what is allowed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file, as it was named.
    pub file: String,
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong and what is allowed, without line breaks.
    pub what: String,
}

impl ScenarioError {
    /// What the TOML reader found.
    pub(super) fn of_toml(file: &str, text: &str, error: &toml::de::Error) -> ScenarioError {
        let offset = error.span().map_or(0, |span| span.start);
        let words: Vec<&str> = error.message().split_whitespace().collect();
        ScenarioError { file: file.into(), line: line_at(text, offset), what: words.join(" ") }
    }

    /// A rule that the field named `field` breaks.
    pub(super) fn of_field(file: &str, text: &str, field: &str, what: String) -> ScenarioError {
        let names_field = |line: &str| {
            let rest = line.trim_start().strip_prefix(field).unwrap_or("x");
            rest.trim_start().starts_with('=')
        };
        let line = text.lines().zip(1..).find(|(line, _)| names_field(line)).map_or(1, |(_, number)| number);
        ScenarioError { file: file.into(), line, what }
    }
}

/// The number of the line that the byte at `offset` is in, counted from 1.
fn line_at(text: &str, offset: usize) -> u64 {
    let before = &text.as_bytes()[..offset.min(text.len())];
    1 + before.iter().map(|byte| u64::from(*byte == b'\n')).sum::<u64>()
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.what)
    }
}

impl std::error::Error for ScenarioError {}
