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

/// Alarms that are on for a while.
///
/// All are of one kind, and they go off one right after the other: etcd refuses only what the alarm refuses that was
/// put on last, and nothing any more as soon as the first goes off, until it starts again.
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
        let mut requests = self.each(AlarmAction::Activate);
        requests.push(get(self.kind as i32, self.member_ids[0]));
        requests
    }

    /// Puts them off: one of them once more, though it is off already, and lists what is left.
    pub fn deactivate(&self) -> Vec<Request> {
        let mut requests = self.each(AlarmAction::Deactivate);
        requests.push(alarm(AlarmAction::Deactivate, self.kind as i32, self.member_ids[0]));
        requests.push(get(pb::AlarmType::None as i32, 0));
        requests
    }

    fn each(&self, action: AlarmAction) -> Vec<Request> {
        self.member_ids.iter().map(|member_id| alarm(action, self.kind as i32, *member_id)).collect()
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
