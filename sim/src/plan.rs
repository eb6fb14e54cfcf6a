//! Everything that a seed decides before the run starts: sizes, configurations, faults, operations.

use std::time::Duration;

use detcd_core::api::quota;
use detcd_core::config::AutoCompaction;
use detcd_core::types::{ClusterId, NodeId};
use detcd_core::{Member, NodeConfig};

use crate::disk::{CrashOdds, PAGE_BYTES, SECTOR_BYTES};
use crate::faults::{self, Episode};
use crate::network::LinkOdds;
use crate::run::RunOptions;
use crate::scenario::{ClockSpec, DiskSpec, KnobSpec, LockSpec, NetworkSpec, Scenario, Span, WorkloadSpec};
use crate::weather::{Domain, Weather, below, nth, permille};
use crate::workload::{self, PlannedOp, Workload, locks};

const MS: u64 = 1_000_000;

/// How the disks of a run behave.
#[derive(Clone, Copy, Debug)]
pub struct DiskOdds {
    /// How long a write or a read takes, at most.
    pub access_ns: u64,
    /// How long a sync takes, at most.
    pub sync_ns: u64,
    /// Out of 1,000 operations, how many are much slower.
    pub tail_permille: u64,
    /// How much slower those are, at most.
    pub tail_ns: u64,
    /// What a crash leaves.
    pub crash: CrashOdds,
    /// How many members' disks may be damaged.
    pub damaged_members_max: u64,
}

/// Everything that a seed decides before the run starts.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The configuration of each node.
    pub nodes: Vec<NodeConfig>,
    /// The rate of each node's clock; a million is right.
    pub clock_ppm: Vec<u64>,
    /// The links between members.
    pub links: LinkOdds,
    /// The links between clients and members.
    pub client_links: LinkOdds,
    /// The disks.
    pub disk: DiskOdds,
    /// What goes wrong, sorted by start.
    pub faults: Vec<Episode>,
    /// What clients do, sorted by start.
    pub ops: Vec<PlannedOp>,
    /// How the clients are.
    pub workload: Workload,
    /// When all faults have ended and all operations have started.
    pub heal_at: u64,
    /// How long the core may take from then on.
    pub converge_within_ns: u64,
    /// Who has to converge; the others stay cut off.
    pub core: Vec<bool>,
}

impl Plan {
    /// Whether a member has a quota that can be reached in a run.
    pub fn has_quota(&self) -> bool {
        self.nodes.iter().any(|config| (0..quota::DEFAULT_BYTES).contains(&config.quota_bytes))
    }

    /// Draws the plan of a seed.
    pub fn draw(scenario: &Scenario, seed: u64, options: &RunOptions) -> Plan {
        let weather = Weather::new(seed);
        let pick = |number: u64, span: Span| span.pick(weather.draw(Domain::Plan, &[number]));
        let swarm = scenario.swarm;
        let nodes = pick(1, scenario.nodes);
        let begin = pick(2, scenario.phases.warmup_ms) * MS;
        let heal_at = begin + pick(3, scenario.phases.faults_ms) * MS;

        let network = scenario.network.clone().unwrap_or_else(|| choose(swarm, || swarm_network(weather)));
        let disk = scenario.disk.clone().unwrap_or_else(|| choose(swarm, || swarm_disk(weather)));
        let clock = scenario.clock.clone().unwrap_or_else(|| choose(swarm, || swarm_clock(weather)));
        let knobs = scenario.knobs.clone().unwrap_or_else(|| choose(swarm, || swarm_knobs(weather)));
        let mut load = scenario.workload.clone();
        let load = load.get_or_insert_with(|| choose(swarm, || swarm_workload(weather)));
        let specs = scenario.faults.clone().unwrap_or_else(|| choose(swarm, || faults::swarm(weather, nodes)));

        let links = link_odds(weather, &network);
        let configs = node_configs(weather, nodes, &knobs);
        let clock_ppm: Vec<u64> = (0..nodes).map(|node| clock_rate(weather, &clock, node)).collect();
        let skew_ppm = clock_ppm.iter().map(|rate_ppm| rate_ppm.abs_diff(1_000_000)).max().unwrap_or(0);
        let workload = Workload::draw(weather, load, &configs[0], skew_ppm);
        let mut faults = faults::draw(weather, &specs, begin, heal_at);
        faults.retain(|fault| !options.removed_faults.contains(&fault.id));
        let mut ops = workload::draw_ops(weather, &workload, begin / 2, heal_at);
        if let Some(spec) = &load.locks {
            ops.extend(locks::draw_sessions(weather, spec, &workload.locks, begin / 2, heal_at));
            ops.sort_by_key(|op| (op.at, op.id));
        }
        ops.retain(|op| !options.removed_ops.contains(&op.id));
        Plan {
            clock_ppm,
            core: core(weather, nodes, scenario.phases.minority_left_behind_permille),
            client_links: LinkOdds { loss_permille: 0, duplicate_permille: 0, ..links },
            disk: disk_odds(weather, &disk, nodes),
            converge_within_ns: scenario.phases.converge_within_ms * MS,
            nodes: configs,
            links,
            faults,
            ops,
            workload,
            heal_at,
        }
    }
}

fn choose<T: Default>(swarm: bool, draw: impl FnOnce() -> T) -> T {
    if swarm { draw() } else { T::default() }
}

fn link_odds(weather: Weather, spec: &NetworkSpec) -> LinkOdds {
    let pick = |number: u64, span: Span| span.pick(weather.draw(Domain::Plan, &[10, number]));
    LinkOdds {
        delay_min_ns: pick(0, spec.delay_min_us).max(1) * 1_000,
        delay_spread_ns: pick(1, spec.delay_spread_us) * 1_000,
        tail_permille: pick(2, spec.tail_permille),
        tail_ns: pick(3, spec.tail_us) * 1_000,
        loss_permille: pick(4, spec.loss_permille),
        duplicate_permille: pick(5, spec.duplicate_permille),
    }
}

fn disk_odds(weather: Weather, spec: &DiskSpec, nodes: u64) -> DiskOdds {
    let pick = |number: u64, span: Span| span.pick(weather.draw(Domain::Plan, &[11, number]));
    DiskOdds {
        access_ns: pick(0, spec.access_us).max(1) * 1_000,
        sync_ns: pick(1, spec.sync_us).max(1) * 1_000,
        tail_permille: pick(2, spec.tail_permille),
        tail_ns: pick(3, spec.tail_us) * 1_000,
        damaged_members_max: spec.damaged_members_max.map_or((nodes - 1) / 2, |span| pick(7, span)),
        crash: CrashOdds {
            keeps_permille: pick(4, spec.crash_keeps_permille),
            tears_permille: pick(5, spec.crash_tears_permille),
            grain_bytes: if permille(pick(6, Span::new(0, u64::MAX)), spec.pages_permille.into()) {
                PAGE_BYTES
            } else {
                SECTOR_BYTES
            },
        },
    }
}

fn clock_rate(weather: Weather, spec: &ClockSpec, node: u64) -> u64 {
    let draw = weather.draw(Domain::Plan, &[12, node]);
    let skew = below(nth(draw, 0), spec.skew_ppm.pick(nth(draw, 1)) + 1);
    if permille(nth(draw, 2), 500) { 1_000_000 + skew } else { 1_000_000 - skew }
}

/// All members, or a quorum of them.
fn core(weather: Weather, nodes: u64, left_behind_permille: u32) -> Vec<bool> {
    let draw = weather.draw(Domain::Plan, &[13]);
    let mut core = vec![true; usize::try_from(nodes).expect("few nodes")];
    if permille(draw, u64::from(left_behind_permille)) {
        let spare = nodes - (nodes / 2 + 1);
        for n in 0..spare {
            let victim = below(nth(draw, n), nodes);
            core[usize::try_from(victim).expect("few nodes")] = false;
        }
    }
    core
}

fn node_configs(weather: Weather, nodes: u64, knobs: &KnobSpec) -> Vec<NodeConfig> {
    let member =
        |n: u64| Member { id: NodeId(n), name: format!("m{n}"), peer_urls: vec![format!("http://m{n}.sim:2380")] };
    let members: Vec<Member> = (1..=nodes).map(member).collect();
    let cluster = ClusterId(0x00de_7cd0);
    (1..=nodes)
        .map(|n| {
            let seed = weather.draw(Domain::Node, &[n]);
            let mut config = NodeConfig::with_etcd_defaults(cluster, NodeId(n), members.clone(), seed);
            config.client_urls = vec![format!("http://m{n}.sim:2379")];
            turn_knobs(weather, n, knobs, &mut config);
            turn_store_knobs(weather, n, knobs, &mut config);
            config
        })
        .collect()
}

/// The knobs of time, log and consensus.
fn turn_knobs(weather: Weather, node: u64, knobs: &KnobSpec, config: &mut NodeConfig) {
    let cluster = |number: u64, span: Span| span.pick(weather.draw(Domain::Plan, &[14, number]));
    let own = |number: u64, span: Span| span.pick(weather.draw(Domain::Plan, &[15, number, node]));
    let size = |number: u64| usize::try_from(number).expect("a knob fits into memory");
    let ms = Duration::from_millis;
    if let Some(span) = knobs.heartbeat_interval_ms {
        config.heartbeat_interval = ms(cluster(0, span));
    }
    if let Some(span) = knobs.election_timeout_ms {
        config.election_timeout = ms(cluster(1, span));
    }
    if let Some(span) = knobs.wal_segment_bytes {
        config.wal_segment_bytes = own(2, span);
    }
    if let Some(span) = knobs.wal_writes_in_flight_max {
        config.wal_writes_in_flight_max = size(own(3, span));
    }
    if let Some(span) = knobs.wal_write_bytes_max {
        config.wal_write_bytes_max = size(own(4, span));
    }
    if let Some(span) = knobs.wal_mark_interval_bytes {
        config.wal_mark_interval_bytes = own(20, span);
    }
    if let Some(span) = knobs.log_bytes_max {
        config.log_bytes_max = own(21, span);
    }
    if let Some(span) = knobs.checkpoint_entries {
        config.checkpoint_entries = own(5, span);
    }
    if let Some(span) = knobs.checkpoint_growth_percent {
        config.checkpoint_growth_percent = own(12, span);
    }
    if let Some(span) = knobs.checkpoint_chunk_bytes {
        config.checkpoint_chunk_bytes = size(own(6, span));
    }
    if let Some(span) = knobs.catchup_entries {
        config.catchup_entries = own(7, span);
    }
    if let Some(span) = knobs.append_bytes_max {
        config.append_bytes_max = own(8, span);
    }
    if let Some(span) = knobs.appends_in_flight_max {
        config.appends_in_flight_max = size(own(9, span));
    }
    if let Some(span) = knobs.forwards_in_flight_max {
        config.forwards_in_flight_max = size(own(13, span));
    }
}

/// The knobs of leases, history and watches.
fn turn_store_knobs(weather: Weather, node: u64, knobs: &KnobSpec, config: &mut NodeConfig) {
    let own = |number: u64, span: Span| span.pick(weather.draw(Domain::Plan, &[15, number, node]));
    let size = |number: u64| usize::try_from(number).expect("a knob fits into memory");
    let ms = Duration::from_millis;
    if let Some(span) = knobs.lease_checkpoint_interval_ms {
        config.lease_checkpoint_interval = ms(own(24, span));
    }
    if let Some(span) = knobs.sweep_records {
        config.sweep_records = u32::try_from(own(14, span)).unwrap_or(u32::MAX);
    }
    if let Some(span) = knobs.quota_bytes {
        config.quota_bytes = i64::try_from(own(16, span)).unwrap_or(i64::MAX);
    }
    if let Some(span) = knobs.sweep_interval_ms {
        config.sweep_interval = ms(own(15, span));
    }
    if let Some(span) = knobs.auto_compaction_ms {
        let time = ms(own(22, span));
        let kept = knobs.auto_compaction_revisions.map(|span| i64::try_from(own(23, span)).unwrap_or(i64::MAX));
        config.auto_compaction = match kept {
            Some(kept) => AutoCompaction::Revisions { kept, every: time },
            None => AutoCompaction::Periodic(time),
        };
    }
    if let Some(span) = knobs.watch_batch_bytes {
        config.watch_batch_bytes = size(own(10, span));
    }
    if let Some(span) = knobs.watch_fragment_bytes {
        config.watch_fragment_bytes = size(own(17, span));
    }
    if let Some(span) = knobs.watch_slice_events {
        config.watch_slice_events = size(own(18, span));
    }
    if let Some(span) = knobs.watch_progress_interval_ms {
        config.watch_progress_interval = ms(own(11, span));
    }
}

fn swarm_network(weather: Weather) -> NetworkSpec {
    let draw = weather.draw(Domain::Plan, &[20]);
    let lossy = permille(nth(draw, 0), 400);
    NetworkSpec {
        delay_min_us: Span::new(20, 2_000),
        delay_spread_us: Span::new(50, 10_000),
        tail_permille: Span::new(0, 50),
        tail_us: Span::new(1_000, 200_000),
        loss_permille: if lossy { Span::new(1, 80) } else { Span::fixed(0) },
        duplicate_permille: if permille(nth(draw, 1), 500) { Span::new(1, 100) } else { Span::fixed(0) },
    }
}

fn swarm_disk(weather: Weather) -> DiskSpec {
    let draw = weather.draw(Domain::Plan, &[21]);
    let slow = permille(nth(draw, 0), 250);
    DiskSpec {
        access_us: Span::new(10, if slow { 5_000 } else { 300 }),
        sync_us: Span::new(100, if slow { 50_000 } else { 5_000 }),
        tail_permille: Span::new(0, 30),
        tail_us: Span::new(1_000, 300_000),
        crash_keeps_permille: Span::new(0, 900),
        crash_tears_permille: Span::new(0, 900),
        pages_permille: 400,
        damaged_members_max: None,
    }
}

fn swarm_clock(weather: Weather) -> ClockSpec {
    let wild = permille(weather.draw(Domain::Plan, &[22]), 300);
    ClockSpec { skew_ppm: if wild { Span::new(1_000, 100_000) } else { Span::new(0, 500) } }
}

/// A snapshot is fetched a chunk a round trip. With smaller chunks than this, the state of a long run takes about as
/// long over a slow and lossy network as a cluster has to converge, and nothing is wrong.
const CHUNK_BYTES_MIN: u64 = 512;

/// Most bugs hide behind big defaults: each knob is small in about half of all runs, and tiny in half of those.
fn swarm_knobs(weather: Weather) -> KnobSpec {
    let draw = weather.draw(Domain::Plan, &[23]);
    let heartbeat_ms = 20 + below(nth(draw, 0), 100);
    let small = |n: u64, tiny: Span, small: Span| match below(nth(draw, n), 4) {
        0 => Some(tiny),
        1 => Some(small),
        _ => None,
    };
    let auto_compacts = below(nth(draw, 31), 1_000);
    KnobSpec {
        heartbeat_interval_ms: Some(Span::fixed(heartbeat_ms)),
        election_timeout_ms: Some(Span::fixed(heartbeat_ms * (5 + below(nth(draw, 1), 6)))),
        wal_segment_bytes: small(2, Span::new(1_024, 8 << 10), Span::new(1_024, 64 << 10)),
        wal_writes_in_flight_max: Some(Span::new(1, 4)),
        wal_write_bytes_max: small(3, Span::new(256, 2 << 10), Span::new(256, 64 << 10)),
        checkpoint_entries: small(4, Span::new(3, 50), Span::new(3, 400)),
        wal_mark_interval_bytes: small(20, Span::new(64, 1 << 10), Span::new(256, 64 << 10)),
        log_bytes_max: small(21, Span::new(1 << 10, 8 << 10), Span::new(4 << 10, 256 << 10)),
        checkpoint_growth_percent: Some(Span::new(0, 100)),
        checkpoint_chunk_bytes: small(5, Span::new(CHUNK_BYTES_MIN, 1 << 10), Span::new(CHUNK_BYTES_MIN, 16 << 10)),
        catchup_entries: small(6, Span::new(0, 20), Span::new(0, 100)),
        append_bytes_max: small(7, Span::new(64, 1 << 10), Span::new(64, 16 << 10)),
        appends_in_flight_max: small(8, Span::new(1, 2), Span::new(1, 8)),
        forwards_in_flight_max: small(11, Span::new(1, 2), Span::new(1, 8)),
        // Leases of the workload are short: what is usual would be never.
        lease_checkpoint_interval_ms: permille(nth(draw, 32), 500).then(|| Span::new(1_000, 3_000)),
        sweep_records: small(12, Span::new(1, 4), Span::new(1, 64)),
        sweep_interval_ms: small(13, Span::new(1, 5), Span::new(1, 1_000)),
        auto_compaction_ms: (auto_compacts < 250).then(|| Span::new(500, 10_000)),
        auto_compaction_revisions: (auto_compacts < 125).then(|| Span::new(1, 300)),
        // Without a quota more is certain of what alarms forbid.
        quota_bytes: (has_alarms(weather) && permille(nth(draw, 30), 500)).then(|| Span::new(40_000, 400_000)),
        watch_batch_bytes: small(9, Span::new(16, 300), Span::new(16, 2 << 10)),
        watch_fragment_bytes: small(14, Span::new(32, 400), Span::new(32, 4 << 10)),
        watch_slice_events: small(15, Span::new(1, 4), Span::new(1, 64)),
        watch_progress_interval_ms: small(10, Span::new(100, 500), Span::new(100, 5_000)),
    }
}

/// Whether a run of the swarm has alarms and quotas. Without room there are no locks to be had, so that these runs have
/// none.
fn has_alarms(weather: Weather) -> bool {
    permille(weather.draw(Domain::Plan, &[25]), 200)
}

fn swarm_workload(weather: Weather) -> WorkloadSpec {
    let draw = weather.draw(Domain::Plan, &[24]);
    let mut spec = WorkloadSpec {
        clients: Span::new(4, 24),
        ops_per_second: Span::new(60, 160),
        keys: Span::new(3, 10),
        value_bytes: Span::new(8, 200),
        timeout_ms: Span::new(500, 4_000),
        ..WorkloadSpec::default()
    };
    let mix = &mut spec.mix;
    let weights = [
        &mut mix.put,
        &mut mix.get,
        &mut mix.range,
        &mut mix.history,
        &mut mix.serializable,
        &mut mix.delete,
        &mut mix.delete_range,
        &mut mix.compare_and_swap,
        &mut mix.multi_txn,
        &mut mix.nested_txn,
        &mut mix.read_txn,
        &mut mix.compact,
        &mut mix.lease,
        &mut mix.watch,
    ];
    for (n, weight) in (0u64..).zip(weights) {
        // Each kind from absent to three times as often as usual; puts are never absent.
        let factor = below(nth(draw, n), 4);
        *weight *= u32::try_from(factor).expect("below four");
    }
    spec.mix.put = spec.mix.put.max(8);
    spec.mix.hash = u32::try_from(below(nth(draw, 50), 3)).expect("below three");
    if has_alarms(weather) {
        spec.mix.alarm = 2;
        // A quota that is reached is of no use if nothing is ever freed.
        spec.mix.compact = spec.mix.compact.max(2);
    } else if permille(nth(draw, 100), 400) {
        spec.locks = Some(LockSpec {
            workers: Span::new(2, 5),
            locks: Span::new(1, 2),
            session_ms: Span::new(1_000, 9_000),
            hold_ms: Span::new(50, 3_000),
            pause_permille: [150, 400][usize::try_from(below(nth(draw, 102), 2)).expect("below two")],
            service_permille: [0, 300, 600, 1_000][usize::try_from(below(nth(draw, 101), 4)).expect("below four")],
        });
    }
    spec
}

#[cfg(test)]
mod tests;
