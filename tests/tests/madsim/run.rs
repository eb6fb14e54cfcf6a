//! One run under madsim: three members, clients, watchers and faults, from one seed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use detcd::driver::End;
use detcd_core::api::Response;
use detcd_tests::recording::workload::everything;
use madsim::runtime::{Handle, NodeHandle, Runtime};
use madsim::time::{sleep, timeout};

use crate::body::KeptDisk;
use crate::client::{self, Client, Load, follow, revision_of};
use crate::lies::Lie;
use crate::member::{self, MEMBERS, Site, live};
use crate::nemesis::{Done, Nemesis};
use crate::record::{Record, Recorder, Seen};

const CLIENTS: u32 = 12;
const FAULTS: u64 = 24;
/// Between two faults.
const CALM: Duration = Duration::from_millis(900);
/// How long the cluster may take to answer when the faults have ended.
const RECOVERS_WITHIN: Duration = Duration::from_secs(10);
/// A run that takes longer by its own clock hangs.
const RUN_TIME_MAX: Duration = Duration::from_secs(300);
/// Which keys watchers follow.
const WATCHED: [(&str, &str); 3] = [("k/0000", "k/0100"), ("k/0250", "k/0251"), ("k/", "k0")];

/// What a run was.
pub struct Run {
    /// What was seen.
    pub record: Record,
    /// Writes that were acknowledged.
    pub writes: u64,
    /// Operations of which nobody knows how they ended.
    pub unknown: u64,
    /// Faults.
    pub done: Done,
    /// Members that stopped or halted by themselves.
    pub ends: Vec<(usize, End)>,
    /// The newest revision that was read at the end; `None` if nobody answered.
    pub revision: Option<i64>,
}

impl Run {
    /// The revision that each member showed last.
    pub fn revisions(&self) -> Vec<i64> {
        let mut shown = vec![0; MEMBERS];
        for (_, seen) in &self.record {
            if let Seen::Stepped { node, view, .. } = seen {
                shown[*node] = view.revision();
            }
        }
        shown
    }
}

/// Runs a seed, on hosts that do as they should or have a fault of their own.
///
/// # Panics
/// A member panics.
pub fn run(seed: u64, lie: Option<Lie>) -> Run {
    // madsim seeds the keys of hashed maps once for each thread.
    let thread = std::thread::spawn(move || {
        let mut runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
        runtime.set_time_limit(RUN_TIME_MAX);
        runtime.block_on(drive(seed, lie))
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

type Ends = Arc<Mutex<Vec<(usize, End)>>>;

async fn drive(seed: u64, lie: Option<Lie>) -> Run {
    let (recorder, ends) = (Arc::new(Recorder::default()), Ends::default());
    let members = (0..MEMBERS).map(|place| {
        let (disk, recorder) = (KeptDisk::new(lie == Some(Lie::SyncForgotten)), Arc::clone(&recorder));
        let site = Arc::new(Site { place, disk, boots: AtomicU64::new(0), seed, recorder, lie });
        let node = start(&site, &ends).id();
        (site, node)
    });
    let mut nemesis = Nemesis { members: members.collect(), done: Done::default() };
    let load = Arc::new(Load::new(seed, Arc::clone(&recorder)));
    let mut working = Vec::new();
    for id in 0..CLIENTS {
        let load = Arc::clone(&load);
        working.push(machine(id).spawn(async move { Client::new(id, load).await.work().await }));
    }
    for (id, (key, range_end)) in (CLIENTS..).zip(WATCHED) {
        working.push(machine(id).spawn(follow(id, Arc::clone(&load), key, range_end)));
    }
    nemesis.begin();
    for number in 0..FAULTS {
        sleep(CALM).await;
        nemesis.strike(number).await;
    }
    nemesis.end();
    let last = machine(CLIENTS + u32::try_from(WATCHED.len()).expect("few"));
    let revision = last.spawn(settle(Arc::clone(&load))).await.expect("nobody kills a client");
    load.stop.store(true, Ordering::Relaxed);
    for task in working {
        task.await.expect("nobody kills a client");
    }
    sleep(CALM).await;
    let ends = std::mem::take(&mut *ends.lock().unwrap_or_else(PoisonError::into_inner));
    Run {
        record: recorder.take(),
        writes: load.acknowledged_writes(),
        unknown: load.unknown_outcomes(),
        done: nemesis.done,
        ends,
        revision,
    }
}

fn start(site: &Arc<Site>, ends: &Ends) -> NodeHandle {
    let (site, ends) = (Arc::clone(site), Arc::clone(ends));
    let handle = Handle::current();
    let builder = handle.create_node().name(format!("m{}", site.place + 1)).ip(member::ip(site.place).into());
    builder
        .init(move || {
            let (site, ends) = (Arc::clone(&site), Arc::clone(&ends));
            async move {
                let place = site.place;
                let end = live(site).await;
                ends.lock().unwrap_or_else(PoisonError::into_inner).push((place, end));
            }
        })
        .build()
}

fn machine(client: u32) -> NodeHandle {
    Handle::current().create_node().name(format!("c{client}")).ip(client::ip(client).into()).build()
}

/// Reads everything once more, and gives the newest revision.
async fn settle(load: Arc<Load>) -> Option<i64> {
    let id = CLIENTS + u32::try_from(WATCHED.len()).expect("few");
    let mut client = Client::new(id, load).await;
    let answered = async {
        loop {
            if let Some(response @ Response::Range(_)) = client.perform(&everything()).await {
                return revision_of(&response);
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(RECOVERS_WITHIN, answered).await.ok().flatten()
}
