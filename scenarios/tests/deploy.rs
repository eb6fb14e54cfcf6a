//! The ready-made files under `deploy/`: that they are well-formed as far as that can be told here, and that the
//! commands in them are ours.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use detcd_scenarios::args::Cli;

fn deploy(file: &str) -> (PathBuf, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file);
    let text = fs::read_to_string(&path).expect("it is there");
    (path, text)
}

/// The commands of `detcd-sim` in a file, with their continued lines, and numbers in the place of variables.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut commands = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let begin = ["detcd-sim run", "detcd-sim merge", "detcd_sim\" run"].iter().find_map(|name| line.find(name));
        let Some(begin) = begin.filter(|_| !line.trim_start().starts_with('#')) else { continue };
        let mut command = line[begin..].to_string();
        while let Some(more) = lines.next_if(|line| line.trim_start().starts_with("--")) {
            command = format!("{} {}", command.trim_end_matches('\\'), more.trim());
        }
        let command = filled_in(command.trim_end_matches('\\'));
        commands.push(command.split_whitespace().map(|word| word.replace('"', "")).collect());
    }
    commands
}

/// The text with 3 for everything that a shell or a CI system puts in.
fn filled_in(text: &str) -> String {
    let mut text = text.to_string();
    for (open, close) in [("$((", "))"), ("${{", "}}")] {
        while let Some(begin) = text.find(open) {
            let end = begin + text[begin..].find(close).expect("it is closed") + close.len();
            text.replace_range(begin..end, "3");
        }
    }
    while let Some(begin) = text.find('$') {
        let name = text[begin + 1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let end = name.map_or(text.len(), |length| begin + 1 + length);
        text.replace_range(begin..end, "3");
    }
    text
}

#[test]
fn every_command_is_one_of_ours() {
    for (file, count) in [("kubernetes/job.yaml", 1), ("slurm/array.sbatch", 1), ("github/campaign.yml", 2)] {
        let commands = commands(&deploy(file).1);
        assert_eq!(commands.len(), count, "{file}: {commands:?}");
        for command in commands {
            let parsed = Cli::try_parse_from(&command);
            assert!(parsed.is_ok(), "{file}: {command:?}: {}", parsed.expect_err("checked"));
        }
    }
}

/// What of YAML can be told without a parser: indentation by steps of two, no tabs, quotes and brackets that close on
/// their line, and outside of folded text nothing but keys, items and comments.
#[test]
fn yaml_files_are_laid_out_as_yaml() {
    for file in ["kubernetes/job.yaml", "github/campaign.yml"] {
        let mut folded_below = None;
        for (number, line) in deploy(file).1.lines().enumerate() {
            let place = format!("{file}:{}: {line}", number + 1);
            let indent = line.len() - line.trim_start().len();
            assert!(!line.contains('\t') && indent.is_multiple_of(2) && line == line.trim_end(), "{place}");
            let body = line.trim_start();
            if body.is_empty() || body.starts_with('#') || body == "---" || folded_below.is_some_and(|at| indent > at) {
                continue;
            }
            folded_below = body.ends_with(">-").then_some(indent);
            let item = body.trim_start_matches("- ");
            assert!(item.contains(": ") || item.ends_with(':') || body.starts_with("- "), "{place}");
            let count = |c: char| body.matches(c).count();
            assert!(count('"').is_multiple_of(2) && count('[') == count(']') && count('{') == count('}'), "{place}");
        }
    }
}

#[test]
fn the_shell_reads_the_batch_file() {
    let (path, _) = deploy("slurm/array.sbatch");
    let read = Command::new("bash").arg("-n").arg(&path).output();
    match read {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => eprintln!("SKIPPED: no bash: {error}"),
    }
}
