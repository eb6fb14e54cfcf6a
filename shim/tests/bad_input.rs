//! Bad input ends with one clear line on stderr and a non-zero exit, and touches nothing.

use std::net::TcpListener;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use detcd::config::Config;
use detcd::flags;
use detcd::host::Host;
use detcd::member::Member;
use detcd::rpc::kv_client::KvClient;
use detcd_core::proto::etcdserverpb::PutRequest;
use tonic::transport::Channel;

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

/// Runs a member in `folder/d` for as long as a few writes take, and stops it cleanly.
async fn make_member(folder: &Path) -> String {
    let data = format!("--data-dir={}", folder.join("d").display());
    let arguments = free_ports().into_iter().chain([data.clone()]);
    let Ok(flags::Command::Run(given)) = flags::parse(arguments, []) else { panic!("these flags make a member") };
    let member = Member::start(Config::new(&given).expect("a configuration"), Host::start()).await.expect("it starts");
    member.ready().await.expect("it lives");
    let url = format!("http://{}", member.client_addresses()[0]);
    let channel = Channel::from_shared(url).expect("a URL").connect().await.expect("connected");
    let mut client = KvClient::new(channel);
    for number in 0..20u8 {
        let request = PutRequest { key: vec![number].into(), value: vec![number; 1_000].into(), ..Default::default() };
        client.put(request).await.expect("a put");
    }
    assert_eq!(member.stop().await, Some(detcd::End::Stopped));
    data
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_directory_of_another_cluster_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = make_member(folder.path()).await;
    let before = contents(folder.path());
    let line = line(&on_free_ports(folder.path(), &[&data, "--initial-cluster-token=other"]), 1);
    assert!(line.starts_with("detcd: data directory does not fit: "), "{line}");
    assert!(contents(folder.path()) == before, "nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_with_a_flipped_byte_in_the_middle_is_named_with_file_and_offset() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = make_member(folder.path()).await;
    let (path, bytes) = contents(folder.path())
        .into_iter()
        .find(|(path, _)| path.extension().is_some_and(|extension| extension == "wal"))
        .expect("a log");
    // Within a value of the tenth of twenty writes.
    let middle = bytes.windows(500).position(|window| window.iter().all(|byte| *byte == 10)).expect("a value");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("the log");
    file.write_all_at(&[11], u64::try_from(middle).expect("an offset")).expect("written");
    let before = contents(folder.path());
    let line = line(&on_free_ports(folder.path(), &[&data]), 1);
    let name = format!("member/wal/{}", path.file_name().expect("a name").to_string_lossy());
    assert!(line.starts_with(&format!("detcd: data is damaged: {name} at offset ")), "{line}");
    assert!(contents(folder.path()) == before, "nothing was written");
}

/// All files below a folder with their bytes.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file");
            found.push((path, bytes));
        }
    }
    found.sort();
    found
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
