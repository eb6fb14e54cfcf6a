//! What a run gives: its verdict, what it reached, and its digests.

use std::collections::BTreeMap;

use detcd_core::digest::Digest;

use crate::check::{Violation, ViolationKind};
use crate::observe::NodeIndex;
use crate::trail::DigestTrail;
use crate::world::Moment;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every promise was kept.
    Ok,
    /// A promise was broken.
    Broken(Violation),
}

impl Verdict {
    /// Its word in reports: `ok`, `safety`, `liveness` or `crash`.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Broken(violation) => match violation.kind {
                ViolationKind::Safety => "safety",
                ViolationKind::Liveness => "liveness",
                ViolationKind::Crash => "crash",
            },
        }
    }

    /// The violation, if there is one.
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Verdict::Ok => None,
            Verdict::Broken(violation) => Some(violation),
        }
    }
}

/// Where a run left the trail that it was to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parting {
    /// The first event, counted from 1, after which the digests differ; the events differ there or up to one stride
    /// of the trail before it.
    pub event: u64,
    /// The virtual time of that event, in milliseconds.
    pub at_ms: u64,
}

/// What happened to one message between members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageFate {
    /// Whether it was lost at once.
    pub lost: bool,
    /// Whether it was doubled.
    pub doubled: bool,
    /// How long it travelled.
    pub delay_ns: u64,
}

/// What a message is, as far as its fate is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageKey {
    /// Who sent it.
    pub from: NodeIndex,
    /// To whom.
    pub to: NodeIndex,
    /// In which millisecond.
    pub ms: u64,
    /// After how many others on this link in this millisecond.
    pub position: u64,
}

/// What a run gives.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// The digest rolled over every event.
    pub digest: Digest,
    /// The digest after some of the events.
    pub trail: DigestTrail,
    /// How many events there were.
    pub events: u64,
    /// How much virtual time passed.
    pub sim_ms: u64,
    /// How many operations were acknowledged.
    pub ops: u64,
    /// How many operations were planned.
    pub ops_planned: u64,
    /// How many faults of each kind struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often another member became leader.
    pub leader_changes: u64,
    /// How many frames the members sent each other.
    pub messages: u64,
    /// How often each rare place was reached.
    pub marks: BTreeMap<&'static str, u64>,
    /// Whether the run reached what its scenario expects of one run; an empty list says yes.
    pub shortfalls: Vec<String>,
    /// Why the run ended without converging although no promise was broken: a correct system could not have gone on.
    pub entitled: Option<String>,
    /// The judgement.
    pub verdict: Verdict,
    /// Where the run left the trail that it was to follow, if it did.
    pub parting: Option<Parting>,
    /// The fates of all messages, if they were asked for.
    pub fates: BTreeMap<MessageKey, MessageFate>,
    /// The moments for a crash that were asked for; or the one at which the crash came that was asked for.
    pub moments: Vec<Moment>,
}

impl RunReport {
    /// How many faults struck in all.
    pub fn fault_count(&self) -> u64 {
        self.faults.values().sum()
    }
}

/// One event of a run, for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceLine {
    /// The number of the event, counted from 1.
    pub event: u64,
    /// When, in nanoseconds of virtual time.
    pub at: u64,
    /// At which member, if at one.
    pub node: Option<NodeIndex>,
    /// What happened and what came of it, in one line.
    pub text: String,
    /// The rolling digest after it.
    pub digest: Digest,
}
