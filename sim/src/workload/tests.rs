//! What the planned operations promise.

use std::collections::{BTreeMap, BTreeSet};

use detcd_core::api::validate::{Limits, validate};
use detcd_core::api::{Request, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::{ClusterId, NodeId};

use super::*;

fn workload(mix: Mix) -> Workload {
    let long_values_permille = 40;
    Workload {
        clients: 5,
        ops_per_second: 100,
        keys: 4,
        value_bytes: 20,
        long_values_permille,
        timeout_ns: MS,
        mix,
        nodes: 3,
        locks: Default::default(),
    }
}

fn ops(seed: u64) -> Vec<PlannedOp> {
    draw_ops(Weather::new(seed), &workload(Mix::default()), 0, 20_000 * MS)
}

#[test]
fn every_operation_has_its_own_number_client_and_time() {
    let ops = ops(1);
    let numbers: BTreeSet<u64> = ops.iter().map(|op| op.id).collect();
    assert_eq!(numbers.len(), ops.len());
    assert!(ops.len() >= 2_000);
    assert!(ops.is_sorted_by_key(|op| op.at));
    assert!(ops.iter().all(|op| op.client < 5 && op.at < 20_000 * MS));
}

#[test]
fn every_kind_of_the_mix_occurs_and_hardly_a_request_is_one_that_etcd_refuses_at_sight() {
    let limits = Limits::of(&NodeConfig::with_etcd_defaults(ClusterId(1), NodeId(1), Vec::new(), 0));
    let mut seen = Seen::of_revision(100);
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    let mut refused = 0;
    for op in ops(2) {
        let name = format!("{:?}", op.kind);
        let name = name.split(' ').next().unwrap_or_default().to_string();
        *kinds.entry(name).or_default() += 1;
        if !matches!(op.kind, OpKind::Watch { .. }) {
            let request = request(&op, &workload(Mix::default()), &mut seen);
            let verdict = validate(&request, &limits);
            let may_collide = matches!(op.kind, OpKind::MultiTxn | OpKind::NestedTxn);
            refused += u64::from(verdict.is_err());
            assert!(verdict.is_ok() || may_collide && verdict == Err(Status::DuplicateKey), "{request:?}");
        }
    }
    assert_eq!(kinds.len(), 21, "{kinds:?}");
    assert!(refused > 0, "now and then a transaction writes a key twice");
}

#[test]
fn a_kind_without_weight_never_occurs() {
    let mix = Mix { compact: 0, watch: 0, ..Mix::default() };
    let ops = draw_ops(Weather::new(3), &workload(mix), 0, 20_000 * MS);
    assert!(!ops.iter().any(|op| matches!(op.kind, OpKind::Compact | OpKind::Watch { .. })));
}

#[test]
fn no_two_writes_have_the_same_value() {
    let mut values = BTreeSet::new();
    let keeps = |put: &pb::PutRequest| put.ignore_value;
    for op in ops(4).iter().filter(|op| matches!(op.kind, OpKind::Put | OpKind::LeaseAttach { .. })) {
        let Request::Put(put) = request(op, &workload(Mix::default()), &mut Seen::default()) else { panic!("a put") };
        assert!(keeps(&put) || values.insert(put.value));
    }
}
