//! Locks as etcd's own client library takes them, without a lock service (its session and mutex): what is asked, and
//! what follows from the answers. Who asks a lock service has the same sessions, and the same keys.
//!
//! A session is a lease that is kept alive. Whoever wants a lock creates a key of its own below the lock's prefix, with
//! that lease; the key that was created first owns the lock, and the others wait until all that were created before
//! their own are gone. Before it takes itself for the owner, who has waited looks whether its own key is still there,
//! for its lease may have ended meanwhile (etcd 11456). What an owner does elsewhere it does under the condition that
//! its key is still the one that it created, so that it does nothing once the lock has gone to somebody else.

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use detcd_core::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::proto::etcdserverpb::response_op::Response as OpResponse;
use detcd_core::proto::mvccpb::KeyValue;
use detcd_core::types::Revision;

use super::{OpKind, PlannedOp, below_i64, lease_id};
use crate::scenario::LockSpec;
use crate::weather::{Domain, Weather, below, nth, permille};

const MS: u64 = 1_000_000;
/// Sessions are numbered from here on, and have so many numbers each for what is done in them.
pub const FIRST_SESSION: u64 = 1 << 41;
/// How many operations a session has at most.
pub const STEPS_MAX: u64 = 1 << 12;
const SESSIONS_MAX: u64 = 1 << 10;

/// How the lock workers of a run are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Locks {
    /// How many workers there are, each with one session at a time.
    pub workers: u32,
    /// How many locks there are.
    pub locks: u64,
    /// Out of 1,000 moments at which a worker waits for a lock or has just got it, at how many its process pauses.
    pub pause_permille: u64,
    /// Out of 1,000 locks, how many are asked of the lock service.
    pub service_permille: u64,
    /// How long an owner keeps a lock, at most.
    pub hold_ns: u64,
    /// How far a worker's clock may be off, in parts per million.
    pub skew_ppm: u64,
}

impl Locks {
    /// Draws the lock workers of a run in which members' clocks are off by so much at most.
    pub fn draw(weather: Weather, spec: &LockSpec, skew_ppm: u64) -> Locks {
        let pick = |number: u64, span: crate::scenario::Span| span.pick(weather.draw(Domain::Plan, &[17, number]));
        Locks {
            workers: u32::try_from(pick(0, spec.workers)).expect("checked: at most 100"),
            locks: pick(1, spec.locks),
            pause_permille: spec.pause_permille.into(),
            service_permille: spec.service_permille.into(),
            hold_ns: pick(2, spec.hold_ms).max(1) * MS,
            skew_ppm,
        }
    }
}

/// Draws the sessions that start between `from` and `until`, one worker's after the other's.
pub fn draw_sessions(weather: Weather, spec: &LockSpec, locks: &Locks, from: u64, until: u64) -> Vec<PlannedOp> {
    let mut sessions = Vec::new();
    for worker in 0..u64::from(locks.workers) {
        let mut at = from;
        for n in 0..SESSIONS_MAX {
            let draw = weather.draw(Domain::Operation, &[u64::MAX, worker, n]);
            at += below(nth(draw, 0), 500 * MS);
            let end = at + spec.session_ms.pick(nth(draw, 1)) * MS;
            if at >= until {
                break;
            }
            sessions.push(PlannedOp {
                id: FIRST_SESSION + (worker * SESSIONS_MAX + n) * STEPS_MAX,
                client: u32::try_from(worker).expect("few workers"),
                at,
                draw: nth(draw, 2),
                kind: OpKind::LockSession { until: end.min(until) },
            });
            at = end;
        }
    }
    sessions
}

/// One session's names: what it writes, where, and under which lease.
#[derive(Clone, Debug)]
pub struct Mutex {
    /// Everything below this belongs to the lock.
    pub prefix: Bytes,
    /// The session's own key.
    pub key: Bytes,
    /// The session's lease.
    pub lease: i64,
    /// What the lock protects.
    pub guarded: Bytes,
}

/// What an attempt to get a lock came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The session's key, created at this revision, is the first one.
    Owns(Revision),
    /// The session's key was created at this revision, and others before it.
    Waits(Revision),
    /// Neither was written nor found what had to be there: to be tried again.
    Again,
}

impl Mutex {
    /// The lock of this number for the session with this lease.
    ///
    /// Both names are before all other keys that clients use, so that nobody deletes them as part of a range. The lease
    /// is written as Go prints a signed number in hexadecimal digits.
    pub fn new(number: u64, lease: i64) -> Mutex {
        let prefix = format!("held/{number:02}/");
        let sign = if lease < 0 { "-" } else { "" };
        let key = Bytes::from(format!("{prefix}{sign}{:x}", lease.unsigned_abs()));
        Mutex { prefix: Bytes::from(prefix), key, lease, guarded: Bytes::from(format!("guarded/{number:02}")) }
    }

    /// The same lock for whom this key owns it. A key ends with its lease, which a member may have made for it.
    pub fn with_key(self, key: Bytes) -> Mutex {
        let digits = key.strip_prefix(&self.prefix[..]).and_then(|digits| std::str::from_utf8(digits).ok());
        let lease = digits.and_then(|digits| i64::from_str_radix(digits, 16).ok());
        Mutex { lease: lease.unwrap_or(self.lease), key, ..self }
    }

    /// What a lock service calls the lock.
    pub fn name(&self) -> Bytes {
        self.prefix.slice(..self.prefix.len() - 1)
    }

    /// Creates the session's key unless it is there, and tells whose key was created first.
    pub fn acquire(&self, value: Bytes) -> Request {
        let put = pb::PutRequest { key: self.key.clone(), value, lease: self.lease, ..Default::default() };
        let first = op_of(Op::RequestRange(self.first()));
        Request::Txn(pb::TxnRequest {
            compare: vec![self.created_at(0)],
            success: vec![op_of(Op::RequestPut(put)), first.clone()],
            failure: vec![op_of(Op::RequestRange(self.own_range())), first],
        })
    }

    /// What the answer to [`Mutex::acquire`] means.
    pub fn acquired(response: &Response) -> Tried {
        let Response::Txn(done) = response else { return Tried::Again };
        let found = |place: usize| match done.responses.get(place).map(|response| &response.response) {
            Some(Some(OpResponse::ResponseRange(found))) => found.kvs.first(),
            _ => None,
        };
        let own = if done.succeeded {
            done.header.as_ref().map(|header| header.revision)
        } else {
            found(0).map(|kv| kv.create_revision)
        };
        match (own, found(1)) {
            (Some(own), Some(first)) if first.create_revision == own => Tried::Owns(own),
            (Some(own), Some(_)) => Tried::Waits(own),
            _ => Tried::Again,
        }
    }

    /// Asks for the newest of the keys that were created before the session's own.
    pub fn before(&self, own: Revision) -> Request {
        let ask = pb::RangeRequest { max_create_revision: own - 1, ..self.first() };
        Request::Range(pb::RangeRequest { sort_order: SortOrder::Descend as i32, ..ask })
    }

    /// Asks for the session's own key.
    pub fn own(&self) -> Request {
        Request::Range(self.own_range())
    }

    /// Whether the answer to [`Mutex::own`] says that the key is still the one that was created then.
    pub fn is_alive(response: &Response, own: Revision) -> bool {
        found(response).is_some_and(|kv| kv.create_revision == own)
    }

    /// Whether the answer to [`Mutex::before`] says that nobody is before the session any more.
    pub fn is_first(response: &Response) -> bool {
        matches!(response, Response::Range(_)) && found(response).is_none()
    }

    /// Writes to what the lock protects, if the session's key is still the one that was created then.
    pub fn write(&self, own: Revision, value: Bytes) -> Request {
        let put = pb::PutRequest { key: self.guarded.clone(), value, ..Default::default() };
        Request::Txn(pb::TxnRequest {
            compare: vec![self.created_at(own)],
            success: vec![op_of(Op::RequestPut(put))],
            failure: vec![op_of(Op::RequestRange(self.own_range()))],
        })
    }

    /// Gives the lock back, or no longer waits for it.
    pub fn unlock(&self) -> Request {
        Request::DeleteRange(pb::DeleteRangeRequest { key: self.key.clone(), ..Default::default() })
    }

    fn created_at(&self, revision: Revision) -> pb::Compare {
        pb::Compare {
            result: CompareResult::Equal as i32,
            target: CompareTarget::Create as i32,
            key: self.key.clone(),
            range_end: Bytes::new(),
            target_union: Some(TargetUnion::CreateRevision(revision)),
        }
    }

    fn own_range(&self) -> pb::RangeRequest {
        pb::RangeRequest { key: self.key.clone(), ..Default::default() }
    }

    /// The key below the prefix that was created first.
    fn first(&self) -> pb::RangeRequest {
        let mut end = self.prefix.to_vec();
        *end.last_mut().expect("a prefix") += 1;
        pb::RangeRequest {
            key: self.prefix.clone(),
            range_end: Bytes::from(end),
            limit: 1,
            sort_order: SortOrder::Ascend as i32,
            sort_target: SortTarget::Create as i32,
            ..Default::default()
        }
    }
}

fn found(response: &Response) -> Option<&KeyValue> {
    let Response::Range(found) = response else { return None };
    found.kvs.first()
}

fn op_of(op: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(op) }
}

/// Begins a session: its lease lives one to three seconds, or as long as the server lets it at least.
pub fn grant(draw: u64) -> (i64, Request) {
    let lease = lease_id(nth(draw, 1));
    let ttl = 1 + below_i64(nth(draw, 2), 3);
    (lease, Request::LeaseGrant(pb::LeaseGrantRequest { id: lease, ttl }))
}

/// How a worker looks on who owns a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LooksOn {
    /// It asks once.
    Asks,
    /// It is told of each owner, and of what that proclaims.
    Observes,
}

/// What a worker draws for its `round`th lock of a session.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    draw: u64,
}

impl Round {
    /// The round of a session.
    pub fn new(draw: u64, round: u64) -> Round {
        Round { draw: nth(draw, 1_000 + round) }
    }

    /// Which lock it is about.
    pub fn lock(self, locks: &Locks) -> u64 {
        below(nth(self.draw, 0), locks.locks)
    }

    /// How long the owner keeps it.
    pub fn hold_ns(self, locks: &Locks) -> u64 {
        below(nth(self.draw, 1), locks.hold_ns)
    }

    /// Whether the lock is asked of a lock service.
    pub fn by_service(self, locks: &Locks) -> bool {
        permille(nth(self.draw, 5), locks.service_permille)
    }

    /// Whether it is asked for by a campaign: the key that leads an election is the one that owns the lock of its name.
    pub fn by_election(self) -> bool {
        permille(nth(self.draw, 7), 500)
    }

    /// Whether a member is to make a lease for the lock that is asked of it.
    pub fn by_own_lease(self) -> bool {
        permille(nth(self.draw, 11), 40)
    }

    /// Whether the worker does not ask for the lock, but who owns it: once, or to be told all the time.
    pub fn looks_on(self, locks: &Locks) -> Option<LooksOn> {
        let looks = self.by_service(locks) && permille(nth(self.draw, 12), 350);
        looks.then(|| if permille(nth(self.draw, 13), 700) { LooksOn::Observes } else { LooksOn::Asks })
    }

    /// Whether who was elected writes so many times more by proclaiming something.
    pub fn proclaims(self, writes: u64) -> bool {
        self.by_election() && permille(nth(nth(self.draw, 14), writes), 600)
    }

    /// For how long somebody who asks a lock service at `now` waits for its answer.
    pub fn patience_ns(self, now: u64) -> u64 {
        200 * MS + below(nth(nth(self.draw, 6), now), 5_000 * MS)
    }

    /// For how long somebody observes.
    pub fn observes_ns(self) -> u64 {
        200 * MS + below(nth(self.draw, 15), 12_000 * MS)
    }

    /// How many times the owner writes to what is protected.
    pub fn writes(self) -> u64 {
        below(nth(self.draw, 2), 4)
    }

    /// For how long the process stands still while it waits, or once it owns the lock; mostly not at all.
    pub fn pause_ns(self, locks: &Locks, owns: bool, ttl_ns: u64) -> u64 {
        let draw = nth(self.draw, if owns { 3 } else { 4 });
        if permille(draw, locks.pause_permille) { ttl_ns / 4 + below(nth(draw, 0), ttl_ns * 5 / 2) } else { 0 }
    }

    /// How long the worker waits from `now` until it looks again.
    pub fn wait_ns(self, now: u64) -> u64 {
        20 * MS + below(nth(nth(self.draw, 10), now), 200 * MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txn(succeeded: bool, own: Option<Revision>, first: Option<Revision>) -> Response {
        let range = |created: Option<Revision>| {
            let kvs = created.map(|create_revision| KeyValue { create_revision, ..Default::default() });
            let found = pb::RangeResponse { kvs: kvs.into_iter().collect(), ..Default::default() };
            pb::ResponseOp { response: Some(OpResponse::ResponseRange(found)) }
        };
        let put = pb::ResponseOp { response: Some(OpResponse::ResponsePut(pb::PutResponse::default())) };
        Response::Txn(pb::TxnResponse {
            header: Some(pb::ResponseHeader { revision: 9, ..Default::default() }),
            succeeded,
            responses: vec![if succeeded { put } else { range(own) }, range(first)],
        })
    }

    #[test]
    fn who_created_its_key_first_owns_the_lock_and_others_wait() {
        assert_eq!(Mutex::acquired(&txn(true, None, Some(9))), Tried::Owns(9));
        assert_eq!(Mutex::acquired(&txn(true, None, Some(5))), Tried::Waits(9));
        assert_eq!(Mutex::acquired(&txn(false, Some(5), Some(5))), Tried::Owns(5), "it had the lock already");
        assert_eq!(Mutex::acquired(&txn(false, Some(7), Some(5))), Tried::Waits(7));
        assert_eq!(Mutex::acquired(&txn(false, None, None)), Tried::Again);
    }

    #[test]
    fn names_of_locks_are_before_all_other_keys() {
        let mutex = Mutex::new(12, -1);
        assert!(mutex.key.starts_with(&mutex.prefix) && mutex.key < "k" && mutex.guarded < "k");
        assert_eq!(mutex.key, "held/12/-1");
        assert_eq!((Mutex::new(3, 0x1f).key, mutex.name()), ("held/03/1f".into(), "held/12".into()));
        let found = Mutex::new(12, 0).with_key("held/12/-8000000000000000".into());
        assert_eq!((found.lease, found.name()), (i64::MIN, mutex.name()), "as the member named it");
        let other = Mutex::new(12, 7).with_key("held/13/8".into());
        assert_eq!((other.lease, &other.key[..]), (7, &b"held/13/8"[..]), "no key of this lock");
        assert!(mutex.first().range_end > mutex.key && Mutex::new(13, 0).prefix >= mutex.first().range_end);
    }

    #[test]
    fn sessions_of_a_worker_come_one_after_the_other_and_none_lasts_too_long() {
        let spec = LockSpec::default();
        let locks = Locks { workers: 3, ..Locks::default() };
        let sessions = draw_sessions(Weather::new(5), &spec, &locks, 1_000 * MS, 30_000 * MS);
        for worker in 0..3 {
            let own: Vec<&PlannedOp> = sessions.iter().filter(|op| op.client == worker).collect();
            assert!(own.len() > 2, "{}", own.len());
            for pair in own.windows(2) {
                let OpKind::LockSession { until } = pair[0].kind else { panic!("{pair:?}") };
                assert!(pair[0].at < until && until <= pair[1].at && pair[0].id + STEPS_MAX <= pair[1].id);
            }
            let OpKind::LockSession { until } = own[own.len() - 1].kind else { panic!("not a session") };
            assert!(until <= 30_000 * MS);
        }
    }
}
