//! What clients will do: every operation with its number, its client, its planned start and its own draw.

pub mod locks;
mod request;
mod seen;

pub use request::{padded, probe_alarm, probe_put, request, watch_create};
pub use seen::Seen;

use detcd_core::NodeConfig;

use crate::scenario::{Mix, WorkloadSpec};
use crate::weather::{Domain, Weather, below, nth};

const MS: u64 = 1_000_000;
/// An operation of the mix has up to so many numbers: a lease is granted, attached, renewed, revoked.
const STEPS: u64 = 64;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named like the weights of `Mix`")]
pub enum OpKind {
    Put,
    Get,
    Range,
    History,
    Serializable,
    Delete,
    DeleteRange,
    CompareAndSwap,
    MultiTxn,
    ReadTxn,
    NestedTxn,
    Compact,
    LeaseGrant {
        lease: i64,
        ttl_s: i64,
    },
    LeaseAttach {
        lease: i64,
    },
    LeaseKeepAlive {
        lease: i64,
    },
    LeaseTimeToLive {
        lease: i64,
    },
    LeaseRevoke {
        lease: i64,
    },
    LeaseLeases,
    MemberList,
    HashKv,
    /// An alarm is put on or listed.
    Alarm {
        /// Whose.
        member: u64,
    },
    /// An alarm is put off.
    AlarmOff {
        /// Whose.
        member: u64,
    },
    /// A watch that lasts until the given virtual time.
    Watch {
        until: u64,
    },
    /// A session of a lock worker that lasts until the given virtual time; `client` is the worker's number.
    LockSession {
        /// When it ends.
        until: u64,
    },
}

/// One operation of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedOp {
    /// Its number, which no other operation of the run has.
    pub id: u64,
    /// Who does it.
    pub client: u32,
    /// When it is to start, in virtual time; later if its client is busy.
    pub at: u64,
    /// Decides what is left open.
    pub draw: u64,
    /// What it does.
    pub kind: OpKind,
}

/// How the clients of a run are.
#[derive(Clone, Debug)]
pub struct Workload {
    /// How many there are.
    pub clients: u32,
    /// How many operations of the mix start in a second.
    pub ops_per_second: u64,
    /// How many hot keys there are.
    pub keys: u64,
    /// How long a value is, at least.
    pub value_bytes: u64,
    /// Out of 1,000 values, how many are some sectors longer.
    pub long_values_permille: u64,
    /// How long a client waits for an answer.
    pub timeout_ns: u64,
    /// The mix.
    pub mix: Mix,
    /// How many members there are: the alarms of each are put on and off.
    pub nodes: u64,
    /// The lock workers.
    pub locks: locks::Locks,
}

impl Workload {
    /// Draws the workload of a run in which the members' clocks are off by so much at most.
    pub fn draw(weather: Weather, spec: &WorkloadSpec, config: &NodeConfig, skew_ppm: u64) -> Workload {
        let pick = |number: u64, span: crate::scenario::Span| span.pick(weather.draw(Domain::Plan, &[16, number]));
        let request_timeout_ns = detcd_core::time::nanos(config.request_timeout());
        Workload {
            clients: u32::try_from(pick(0, spec.clients)).expect("checked: at most 1,000"),
            ops_per_second: pick(1, spec.ops_per_second),
            keys: pick(2, spec.keys),
            value_bytes: pick(3, spec.value_bytes),
            long_values_permille: spec.long_values_permille.into(),
            timeout_ns: (pick(4, spec.timeout_ms) * MS).min(request_timeout_ns),
            mix: spec.mix.clone(),
            nodes: config.members.len() as u64,
            locks: spec
                .locks
                .as_ref()
                .map_or_else(Default::default, |spec| locks::Locks::draw(weather, spec, skew_ppm)),
        }
    }
}

/// Draws the operations that start between `from` and `until`, sorted by start.
pub fn draw_ops(weather: Weather, workload: &Workload, from: u64, until: u64) -> Vec<PlannedOp> {
    let total = u128::from(workload.ops_per_second) * u128::from(until - from) / 1_000_000_000;
    let total = u64::try_from(total).expect("a run has fewer operations");
    let slot = (until - from) / total.max(1);
    let mut ops = Vec::with_capacity(usize::try_from(total).expect("fits into memory"));
    for n in 0..total {
        let draw = weather.draw(Domain::Operation, &[n]);
        let at = from + n * slot + below(nth(draw, 0), slot);
        let client = u32::try_from(below(nth(draw, 1), u64::from(workload.clients))).expect("few clients");
        let kind = kind(&workload.mix, workload.nodes, nth(draw, 2), at, until);
        let first = PlannedOp { id: n * STEPS, client, at, draw: nth(draw, 3), kind };
        if let OpKind::LeaseGrant { lease, ttl_s } = kind {
            lease_steps(&first, lease, ttl_s, until, &mut ops);
        }
        if let OpKind::Alarm { member } = kind {
            alarm_steps(&first, member, workload.clients, until, &mut ops);
        }
        ops.push(first);
    }
    ops.sort_by_key(|op| (op.at, op.id));
    ops
}

fn kind(mix: &Mix, nodes: u64, draw: u64, at: u64, until: u64) -> OpKind {
    let lease = lease_id(nth(draw, 1));
    let kinds = [
        (mix.put, OpKind::Put),
        (mix.get, OpKind::Get),
        (mix.range, OpKind::Range),
        (mix.history, OpKind::History),
        (mix.serializable, OpKind::Serializable),
        (mix.delete, OpKind::Delete),
        (mix.delete_range, OpKind::DeleteRange),
        (mix.compare_and_swap, OpKind::CompareAndSwap),
        (mix.multi_txn, OpKind::MultiTxn),
        (mix.nested_txn, OpKind::NestedTxn),
        (mix.read_txn, OpKind::ReadTxn),
        (mix.compact, OpKind::Compact),
        (mix.hash, OpKind::HashKv),
        (mix.alarm, OpKind::Alarm { member: 1 + below(nth(draw, 4), nodes) }),
        (mix.lease, OpKind::LeaseGrant { lease, ttl_s: lease_ttl_s(nth(draw, 2)) }),
        (mix.watch, OpKind::Watch { until: watch_end(nth(draw, 3), at, until) }),
    ];
    let total: u64 = kinds.iter().map(|(weight, _)| u64::from(*weight)).sum();
    let mut rest = below(nth(draw, 0), total);
    for (weight, kind) in kinds {
        match rest.checked_sub(u64::from(weight)) {
            Some(less) => rest = less,
            None => return kind,
        }
    }
    // A mix of nothing but zeros.
    OpKind::Get
}

/// Any id but 0 of all that an i64 can be; often a small one.
fn lease_id(draw: u64) -> i64 {
    let any = i64::from_le_bytes(nth(draw, 0).to_le_bytes());
    if draw.is_multiple_of(2) { 1 + (any & 0xffff_ffff) } else { any | 1 }
}

/// A few seconds; one in four is long enough for some checkpoints of its remaining time.
fn lease_ttl_s(draw: u64) -> i64 {
    let short = 1 + below_i64(draw, 5);
    if below(nth(draw, 0), 4) == 0 { short + 5 } else { short }
}

/// A fifth of all watches last to the end of the run.
fn watch_end(draw: u64, at: u64, until: u64) -> u64 {
    if below(draw, 5) == 0 { u64::MAX } else { at + below(nth(draw, 0), until.saturating_sub(at)) }
}

/// What is done with a lease after it was granted: keys, renewals, questions, and an end by choice or by neglect.
fn lease_steps(grant: &PlannedOp, lease: i64, ttl_s: i64, until: u64, ops: &mut Vec<PlannedOp>) {
    let ttl_ms = u64::try_from(ttl_s).expect("a positive TTL") * 1_000;
    let draw = grant.draw;
    let mut step = 0;
    let mut push = |delay_ms: u64, kind: OpKind| {
        step += 1;
        let at = grant.at + delay_ms * MS;
        if at < until {
            ops.push(PlannedOp { id: grant.id + step, client: grant.client, at, draw: nth(draw, 100 + step), kind });
        }
    };
    for n in 0..=below(nth(draw, 0), 3) {
        push(20 + below(nth(draw, 10 + n), ttl_ms), OpKind::LeaseAttach { lease });
    }
    let renewals = below(nth(draw, 1), 12);
    for n in 0..renewals {
        push((n + 1) * ttl_ms / 3, OpKind::LeaseKeepAlive { lease });
    }
    push(below(nth(draw, 2), ttl_ms * (renewals + 6) / 3), OpKind::LeaseTimeToLive { lease });
    match below(nth(draw, 3), 8) {
        0..=2 => push(below(nth(draw, 4), ttl_ms * (renewals + 3) / 3), OpKind::LeaseRevoke { lease }),
        3 => push(below(nth(draw, 4), 3_000), OpKind::LeaseLeases),
        4 => push(below(nth(draw, 4), 3_000), OpKind::MemberList),
        _ => {}
    }
}

/// An alarm does not stay on for long, or nothing would be written any more.
fn alarm_steps(alarm: &PlannedOp, member: u64, clients: u32, until: u64, ops: &mut Vec<PlannedOp>) {
    for step in 1..=2 {
        let draw = nth(alarm.draw, 100 + step);
        let at = alarm.at + below(nth(draw, 0), 600) * MS;
        if at < until {
            let kind = OpKind::AlarmOff { member };
            // Another client, so that two may be at it at the same time.
            let client = (alarm.client + 1) % clients;
            ops.push(PlannedOp { id: alarm.id + step, client, at, draw: alarm.draw, kind });
        }
    }
}

fn below_i64(draw: u64, bound: u64) -> i64 {
    i64::try_from(below(draw, bound)).expect("a small bound")
}

#[cfg(test)]
mod tests;
