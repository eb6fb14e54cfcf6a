//! The door. Routes, decides nothing.

mod apply;
mod attributes;
mod auto_compaction;
mod calls;
mod checkpoint;
mod checkpoint_file;
mod forward;
mod forward_proposals;
mod lease_checkpoints;
mod member;
mod opening;
mod own_proposal;
mod proposals;
mod quota;
mod reads;
mod room;
mod snapshot_receive;
mod snapshot_send;
mod snapshot_window;
mod status;
mod stopping;
mod sweep;
mod timeouts;
mod writes;

pub use status::{NodeStatus, Phase, Role, Wakeup};

use crate::api::Status;
use crate::config::NodeConfig;
use crate::effect::{Effect, HaltReason, Note, Outputs};
use crate::input::{Input, Listing, StreamOp};
use crate::state_machine::StoreView;
use crate::time::Instant;

use self::member::Member;
use self::opening::{Opened, Opening};

/// A cluster member without its body: the driver supplies time, bytes and seeds, and carries out the effects.
pub struct Node {
    now: Instant,
    life: Life,
    /// What the member had last, once it is over; empty before.
    last_view: StoreView,
}

enum Life {
    /// Reading what the disk holds.
    Opening(Box<Opening>),
    /// Taking part, or stopping.
    Serving(Box<Member>),
    /// Stopped or halted.
    Over,
}

impl Node {
    /// Opens a data directory from the names and sizes of its files; everything else happens in [`Node::step`].
    pub fn open(config: NodeConfig, listing: Listing, now: Instant, out: &mut Outputs) -> Node {
        let mut node = Node { now, life: Life::Over, last_view: StoreView::default() };
        match Opening::begin(config, &listing, out) {
            Ok(opened) => node.become_opened(opened, out),
            Err(reason) => node.halt(reason, out),
        }
        node
    }

    /// Takes one input at time `now` and appends effects and notes to `out`. Never fails, never blocks; bounded work.
    ///
    /// `now` never goes back.
    pub fn step(&mut self, now: Instant, input: Input, out: &mut Outputs) {
        assert!(now >= self.now, "time went back from {} to {now}", self.now);
        self.now = now;
        match &mut self.life {
            Life::Opening(_) => self.step_opening(input, out),
            Life::Serving(member) => match member.step(now, input, out) {
                None => {}
                Some(member::Over::Stopped) => self.stopped(out),
                Some(member::Over::Halted(reason)) => self.halt(reason, out),
            },
            Life::Over => refuse(input, out),
        }
    }

    /// When [`Input::Wakeup`] is wanted next.
    pub fn next_wakeup(&self) -> Wakeup {
        match &self.life {
            Life::Serving(member) => member.next_wakeup(self.now),
            Life::Opening(_) => Wakeup { at: Instant::NEVER, why: "the disk is being read" },
            Life::Over => Wakeup { at: Instant::NEVER, why: "it is over" },
        }
    }

    /// The store as of the last step: immutable, O(1), to be published before the effects of that step are performed.
    ///
    /// A driver that keeps it no longer than it needs spares the next step copies of what that step writes.
    pub fn view(&self) -> StoreView {
        match &self.life {
            Life::Serving(member) => member.view(),
            Life::Opening(_) | Life::Over => self.last_view.clone(),
        }
    }

    /// A look from outside.
    pub fn status(&self) -> NodeStatus {
        match &self.life {
            Life::Opening(opening) => NodeStatus::of_phase(opening.phase()),
            Life::Serving(member) => member.status(),
            Life::Over => NodeStatus::of_phase(Phase::Halted),
        }
    }

    fn step_opening(&mut self, input: Input, out: &mut Outputs) {
        let Life::Opening(opening) = std::mem::replace(&mut self.life, Life::Over) else {
            unreachable!("only called while opening");
        };
        match input {
            Input::DiskDone { op, result } => match opening.disk_done(op, result, out) {
                Ok(opened) => self.become_opened(opened, out),
                Err(reason) => self.halt(reason, out),
            },
            // Nothing was begun that would have to be finished.
            Input::Stop => self.stopped(out),
            other => {
                refuse(other, out);
                self.life = Life::Opening(opening);
            }
        }
    }

    fn become_opened(&mut self, opened: Opened, out: &mut Outputs) {
        match opened {
            Opened::NotYet(opening) => self.life = Life::Opening(opening),
            Opened::Ready(start) => {
                self.life = Life::Serving(Box::new(Member::new(*start, self.now, out)));
            }
        }
    }

    fn end(&mut self) {
        self.last_view = self.view();
        self.life = Life::Over;
    }

    fn stopped(&mut self, out: &mut Outputs) {
        self.end();
        out.notes.push(Note::Phase(Phase::Halted));
        out.effects.push(Effect::Stopped);
    }

    fn halt(&mut self, reason: HaltReason, out: &mut Outputs) {
        self.end();
        out.notes.push(Note::Phase(Phase::Halted));
        out.effects.push(Effect::Halt(reason));
    }
}

/// Answers what waits for an answer from a node that does not serve.
fn refuse(input: Input, out: &mut Outputs) {
    match input {
        Input::Call { call, .. } => out.effects.push(Effect::Reply { call, result: Err(Status::Stopped) }),
        Input::Stream { op: StreamOp::Open, .. }
        | Input::Stream { .. }
        | Input::Wakeup
        | Input::Peer { .. }
        | Input::Link { .. }
        | Input::Cancel { .. }
        | Input::DiskDone { .. }
        | Input::Stop => {}
    }
}

#[cfg(test)]
mod tests;
