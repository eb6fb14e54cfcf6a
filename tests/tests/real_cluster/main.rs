//! Three real members under load from real clients, killed, paused and restarted; the history that the clients
//! recorded is judged by the simulator's own checkers, and the checkers are shown that they can fail.
//!
//! The clients are the crate `etcd-client` and, where it is installed, Debian's `etcdctl`. `DETCD_REAL_CLUSTER=long`
//! makes it a run of at least a minute, 10 kills and 50,000 acknowledged writes, which has to have both.

mod judge;
mod spoil;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::time::Duration;

use detcd_core::api::Response;
use detcd_sim::history::{HistoryEvent, Outcome};
use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;
use detcd_tests::recording::{ETCDCTL_CLIENTS, Plan, RealRun, run};

fn plan() -> Plan {
    let long = std::env::var("DETCD_REAL_CLUSTER").is_ok_and(|value| value == "long");
    let etcdctl = launch::installed("etcdctl");
    assert!(etcdctl.is_some() || !long, "the long run needs etcdctl (Debian: apt-get install etcd-client)");
    if etcdctl.is_none() {
        eprintln!("SKIPPED: no etcdctl in PATH (Debian: apt-get install etcd-client); all load is etcd-client's");
    }
    if long {
        Plan {
            seed: 1,
            clients: 32,
            etcdctl: etcdctl.map(|program| (program, 8)),
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
            etcdctl: etcdctl.map(|program| (program, 4)),
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
        "{} acknowledged writes in {:.1} s: {} to etcd-client, {} to etcdctl",
        run.acknowledged_writes(),
        run.elapsed.as_secs_f64(),
        run.writes_of_etcd_client,
        run.writes_of_etcdctl,
    );
    eprintln!("{} events printed by etcdctl", events_of_etcdctl(run));
    eprintln!(
        "{} kills, {} pauses, {} times all down, {} lines of history, revision {}",
        run.kills(),
        run.pauses,
        run.blackouts,
        run.history.len(),
        run.revision,
    );
    for (what, count) in kinds(run) {
        eprintln!("{count:>8} {what}");
    }
}

/// How many operations of each kind ended how.
fn kinds(run: &RealRun) -> BTreeMap<String, usize> {
    let mut kinds = BTreeMap::new();
    for (_, event) in &run.history {
        let kind = match event {
            HistoryEvent::Return { outcome: Outcome::Ok(response), .. } => match response {
                Response::Put(_) => "puts",
                Response::Range(_) => "reads",
                Response::DeleteRange(_) => "deletions",
                Response::Txn(_) => "transactions",
                Response::Compact(_) => "compactions",
                Response::LeaseGrant(_) => "leases granted",
                Response::LeaseRevoke(_) => "leases revoked",
                Response::LeaseKeepAlive(kept) if kept.ttl > 0 => "leases kept alive",
                Response::LeaseKeepAlive(_) => "leases found expired",
                _ => "others",
            },
            HistoryEvent::Return { outcome: Outcome::Failed(status), .. } => status.message(),
            HistoryEvent::Return { outcome: Outcome::Unknown, .. } => "unknown outcomes",
            HistoryEvent::WatchReceive { response, .. } if response.canceled => "watchers canceled",
            _ => continue,
        };
        *kinds.entry(kind.to_owned()).or_default() += 1;
    }
    kinds
}

/// How many events etcdctl printed.
fn events_of_etcdctl(run: &RealRun) -> usize {
    let mut watchers = BTreeSet::new();
    let mut events = 0;
    for (_, event) in &run.history {
        match event {
            HistoryEvent::WatchOpen { watcher, client, .. } if ETCDCTL_CLIENTS.contains(&client.0) => {
                watchers.insert(*watcher);
            }
            HistoryEvent::WatchReceive { watcher, response } if watchers.contains(watcher) => {
                events += response.events.len();
            }
            _ => {}
        }
    }
    events
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
    assert!(run.kills() >= plan.kills, "only {} kills", run.kills());
    let writes = run.acknowledged_writes();
    assert!(writes >= plan.writes, "only {writes} acknowledged writes");
    let with_etcdctl = plan.etcdctl.is_some();
    assert!(!with_etcdctl || run.writes_of_etcdctl > 0, "etcdctl wrote nothing");
    assert!(!with_etcdctl || events_of_etcdctl(&run) > 0, "etcdctl saw nothing");
    if let Err(violation) = judge::judge(&run, &run.history) {
        panic!("the recorded history is wrong: {violation}\nall of it is in {}", keep(&run).display());
    }
    for (what, judges, spoilt) in spoil::all(&run.history, with_etcdctl) {
        match judge::judge(&run, &spoilt) {
            Ok(()) => panic!("the checkers do not notice {what}"),
            Err(violation) => {
                eprintln!("{what}: {violation}");
                assert!(judges.contains(&violation.checker), "{what} was noticed by {}", violation.checker);
            }
        }
    }
}
