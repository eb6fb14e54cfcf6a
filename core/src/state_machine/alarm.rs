//! Alarms: what keeps a cluster from taking writes until somebody has looked (contract, section 1.5).

use im::OrdSet;

use super::put::Put;
use crate::api::{Status, quota};
use crate::digest::Digest;
use crate::proto::etcdserverpb as pb;
use crate::types::NodeId;

/// An alarm: its kind, and whose it is.
pub(crate) type Alarm = (i32, NodeId);

/// The alarms that are on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Alarms {
    on: OrdSet<Alarm>,
    contents: Digest,
}

impl Alarms {
    /// Puts an alarm on, if it is not yet.
    pub(crate) fn activate(&mut self, alarm: Alarm) {
        if self.on.insert(alarm).is_none() {
            self.contents = self.contents.with(alarm_digest(alarm));
        }
    }

    /// Puts an alarm off; whether it was on.
    pub(crate) fn deactivate(&mut self, alarm: Alarm) -> bool {
        let was_on = self.on.remove(&alarm).is_some();
        if was_on {
            self.contents = self.contents.without(alarm_digest(alarm));
        }
        was_on
    }

    /// Whether this alarm is on.
    pub(crate) fn is_on(&self, alarm: Alarm) -> bool {
        self.on.contains(&alarm)
    }

    /// Whether any member has an alarm of this kind.
    pub(crate) fn any(&self, kind: pb::AlarmType) -> bool {
        let first = (i32::from(kind), NodeId(0));
        self.on.range(first..=(first.0, NodeId(u64::MAX))).next().is_some()
    }

    /// The alarms, by kind and member.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Alarm> + '_ {
        self.on.iter().copied()
    }

    /// Does what a request asks; the alarms that it speaks of, as they are told.
    pub(crate) fn request(&mut self, request: &pb::AlarmRequest) -> Vec<pb::AlarmMember> {
        use pb::alarm_request::AlarmAction;
        let alarm = (request.alarm, NodeId(request.member_id));
        let told = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Get) => return self.list(request.alarm),
            Ok(AlarmAction::Activate) if request.alarm != i32::from(pb::AlarmType::None) => {
                self.activate(alarm);
                true
            }
            Ok(AlarmAction::Deactivate) => self.deactivate(alarm),
            // An action that does not exist does nothing, and there is no alarm of no kind.
            Ok(AlarmAction::Activate) | Err(_) => false,
        };
        if told { vec![told_of(alarm)] } else { Vec::new() }
    }

    /// The alarms of one kind, or of all.
    pub(crate) fn list(&self, kind: i32) -> Vec<pb::AlarmMember> {
        let all = kind == i32::from(pb::AlarmType::None);
        self.iter().filter(|alarm| all || alarm.0 == kind).map(told_of).collect()
    }

    /// Whether an entry may have its effect in spite of the alarms that are on. Decided where it is applied, by state
    /// and entry alone: members that are told of an alarm late refuse the same entries.
    pub(crate) fn admit(&self, entry: &pb::InternalRaftRequest) -> Result<(), Status> {
        if self.on.is_empty() {
            return Ok(());
        }
        let is_clients = entry.put.is_some()
            || entry.delete_range.is_some()
            || entry.txn.is_some()
            || entry.compaction.is_some()
            || entry.lease_grant.is_some()
            || entry.lease_revoke.is_some();
        self.admit_write(is_clients, quota::of_entry(entry))
    }

    /// The same for a put.
    pub(crate) fn admit_put(&self, put: &Put<'_>) -> Result<(), Status> {
        if self.on.is_empty() {
            return Ok(());
        }
        self.admit_write(true, quota::of_put_bytes(put.key.len() + put.value.len()))
    }

    fn admit_write(&self, is_clients: bool, cost_bytes: i64) -> Result<(), Status> {
        if is_clients && self.any(pb::AlarmType::Corrupt) {
            return Err(Status::Corrupt);
        }
        if cost_bytes > 0 && self.any(pb::AlarmType::Nospace) {
            return Err(Status::NoSpace);
        }
        Ok(())
    }

    pub(crate) fn digest(&self) -> Digest {
        self.contents
    }

    pub(crate) fn recompute_digest(&self) -> Digest {
        self.iter().fold(Digest::default(), |digest, alarm| digest.with(alarm_digest(alarm)))
    }
}

fn told_of((alarm, NodeId(member_id)): Alarm) -> pb::AlarmMember {
    pb::AlarmMember { member_id, alarm }
}

fn alarm_digest((kind, node): Alarm) -> Digest {
    let mut bytes = [0u8; 16];
    bytes[0..4].copy_from_slice(b"alm1");
    bytes[4..8].copy_from_slice(&kind.to_le_bytes());
    bytes[8..16].copy_from_slice(&node.0.to_le_bytes());
    Digest::of(&bytes)
}
