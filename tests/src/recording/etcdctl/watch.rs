//! An etcdctl that watches: it runs for some seconds, and then another one goes on where it stopped.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use detcd_core::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use detcd_sim::history::{HistoryEvent, WatcherId};

use super::{Etcdctl, command, json};
use crate::launch;

/// How long one process lives.
const LIFE: Duration = Duration::from_secs(5);

/// How often it is looked whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What is watched: a quarter of the keys.
const RANGE: (&str, &str) = ("k/0100", "k/0200");

impl Etcdctl {
    /// Watches until the run is over.
    pub(in crate::recording) fn watch(self, over: &AtomicBool) {
        // From the first revision on: from which one a watcher without a start begins, etcdctl does not print.
        let mut start_revision = 2;
        while !over.load(Ordering::Acquire) {
            let request = WatchCreateRequest {
                key: RANGE.0.into(),
                range_end: RANGE.1.into(),
                start_revision,
                prev_kv: true,
                ..Default::default()
            };
            let watcher = self.recorder.next_watcher();
            self.recorder.line(HistoryEvent::WatchOpen { watcher, client: self.id, request });
            start_revision = self.live(watcher, start_revision, over);
            self.recorder.line(HistoryEvent::WatchEnd { watcher });
        }
    }

    /// One process from start to end; gives the revision at which the next one has to go on.
    fn live(&self, watcher: WatcherId, mut next: i64, over: &AtomicBool) -> i64 {
        let (mut child, responses) = self.spawn(next);
        let begin = Instant::now();
        let mut created = false;
        while begin.elapsed() < LIFE && !over.load(Ordering::Acquire) {
            let response = match responses.recv_timeout(LOOK_EVERY) {
                Ok(Ok(response)) => response,
                Ok(Err(line)) => panic!("no watcher is told {line:?}"),
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            if response.canceled && response.compact_revision == 0 {
                // So it shows that its connection is lost for good, too.
                break;
            }
            if !created {
                // The library in etcdctl keeps the created response for itself, and nothing comes before that.
                let response = WatchResponse { created: true, ..Default::default() };
                self.recorder.line(HistoryEvent::WatchReceive { watcher, response });
                created = true;
            }
            let seen = response.events.last().and_then(|event| event.kv.as_ref()).map_or(0, |kv| kv.mod_revision);
            next = next.max(seen + 1).max(response.compact_revision);
            self.recorder.line(HistoryEvent::WatchReceive { watcher, response });
        }
        // It may have ended by itself.
        let _ = child.kill();
        child.wait().expect("our own child");
        next
    }

    /// Starts a process that watches from `start_revision` on, and a thread that reads what it prints: responses, or
    /// the line that is none.
    fn spawn(&self, start_revision: i64) -> (Child, Receiver<Result<WatchResponse, String>>) {
        let mut command = command::etcdctl(&self.program, &self.endpoints.join(","));
        command.args(["watch", RANGE.0, RANGE.1, "--prev-kv", &format!("--rev={start_revision}")]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = launch::spawn(command).expect("etcdctl can be started");
        let printed = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, responses) = channel();
        std::thread::spawn(move || {
            for line in printed.lines().map_while(Result::ok) {
                // One that is killed may leave half a line.
                let Some(told) = serde_json::from_str(&line).ok() else { return };
                if sender.send(json::watch(&told).ok_or(line)).is_err() {
                    return;
                }
            }
        });
        (child, responses)
    }
}
