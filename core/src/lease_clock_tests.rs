//! Contract, section 1.3.

use std::ops::Bound;

use proptest::prelude::*;

use super::*;

const TTL_MAX_S: i64 = 9_000_000_000;

fn at_s(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

/// Longer than any test takes.
const NO_CHECKPOINTS: Duration = Duration::from_secs(u32::MAX as u64);

fn full(ttl_s: i64) -> LeaseTime {
    LeaseTime { ttl_s, remaining_s: 0 }
}

/// Leads, and takes in all of few leases at once.
fn lead(clock: &mut LeaseClock, now: Instant, leases: impl Iterator<Item = (LeaseId, i64)>) {
    clock.lead(now);
    clock.adopt_some(now, |after| {
        assert_eq!(after, None);
        leases.map(|(id, ttl_s)| (id, full(ttl_s)))
    });
}

fn leading(leases: &[(i64, i64)]) -> LeaseClock {
    let mut clock = LeaseClock::new(Duration::ZERO, NO_CHECKPOINTS);
    let leases: BTreeMap<LeaseId, i64> = leases.iter().map(|&(id, ttl_s)| (LeaseId(id), ttl_s)).collect();
    clock.lead(at_s(0));
    while clock.has_work() {
        clock.adopt_some(at_s(0), |after| {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            leases.range((start, Bound::Unbounded)).map(|(id, ttl_s)| (*id, full(*ttl_s)))
        });
    }
    clock
}

fn expired(clock: &mut LeaseClock, now: Instant) -> Vec<i64> {
    let mut out = Vec::new();
    clock.expired(now, &mut out);
    out.into_iter().map(|id| id.0).collect()
}

#[test]
fn a_lease_ends_at_its_deadline_and_not_a_nanosecond_before() {
    let mut clock = leading(&[(7, 5)]);
    assert_eq!(clock.next_wakeup(), Some(at_s(5)));
    assert!(expired(&mut clock, Instant::from_nanos(5_000_000_000 - 1)).is_empty());
    assert_eq!(expired(&mut clock, at_s(5)), [7]);
}

#[test]
fn leases_end_in_the_order_of_deadline_and_then_of_id() {
    let mut clock = leading(&[(9, 3), (i64::MIN, 5), (-4, 3), (i64::MAX, 5), (1, 4)]);
    assert_eq!(expired(&mut clock, at_s(10)), [-4, 9, 1, i64::MIN, i64::MAX]);
}

#[test]
fn a_new_leader_gives_every_lease_its_full_time_and_the_extension() {
    let mut clock = LeaseClock::new(Duration::from_secs(1), NO_CHECKPOINTS);
    lead(&mut clock, at_s(100), [(LeaseId(1), 5)].into_iter());
    assert!(expired(&mut clock, at_s(105)).is_empty());
    assert_eq!(expired(&mut clock, at_s(106)), [1]);
    lead(&mut clock, at_s(110), [(LeaseId(1), 5)].into_iter());
    assert!(expired(&mut clock, at_s(115)).is_empty());
    assert_eq!(clock.remaining(LeaseId(1), at_s(110)), Remaining::Seconds(6));
}

#[test]
fn a_deposed_leader_ends_and_renews_nothing() {
    let mut clock = leading(&[(1, 5)]);
    clock.step_down();
    assert_eq!(clock.next_wakeup(), None);
    assert!(expired(&mut clock, at_s(100)).is_empty());
    assert_eq!(clock.renew(LeaseId(1), at_s(1)), Renewal::NotLeading);
    assert_eq!(clock.remaining(LeaseId(1), at_s(1)), Remaining::NotLeading);
    clock.granted(LeaseId(2), 5, at_s(1));
    assert!(expired(&mut clock, at_s(100)).is_empty(), "a follower has no deadlines");
}

#[test]
fn a_renewed_lease_has_its_full_time_from_that_moment() {
    let mut clock = leading(&[(1, 5)]);
    assert_eq!(clock.renew(LeaseId(1), at_s(4)), Renewal::Renewed { ttl_s: 5 });
    assert!(expired(&mut clock, at_s(8)).is_empty());
    assert_eq!(expired(&mut clock, at_s(9)), [1]);
}

#[test]
fn an_unknown_lease_is_not_renewed() {
    let mut clock = leading(&[(1, 5)]);
    assert_eq!(clock.renew(LeaseId(2), at_s(0)), Renewal::Unknown);
    clock.gone(LeaseId(1));
    assert_eq!(clock.renew(LeaseId(1), at_s(0)), Renewal::Unknown);
    assert_eq!(clock.next_wakeup(), None);
}

#[test]
fn a_lease_past_its_deadline_is_not_renewed_even_before_its_revoke_is_proposed() {
    let mut clock = leading(&[(1, 5)]);
    assert_eq!(clock.renew(LeaseId(1), at_s(5)), Renewal::Expired);
    assert_eq!(expired(&mut clock, at_s(5)), [1]);
    assert_eq!(clock.renew(LeaseId(1), at_s(6)), Renewal::Expired);
}

#[test]
fn a_revoke_that_is_not_applied_is_proposed_again_after_three_seconds() {
    let mut clock = leading(&[(1, 5)]);
    assert_eq!(expired(&mut clock, at_s(5)), [1]);
    assert!(expired(&mut clock, at_s(7)).is_empty());
    assert_eq!(clock.next_wakeup(), Some(at_s(8)));
    assert_eq!(expired(&mut clock, at_s(8)), [1]);
    clock.gone(LeaseId(1));
    assert!(expired(&mut clock, at_s(100)).is_empty());
}

#[test]
fn an_id_that_is_granted_again_starts_afresh() {
    let mut clock = leading(&[(1, 5)]);
    assert_eq!(expired(&mut clock, at_s(5)), [1]);
    clock.gone(LeaseId(1));
    clock.granted(LeaseId(1), 3, at_s(6));
    assert_eq!(clock.renew(LeaseId(1), at_s(7)), Renewal::Renewed { ttl_s: 3 });
    assert_eq!(expired(&mut clock, at_s(10)), [1]);
}

#[test]
fn the_time_left_is_cut_off_to_whole_seconds_towards_zero() {
    let clock = leading(&[(1, 5)]);
    assert_eq!(clock.remaining(LeaseId(1), at_s(0)), Remaining::Seconds(5));
    assert_eq!(clock.remaining(LeaseId(1), Instant::from_millis(1)), Remaining::Seconds(4));
    assert_eq!(clock.remaining(LeaseId(1), Instant::from_millis(4_999)), Remaining::Seconds(0));
    assert_eq!(clock.remaining(LeaseId(1), Instant::from_millis(5_900)), Remaining::Seconds(0));
    assert_eq!(clock.remaining(LeaseId(1), Instant::from_millis(6_100)), Remaining::Seconds(-1));
}

#[test]
fn the_longest_lease_of_a_late_clock_saturates() {
    let mut clock = LeaseClock::new(Duration::from_secs(1), NO_CHECKPOINTS);
    let late = Instant::from_nanos(u64::MAX - 5);
    lead(&mut clock, late, [(LeaseId(i64::MIN), TTL_MAX_S)].into_iter());
    assert_eq!(clock.next_wakeup(), Some(Instant::NEVER));
    assert!(expired(&mut clock, late).is_empty());
    assert_eq!(clock.renew(LeaseId(i64::MIN), late), Renewal::Renewed { ttl_s: TTL_MAX_S });
    let early = leading(&[(1, TTL_MAX_S)]);
    assert_eq!(early.remaining(LeaseId(1), at_s(0)), Remaining::Seconds(TTL_MAX_S));
}

#[test]
fn no_more_than_a_thousand_revokes_are_proposed_within_any_second() {
    let leases: Vec<_> = (0..3000).map(|id| (id, 1)).collect();
    let mut clock = leading(&leases);
    let mut proposed: Vec<(Instant, usize)> = Vec::new();
    let mut now = at_s(1);
    let mut total = 0;
    while total < 3000 {
        let ids = expired(&mut clock, now);
        assert!(ids.len() <= REVOKES_PER_BATCH_MAX);
        total += ids.len();
        proposed.push((now, ids.len()));
        for id in ids {
            clock.gone(LeaseId(id));
        }
        let within: usize = proposed.iter().filter(|(at, _)| *at + RATE_WINDOW > now).map(|(_, n)| n).sum();
        assert!(within <= 1000, "{within} revokes within a second");
        now = clock.next_wakeup().map_or(now, |at| at.max(now)) + Duration::from_millis(1);
    }
    assert!(now < at_s(5), "the others follow soon: {now}");
}

#[derive(Clone, Debug)]
enum Op {
    Grant(i64, i64),
    Renew(i64),
    Gone(i64),
    Expire,
    Lead,
    StepDown,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (-3..3i64, 1..6i64).prop_map(|(id, ttl_s)| Op::Grant(id, ttl_s)),
        (-3..3i64).prop_map(Op::Renew),
        (-3..3i64).prop_map(Op::Gone),
        Just(Op::Expire),
        Just(Op::Expire),
        Just(Op::Lead),
        Just(Op::StepDown),
    ]
}

proptest! {
    /// The model keeps, for each lease, the time until which its owner was last promised it.
    #[test]
    fn no_lease_ends_before_what_its_owner_was_promised(ops in prop::collection::vec((op(), 0..2500u64), 1..120)) {
        let mut clock = LeaseClock::new(Duration::ZERO, NO_CHECKPOINTS);
        let mut promised: BTreeMap<i64, (i64, Instant)> = BTreeMap::new();
        let mut leads = false;
        let mut now = at_s(0);
        for (op, millis) in ops {
            now = now + Duration::from_millis(millis);
            match op {
                Op::Grant(id, ttl_s) => {
                    clock.granted(LeaseId(id), ttl_s, now);
                    promised.insert(id, (ttl_s, deadline(now, ttl_s)));
                }
                Op::Renew(id) => match clock.renew(LeaseId(id), now) {
                    Renewal::Renewed { ttl_s } => {
                        let entry = promised.get_mut(&id).expect("only what exists is renewed");
                        prop_assert!(leads && entry.0 == ttl_s);
                        entry.1 = deadline(now, ttl_s);
                    }
                    Renewal::Unknown => prop_assert!(!promised.contains_key(&id)),
                    Renewal::Expired => prop_assert!(promised[&id].1 <= now),
                    Renewal::NotLeading => prop_assert!(!leads),
                    Renewal::Checkpointed { .. } => prop_assert!(false, "nothing was checkpointed"),
                },
                Op::Gone(id) => {
                    clock.gone(LeaseId(id));
                    promised.remove(&id);
                }
                Op::Expire => {
                    let ids = expired(&mut clock, now);
                    prop_assert!(leads || ids.is_empty());
                    for id in ids {
                        prop_assert!(promised[&id].1 <= now, "lease {id} ended early");
                    }
                }
                Op::Lead => {
                    leads = true;
                    lead(&mut clock, now, promised.iter().map(|(id, (ttl_s, _))| (LeaseId(*id), *ttl_s)));
                    for (ttl_s, until) in promised.values_mut() {
                        *until = deadline(now, *ttl_s);
                    }
                }
                Op::StepDown => {
                    leads = false;
                    clock.step_down();
                }
            }
            let wakeup = clock.next_wakeup();
            prop_assert_eq!(wakeup.is_some(), leads && !promised.is_empty());
        }
    }
}

#[test]
fn a_revoke_that_could_not_be_proposed_comes_again_when_asked_for_and_the_lease_is_not_renewed_meanwhile() {
    let mut clock = leading(&[(7, 5)]);
    assert_eq!(expired(&mut clock, at_s(5)), [7]);
    clock.not_proposed(LeaseId(7), at_s(6));
    assert_eq!(clock.next_wakeup(), Some(at_s(6)));
    assert_eq!(clock.renew(LeaseId(7), at_s(5)), Renewal::Expired);
    assert_eq!(expired(&mut clock, at_s(6)), [7]);
    clock.gone(LeaseId(7));
    clock.not_proposed(LeaseId(7), at_s(7));
    assert_eq!(clock.next_wakeup(), None, "a lease that is gone stays gone");
}

#[test]
fn a_leadership_takes_its_leases_in_by_slices_and_knows_those_that_are_asked_for() {
    let mut clock = LeaseClock::new(Duration::from_secs(1), NO_CHECKPOINTS);
    let last = 2 * LEASES_PER_SLICE as i64 + 1;
    let leases = |after: Option<LeaseId>| (after.map_or(1, |id| id.0 + 1)..=last).map(|id| (LeaseId(id), full(5)));
    clock.lead(at_s(10));
    clock.adopt_some(at_s(10), leases);
    assert_eq!(clock.leases.len(), LEASES_PER_SLICE);
    assert_eq!(clock.renew(LeaseId(last), at_s(11)), Renewal::Unknown);
    clock.adopt(LeaseId(last), full(5), at_s(11));
    assert_eq!(clock.remaining(LeaseId(last), at_s(11)), Remaining::Seconds(5), "counted from the beginning");
    assert_eq!(clock.renew(LeaseId(last), at_s(12)), Renewal::Renewed { ttl_s: 5 });
    clock.granted(LeaseId(last - 1), 100, at_s(12));
    clock.adopt_some(at_s(12), leases);
    assert!(clock.has_work());
    clock.adopt_some(at_s(12), leases);
    assert!(!clock.has_work());
    assert_eq!(clock.leases.len(), last as usize);
    assert_eq!(clock.remaining(LeaseId(last), at_s(12)), Remaining::Seconds(5), "what was renewed stays renewed");
    assert_eq!(clock.remaining(LeaseId(last - 1), at_s(12)), Remaining::Seconds(100), "and what was granted since");
    assert_eq!(clock.remaining(LeaseId(last - 2), at_s(12)), Remaining::Seconds(4));

    clock.step_down();
    assert_eq!(clock.remaining(LeaseId(1), at_s(12)), Remaining::NotLeading);
    let mut slices = 0;
    while clock.has_work() {
        clock.let_go_some();
        slices += 1;
    }
    assert_eq!(slices, 3);
}

/// Leads from 0 s on, with checkpoints every second and no extension.
fn checkpointing(leases: &[(i64, LeaseTime)]) -> LeaseClock {
    let mut clock = LeaseClock::new(Duration::ZERO, Duration::from_secs(1));
    clock.lead(at_s(0));
    clock.adopt_some(at_s(0), |_| leases.iter().map(|&(id, time)| (LeaseId(id), time)));
    clock
}

fn checkpoints(clock: &mut LeaseClock, now: Instant) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    clock.checkpoints_due(now, &mut out);
    out.into_iter().map(|(id, remaining_s)| (id.0, remaining_s)).collect()
}

#[test]
fn a_lease_is_checkpointed_every_interval_with_whole_seconds_rounded_up() {
    let mut clock = checkpointing(&[(1, full(5)), (2, full(1))]);
    assert_eq!(clock.next_wakeup(), Some(at_s(1)), "of the other one less than the interval is left");
    assert_eq!(checkpoints(&mut clock, Instant::from_millis(999)), []);
    assert_eq!(checkpoints(&mut clock, Instant::from_millis(1_001)), [(1, 4)], "3.999 s are left");
    assert_eq!(checkpoints(&mut clock, at_s(3)), [], "the last one is not applied yet");
    clock.checkpointed(LeaseId(1), 4, at_s(3));
    assert_eq!(checkpoints(&mut clock, at_s(4)), [(1, 1)]);
    clock.checkpointed(LeaseId(1), 1, at_s(4));
    assert_eq!(checkpoints(&mut clock, at_s(9)), [], "it has an interval left at most");
    assert_eq!(expired(&mut clock, at_s(9)), [2, 1]);
}

#[test]
fn a_lease_with_all_of_its_time_is_not_checkpointed() {
    let mut clock = LeaseClock::new(Duration::from_secs(3), Duration::from_secs(1));
    lead(&mut clock, at_s(0), [(LeaseId(1), 5)].into_iter());
    assert_eq!(checkpoints(&mut clock, at_s(1)), [], "it has 7 s, with the extension");
    assert_eq!(checkpoints(&mut clock, at_s(3)), [], "all of its 5 s");
    assert_eq!(checkpoints(&mut clock, at_s(4)), [(1, 4)]);
}

#[test]
fn a_leader_goes_on_with_the_remaining_time_of_a_checkpoint_and_the_extension() {
    let mut clock = LeaseClock::new(Duration::from_secs(1), NO_CHECKPOINTS);
    clock.lead(at_s(10));
    let leases = [(LeaseId(1), LeaseTime { ttl_s: 60, remaining_s: 3 }), (LeaseId(2), full(60))];
    clock.adopt_some(at_s(12), |_| leases.into_iter());
    assert!(clock.is_resumed(LeaseId(1)) && !clock.is_resumed(LeaseId(2)));
    assert!(expired(&mut clock, Instant::from_millis(13_999)).is_empty());
    assert_eq!(expired(&mut clock, at_s(14)), [1]);
    assert_eq!(expired(&mut clock, at_s(71)), [1, 2], "counted from the beginning; the first is tried again");
}

#[test]
fn a_renewal_waits_until_the_checkpoint_that_it_was_taken_over_with_is_cleared() {
    let mut clock = checkpointing(&[(1, LeaseTime { ttl_s: 60, remaining_s: 3 })]);
    assert_eq!(clock.renew(LeaseId(1), at_s(2)), Renewal::Checkpointed { clear: true });
    assert_eq!(clock.renew(LeaseId(1), at_s(3)), Renewal::Checkpointed { clear: false }, "it is asked for once");
    assert_eq!(checkpoints(&mut clock, at_s(4)), [], "nor is it checkpointed meanwhile");
    assert_eq!(clock.renew(LeaseId(1), at_s(5)), Renewal::Checkpointed { clear: true }, "it seems to be lost");
    clock.not_cleared(LeaseId(1));
    assert_eq!(clock.renew(LeaseId(1), at_s(5)), Renewal::Checkpointed { clear: true }, "it was not even proposed");
    clock.checkpointed(LeaseId(1), 0, at_s(6));
    assert_eq!(clock.renew(LeaseId(1), at_s(6)), Renewal::Renewed { ttl_s: 60 });
    assert!(!clock.is_resumed(LeaseId(1)));
    assert_eq!(checkpoints(&mut clock, at_s(7)), [(1, 59)]);
}

#[test]
fn a_renewal_that_waits_keeps_the_lease_alive_all_the_same() {
    let mut clock = checkpointing(&[(1, LeaseTime { ttl_s: 60, remaining_s: 3 })]);
    assert_eq!(clock.renew(LeaseId(1), at_s(2)), Renewal::Checkpointed { clear: true });
    assert!(expired(&mut clock, at_s(61)).is_empty());
    assert_eq!(expired(&mut clock, at_s(62)), [1]);
}

#[test]
fn a_renewal_waits_while_an_older_checkpoint_is_on_its_way() {
    let mut clock = checkpointing(&[(1, full(5))]);
    assert_eq!(checkpoints(&mut clock, at_s(1)), [(1, 4)]);
    assert_eq!(clock.renew(LeaseId(1), at_s(2)), Renewal::Checkpointed { clear: true });
    clock.checkpointed(LeaseId(1), 4, at_s(2));
    assert_eq!(clock.renew(LeaseId(1), at_s(2)), Renewal::Checkpointed { clear: false }, "now it is applied");
    clock.checkpointed(LeaseId(1), 0, at_s(3));
    assert_eq!(clock.renew(LeaseId(1), at_s(3)), Renewal::Renewed { ttl_s: 5 });
}

/// The checkpoint of a lease that is gone is applied when another has its id: see `Leases::checkpoint`.
#[test]
fn the_checkpoint_of_a_former_lease_clears_none_of_its_successors_that_is_on_its_way() {
    let mut clock = checkpointing(&[(1, full(5))]);
    assert_eq!(checkpoints(&mut clock, at_s(1)), [(1, 4)]);
    clock.gone(LeaseId(1));
    clock.granted(LeaseId(1), 60, at_s(1));
    assert_eq!(checkpoints(&mut clock, at_s(2)), [(1, 59)]);
    clock.checkpointed(LeaseId(1), 0, at_s(2));
    assert_eq!(clock.renew(LeaseId(1), at_s(2)), Renewal::Checkpointed { clear: true });
}

#[test]
fn a_checkpoint_that_could_not_be_proposed_comes_again_when_asked_for_and_holds_up_no_renewal() {
    let mut clock = checkpointing(&[(1, full(5))]);
    assert_eq!(checkpoints(&mut clock, at_s(1)), [(1, 4)]);
    clock.not_checkpointed(LeaseId(1), at_s(2));
    assert_eq!(clock.next_wakeup(), Some(at_s(2)));
    assert_eq!(checkpoints(&mut clock, at_s(2)), [(1, 3)]);
    clock.not_checkpointed(LeaseId(1), at_s(3));
    assert_eq!(clock.renew(LeaseId(1), at_s(2)), Renewal::Renewed { ttl_s: 5 });
    assert_eq!(checkpoints(&mut clock, at_s(2)), [], "and the renewal plans the next one anew");
    assert_eq!(checkpoints(&mut clock, at_s(3)), [(1, 4)]);
}

#[test]
fn no_more_than_a_thousand_leases_are_checkpointed_within_any_second() {
    let leases: Vec<_> = (0..900).map(|id| (id, full(60))).collect();
    let mut clock = checkpointing(&leases);
    assert_eq!(checkpoints(&mut clock, at_s(1)).len(), 900);
    for id in 900..1_300 {
        clock.granted(LeaseId(id), 60, at_s(0));
    }
    assert_eq!(checkpoints(&mut clock, at_s(1)).len(), 100);
    assert_eq!(checkpoints(&mut clock, Instant::from_millis(1_500)), []);
    assert_eq!(clock.next_wakeup(), Some(at_s(2)));
    assert_eq!(checkpoints(&mut clock, at_s(2)).len(), 300);
}

#[test]
fn leases_are_known_in_the_order_of_their_deadlines() {
    let mut clock = leading(&[(1, 5), (2, 3), (3, 4)]);
    let order = |clock: &LeaseClock| clock.by_deadline().iter().map(|(_, id)| id.0).collect::<Vec<_>>();
    assert_eq!(order(&clock), [2, 3, 1]);
    clock.renew(LeaseId(3), at_s(2));
    assert_eq!(order(&clock), [2, 1, 3]);
    clock.gone(LeaseId(1));
    assert_eq!(expired(&mut clock, at_s(3)), [2]);
    assert_eq!(order(&clock), [2, 3], "it lives until its revoke is applied");
    clock.step_down();
    assert!(order(&clock).is_empty());
}

#[derive(Clone, Debug)]
enum Across {
    Grant(i64, i64),
    Renew(i64),
    Revoke(i64),
    /// What is due is proposed.
    Propose,
    /// So many entries are committed and applied.
    Apply(usize),
    /// Another leader, in whose log so many of the entries on their way are.
    Lead(usize),
}

/// An entry on its way.
#[derive(Clone, Debug)]
enum Proposed {
    Grant(i64, i64),
    Revoke(i64),
    /// With the index that was applied when it was made.
    Checkpoint(i64, i64, u64),
}

/// What is replicated, who is promised what, and the clock of whoever leads.
struct Leaders {
    clock: LeaseClock,
    now: Instant,
    log: VecDeque<Proposed>,
    applied: u64,
    /// By lease: its time, and the index that granted it.
    leases: BTreeMap<i64, (LeaseTime, u64)>,
    /// Until when a lease was promised to live.
    promised: BTreeMap<i64, Instant>,
}

impl Leaders {
    fn apply(&mut self, leads: bool) {
        let Some(entry) = self.log.pop_front() else { return };
        self.applied += 1;
        match entry {
            Proposed::Grant(id, ttl_s) if !self.leases.contains_key(&id) => {
                self.leases.insert(id, (full(ttl_s), self.applied));
                self.promised.insert(id, deadline(self.now, ttl_s));
                if leads {
                    self.clock.granted(LeaseId(id), ttl_s, self.now);
                }
            }
            Proposed::Grant(..) => {}
            Proposed::Revoke(id) => {
                self.leases.remove(&id);
                self.promised.remove(&id);
                self.clock.gone(LeaseId(id));
            }
            Proposed::Checkpoint(id, remaining_s, seen) => {
                let Some((time, granted)) = self.leases.get_mut(&id) else { return };
                if *granted <= seen {
                    time.remaining_s = remaining_s;
                }
                let remaining_s = time.remaining_s;
                if leads {
                    self.clock.checkpointed(LeaseId(id), remaining_s, self.now);
                }
            }
        }
    }

    fn lead(&mut self, kept: usize) {
        self.clock.step_down();
        self.log.truncate(kept);
        while !self.log.is_empty() {
            self.apply(false);
        }
        self.clock.lead(self.now);
        let leases = self.leases.iter().map(|(id, (time, _))| (LeaseId(*id), *time));
        self.clock.adopt_some(self.now, |_| leases);
    }

    fn renew(&mut self, id: i64) {
        match self.clock.renew(LeaseId(id), self.now) {
            Renewal::Renewed { ttl_s } => drop(self.promised.insert(id, deadline(self.now, ttl_s))),
            Renewal::Checkpointed { clear: true } => self.log.push_back(Proposed::Checkpoint(id, 0, self.applied)),
            Renewal::Checkpointed { clear: false } | Renewal::Unknown | Renewal::Expired | Renewal::NotLeading => {}
        }
    }

    /// Proposes what is due, and says which lease would end before its time.
    fn propose(&mut self) -> Option<i64> {
        let mut out = Vec::new();
        self.clock.checkpoints_due(self.now, &mut out);
        self.log.extend(out.into_iter().map(|(id, remaining_s)| Proposed::Checkpoint(id.0, remaining_s, self.applied)));
        let ended = expired(&mut self.clock, self.now);
        self.log.extend(ended.iter().map(|id| Proposed::Revoke(*id)));
        ended.into_iter().find(|id| self.promised.get(id).is_some_and(|until| *until > self.now))
    }
}

fn across() -> impl Strategy<Value = Across> {
    prop_oneof![
        1 => (0..2i64, 2..9i64).prop_map(|(id, ttl_s)| Across::Grant(id, ttl_s)),
        3 => (0..2i64).prop_map(Across::Renew),
        1 => (0..2i64).prop_map(Across::Revoke),
        4 => Just(Across::Propose),
        3 => (1..4usize).prop_map(Across::Apply),
        1 => (0..4usize).prop_map(Across::Lead),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is checkpointed, cleared, lost and taken over, in whatever order.
    #[test]
    fn no_lease_ends_early_across_leaders(ops in prop::collection::vec((across(), 0..1_500u64), 1..100)) {
        let clock = checkpointing(&[]);
        let (log, leases, promised) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        let mut leaders = Leaders { clock, now: at_s(0), log, applied: 0, leases, promised };
        for (op, millis) in ops {
            leaders.now = leaders.now + Duration::from_millis(millis);
            match op {
                Across::Grant(id, ttl_s) => leaders.log.push_back(Proposed::Grant(id, ttl_s)),
                Across::Renew(id) => leaders.renew(id),
                Across::Revoke(id) => leaders.log.push_back(Proposed::Revoke(id)),
                Across::Propose => prop_assert_eq!(leaders.propose(), None),
                Across::Apply(count) => (0..count).for_each(|_| leaders.apply(true)),
                Across::Lead(kept) => leaders.lead(kept),
            }
        }
    }
}
