//! Leases are never early, end whole, and end in time (LEASE).
//!
//! Rules and their sources:
//! * A lease that nobody asked to revoke is not gone before its TTL has passed since the invocation of its last
//!   acknowledged renewal (or of its grant): expiry goes through the log, so it is never early and may be late
//!   (contract, section 1.3). The TTL is measured by the fastest clock that is legal. A keepalive is acknowledged like
//!   a read, by a leader that has applied everything committed before; so one that was acknowledged with a TTL found
//!   the lease alive, and any expiry after it has to wait the whole TTL, whoever leads.
//! * A revocation that was asked for excuses it from its invocation on; unknown outcomes excuse for ever, and one that
//!   failed excuses nothing. Restarting the TTL in full on a change of leader is allowed (etcd 9395, 13294).
//! * To a client a lease that is not found, or whose id is granted again, or that is answered with TTL 0, is gone.
//!   `LeaseTimeToLive` is not used for that: nothing says that a deposed leader may not answer it.
//! * A lease that is gone is not renewed: its keepalives are answered with TTL 0, except the one that was on its way
//!   (etcd 21638), that is, invoked before it was gone.
//! * The keys of a lease are gone with it (contract, section 1.3 Revoke). That they are deleted all together, in one
//!   revision and in byte order, is judged by [`super::serializability`].
//! * Once faults have ended, a lease that is not renewed is gone within its TTL by the slowest legal clock, counted
//!   from the last renewal, the last change of leader, or the end of faults, whichever is latest; and the time to
//!   settle. A late or doubled message may renew it once more, as long as messages live; and a leader that could not
//!   propose the end tries again after 3 s (contract, section 1.3 Expiry). A change of leader after faults have ended
//!   gives a lease with a checkpoint no more than that says, counted from the change: what the new leader's own state
//!   says when it applies the first entry of its term.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::mvccpb::{Event, event::EventType};
use detcd_core::types::{LeaseId, LogIndex, NodeId, Term};
use detcd_core::{Note, Role, StoreView};

use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{HistoryEvent, Nanos, OpId, Outcome};
use crate::observe::{NodeIndex, Observation, Observed};

/// The checker's name.
pub const NAME: &str = "leases";

const NANOS_PER_S: u64 = 1_000_000_000;
const PPM: u64 = 1_000_000;

/// After how long a leader proposes the end of a lease again.
const RETRY: Nanos = 3 * NANOS_PER_S;

/// How many ended leases are remembered, to notice when one is renewed after its end.
const ENDED_MAX: usize = 10_000;

/// An operation on a lease that has not ended.
#[derive(Clone, Debug)]
struct Open {
    at: Nanos,
    request: Request,
}

/// One life of a lease id, from the first grant that may have succeeded until it is gone.
#[derive(Clone, Debug, Default)]
struct Life {
    /// When a grant of it was invoked, if the id was the client's choice, and the TTL asked for.
    asked: Option<(Nanos, i64)>,
    /// It cannot end before this by any legal clock: known from acknowledgements.
    earliest: Nanos,
    /// When the last sign of life reached a client; `None` before a grant was acknowledged.
    renewed: Option<Nanos>,
    /// When a keepalive last ended without an answer: it may have renewed it until then.
    touched: Nanos,
    ttl_s: i64,
    /// What a checkpoint left it when the last leadership began; 0 for its full time.
    remaining_s: i64,
    /// A revocation of this life was acknowledged.
    revoked: bool,
    /// Revocations that may still happen: open ones, and those of unknown outcome.
    revocations: BTreeSet<OpId>,
    gone: Option<Gone>,
}

impl Life {
    /// The id may be granted anew: what may still revoke this life may as well revoke the next.
    fn next(&self) -> Life {
        Life { revocations: self.revocations.clone(), ..Life::default() }
    }

    fn excused(&self) -> bool {
        self.revoked || !self.revocations.is_empty()
    }
}

/// The end of a life.
#[derive(Clone, Copy, Debug)]
struct Gone {
    at: Nanos,
    index: LogIndex,
}

/// Judges leases.
#[derive(Debug)]
pub struct Leases {
    skew_ppm: u64,
    clock_steps: Nanos,
    settle: Nanos,
    message_life: Nanos,
    open: BTreeMap<OpId, Open>,
    lives: BTreeMap<i64, Life>,
    /// The newest entry by which a lease ended.
    gone_index: LogIndex,
    /// Leases in the order of their ends, to be forgotten.
    ended: VecDeque<(i64, LogIndex)>,
    /// When each key was attached, and to which lease.
    attached: BTreeMap<Bytes, (i64, Nanos)>,
    keys: BTreeMap<i64, BTreeSet<Bytes>>,
    /// Leases that ended at the present moment and whose keys have to be gone when it is over.
    ending: Vec<(i64, Nanos)>,
    healed: Option<Nanos>,
    leader: (Term, NodeId),
    leader_changed: Nanos,
    /// What the leader of the last term had of checkpoints when it began to count is known.
    leader_counts: bool,
}

impl Leases {
    /// A checker for a cluster that starts empty.
    pub fn new(config: &CheckConfig) -> Leases {
        Leases {
            skew_ppm: config.clock_skew_ppm_max,
            clock_steps: config.clock_steps,
            settle: config.settle,
            message_life: config.message_life,
            open: BTreeMap::new(),
            lives: BTreeMap::new(),
            gone_index: LogIndex(0),
            ended: VecDeque::new(),
            attached: BTreeMap::new(),
            keys: BTreeMap::new(),
            ending: Vec::new(),
            healed: None,
            leader: (Term(0), NodeId(0)),
            leader_changed: 0,
            leader_counts: false,
        }
    }

    /// The TTL by the fastest legal clock, if that makes all its jumps meanwhile.
    fn shortest(&self, ttl_s: i64) -> Nanos {
        scale(ttl_s, PPM, PPM + self.skew_ppm).saturating_sub(self.clock_steps)
    }

    /// The TTL by the slowest legal clock.
    fn longest(&self, ttl_s: i64) -> Nanos {
        scale(ttl_s, PPM, PPM.saturating_sub(self.skew_ppm).max(1))
    }

    fn invoked(&mut self, op: OpId, at: Nanos, request: &Request) {
        match request {
            Request::LeaseGrant(grant) if grant.id != 0 => {
                let life = self.lives.entry(grant.id).or_default();
                if life.gone.is_some() {
                    *life = life.next();
                }
                if life.renewed.is_none() {
                    life.asked.get_or_insert((at, grant.ttl));
                }
            }
            Request::LeaseRevoke(revoke) => {
                self.lives.entry(revoke.id).or_default().revocations.insert(op);
            }
            // A put without a lease cannot be refused for want of one: that is for the serializability checker.
            Request::Put(put) if put.lease == 0 => return,
            Request::LeaseGrant(_) | Request::LeaseKeepAlive(_) | Request::Put(_) | Request::Txn(_) => {}
            _ => return,
        }
        self.open.insert(op, Open { at, request: request.clone() });
    }

    fn returned(&mut self, op: OpId, at: Nanos, outcome: &Outcome) -> Result<(), String> {
        let Some(open) = self.open.remove(&op) else { return Ok(()) };
        match (&open.request, outcome) {
            (Request::LeaseGrant(_), Outcome::Ok(Response::LeaseGrant(told))) => {
                self.granted(op, open.at, at, told.id, told.ttl)
            }
            (Request::LeaseKeepAlive(keep), Outcome::Ok(Response::LeaseKeepAlive(told))) if told.ttl > 0 => {
                self.renewed(op, open.at, at, keep.id, told.ttl)
            }
            (Request::LeaseKeepAlive(keep), Outcome::Ok(Response::LeaseKeepAlive(_))) => {
                self.told_gone(op, keep.id, open.at, at, "was answered with TTL 0")
            }
            (Request::LeaseKeepAlive(keep), _) => {
                if let Some(life) = self.lives.get_mut(&keep.id) {
                    life.touched = at;
                }
                Ok(())
            }
            (Request::LeaseRevoke(revoke), Outcome::Ok(_)) => {
                let life = self.lives.entry(revoke.id).or_default();
                life.revocations.remove(&op);
                life.revoked = true;
                Ok(())
            }
            (Request::LeaseRevoke(revoke), Outcome::Failed(status)) => {
                let life = self.lives.entry(revoke.id).or_default();
                life.revocations.remove(&op);
                if let Some(gone) = life.gone {
                    self.judge_gone(revoke.id, gone)?;
                }
                if *status == Status::LeaseNotFound {
                    return self.told_gone(op, revoke.id, open.at, at, "was refused");
                }
                Ok(())
            }
            (Request::Put(put), Outcome::Failed(Status::LeaseNotFound)) => {
                self.told_gone(op, put.lease, open.at, at, "was refused")
            }
            _ => Ok(()),
        }
    }

    fn granted(&mut self, op: OpId, from: Nanos, at: Nanos, lease: i64, ttl_s: i64) -> Result<(), String> {
        let earliest = from.saturating_add(self.shortest(ttl_s));
        let before = self.lives.entry(lease).or_default();
        match (before.renewed, before.gone) {
            (Some(_), Some(gone)) if gone.at >= from => {
                // Which of two lives ended while the grant was open is not known: none is judged any further.
                self.lives.remove(&lease);
                return Ok(());
            }
            (_, Some(gone)) if gone.at < from => *before = before.next(),
            (Some(_), None) => {
                // Granted anew: the life before it has ended.
                let next = before.next();
                self.told_gone(op, lease, from, at, "granted it anew")?;
                self.lives.insert(lease, next);
            }
            _ => {}
        }
        // It may have ended before its grant was answered.
        self.lives_on(lease, at, ttl_s, earliest)
    }

    /// The lease was acknowledged at `at` to live until `earliest` at least.
    fn lives_on(&mut self, lease: i64, at: Nanos, ttl_s: i64, earliest: Nanos) -> Result<(), String> {
        let life = self.lives.entry(lease).or_default();
        life.ttl_s = ttl_s;
        life.earliest = life.earliest.max(earliest);
        life.renewed = Some(at);
        match life.gone {
            Some(gone) => self.judge_gone(lease, gone),
            None => Ok(()),
        }
    }

    fn renewed(&mut self, op: OpId, from: Nanos, at: Nanos, lease: i64, ttl_s: i64) -> Result<(), String> {
        let earliest = from.saturating_add(self.shortest(ttl_s));
        let life = self.lives.entry(lease).or_default();
        if let Some(gone) = life.gone
            && gone.at < from
        {
            return Err(format!(
                "operation {} kept lease {lease:x} alive, which was gone {} ms before",
                op.0,
                (from - gone.at) / 1_000_000
            ));
        }
        self.lives_on(lease, at, ttl_s, earliest)
    }

    /// An operation that began at `from` learnt that the lease is gone.
    fn told_gone(&mut self, op: OpId, lease: i64, from: Nanos, at: Nanos, how: &str) -> Result<(), String> {
        let Some(life) = self.lives.get(&lease) else { return Ok(()) };
        // Before its grant was acknowledged it may not have existed; while it is revoked it may be gone.
        let known = life.renewed.is_some_and(|renewed| renewed < from);
        if !known || life.gone.is_some() || life.excused() || at >= life.earliest {
            return Ok(());
        }
        let early = (life.earliest - at) / 1_000_000;
        Err(format!("operation {} {how}, as if lease {lease:x} were gone, {early} ms too early", op.0))
    }

    fn note(&mut self, at: Nanos, note: &Note) -> Result<(), String> {
        match note {
            Note::LeaseGone { lease, index } if *index > self.gone_index => {
                self.gone_index = *index;
                self.note_end(lease, *index, at)
            }
            Note::Role { role: Role::Leader, term, leader } if *term > self.leader.0 => {
                self.leader = (*term, *leader);
                self.leader_changed = at;
                self.leader_counts = false;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A member took a step. If it is the one in which a leader applied the first entry of its term, its clock begins
    /// with the checkpoints that its store has.
    fn stepped(&mut self, node: NodeIndex, notes: &[Note], view: &StoreView) {
        let (term, leader) = self.leader;
        let is_first = |note: &Note| matches!(note, Note::Applied { term: of, .. } if *of == term);
        if self.leader_counts || leader.0 != node as u64 + 1 || !notes.iter().any(is_first) {
            return;
        }
        self.leader_counts = true;
        for (id, life) in &mut self.lives {
            life.remaining_s = view.lease_time(LeaseId(*id)).map_or(0, |time| time.remaining_s);
        }
    }

    fn note_end(&mut self, lease: &LeaseId, index: LogIndex, at: Nanos) -> Result<(), String> {
        self.ending.push((lease.0, at));
        self.ended.push_back((lease.0, index));
        if self.ended.len() > ENDED_MAX
            && let Some((old, index)) = self.ended.pop_front()
            && self.lives.get(&old).and_then(|life| life.gone).is_some_and(|gone| gone.index == index)
        {
            self.lives.remove(&old);
        }
        let gone = Gone { at, index };
        let life = self.lives.entry(lease.0).or_default();
        life.gone = Some(gone);
        self.judge_gone(lease.0, gone)
    }

    /// Judges the end of a life by what is known now; called again when more becomes known.
    fn judge_gone(&self, lease: i64, gone: Gone) -> Result<(), String> {
        let Some(life) = self.lives.get(&lease) else { return Ok(()) };
        if life.excused() {
            return Ok(());
        }
        // A grant of unknown outcome has not happened before it was asked for; its TTL may only have been raised.
        let asked = life.asked.map_or(0, |(at, ttl_s)| at.saturating_add(self.shortest(ttl_s)));
        let earliest = life.earliest.max(asked);
        if gone.at >= earliest {
            return Ok(());
        }
        let early = (earliest - gone.at) / 1_000_000;
        Err(format!("lease {lease:x} ended at index {}, {early} ms too early", gone.index))
    }

    fn revision(&mut self, at: Nanos, events: &[Event]) {
        for event in events {
            let Some(kv) = &event.kv else { continue };
            if let Some((lease, _)) = self.attached.remove(&kv.key)
                && let Some(keys) = self.keys.get_mut(&lease)
            {
                keys.remove(&kv.key);
            }
            if event.r#type() == EventType::Put && kv.lease != 0 {
                self.attached.insert(kv.key.clone(), (kv.lease, at));
                self.keys.entry(kv.lease).or_default().insert(kv.key.clone());
            }
        }
    }

    /// The moment of some ends is over: keys attached before it must be gone.
    fn moment_over(&mut self, now: Nanos, all: bool) -> Result<(), String> {
        while let Some((lease, at)) = self.ending.last().copied().filter(|(_, at)| all || *at < now) {
            self.ending.pop();
            let left = self.keys.get(&lease).into_iter().flatten().find(|key| self.attached[*key].1 < at);
            if let Some(key) = left {
                return Err(format!("lease {lease:x} ended, but its key {} did not", super::model::show(key)));
            }
            if self.keys.get(&lease).is_some_and(BTreeSet::is_empty) {
                self.keys.remove(&lease);
            }
        }
        Ok(())
    }

    fn judge(&mut self, seen: &Observed<'_>) -> Result<(), String> {
        if !self.ending.is_empty() {
            self.moment_over(seen.at, false)?;
        }
        match seen.what {
            Observation::Stepped { node, notes, view, .. } => {
                notes.with_rare().iter().try_for_each(|note| self.note(seen.at, note))?;
                self.stepped(node, notes.all(), view);
                Ok(())
            }
            Observation::History(HistoryEvent::Invoke { op, request, .. }) => {
                self.invoked(*op, seen.at, request);
                Ok(())
            }
            Observation::History(HistoryEvent::Return { op, outcome }) => self.returned(*op, seen.at, outcome),
            Observation::History(HistoryEvent::Revision { events, .. }) => {
                self.revision(seen.at, events);
                Ok(())
            }
            Observation::Healed => {
                self.healed = Some(seen.at);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A lease that had to be gone by `now` and is not.
    fn overdue(&self, now: Nanos) -> Option<String> {
        let healed = self.healed?;
        self.lives.iter().find_map(|(lease, life)| {
            let renewed = life.renewed?;
            let renewals_open = self.open.values().any(|open| match &open.request {
                Request::LeaseKeepAlive(keep) => keep.id == *lease,
                Request::LeaseGrant(grant) => grant.id == *lease,
                _ => false,
            });
            if life.gone.is_some() || renewals_open || life.excused() {
                return None;
            }
            let has_checkpoint = self.leader_counts && life.remaining_s > 0;
            let after_change_s = if has_checkpoint { life.remaining_s } else { life.ttl_s };
            let renewed = renewed.max(life.touched).max(healed).saturating_add(self.longest(life.ttl_s));
            let taken_over = self.leader_changed.saturating_add(self.longest(after_change_s));
            let slack = self.message_life.saturating_add(RETRY).saturating_add(self.settle);
            let due = renewed.max(taken_over).saturating_add(slack);
            (now > due).then(|| format!("lease {lease:x} of {} s should have ended by now", life.ttl_s))
        })
    }
}

/// So many seconds, times a fraction.
pub(super) fn scale(ttl_s: i64, numerator: u64, denominator: u64) -> Nanos {
    let nanos = u128::from(u64::try_from(ttl_s).unwrap_or(0)) * u128::from(NANOS_PER_S);
    u64::try_from(nanos * u128::from(numerator) / u128::from(denominator)).unwrap_or(u64::MAX)
}

impl Checker for Leases {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::ALL
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        self.judge(seen).map_err(|detail| Violation::safety(NAME, seen.at, detail))
    }

    fn finish(&mut self, at: Nanos) -> Result<(), Violation> {
        self.moment_over(at, true).map_err(|detail| Violation::safety(NAME, at, detail))?;
        match self.overdue(at) {
            Some(detail) => Err(Violation::liveness(NAME, at, detail)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use detcd_core::proto::etcdserverpb as pb;

    use super::*;
    use crate::check::observations::{Script, answered, failed, header, invoke, unknown};

    const L: i64 = 0x77;

    fn script(skew_ppm: u64) -> Script {
        let config = CheckConfig {
            clock_skew_ppm_max: skew_ppm,
            settle: 1_000_000_000,
            message_life: 2_000_000_000,
            ..CheckConfig::new(3)
        };
        Script::new(Box::new(Leases::new(&config)))
    }

    fn grant(op: u64) -> HistoryEvent {
        invoke(op, 1, Request::LeaseGrant(pb::LeaseGrantRequest { id: L, ttl: 10 }))
    }

    fn granted(op: u64) -> HistoryEvent {
        let told = pb::LeaseGrantResponse { header: header(1, 1), id: L, ttl: 10, error: String::new() };
        answered(op, Response::LeaseGrant(told))
    }

    fn keep(op: u64) -> HistoryEvent {
        invoke(op, 1, Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: L }))
    }

    fn kept(op: u64, ttl: i64) -> HistoryEvent {
        answered(op, Response::LeaseKeepAlive(pb::LeaseKeepAliveResponse { header: header(1, 1), id: L, ttl }))
    }

    fn revoke(op: u64) -> HistoryEvent {
        invoke(op, 2, Request::LeaseRevoke(pb::LeaseRevokeRequest { id: L }))
    }

    fn gone(index: u64) -> Note {
        Note::LeaseGone { lease: LeaseId(L), index: LogIndex(index) }
    }

    /// Granted at 0 ms for 10 s.
    fn alive(run: &mut Script) {
        run.at_ms(0).history(&grant(1)).at_ms(100).history(&granted(1));
    }

    #[test]
    fn an_end_before_the_ttl_is_a_violation() {
        let told = |ms: u64, skew_ppm: u64| {
            let mut run = script(skew_ppm);
            alive(&mut run);
            run.at_ms(ms).notes(1, &[gone(5)]);
            run.verdict()
        };
        assert!(told(9_999, 0).expect_err("early").detail.contains("too early"));
        assert_eq!(told(10_000, 0), Ok(()));
        // A clock that is a tenth too fast measures 10 s in 9.09.
        assert!(told(9_090, 100_000).is_err());
        assert_eq!(told(9_091, 100_000), Ok(()));
    }

    #[test]
    fn clocks_that_jump_ahead_end_a_lease_as_much_earlier_and_no_more() {
        let told = |ms: u64| {
            let config = CheckConfig { clock_steps: 3_000_000_000, ..CheckConfig::new(3) };
            let mut run = Script::new(Box::new(Leases::new(&config)));
            alive(&mut run);
            run.at_ms(ms).notes(1, &[gone(5)]);
            run.verdict()
        };
        assert!(told(6_999).expect_err("early").detail.contains("too early"));
        assert_eq!(told(7_000), Ok(()));
    }

    #[test]
    fn an_acknowledged_keepalive_counts_from_its_invocation_and_an_unknown_one_does_not_count() {
        let told = |acknowledged: bool, ms: u64| {
            let mut run = script(0);
            alive(&mut run);
            run.at_ms(8_000).history(&keep(2)).at_ms(9_000);
            run.history(&if acknowledged { kept(2, 10) } else { unknown(2) });
            run.at_ms(ms).notes(1, &[gone(5)]);
            run.verdict()
        };
        assert!(told(true, 17_999).is_err());
        assert_eq!(told(true, 18_000), Ok(()));
        assert_eq!(told(false, 10_000), Ok(()));
    }

    #[test]
    fn an_end_while_a_keepalive_is_on_its_way_is_judged_when_it_is_answered() {
        let told = |ttl: i64| {
            let mut run = script(0);
            alive(&mut run);
            run.at_ms(9_000).history(&keep(2));
            run.at_ms(10_500).notes(0, &[gone(5)]).at_ms(11_000).history(&kept(2, ttl));
            run.verdict()
        };
        assert!(told(10).is_err());
        assert_eq!(told(0), Ok(()));
    }

    #[test]
    fn a_revocation_excuses_unless_it_failed() {
        let told = |outcome: Option<HistoryEvent>| {
            let mut run = script(0);
            alive(&mut run);
            run.at_ms(2_000).history(&revoke(2)).at_ms(3_000).notes(1, &[gone(5)]);
            run.at_ms(4_000);
            if let Some(outcome) = outcome {
                run.history(&outcome);
            }
            run.finish()
        };
        assert_eq!(told(None), Ok(()));
        assert_eq!(told(Some(unknown(2))), Ok(()));
        assert!(told(Some(failed(2, Status::NoLeader))).is_err());
    }

    #[test]
    fn an_answer_that_takes_the_lease_for_gone_too_early_is_a_violation() {
        let told = |ms: u64, outcome: fn(u64) -> HistoryEvent| {
            let mut run = script(0);
            alive(&mut run);
            run.at_ms(ms).history(&keep(2)).history(&outcome(2));
            run.verdict()
        };
        assert!(told(5_000, |op| kept(op, 0)).expect_err("early").detail.contains("TTL 0"));
        assert_eq!(told(10_000, |op| kept(op, 0)), Ok(()));
        assert_eq!(told(5_000, unknown), Ok(()));
    }

    #[test]
    fn renewing_a_lease_that_is_gone_is_a_violation() {
        let told = |invoked_ms: u64| {
            let mut run = script(0);
            alive(&mut run);
            run.at_ms(2_000).history(&revoke(2));
            run.at_ms(invoked_ms).history(&keep(3));
            run.at_ms(3_000).notes(1, &[gone(5)]);
            run.at_ms(3_500).history(&keep(4));
            run.at_ms(4_000).history(&kept(if invoked_ms < 3_000 { 3 } else { 4 }, 10));
            run.verdict()
        };
        assert!(told(3_100).expect_err("dead").detail.contains("kept lease"));
        assert_eq!(told(2_900), Ok(()));
    }

    #[test]
    fn a_key_that_outlives_its_lease_is_a_violation() {
        let event = |kind: EventType| {
            let lease = if kind == EventType::Put { L } else { 0 };
            let kv = detcd_core::proto::mvccpb::KeyValue { key: Bytes::from_static(b"k"), lease, ..Default::default() };
            HistoryEvent::Revision {
                revision: 2,
                events: [Event { r#type: kind.into(), kv: Some(kv), prev_kv: None }].into(),
            }
        };
        let told = |deleted: bool| {
            let mut run = script(0);
            alive(&mut run);
            run.at_ms(500).history(&event(EventType::Put)).at_ms(11_000).notes(1, &[gone(5)]);
            if deleted {
                run.history(&event(EventType::Delete));
            }
            run.at_ms(11_001).notes(1, &[]);
            run.verdict()
        };
        assert!(told(false).expect_err("left").detail.contains("its key"));
        assert_eq!(told(true), Ok(()));
    }

    #[test]
    fn a_lease_that_nobody_renews_and_that_does_not_end_is_a_liveness_violation() {
        let told = |ms: u64, ended: bool| {
            let mut run = script(0);
            alive(&mut run);
            run.at_ms(50_000).tell(Observation::Healed);
            if ended {
                run.at_ms(60_000).notes(0, &[gone(9)]);
            }
            run.at_ms(ms).finish()
        };
        assert_eq!(told(66_001, false).expect_err("late").kind, crate::check::ViolationKind::Liveness);
        assert_eq!(told(66_000, false), Ok(()));
        assert_eq!(told(66_001, true), Ok(()));
    }

    #[test]
    fn a_change_of_leader_gives_a_lease_with_a_checkpoint_what_remained_and_no_more() {
        let told = |remaining_s: i64, ms: u64| {
            let mut run = script(0);
            alive(&mut run);
            run.at_ms(1_000).tell(Observation::Healed);
            run.at_ms(50_000).notes(1, &[Note::Role { role: Role::Leader, term: Term(5), leader: NodeId(2) }]);
            let applied = Note::Applied { index: LogIndex(7), term: Term(5), state: detcd_core::digest::Digest(1) };
            run.view(1, checkpointed(remaining_s)).at_ms(50_100).notes(1, &[applied]);
            run.at_ms(ms).finish()
        };
        assert_eq!(told(0, 66_000), Ok(()));
        assert!(told(0, 66_001).is_err());
        assert_eq!(told(4, 60_000), Ok(()));
        assert_eq!(told(4, 60_001).expect_err("late").kind, crate::check::ViolationKind::Liveness);
    }

    /// A store whose lease has so many seconds left.
    fn checkpointed(remaining_ttl: i64) -> StoreView {
        let mut state = detcd_core::state_machine::StateMachine::default();
        let requests = [
            pb::InternalRaftRequest {
                lease_grant: Some(pb::LeaseGrantRequest { id: L, ttl: 10 }),
                ..Default::default()
            },
            pb::InternalRaftRequest {
                lease_checkpoint: Some(pb::LeaseCheckpointRequest {
                    checkpoints: vec![pb::LeaseCheckpoint { id: L, remaining_ttl }],
                    seen_index: 1,
                }),
                ..Default::default()
            },
        ];
        for request in requests {
            let command = detcd_core::state_machine::Command::from(request);
            state.apply(state.applied().next(), &command).result.expect("allowed");
        }
        state.view()
    }

    #[test]
    fn an_id_may_be_granted_anew_after_its_end_while_the_grant_was_open() {
        let mut run = script(0);
        alive(&mut run);
        run.at_ms(9_000).history(&grant(2)).at_ms(10_000).notes(0, &[gone(5)]).at_ms(11_000).history(&granted(2));
        assert_eq!(run.verdict(), Ok(()));
    }
}
