//! One crash at a chosen moment with a chosen outcome, beside the faults of the plan; and the moments that there are.
//!
//! A moment is before or after an effect of the member, within the step that gave it. The member has done everything
//! before the moment: messages have left, even if their journey had not begun, and the disk has what was issued. Up to
//! there the run is the one without the crash.

use detcd_core::{Effect, Outputs};
use serde::{Deserialize, Serialize};

use super::World;
use super::event::Event;
use crate::disk::Image;
use crate::observe::{NodeIndex, Observation};

/// How long a member stays down after such a crash.
const DOWN_NS: u64 = 150_000_000;

/// A crash that is to come.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CrashPoint {
    /// Which member.
    pub node: NodeIndex,
    /// The number of the moment, counted from 1, among all of the member's in the run.
    pub moment: u64,
    /// What its disk keeps of what was not synced.
    pub image: Image,
}

/// A moment at which a crash may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Its number, counted from 1.
    pub number: u64,
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// How many events were over.
    pub events: u64,
    /// The rolling digest after them.
    pub digest: detcd_core::digest::Digest,
    /// The pieces of what is not synced, as [`crate::disk::Disk::unsynced`] counts them.
    pub unsynced: Vec<u64>,
}

/// The moments of one member, looked at one by one.
#[derive(Debug)]
pub(super) struct Sweep {
    node: NodeIndex,
    number: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    /// Notes the moments from here to there.
    Scout { from: u64, to: u64, moments: Vec<Moment> },
    /// Crashes at a moment, and tells which one that was.
    Strike { moment: u64, image: Image, struck: Option<Moment> },
}

impl Sweep {
    pub fn scout(node: NodeIndex, from: u64, to: u64) -> Sweep {
        Sweep { node, number: 0, what: What::Scout { from, to, moments: Vec::new() } }
    }

    pub fn strike(point: &CrashPoint) -> Sweep {
        let what = What::Strike { moment: point.moment, image: point.image.clone(), struck: None };
        Sweep { node: point.node, number: 0, what }
    }

    /// The moments that were noted; that at which the crash came.
    pub fn into_moments(self) -> Vec<Moment> {
        match self.what {
            What::Scout { moments, .. } => moments,
            What::Strike { struck, .. } => struck.into_iter().collect(),
        }
    }
}

impl World<'_> {
    /// Performs the effects of a step, unless a crash comes between them.
    pub(super) fn perform_all(&mut self, node: NodeIndex, out: &mut Outputs) {
        let swept = self.sweep.as_ref().is_some_and(|sweep| sweep.node == node);
        // A step without effects leaves nothing that a crash could cut.
        if swept && !out.effects.is_empty() && self.moment_comes(node) {
            return;
        }
        for effect in &mut out.effects {
            self.record.effect(effect);
            let ends = matches!(effect, Effect::Stopped | Effect::Halt(_));
            // Whatever stays in its place is dropped with the list. It is large, and so is moved but once.
            self.perform(node, std::mem::replace(effect, Effect::Stopped));
            if swept && !ends && self.moment_comes(node) {
                break;
            }
        }
        out.effects.clear();
    }

    /// A moment of a member that is swept; tells whether the member is dead now.
    fn moment_comes(&mut self, node: NodeIndex) -> bool {
        let Some(mut sweep) = self.sweep.take() else { return false };
        sweep.number += 1;
        let died = self.look(node, &mut sweep);
        self.sweep = Some(sweep);
        died
    }

    fn look(&mut self, node: NodeIndex, sweep: &mut Sweep) -> bool {
        match &mut sweep.what {
            What::Scout { from, to, moments } => {
                if (*from..*to).contains(&self.now) && self.hosts[node].is_up() {
                    moments.push(self.moment(node, sweep.number));
                }
                false
            }
            What::Strike { moment, image, struck } => {
                if *moment != sweep.number || !self.hosts[node].is_up() {
                    return false;
                }
                *struck = Some(self.moment(node, sweep.number));
                self.crash_to(node, image);
                true
            }
        }
    }

    fn moment(&self, node: NodeIndex, number: u64) -> Moment {
        let unsynced = self.hosts[node].disk.unsynced(self.plan.disk.crash.grain_bytes);
        Moment { number, at: self.now, events: self.record.events, digest: self.record.digest, unsynced }
    }

    fn crash_to(&mut self, node: NodeIndex, image: &[u64]) {
        self.record.say(|| format!("m{} loses power here", node + 1));
        self.break_connections(node, false);
        let host = &mut self.hosts[node];
        host.die(self.now);
        host.let_everything_go();
        host.disk.crash_to(image, self.plan.disk.crash.grain_bytes);
        host.downs += 1;
        self.observe(Observation::Crashed { node });
        self.hint_peers(node, false);
        self.queue.push(self.now + DOWN_NS, Event::PowerReturns { node });
    }

    /// The member that lost power has it again.
    pub(super) fn power_returns(&mut self, node: NodeIndex) {
        self.bring_up(node);
    }
}
