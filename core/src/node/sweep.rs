//! Compactions after they are decided: the leader proposes to sweep what they made unreadable, a slice at a time, so
//! that it is gone soon on a cluster that nobody writes to, too; and answers wait that have to come after the sweep.

use std::time::Duration;

use super::member::Member;
use super::own_proposal::OwnProposal;
use crate::api::{Response, Status};
use crate::effect::Outputs;
use crate::proto::etcdserverpb as etcd;
use crate::state_machine::Command;
use crate::time::Instant;
use crate::types::{CallId, Revision};

/// Between two slices there is this much time at least.
const SLICE_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// The sweep of a member, and who waits for it.
#[derive(Default)]
pub(super) struct Sweep {
    slice: OwnProposal,
    /// Not before that is another slice proposed.
    next_at: Instant,
    waiting: Vec<Waiting>,
}

/// A physical compaction: its answer comes when its records are gone (contract, section 1.1 Compact).
struct Waiting {
    call: CallId,
    revision: Revision,
    result: Result<Response, Status>,
}

impl Member {
    /// When the sweep wants to go on.
    pub(super) fn next_sweep(&self) -> Option<Instant> {
        (self.state.as_view().is_sweeping() && self.sweeps() && !self.is_under_way(self.sweep.slice))
            .then_some(self.sweep.next_at)
    }

    fn sweeps(&self) -> bool {
        self.consensus.leads_with_commit() && self.stopping.is_none()
    }

    /// Proposes the next slice of the sweep, if this member leads and the last one is over; answers who waited.
    pub(super) fn advance_sweep(&mut self, out: &mut Outputs) {
        if self.next_sweep().is_some_and(|at| at <= self.now) {
            // A slice that is refused is tried again, but not at once.
            self.sweep.next_at = self.now + self.config.sweep_interval.max(SLICE_INTERVAL_MIN);
            let sweep = Some(etcd::SweepRequest { records: self.config.sweep_records });
            let entry = etcd::InternalRaftRequest { sweep, ..Default::default() };
            self.sweep.slice = self.propose_own(self.sweep.slice, entry, out);
        }
        if !self.sweep.waiting.is_empty() {
            self.answer_swept(out);
        }
    }

    /// Answers those whose records are gone.
    fn answer_swept(&mut self, out: &mut Outputs) {
        let view = self.state.as_view();
        let calls = &self.calls;
        let over = |waiting: &mut Waiting| view.has_swept(waiting.revision) || !calls.wants(waiting.call);
        let over: Vec<Waiting> = self.sweep.waiting.extract_if(.., over).collect();
        for Waiting { call, result, .. } in over {
            if self.calls.wants(call) {
                out.mark("compaction: a physical one waited for its sweep");
            }
            self.reply(call, result, out);
        }
    }

    /// Answers a call whose entry is applied, at once or when what it asked for is done.
    pub(super) fn answer_applied(
        &mut self,
        call: CallId,
        command: &Command<'_>,
        result: Result<Response, Status>,
        out: &mut Outputs,
    ) {
        match command.compaction() {
            Some(compaction) if compaction.physical && matches!(result, Ok(_) | Err(Status::Compacted)) => {
                if self.state.as_view().has_swept(compaction.revision) {
                    return self.reply(call, result, out);
                }
                // It may take longer than requests may, and nobody is helped by not knowing.
                self.calls.let_wait(call);
                self.sweep.waiting.push(Waiting { call, revision: compaction.revision, result });
            }
            _ => self.reply(call, result, out),
        }
    }
}
