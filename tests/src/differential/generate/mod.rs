//! What is asked next: a function of the seed, the position, and what both servers have told so far.

mod kv;
mod lease;
mod maintenance;
mod txn;
mod watch;

use std::collections::VecDeque;

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;

use self::maintenance::Alarms;
use super::dice::Dice;
use super::known::{self, Version};
use super::step::Step;
use super::world::World;

/// Draws the steps of a run.
#[derive(Debug)]
pub(super) struct Generator {
    seed: u64,
    etcd: Version,
    members: usize,
    position: u64,
    /// Steps that belong to one that was drawn before.
    planned: VecDeque<Step>,
    /// Alarms that are on.
    alarms: Option<Alarms>,
    /// What is still to come at a certain position.
    due: VecDeque<(u64, Kind)>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Range,
    Put,
    DeleteRange,
    Txn,
    Compact,
    Lease,
    Watch,
    Expiry,
    Fragments,
    Oversize,
    HashKv,
    Alarm,
    SpaceAlarms,
    CorruptionAlarm,
    Defragment,
}

const KINDS: [(u64, Kind); 15] = [
    (2_800, Kind::Range),
    (2_200, Kind::Put),
    (600, Kind::DeleteRange),
    (2_600, Kind::Txn),
    (120, Kind::Compact),
    (1_200, Kind::Lease),
    (400, Kind::Watch),
    (400, Kind::HashKv),
    (60, Kind::Alarm),
    (40, Kind::SpaceAlarms),
    (3, Kind::CorruptionAlarm),
    // These take seconds, so they are rare, and a run begins with one of each.
    (2, Kind::Expiry),
    (2, Kind::Fragments),
    (2, Kind::Oversize),
    (2, Kind::Defragment),
];

/// What is asked while alarms are on: mostly writes, of all kinds.
const ALARMED_KINDS: [(u64, Kind); 8] = [
    (15, Kind::Range),
    (20, Kind::Put),
    (12, Kind::DeleteRange),
    (25, Kind::Txn),
    (3, Kind::Compact),
    (15, Kind::Lease),
    (4, Kind::HashKv),
    (6, Kind::Alarm),
];

/// What a run does not leave to chance, and from which position on it does it.
const DUE: [(u64, Kind); 6] = [
    (500, Kind::Expiry),
    (700, Kind::Fragments),
    (750, Kind::Oversize),
    (760, Kind::SpaceAlarms),
    (770, Kind::CorruptionAlarm),
    (780, Kind::Defragment),
];

impl Generator {
    /// The steps of the run of `seed` against so many `members` of an etcd of version `etcd`.
    pub fn new(seed: u64, etcd: Version, members: usize) -> Generator {
        let (planned, due) = (VecDeque::new(), VecDeque::from(DUE));
        Generator { seed, etcd, members, position: 0, planned, alarms: None, due }
    }

    /// The next step.
    pub fn next(&mut self, world: &World) -> Step {
        self.position += 1;
        if let Some(step) = self.planned.pop_front() {
            return step;
        }
        let dice = &mut Dice::new(self.seed, self.position);
        let kind = match self.alarms.take() {
            Some(mut alarms) if alarms.steps_left == 0 => {
                let calls = alarms.deactivate_one();
                self.alarms = alarms.are_on().then_some(alarms);
                return self.plan_calls(calls);
            }
            Some(mut alarms) => {
                alarms.steps_left -= 1;
                self.alarms = Some(alarms);
                dice.weighted(&ALARMED_KINDS)
            }
            None => self.due().unwrap_or_else(|| dice.weighted(&KINDS)),
        };
        self.draw(kind, dice, world)
    }

    /// What is due by now.
    fn due(&mut self) -> Option<Kind> {
        let (_, kind) = self.due.pop_front_if(|(from, _)| *from <= self.position)?;
        Some(kind)
    }

    fn draw(&mut self, kind: Kind, dice: &mut Dice, world: &World) -> Step {
        match kind {
            Kind::Range => Step::Call(Request::Range(kv::range(dice, world, self.etcd))),
            Kind::Put => Step::Call(Request::Put(kv::put(dice, world))),
            Kind::DeleteRange => Step::Call(Request::DeleteRange(kv::delete_range(dice))),
            Kind::Txn => {
                let mut txn = txn::txn(dice, world, self.etcd);
                if self.members > 1 {
                    known::keep_members_equal(self.etcd, &mut txn, world.head, world.compacted);
                }
                Step::Call(Request::Txn(txn))
            }
            Kind::Compact => Step::Call(Request::Compact(kv::compaction(dice, world))),
            Kind::Lease => self.plan(lease::lease(dice, world)),
            Kind::Watch => watch::watch(dice, world, self.etcd),
            Kind::Expiry => self.plan(lease::expiry(dice, world)),
            Kind::Fragments => self.plan(watch::fragments()),
            Kind::Oversize => self.plan(kv::oversize()),
            Kind::HashKv => Step::Call(maintenance::hash_kv(dice, world)),
            Kind::Alarm => Step::Call(maintenance::harmless_alarm(dice)),
            Kind::SpaceAlarms => self.alarm(Alarms::of_space(dice)),
            Kind::CorruptionAlarm => self.alarm(Alarms::of_corruption(dice)),
            Kind::Defragment => Step::Call(Request::Defragment(pb::DefragmentRequest {})),
        }
    }

    /// Alarms go on, and off again a few steps later.
    fn alarm(&mut self, alarms: Alarms) -> Step {
        let first = self.plan_calls(alarms.activate());
        self.alarms = Some(alarms);
        first
    }

    fn plan_calls(&mut self, requests: Vec<Request>) -> Step {
        self.plan(requests.into_iter().map(Step::Call).collect())
    }

    /// The first of several steps; the others follow it.
    fn plan(&mut self, steps: Vec<Step>) -> Step {
        self.planned.extend(steps);
        self.planned.pop_front().expect("a plan has a step")
    }
}

/// A key: few enough that most requests meet one that exists, with the smallest and the greatest among them.
fn key(dice: &mut Dice) -> Bytes {
    const ODD: [&[u8]; 6] = [b"\0", b"a", b"b/\0", b"z\xff", b"\xff", b"\xff\xff"];
    if dice.chance(15) {
        return Bytes::from_static(dice.pick(&ODD));
    }
    let folder = dice.pick(b"abc");
    Bytes::from(vec![folder, b'/', b'0' + u8::try_from(dice.below(7)).expect("a digit")])
}

/// A range of `count` keys, less than ten.
fn few_keys(count: usize) -> (Bytes, Bytes) {
    (Bytes::from_static(b"a/0"), Bytes::from(format!("a/{count}")))
}

/// A key and the end of a range of one of all forms that the contract knows (section 1.1).
fn key_range(dice: &mut Dice) -> (Bytes, Bytes) {
    let start = key(dice);
    let open = Bytes::from_static(b"\0");
    match dice.below(10) {
        0..=2 => (start, Bytes::new()),
        3..=4 => {
            let other = key(dice);
            if start <= other { (start, other) } else { (other, start) }
        }
        5..=6 => {
            let prefix = dice.pick(&[&b"a"[..], b"b/", b"c", b"\xff", b"z"]);
            (Bytes::from_static(prefix), end_of_prefix(prefix))
        }
        7 => (start, open),
        8 => (open.clone(), open),
        // Empty, more often than not.
        _ => (start, key(dice)),
    }
}

/// The end of the range of all keys that begin with `prefix`.
fn end_of_prefix(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte != 0xff).map_or(0, |place| place + 1);
    let mut end = prefix[..kept].to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0),
    }
    Bytes::from(end)
}

/// A value; equal ones are common, so that sorts have ties.
fn value(dice: &mut Dice) -> Bytes {
    match dice.below(10) {
        0 => Bytes::new(),
        1..=6 => Bytes::from(vec![b'v', b'0' + u8::try_from(dice.below(10)).expect("a digit")]),
        _ => Bytes::from(vec![b'w'; usize::try_from(dice.below(200)).expect("small")]),
    }
}

/// A lease that exists, usually; 0 stands for none.
fn lease_of(dice: &mut Dice, world: &World) -> i64 {
    let ids: Vec<i64> = world.leases.keys().copied().collect();
    if ids.is_empty() || dice.chance(5) { dice.pick(&[7_777, -7_777]) } else { dice.pick(&ids) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(seed: u64, count: usize) -> Vec<Step> {
        let mut generator = Generator::new(seed, Version(3, 7, 1), 1);
        let world = World::new();
        (0..count).map(|_| generator.next(&world)).collect()
    }

    #[test]
    fn a_seed_draws_the_same_steps_again_and_another_one_others() {
        assert_eq!(steps(1, 300), steps(1, 300));
        assert_ne!(steps(1, 300), steps(2, 300));
        assert_eq!(steps(1, 300)[..200], steps(1, 200)[..]);
    }

    #[test]
    fn what_takes_long_comes_early_once() {
        let steps = steps(1, 800);
        assert!(steps.iter().any(|step| matches!(step, Step::AwaitExpiry { .. })));
        let long = |step: &Step| matches!(step, Step::Call(Request::Put(put)) if put.key.starts_with(b"long/"));
        assert!(steps.iter().any(long));
    }

    #[test]
    fn every_alarm_that_goes_on_goes_off_again() {
        let mut on = std::collections::BTreeMap::new();
        let mut most = 0;
        for step in steps(1, 20_000) {
            let Step::Call(Request::Alarm(pb::AlarmRequest { action, member_id, alarm })) = step else { continue };
            match action {
                1 if alarm != 0 => drop(on.insert((alarm, member_id), ())),
                2 => drop(on.remove(&(alarm, member_id))),
                _ => {}
            }
            most = most.max(on.len());
            let kinds: std::collections::BTreeSet<i32> = on.keys().map(|(alarm, _)| *alarm).collect();
            assert!(kinds.len() < 2, "alarms of two kinds are on: {on:?}");
        }
        assert_eq!(most, 2, "at times those of two members");
        assert!(on.len() < 3, "the last ones may still be on, and no more: {on:?}");
    }

    #[test]
    fn a_prefix_ends_before_the_next_key_of_its_length() {
        assert_eq!(end_of_prefix(b"a/"), Bytes::from_static(b"a0"));
        assert_eq!(end_of_prefix(b"a\xff"), Bytes::from_static(b"b"));
        assert_eq!(end_of_prefix(b"\xff"), Bytes::from_static(b"\0"), "no key is behind them");
    }
}
