//! `detcd-replay run`: the same run again.

use std::fmt;
use std::path::Path;

use detcd_scenarios::args::UsageError;
use detcd_scenarios::catalogue::{self, Source};
use detcd_scenarios::failure::{Build, Failure};
use detcd_scenarios::trial::{self, DETERMINISM};
use detcd_sim::report::RunReport;
use detcd_sim::run::RunOptions;

/// A run that is to be made again.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The file's contents.
    pub failure: Failure,
    /// The scenario that it carries.
    pub source: Source,
}

/// What making it again came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// The same digests and the same end.
    Same,
    /// Something else; in one line, what and from where on.
    Parted(String),
}

impl Recorded {
    /// Reads a failure file.
    ///
    /// # Errors
    /// The file cannot be used; one line says why.
    pub fn read(path: &Path) -> Result<Recorded, UsageError> {
        let failure = Failure::read(path).map_err(|error| UsageError(error.to_string()))?;
        let source = catalogue::parse(&format!("{} (its scenario)", path.display()), &failure.scenario_toml)?;
        Ok(Recorded { failure, source })
    }

    /// What the run leaves out, and the digests that it should have.
    pub fn options(&self) -> RunOptions {
        self.failure.options()
    }

    /// Runs it again and compares.
    pub fn replay(&self) -> Replayed {
        self.compare(&trial::play(&self.source, self.failure.seed, &self.options()))
    }

    /// Where `report`, a run with [`Recorded::options`], is not the recorded run.
    fn compare(&self, report: &RunReport) -> Replayed {
        let failure = &self.failure;
        if let Some(parting) = report.parting {
            let before = parting.event.saturating_sub(failure.trail.stride);
            return Replayed::Parted(format!(
                "the runs part between the events {before} and {}, at {} ms",
                parting.event, parting.at_ms
            ));
        }
        if report.events != failure.events || report.digest.to_string() != failure.digest {
            let common = failure.trail.stride * failure.trail.points.len() as u64;
            return Replayed::Parted(format!(
                "the runs part after event {common}: {} events with digest {} on file, {} events with digest {} now",
                failure.events, failure.digest, report.events, report.digest
            ));
        }
        let ending = trial::ending_of(report);
        if ending.as_ref() == Some(&failure.verdict) {
            return Replayed::Same;
        }
        if failure.verdict.checker == DETERMINISM {
            return Replayed::Parted(format!("this run equals the one on file; there, {}", failure.verdict.detail));
        }
        let now = ending.as_ref().map_or("every promise was kept".to_string(), trial::said);
        Replayed::Parted(format!("all digests are equal, and yet the verdict is another: {now}"))
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { scenario, seed, verdict, events, digest, .. } = &self.failure;
        write!(f, "{scenario} (seed {seed}), {events} events, digest {digest}: {}", trial::said(verdict))
    }
}

/// What is different between the build that found a failure and this one, if it can explain that runs part.
pub fn other_build(failure: &Failure) -> Option<String> {
    let this = Build::this();
    (failure.build.source != this.source).then(|| {
        let (found, now) = (&failure.build, &this);
        format!(
            "it was found by a build of other sources ({} {}, now {} {})",
            found.version, found.source, now.version, now.source
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use detcd_scenarios::failure::Ending;
    use detcd_scenarios::row::Verdict;

    const TOML: &str = "name = \"brief\"\nwhy = \"To be run again.\"\nnodes = 3\n\n[phases]\nfaults_ms = 2_000\n";

    /// The file of a run that ended well: nothing in a replay needs it to have failed but the verdict.
    fn recorded(verdict: Ending) -> (Recorded, RunReport) {
        let source = catalogue::parse("brief.toml", TOML).expect("it is right");
        let report = trial::play(&source, 7, &RunOptions::default());
        let failure = Failure {
            scenario: "brief".to_string(),
            scenario_toml: TOML.to_string(),
            seed: 7,
            removed_ops: Default::default(),
            removed_faults: Default::default(),
            crash: None,
            build: Build::this(),
            verdict,
            digest: report.digest.to_string(),
            events: report.events,
            trail: report.trail.clone(),
        };
        (Recorded { failure, source }, report)
    }

    fn parted(recorded: &Recorded) -> String {
        match recorded.replay() {
            Replayed::Parted(line) => line,
            Replayed::Same => panic!("it is not the same"),
        }
    }

    fn some_ending() -> Ending {
        let (checker, detail) = ("nobody".to_string(), "nothing".to_string());
        Ending { kind: Verdict::Safety, checker, detail, at_ns: 0 }
    }

    #[test]
    fn a_run_with_the_recorded_end_is_the_same() {
        let (mut recorded, report) = recorded(some_ending());
        let mut again = trial::play(&recorded.source, 7, &recorded.options());
        assert_eq!(again.digest, report.digest);
        let violation = detcd_sim::check::Violation {
            kind: detcd_sim::check::ViolationKind::Safety,
            checker: "nobody",
            at: 5,
            detail: "nothing".to_string(),
        };
        again.verdict = detcd_sim::report::Verdict::Broken(violation);
        recorded.failure.verdict.at_ns = 5;
        assert_eq!(recorded.compare(&again), Replayed::Same);
        recorded.failure.verdict.at_ns = 6;
        assert!(matches!(recorded.compare(&again), Replayed::Parted(_)));
    }

    #[test]
    fn another_verdict_on_the_same_digests_is_told() {
        let (recorded, report) = recorded(some_ending());
        assert_eq!(trial::ending_of(&report), None);
        assert!(parted(&recorded).contains("every promise was kept"));
    }

    #[test]
    fn another_seed_parts_and_the_event_is_named() {
        let (mut recorded, _) = recorded(some_ending());
        recorded.failure.seed = 8;
        let line = parted(&recorded);
        assert!(line.starts_with("the runs part between the events ") && line.ends_with(" ms"), "{line}");
    }

    #[test]
    fn a_run_that_goes_on_longer_than_recorded_is_told() {
        let (mut recorded, _) = recorded(some_ending());
        recorded.failure.trail.points.truncate(10);
        recorded.failure.events = 10 * recorded.failure.trail.stride;
        assert!(parted(&recorded).starts_with("the runs part after event "));
    }
}
