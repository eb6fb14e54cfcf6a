//! Transactions: contract, section 1.1.

use super::*;
use crate::proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::proto::etcdserverpb::response_op::Response as OpResponse;

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn put_op(key: &str, value: &str) -> pb::RequestOp {
    op(Op::RequestPut(put(key, value)))
}

fn compare(key: &str, end: &str, target: TargetUnion, result: CompareResult) -> pb::Compare {
    let kind = match target {
        TargetUnion::Version(_) => CompareTarget::Version,
        TargetUnion::CreateRevision(_) => CompareTarget::Create,
        TargetUnion::ModRevision(_) => CompareTarget::Mod,
        TargetUnion::Value(_) => CompareTarget::Value,
        TargetUnion::Lease(_) => CompareTarget::Lease,
    };
    pb::Compare {
        result: result.into(),
        target: kind.into(),
        key: bytes(key),
        range_end: bytes(end),
        target_union: Some(target),
    }
}

fn guarded(compares: Vec<pb::Compare>) -> pb::TxnRequest {
    pb::TxnRequest { compare: compares, ..pb::TxnRequest::default() }
}

fn holds(machine: &mut Machine, compare: pb::Compare) -> bool {
    machine.txn(guarded(vec![compare])).unwrap().succeeded
}

use CompareResult::{Equal, Greater, Less, NotEqual};
use TargetUnion::{CreateRevision, Lease, ModRevision, Value, Version};

#[test]
fn every_target_compares_in_every_way() {
    let mut machine = Machine::new();
    machine.grant(9, 60).unwrap();
    machine.put("b", "m"); // 2
    machine.try_put(pb::PutRequest { lease: 9, ..put("b", "m") }).unwrap(); // 3
    for (low, same, high) in [
        (Version(1), Version(2), Version(3)),
        (CreateRevision(1), CreateRevision(2), CreateRevision(3)),
        (ModRevision(2), ModRevision(3), ModRevision(4)),
        (Lease(8), Lease(9), Lease(10)),
        (Value(bytes("l")), Value(bytes("m")), Value(bytes("n"))),
    ] {
        for (operand, equal, greater, less) in
            [(low, false, true, false), (same, true, false, false), (high, false, false, true)]
        {
            let mut check = |result| holds(&mut machine, compare("b", "", operand.clone(), result));
            assert_eq!(
                (check(Equal), check(NotEqual), check(Greater), check(Less)),
                (equal, !equal, greater, less),
                "{operand:?}"
            );
        }
    }
}

#[test]
fn an_absent_key_compares_as_zeros_but_its_value_never_holds() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    for (key, end) in [("x", ""), ("x", "z"), ("z", "x")] {
        assert!(holds(&mut machine, compare(key, end, Version(0), Equal)));
        assert!(holds(&mut machine, compare(key, end, ModRevision(1), Less)));
        assert!(!holds(&mut machine, compare(key, end, CreateRevision(0), Greater)));
        for result in [Equal, NotEqual, Greater, Less] {
            assert!(!holds(&mut machine, compare(key, end, Value(bytes("")), result)));
        }
    }
}

#[test]
fn a_compare_over_a_range_holds_for_every_key_or_not_at_all() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    machine.put("b", "1");
    machine.put("c", "2");
    assert!(holds(&mut machine, compare("a", "c", Value(bytes("1")), Equal)));
    assert!(!holds(&mut machine, compare("a", "d", Value(bytes("1")), Equal)));
    assert!(holds(&mut machine, compare("a", "\0", Version(1), Equal)));
    let both = guarded(vec![compare("a", "", Version(1), Equal), compare("b", "", Version(2), Equal)]);
    assert!(!machine.txn(both).unwrap().succeeded, "compares are ANDed");
}

#[test]
fn all_writes_share_one_revision_in_the_order_of_operations_and_reads_see_them() {
    let mut machine = Machine::new();
    machine.put("b", "old");
    let nested = pb::TxnRequest {
        // Compares of nested transactions, too, see the state before the whole.
        compare: vec![compare("z", "", Version(0), Equal)],
        success: vec![put_op("n", "1")],
        failure: vec![put_op("wrong", "1")],
    };
    let response = machine
        .txn(pb::TxnRequest {
            success: vec![
                op(Op::RequestRange(everything())),
                put_op("z", "1"),
                op(Op::RequestDeleteRange(delete("b", "c"))),
                op(Op::RequestTxn(nested)),
                op(Op::RequestRange(everything())),
                op(Op::RequestRange(pb::RangeRequest { revision: 2, ..everything() })),
            ],
            ..Default::default()
        })
        .unwrap();
    assert_eq!(revision(&response.header), 3);
    assert_eq!(machine.events_since(3), ["3+z", "3-b", "3+n"]);
    let ranges: Vec<_> = response
        .responses
        .iter()
        .filter_map(|response| match &response.response {
            Some(OpResponse::ResponseRange(range)) => Some((keys(&range.kvs), revision(&range.header))),
            _ => None,
        })
        .collect();
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    assert_eq!(ranges, [(names(&["b"]), 2), (names(&["n", "z"]), 3), (names(&["b"]), 3)]);
}

#[test]
fn a_txn_that_writes_nothing_makes_no_revision() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    let nothing = pb::TxnRequest {
        success: vec![op(Op::RequestDeleteRange(delete("x", ""))), op(Op::RequestRange(everything()))],
        ..Default::default()
    };
    assert_eq!(revision(&machine.txn(nothing).unwrap().header), 2);
    assert_eq!(machine.put("b", ""), 3);
}

/// Zoo, row 26.
#[test]
fn a_txn_that_cannot_run_to_its_end_changes_nothing() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    machine.put("a", "2");
    machine.compact(3).unwrap();
    let mut past = |revision, expected| {
        let read = op(Op::RequestRange(pb::RangeRequest { revision, ..everything() }));
        let txn = pb::TxnRequest { success: vec![put_op("b", "1"), read], ..Default::default() };
        assert_eq!(machine.txn(txn).map(|_| ()), expected, "{revision}");
    };
    past(4, Err(Status::FutureRevision));
    past(2, Err(Status::Compacted));
    past(-1, Err(Status::Compacted));
    let lease = op(Op::RequestPut(pb::PutRequest { lease: 77, ..put("c", "1") }));
    let nested = op(Op::RequestTxn(pb::TxnRequest { success: vec![lease], ..Default::default() }));
    let txn = pb::TxnRequest { success: vec![put_op("b", "1"), nested], ..Default::default() };
    assert_eq!(machine.txn(txn), Err(Status::LeaseNotFound));
    // What the same transaction would create does not count: the state before it does.
    let keep = op(Op::RequestPut(pb::PutRequest { ignore_value: true, ..put("b", "") }));
    let nested = op(Op::RequestTxn(pb::TxnRequest { success: vec![keep], ..Default::default() }));
    let txn = pb::TxnRequest { success: vec![put_op("b", "1"), nested], ..Default::default() };
    assert_eq!(machine.txn(txn), Err(Status::KeyNotFound));
    assert_eq!(machine.machine.view().revision(), 3);
    assert_eq!(machine.get("b"), None);
    // The branch that does not run is not asked.
    let bad = op(Op::RequestRange(pb::RangeRequest { revision: 99, ..everything() }));
    let txn = pb::TxnRequest { failure: vec![bad], success: vec![put_op("b", "1")], ..Default::default() };
    assert!(machine.txn(txn).is_ok());
}

/// etcd (checkPut in server/etcdserver/txn, and Put there) asks the other way round inside of a transaction.
#[test]
fn a_put_without_its_key_and_its_lease_names_the_key_in_a_txn_and_the_lease_elsewhere() {
    let mut machine = Machine::new();
    let neither = pb::PutRequest { lease: 77, ignore_value: true, ..put("a", "") };
    assert_eq!(machine.try_put(neither.clone()), Err(Status::LeaseNotFound));
    let success = vec![op(Op::RequestPut(neither))];
    assert_eq!(machine.txn(pb::TxnRequest { success, ..Default::default() }), Err(Status::KeyNotFound));
}

#[test]
fn before_any_compaction_a_txn_may_read_at_minus_one_and_no_lower() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    let mut read = |revision| {
        let read = op(Op::RequestRange(pb::RangeRequest { revision, ..everything() }));
        machine.txn(pb::TxnRequest { success: vec![read], ..Default::default() }).map(|_| ())
    };
    assert_eq!(read(-1), Ok(()));
    assert_eq!(read(-2), Err(Status::Compacted));
    assert_eq!(read(0), Ok(()));
}

#[test]
fn a_read_only_txn_reads_a_view() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    let txn = pb::TxnRequest {
        compare: vec![compare("a", "", Version(1), Equal)],
        success: vec![op(Op::RequestRange(everything()))],
        failure: vec![],
    };
    let Ok(Response::Txn(response)) = machine.read(&ReadRequest::Txn(txn)) else { panic!() };
    assert!(response.succeeded);
    let header = response.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id, header.revision, header.raft_term), (7, 1, 2, 3));
    let bad = op(Op::RequestRange(pb::RangeRequest { revision: 3, ..everything() }));
    let txn = pb::TxnRequest { success: vec![bad], ..Default::default() };
    assert_eq!(machine.read(&ReadRequest::Txn(txn)), Err(Status::FutureRevision));
}

/// The proposer refuses such a transaction; should one be in a log nevertheless, all members do the same with it.
#[test]
fn a_key_written_twice_in_one_txn_keeps_both_records_apart() {
    let mut machine = Machine::new();
    let txn = pb::TxnRequest {
        success: vec![
            put_op("a", "1"),
            put_op("a", "2"),
            op(Op::RequestDeleteRange(delete("a", ""))),
            put_op("a", "3"),
        ],
        ..Default::default()
    };
    machine.txn(txn).unwrap();
    assert_eq!(machine.events_since(2), ["2+a", "2+a", "2-a", "2+a"]);
    machine.compact(2).unwrap();
    machine.sweep();
    assert_eq!(machine.events_since(2), ["2+a", "2+a", "2-a", "2+a"]);
    machine.put("b", "1");
    machine.compact(3).unwrap();
    machine.sweep();
    assert_eq!(machine.events_since(3), ["3+b"]);
    assert_eq!(machine.machine.view.store.mvcc.len(), 2);
}

/// As above: nobody proposes this, and if it were in a log, nobody may stumble over it.
#[test]
fn a_put_that_keeps_the_value_of_a_key_deleted_before_it_gets_an_empty_one() {
    let mut machine = Machine::new();
    machine.put("a", "1");
    let keep = op(Op::RequestPut(pb::PutRequest { ignore_value: true, ignore_lease: true, ..put("a", "") }));
    let txn = pb::TxnRequest { success: vec![op(Op::RequestDeleteRange(delete("a", ""))), keep], ..Default::default() };
    machine.txn(txn).unwrap();
    let kv = machine.get("a").unwrap();
    assert_eq!((kv.value.len(), kv.lease, kv.version), (0, 0, 1));
}

/// As above. Later versions reach back over several records at once, and must not pass over the newer of the two.
#[test]
fn of_a_key_written_twice_in_one_revision_the_later_value_is_read_back() {
    for before in 0..20 {
        for after in 1..20 {
            let mut machine = Machine::new();
            for _ in 0..before {
                machine.put("a", "before");
            }
            let txn = pb::TxnRequest { success: vec![put_op("a", "1"), put_op("a", "2")], ..Default::default() };
            let revision = revision(&machine.txn(txn).unwrap().header);
            for _ in 0..after {
                machine.put("a", "after");
            }
            let then = machine.range(pb::RangeRequest { revision, ..range("a", "") }).unwrap();
            assert_eq!(then.kvs[0].value, bytes("2"), "{before} before, {after} after");
        }
    }
}
