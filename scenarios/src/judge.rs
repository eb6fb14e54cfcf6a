//! The checkers that watch clients, on a history that was recorded elsewhere.

use detcd_sim::check::{self, CheckConfig, Checker, Violation};
use detcd_sim::history::Nanos;
use detcd_sim::observe::{Observation, Observed};

use crate::history_file::{Header, Line, What};

/// Judges a history line by line. Nothing is said about progress: nobody knows what the network did.
pub struct Judge {
    members: Vec<u64>,
    checkers: Vec<Box<dyn Checker>>,
    now: Nanos,
}

impl Judge {
    /// For a history that begins so, on a cluster that was empty.
    pub fn new(header: &Header) -> Judge {
        let mut config = CheckConfig::new(header.members.len());
        config.member_ids.clone_from(&header.members);
        config.witness = header.witness;
        config.txn_ops_max = header.txn_ops_max;
        config.clock_skew_ppm_max = header.clock_skew_ppm_max;
        config.clock_steps = header.clock_steps;
        // Nobody knows what quotas and disks the members had, and whether they compacted by themselves.
        config.space_may_run_out = true;
        config.auto_compactions = None;
        let mut checkers = check::all(&config);
        checkers.retain(|checker| checker.interest().needs_clients());
        Judge { members: header.members.clone(), checkers, now: 0 }
    }

    /// Takes the next line.
    ///
    /// # Errors
    /// The violation that it proves; the history is judged then.
    ///
    /// # Panics
    /// A member that died is none of the header's; a reader refuses such a line.
    pub fn take(&mut self, line: &Line) -> Result<(), Violation> {
        self.now = line.at;
        let what = match &line.what {
            What::History(event) => Observation::History(event),
            What::Died(member) => {
                let node = self.members.iter().position(|id| id == member).expect("members that die are in the header");
                Observation::Crashed { node }
            }
        };
        let seen = Observed { at: line.at, what };
        self.checkers.iter_mut().try_for_each(|checker| checker.observe(&seen))
    }

    /// The history is over.
    ///
    /// # Errors
    /// The violation that its end proves.
    pub fn end(mut self) -> Result<(), Violation> {
        let now = self.now;
        self.checkers.iter_mut().try_for_each(|checker| checker.finish(now))
    }
}
