//! The oracle: one checker a file. A checker judges each event as it comes, at a cost of what changed, and forgets
//! what is settled.

use std::fmt;

use crate::history::Nanos;
use crate::observe::Observed;

/// Judges a run.
pub trait Checker {
    /// Its name in verdicts and failure files: lower case, words joined by hyphens.
    fn name(&self) -> &'static str;

    /// Takes one observation.
    ///
    /// # Errors
    /// The violation that this observation proves.
    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation>;

    /// The run is over; whatever had to happen has had its time.
    ///
    /// # Errors
    /// The violation that the end proves.
    fn finish(&mut self, at: Nanos) -> Result<(), Violation>;
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

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}.{:06} ms: {}", self.checker, self.at / 1_000_000, self.at % 1_000_000, self.detail)
    }
}
