//! Data directories that a member must not touch: whatever is wrong, it ends with one clear line on stderr, and every
//! byte stays as it was. What needs no data is tested beside the program, in `shim/tests`.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use detcd_tests::cluster::{Cluster, ClusterOptions, free_port, image};
use detcd_tests::launch;
use etcd_client::Client;

/// How many keys the data directory holds.
const KEYS: usize = 50;

/// How long each value is: together they make a log of three megabytes, several times the distance between the marks
/// that say how far it is durable.
const VALUE_BYTES: usize = 64 << 10;

/// A single member that has written some keys and was stopped, cleanly or with `kill -9`.
fn stopped_member(cleanly: bool) -> Cluster {
    let options = ClusterOptions { program: launch::detcd(), members: 1, flags: Vec::new() };
    let mut cluster = Cluster::start(&options).expect("one member comes up");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    runtime.block_on(async {
        let mut client = Client::connect(cluster.endpoints(), None).await.expect("it serves");
        for number in 0..KEYS {
            client.put(format!("key {number}"), vec![b'v'; VALUE_BYTES], None).await.expect("it writes");
        }
    });
    if cleanly {
        cluster.terminate(0).expect("it stops");
    } else {
        cluster.kill(0);
    }
    cluster
}

/// Starts a member with these flags, which has to fail and to leave the data directory as it is; the one line it says.
fn refusal(cluster: &Cluster, arguments: &[String]) -> String {
    let data_dir = cluster.members()[0].data_dir();
    let before = image(&data_dir).expect("the data directory can be read");
    let said = cluster.folder().join("refusal.txt");
    let mut command = launch::dying_with_us(&launch::detcd()).expect("the launcher is built");
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&said).expect("a file"));
    let mut child = launch::spawn(command).expect("detcd starts");
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("our own child") {
            break status;
        }
        if begin.elapsed() > Duration::from_secs(60) {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            panic!("it runs instead of refusing: {}", std::fs::read_to_string(&said).expect("text"));
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let text = std::fs::read_to_string(&said).expect("text");
    assert_eq!(status.code(), Some(1), "{text}");
    assert_eq!(text.lines().count(), 1, "one line: {text}");
    let after = image(&data_dir).expect("the data directory can be read");
    let touched: Vec<&PathBuf> =
        before.keys().chain(after.keys()).filter(|path| before.get(*path) != after.get(*path)).collect();
    assert!(touched.is_empty(), "{touched:?} changed, although it said: {text}");
    text
}

/// The flags of the member, with the value of one of them replaced.
fn flags_with(cluster: &Cluster, flag: &str, value: &str) -> Vec<String> {
    let mut arguments = cluster.members()[0].arguments().to_vec();
    let place = arguments.iter().position(|argument| argument == flag).expect("a flag that the member has");
    arguments[place + 1] = value.to_owned();
    arguments
}

/// The first segment of the log, and how much of it is written.
fn first_segment(data_dir: &Path) -> (PathBuf, u64) {
    let folder = data_dir.join("member").join("wal");
    let names = std::fs::read_dir(&folder).expect("the log's folder").map(|entry| entry.expect("an entry").path());
    let path = names.filter(|path| path.extension().is_some_and(|ending| ending == "wal")).min().expect("a segment");
    let mut content = Vec::new();
    File::open(&path).and_then(|mut file| file.read_to_end(&mut content)).expect("the segment can be read");
    let written = content.iter().rposition(|byte| *byte != 0).expect("something is written") + 1;
    (path, u64::try_from(written).expect("a segment is small"))
}

fn flip_a_bit(path: &Path, offset: u64) {
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("the segment can be written");
    let mut byte = [0];
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut byte)).expect("the byte is there");
    byte[0] ^= 0x10;
    file.seek(SeekFrom::Start(offset)).and_then(|_| file.write_all(&byte)).expect("the byte can be written");
}

#[test]
fn the_data_of_another_cluster_is_refused_by_name() {
    let cluster = stopped_member(true);
    let line = refusal(&cluster, &flags_with(&cluster, "--initial-cluster-token", "somebody-elses"));
    assert!(line.starts_with("detcd: data directory does not fit: "), "{line}");
    assert!(line.contains(" belongs to member ") && line.contains(" of cluster "), "{line}");
}

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_is_named_with_file_and_offset() {
    for cleanly in [true, false] {
        let cluster = stopped_member(cleanly);
        let (segment, written) = first_segment(&cluster.members()[0].data_dir());
        let flipped = written / 3;
        flip_a_bit(&segment, flipped);
        let line = refusal(&cluster, cluster.members()[0].arguments());
        assert!(line.starts_with("detcd: data is damaged: "), "{line}");
        assert!(line.contains(segment.file_name().and_then(|name| name.to_str()).expect("a name")), "{line}");
        let (_, after) = line.split_once(" at offset ").expect("an offset");
        let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
        let offset: u64 = digits.parse().expect("a number");
        let distance = flipped.checked_sub(offset).expect("the damaged record begins before the bit");
        assert!(distance < 2 * u64::try_from(VALUE_BYTES).expect("small"), "{distance} bytes away: {line}");
    }
}

#[test]
fn an_occupied_port_leaves_existing_data_alone() {
    let cluster = stopped_member(true);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", taken.local_addr().expect("an address"));
    let line = refusal(&cluster, &flags_with(&cluster, "--listen-client-urls", &url));
    assert!(line.starts_with(&format!("detcd: --listen-client-urls: cannot listen on {url}: ")), "{line}");
}

#[test]
fn a_member_that_was_refused_for_its_flags_serves_its_data_with_the_right_ones() {
    let mut cluster = stopped_member(false);
    refusal(&cluster, &flags_with(&cluster, "--initial-cluster-token", "somebody-elses"));
    cluster.restart(0).expect("its own flags are right");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    let count = runtime.block_on(async {
        let mut client = Client::connect(cluster.endpoints(), None).await.expect("it serves");
        let everything = etcd_client::GetOptions::new().with_all_keys().with_count_only();
        client.get("", Some(everything)).await.expect("it reads").count()
    });
    assert_eq!(usize::try_from(count), Ok(KEYS));
}

#[test]
fn a_log_that_nobody_takes_stops_no_member() {
    let full = || Stdio::from(OpenOptions::new().write(true).open("/dev/full").expect("every Linux has it"));
    let mut refused = launch::dying_with_us(&launch::detcd()).expect("a command");
    let refused = refused.arg("--no-such-flag").stderr(full()).status().expect("it ends");
    assert_eq!(refused.code(), Some(2), "the status tells what the line would have told");
    let folder = tempfile::tempdir().expect("a folder");
    let url = |port| format!("http://127.0.0.1:{port}");
    let (clients, peers) = (url(free_port()), url(free_port()));
    let mut member = launch::dying_with_us(&launch::detcd()).expect("a command");
    member
        .args(["--data-dir", folder.path().to_str().expect("a name")])
        .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
        .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
        .args(["--initial-cluster", &format!("default={peers}")])
        .stderr(full());
    let mut member = launch::spawn(member).expect("it starts");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    let written = runtime.block_on(async {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if let Ok(mut client) = Client::connect([&clients], None).await
                && client.put("a", "b", None).await.is_ok()
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    });
    member.kill().and_then(|()| member.wait()).expect("it ends");
    assert!(written, "it serves");
}
