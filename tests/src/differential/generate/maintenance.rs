//! Requests of the service Maintenance.

use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::alarm_request::AlarmAction;

use super::kv;
use crate::differential::dice::Dice;
use crate::differential::world::World;

/// Whose alarms are put on and off. No member has such an id, but nobody asks whose it is.
const MEMBER_IDS: [u64; 4] = [1, 42, 1 << 63, u64::MAX];

/// A kind of alarm that does not exist.
const UNKNOWN_KIND: i32 = 9;

/// How many steps are taken between two alarms that go off.
const STEPS_BETWEEN: u64 = 3;

/// Alarms that are on for a while.
///
/// All are of one kind: with two, etcd 3.5 refuses only what the kind refuses that was put on last, and nothing any
/// more as soon as one of them is off, until it starts again. We refuse what either refuses.
#[derive(Debug)]
pub(super) struct Alarms {
    kind: pb::AlarmType,
    member_ids: Vec<u64>,
    /// How many steps are still taken while they are on.
    pub steps_left: u64,
}

impl Alarms {
    /// Alarms of the kind that refuses what needs space, of one or two members.
    pub fn of_space(dice: &mut Dice) -> Alarms {
        let first = dice.pick(&MEMBER_IDS);
        let second = dice.pick(&MEMBER_IDS);
        let member_ids = if first != second && dice.chance(40) { vec![first, second] } else { vec![first] };
        Alarms { kind: pb::AlarmType::Nospace, member_ids, steps_left: 4 + dice.below(12) }
    }

    /// An alarm of the kind that refuses nearly everything.
    pub fn of_corruption(dice: &mut Dice) -> Alarms {
        let member_ids = vec![dice.pick(&MEMBER_IDS)];
        Alarms { kind: pb::AlarmType::Corrupt, member_ids, steps_left: 2 + dice.below(5) }
    }

    /// Puts them on, and lists them.
    pub fn activate(&self) -> Vec<Request> {
        let on = |member_id: &u64| alarm(AlarmAction::Activate, self.kind as i32, *member_id);
        let mut requests: Vec<Request> = self.member_ids.iter().map(on).collect();
        requests.push(get(self.kind as i32, self.member_ids[0]));
        requests
    }

    /// Puts one of them off, and once more, though it is off already, and lists what is left.
    pub fn deactivate_one(&mut self) -> Vec<Request> {
        let member_id = self.member_ids.pop().expect("one is on");
        self.steps_left = STEPS_BETWEEN;
        let off = alarm(AlarmAction::Deactivate, self.kind as i32, member_id);
        vec![off.clone(), off, get(pb::AlarmType::None as i32, 0)]
    }

    /// Whether any of them is still on.
    pub fn are_on(&self) -> bool {
        !self.member_ids.is_empty()
    }
}

fn alarm(action: AlarmAction, alarm: i32, member_id: u64) -> Request {
    Request::Alarm(pb::AlarmRequest { action: action as i32, member_id, alarm })
}

fn get(kind: i32, member_id: u64) -> Request {
    alarm(AlarmAction::Get, kind, member_id)
}

/// A list of alarms, of one kind or of all, with or without a member, who does not matter (contract, section 1.5); or
/// what changes nothing: an alarm of no kind that goes on, and one that is off and goes off.
pub(super) fn harmless_alarm(dice: &mut Dice) -> Request {
    let member_id = if dice.chance(50) { 0 } else { dice.pick(&MEMBER_IDS) };
    let none = pb::AlarmType::None as i32;
    match dice.below(10) {
        0 => alarm(AlarmAction::Activate, none, member_id),
        // No member of these ids ever has an alarm.
        1 => alarm(AlarmAction::Deactivate, dice.pick(&[none, 1, 2, UNKNOWN_KIND]), 7),
        2..=5 => get(none, member_id),
        _ => get(dice.pick(&[1, 1, 2, UNKNOWN_KIND]), member_id),
    }
}

/// A hash of the history up to a revision of any standing; 0 is now.
pub(super) fn hash_kv(dice: &mut Dice, world: &World) -> Request {
    let revision = if dice.chance(25) { 0 } else { kv::revision(dice, world) };
    Request::HashKv(pb::HashKvRequest { revision })
}
