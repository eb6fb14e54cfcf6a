//! Three real members under load from real clients, killed, paused and restarted; the history that the clients
//! recorded is judged by the simulator's own checkers, and the checkers are shown that they can fail.
//!
//! The clients are the crate `etcd-client` and, where it is installed, Debian's `etcdctl`. `DETCD_REAL_CLUSTER=long`
//! makes it a run of at least a minute, 10 kills and 50,000 acknowledged writes, which has to have both. With
//! `DETCD_REAL_CLUSTER_HISTORY=FILE` the history stays in that file, for `detcd-sim check`.

mod spoil;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use detcd_core::api::Response;
use detcd_scenarios::check;
use detcd_scenarios::history_file::{Line, Reader};
use detcd_scenarios::judge::Judge;
use detcd_sim::check::Violation;
use detcd_sim::history::{HistoryEvent, Outcome};
use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;
use detcd_tests::recording::{ETCDCTL_CLIENTS, Plan, RealRun, TimedHistory, run};

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

/// Keeps the history for whoever has to understand it.
fn keep(file: &[u8]) -> PathBuf {
    let wanted = std::env::var_os("DETCD_REAL_CLUSTER_HISTORY").map(PathBuf::from);
    let path = wanted.unwrap_or_else(|| {
        let name = format!("detcd-history-{}.jsonl", std::process::id());
        std::env::temp_dir().join(name)
    });
    std::fs::write(&path, file).expect("the folder can be written");
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
    let mut file = Vec::new();
    run.write(&mut file).expect("memory takes it");
    let reader = Reader::begin(&file[..]).expect("the first line is right");
    let read: Vec<Line> = reader.map(|line| line.expect("each line is right")).collect();
    assert!(read == run.lines(&run.history), "the file holds another history");
    let checked = check::judge(&file[..]).expect("the file is right");
    assert_eq!(checked.deaths, run.kills());
    if let Some(detail) = checked.detail {
        panic!("the recorded history is wrong: {detail}\ndetcd-sim check {}", keep(&file).display());
    }
    if std::env::var_os("DETCD_REAL_CLUSTER_HISTORY").is_some() {
        eprintln!("the history is in {}", keep(&file).display());
    }
    for (what, judges, spoilt) in spoil::all(&run.history, with_etcdctl) {
        match judge(&run, &spoilt) {
            Ok(()) => panic!("the checkers do not notice {what}"),
            Err(violation) => {
                eprintln!("{what}: {violation}");
                assert!(judges.contains(&violation.checker), "{what} was noticed by {}", violation.checker);
            }
        }
    }
}

/// Judges `history`, which is a spoilt copy of that of `run`.
fn judge(run: &RealRun, history: &TimedHistory) -> Result<(), Violation> {
    let mut judge = Judge::new(&run.header());
    run.lines(history).iter().try_for_each(|line| judge.take(line))?;
    judge.end()
}
