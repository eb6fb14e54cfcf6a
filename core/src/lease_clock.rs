//! The leader's clock over the replicated leases: deadlines are local, and only ever propose.
//!
//! Which leases exist is replicated state; when one ends is known to the leader alone, by its monotonic clock. A lease
//! whose deadline has passed is not dead: it dies when its revoke is applied (contract, section 1.3). So a deadline may
//! be late and must never be early, and a member that does not lead has none at all.
//!
//! What this module does *not* know: which keys hang on a lease, terms, the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::time::Instant;
use crate::types::LeaseId;

/// At most this many revokes are proposed within any [`RATE_WINDOW`] (contract, section 1.3).
const REVOKES_PER_WINDOW_MAX: usize = 1000;
/// At most this many revokes are proposed at once.
const REVOKES_PER_BATCH_MAX: usize = 500;
/// The span over which revokes are counted.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// At most this many leases are taken into the clock, or let go, at once.
const LEASES_PER_SLICE: usize = 1000;
/// A proposed revoke that was not applied for this long is proposed again (contract, section 1.3).
const RETRY_AFTER: Duration = Duration::from_secs(3);

/// What became of a keepalive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease has its full time again.
    Renewed {
        /// That time, in seconds; the client is told.
        ttl_s: i64,
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
}

/// The deadlines of all leases while this member leads; empty otherwise.
#[derive(Debug, Default)]
pub struct LeaseClock {
    /// Added to every lease at the start of a leadership.
    extension: Duration,
    leading: bool,
    /// When the leadership began and how far its leases are taken in, until all are.
    adopting: Option<Adopting>,
    leases: BTreeMap<LeaseId, Lease>,
    /// Every lease at its `due`.
    due: BTreeSet<(Instant, LeaseId)>,
    /// When revokes were proposed within the last [`RATE_WINDOW`], and how many.
    proposed: VecDeque<(Instant, usize)>,
    /// The deadlines of leaderships that are over, on their way out.
    over: Vec<Past>,
}

/// What a leadership that is over leaves behind.
#[derive(Debug)]
struct Past {
    leases: BTreeMap<LeaseId, Lease>,
    due: BTreeSet<(Instant, LeaseId)>,
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
    /// `extension` is what every lease gets on top of its full time when a leadership starts: one election timeout,
    /// during which clients may not have found the new leader (contract, section 1.3).
    pub fn new(extension: Duration) -> LeaseClock {
        LeaseClock { extension, ..LeaseClock::default() }
    }

    /// Starts a leadership at `now`: every lease gets its full time, in seconds, and the extension.
    ///
    /// The leases of the applied state are told by [`LeaseClock::adopt_some`], those granted by entries that are
    /// applied later by [`LeaseClock::granted`].
    pub fn lead(&mut self, now: Instant) {
        self.step_down();
        self.leading = true;
        self.adopting = Some(Adopting { since: now, after: None });
    }

    /// Ends a leadership: no deadline counts any more, nothing expires, and nothing is renewed.
    pub fn step_down(&mut self) {
        self.leading = false;
        self.adopting = None;
        let past = Past { leases: std::mem::take(&mut self.leases), due: std::mem::take(&mut self.due) };
        if !past.leases.is_empty() {
            self.over.push(past);
        }
    }

    /// Whether leases are still to be taken in or let go: then call [`LeaseClock::adopt_some`] and
    /// [`LeaseClock::let_go_some`] again soon.
    pub fn has_work(&self) -> bool {
        self.adopting.is_some() || !self.over.is_empty()
    }

    /// Takes in a slice of the leases that there were when the leadership began, if some are missing.
    ///
    /// `after` gives all leases of the applied state behind the one named, in order, with their times in seconds.
    pub fn adopt_some<I: Iterator<Item = (LeaseId, i64)>>(&mut self, after: impl FnOnce(Option<LeaseId>) -> I) {
        let Some(adopting) = self.adopting else { return };
        let (mut last, mut count) = (None, 0);
        for (id, ttl_s) in after(adopting.after).take(LEASES_PER_SLICE) {
            self.adopt(id, ttl_s);
            (last, count) = (Some(id), count + 1);
        }
        self.adopting = (count == LEASES_PER_SLICE).then_some(Adopting { after: last, ..adopting });
    }

    /// Takes in one lease of the applied state ahead of its turn, as somebody asks for it.
    pub fn adopt(&mut self, id: LeaseId, ttl_s: i64) {
        if let Some(Adopting { since, .. }) = self.adopting
            && !self.leases.contains_key(&id)
        {
            self.set(id, ttl_s, deadline(since, ttl_s) + self.extension);
        }
    }

    /// Lets a slice of what former leaderships left behind go.
    pub fn let_go_some(&mut self) {
        let Some(Past { leases, due }) = self.over.last_mut() else { return };
        for _ in 0..LEASES_PER_SLICE {
            leases.pop_first();
            due.pop_first();
        }
        if leases.is_empty() && due.is_empty() {
            self.over.pop();
        }
    }

    /// A grant of `ttl_s` seconds was applied at `now`. Nothing happens on a member that does not lead.
    pub fn granted(&mut self, id: LeaseId, ttl_s: i64, now: Instant) {
        if self.leading {
            self.set(id, ttl_s, deadline(now, ttl_s));
        }
    }

    /// A lease was revoked: its entry is applied.
    pub fn gone(&mut self, id: LeaseId) {
        if let Some(lease) = self.leases.remove(&id) {
            let was_due = self.due.remove(&(lease.due, id));
            assert!(was_due, "every lease is due some time");
        }
    }

    /// A client keeps its lease alive at `now`.
    ///
    /// The answer must not reach the client before the leader has confirmed that it still leads, like a read.
    pub fn renew(&mut self, id: LeaseId, now: Instant) -> Renewal {
        if !self.leading {
            return Renewal::NotLeading;
        }
        let Some(lease) = self.leases.get(&id).copied() else {
            return Renewal::Unknown;
        };
        if lease.revoke_proposed || now >= lease.deadline {
            return Renewal::Expired;
        }
        self.set(id, lease.ttl_s, deadline(now, lease.ttl_s));
        Renewal::Renewed { ttl_s: lease.ttl_s }
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

    /// Appends to `out` the leases whose revoke has to be proposed at `now`, in the order of their deadlines (or
    /// retries), then of their ids.
    ///
    /// At most 500 at once and 1000 within any second; the others come with a later call, as does a lease whose revoke
    /// was not applied for 3 s. Nothing on a member that does not lead.
    pub fn expired(&mut self, now: Instant, out: &mut Vec<LeaseId>) {
        self.forget_proposed(now);
        let recent: usize = self.proposed.iter().map(|(_, count)| count).sum();
        assert!(recent <= REVOKES_PER_WINDOW_MAX, "revokes are paced");
        let room = (REVOKES_PER_WINDOW_MAX - recent).min(REVOKES_PER_BATCH_MAX);
        let mut count = 0;
        while count < room
            && let Some(&(due, id)) = self.due.first()
            && due <= now
        {
            assert!(self.leading, "only a leader has deadlines");
            let lease = self.leases.get_mut(&id).expect("what is due is a lease");
            assert!(now >= lease.deadline, "a lease never ends early");
            lease.revoke_proposed = true;
            lease.due = now + RETRY_AFTER;
            self.due.pop_first();
            self.due.insert((lease.due, id));
            out.push(id);
            count += 1;
        }
        if count > 0 {
            self.proposed.push_back((now, count));
        }
    }

    /// The revoke of an expired lease could not be proposed: [`LeaseClock::expired`] says it again at `again_at`.
    pub fn not_proposed(&mut self, id: LeaseId, again_at: Instant) {
        if let Some(lease) = self.leases.get_mut(&id) {
            let was_due = self.due.remove(&(lease.due, id));
            assert!(was_due, "every lease is due some time");
            lease.due = again_at;
            self.due.insert((again_at, id));
        }
    }

    /// When [`LeaseClock::expired`] has something to say next; nothing if there are no deadlines.
    pub fn next_wakeup(&self) -> Option<Instant> {
        let (due, _) = self.due.first()?;
        let recent: usize = self.proposed.iter().map(|(_, count)| count).sum();
        match self.proposed.front() {
            Some((oldest, _)) if recent >= REVOKES_PER_WINDOW_MAX => Some((*due).max(*oldest + RATE_WINDOW)),
            _ => Some(*due),
        }
    }

    /// Gives a lease its deadline, whether it had one or not.
    fn set(&mut self, id: LeaseId, ttl_s: i64, deadline: Instant) {
        let lease = Lease { ttl_s, deadline, due: deadline, revoke_proposed: false };
        if let Some(old) = self.leases.insert(id, lease) {
            self.due.remove(&(old.due, id));
        }
        self.due.insert((deadline, id));
    }

    /// Forgets proposals that no longer count against the rate.
    fn forget_proposed(&mut self, now: Instant) {
        while let Some(&(at, _)) = self.proposed.front()
            && at + RATE_WINDOW <= now
        {
            self.proposed.pop_front();
        }
    }
}

/// `ttl_s` seconds after `now`; a time that was never raised to the minimum and is negative counts as none.
fn deadline(now: Instant, ttl_s: i64) -> Instant {
    now + Duration::from_secs(u64::try_from(ttl_s).unwrap_or(0))
}

#[cfg(test)]
#[path = "lease_clock_tests.rs"]
mod tests;
