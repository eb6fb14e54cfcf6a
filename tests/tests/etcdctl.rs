//! Debian's `etcdctl`, the tool that operators have, against three real members.
//!
//! Expected output is what etcdctl 3.4 prints for etcd. Where there is no etcdctl, each test says so and proves
//! nothing.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;

/// An `etcdctl` that talks to a cluster.
struct Etcdctl {
    program: PathBuf,
    cluster: Cluster,
}

impl Etcdctl {
    /// Three fresh members; `None`, loudly, where there is no etcdctl.
    fn with_three_members() -> Option<Etcdctl> {
        let Some(program) = launch::installed("etcdctl") else {
            eprintln!("SKIPPED: no etcdctl in PATH (Debian: apt-get install etcd-client); this test proved nothing");
            return None;
        };
        let cluster = Cluster::start(&ClusterOptions::three(launch::detcd())).expect("three members come up");
        Some(Etcdctl { program, cluster })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env("ETCDCTL_API", "3").args(arguments).stdin(Stdio::null());
        if !arguments.contains(&"--endpoints") {
            command.args(["--endpoints", &self.cluster.endpoints().join(",")]);
        }
        command
    }

    /// The first member. What a member answers from its own state has to be asked of the one that acknowledged it: the
    /// others may be behind.
    fn first(&self) -> String {
        self.cluster.members()[0].client_url()
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("etcdctl can be started")
    }

    /// What it prints, which has to be a success.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {arguments:?}: {errors}");
        String::from_utf8(output.stdout).expect("it prints text")
    }

    /// What it prints on stderr, which has to be a failure.
    fn refuses(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        assert!(!output.status.success(), "etcdctl {arguments:?} succeeded");
        String::from_utf8(output.stderr).expect("it prints text")
    }

    /// A transaction: compares, then, else, as lines.
    fn txn(&self, compares: &str, success: &str, failure: &str) -> String {
        use std::io::Write as _;
        let mut child = self
            .command(&["txn"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("etcdctl can be started");
        let text = format!("{compares}\n\n{success}\n\n{failure}\n\n");
        child.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("etcdctl reads");
        let output = child.wait_with_output().expect("etcdctl ends");
        assert!(output.status.success());
        String::from_utf8(output.stdout).expect("it prints text")
    }
}

#[test]
fn keys_are_written_read_and_deleted() {
    let Some(etcdctl) = Etcdctl::with_three_members() else { return };
    assert_eq!(etcdctl.says(&["put", "a/1", "one"]), "OK\n");
    assert_eq!(etcdctl.says(&["put", "a/2", "two"]), "OK\n");
    assert_eq!(etcdctl.says(&["put", "--endpoints", &etcdctl.first(), "b", "other"]), "OK\n");
    assert_eq!(etcdctl.says(&["get", "a/1"]), "a/1\none\n");
    assert_eq!(etcdctl.says(&["get", "--prefix", "a/"]), "a/1\none\na/2\ntwo\n");
    assert_eq!(etcdctl.says(&["get", "--prefix", "a/", "--order=DESCEND", "--keys-only"]), "a/2\n\na/1\n\n");
    assert_eq!(etcdctl.says(&["get", "--from-key", "a/2", "--limit=1"]), "a/2\ntwo\n");
    assert_eq!(etcdctl.says(&["get", "nothing"]), "");
    assert_eq!(etcdctl.says(&["put", "--prev-kv", "a/1", "uno"]), "OK\na/1\none\n");
    assert_eq!(etcdctl.says(&["get", "--rev=2", "a/1"]), "a/1\none\n");
    let said = etcdctl.says(&["get", "--consistency=s", "--endpoints", &etcdctl.first(), "b"]);
    assert_eq!(said, "b\nother\n");
    assert_eq!(etcdctl.says(&["del", "--prefix", "a/"]), "2\n");
    assert_eq!(etcdctl.says(&["del", "a/1"]), "0\n");
    let fields = etcdctl.says(&["get", "--write-out=fields", "b"]);
    assert!(fields.contains("\"Revision\" : 6\n"), "{fields}");
    assert!(fields.contains("\"CreateRevision\" : 4\n"), "{fields}");
}

#[test]
fn etcds_own_words_come_back_for_what_it_refuses() {
    let Some(etcdctl) = Etcdctl::with_three_members() else { return };
    let refusal = etcdctl.refuses(&["put", "", "x"]);
    assert!(refusal.contains("etcdserver: key is not provided"), "{refusal}");
    let refusal = etcdctl.refuses(&["get", "--rev=99", "x"]);
    assert!(refusal.contains("etcdserver: mvcc: required revision is a future revision"), "{refusal}");
    let refusal = etcdctl.refuses(&["put", "--lease=1234", "x", "y"]);
    assert!(refusal.contains("etcdserver: requested lease not found"), "{refusal}");
    etcdctl.says(&["put", "x", "1"]);
    etcdctl.says(&["put", "x", "2"]);
    assert_eq!(etcdctl.says(&["compact", "3"]), "compacted revision 3\n");
    let refusal = etcdctl.refuses(&["get", "--rev=2", "x"]);
    assert!(refusal.contains("etcdserver: mvcc: required revision has been compacted"), "{refusal}");
}

#[test]
fn transactions_take_one_branch() {
    let Some(etcdctl) = Etcdctl::with_three_members() else { return };
    etcdctl.says(&["put", "k", "old"]);
    let said = etcdctl.txn("value(\"k\") = \"old\"", "put k new\nget k", "get k");
    assert_eq!(said, "SUCCESS\n\nOK\n\nk\nnew\n");
    let said = etcdctl.txn("value(\"k\") = \"old\"", "put k newer", "get k\ndel k");
    assert_eq!(said, "FAILURE\n\nk\nnew\n\n1\n");
    assert_eq!(etcdctl.says(&["get", "k"]), "");
}

#[test]
fn a_watcher_is_told_of_old_and_new_events() {
    let Some(etcdctl) = Etcdctl::with_three_members() else { return };
    etcdctl.says(&["put", "w/1", "old"]);
    let mut command = etcdctl.command(&["watch", "--prefix", "--rev=1", "w/"]);
    let mut watch = command.stdout(Stdio::piped()).spawn().expect("etcdctl can be started");
    let lines = BufReader::new(watch.stdout.take().expect("it is piped"));
    etcdctl.says(&["put", "w/2", "new"]);
    etcdctl.says(&["del", "w/1"]);
    etcdctl.says(&["put", "elsewhere", "x"]);
    etcdctl.says(&["put", "w/3", "last"]);
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let expected =
        ["PUT", "w/1", "old", "PUT", "w/2", "new", "DELETE", "w/1", "", "PUT", "w/3", "last"].map(str::to_owned);
    let begin = Instant::now();
    let mut told: Vec<String> = Vec::new();
    while told.len() < expected.len() && begin.elapsed() < Duration::from_secs(20) {
        told.extend(receiver.recv_timeout(Duration::from_secs(1)));
    }
    watch.kill().expect("etcdctl can be killed");
    watch.wait().expect("etcdctl ends");
    assert_eq!(told, expected);
}

#[test]
fn leases_are_granted_kept_alive_revoked_and_expire() {
    let Some(etcdctl) = Etcdctl::with_three_members() else { return };
    let grant = |ttl: &str| {
        let said = etcdctl.says(&["lease", "grant", "--endpoints", &etcdctl.first(), ttl]);
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!((words[0], words[2]), ("lease", "granted"), "{said}");
        words[1].to_owned()
    };
    let lease = grant("60");
    assert_eq!(etcdctl.says(&["put", &format!("--lease={lease}"), "l", "x"]), "OK\n");
    let said = etcdctl.says(&["lease", "timetolive", "--keys", &lease]);
    assert!(said.starts_with(&format!("lease {lease} granted with TTL(60s), remaining(")), "{said}");
    assert!(said.contains("attached keys([l])"), "{said}");
    let said = etcdctl.says(&["lease", "list", "--endpoints", &etcdctl.first()]);
    assert_eq!(said, format!("found 1 leases\n{lease}\n"));
    let said = etcdctl.says(&["lease", "keep-alive", "--once", &lease]);
    assert_eq!(said, format!("lease {lease} keepalived with TTL(60)\n"));
    assert_eq!(etcdctl.says(&["lease", "revoke", &lease]), format!("lease {lease} revoked\n"));
    assert_eq!(etcdctl.says(&["get", "l"]), "");
    assert_eq!(etcdctl.says(&["lease", "timetolive", &lease]), format!("lease {lease} already expired\n"));
    let short = grant("5");
    etcdctl.says(&["put", &format!("--lease={short}"), "l", "x"]);
    wait_until("the lease has ended with its key", || {
        let said = etcdctl.says(&["get", "l"]);
        said.is_empty().then_some(()).ok_or(said)
    });
}

#[test]
fn members_and_their_state_are_shown() {
    let Some(etcdctl) = Etcdctl::with_three_members() else { return };
    let mut expected: Vec<String> = Vec::new();
    for member in etcdctl.cluster.members() {
        // The id is a hash of the peer URLs and the token, which differ from run to run.
        expected.push(format!("started, {}, {}, {}, false", member.name(), member.peer_url(), member.client_url()));
    }
    let listed = || {
        let said = etcdctl.says(&["member", "list"]);
        let without_ids = said.lines().filter_map(|line| line.split_once(", ")).map(|(_id, rest)| rest.to_owned());
        let mut lines: Vec<String> = without_ids.collect();
        lines.sort();
        lines
    };
    // A member is told by the log what another publishes of itself, which may take a moment.
    wait_until("the members are listed", || {
        let listed = listed();
        (listed == expected).then_some(()).ok_or_else(|| listed.join("\n"))
    });
    wait_until("all are healthy", || {
        let healthy = etcdctl.output(&["endpoint", "health"]);
        let said = String::from_utf8_lossy(&healthy.stdout) + String::from_utf8_lossy(&healthy.stderr);
        let count = said.matches("is healthy: successfully committed proposal").count();
        (count == 3).then_some(()).ok_or_else(|| said.into_owned())
    });
    // Without `http://`: for this one command etcdctl 3.4 makes a URL the authority of its requests. It asks one after
    // the other, and an election may come in between.
    let bare = etcdctl.cluster.endpoints().join(",").replace("http://", "");
    wait_until("one member leads, in the same term for all", || {
        let said = etcdctl.says(&["endpoint", "status", "--endpoints", &bare]);
        let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split(", ").collect()).collect();
        assert_eq!(lines.len(), 3, "{said}");
        assert!(lines.iter().all(|fields| fields[2] == "3.7.1"), "{said}");
        let one_leads = lines.iter().filter(|fields| fields[4] == "true").count() == 1;
        let one_term = lines.iter().all(|fields| fields[6] == lines[0][6]);
        (one_leads && one_term).then_some(()).ok_or(said)
    });
}

/// Asks again and again until the answer is right; the last one that was not is shown if none is in time.
fn wait_until(what: &str, ask: impl Fn() -> Result<(), String>) {
    let begin = Instant::now();
    while let Err(said) = ask() {
        assert!(begin.elapsed() < Duration::from_secs(30), "not in time: {what}\n{said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
