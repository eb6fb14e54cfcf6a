//! Bad input ends with one clear line on stderr and a non-zero exit, and touches nothing.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use detcd::config::Config;
use detcd::flags;
use detcd::host::Host;
use detcd::member::Member;

fn detcd(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_detcd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ETCD_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).args(arguments).output().expect("detcd runs")
}

/// The one line on stderr; fails if there are more, or another exit status.
fn line(output: &Output, status: i32) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(output.stdout.is_empty());
    text
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("a folder").next().is_none()
}

/// Flags of a member on ports that nobody uses.
fn free_ports() -> Vec<String> {
    vec![
        "--listen-client-urls=http://127.0.0.1:0".into(),
        "--advertise-client-urls=http://127.0.0.1:0".into(),
        "--listen-peer-urls=http://127.0.0.1:0".into(),
    ]
}

fn on_free_ports(folder: &Path, more: &[&str]) -> Output {
    let ports = free_ports();
    let arguments: Vec<&str> = ports.iter().map(String::as_str).chain(more.iter().copied()).collect();
    detcd(folder, &arguments)
}

#[test]
fn an_occupied_port_is_named_and_no_data_directory_appears() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    for flag in ["--listen-client-urls", "--listen-peer-urls"] {
        let output = on_free_ports(folder.path(), &[&format!("{flag}=http://{address}")]);
        let line = line(&output, 1);
        assert!(line.starts_with(&format!("detcd: {flag}: cannot listen on http://{address}: ")), "{line}");
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn an_unwritable_data_directory_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    std::fs::write(&file, "not a folder").expect("a file");
    for path in [file.join("data"), file.clone(), "/proc/detcd".into()] {
        let output = on_free_ports(folder.path(), &["--data-dir", path.to_str().expect("UTF-8")]);
        let line = line(&output, 1);
        assert!(line.starts_with("detcd: --data-dir: cannot create "), "{line}");
    }
    assert_eq!(std::fs::read(&file).expect("the file"), b"not a folder");
}

#[test]
fn a_data_directory_in_use_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let _in_use = detcd::disk::DataDir::open(&folder.path().join("d"), false).expect("a data directory");
    let line = line(&on_free_ports(folder.path(), &["--data-dir=d"]), 1);
    assert_eq!(line, "detcd: --data-dir: d is in use by another process\n");
}

#[test]
fn flags_that_are_unknown_or_wrong_end_with_their_exit_status() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = [
        (&["--cert-file", "x"][..], 2, "detcd: unknown flag --cert-file"),
        (&["start"], 2, "detcd: \"start\" is not a flag"),
        (&["-heartbeat-interval"], 1, "detcd: --heartbeat-interval needs a value"),
        (&["-election-timeout=1"], 1, "detcd: --election-timeout: takes at least 5 times --heartbeat-interval"),
        (&["--initial-cluster", "a=http://h:1"], 1, "detcd: --initial-cluster: must name this member"),
        (&["--initial-cluster-state=existing"], 1, "detcd: --initial-cluster-state: existing is for a data-dir"),
    ];
    for (arguments, status, expected) in table {
        let line = line(&on_free_ports(folder.path(), arguments), status);
        assert!(line.starts_with(expected), "{arguments:?}: {line}");
    }
    assert!(is_empty(folder.path()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_cluster_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = format!("--data-dir={}", folder.path().join("d").display());
    let arguments = free_ports().into_iter().chain([data.clone()]);
    let Ok(flags::Command::Run(given)) = flags::parse(arguments, []) else { panic!("these flags make a member") };
    let member = Member::start(Config::new(&given).expect("a configuration"), Host::start()).await.expect("it starts");
    member.ready().await.expect("it lives");
    assert_eq!(member.stop().await, Some(detcd::End::Stopped));
    let line = line(&on_free_ports(folder.path(), &[&data, "--initial-cluster-token=other"]), 1);
    assert!(line.starts_with("detcd: data directory does not fit: "), "{line}");
}

#[test]
fn the_version_is_told_as_etcd_tells_it() {
    let folder = tempfile::tempdir().expect("a folder");
    for flag in ["--version", "-version"] {
        let output = detcd(folder.path(), &[flag]);
        assert!(output.status.success());
        assert!(String::from_utf8_lossy(&output.stdout).starts_with("etcd Version: 3.7.1\n"));
    }
}
