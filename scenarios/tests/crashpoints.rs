//! `detcd-sim crashpoints`: a small cluster survives a crash between any two effects of a member, and a failing one can
//! be run again.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use detcd_scenarios::catalogue;
use detcd_scenarios::failure::Failure;
use detcd_scenarios::trial;
use detcd_sim::run::RunOptions;
use serde_json::Value;

/// Three members that turn over segments and checkpoints all the time; `.ci/run` sweeps it further.
const SMALL: &str = include_str!("crashpoints.toml");

/// One member that has to converge before it can have been started again after a crash at the end.
const IMPATIENT: &str = "name = \"impatient\"\nwhy = \"To fail.\"\nnodes = 1\n
[phases]\nwarmup_ms = 1_000\nfaults_ms = 1_000\nconverge_within_ms = 100\n";

fn crashpoints(folder: &Path, scenario: &str, args: &[&str]) -> Output {
    fs::write(folder.join("x.toml"), scenario).expect("written");
    let mut program = Command::new(env!("CARGO_BIN_EXE_detcd-sim"));
    program.args(["crashpoints", "x.toml", "--seed", "1"]).args(args).current_dir(folder);
    program.output().expect("it can be run")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn swept(scenario: &str, args: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let output = crashpoints(folder.path(), scenario, &[args, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    serde_json::from_str(&text(&output.stdout)).expect("one object")
}

#[test]
fn a_small_cluster_survives_a_crash_at_any_moment_of_any_member() {
    let mut torn = 0;
    for node in ["1", "2", "3"] {
        let swept = swept(SMALL, &["--node", node, "--max", "200"]);
        assert!(swept["runs"].as_u64().is_some_and(|runs| runs > 150 && swept["outcomes"]["tried"] == runs), "{swept}");
        assert!(swept["moments"]["tried"].as_u64().is_some_and(|moments| moments > 30), "{swept}");
        torn += swept["marks"]["wal: a torn tail was cut"].as_u64().unwrap_or(0);
    }
    assert!(torn > 0, "no crash tore a record");
}

#[test]
fn a_member_that_is_alone_survives_every_outcome_of_a_crash_at_any_moment_of_a_while() {
    let alone = SMALL.replace("nodes = 3", "nodes = 1");
    let swept = swept(&alone, &["--from-ms", "2100", "--to-ms", "2140", "--max", "2000"]);
    assert_eq!(swept["moments"]["tried"], swept["moments"]["all"], "{swept}");
    assert_eq!(swept["outcomes"]["tried"].to_string(), swept["outcomes"]["all"].as_str().expect("a number"), "{swept}");
    assert!(swept["runs"].as_u64().is_some_and(|runs| runs > 50), "{swept}");
}

#[test]
fn a_crash_that_breaks_a_promise_is_told_and_reproduced_from_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = ["--from-ms", "1990", "--to-ms", "2000", "--max", "9", "--out", "failed"];
    let output = crashpoints(folder.path(), IMPATIENT, &args);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("detcd-replay run failed/impatient-1-m1-"), "{}", text(&output.stdout));
    let files = fs::read_dir(folder.path().join("failed")).expect("it is there");
    let files: Vec<_> = files.map(|file| file.expect("it can be read").path()).collect();
    assert!(files.len() > 1, "each crash has a file of its own");
    for file in files {
        let failure = Failure::read(&file).expect("it is whole");
        let source = catalogue::parse("x.toml", &failure.scenario_toml).expect("it is right");
        let again = trial::play(&source, failure.seed, &failure.options());
        assert_eq!(again.digest.to_string(), failure.digest);
        assert_eq!(again.parting, None);
        assert_eq!(trial::ending_of(&again), Some(failure.verdict));
        let without = trial::play(&source, failure.seed, &RunOptions::default());
        assert_eq!(trial::ending_of(&without), None, "it is the crash that breaks the promise");
    }
}

#[test]
fn up_to_the_crash_the_run_is_the_one_without_it() {
    let source = catalogue::parse("x.toml", SMALL).expect("it is right");
    let base = trial::play_scouting(&source, 7, 1, 1_500_000_000..1_600_000_000);
    assert_eq!(base.digest, trial::play(&source, 7, &RunOptions::default()).digest, "looking changes nothing");
    let moment = &base.moments[base.moments.len() / 2];
    let crash = detcd_sim::run::CrashPoint { node: 1, moment: moment.number, image: Vec::new() };
    let options = RunOptions { crash: Some(crash), expected: Some(base.trail.clone()), ..RunOptions::default() };
    let crashed = trial::play(&source, 7, &options);
    assert_eq!(crashed.moments, std::slice::from_ref(moment), "the same time, the same digest, the same disk");
    let parting = crashed.parting.expect("a crash changes what comes after it");
    assert!(parting.event > moment.events, "{parting:?} is not after {moment:?}");
}

#[test]
fn what_cannot_be_swept_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |scenario: &str, args: &[&str]| {
        let output = crashpoints(folder.path(), scenario, args);
        let line = text(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{line}");
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        line
    };
    assert!(refused(SMALL, &["--node", "4"]).contains("at most 3 members"));
    assert!(refused(SMALL, &["--from-ms", "9", "--to-ms", "9"]).contains("not before --to-ms"));
    assert!(refused(SMALL, &["--from-ms", "99999999"]).contains("does nothing in this window"));
    assert!(refused(SMALL, &["--max", "0"]).contains("from 1 to"));
    let hopeless = SMALL.replace("[knobs]", "[network]\nloss_permille = 1_000\n\n[knobs]");
    assert!(refused(&hopeless, &[]).contains("fails without a crash"));
}
