//! `detcd-sim` as a user meets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use detcd_scenarios::row::{Row, Verdict};

/// A run of a few simulated seconds without faults.
const BRIEF: &str =
    "name = \"brief\"\nwhy = \"To be quick.\"\nnodes = 3\n\n[phases]\nwarmup_ms = 1_000\nfaults_ms = 2_000\n";

/// Every message is lost, so nobody ever leads.
const HOPELESS: &str = "name = \"hopeless\"\nwhy = \"To fail.\"\nnodes = 3\n\n[network]\nloss_permille = 1_000\n
[phases]\nfaults_ms = 2_000\nconverge_within_ms = 2_000\n";

fn detcd_sim(folder: &Path, args: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_detcd-sim"));
    program.args(args).current_dir(folder).output().expect("it can be run")
}

fn folder_with(file: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(file);
    fs::write(&path, text).expect("written");
    (folder, path)
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it can be read");
    entries.map(|entry| entry.expect("it can be read").file_name().to_string_lossy().into_owned()).collect()
}

/// The one line on stderr with which a refused command ends; it printed nothing else and left nothing behind.
fn refused(folder: &Path, args: &[&str]) -> String {
    let before = names_in(folder);
    let output = detcd_sim(folder, args);
    let line = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(64), "{args:?}: {line}");
    assert!(output.stdout.is_empty(), "{args:?} printed something");
    assert_eq!(line.trim_end().lines().count(), 1, "{args:?}: {line}");
    assert!(line.starts_with("detcd-sim: "), "{line}");
    assert_eq!(names_in(folder), before, "{args:?} left something behind");
    line
}

fn rows(output: &Output) -> Vec<Row> {
    let text = String::from_utf8(output.stdout.clone()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is a row")).collect()
}

#[test]
fn a_seed_that_is_no_number_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(refused(folder.path(), &["run", "--seed", "seven"]).contains("'seven'"));
    assert!(refused(folder.path(), &["run", "--seed", "-1"]).contains("-1"));
    assert!(refused(folder.path(), &["run", "--seeds", "1..x"]).contains("0..200"));
}

#[test]
fn one_seed_and_a_range_of_seeds_exclude_each_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = refused(folder.path(), &["run", "--seed", "1", "--seeds", "1..5"]);
    assert!(line.contains("--seed") && line.contains("--seeds"), "{line}");
}

#[test]
fn unknown_flags_and_words_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    assert!(refused(folder.path(), &["run", "--sead", "1"]).contains("--sead"));
    assert!(refused(folder.path(), &["fly"]).contains("fly"));
    assert!(refused(folder.path(), &["run", "--for", "60"]).contains("60s"));
    assert!(refused(folder.path(), &["run", "--jobs", "0"]).contains("from 1"));
    assert!(refused(folder.path(), &["run", "--seed", "3", "--shard", "1/2"]).contains("--shard leaves no seed"));
}

#[test]
fn an_unknown_scenario_is_told_what_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let line = refused(folder.path(), &["run", "clam"]);
    assert!(line.contains("'clam'") && line.contains("swarm"), "{line}");
    assert!(refused(folder.path(), &["run", "no-such.toml"]).contains("no-such.toml"));
}

#[test]
fn a_scenario_that_names_no_nodes_is_refused() {
    let (folder, _) = folder_with("x.toml", "name = \"x\"\nwhy = \"x\"\n");
    let line = refused(folder.path(), &["run", "x.toml", "--seed", "1"]);
    assert!(line.contains("x.toml:") && line.contains("nodes"), "{line}");
    let (folder, _) = folder_with("x.toml", "name = \"x\"\nwhy = \"x\"\nnodes = 0\n");
    let line = refused(folder.path(), &["run", "x.toml", "--seed", "1"]);
    assert!(line.contains("x.toml:3: ") && line.contains("nodes"), "{line}");
}

#[test]
fn an_unknown_fault_is_refused_with_its_line_and_what_there_is() {
    let text = "name = \"x\"\nwhy = \"x\"\nnodes = 3\n\n[[faults]]\nkind = \"gremlin\"\nat_ms = [1]\nduration_ms = 1\n";
    let (folder, _) = folder_with("x.toml", text);
    let line = refused(folder.path(), &["run", "x.toml", "--seed", "1"]);
    assert!(line.contains("x.toml:6: ") && line.contains("gremlin") && line.contains("one-way-cut"), "{line}");
}

#[test]
fn an_unknown_field_is_refused_with_its_line_and_what_is_allowed() {
    let (folder, _) = folder_with("x.toml", &format!("{BRIEF}converge_ms = 5\n"));
    let line = refused(folder.path(), &["run", "x.toml", "--seed", "1"]);
    assert!(line.contains("x.toml:8: "), "{line}");
    assert!(line.contains("converge_ms") && line.contains("converge_within_ms"), "{line}");
}

#[test]
fn a_folder_for_failures_that_cannot_be_written_is_refused_before_anything_runs() {
    let (folder, path) = folder_with("occupied", "not a folder");
    let line = refused(folder.path(), &["run", "calm", "--seed", "1", "--out", "occupied"]);
    assert!(line.contains("--out occupied"), "{line}");
    assert!(refused(folder.path(), &["run", "--out", "occupied/below"]).contains("no folder"));
    assert_eq!(fs::read_to_string(path).expect("it is still there"), "not a folder");
}

#[test]
fn the_list_names_the_catalogue_from_any_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = detcd_sim(folder.path(), &["list"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    let names: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for name in ["calm", "leader-partition", "one-way-cut", "crash-storm", "power-loss-all", "slow-disk", "clock-skew"]
    {
        assert!(names.contains(&name), "{name} is listed");
    }
    assert!(names.contains(&"client-churn") && names.contains(&"swarm"));
}

#[test]
fn the_same_seeds_give_the_same_rows_whatever_runs_at_once() {
    let (folder, _) = folder_with("brief.toml", BRIEF);
    let run = |jobs: &str| {
        let output = detcd_sim(folder.path(), &["run", "brief.toml", "--seeds", "0..6", "--jobs", jobs, "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        rows(&output).into_iter().map(|row| Row { wall_ms: 0, ..row }).collect::<Vec<_>>()
    };
    let alone = run("1");
    assert_eq!(alone.iter().map(|row| row.seed).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    assert!(alone.iter().all(|row| row.events > 100 && row.ops > 0 && row.sim_ms >= 3_000), "{alone:?}");
    assert!(alone.windows(2).all(|pair| pair[0].digest != pair[1].digest), "seeds differ");
    assert_eq!(run("4"), alone);
}

#[test]
fn determinism_is_verified_and_nothing_is_left_behind() {
    let (folder, _) = folder_with("brief.toml", BRIEF);
    let output = detcd_sim(folder.path(), &["run", "brief.toml", "--seeds", "0..2", "--verify-determinism"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(text.lines().any(|line| line.starts_with("brief") && line.ends_with("ok")), "{text}");
    assert_eq!(names_in(folder.path()), ["brief.toml"]);
}

#[test]
fn a_failure_has_its_exit_status_its_file_and_the_command_to_run_it_again() {
    let (folder, _) = folder_with("hopeless.toml", HOPELESS);
    let args = ["run", "hopeless.toml", "--seed", "5", "--json", "--out", "failed/here"];
    let output = detcd_sim(folder.path(), &args);
    assert_eq!(output.status.code(), Some(2), "a liveness violation");
    let rows = rows(&output);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].verdict, Verdict::Liveness);
    assert!(rows[0].checker.is_some() && rows[0].detail.is_some());
    assert_eq!(rows[0].repro.as_deref(), Some("failed/here/hopeless-5.json"));
    assert!(folder.path().join("failed/here/hopeless-5.json").is_file());
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("detcd-replay run failed/here/hopeless-5.json"), "{said}");
}

/// A run of a few simulated seconds in which members die, recorded.
fn recorded() -> (tempfile::TempDir, String) {
    let faults = "\n[[faults]]\nkind = \"crash\"\nat_ms = [200, 900]\nduration_ms = 400\n";
    let (folder, path) = folder_with("brief.toml", &format!("{BRIEF}{faults}"));
    let output = detcd_sim(folder.path(), &["record", "brief.toml", "--seed", "3", "--to", "history.jsonl"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let text = fs::read_to_string(path.with_file_name("history.jsonl")).expect("it is there");
    (folder, text)
}

fn checked(folder: &Path, text: &str) -> serde_json::Value {
    fs::write(folder.join("judged.jsonl"), text).expect("written");
    let output = detcd_sim(folder, &["check", "--json", "judged.jsonl"]);
    let line = String::from_utf8(output.stdout).expect("text");
    let value: serde_json::Value = serde_json::from_str(&line).expect("one object");
    let status = if value["verdict"] == "ok" { 0 } else { 1 };
    assert_eq!(output.status.code(), Some(status), "{line}{}", String::from_utf8_lossy(&output.stderr));
    value
}

#[test]
fn a_recorded_history_is_judged_and_its_spoilt_copies_are_refused_by_the_right_checker() {
    let (folder, text) = recorded();
    let counted = |what: &str| text.matches(what).count() as u64;
    let good = checked(folder.path(), &text);
    assert_eq!(good["verdict"], "ok", "{good}");
    assert_eq!(good["lines"], text.lines().count() as u64);
    assert!(good["ops"] == counted("\"event\":\"invoke\"") && counted("\"event\":\"invoke\"") > 50, "{good}");
    assert!(good["deaths"].as_u64().expect("a number") >= 2, "{good}");
    assert!(counted("\"event\":\"receive\"") > 0, "somebody watched");

    let without = |wrong: &dyn Fn(&str) -> bool| -> String {
        let place = text.lines().position(wrong).expect("there is such a line");
        text.lines().enumerate().filter(|(at, _)| *at != place).map(|(_, line)| format!("{line}\n")).collect()
    };
    let revision = |line: &str| line.contains("\"event\":\"revision\"");
    assert_eq!(checked(folder.path(), &without(&revision))["checker"], "serializability");
    // Of a watcher that received more later, so that it misses what is left out.
    let events = |line: &&str| line.contains("\"event\":\"receive\"") && line.contains("\"events\"");
    let watcher = |line: &str| line.split("\"watcher\":").nth(1).map(str::to_string);
    let received: Vec<&str> = text.lines().filter(events).collect();
    let more = |place: &usize| received[place + 1..].iter().any(|later| watcher(later) == watcher(received[*place]));
    let missed = received[(0..received.len()).find(more).expect("somebody received twice")];
    assert_eq!(checked(folder.path(), &without(&|line: &str| line == missed))["checker"], "watches");
    // The first answer to a put goes to another revision.
    let put = text.lines().find(|line| line.contains("\"response\":{\"put\"")).expect("something was put");
    let lied = put.replacen("\"revision\":", "\"revision\":1", 1);
    assert_eq!(checked(folder.path(), &text.replacen(put, &lied, 1))["checker"], "serializability");
}

#[test]
fn a_history_with_a_bad_line_is_refused_with_the_line_and_what_would_be_right() {
    let (folder, text) = recorded();
    let cut = &text[..text.trim_end().len() - 2];
    fs::write(folder.path().join("cut.jsonl"), cut).expect("written");
    let line = refused(folder.path(), &["check", "cut.jsonl"]);
    let last = text.lines().count();
    assert!(line.contains(&format!("cut.jsonl: line {last}: not a JSON object on one line")), "{line}");
    assert!(refused(folder.path(), &["check", "brief.toml"]).contains("brief.toml: line 1: "));
    assert!(refused(folder.path(), &["check", "no-such.jsonl"]).contains("no-such.jsonl: "));
    assert!(refused(folder.path(), &["record", "brief.toml"]).contains("--seed"));
}

fn status(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

/// The runs in a campaign's results, without the planted one and without how long they took.
fn kept(folder: &Path, campaign: &str) -> Vec<Row> {
    let results = fs::read_to_string(folder.join(campaign).join("results.jsonl")).expect("it is there");
    let runs = results.lines().filter(|line| !line.contains("\"planted\"") && !line.contains("\"format\""));
    runs.map(|line| Row { wall_ms: 0, ..serde_json::from_str(line).expect("each line is a row") }).collect()
}

#[test]
fn an_interrupted_campaign_goes_on_where_it_was_and_comes_to_the_same() {
    let (folder, _) = folder_with("brief.toml", BRIEF);
    let run = |args: &[&str]| {
        let output = detcd_sim(folder.path(), &[&["run", "brief.toml"], args].concat());
        assert_eq!(status(&output), 0, "{}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    };
    run(&["--seeds", "0..8", "--campaign", "whole"]);
    let said = run(&["--seeds", "0..8", "--campaign", "parts"]);
    assert!(said.contains("the planted failure was reported"), "{said}");
    // Somebody pulls the plug: three runs stay, and half of the next.
    let path = folder.path().join("parts/results.jsonl");
    let results = fs::read_to_string(&path).expect("it is there");
    let whole: usize = results.lines().take(5).map(|line| line.len() + 1).sum();
    fs::write(&path, &results[..whole + 40]).expect("written");
    let said = run(&["--campaign", "parts", "--jobs", "3"]);
    assert!(!said.contains("planted"), "once is enough: {said}");
    assert!(said.lines().any(|line| line.starts_with("brief") && line.contains(" 8 ")), "{said}");
    assert_eq!(kept(folder.path(), "parts"), kept(folder.path(), "whole"));
    run(&["--campaign", "parts"]);
    assert_eq!(kept(folder.path(), "parts").len(), 8, "nothing was left to do");
    assert!(refused(folder.path(), &["run", "calm", "--campaign", "parts"]).contains("scenarios brief, not calm"));
    let others = refused(folder.path(), &["run", "brief.toml", "--seeds", "1..9", "--campaign", "parts"]);
    assert!(others.contains("other seeds"), "{others}");
}

#[test]
fn the_time_of_all_sittings_together_is_the_campaign_s() {
    let (folder, _) = folder_with("brief.toml", BRIEF);
    let args = ["run", "brief.toml", "--campaign", "c", "--jobs", "1", "--for"];
    assert_eq!(status(&detcd_sim(folder.path(), &[&args[..], &["400ms"]].concat())), 0);
    let before = kept(folder.path(), "c");
    assert!(!before.is_empty());
    assert_eq!(status(&detcd_sim(folder.path(), &[&args[..], &["400ms"]].concat())), 0);
    assert_eq!(kept(folder.path(), "c"), before, "its time was over");
    assert_eq!(status(&detcd_sim(folder.path(), &[&args[..], &["900ms"]].concat())), 0);
    let after = kept(folder.path(), "c");
    assert!(after.len() > before.len() && after.starts_with(&before));
    assert!(after.windows(2).all(|pair| pair[0].seed + 1 == pair[1].seed), "seed after seed");
}

#[test]
fn shards_are_merged_into_what_the_whole_would_have_been() {
    let (folder, _) = folder_with("brief.toml", BRIEF);
    fs::write(folder.path().join("hopeless.toml"), HOPELESS).expect("written");
    let run = |campaign: &str, shard: &str| {
        let args = ["run", "brief.toml", "hopeless.toml", "--seeds", "0..6", "--campaign", campaign, "--shard", shard];
        assert_eq!(status(&detcd_sim(folder.path(), &args)), 2, "the hopeless one fails");
    };
    run("one", "1/2");
    run("two", "2/2");
    run("all", "1/1");
    let merge = |files: &[&str]| -> serde_json::Value {
        let output = detcd_sim(folder.path(), &[&["merge", "--json"], files].concat());
        assert_eq!(status(&output), 2, "{}", text(&output.stderr));
        serde_json::from_str(&text(&output.stdout)).expect("one object")
    };
    let parts = merge(&["one/results.jsonl", "two/results.jsonl"]);
    let whole = merge(&["all/results.jsonl"]);
    for field in ["runs", "counting", "ops", "faults", "events", "sim_ms", "liveness", "marks", "verdict", "lacking"] {
        assert_eq!(parts[field], whole[field], "{field}");
    }
    assert_eq!(parts["runs"], 12);
    assert!(parts["marks"].is_object());
    let failures = parts["failures"].as_array().expect("a list");
    assert_eq!(failures.len(), 1, "one mistake, however many seeds show it: {failures:?}");
    assert_eq!((&failures[0]["count"], &failures[0]["verdict"]), (&6.into(), &"liveness".into()));
    assert!(folder.path().join(failures[0]["repro"].as_str().expect("a path")).is_file());
    // The output of a plain run will do as well, and knows of no planted failure.
    let rows = detcd_sim(folder.path(), &["run", "brief.toml", "--seeds", "0..2", "--json"]);
    fs::write(folder.path().join("rows"), &rows.stdout).expect("written");
    let output = detcd_sim(folder.path(), &["merge", "rows"]);
    assert_eq!(status(&output), 0, "{}", text(&output.stdout));
}

#[test]
fn a_campaign_that_did_too_little_or_lost_the_planted_failure_fails() {
    let (folder, _) = folder_with("brief.toml", &format!("{BRIEF}\n[expect]\nops = 1_000_000\n"));
    let output = detcd_sim(folder.path(), &["run", "brief.toml", "--seeds", "0..2", "--campaign", "idle"]);
    assert_eq!(status(&output), 4, "no run counts");
    assert!(text(&output.stdout).contains("not enough: only 0 of 2 runs of brief"), "{}", text(&output.stdout));
    let (folder, _) = folder_with("brief.toml", BRIEF);
    let args = ["run", "brief.toml", "--seeds", "0..2", "--campaign", "c", "--at-least"];
    assert_eq!(status(&detcd_sim(folder.path(), &[&args[..], &["runs=2"]].concat())), 0);
    let output = detcd_sim(folder.path(), &[&args[..], &["mark:never reached=1"]].concat());
    assert_eq!(status(&output), 4);
    assert!(text(&output.stdout).contains("mark:never reached is 0, not at least 1"));
    assert!(
        refused(folder.path(), &["merge", "c/results.jsonl", "--at-least", "luck=1"]).contains("sim-s or mark:NAME")
    );

    let path = folder.path().join("c/results.jsonl");
    let results = fs::read_to_string(&path).expect("it is there");
    fs::write(&path, results.replace("\"planted\":true", "\"planted\":false")).expect("written");
    let output = detcd_sim(folder.path(), &["merge", "c/results.jsonl"]);
    assert_eq!(status(&output), 4);
    assert!(text(&output.stdout).contains("does not report the planted failure"));
    fs::write(&path, format!("{results}nonsense\n")).expect("written");
    let last = results.lines().count() + 1;
    assert!(refused(folder.path(), &["merge", "c/results.jsonl"]).contains(&format!("line {last}: ")));
}

#[test]
fn the_planted_failure_fails_and_is_in_no_list() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = detcd_sim(folder.path(), &["run", "must-fail", "--seeds", "0..3", "--json"]);
    assert_eq!(status(&output), 1, "{}", text(&output.stderr));
    assert!(rows(&output).iter().all(|row| row.checker.as_deref() == Some("serializability")));
    let list = detcd_sim(folder.path(), &["list"]);
    assert!(!text(&list.stdout).contains("must-fail"));
}
