//! Bad scenarios end in one line that names file, line and what is allowed.

use super::*;

const GOOD: &str = r#"
name = "leader-partition"
why = "A cut-off leader must not answer."
nodes = { min = 3, max = 5 }

[phases]
faults_ms = 20000

[network]
loss_permille = { min = 0, max = 20 }

[workload]
clients = 12
mix = { put = 3, get = 2 }

[[faults]]
kind = "isolate"
place = "leader"
per_minute = 12
duration_ms = { min = 500, max = 4000 }

[[faults]]
kind = "loss"
at_ms = [100, 9000]
duration_ms = 1000
strength = 300
"#;

fn error(text: &str) -> String {
    let line = Scenario::parse("bad.toml", text).expect_err("must be refused").to_string();
    assert!(!line.contains('\n'), "one line: {line}");
    line
}

#[test]
fn a_good_scenario_is_read_whole() {
    let scenario = Scenario::parse("good.toml", GOOD).expect("good");
    assert_eq!(scenario.nodes, Span::new(3, 5));
    assert_eq!(scenario.phases.faults_ms, Span::fixed(20_000));
    assert_eq!(scenario.phases.warmup_ms, Phases::default().warmup_ms);
    assert_eq!(scenario.workload.expect("given").clients, Span::fixed(12));
    assert_eq!(scenario.faults.expect("given")[1].strength, Some(Span::fixed(300)));
    assert_eq!(scenario.disk, None);
}

#[test]
fn a_scenario_survives_being_written_and_read_again() {
    let scenario = Scenario::parse("good.toml", GOOD).expect("good");
    let text = toml::to_string(&scenario).expect("writable");
    assert_eq!(Scenario::parse("again.toml", &text).expect("readable"), scenario);
}

#[test]
fn a_scenario_that_names_no_nodes_is_refused() {
    assert_eq!(error("name = \"a\"\nwhy = \"b\"\n"), "bad.toml:1: missing field `nodes`");
}

#[test]
fn an_unknown_field_is_refused_with_line_and_choices() {
    let line = error(&GOOD.replace("loss_permille", "los_permille"));
    assert!(line.starts_with("bad.toml:10: unknown field `los_permille`, expected one of"), "{line}");
    assert!(line.contains("`loss_permille`"), "{line}");
}

#[test]
fn an_unknown_fault_is_refused_with_line_and_choices() {
    let line = error(&GOOD.replace("\"isolate\"", "\"earthquake\""));
    assert!(line.starts_with("bad.toml:17: unknown variant `earthquake`, expected one of `isolate`"), "{line}");
}

#[test]
fn numbers_out_of_range_are_refused_with_their_range() {
    let nodes = |what: &str| error(&GOOD.replace("{ min = 3, max = 5 }", what));
    assert_eq!(nodes("0"), "bad.toml:4: `nodes` takes 1 to 7");
    assert_eq!(nodes("8"), "bad.toml:4: `nodes` takes 1 to 7");
    assert_eq!(nodes("-1"), "bad.toml:4: a number takes 0 or more");
    assert_eq!(nodes("{ min = 5, max = 3 }"), "bad.toml:4: `min` takes at most what `max` has");
    let text = nodes("\"three\"");
    assert!(text.ends_with("expected a whole number, or { min = A, max = B }"), "{text}");
    assert_eq!(
        error(&GOOD.replace("strength = 300", "strength = 3000")),
        "bad.toml:26: fault `loss` takes a `strength` of 1 to 1000"
    );
}

#[test]
fn a_fault_needs_a_rate_or_times_and_not_both() {
    let line = error(&GOOD.replace("per_minute = 12\n", ""));
    assert!(line.ends_with("fault `isolate` takes either `per_minute` or `at_ms`"), "{line}");
}

#[test]
fn a_fault_takes_a_duration_unless_it_is_over_at_once_and_flaps_only_if_it_cuts_links() {
    let fault = |lines: &str| format!("name = \"a\"\nwhy = \"b\"\nnodes = 3\n[[faults]]\nat_ms = [1]\n{lines}\n");
    assert!(Scenario::parse("good.toml", &fault("kind = \"clock-step\"\nstrength = 10")).is_ok());
    assert!(Scenario::parse("good.toml", &fault("kind = \"ring\"\nduration_ms = 9\nflap_ms = 3")).is_ok());
    let wrong = |lines: &str, what: &str| {
        let line = error(&fault(lines));
        assert!(line.ends_with(what), "{line}");
    };
    wrong("kind = \"pause\"", "fault `pause` takes a `duration_ms`");
    wrong("kind = \"clock-step\"\nstrength = 1\nduration_ms = 1", "fault `clock-step` takes no `duration_ms`");
    wrong("kind = \"pause\"\nduration_ms = 9\nflap_ms = 3", "fault `pause` takes no `flap_ms`");
    wrong("kind = \"split\"\nduration_ms = 9\nflap_ms = 0", "`flap_ms` takes 1 or more");
}

#[test]
fn a_span_picks_both_of_its_ends() {
    assert_eq!(Span::new(3, 5).pick(0), 3);
    assert_eq!(Span::new(3, 5).pick(u64::MAX), 5);
    assert_eq!(Span::new(0, u64::MAX).pick(u64::MAX), u64::MAX);
    assert_eq!(Span::fixed(7).pick(12_345), 7);
}

#[test]
fn lock_workers_are_left_out_unless_they_are_asked_for_and_their_numbers_have_ranges() {
    let text = |locks: &str| {
        GOOD.replace("[[faults]]\nkind = \"isolate\"", &format!("{locks}\n[[faults]]\nkind = \"isolate\""))
    };
    let read = |locks: &str| Scenario::parse("good.toml", &text(locks)).expect("good").workload.expect("given").locks;
    assert_eq!(read(""), None);
    assert_eq!(read("[workload.locks]"), Some(LockSpec::default()));
    let workers = read("[workload.locks]\nworkers = { min = 1, max = 9 }").expect("asked for").workers;
    assert_eq!(workers, Span::new(1, 9));
    let wrong = |locks: &str| error(&text(&format!("[workload.locks]\n{locks}")));
    assert!(wrong("workers = 101").ends_with("`workers` takes 0 to 100"));
    assert!(wrong("locks = 0").ends_with("`locks` takes 1 to 100"));
    assert!(wrong("pause_permille = 1001").ends_with("`pause_permille` takes 0 to 1000"));
    assert!(wrong("service_permille = 1001").ends_with("`service_permille` takes 0 to 1000"));
    assert!(wrong("ttl = 3").contains("unknown field `ttl`"));
}
