//! A scenario: what kind of world a seed is drawn for. Strict TOML; see [`Scenario::parse`].

mod error;
mod fault;
mod span;

pub use error::ScenarioError;
pub use fault::{FaultKind, FaultSpec, Place};
pub use span::Span;

use serde::{Deserialize, Serialize};

/// How many members a simulated cluster may have.
pub const NODES_MAX: u64 = 7;

/// A scenario as its file gives it.
///
/// A section that the file leaves out has its calm default, or, with `swarm = true`, is drawn anew for every seed.
/// Every number may be given as one value or as `{ min = A, max = B }`, from which each seed draws (both included).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name: lower case, words joined by hyphens.
    pub name: String,
    /// Which promise it puts to the test, in a sentence.
    pub why: String,
    /// How many members the cluster has, 1 to 7.
    pub nodes: Span,
    /// Whether every section that is left out is drawn from the seed.
    #[serde(default)]
    pub swarm: bool,
    /// How long the parts of a run take.
    #[serde(default)]
    pub phases: Phases,
    /// The network between members, and between clients and members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkSpec>,
    /// The disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<DiskSpec>,
    /// The clocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockSpec>,
    /// The configuration of the nodes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub knobs: Option<KnobSpec>,
    /// What clients do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadSpec>,
    /// What goes wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub faults: Option<Vec<FaultSpec>>,
    /// What a run must have reached to count.
    #[serde(default)]
    pub expect: Expect,
}

/// How long the parts of a run take, in virtual time.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Phases {
    /// Before the first fault.
    pub warmup_ms: Span,
    /// With faults and load.
    pub faults_ms: Span,
    /// How long the healed core may take to converge.
    pub converge_within_ms: u64,
    /// Out of 1,000 runs, in how many some members beyond a quorum stay cut off or down for good.
    pub minority_left_behind_permille: u32,
}

impl Default for Phases {
    fn default() -> Phases {
        Phases {
            warmup_ms: Span::fixed(2_000),
            faults_ms: Span::fixed(30_000),
            converge_within_ms: 60_000,
            minority_left_behind_permille: 0,
        }
    }
}

/// The links between members and between clients and members.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkSpec {
    /// The shortest delay of a message.
    pub delay_min_us: Span,
    /// How much longer most messages take, at most.
    pub delay_spread_us: Span,
    /// Out of 1,000 messages, how many are much slower.
    pub tail_permille: Span,
    /// How much slower those are, at most.
    pub tail_us: Span,
    /// Out of 1,000 messages between members, how many are lost.
    pub loss_permille: Span,
    /// Out of 1,000 messages between members, how many arrive twice.
    pub duplicate_permille: Span,
}

impl Default for NetworkSpec {
    fn default() -> NetworkSpec {
        NetworkSpec {
            delay_min_us: Span::fixed(200),
            delay_spread_us: Span::fixed(800),
            tail_permille: Span::fixed(5),
            tail_us: Span::fixed(10_000),
            loss_permille: Span::fixed(0),
            duplicate_permille: Span::fixed(0),
        }
    }
}

/// The disks of the members.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSpec {
    /// How long a write or a read takes, at most.
    pub access_us: Span,
    /// How long a sync takes, at most.
    pub sync_us: Span,
    /// Out of 1,000 operations, how many are much slower.
    pub tail_permille: Span,
    /// How much slower those are, at most.
    pub tail_us: Span,
    /// When a node crashes: out of 1,000 writes that were not synced, how many are there nevertheless.
    pub crash_keeps_permille: Span,
    /// When a node crashes: out of 1,000 writes that were not synced, how many are there in part.
    pub crash_tears_permille: Span,
    /// Out of 1,000 runs, in how many a crash keeps or loses whole pages of 4 KiB, and not sectors of 512 bytes.
    pub pages_permille: u32,
    /// How many members' disks may be damaged in a run, by `rot`, `rot-tail` and `misdirected-write`. Left out, as many
    /// as can be missing from a quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged_members_max: Option<Span>,
}

impl Default for DiskSpec {
    fn default() -> DiskSpec {
        DiskSpec {
            access_us: Span::fixed(100),
            sync_us: Span::fixed(1_000),
            tail_permille: Span::fixed(5),
            tail_us: Span::fixed(20_000),
            crash_keeps_permille: Span::fixed(400),
            crash_tears_permille: Span::fixed(300),
            pages_permille: 250,
            damaged_members_max: None,
        }
    }
}

/// The clocks of the members.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClockSpec {
    /// How far a clock's rate may be from the true rate, in parts per million, fast or slow.
    pub skew_ppm: Span,
}

impl Default for ClockSpec {
    fn default() -> ClockSpec {
        ClockSpec { skew_ppm: Span::fixed(100) }
    }
}

/// The configuration of the nodes: each node draws its own values, but for the two intervals, which are the cluster's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs, reason = "each is the field of `NodeConfig` of that name; left out, it has etcd's default")]
pub struct KnobSpec {
    pub heartbeat_interval_ms: Option<Span>,
    pub election_timeout_ms: Option<Span>,
    pub wal_segment_bytes: Option<Span>,
    pub wal_writes_in_flight_max: Option<Span>,
    pub wal_write_bytes_max: Option<Span>,
    pub wal_mark_interval_bytes: Option<Span>,
    pub log_bytes_max: Option<Span>,
    pub checkpoint_entries: Option<Span>,
    /// How much the log has to grow for a checkpoint, in percent of the state.
    pub checkpoint_growth_percent: Option<Span>,
    pub checkpoint_chunk_bytes: Option<Span>,
    pub catchup_entries: Option<Span>,
    pub append_bytes_max: Option<Span>,
    pub appends_in_flight_max: Option<Span>,
    pub forwards_in_flight_max: Option<Span>,
    pub lease_checkpoint_interval_ms: Option<Span>,
    pub sweep_records: Option<Span>,
    pub quota_bytes: Option<Span>,
    pub sweep_interval_ms: Option<Span>,
    /// Compact without being asked: by time, after so long, or with `auto_compaction_revisions` by their number, so
    /// often.
    pub auto_compaction_ms: Option<Span>,
    pub auto_compaction_revisions: Option<Span>,
    pub watch_batch_bytes: Option<Span>,
    pub watch_fragment_bytes: Option<Span>,
    pub watch_slice_events: Option<Span>,
    pub watch_progress_interval_ms: Option<Span>,
}

/// What clients do.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkloadSpec {
    /// How many clients there are.
    pub clients: Span,
    /// How many operations all of them together start in a second, on average.
    pub ops_per_second: Span,
    /// How many hot keys there are.
    pub keys: Span,
    /// How long a value is, at least; a few bytes name its operation.
    pub value_bytes: Span,
    /// Out of 1,000 values, how many are some sectors longer than that, so that a crash can tear their records.
    pub long_values_permille: u32,
    /// How long a client waits for an answer.
    pub timeout_ms: Span,
    /// How often each kind of operation occurs, relative to the others.
    pub mix: Mix,
    /// Workers that take locks, beside the clients; left out, there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locks: Option<LockSpec>,
}

impl Default for WorkloadSpec {
    fn default() -> WorkloadSpec {
        WorkloadSpec {
            clients: Span::fixed(10),
            ops_per_second: Span::fixed(60),
            keys: Span::fixed(6),
            value_bytes: Span::fixed(16),
            long_values_permille: 40,
            timeout_ms: Span::fixed(3_000),
            mix: Mix::default(),
            locks: None,
        }
    }
}

/// Workers that take locks, as etcd's own client library does or by the lock service: each has one session after the
/// other, a lease that is kept alive, and in it one lock after the other.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LockSpec {
    /// How many workers there are.
    pub workers: Span,
    /// How many locks they take turns at.
    pub locks: Span,
    /// How long a session lasts.
    pub session_ms: Span,
    /// How long an owner keeps a lock, at most.
    pub hold_ms: Span,
    /// Out of 1,000 times that a worker waits for a lock, and out of as many that it got one, at how many its process
    /// pauses for about as long as its lease lives.
    pub pause_permille: u32,
    /// Out of 1,000 locks, how many are asked of a member's lock service, and given back there.
    pub service_permille: u32,
}

impl Default for LockSpec {
    fn default() -> LockSpec {
        LockSpec {
            workers: Span::fixed(4),
            locks: Span::fixed(2),
            session_ms: Span::new(1_000, 8_000),
            hold_ms: Span::fixed(800),
            pause_permille: 150,
            service_permille: 0,
        }
    }
}

/// How often each kind of operation occurs, relative to the others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Write one key.
    pub put: u32,
    /// Read one key, linearizably.
    pub get: u32,
    /// Read several keys, linearizably.
    pub range: u32,
    /// Read at an older revision.
    pub history: u32,
    /// Read whatever the member has.
    pub serializable: u32,
    /// Delete one key.
    pub delete: u32,
    /// Delete several keys.
    pub delete_range: u32,
    /// Compare a key's revision and swap its value.
    pub compare_and_swap: u32,
    /// Write and read several keys at once.
    pub multi_txn: u32,
    /// Read several keys at once, if conditions hold.
    pub read_txn: u32,
    /// A transaction in a transaction.
    pub nested_txn: u32,
    /// Compact the history.
    pub compact: u32,
    /// Ask for a hash of the keys.
    pub hash: u32,
    /// Put an alarm on and off again, or list the alarms.
    pub alarm: u32,
    /// Grant a lease, attach keys, keep it alive for a while, then revoke it or let it end.
    pub lease: u32,
    /// Open a watch for a while, resuming elsewhere when it breaks.
    pub watch: u32,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix {
            put: 24,
            get: 20,
            range: 8,
            history: 6,
            serializable: 6,
            delete: 8,
            delete_range: 2,
            compare_and_swap: 10,
            multi_txn: 6,
            read_txn: 3,
            nested_txn: 2,
            compact: 1,
            hash: 1,
            alarm: 0,
            lease: 3,
            watch: 3,
        }
    }
}

/// What a run must have reached to count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// Acknowledged operations, at least.
    pub ops: u64,
    /// Faults, at least.
    pub faults: u64,
    /// Kinds of faults, at least.
    pub fault_kinds: u64,
    /// Changes of leader, at least.
    pub leader_changes: u64,
    /// Virtual time, at least.
    pub sim_ms: u64,
    /// Marks, each at least once.
    pub marks: Vec<String>,
}

impl LockSpec {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.workers.max > 100 {
            return Err(("workers", "`workers` takes 0 to 100".into()));
        }
        if self.locks.min < 1 || self.locks.max > 100 {
            return Err(("locks", "`locks` takes 1 to 100".into()));
        }
        for (field, span) in [("session_ms", self.session_ms), ("hold_ms", self.hold_ms)] {
            if span.min < 1 || span.max > 3_600_000 {
                return Err((field, format!("`{field}` takes 1 to 3600000")));
            }
        }
        if self.pause_permille > 1_000 {
            return Err(("pause_permille", "`pause_permille` takes 0 to 1000".into()));
        }
        if self.service_permille > 1_000 {
            return Err(("service_permille", "`service_permille` takes 0 to 1000".into()));
        }
        Ok(())
    }
}

impl Scenario {
    /// Reads a scenario from the text of the file `file_name`.
    ///
    /// # Errors
    /// The first thing that is wrong, with its line and what is allowed there.
    pub fn parse(file_name: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let scenario: Scenario =
            toml::from_str(text).map_err(|error| ScenarioError::of_toml(file_name, text, &error))?;
        scenario.check().map_err(|(field, what)| ScenarioError::of_field(file_name, text, field, what))?;
        Ok(scenario)
    }

    /// The rules that the types do not express: the field that breaks one, and what is allowed.
    fn check(&self) -> Result<(), (&'static str, String)> {
        let name_ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.name.is_empty() || !self.name.chars().all(name_ok) {
            return Err(("name", "`name` takes lower case letters, digits and hyphens".into()));
        }
        if self.nodes.min < 1 || self.nodes.max > NODES_MAX {
            return Err(("nodes", format!("`nodes` takes 1 to {NODES_MAX}")));
        }
        if let Some(knobs) = &self.knobs
            && knobs.auto_compaction_revisions.is_some()
            && knobs.auto_compaction_ms.is_none()
        {
            let what = "`auto_compaction_revisions` takes effect with `auto_compaction_ms`, which says how often";
            return Err(("auto_compaction_revisions", what.into()));
        }
        if let Some(workload) = &self.workload {
            if workload.clients.min < 1 || workload.clients.max > 1_000 {
                return Err(("clients", "`clients` takes 1 to 1000".into()));
            }
            if workload.keys.min < 1 || workload.keys.max > 1_000 {
                return Err(("keys", "`keys` takes 1 to 1000".into()));
            }
            if workload.long_values_permille > 1_000 {
                return Err(("long_values_permille", "`long_values_permille` takes 0 to 1000".into()));
            }
            if workload.timeout_ms.min < 1 {
                return Err(("timeout_ms", "`timeout_ms` takes 1 or more".into()));
            }
            if let Some(locks) = &workload.locks {
                locks.check()?;
            }
        }
        if self.clock.as_ref().is_some_and(|clock| clock.skew_ppm.max > 500_000) {
            return Err(("skew_ppm", "`skew_ppm` takes 0 to 500000".into()));
        }
        if self.disk.as_ref().is_some_and(|disk| disk.pages_permille > 1_000) {
            return Err(("pages_permille", "`pages_permille` takes 0 to 1000".into()));
        }
        for fault in self.faults.iter().flatten() {
            fault.check()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
