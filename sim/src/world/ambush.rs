//! Crashes that wait for a moment that hurts: the victim is in the middle of a write, of what makes names durable, or
//! of a snapshot. Such moments are short, and a crash at any time would seldom meet one.

use detcd_core::DiskAction;

use super::World;
use super::event::Event;
use crate::faults::Episode;
use crate::observe::NodeIndex;
use crate::scenario::FaultKind;
use crate::weather::{below, nth, permille};

const MS: u64 = 1_000_000;
/// A crash waits no longer than this for its moment.
const PATIENCE_NS: u64 = 5_000 * MS;

/// A crash that lies in wait for one member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ambush {
    /// The place of the fault among those of the run.
    index: usize,
    moment: Moment,
    /// How many such moments it lets pass: a snapshot, say, has many, and each is another.
    lets_pass: u64,
    draw: u64,
}

/// What the victim has to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// A write or a sync of the log.
    Log,
    /// A file gets a name, or loses it, or that becomes durable.
    Name,
    /// Anything that is done to a snapshot.
    Snapshot,
}

/// Where a fault that lies in wait is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lurking {
    /// It waits for this member.
    For(NodeIndex),
    /// It has struck.
    Over,
}

impl Moment {
    fn has_come(self, action: &DiskAction) -> bool {
        let (file, names) = match action {
            DiskAction::Allocate { file, .. } | DiskAction::Append { file, .. } | DiskAction::Sync { file } => {
                (file, false)
            }
            DiskAction::Rename { to: file, .. } | DiskAction::Remove { file } => (file, true),
            DiskAction::SyncDir { dir } => (dir, true),
            DiskAction::Read { .. } => return false,
        };
        match self {
            Moment::Log => !names && file.ends_with(".wal"),
            Moment::Name => names,
            Moment::Snapshot => file.starts_with("member/snap"),
        }
    }
}

impl World<'_> {
    /// Whether the fault, which was to strike `node` now, waits for a better moment. The same fault comes a second time
    /// when that is there, or when it has waited for too long.
    pub(super) fn lies_in_wait(&mut self, node: NodeIndex, index: usize) -> bool {
        let fault = self.plan.faults[index];
        let is_crash = matches!(fault.kind, FaultKind::Crash | FaultKind::PowerLoss);
        if !is_crash || fault.is_timed || !permille(nth(fault.draw, 2), 600) || !self.hosts[node].is_up() {
            return false;
        }
        let moments = [Moment::Log, Moment::Name, Moment::Snapshot];
        let moment = moments[usize::try_from(below(nth(fault.draw, 3), 3)).expect("below three")];
        let lets_pass = below(nth(fault.draw, 5), if moment == Moment::Snapshot { 20 } else { 4 });
        self.hosts[node].ambush = Some(Ambush { index, moment, lets_pass, draw: nth(fault.draw, 4) });
        self.lurking.insert(index, Lurking::For(node));
        self.record.say(|| format!("which waits for m{}: {moment:?}", node + 1));
        let at = (self.now + PATIENCE_NS).min(self.plan.heal_at.saturating_sub(1)).max(self.now);
        self.queue.push(at, Event::FaultStart { index });
        true
    }

    /// The member begins something on its disk that takes so long; a crash may have waited for that.
    pub(super) fn spring_ambush(&mut self, node: NodeIndex, action: &DiskAction) {
        let Some(ambush) = self.hosts[node].ambush.as_mut().filter(|ambush| ambush.moment.has_come(action)) else {
            return;
        };
        if ambush.lets_pass > 0 {
            ambush.lets_pass -= 1;
            return;
        }
        let ambush = *ambush;
        self.hosts[node].ambush = None;
        // While it is done, or while what follows it is done.
        let within_ns = 2 * (self.plan.disk.sync_ns + self.plan.disk.access_ns) + 1;
        let at = self.now + below(nth(ambush.draw, self.now), within_ns);
        self.queue.push(at.min(self.plan.heal_at - 1).max(self.now), Event::FaultStart { index: ambush.index });
    }

    /// When a fault that strikes now ends: one that waited lasts as long as it would have.
    pub(super) fn end_of(&self, fault: &Episode) -> u64 {
        fault.end.max(self.now + (fault.end - fault.start)).min(self.plan.heal_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_moment_is_met_by_its_own_actions() {
        let wal = "member/wal/0000000000000001-0000000000000001.wal";
        let append = |file: &str| DiskAction::Append { file: file.into(), offset: 0, bytes: bytes::Bytes::new() };
        let rename = DiskAction::Rename { from: "member/snap/a.tmp".into(), to: "member/snap/a".into() };
        let met =
            |action: &DiskAction| [Moment::Log, Moment::Name, Moment::Snapshot].map(|moment| moment.has_come(action));
        assert_eq!(met(&append(wal)), [true, false, false]);
        assert_eq!(met(&DiskAction::Sync { file: wal.into() }), [true, false, false]);
        assert_eq!(met(&append("member/snap/a.tmp")), [false, false, true]);
        assert_eq!(met(&rename), [false, true, true]);
        assert_eq!(met(&DiskAction::SyncDir { dir: "member/wal".into() }), [false, true, false]);
        assert_eq!(met(&DiskAction::Read { file: wal.into(), offset: 0, len: 1 }), [false; 3]);
    }
}
