//! The file of a transcript: what it is called and why it is there, then commands, each with what came of it.
//!
//! A line that begins with `#` is a comment, and the first two paragraphs of comments are the title and the reason. A
//! line that is indented is output, of the command above it. Every other line that is not empty is a command.

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::command;
use crate::play::Play;

/// How far output is indented.
const INDENT: &str = "    ";

/// So many lines of what happened before an error are shown.
const ERROR_LINES: usize = 40;

/// A transcript as it is written down.
#[derive(Debug)]
pub struct Transcript {
    /// Its name in messages.
    path: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    /// A comment or an empty line, as it stands.
    Kept(String),
    Command {
        line: usize,
        text: String,
        output: Vec<String>,
    },
}

impl Transcript {
    /// Reads a transcript; `path` is what messages call it.
    ///
    /// # Errors
    /// It has no title or reason, or output before any command. Commands are read when they are performed.
    pub fn read(path: &str, text: &str) -> Result<Transcript, String> {
        let mut parts: Vec<Part> = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                parts.push(Part::Kept(line.trim_end().to_owned()));
            } else if let Some(shown) = line.strip_prefix(INDENT) {
                match parts.last_mut() {
                    Some(Part::Command { output, .. }) => output.push(shown.trim_end().to_owned()),
                    _ => return Err(format!("{path}:{number}: output without a command right above it")),
                }
            } else if line.starts_with(' ') {
                return Err(format!("{path}:{number}: output is indented by four columns, a command by none"));
            } else {
                parts.push(Part::Command { line: number, text: line.trim_end().to_owned(), output: Vec::new() });
            }
        }
        let said = |part: Option<&Part>| matches!(part, Some(Part::Kept(text)) if text.len() > 2);
        if !said(parts.first()) || !matches!(parts.get(1), Some(Part::Kept(text)) if text == "#") || !said(parts.get(2))
        {
            return Err(format!("{path}:1: it begins with '# Title', '#', and '# why it is there'"));
        }
        Ok(Transcript { path: path.to_owned(), parts })
    }

    /// Performs every command; the same transcript with what came of them now.
    ///
    /// # Errors
    /// A command that cannot be read or carried out, or that makes a member panic, by file and line; and what happened
    /// right before it.
    pub fn perform(&self) -> Result<Transcript, String> {
        let mut play = Play::default();
        let mut parts = Vec::new();
        for part in &self.parts {
            let (line, text) = match part {
                Part::Kept(text) => {
                    parts.push(Part::Kept(text.clone()));
                    continue;
                }
                Part::Command { line, text, .. } => (*line, text.clone()),
            };
            match perform_one(&mut play, &text) {
                Ok(output) => parts.push(Part::Command { line, text, output }),
                Err(why) => {
                    let before = Transcript { path: String::new(), parts }.text();
                    let lines: Vec<&str> = before.lines().collect();
                    let last = lines[lines.len().saturating_sub(ERROR_LINES)..].join("\n  ");
                    return Err(format!("{}:{line}: {why}\nbefore that:\n  {last}", self.path));
                }
            }
        }
        Ok(Transcript { path: self.path.clone(), parts })
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Kept(line) => writeln!(text, "{line}").expect("a string grows"),
                Part::Command { text: command, output, .. } => {
                    writeln!(text, "{command}").expect("a string grows");
                    output.iter().for_each(|line| writeln!(text, "{INDENT}{line}").expect("a string grows"));
                }
            }
        }
        text
    }

    /// Where `performed` differs from what is written here: file, line and command, and both outputs.
    pub fn differences(&self, performed: &Transcript) -> String {
        let mut told = String::new();
        for parts in self.parts.iter().zip(&performed.parts) {
            let (Part::Command { line, text, output: wanted }, Part::Command { output: got, .. }) = parts else {
                continue;
            };
            if wanted != got {
                let first = wanted.iter().zip(got).take_while(|(one, other)| one == other).count();
                let at = line + 1 + first;
                writeln!(told, "{}:{at}: '{text}' does something else", self.path).expect("a string grows");
                told.push_str(&difference(wanted, got));
            }
        }
        told
    }
}

fn perform_one(play: &mut Play, text: &str) -> Result<Vec<String>, String> {
    let command = command::parse(text)?;
    guarded(|| play.command(&command))
}

/// What `act` gives, or what it said when it panicked.
pub fn guarded<T>(act: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Err(format!("panic: {}", said.unwrap_or_default()))
    })
}

/// Two outputs, line by line: what both have around the lines that only one has.
fn difference(wanted: &[String], got: &[String]) -> String {
    let common = |one: &mut dyn Iterator<Item = (&String, &String)>| one.take_while(|(a, b)| a == b).count();
    let before = common(&mut wanted.iter().zip(got));
    let (wanted_rest, got_rest) = (&wanted[before..], &got[before..]);
    let after = common(&mut wanted_rest.iter().rev().zip(got_rest.iter().rev()));
    let mut text = String::new();
    let mut show = |sign: char, lines: &[String]| {
        lines.iter().for_each(|line| writeln!(text, "  {sign} {line}").expect("a string grows"));
    };
    show(' ', &wanted[..before]);
    show('-', &wanted_rest[..wanted_rest.len() - after]);
    show('+', &got_rest[..got_rest.len() - after]);
    show(' ', &wanted_rest[wanted_rest.len() - after..]);
    text
}
