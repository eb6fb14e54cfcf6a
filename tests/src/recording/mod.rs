//! Real clients against a real cluster, recorded as the same history that the simulator's clients leave, so that the
//! same checkers judge it.

mod client;
mod convert;
mod etcdctl;
mod file;
mod nemesis;
mod run;
mod watcher;
pub mod workload;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use detcd_core::api::Request;
use detcd_sim::history::{ClientId, HistoryEvent, Nanos, OpId, Outcome, WatcherId};

pub use nemesis::{Death, Fault};
pub use run::{Plan, RealRun, run};
pub use watcher::go_on_after;

/// The clients of a history that are etcdctl; all others are the crate `etcd-client`.
pub const ETCDCTL_CLIENTS: Range<u32> = 2_000..3_000;

/// After this long nobody waits for an answer any more; its outcome is unknown.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// A history with the time of each of its lines.
pub type TimedHistory = Vec<(Nanos, HistoryEvent)>;

/// Collects what all clients of one run do and see, in one order on one clock.
///
/// A line is taken down before its request leaves and after its answer has come, so that one operation is before
/// another in the record only if it may have been so in the world.
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    lines: Mutex<TimedHistory>,
    ops: AtomicU64,
    watchers: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Recorder {
        Recorder {
            begin: Instant::now(),
            lines: Mutex::default(),
            ops: AtomicU64::default(),
            watchers: AtomicU64::default(),
        }
    }
}

impl Recorder {
    /// Takes down one line.
    pub fn line(&self, event: HistoryEvent) {
        let mut lines = self.lines.lock().expect("nobody panics with the lock");
        // The time is read under the lock: the order of the lines is the order of their times.
        lines.push((self.now(), event));
    }

    /// The time on the clock of the record.
    pub fn now(&self) -> Nanos {
        u64::try_from(self.begin.elapsed().as_nanos()).expect("a run is shorter than 500 years")
    }

    /// A client is about to send `request`.
    pub fn invoke(&self, client: ClientId, request: Request) -> OpId {
        let op = OpId(self.ops.fetch_add(1, Ordering::Relaxed) + 1);
        self.line(HistoryEvent::Invoke { op, client, request });
        op
    }

    /// An operation has ended for its client.
    pub fn finish(&self, op: OpId, outcome: Outcome) {
        self.line(HistoryEvent::Return { op, outcome });
    }

    /// A number for a watcher.
    pub fn next_watcher(&self) -> WatcherId {
        WatcherId(self.watchers.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The record, once all clients are gone.
    pub fn into_history(self) -> TimedHistory {
        self.lines.into_inner().expect("nobody panics with the lock")
    }
}
