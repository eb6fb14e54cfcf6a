//! `detcd-replay` as a user meets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use detcd_scenarios::catalogue;
use detcd_scenarios::trial;

/// Every message is lost, so nobody ever leads.
const HOPELESS: &str = "name = \"hopeless\"\nwhy = \"To fail.\"\nnodes = 3\n\n[network]\nloss_permille = 1_000\n
[phases]\nfaults_ms = 2_000\nconverge_within_ms = 2_000\n";

fn detcd_replay(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_detcd-replay")).args(args).output().expect("it can be run")
}

/// The failure file of a run in this process; the program makes it again in its own.
fn failure_in(folder: &Path) -> PathBuf {
    let source = catalogue::parse("hopeless.toml", HOPELESS).expect("it is right");
    let trial = trial::make(&source, 5, false, folder);
    PathBuf::from(trial.row.repro.expect("it fails and is put on file"))
}

fn refused(args: &[&str]) -> String {
    let output = detcd_replay(args);
    let line = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(64), "{args:?}: {line}");
    assert!(output.stdout.is_empty(), "{args:?} printed something");
    assert_eq!(line.trim_end().lines().count(), 1, "{args:?}: {line}");
    assert!(line.starts_with("detcd-replay: "), "{line}");
    line
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

fn rewritten(file: &Path, change: impl FnOnce(String) -> String) {
    let text = fs::read_to_string(file).expect("it is there");
    let changed = change(text.clone());
    assert_ne!(text, changed, "the change changes something");
    fs::write(file, changed).expect("written");
}

#[test]
fn a_failure_is_reproduced_in_a_fresh_process() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = detcd_replay(&["run", path(&failure_in(folder.path()))]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("reproduced: hopeless (seed 5), ") && text.contains("liveness"), "{text}");
}

#[test]
fn a_run_that_parts_from_its_file_is_told_where() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = failure_in(folder.path());
    let mut failure = detcd_scenarios::failure::Failure::read(&file).expect("it is whole");
    let middle = failure.trail.points.len() / 2;
    failure.trail.points[middle].0 ^= 1;
    let file = failure.write(folder.path()).expect("written");
    let output = detcd_replay(&["run", path(&file)]);
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(output.status.code(), Some(1), "{text}");
    let event = failure.trail.stride * (middle as u64 + 1);
    assert!(text.contains(&format!("and {event}, at ")), "{text}");
}

#[test]
fn a_file_cut_in_half_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = failure_in(folder.path());
    rewritten(&file, |text| text[..text.len() / 2].to_string());
    assert!(refused(&["run", path(&file)]).contains("not a whole failure file"));
    assert!(refused(&["trace", path(&file)]).contains("not a whole failure file"));
}

#[test]
fn a_file_of_another_version_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = failure_in(folder.path());
    rewritten(&file, |text| text.replacen("\"version\":1,", "\"version\":9,", 1));
    let line = refused(&["run", path(&file)]);
    assert!(line.contains("version 9") && line.contains("version 1"), "{line}");
}

#[test]
fn a_changed_file_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = failure_in(folder.path());
    rewritten(&file, |text| text.replacen("\"seed\":5", "\"seed\":6", 1));
    assert!(refused(&["run", path(&file)]).contains("checksum"));
}

#[test]
fn other_files_and_no_file_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let other = folder.path().join("other.json");
    fs::write(&other, "{}").expect("written");
    assert!(refused(&["run", path(&other)]).contains("not a failure file"));
    assert!(refused(&["run", path(&folder.path().join("absent"))]).contains("absent"));
    assert!(refused(&["run"]).contains("FILE"));
    assert!(refused(&["trace", "calm:seven"]).contains("a seed is a number"));
    assert!(refused(&["trace", "calm:7", "--from-ms", "9", "--to-ms", "3"]).contains("--from-ms 9"));
    assert!(refused(&["trace", "calm:7", "--node", "0"]).contains("--node"));
    assert!(refused(&["trace", "calm:7", "--node", "99"]).contains("--node 99"));
}

#[test]
fn a_trace_shows_the_wanted_events_one_a_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = failure_in(folder.path());
    let lines = |args: &[&str]| -> Vec<String> {
        let output = detcd_replay(&[&["trace", path(&file)], args].concat());
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).expect("text").lines().map(str::to_string).collect()
    };
    let all = lines(&[]);
    assert!(all.len() > 100, "{} lines", all.len());
    assert!(all.iter().all(|line| line.contains(" ms  ")));
    let window = lines(&["--from-ms", "500", "--to-ms", "900", "--node", "2"]);
    assert!(!window.is_empty() && window.iter().all(|line| line.contains(" ms  n2  ")), "{window:?}");
    assert!(window.iter().all(|line| all.contains(line)));
}
