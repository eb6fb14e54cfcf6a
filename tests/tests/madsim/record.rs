//! What a run under madsim saw, in one order on one clock, and the simulator's own checkers on it: all of them, those
//! of members too, since a body is told of every step.

use std::sync::{Mutex, PoisonError};

use detcd_core::proto::mvccpb::Event;
use detcd_core::time::nanos;
use detcd_core::{NodeStatus, Note, StoreView};
use detcd_sim::check::{self, CheckConfig, Checker, Interest, Violation};
use detcd_sim::history::{HistoryEvent, Nanos};
use detcd_sim::observe::{Notes, Observation, Observed};
use madsim::time::TimeHandle;

/// One thing that was seen.
#[derive(Clone, Debug)]
pub enum Seen {
    /// A member was opened on what its disk holds.
    Opened(usize),
    /// A member took a step.
    Stepped {
        /// Its place.
        node: usize,
        /// What happened inside.
        notes: Vec<Note>,
        /// How it stood then.
        status: NodeStatus,
        /// What it showed then.
        view: StoreView,
    },
    /// A member died.
    Died(usize),
    /// A client did or saw something.
    History(HistoryEvent),
}

impl Seen {
    /// Whether two runs saw the same here. The status holds the digest of the store, so the store is not compared.
    fn is_as(&self, other: &Seen) -> bool {
        match (self, other) {
            (Seen::Opened(one), Seen::Opened(other)) | (Seen::Died(one), Seen::Died(other)) => one == other,
            (
                Seen::Stepped { node: n1, notes: o1, status: s1, .. },
                Seen::Stepped { node: n2, notes: o2, status: s2, .. },
            ) => (n1, o1, s1) == (n2, o2, s2),
            (Seen::History(one), Seen::History(other)) => one == other,
            _ => false,
        }
    }
}

/// Everything that was seen, with its time.
pub type Record = Vec<(Nanos, Seen)>;

/// Takes down what is seen.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Record>);

impl Recorder {
    /// Takes down one thing, at the time of the runtime.
    pub fn see(&self, seen: Seen) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((now(), seen));
    }

    /// The record so far, which begins anew.
    pub fn take(&self) -> Record {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The time since the runtime began.
pub fn now() -> Nanos {
    nanos(TimeHandle::current().elapsed())
}

/// Where two records of the same seed part; `None` if they do not.
pub fn parting(one: &Record, other: &Record) -> Option<String> {
    let same = |((at, seen), (other_at, other)): &(&(Nanos, Seen), &(Nanos, Seen))| at == other_at && seen.is_as(other);
    let place = one.iter().zip(other).take_while(same).count();
    let is_parted = place < one.len().max(other.len());
    is_parted.then(|| format!("at line {place}: {:?} against {:?}", one.get(place), other.get(place)))
}

/// Judges a record with every checker of the simulator or, if only clients are of interest, with those that can judge
/// without a look into members. The first replica that reaches a revision is the witness.
///
/// # Errors
/// The violation that it proves.
pub fn judge(record: &Record, members: usize, of_interest: Interest) -> Result<(), Violation> {
    let mut checkers = check::all(&CheckConfig::new(members));
    checkers.retain(|checker| of_interest == Interest::ALL || checker.interest().needs_clients());
    let mut witnessed = 1;
    for (at, seen) in record {
        let what = match seen {
            Seen::Opened(node) => Observation::Opened { node: *node },
            Seen::Died(node) => Observation::Crashed { node: *node },
            Seen::History(event) => Observation::History(event),
            Seen::Stepped { node, notes, status, view } => {
                witness(&mut checkers, *at, view, &mut witnessed)?;
                Observation::Stepped { node: *node, notes: Notes::new(notes), status, view }
            }
        };
        if of_interest.covers(&what) {
            tell(&mut checkers, *at, what)?;
        }
    }
    let end = record.last().map_or(0, |(at, _)| *at);
    checkers.iter_mut().try_for_each(|checker| checker.finish(end))
}

fn tell(checkers: &mut [Box<dyn Checker>], at: Nanos, what: Observation<'_>) -> Result<(), Violation> {
    let seen = Observed { at, what };
    checkers.iter_mut().filter(|checker| checker.interest().covers(&seen.what)).try_for_each(|c| c.observe(&seen))
}

/// Tells what the revisions did that nobody had reached before.
fn witness(
    checkers: &mut [Box<dyn Checker>],
    at: Nanos,
    view: &StoreView,
    witnessed: &mut i64,
) -> Result<(), Violation> {
    let newest = view.revision();
    if newest <= *witnessed {
        return Ok(());
    }
    let first = *witnessed + 1;
    // Clients give up only what was seen, and what was seen was reached by a replica before.
    assert!(view.compacted() <= first, "revision {first} was compacted before anybody reached it");
    let mut told = view.events_since(first).peekable();
    for revision in first..=newest {
        let of_next = |event: &Event| event.kv.as_ref().is_none_or(|kv| kv.mod_revision <= revision);
        let events = std::iter::from_fn(|| told.next_if(of_next)).collect();
        tell(checkers, at, Observation::History(&HistoryEvent::Revision { revision, events }))?;
    }
    *witnessed = newest;
    Ok(())
}
