//! Contract, section 1.3.

use std::ops::Bound;

use proptest::prelude::*;

use super::*;

const TTL_MAX_S: i64 = 9_000_000_000;

fn at_s(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1000)
}

/// Leads, and takes in all of few leases at once.
fn lead(clock: &mut LeaseClock, now: Instant, leases: impl Iterator<Item = (LeaseId, i64)>) {
    clock.lead(now);
    clock.adopt_some(|after| {
        assert_eq!(after, None);
        leases
    });
}

fn leading(leases: &[(i64, i64)]) -> LeaseClock {
    let mut clock = LeaseClock::new(Duration::ZERO);
    let leases: BTreeMap<LeaseId, i64> = leases.iter().map(|&(id, ttl_s)| (LeaseId(id), ttl_s)).collect();
    clock.lead(at_s(0));
    while clock.has_work() {
        clock.adopt_some(|after| {
            let start = after.map_or(Bound::Unbounded, Bound::Excluded);
            leases.range((start, Bound::Unbounded)).map(|(id, ttl_s)| (*id, *ttl_s))
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
    let mut clock = LeaseClock::new(Duration::from_secs(1));
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
    let mut clock = LeaseClock::new(Duration::from_secs(1));
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
        let mut clock = LeaseClock::new(Duration::ZERO);
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
    let mut clock = LeaseClock::new(Duration::from_secs(1));
    let last = 2 * LEASES_PER_SLICE as i64 + 1;
    let leases = |after: Option<LeaseId>| (after.map_or(1, |id| id.0 + 1)..=last).map(|id| (LeaseId(id), 5));
    clock.lead(at_s(10));
    clock.adopt_some(leases);
    assert_eq!(clock.leases.len(), LEASES_PER_SLICE);
    assert_eq!(clock.renew(LeaseId(last), at_s(11)), Renewal::Unknown);
    clock.adopt(LeaseId(last), 5);
    assert_eq!(clock.remaining(LeaseId(last), at_s(11)), Remaining::Seconds(5), "counted from the beginning");
    assert_eq!(clock.renew(LeaseId(last), at_s(12)), Renewal::Renewed { ttl_s: 5 });
    clock.granted(LeaseId(last - 1), 100, at_s(12));
    clock.adopt_some(leases);
    assert!(clock.has_work());
    clock.adopt_some(leases);
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
