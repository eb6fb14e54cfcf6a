//! What one run came to: the line of `--json`, and the worst of many.

use detcd_sim::check::ViolationKind;
use serde::{Deserialize, Serialize};

/// How a run ended, from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every promise was kept.
    #[default]
    Ok,
    /// Something right did not happen in time.
    Liveness,
    /// Something wrong happened.
    Safety,
    /// A node panicked.
    Crash,
}

impl Verdict {
    /// That of a run with such a violation.
    pub fn of(kind: ViolationKind) -> Verdict {
        match kind {
            ViolationKind::Safety => Verdict::Safety,
            ViolationKind::Liveness => Verdict::Liveness,
            ViolationKind::Crash => Verdict::Crash,
        }
    }

    /// The exit status of a campaign in which this was the worst.
    pub fn exit_status(self) -> u8 {
        match self {
            Verdict::Ok => 0,
            Verdict::Safety => 1,
            Verdict::Liveness => 2,
            Verdict::Crash => 3,
        }
    }

    /// Its word in `--json`, failure files and tables.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Safety => "safety",
            Verdict::Liveness => "liveness",
            Verdict::Crash => "crash",
        }
    }
}

/// One run, as `--json` prints it. The fields and their names are stable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The digest over every event of the run, in hexadecimal digits.
    pub digest: String,
    /// Events of the simulated world.
    pub events: u64,
    /// Virtual time that passed, in milliseconds.
    pub sim_ms: u64,
    /// Real time that the run took, in milliseconds.
    pub wall_ms: u64,
    /// Acknowledged client operations.
    pub ops: u64,
    /// Faults that struck.
    pub faults: u64,
    /// How often a member became leader after the first.
    pub leader_changes: u64,
    /// How it ended.
    pub verdict: Verdict,
    /// Who noticed, if it did not end well.
    pub checker: Option<String>,
    /// What happened, in one line.
    pub detail: Option<String>,
    /// The path of the failure file.
    pub repro: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_is_worse_than_a_safety_violation_and_that_than_a_liveness_violation() {
        assert!(Verdict::Crash > Verdict::Safety);
        assert!(Verdict::Safety > Verdict::Liveness);
        assert!(Verdict::Liveness > Verdict::Ok);
    }

    #[test]
    fn a_row_has_the_documented_fields_in_the_documented_order() {
        let line = serde_json::to_string(&Row::default()).expect("a row is JSON");
        let documented = [
            "scenario",
            "seed",
            "digest",
            "events",
            "sim_ms",
            "wall_ms",
            "ops",
            "faults",
            "leader_changes",
            "verdict",
            "checker",
            "detail",
            "repro",
        ];
        let places: Vec<usize> =
            documented.iter().map(|field| line.find(&format!("\"{field}\":")).expect("the field is there")).collect();
        assert!(places.is_sorted(), "{line}");
        assert_eq!(line.matches("\":").count(), documented.len(), "{line}");
    }
}
