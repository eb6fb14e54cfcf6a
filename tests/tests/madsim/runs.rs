//! What has to hold of runs under madsim.

use detcd_core::{Note, Role};
use detcd_sim::check::{Interest, Violation, leases, revisions, serializability};
use detcd_sim::history::HistoryEvent;

use crate::lies::Lie;
use crate::member::MEMBERS;
use crate::record::{Seen, judge, parting};
use crate::run::{Run, run};

/// How many seeds are run, unless `DETCD_MADSIM_SEEDS` says how many.
const SEEDS: u64 = 12;

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("DETCD_MADSIM_SEEDS").ok();
    0..given.map_or(SEEDS, |text| text.parse().expect("DETCD_MADSIM_SEEDS is a number"))
}

/// What the runs of all seeds together did.
#[derive(Debug, Default)]
struct Total {
    lives: usize,
    elections_won: usize,
    snapshots_installed: usize,
    events_watched: usize,
    writes: u64,
    unknown: u64,
}

impl Total {
    fn add(&mut self, run: &Run) {
        self.writes += run.writes;
        self.unknown += run.unknown;
        for (_, seen) in &run.record {
            match seen {
                Seen::Opened(_) => self.lives += 1,
                Seen::Stepped { notes, .. } => {
                    let count = |what: fn(&Note) -> bool| notes.iter().filter(|note| what(note)).count();
                    self.elections_won += count(|note| matches!(note, Note::Role { role: Role::Leader, .. }));
                    self.snapshots_installed += count(|note| matches!(note, Note::Installed { .. }));
                }
                Seen::History(HistoryEvent::WatchReceive { response, .. }) => {
                    self.events_watched += response.events.len();
                }
                Seen::Died(_) | Seen::History(_) => {}
            }
        }
    }
}

/// Fails unless the run did what it is for, and everything was right.
fn expect_right(seed: u64, run: &Run) {
    eprintln!("seed {seed}: {} writes, {} unknown outcomes, {:?}", run.writes, run.unknown, run.done);
    assert_eq!(run.ends, [], "seed {seed}: members ended that nobody had killed");
    for of_interest in [Interest::ALL, Interest::CLIENTS] {
        if let Err(violation) = judge(&run.record, MEMBERS, of_interest) {
            panic!("seed {seed}: {violation}");
        }
    }
    let revision = run.revision.unwrap_or_else(|| panic!("seed {seed}: no answer after the last fault"));
    assert!(run.revisions().iter().all(|shown| *shown >= revision), "seed {seed}: {:?}", run.revisions());
    assert!(run.writes > 1_000 && run.unknown > 0, "seed {seed}: too little happened");
    assert!(run.done.kills >= 15 && run.done.clogs >= 6 && run.done.losses > 0 && run.done.pauses > 0);
}

#[test]
fn members_under_madsim_keep_every_promise() {
    let mut total = Total::default();
    for seed in seeds() {
        let run = run(seed, None);
        expect_right(seed, &run);
        total.add(&run);
    }
    eprintln!("{total:?}");
    assert!(total.snapshots_installed > 0 && total.elections_won > 0 && total.events_watched > 0, "{total:?}");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    let (one, other) = (run(1, None), run(1, None));
    assert_eq!(parting(&one.record, &other.record), None);
    assert!(parting(&one.record, &run(2, None).record).is_some(), "another seed gives another run");
}

/// The violation that clients see in the first seed that shows one; what members show has one then, too.
fn noticed(lie: Lie) -> Violation {
    let judged = (0..SEEDS).find_map(|seed| {
        let record = run(seed, Some(lie)).record;
        let by_clients = judge(&record, MEMBERS, Interest::CLIENTS).err()?;
        let by_all = judge(&record, MEMBERS, Interest::ALL).expect_err("it has all checkers that judge clients");
        eprintln!("seed {seed}, {lie:?}: {by_clients}; with a look into members: {by_all}");
        Some(by_clients)
    });
    judged.unwrap_or_else(|| panic!("nobody notices {lie:?}"))
}

#[test]
fn a_host_that_acknowledges_a_sync_and_loses_it_is_noticed() {
    let violation = noticed(Lie::SyncForgotten);
    // What is lost may be a write, a lease, or a revision that somebody was told of: whoever sees it first says so.
    let losses = [serializability::NAME, leases::NAME, revisions::NAME];
    assert!(losses.contains(&violation.checker), "{violation}");
}

#[test]
fn a_host_that_drops_an_acknowledged_put_is_noticed() {
    let violation = noticed(Lie::PutDropped);
    assert_eq!(violation.checker, serializability::NAME, "{violation}");
}

#[test]
fn a_host_that_reads_on_a_view_of_its_own_choice_is_noticed() {
    let violation = noticed(Lie::ViewTooEarly);
    assert_eq!(violation.checker, serializability::NAME, "{violation}");
}
