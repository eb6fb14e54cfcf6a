//! What a node is told when it is opened.

use std::time::Duration;

use crate::api::quota;
use crate::types::{ClusterId, NodeId, Revision};
use crate::watch;

/// A founding member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its id, computed as etcd computes it (contract, section 1.4), or given by the simulator.
    pub id: NodeId,
    /// Its name, as `--name` gives it.
    pub name: String,
    /// Where its peers reach it.
    pub peer_urls: Vec<String>,
}

/// How long an encoded proposal may be, if nothing else is said (contract, section 1).
const REQUEST_BYTES_MAX: usize = 1_572_864;

/// When a cluster compacts without being asked (contract, section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCompaction {
    /// Never.
    Off,
    /// What is older than this goes: for the first time after that long, then every hour, or as often if that is
    /// shorter.
    Periodic(Duration),
    /// All but some of the newest revisions go.
    Revisions {
        /// How many stay.
        kept: Revision,
        /// How often; [`REVISIONS_EVERY`] in etcd.
        every: Duration,
    },
}

/// How often etcd compacts by the number of revisions.
pub const REVISIONS_EVERY: Duration = Duration::from_secs(300);

/// The configuration of one node. Every limit is here, so that a simulation can draw each of them.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The cluster that a fresh data directory is made for. One with data knows its own.
    pub cluster_id: ClusterId,
    /// This member's id; must be one of `members`, and the one that a data directory was made for.
    pub node_id: NodeId,
    /// The founding members, the same list on each of them, in any order. A data directory that is not fresh knows the
    /// members; then only this one's name counts.
    pub members: Vec<Member>,
    /// Where clients reach this member; published through the log.
    pub client_urls: Vec<String>,
    /// Where all draws of this node come from.
    pub seed: u64,

    /// Between two heartbeats of a leader; also the length of a Raft tick.
    pub heartbeat_interval: Duration,
    /// After how long without a leader a follower campaigns, at least; at most twice that.
    pub election_timeout: Duration,

    /// Segments of the write-ahead log are cut when they have grown to this many bytes.
    pub wal_segment_bytes: u64,
    /// How many writes of the log may be on their way to the disk at once.
    pub wal_writes_in_flight_max: usize,
    /// One write of the log carries at most about this many bytes.
    pub wal_write_bytes_max: usize,
    /// How far the log is durable is written down whenever it has become durable for this many more bytes.
    pub wal_mark_interval_bytes: u64,
    /// A checkpoint is due when this many entries were applied since the last one, and they are large enough, too. In
    /// memory, too, the log is cut after this many entries.
    pub checkpoint_entries: u64,
    /// A checkpoint is not due before the entries applied since the last one take this much of what the state took
    /// then. With 100, everything that is ever written to checkpoints stays below twice what is written to the log.
    pub checkpoint_growth_percent: u64,
    /// A checkpoint is written, and sent to followers, in chunks of about this many bytes.
    pub checkpoint_chunk_bytes: usize,
    /// When the entries in memory hold this many bytes, those that are applied go.
    pub log_bytes_max: u64,
    /// How many applied entries stay in memory, when others go, for followers that lag behind.
    pub catchup_entries: u64,

    /// A Raft append carries at most about this many bytes of entries.
    pub append_bytes_max: u64,
    /// How many appends to one follower may be unanswered.
    pub appends_in_flight_max: usize,
    /// How many messages with proposals to the leader may be unanswered before a follower gathers what else it has.
    pub forwards_in_flight_max: usize,
    /// Proposals are refused when this many bytes of them are not committed yet.
    pub uncommitted_bytes_max: u64,
    /// Proposals are refused when this many entries are committed and not applied.
    pub apply_lag_max: u64,
    /// How many calls may wait in this node at once; further ones get "too many requests".
    pub calls_waiting_max: usize,

    /// How large the store may get, in bytes by the replicated measure, before writes that are asked of this member are
    /// refused and an alarm is raised; negative for no quota (contract, section 1.5).
    pub quota_bytes: i64,
    /// When to compact without being asked.
    pub auto_compaction: AutoCompaction,
    /// A lease that is not renewed for so long, and has longer than that left, gets a checkpoint of its remaining time,
    /// from which the next leader goes on (contract, section 1.3).
    pub lease_checkpoint_interval: Duration,
    /// How many records the leader proposes to sweep at once after a compaction; at most
    /// [`crate::state_machine::SWEEP_RECORDS_MAX`].
    pub sweep_records: u32,
    /// How long it waits at least between two such slices.
    pub sweep_interval: Duration,
    /// An encoded proposal may be this long (contract, section 1).
    pub request_bytes_max: usize,
    /// A transaction may have this many compares or operations in one branch (contract, section 1.1).
    pub txn_ops_max: usize,
    /// One message of a watch stream carries about this many bytes of events, and at least one revision.
    pub watch_batch_bytes: usize,
    /// A response to a watcher that allows fragments is cut so that each has about this many bytes of events, and at
    /// least one event.
    pub watch_fragment_bytes: usize,
    /// How many events and watchers are looked at in one slice of watch work, about; other work comes between slices.
    pub watch_slice_events: usize,
    /// How often a watcher that asked for it, and had nothing to tell, is told the current revision.
    pub watch_progress_interval: Duration,
}

impl NodeConfig {
    /// The configuration that etcd's defaults give for this member of a new cluster.
    pub fn with_etcd_defaults(cluster_id: ClusterId, node_id: NodeId, members: Vec<Member>, seed: u64) -> NodeConfig {
        NodeConfig {
            cluster_id,
            node_id,
            members,
            client_urls: Vec::new(),
            seed,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout: Duration::from_millis(1000),
            wal_segment_bytes: 64_000_000,
            wal_writes_in_flight_max: 1,
            wal_write_bytes_max: 4 << 20,
            wal_mark_interval_bytes: 1 << 20,
            checkpoint_entries: 10_000,
            checkpoint_growth_percent: 100,
            checkpoint_chunk_bytes: 256 << 10,
            log_bytes_max: 32 << 20,
            catchup_entries: 5_000,
            append_bytes_max: 1 << 20,
            appends_in_flight_max: 512,
            forwards_in_flight_max: 16,
            uncommitted_bytes_max: 64 << 20,
            apply_lag_max: 5_000,
            calls_waiting_max: 20_000,
            quota_bytes: quota::DEFAULT_BYTES,
            auto_compaction: AutoCompaction::Off,
            lease_checkpoint_interval: Duration::from_secs(300),
            sweep_records: 1_000,
            sweep_interval: Duration::from_millis(10),
            request_bytes_max: REQUEST_BYTES_MAX,
            txn_ops_max: 128,
            watch_batch_bytes: 256 << 10,
            watch_fragment_bytes: REQUEST_BYTES_MAX + (512 << 10),
            watch_slice_events: watch::SLICE_EVENTS,
            watch_progress_interval: Duration::from_secs(600),
        }
    }

    /// How long a proposal or a linearizable read may wait: 5 s and two election timeouts (contract, section 1).
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout
    }

    /// The shortest lease: one and a half election timeouts, in whole seconds, rounded up (contract, section 1.3).
    pub fn lease_ttl_min_s(&self) -> i64 {
        let millis = self.election_timeout.as_millis() * 3 / 2;
        i64::try_from(millis.div_ceil(1000)).unwrap_or(i64::MAX).max(1)
    }
}
