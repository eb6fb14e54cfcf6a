//! What can go wrong, and templates of it.

use serde::{Deserialize, Serialize};

use super::Span;
use crate::disk::Damage;

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The member can reach no other member, nor they it.
    Isolate,
    /// The members fall into two groups that cannot reach each other.
    Split,
    /// Two groups, and one member that reaches both.
    Bridge,
    /// The members stand in a ring, and each reaches only its two neighbours.
    Ring,
    /// The member's messages to the others are lost, or theirs to it, not both.
    OneWayCut,
    /// The member loses its memory, and its disk what was not synced; it starts again when the fault ends. One whose
    /// time is drawn may wait up to five seconds for a moment that hurts: a write, a new name, a snapshot.
    Crash,
    /// All members crash at once, and start again when the fault ends. It may wait like a crash.
    PowerLoss,
    /// The member is stopped as an operator stops it, and started when the fault ends.
    Restart,
    /// The member stands still.
    Pause,
    /// The member is woken only every `strength` ms, for everything that is due by then at once.
    LateWakeups,
    /// The member's disk is `strength` times slower.
    SlowDisk,
    /// Nothing on the member's disk completes.
    DiskStall,
    /// The next sync on the member's disk completes only when the fault ends; everything else goes on.
    SyncStall,
    /// The member's disk has no room.
    NoSpace,
    /// The next write on the member's disk fails, and what was not yet synced in that file is lost. The member, which
    /// has to halt, starts again when the fault ends.
    WriteError,
    /// The next sync of a file on the member's disk fails, and what it was to make durable is lost. The member, which
    /// has to halt, starts again when the fault ends.
    SyncError,
    /// The member loses power, and the end of its log rots: a bit flips, or sectors are gone that a mark covers. When
    /// the fault ends it starts again, and may refuse. Strikes no more members than `damaged_members_max` says.
    RotTail,
    /// The member loses power, and something older rots: a bit in its log, in a checkpoint or in a mark. Otherwise as
    /// `rot-tail`.
    Rot,
    /// The member loses power, and sectors of its log or of a checkpoint stand elsewhere. Otherwise as `rot-tail`.
    MisdirectedWrite,
    /// The member's clock runs `strength` permille fast or slow.
    ClockSkew,
    /// The member's clock jumps ahead by `strength` ms, at once. It never goes back.
    ClockStep,
    /// `strength` permille of all messages between members are lost.
    Loss,
    /// Messages between members take up to `strength` ms longer.
    Delay,
    /// Clients cannot reach the member.
    ClientCut,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [FaultKind; 24] = [
        FaultKind::Isolate,
        FaultKind::Split,
        FaultKind::Bridge,
        FaultKind::Ring,
        FaultKind::OneWayCut,
        FaultKind::Crash,
        FaultKind::PowerLoss,
        FaultKind::Restart,
        FaultKind::Pause,
        FaultKind::LateWakeups,
        FaultKind::SlowDisk,
        FaultKind::DiskStall,
        FaultKind::SyncStall,
        FaultKind::NoSpace,
        FaultKind::WriteError,
        FaultKind::SyncError,
        FaultKind::RotTail,
        FaultKind::Rot,
        FaultKind::MisdirectedWrite,
        FaultKind::ClockSkew,
        FaultKind::ClockStep,
        FaultKind::Loss,
        FaultKind::Delay,
        FaultKind::ClientCut,
    ];

    /// Its name in scenarios and reports.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::Isolate => "isolate",
            FaultKind::Split => "split",
            FaultKind::Bridge => "bridge",
            FaultKind::Ring => "ring",
            FaultKind::OneWayCut => "one-way-cut",
            FaultKind::Crash => "crash",
            FaultKind::PowerLoss => "power-loss",
            FaultKind::Restart => "restart",
            FaultKind::Pause => "pause",
            FaultKind::LateWakeups => "late-wakeups",
            FaultKind::SlowDisk => "slow-disk",
            FaultKind::DiskStall => "disk-stall",
            FaultKind::SyncStall => "sync-stall",
            FaultKind::NoSpace => "no-space",
            FaultKind::WriteError => "write-error",
            FaultKind::SyncError => "sync-error",
            FaultKind::RotTail => "rot-tail",
            FaultKind::Rot => "rot",
            FaultKind::MisdirectedWrite => "misdirected-write",
            FaultKind::ClockSkew => "clock-skew",
            FaultKind::ClockStep => "clock-step",
            FaultKind::Loss => "loss",
            FaultKind::Delay => "delay",
            FaultKind::ClientCut => "client-cut",
        }
    }

    /// What it does to the disk beyond what a crash does, if anything.
    pub fn damage(self) -> Option<Damage> {
        match self {
            FaultKind::RotTail => Some(Damage::LogEnd),
            FaultKind::Rot => Some(Damage::Older),
            FaultKind::MisdirectedWrite => Some(Damage::Misdirected),
            _ => None,
        }
    }

    /// Whether it cuts links between members.
    pub fn cuts_links(self) -> bool {
        use FaultKind::{Bridge, Isolate, OneWayCut, Ring, Split};
        matches!(self, Isolate | Split | Bridge | Ring | OneWayCut)
    }

    /// Whether it is over as soon as it has struck, so that it has no duration.
    pub fn is_instant(self) -> bool {
        self == FaultKind::ClockStep
    }

    /// The least and the greatest strength, if it has one.
    fn strengths(self) -> Option<(u64, u64)> {
        match self {
            FaultKind::LateWakeups => Some((1, 60_000)),
            FaultKind::SlowDisk => Some((2, 10_000)),
            FaultKind::ClockSkew => Some((1, 500)),
            FaultKind::ClockStep => Some((1, 3_600_000)),
            FaultKind::Loss => Some((1, 1_000)),
            FaultKind::Delay => Some((1, 60_000)),
            _ => None,
        }
    }
}

/// Which member a fault strikes; found out when the fault starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Any member.
    #[default]
    Any,
    /// The leader of the newest term, if there is one.
    Leader,
    /// A member that does not lead.
    Follower,
}

/// A template of faults.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FaultSpec {
    /// What goes wrong.
    pub kind: FaultKind,
    /// Where.
    #[serde(default)]
    pub place: Place,
    /// How many a minute, on average. Not together with `at_ms`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<Span>,
    /// When exactly, counted from the end of the warm-up. Not together with `per_minute`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<Vec<u64>>,
    /// How long. A kind that strikes at once takes none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<Span>,
    /// How strong; see the kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strength: Option<Span>,
    /// For kinds that cut links: they open and close while the fault lasts, each time after about this long. Left out,
    /// they stay cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flap_ms: Option<Span>,
}

impl FaultSpec {
    /// The rules that the types do not express: the field that breaks one, and what is allowed.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        let name = self.kind.name();
        if self.per_minute.is_some() == self.at_ms.is_some() {
            return Err(("kind", format!("fault `{name}` takes either `per_minute` or `at_ms`")));
        }
        match (self.kind.is_instant(), &self.duration_ms) {
            (true, Some(_)) => return Err(("duration_ms", format!("fault `{name}` takes no `duration_ms`"))),
            (false, None) => return Err(("kind", format!("fault `{name}` takes a `duration_ms`"))),
            _ => {}
        }
        if let Some(flap_ms) = &self.flap_ms {
            if !self.kind.cuts_links() {
                return Err(("flap_ms", format!("fault `{name}` takes no `flap_ms`")));
            }
            if flap_ms.min < 1 {
                return Err(("flap_ms", "`flap_ms` takes 1 or more".into()));
            }
        }
        match (self.kind.strengths(), &self.strength) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(("strength", format!("fault `{name}` takes no `strength`"))),
            (Some((least, most)), Some(span)) if span.min >= least && span.max <= most => Ok(()),
            (Some((least, most)), _) => {
                Err(("strength", format!("fault `{name}` takes a `strength` of {least} to {most}")))
            }
        }
    }
}
