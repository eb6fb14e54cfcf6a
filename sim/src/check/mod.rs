//! The oracle: one checker a file. A checker judges each event as it comes, at a cost of what changed, and forgets
//! what is settled.

pub mod alarms;
mod by_term;
pub mod compactions;
pub mod durability;
pub mod elections;
#[cfg(test)]
mod generated;
pub mod hashes;
mod interest;
pub mod leases;
pub mod locks;
pub mod log_matching;
mod log_terms;
mod model;
#[cfg(test)]
pub(crate) mod observations;
mod recent;
pub mod replicas_agree;
pub mod revisions;
pub mod serializability;
pub mod watches;
mod window;

use std::fmt;

use detcd_core::config::AutoCompaction;

use crate::history::Nanos;
use crate::observe::Observed;
pub use interest::{Interest, Kind};

/// Judges a run.
pub trait Checker {
    /// Its name in verdicts and failure files: lower case, words joined by hyphens.
    fn name(&self) -> &'static str;

    /// What it has to be told of.
    fn interest(&self) -> Interest;

    /// Takes one observation.
    ///
    /// # Errors
    /// The violation that this observation proves.
    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation>;

    /// The run is over; whatever had to happen has had its time.
    ///
    /// # Errors
    /// The violation that the end proves.
    fn finish(&mut self, _at: Nanos) -> Result<(), Violation> {
        Ok(())
    }
}

/// What the checkers have to know of a run beforehand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckConfig {
    /// How many members the cluster has, all of them voters, from the first to the last moment.
    pub nodes: usize,
    /// The members' ids as headers show them, by their place in the cluster.
    pub member_ids: Vec<u64>,
    /// How far the rate of a member's clock may be off, either way, in parts per million.
    pub clock_skew_ppm_max: u64,
    /// How far members' clocks may jump ahead during the run, all jumps taken together.
    pub clock_steps: Nanos,
    /// Whether members may run out of space by themselves: a quota that can be reached, or a disk that can be full.
    pub space_may_run_out: bool,
    /// When members compact without being asked, one by one; `None` if nobody knows.
    pub auto_compactions: Option<Vec<AutoCompaction>>,
    /// The smallest `--max-txn-ops` of the members.
    pub txn_ops_max: usize,
    /// How long after the end of faults, or after the last thing that restarts a wait, something that has to happen may
    /// take.
    pub settle: Nanos,
    /// How long after it was sent a message between members, or a second copy of it, may still arrive.
    pub message_life: Nanos,
    /// Where the revisions of the history come from.
    pub witness: Witness,
}

impl CheckConfig {
    /// For a simulated cluster of `nodes` members whose ids are 1, 2, 3 and so on, with etcd's limits, perfect clocks
    /// and 30 s to settle.
    pub fn new(nodes: usize) -> CheckConfig {
        CheckConfig {
            nodes,
            member_ids: (1..).take(nodes).collect(),
            clock_skew_ppm_max: 0,
            clock_steps: 0,
            space_may_run_out: false,
            auto_compactions: Some(Vec::new()),
            txn_ops_max: 128,
            settle: 30_000_000_000,
            message_life: 0,
            witness: Witness::Live,
        }
    }
}

/// Who tells the revisions of a history, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The first replica that applies one, at that moment: nobody can know a revision before the witness does.
    Live,
    /// A watcher of a real cluster: it may tell of a revision after a client has learnt of it.
    Recorded,
}

/// Every checker, for a run that starts with an empty cluster.
///
/// All of them have to see every observation of the run, in order; none of them says anything about progress as a
/// whole.
pub fn all(config: &CheckConfig) -> Vec<Box<dyn Checker>> {
    vec![
        Box::new(elections::Elections::new(config)),
        Box::new(log_matching::LogMatching::new(config)),
        Box::new(replicas_agree::ReplicasAgree::new(config)),
        Box::new(durability::Durability::new(config)),
        Box::new(serializability::Serializability::new(config)),
        Box::new(revisions::Revisions::new(config)),
        Box::new(watches::Watches::new(config)),
        Box::new(leases::Leases::new(config)),
        Box::new(locks::Locks::new(config)),
        Box::new(alarms::Alarms::new(config)),
        Box::new(hashes::Hashes::new(config)),
        Box::new(compactions::Compactions::new(config)),
    ]
}

/// Which promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ViolationKind {
    /// Something wrong happened.
    Safety,
    /// Something right did not happen in time.
    Liveness,
    /// A node panicked.
    Crash,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which kind of promise.
    pub kind: ViolationKind,
    /// Who noticed.
    pub checker: &'static str,
    /// When, in virtual time.
    pub at: Nanos,
    /// What happened, in one line; the same in every replay.
    pub detail: String,
}

impl Violation {
    /// Something wrong happened.
    pub fn safety(checker: &'static str, at: Nanos, detail: String) -> Violation {
        Violation { kind: ViolationKind::Safety, checker, at, detail }
    }

    /// Something right did not happen in time.
    pub fn liveness(checker: &'static str, at: Nanos, detail: String) -> Violation {
        Violation { kind: ViolationKind::Liveness, checker, at, detail }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}.{:06} ms: {}", self.checker, self.at / 1_000_000, self.at % 1_000_000, self.detail)
    }
}
