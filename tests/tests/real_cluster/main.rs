//! Three real members under load from a real client, killed, paused and restarted; the history that the clients
//! recorded is judged by the simulator's own checkers, and the checkers are shown that they can fail.
//!
//! `DETCD_REAL_CLUSTER=long` makes it a run of at least a minute, 10 kills and 50,000 acknowledged writes.

mod judge;
mod spoil;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;
use detcd_tests::recording::{Plan, RealRun, run};

fn plan() -> Plan {
    let long = std::env::var("DETCD_REAL_CLUSTER").is_ok_and(|value| value == "long");
    if long {
        Plan {
            seed: 1,
            clients: 32,
            at_least: Duration::from_secs(60),
            kills: 10,
            writes: 50_000,
            at_most: Duration::from_secs(300),
            calm: Duration::from_millis(1_500),
        }
    } else {
        Plan {
            seed: 1,
            clients: 16,
            at_least: Duration::from_secs(10),
            kills: 2,
            writes: 500,
            at_most: Duration::from_secs(60),
            calm: Duration::from_millis(1_000),
        }
    }
}

fn report(run: &RealRun) {
    eprintln!(
        "{} acknowledged writes in {:.1} s, {} kills, {} pauses, {} times all down, {} lines of history, revision {}",
        run.acknowledged_writes,
        run.elapsed.as_secs_f64(),
        run.kills,
        run.pauses,
        run.blackouts,
        run.history.len(),
        run.revision,
    );
}

/// Writes the history down for whoever has to understand it, one line an event.
fn keep(run: &RealRun) -> PathBuf {
    let path = std::env::temp_dir().join(format!("detcd-history-{}.txt", std::process::id()));
    let mut file = BufWriter::new(File::create(&path).expect("the folder for temporary files can be written"));
    for (at, event) in &run.history {
        writeln!(file, "{at} {event:?}").expect("there is room for a history");
    }
    path
}

#[test]
fn no_acknowledged_write_is_lost_by_members_that_are_killed_and_paused() {
    let plan = plan();
    let mut cluster = Cluster::start(&ClusterOptions::three(launch::detcd())).expect("three members come up");
    let run = run(&mut cluster, &plan).expect("members come back after every fault");
    report(&run);
    assert!(run.kills >= plan.kills, "only {} kills", run.kills);
    assert!(run.acknowledged_writes >= plan.writes, "only {} acknowledged writes", run.acknowledged_writes);
    if let Err(violation) = judge::judge(&run.history) {
        panic!("the recorded history is wrong: {violation}\nall of it is in {}", keep(&run).display());
    }
    for (what, spoilt) in spoil::all(&run.history) {
        match judge::judge(&spoilt) {
            Ok(()) => panic!("the checkers do not notice {what}"),
            Err(violation) => eprintln!("{what}: {violation}"),
        }
    }
}
