//! The simulator's checkers on a recorded history.

use detcd_sim::check::{self, CheckConfig, Violation, Witness};
use detcd_sim::observe::{Observation, Observed};
use detcd_tests::recording::{RealRun, TimedHistory};

/// Judges `history`, which is that of `run` or a spoilt copy, with every checker that watches clients.
pub fn judge(run: &RealRun, history: &TimedHistory) -> Result<(), Violation> {
    let mut config = CheckConfig::new(run.member_ids.len());
    config.member_ids.clone_from(&run.member_ids);
    config.witness = Witness::Recorded;
    let mut checkers = check::all(&config);
    let mut tell = |seen: &Observed| checkers.iter_mut().try_for_each(|checker| checker.observe(seen));
    let mut deaths = run.deaths.iter().peekable();
    for (at, event) in history {
        // Restarted members may be behind what they told in their earlier lives.
        while let Some(death) = deaths.next_if(|death| death.at <= *at) {
            tell(&Observed { at: death.at, what: Observation::Crashed { node: death.place } })?;
        }
        tell(&Observed { at: *at, what: Observation::History(event) })?;
    }
    let end = history.last().map_or(0, |(at, _)| *at);
    checkers.iter_mut().try_for_each(|checker| checker.finish(end))
}
