//! The leader's clock over the replicated leases: deadlines are local, and only ever propose.
//!
//! Which leases exist is replicated state; when one ends is known to the leader alone, by its monotonic clock. A lease
//! whose deadline has passed is not dead: it dies when its revoke is applied (contract, section 1.3). So a deadline may
//! be late and must never be early, and a member that does not lead has none at all.
//!
//! So that a change of leader does not start every lease anew, the leader writes down now and then how long its leases
//! have left: checkpoints, which are entries. The next leader gives each lease the remaining time of its last one, or
//! its full time. What makes this safe:
//!
//! * A checkpoint is made before the next leadership begins that counts it, so that what it says can only be too long
//!   by then: entries of a former leader are in a leader's log before it leads, or never. A leadership begins here when
//!   the first entry of its term is applied, and with it all that came before.
//! * A renewal is not acknowledged before a checkpoint that says less is cleared, that is, replaced by one that says
//!   "full time" and is applied ([`Renewal::Checkpointed`]); nor while one is on its way that was made before the
//!   renewal, and would be applied after it.
//! * A checkpoint that a deposed leader made may be applied later, under a leader after its successor: but only if the
//!   first entry of the successor's term was never committed. Then the successor has not renewed anything, for it
//!   answers nothing about leases before that entry is applied.
//!
//! What this module does *not* know: which keys hang on a lease, terms, the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use im::OrdSet;

use crate::state_machine::LeaseTime;
use crate::time::Instant;
use crate::types::LeaseId;

/// At most this many revokes, and as many checkpoints, are proposed within any [`RATE_WINDOW`] (contract, section 1.3).
const PER_WINDOW_MAX: usize = 1000;
/// At most this many revokes are proposed at once.
const REVOKES_PER_BATCH_MAX: usize = 500;
/// At most this many leases are in one checkpoint.
const CHECKPOINTS_PER_BATCH_MAX: usize = 1000;
/// The span over which they are counted.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// At most this many leases are taken into the clock, or let go, at once.
const LEASES_PER_SLICE: usize = 1000;
/// A proposed revoke, or clearing of a checkpoint, that was not applied for this long is proposed again (contract,
/// section 1.3).
const RETRY_AFTER: Duration = Duration::from_secs(3);

/// What became of a keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease has its full time again.
    Renewed {
        /// That time, in seconds; the client is told.
        ttl_s: i64,
    },
    /// The lease has its full time again by this clock, but a checkpoint that says less is applied or on its way, and
    /// would have the next leader end it early. Wait until that is cleared, and try again, before answering.
    Checkpointed {
        /// Whether a checkpoint that clears it, one of 0 seconds, has to be proposed now; else that is done.
        clear: bool,
    },
    /// There is no such lease: the client is told a TTL of 0.
    Unknown,
    /// The lease is past its deadline or its revoke is proposed, so it must not be promised to anybody any more. It may
    /// still live if this member stops leading before the revoke is applied: wait for either before answering.
    Expired,
    /// This member does not lead and has no deadlines; ask the leader.
    NotLeading,
}

/// What a leader's clock says of a lease's remaining time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remaining {
    /// So many whole seconds, cut off towards zero as etcd does it: a lease that waits for its revoke has 0 left, and
    /// after a second less than that.
    Seconds(i64),
    /// There is no such lease.
    Unknown,
    /// This member does not lead and has no deadlines; ask the leader.
    NotLeading,
}

/// One lease of a leader.
#[derive(Clone, Copy, Debug)]
struct Lease {
    /// The granted time, in seconds.
    ttl_s: i64,
    /// It must not end before this.
    deadline: Instant,
    /// When it has to be looked at next: at its deadline, or for a retry of its revoke.
    due: Instant,
    /// Whether a revoke was proposed in this leadership.
    revoke_proposed: bool,
    checkpoint: Checkpoint,
}

/// What there is of checkpoints of one lease.
#[derive(Clone, Copy, Debug, Default)]
struct Checkpoint {
    /// When to make the next one, if that is planned.
    next_at: Option<Instant>,
    /// One that says less than the full time is applied, and none that clears it.
    is_applied: bool,
    /// One that says less than the full time was proposed in this leadership, and is not applied yet. It is not lost
    /// while the leadership lasts.
    is_proposed: bool,
    /// One that clears the others was proposed; when to propose it again.
    clear_again_at: Option<Instant>,
    /// The deadline is what a checkpoint said at the beginning of this leadership.
    is_resumed: bool,
}

/// How many of something were proposed within the last [`RATE_WINDOW`].
#[derive(Debug, Default)]
struct Pace {
    proposed: VecDeque<(Instant, usize)>,
}

impl Pace {
    fn recent(&self) -> usize {
        self.proposed.iter().map(|(_, count)| count).sum()
    }

    /// How many more may be proposed at `now`.
    fn room(&mut self, now: Instant) -> usize {
        while self.proposed.front().is_some_and(|(at, _)| *at + RATE_WINDOW <= now) {
            self.proposed.pop_front();
        }
        let recent = self.recent();
        assert!(recent <= PER_WINDOW_MAX, "proposals are paced");
        PER_WINDOW_MAX - recent
    }

    fn took(&mut self, now: Instant, count: usize) {
        if count > 0 {
            self.proposed.push_back((now, count));
        }
    }

    /// When what is due at `due` may be proposed.
    fn not_before(&self, due: Instant) -> Instant {
        match self.proposed.front() {
            Some((oldest, _)) if self.recent() >= PER_WINDOW_MAX => due.max(*oldest + RATE_WINDOW),
            _ => due,
        }
    }
}

/// The deadlines of all leases while this member leads; empty otherwise.
#[derive(Debug, Default)]
pub struct LeaseClock {
    /// Added to every lease at the start of a leadership.
    extension: Duration,
    /// Between two checkpoints of a lease.
    checkpoint_interval: Duration,
    leading: bool,
    /// When the leadership began and how far its leases are taken in, until all are.
    adopting: Option<Adopting>,
    leases: BTreeMap<LeaseId, Lease>,
    orders: Orders,
    revokes: Pace,
    checkpoints: Pace,
    /// The deadlines of leaderships that are over, on their way out.
    over: Vec<Past>,
}

/// The leases in the orders in which they are asked for.
#[derive(Debug, Default)]
struct Orders {
    /// Every lease at its `due`.
    due: BTreeSet<(Instant, LeaseId)>,
    /// Every lease at its deadline. Persistent: it is given away with each read of all leases.
    deadlines: OrdSet<(Instant, LeaseId)>,
    /// Every lease whose next checkpoint is planned, at its time.
    checkpoints: BTreeSet<(Instant, LeaseId)>,
}

impl Orders {
    fn insert(&mut self, id: LeaseId, lease: &Lease) {
        self.due.insert((lease.due, id));
        self.deadlines.insert((lease.deadline, id));
        if let Some(next_at) = lease.checkpoint.next_at {
            self.checkpoints.insert((next_at, id));
        }
    }

    fn remove(&mut self, id: LeaseId, lease: &Lease) {
        let was_due = self.due.remove(&(lease.due, id));
        assert!(was_due, "every lease is due some time");
        self.deadlines.remove(&(lease.deadline, id));
        if let Some(next_at) = lease.checkpoint.next_at {
            self.checkpoints.remove(&(next_at, id));
        }
    }
}

/// What a leadership that is over leaves behind.
#[derive(Debug)]
struct Past {
    leases: BTreeMap<LeaseId, Lease>,
    orders: Orders,
}

/// The beginning of a leadership, whose leases are taken in slice by slice. One that is not taken in yet only lives
/// longer.
#[derive(Clone, Copy, Debug)]
struct Adopting {
    /// When the leadership began.
    since: Instant,
    /// The last lease that was taken in.
    after: Option<LeaseId>,
}

impl LeaseClock {
    /// A clock that does not lead.
    ///
    /// `extension` is what every lease gets on top of its time when a leadership starts: one election timeout, during
    /// which clients may not have found the new leader (contract, section 1.3). A lease that has more left than
    /// `checkpoint_interval` gets a checkpoint after that long.
    pub fn new(extension: Duration, checkpoint_interval: Duration) -> LeaseClock {
        LeaseClock { extension, checkpoint_interval, ..LeaseClock::default() }
    }

    /// Starts a leadership that began at `since`: every lease gets its remaining or its full time, and the extension.
    ///
    /// To be called when the first entry of the leader's term is applied, and before any later one is. The leases of
    /// the state as it is then are told by [`LeaseClock::adopt_some`], those granted by later entries by
    /// [`LeaseClock::granted`].
    pub fn lead(&mut self, since: Instant) {
        self.step_down();
        self.leading = true;
        self.adopting = Some(Adopting { since, after: None });
    }

    /// Ends a leadership: no deadline counts any more, nothing expires, and nothing is renewed.
    pub fn step_down(&mut self) {
        self.leading = false;
        self.adopting = None;
        let past = Past { leases: std::mem::take(&mut self.leases), orders: std::mem::take(&mut self.orders) };
        if !past.leases.is_empty() {
            self.over.push(past);
        }
    }

    /// Whether leases are still to be taken in or let go: then call [`LeaseClock::adopt_some`] and
    /// [`LeaseClock::let_go_some`] again soon.
    pub fn has_work(&self) -> bool {
        self.adopting.is_some() || !self.over.is_empty()
    }

    /// Takes in a slice of the leases that there were when the leadership began, if some are missing. `now` is when.
    ///
    /// `after` gives all leases of the applied state behind the one named, in order, with their times.
    pub fn adopt_some<I>(&mut self, now: Instant, after: impl FnOnce(Option<LeaseId>) -> I)
    where
        I: Iterator<Item = (LeaseId, LeaseTime)>,
    {
        let Some(adopting) = self.adopting else { return };
        let (mut last, mut count) = (None, 0);
        for (id, time) in after(adopting.after).take(LEASES_PER_SLICE) {
            self.adopt(id, time, now);
            (last, count) = (Some(id), count + 1);
        }
        self.adopting = (count == LEASES_PER_SLICE).then_some(Adopting { after: last, ..adopting });
    }

    /// Takes in one lease of the applied state ahead of its turn, as somebody asks for it.
    pub fn adopt(&mut self, id: LeaseId, time: LeaseTime, now: Instant) {
        if let Some(Adopting { since, .. }) = self.adopting
            && !self.leases.contains_key(&id)
        {
            let is_resumed = time.remaining_s > 0;
            let left_s = if is_resumed { time.remaining_s } else { time.ttl_s };
            let checkpoint = Checkpoint { is_applied: is_resumed, is_resumed, ..Checkpoint::default() };
            self.set(id, time.ttl_s, deadline(since, left_s) + self.extension, checkpoint, now);
        }
    }

    /// Lets a slice of what former leaderships left behind go.
    pub fn let_go_some(&mut self) {
        let Some(Past { leases, orders }) = self.over.last_mut() else { return };
        for _ in 0..LEASES_PER_SLICE {
            leases.pop_first();
            orders.due.pop_first();
            orders.deadlines.remove_min();
            orders.checkpoints.pop_first();
        }
        if leases.is_empty() {
            self.over.pop();
        }
    }

    /// A grant of `ttl_s` seconds was applied at `now`. Nothing happens on a member that does not lead.
    pub fn granted(&mut self, id: LeaseId, ttl_s: i64, now: Instant) {
        if self.leading {
            self.set(id, ttl_s, deadline(now, ttl_s), Checkpoint::default(), now);
        }
    }

    /// A checkpoint was applied at `now`: the state says that so many seconds remain, or with 0, the full time.
    pub fn checkpointed(&mut self, id: LeaseId, remaining_s: i64, now: Instant) {
        let Some(lease) = self.leases.get(&id).copied() else { return };
        let mut checkpoint = lease.checkpoint;
        checkpoint.is_applied = remaining_s > 0;
        if checkpoint.is_applied {
            checkpoint.is_proposed = false;
        } else {
            checkpoint.clear_again_at = None;
        }
        self.change(id, Lease { checkpoint, ..lease }, now);
    }

    /// A lease was revoked: its entry is applied.
    pub fn gone(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            self.orders.remove(id, &lease);
        }
    }

    /// A client keeps its lease alive at `now`.
    ///
    /// The answer must not reach the client before the leader has confirmed that it still leads, like a read.
    pub fn renew(&mut self, id: LeaseId, now: Instant) -> Renewal {
        if !self.leading {
            return Renewal::NotLeading;
        }
        let Some(Lease { ttl_s, deadline: until, revoke_proposed, mut checkpoint, .. }) = self.leases.get(&id).copied()
        else {
            return Renewal::Unknown;
        };
        if revoke_proposed || now >= until {
            return Renewal::Expired;
        }
        let says_less = checkpoint.is_applied || checkpoint.is_proposed;
        let clear = says_less && checkpoint.clear_again_at.is_none_or(|again_at| again_at <= now);
        if clear {
            checkpoint.clear_again_at = Some(now + RETRY_AFTER);
        }
        checkpoint.is_resumed = false;
        self.set(id, ttl_s, deadline(now, ttl_s), checkpoint, now);
        if says_less { Renewal::Checkpointed { clear } } else { Renewal::Renewed { ttl_s } }
    }

    /// The checkpoint that [`Renewal::Checkpointed`] asked for could not be proposed: it is asked for again.
    pub fn not_cleared(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.checkpoint.clear_again_at = None;
        }
    }

    /// How long a lease has left at `now`.
    pub fn remaining(&self, id: LeaseId, now: Instant) -> Remaining {
        if !self.leading {
            return Remaining::NotLeading;
        }
        let Some(lease) = self.leases.get(&id) else {
            return Remaining::Unknown;
        };
        let left = i64::try_from((lease.deadline - now).as_secs()).unwrap_or(i64::MAX);
        let over = i64::try_from((now - lease.deadline).as_secs()).unwrap_or(i64::MAX);
        Remaining::Seconds(left - over)
    }

    /// The leases that the clock knows, in the order of their deadlines, then of their ids: O(1). None on a member that
    /// does not lead.
    pub fn by_deadline(&self) -> OrdSet<(Instant, LeaseId)> {
        self.orders.deadlines.clone()
    }

    /// Whether a lease's deadline is what a checkpoint said when this leadership began.
    pub fn is_resumed(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|lease| lease.checkpoint.is_resumed)
    }

    /// Appends to `out` the leases whose revoke has to be proposed at `now`, in the order of their deadlines (or
    /// retries), then of their ids.
    ///
    /// At most 500 at once and 1000 within any second; the others come with a later call, as does a lease whose revoke
    /// was not applied for 3 s. Nothing on a member that does not lead.
    pub fn expired(&mut self, now: Instant, out: &mut Vec<LeaseId>) {
        let room = self.revokes.room(now).min(REVOKES_PER_BATCH_MAX);
        let mut count = 0;
        while count < room
            && let Some(&(due, id)) = self.orders.due.first()
            && due <= now
        {
            assert!(self.leading, "only a leader has deadlines");
            let lease = self.leases[&id];
            assert!(now >= lease.deadline, "a lease never ends early");
            self.change(id, Lease { revoke_proposed: true, due: now + RETRY_AFTER, ..lease }, now);
            out.push(id);
            count += 1;
        }
        self.revokes.took(now, count);
    }

    /// The revoke of an expired lease could not be proposed: [`LeaseClock::expired`] says it again at `again_at`.
    pub fn not_proposed(&mut self, id: LeaseId, again_at: Instant) {
        if let Some(lease) = self.leases.get_mut(&id) {
            let was_due = self.orders.due.remove(&(lease.due, id));
            assert!(was_due, "every lease is due some time");
            lease.due = again_at;
            self.orders.due.insert((again_at, id));
        }
    }

    /// Appends to `out` the leases of which a checkpoint has to be proposed at `now`, each with the whole seconds that
    /// it has left, rounded up: what the next leader counts may be late and must not be early.
    ///
    /// At most 1000 at once and within any second; the others come with a later call. A lease that has its full time
    /// left gets none. Nothing on a member that does not lead.
    pub fn checkpoints_due(&mut self, now: Instant, out: &mut Vec<(LeaseId, i64)>) {
        let room = self.checkpoints.room(now).min(CHECKPOINTS_PER_BATCH_MAX);
        let mut count = 0;
        while count < room
            && let Some(&(next_at, id)) = self.orders.checkpoints.first()
            && next_at <= now
        {
            let mut lease = self.leases[&id];
            let remaining_s = whole_seconds_up(lease.deadline - now);
            lease.checkpoint.next_at = None;
            lease.checkpoint.is_proposed = (1..lease.ttl_s).contains(&remaining_s);
            if lease.checkpoint.is_proposed {
                out.push((id, remaining_s));
            }
            self.change(id, lease, now);
            count += 1;
        }
        self.checkpoints.took(now, count);
    }

    /// A checkpoint of a lease could not be proposed: [`LeaseClock::checkpoints_due`] says it again at `again_at`.
    pub fn not_checkpointed(&mut self, id: LeaseId, again_at: Instant) {
        if let Some(lease) = self.leases.get_mut(&id) {
            assert!(lease.checkpoint.next_at.is_none(), "none is planned while one is under way");
            lease.checkpoint.is_proposed = false;
            lease.checkpoint.next_at = Some(again_at);
            self.orders.checkpoints.insert((again_at, id));
        }
    }

    /// When [`LeaseClock::expired`] or [`LeaseClock::checkpoints_due`] has something to say next; nothing if there are
    /// no deadlines.
    pub fn next_wakeup(&self) -> Option<Instant> {
        let revoke = self.orders.due.first().map(|(due, _)| self.revokes.not_before(*due));
        let checkpoint = self.orders.checkpoints.first().map(|(next_at, _)| self.checkpoints.not_before(*next_at));
        revoke.into_iter().chain(checkpoint).min()
    }

    /// Gives a lease its deadline, whether it had one or not.
    fn set(&mut self, id: LeaseId, ttl_s: i64, deadline: Instant, checkpoint: Checkpoint, now: Instant) {
        let checkpoint = Checkpoint { next_at: None, ..checkpoint };
        self.change(id, Lease { ttl_s, deadline, due: deadline, revoke_proposed: false, checkpoint }, now);
    }

    /// A lease is like this from `now` on. Its next checkpoint is planned if it has none that is planned or under way.
    fn change(&mut self, id: LeaseId, mut lease: Lease, now: Instant) {
        let checkpoint = &mut lease.checkpoint;
        let is_under_way = checkpoint.is_proposed || checkpoint.clear_again_at.is_some();
        if is_under_way || lease.revoke_proposed || lease.deadline - now <= self.checkpoint_interval {
            checkpoint.next_at = None;
        } else if lease.deadline < Instant::NEVER {
            checkpoint.next_at = checkpoint.next_at.or(Some(now + self.checkpoint_interval));
        }
        if let Some(old) = self.leases.insert(id, lease) {
            self.orders.remove(id, &old);
        }
        self.orders.insert(id, &lease);
    }
}

/// `ttl_s` seconds after `now`; a time that was never raised to the minimum and is negative counts as none.
fn deadline(now: Instant, ttl_s: i64) -> Instant {
    now + Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0))
}

/// A span in whole seconds, the last of which may have begun only.
fn whole_seconds_up(span: Duration) -> i64 {
    let seconds = span.as_secs() + u64::from(span.subsec_nanos() > 0);
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "lease_clock_tests.rs"]
mod tests;
