//! The simulator's checkers on a recorded history.

use std::collections::BTreeSet;

use detcd_core::api::Response;
use detcd_core::proto::etcdserverpb::ResponseHeader;
use detcd_sim::check::{self, CheckConfig, Violation, Witness};
use detcd_sim::history::{HistoryEvent, Outcome};
use detcd_sim::observe::{Observation, Observed};
use detcd_tests::recording::TimedHistory;

/// Judges `history` with every checker that watches clients.
pub fn judge(history: &TimedHistory) -> Result<(), Violation> {
    let mut config = CheckConfig::new(3);
    config.member_ids = member_ids(history);
    config.witness = Witness::Recorded;
    let mut checkers = check::all(&config);
    for (at, event) in history {
        let seen = Observed { at: *at, what: Observation::History(event) };
        for checker in &mut checkers {
            checker.observe(&seen)?;
        }
    }
    let end = history.last().map_or(0, |(at, _)| *at);
    checkers.iter_mut().try_for_each(|checker| checker.finish(end))
}

/// Who answered, from the headers.
fn member_ids(history: &TimedHistory) -> Vec<u64> {
    let mut ids = BTreeSet::new();
    for (_, event) in history {
        if let HistoryEvent::Return { outcome: Outcome::Ok(response), .. } = event {
            ids.extend(header(response).map(|header| header.member_id));
        }
    }
    assert_eq!(ids.len(), 3, "every member answered somebody");
    ids.into_iter().collect()
}

/// The header of a response to an operation of the workload.
pub fn header(response: &Response) -> Option<&ResponseHeader> {
    match response {
        Response::Range(response) => response.header.as_ref(),
        Response::Put(response) => response.header.as_ref(),
        Response::DeleteRange(response) => response.header.as_ref(),
        Response::Txn(response) => response.header.as_ref(),
        _ => None,
    }
}
