//! Recorded clients that are the program etcdctl: a process for each operation, one that lives longer for watching.

mod command;
mod json;
mod watch;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use detcd_core::api::Response;
use detcd_scenarios::history_file::outcome_of_error;
use detcd_sim::history::{ClientId, Outcome};

use super::Recorder;
use super::workload::{Known, Step, draw_plain_step};
use crate::launch;

/// After an operation without an answer.
const PAUSE: Duration = Duration::from_millis(20);

/// One client: a loop on a thread of its own.
pub(super) struct Etcdctl {
    pub(super) program: PathBuf,
    pub(super) endpoints: Vec<String>,
    pub(super) id: ClientId,
    pub(super) recorder: Arc<Recorder>,
}

impl Etcdctl {
    /// Reads and writes until it has to `stop`, and counts the acknowledged writes.
    pub(super) fn work(self, seed: u64, stop: &AtomicBool, writes: &AtomicU64) {
        let mut known = Known::default();
        let mut turn = usize::try_from(self.id.0).expect("u32 fits");
        for number in 0.. {
            if stop.load(Ordering::Acquire) {
                return;
            }
            let step = draw_plain_step(seed, u64::from(self.id.0), number, &known);
            match self.perform(turn, &step) {
                Outcome::Ok(response) => {
                    known.learn(&step, &response);
                    writes.fetch_add(u64::from(step.writes()), Ordering::AcqRel);
                }
                Outcome::Failed(_) | Outcome::Unknown => {
                    turn += 1;
                    std::thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Does `step` once, whatever comes of it, at the member whose turn it is.
    fn perform(&self, turn: usize, step: &Step) -> Outcome {
        let op = self.recorder.invoke(self.id, step.request());
        let outcome = self.outcome(turn, step);
        self.recorder.finish(op, outcome.clone());
        outcome
    }

    fn outcome(&self, turn: usize, step: &Step) -> Outcome {
        use std::io::Write as _;

        let endpoint = &self.endpoints[turn % self.endpoints.len()];
        let (arguments, input) = command::of(step);
        let mut command = command::etcdctl(&self.program, endpoint);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = launch::spawn(command).expect("etcdctl can be started");
        let mut stdin = child.stdin.take().expect("it is piped");
        // One that ended before it read says why at its end.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().expect("our own child");
        if output.status.success() {
            let text = String::from_utf8(output.stdout).expect("it prints text");
            let response = response(step, &text).unwrap_or_else(|| panic!("{step:?} was answered with {text:?}"));
            return Outcome::Ok(response);
        }
        // The last line is the error; before it its client library may complain.
        let text = String::from_utf8_lossy(&output.stderr);
        text.lines().find_map(|line| line.strip_prefix("Error: ")).map_or(Outcome::Unknown, outcome_of_error)
    }
}

/// What etcdctl printed as the answer to `step`; `None` if it makes no sense.
fn response(step: &Step, text: &str) -> Option<Response> {
    let told = serde_json::from_str(text).ok()?;
    Some(match step {
        Step::Put { .. } => Response::Put(json::put(&told)?),
        Step::Get { .. } | Step::Scan { .. } => Response::Range(json::range(&told)?),
        Step::Delete { .. } => Response::DeleteRange(json::delete_range(&told)?),
        Step::Swap { .. } => Response::Txn(json::txn(&told)?),
        Step::Grant { .. } | Step::KeepAlive { .. } | Step::Revoke { .. } | Step::Compact { .. } => return None,
    })
}
