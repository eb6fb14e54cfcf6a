//! The planted failure of every campaign: a run whose oracle is told a lie. Whoever reports no failures has to report
//! this one, or nobody can know whether there were none.

use std::path::Path;

use detcd_core::api::Response;
use detcd_sim::check::serializability::{self, Serializability};
use detcd_sim::check::{CheckConfig, Checker, Interest, Violation};
use detcd_sim::history::{HistoryEvent, Outcome};
use detcd_sim::observe::{Observation, Observed};

use crate::catalogue::Source;
use crate::failure::Failure;
use crate::row::Verdict;
use crate::trial::{self, Trial};

/// The scenario's name; it is in no list.
pub const NAME: &str = "must-fail";

/// The scenario. Only this text makes the oracle hear the lie.
pub const TOML: &str = "name = \"must-fail\"
why = \"A campaign that does not report this failure reports none.\"
nodes = 3

[phases]
warmup_ms = 1_000
faults_ms = 2_000
";

/// The seed on which campaigns run it.
pub const SEED: u64 = 1;

/// Which acknowledged put the oracle is lied to about.
const LIE_AT: u64 = 20;

/// Whether the run of `source` is the planted failure.
pub fn is_planted(source: &Source) -> bool {
    source.toml == TOML
}

/// A checker that hears of one put that it took effect at another revision.
pub struct Deceived {
    checker: Serializability,
    puts: u64,
}

impl Deceived {
    /// For a run of which this has to be known.
    pub fn new(config: &CheckConfig) -> Deceived {
        Deceived { checker: Serializability::new(config), puts: 0 }
    }

    fn lie(&mut self, event: &HistoryEvent) -> Option<HistoryEvent> {
        let HistoryEvent::Return { op, outcome: Outcome::Ok(Response::Put(put)) } = event else { return None };
        self.puts += 1;
        let mut put = put.clone();
        put.header.as_mut().filter(|_| self.puts == LIE_AT)?.revision -= 1;
        Some(HistoryEvent::Return { op: *op, outcome: Outcome::Ok(Response::Put(put)) })
    }
}

impl Checker for Deceived {
    fn name(&self) -> &'static str {
        serializability::NAME
    }

    fn interest(&self) -> Interest {
        Interest::CLIENTS
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        if let Observation::History(event) = &seen.what
            && let Some(lie) = self.lie(event)
        {
            return self.checker.observe(&Observed { at: seen.at, what: Observation::History(&lie) });
        }
        self.checker.observe(seen)
    }
}

/// Whether `trial`, a run of the planted failure, was reported as it has to be: with the right verdict by the right
/// checker, and a failure file that a fresh run of the same reproduces.
///
/// # Errors
/// What is missing, in one line.
pub fn was_reported(source: &Source, trial: &Trial) -> Result<(), String> {
    let row = &trial.row;
    if row.verdict != Verdict::Safety || row.checker.as_deref() != Some(serializability::NAME) {
        let said = row.checker.as_deref().unwrap_or("nobody");
        return Err(format!(
            "the verdict is {} by {said}, not safety by {}",
            row.verdict.word(),
            serializability::NAME
        ));
    }
    let path = row.repro.as_deref().ok_or("it has no failure file")?;
    let failure = Failure::read(Path::new(path)).map_err(|error| error.to_string())?;
    let again = trial::play(source, failure.seed, &failure.options());
    if again.digest.to_string() != failure.digest || trial::ending_of(&again) != Some(failure.verdict) {
        return Err("running it again gives something else".to_string());
    }
    Ok(())
}
