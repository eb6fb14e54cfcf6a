//! One machine: the node on it, its disk, its clock, its open calls and streams.

use std::collections::{BTreeMap, VecDeque};

use detcd_core::effect::FileName;
use detcd_core::types::{CallId, NodeId, Revision, StreamId};
use detcd_core::{Node, NodeStatus, Phase};

use super::ambush::Ambush;
use super::conversation::Conversations;
use super::event::{Departure, Event};
use super::open_calls::OpenCalls;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::observe::NodeIndex;
use crate::weather::Position;

pub(super) struct Host {
    /// None while the machine is down.
    pub node: Option<Node>,
    /// How often it was started; the present life's number.
    pub boot: u32,
    /// When each life ended, by number.
    pub deaths: Vec<u64>,
    pub disk: Disk,
    pub disk_position: Position,
    pub clock: Clock,
    pub status: NodeStatus,
    /// The newest and the compacted revision of its store, as its last step left it.
    pub revisions: (Revision, Revision),
    /// When a wake-up is planned, and which of the planned ones counts.
    pub wake_at: Option<u64>,
    pub wake_token: u64,
    pub calls: OpenCalls,
    pub calls_made: u64,
    pub streams: BTreeMap<StreamId, (usize, u64)>,
    pub streams_made: u64,
    /// What it holds for clients of its lock service, and whose calls and watches are for that.
    pub conversations: Conversations,
    /// How many faults keep it paused, down, out of room, away from clients.
    pub pauses: u32,
    pub downs: u32,
    pub no_space: u32,
    pub client_cuts: u32,
    /// It is woken only at multiples of this, if it is not 0, until then.
    pub wake_every_ns: u64,
    pub wake_late_until: u64,
    /// The next sync completes only then, if it is not 0.
    pub next_sync_until: u64,
    /// What happens to it while it stands still.
    pub deferred: VecDeque<Event>,
    pub disk_slowness: u64,
    pub disk_slow_until: u64,
    pub disk_stalled_until: u64,
    /// A crash that waits for it to do something.
    pub ambush: Option<Ambush>,
    /// It was asked to stop cleanly.
    pub stopping: bool,
    /// Files that were damaged beyond what a crash does, and in which life the last time.
    pub damaged_files: Vec<FileName>,
    pub damaged_boot: Option<u32>,
    /// Why it does not start any more.
    pub refusal: Option<String>,
    /// In this life it was told that an operation on its disk failed.
    pub has_disk_failed: bool,
}

impl Host {
    pub fn new(rate_ppm: u64) -> Host {
        Host {
            node: None,
            boot: 0,
            deaths: vec![0],
            disk: Disk::default(),
            disk_position: Position::default(),
            clock: Clock::new(0, 0, rate_ppm),
            status: asleep(),
            revisions: (0, 0),
            wake_at: None,
            wake_token: 0,
            calls: OpenCalls::default(),
            calls_made: 0,
            streams: BTreeMap::new(),
            streams_made: 0,
            conversations: Conversations::default(),
            pauses: 0,
            downs: 0,
            no_space: 0,
            client_cuts: 0,
            wake_every_ns: 0,
            wake_late_until: 0,
            next_sync_until: 0,
            deferred: VecDeque::new(),
            disk_slowness: 1,
            disk_slow_until: 0,
            disk_stalled_until: 0,
            ambush: None,
            stopping: false,
            damaged_files: Vec::new(),
            damaged_boot: None,
            refusal: None,
            has_disk_failed: false,
        }
    }

    /// A name for a call that it has not had before.
    pub fn new_call(&mut self) -> CallId {
        self.calls_made += 1;
        CallId(self.calls_made)
    }

    /// A name for a stream that it has not had before.
    pub fn new_stream(&mut self) -> StreamId {
        self.streams_made += 1;
        StreamId(self.streams_made)
    }

    pub fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Forgets what a dead process forgets.
    pub fn die(&mut self, now: u64) {
        self.node = None;
        self.deaths.push(now);
        self.status = asleep();
        self.revisions = (0, 0);
        self.wake_at = None;
        self.wake_token += 1;
        self.calls.clear();
        self.streams.clear();
        self.conversations = Conversations::default();
        self.deferred.clear();
        self.ambush = None;
        self.stopping = false;
        self.has_disk_failed = false;
    }

    /// Everything that was sent in the life that has just ended arrives, as if it had left at once.
    pub fn let_everything_go(&mut self) {
        if let Some(death) = self.deaths.last_mut() {
            *death = u64::MAX;
        }
    }

    /// Whether something that left in one of its lives really left before that life ended.
    pub fn let_go(&self, departure: &Departure) -> bool {
        let boot = usize::try_from(departure.boot).expect("few lives");
        self.deaths.get(boot).is_none_or(|death| departure.at <= *death)
    }
}

/// The status of a machine that is down.
fn asleep() -> NodeStatus {
    NodeStatus::of_phase(Phase::Halted)
}

/// The id of the member at a place.
pub(super) fn id(node: NodeIndex) -> NodeId {
    NodeId(node as u64 + 1)
}

/// The place of a member.
pub(super) fn index(id: NodeId) -> NodeIndex {
    usize::try_from(id.0).expect("few members") - 1
}
