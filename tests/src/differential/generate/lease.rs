//! Requests of the service Lease.

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;

use super::{key, lease_of, value};
use crate::differential::dice::Dice;
use crate::differential::step::Step;
use crate::differential::world::World;

/// No lease ends by itself within a run, but for those of [`expiry`].
const TTL_MIN_S: i64 = 20_000;

/// The greatest TTL (contract, section 1.3).
const TTL_MAX_S: i64 = 9_000_000_000;

/// More leases than this are not kept.
const LEASES_MAX: usize = 12;

/// One or two steps with leases.
pub(super) fn lease(dice: &mut Dice, world: &World) -> Vec<Step> {
    let id = lease_of(dice, world);
    let full = world.leases.len() >= LEASES_MAX;
    let request = match dice.below(100) {
        0..=29 if !full => return grant(dice, world),
        0..=39 if world.leases.len() > 4 => Request::LeaseRevoke(pb::LeaseRevokeRequest { id }),
        40..=44 => Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 123_456 }),
        45..=64 => Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id }),
        65..=89 => Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id, keys: dice.chance(60) }),
        _ => Request::LeaseLeases(pb::LeaseLeasesRequest {}),
    };
    vec![Step::Call(request)]
}

/// A grant: with an id of any size, with one that is taken, without one, or for longer than is allowed.
fn grant(dice: &mut Dice, world: &World) -> Vec<Step> {
    let any = dice.between(1_000, 2_000);
    let id = dice.pick(&[1, -1, i64::MAX, i64::MIN, 0x7fff_ffff, 42, any]);
    let ttl = dice.pick(&[TTL_MIN_S, TTL_MIN_S + 3_600, TTL_MAX_S]);
    let call = |id, ttl| Step::Call(Request::LeaseGrant(pb::LeaseGrantRequest { ttl, id }));
    match dice.below(20) {
        0 => vec![call(id, TTL_MAX_S + 1)],
        1 => vec![call(0, ttl), Step::RevokeDrawn],
        2 => vec![call(lease_of(dice, world), ttl)],
        _ => vec![call(id, ttl)],
    }
}

/// A lease that is granted with keys and then ends by itself. Its TTL is shorter than a lease may have, so that both
/// servers raise it (contract, section 1.3).
pub(super) fn expiry(dice: &mut Dice, world: &World) -> Vec<Step> {
    let id = world.head + 1_000_000;
    let ttl = dice.pick(&[1, 0, -5]);
    let mut steps = vec![Step::Call(Request::LeaseGrant(pb::LeaseGrantRequest { ttl, id }))];
    for _ in 0..dice.below(4) {
        let put = pb::PutRequest { key: key(dice), value: value(dice), lease: id, ..Default::default() };
        steps.push(Step::Call(Request::Put(put)));
    }
    let marker = Bytes::from_static(b"a/expires");
    let put = pb::PutRequest { key: marker, lease: id, ..Default::default() };
    steps.extend([Step::Call(Request::Put(put)), Step::AwaitExpiry { id }]);
    steps
}
