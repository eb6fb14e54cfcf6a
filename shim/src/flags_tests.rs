use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(String::from).collect()
}

fn given(line: &str, environment: &[(&str, &str)]) -> Given {
    let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string()));
    match parse(words(line), environment) {
        Ok(Command::Run(given)) => given,
        other => panic!("{line}: {other:?}"),
    }
}

fn error(line: &str) -> FlagsError {
    parse(words(line), []).expect_err(line)
}

#[test]
fn dashes_and_equals_signs_are_as_in_go() {
    for line in ["-name m1", "--name m1", "-name=m1", "--name=m1", "--name m0 -name=m1"] {
        assert_eq!(given(line, &[]).get("name"), Some("m1"), "{line}");
    }
    assert_eq!(given("--initial-cluster a=http://h:1", &[]).get("initial-cluster"), Some("a=http://h:1"));
    assert_eq!(given("--initial-cluster=a=http://h:1", &[]).get("initial-cluster"), Some("a=http://h:1"));
    assert_eq!(given("--name --odd", &[]).get("name"), Some("--odd"));
}

#[test]
fn the_command_line_wins_over_the_environment() {
    let environment = [("ETCD_NAME", "env"), ("ETCD_DATA_DIR", "/d"), ("ETCD_MAX_TXN_OPS", ""), ("HOME", "/root")];
    let given = given("--name cli", &environment);
    assert_eq!(given.get("name"), Some("cli"));
    assert_eq!(given.get("data-dir"), Some("/d"));
    assert_eq!(given.get("max-txn-ops"), None);
    assert!(given.unknown_variables.is_empty());
}

#[test]
fn variables_that_name_no_flag_are_told() {
    assert_eq!(given("", &[("ETCD_CERT_FILE", "x")]).unknown_variables, ["ETCD_CERT_FILE"]);
}

#[test]
fn flags_that_would_do_nothing_do_not_exist() {
    for line in ["--cert-file x", "--quota-backend-kib=1", "-wat", "--name m1 --nope"] {
        assert_eq!(error(line).exit_status(), 2, "{line}");
        assert!(matches!(error(line), FlagsError::Unknown(_)), "{line}");
    }
    for line in ["name", "--name a b", "-", "--"] {
        assert_eq!(error(line).exit_status(), 2, "{line}");
    }
}

#[test]
fn a_flag_without_its_value_says_what_it_takes() {
    let error = error("--heartbeat-interval");
    assert_eq!(error.exit_status(), 1);
    assert_eq!(
        error.to_string(),
        "--heartbeat-interval needs a value: milliseconds between two heartbeats of the leader"
    );
}

#[test]
fn version_and_help_need_no_value() {
    assert_eq!(parse(words("--version"), []), Ok(Command::Version));
    assert_eq!(parse(words("-version=true --name x"), []), Ok(Command::Version));
    assert!(matches!(parse(words("--version=false"), []), Ok(Command::Run(_))));
    assert_eq!(error("--version=maybe").exit_status(), 1);
    for line in ["-h", "--help", "-help"] {
        assert_eq!(parse(words(line), []), Ok(Command::Help));
    }
    for flag in FLAGS {
        assert!(help().contains(&format!("--{} ", flag.name)), "{}", flag.name);
    }
}
