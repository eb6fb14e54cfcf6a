//! A cluster of real processes on this machine: of `detcd`, or of anything that takes etcd's flags.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::launch;

/// What a member prints once it serves clients; etcd's own words.
pub const READY: &str = "ready to serve client requests";

/// How long a member may take to become ready, generous because test machines are small.
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Why a member is not where it should be. The log of the member is part of the text.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// The process ended instead of serving.
    #[error("{name} ended with {status} instead of serving:\n{log}")]
    Ended {
        /// Which member.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its log.
        log: String,
    },
    /// The process lives but does not serve.
    #[error("{name} did not {what} within {within:?}:\n{log}")]
    Late {
        /// Which member.
        name: String,
        /// What was expected of it.
        what: &'static str,
        /// How long it was given.
        within: Duration,
        /// The end of its log.
        log: String,
    },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> ClusterError {
    let what = what.into();
    move |source| ClusterError::Io { what, source }
}

/// One member: its place in the world, and its process while it runs.
#[derive(Debug)]
pub struct MemberProcess {
    name: String,
    client_port: u16,
    peer_port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
    /// Where in the log the present life begins.
    log_start: usize,
}

impl MemberProcess {
    /// Its name, `m1` for the first.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join(format!("{}.etcd", self.name))
    }

    /// Where clients reach it.
    pub fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    /// Where members reach it.
    pub fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }

    /// All its flags.
    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    /// The number of its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it printed since it was started the last time.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes[self.log_start.min(bytes.len())..]).into_owned()
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn start(&mut self, program: &Path) -> Result<(), ClusterError> {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log_path())
            .map_err(failed(format!("open {}", self.log_path().display())))?;
        let length = log.metadata().map_err(failed("the log's length"))?.len();
        self.log_start = usize::try_from(length).expect("a log fits in memory");
        let mut command = launch::dying_with_us(program).map_err(failed("find the launcher"))?;
        command.args(&self.arguments).stdin(Stdio::null());
        command.stdout(log.try_clone().map_err(failed("share the log"))?).stderr(log);
        self.child = Some(launch::spawn(command).map_err(failed(format!("start {}", program.display())))?);
        Ok(())
    }

    fn wait_ready(&mut self) -> Result<(), ClusterError> {
        let begin = Instant::now();
        loop {
            if self.log().contains(READY) {
                return Ok(());
            }
            let child = self.child.as_mut().expect("a member that is waited for was started");
            if let Some(status) = child.try_wait().map_err(failed("wait for a member"))? {
                self.child = None;
                return Err(ClusterError::Ended { name: self.name.clone(), status, log: self.log_end() });
            }
            if begin.elapsed() > READY_WITHIN {
                return Err(self.late("serve", READY_WITHIN));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn late(&self, what: &'static str, within: Duration) -> ClusterError {
        ClusterError::Late { name: self.name.clone(), what, within, log: self.log_end() }
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("only a running member gets signals");
        let number = i32::try_from(child.id()).expect("process numbers are small");
        let pid = Pid::from_raw(number).expect("process numbers are positive");
        kill_process(pid, signal).expect("our own child can be signalled");
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended by itself; whoever cares looks at its log.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a cluster is made.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// The program of every member.
    pub program: PathBuf,
    /// How many members.
    pub members: usize,
    /// Further flags, the same for all.
    pub flags: Vec<String>,
}

impl ClusterOptions {
    /// Three members of `program`.
    pub fn three(program: PathBuf) -> ClusterOptions {
        ClusterOptions { program, members: 3, flags: Vec::new() }
    }
}

/// Members in a folder of their own, killed and swept away when this is dropped.
///
/// With the environment variable `DETCD_KEEP` set, or in a test that fails, the folder stays and its path is printed.
#[derive(Debug)]
pub struct Cluster {
    program: PathBuf,
    members: Vec<MemberProcess>,
    folder: Option<TempDir>,
}

impl Cluster {
    /// Starts all members and waits until each serves.
    ///
    /// # Errors
    /// A member that does not come up.
    pub fn start(options: &ClusterOptions) -> Result<Cluster, ClusterError> {
        let mut cluster = Cluster::prepare(options)?;
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Everything but the processes.
    ///
    /// # Errors
    /// No folder, no ports.
    pub fn prepare(options: &ClusterOptions) -> Result<Cluster, ClusterError> {
        let folder = tempfile::Builder::new().prefix("detcd-cluster-").tempdir().map_err(failed("make a folder"))?;
        let mut members: Vec<MemberProcess> = (1..=options.members)
            .map(|place| MemberProcess {
                name: format!("m{place}"),
                client_port: free_port(),
                peer_port: free_port(),
                folder: folder.path().to_owned(),
                arguments: Vec::new(),
                child: None,
                log_start: 0,
            })
            .collect();
        let peers: Vec<String> =
            members.iter().map(|member| format!("{}={}", member.name, member.peer_url())).collect();
        let token = folder.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for member in &mut members {
            let data_dir = member.data_dir().to_string_lossy().into_owned();
            let flags = [
                ("--name", member.name.clone()),
                ("--data-dir", data_dir),
                ("--listen-client-urls", member.client_url()),
                ("--advertise-client-urls", member.client_url()),
                ("--listen-peer-urls", member.peer_url()),
                ("--initial-advertise-peer-urls", member.peer_url()),
                ("--initial-cluster", peers.join(",")),
                ("--initial-cluster-token", token.clone()),
            ];
            member.arguments = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
            member.arguments.extend(options.flags.iter().cloned());
        }
        Ok(Cluster { program: options.program.clone(), members, folder: Some(folder) })
    }

    /// Starts every member that does not run, all at once, and waits until each serves.
    ///
    /// # Errors
    /// A member that does not come up.
    pub fn start_all(&mut self) -> Result<(), ClusterError> {
        let down: Vec<usize> = (0..self.members.len()).filter(|place| self.members[*place].child.is_none()).collect();
        for place in &down {
            self.members[*place].start(&self.program)?;
        }
        down.into_iter().try_for_each(|place| self.members[place].wait_ready())
    }

    /// Starts the member at `place` (from 0) without waiting for it.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn launch(&mut self, place: usize) -> Result<(), ClusterError> {
        self.members[place].start(&self.program)
    }

    /// Waits until the member at `place` serves.
    ///
    /// # Errors
    /// It ended, or it takes too long.
    pub fn wait_ready(&mut self, place: usize) -> Result<(), ClusterError> {
        self.members[place].wait_ready()
    }

    /// Starts the member at `place` and waits until it serves.
    ///
    /// # Errors
    /// It ended, or it takes too long.
    pub fn restart(&mut self, place: usize) -> Result<(), ClusterError> {
        self.launch(place)?;
        self.wait_ready(place)
    }

    /// Waits until the process of the member at `place` ends by itself.
    ///
    /// # Errors
    /// It does not, within `within`.
    pub fn wait_exit(&mut self, place: usize, within: Duration) -> Result<ExitStatus, ClusterError> {
        let begin = Instant::now();
        loop {
            let child = self.members[place].child.as_mut().expect("a member that is waited for was started");
            if let Some(status) = child.try_wait().map_err(failed("wait for a member"))? {
                self.members[place].child = None;
                return Ok(status);
            }
            if begin.elapsed() > within {
                return Err(self.members[place].late("end", within));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self, place: usize) {
        self.members[place].kill();
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// It does not end within half a minute.
    pub fn terminate(&mut self, place: usize) -> Result<ExitStatus, ClusterError> {
        self.members[place].signal(Signal::TERM);
        self.wait_exit(place, Duration::from_secs(30))
    }

    /// SIGSTOP: the member stands still but keeps its connections.
    pub fn pause(&self, place: usize) {
        self.members[place].signal(Signal::STOP);
    }

    /// SIGCONT.
    pub fn resume(&self, place: usize) {
        self.members[place].signal(Signal::CONT);
    }

    /// The members, in order.
    pub fn members(&self) -> &[MemberProcess] {
        &self.members
    }

    /// Where clients reach the members, in order.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(MemberProcess::client_url).collect()
    }

    /// The numbers of the processes that run.
    pub fn pids(&self) -> Vec<u32> {
        self.members.iter().filter_map(MemberProcess::pid).collect()
    }

    /// The folder that holds data and logs.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("the folder goes last").path()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            member.kill();
        }
        if let Some(folder) = self.folder.take()
            && (std::thread::panicking() || std::env::var_os("DETCD_KEEP").is_some())
        {
            eprintln!("data and logs of the members stay in {}", folder.keep().display());
        }
    }
}

/// A port on loopback that nobody uses, below those that the system gives to outgoing connections, so that nobody
/// takes it while its member is down.
///
/// # Panics
/// There is none, which no test could survive.
pub fn free_port() -> u16 {
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % u32::from(COUNT)).expect("less than COUNT");
    for _ in 0..COUNT {
        // Test processes that run side by side begin far apart.
        let offset = (u32::from(own) * 37 + u32::from(NEXT.fetch_add(1, Ordering::Relaxed))) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).expect("less than COUNT");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free between {FIRST} and {}", FIRST + COUNT);
}

/// The content of every file under `folder`, by path: what "byte-identical before and after" compares.
///
/// # Errors
/// Something cannot be read.
pub fn image(folder: &Path) -> io::Result<std::collections::BTreeMap<PathBuf, Vec<u8>>> {
    let mut found = std::collections::BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in std::fs::read_dir(&next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                open.push(entry.path());
                found.insert(entry.path(), b"folder".to_vec());
            } else {
                let mut content = Vec::new();
                io::Read::read_to_end(&mut File::open(entry.path())?, &mut content)?;
                found.insert(entry.path(), content);
            }
        }
    }
    Ok(found)
}
