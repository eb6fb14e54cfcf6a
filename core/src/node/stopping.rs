//! Stopping cleanly: hand leadership on, finish what is on its way to the disk, and say so.

use super::member::{Member, Over};
use crate::api::Status;
use crate::effect::{Effect, Note, Outputs};
use crate::node::Phase;
use crate::time::Instant;

/// A member that stops.
pub(super) struct Stopping {
    /// Until when a leader waits for a successor.
    successor_until: Instant,
    /// The log was told to stop.
    log_stopped: bool,
}

impl Member {
    /// Begins to stop: answers what waits, and looks for a successor.
    pub(super) fn begin_stop(&mut self, out: &mut Outputs) {
        if self.stopping.is_some() {
            return;
        }
        out.notes.push(Note::Phase(Phase::Stopping));
        for call in self.calls.drain() {
            out.effects.push(Effect::Reply { call, result: Err(Status::Stopped) });
        }
        self.watches.stop(out);
        self.checkpoint_abandon(out);
        if let Some(successor) = self.consensus.best_successor().filter(|_| self.consensus.is_leader()) {
            self.consensus.transfer(successor);
        }
        let successor_until = self.now + self.config.election_timeout;
        self.stopping = Some(Stopping { successor_until, log_stopped: false });
    }

    /// Goes on stopping as far as it goes now.
    pub(super) fn finish_stop(&mut self, out: &mut Outputs) {
        let Some(stopping) = &mut self.stopping else { return };
        if !stopping.log_stopped {
            let waits = self.consensus.is_leader()
                && self.now < stopping.successor_until
                && !self.consensus.applied().conf_state.is_alone();
            if waits || self.consensus.is_installing() {
                return;
            }
            stopping.log_stopped = true;
            self.writer.stop(&mut self.disk);
            self.disk.drain(out);
        }
        if self.writer.is_stopped() {
            self.over.get_or_insert(Over::Stopped);
        }
    }

    /// Whether the log takes nothing more.
    pub(super) fn log_is_stopped(&self) -> bool {
        self.stopping.as_ref().is_some_and(|stopping| stopping.log_stopped)
    }
}
