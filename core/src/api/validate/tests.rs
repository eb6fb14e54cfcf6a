//! Contract, sections 1.1 and 1.3.

use bytes::Bytes;

use super::*;

const LIMITS: Limits = Limits { txn_ops_max: 4, request_bytes_max: 100 };

fn check(request: Request) -> Result<(), Status> {
    validate(&request, &LIMITS)
}

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn range(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: bytes(key), ..pb::RangeRequest::default() }
}

fn put(key: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: bytes(key), ..pb::PutRequest::default() }
}

fn delete(key: &'static str, range_end: &'static str) -> pb::DeleteRangeRequest {
    pb::DeleteRangeRequest { key: bytes(key), range_end: bytes(range_end), prev_kv: false }
}

fn op(request: Op) -> pb::RequestOp {
    pb::RequestOp { request: Some(request) }
}

fn put_op(key: &'static str) -> pb::RequestOp {
    op(Op::RequestPut(put(key)))
}

fn delete_op(key: &'static str, range_end: &'static str) -> pb::RequestOp {
    op(Op::RequestDeleteRange(delete(key, range_end)))
}

fn nested(success: Vec<pb::RequestOp>, failure: Vec<pb::RequestOp>) -> pb::RequestOp {
    op(Op::RequestTxn(pb::TxnRequest { compare: vec![], success, failure }))
}

fn txn(success: Vec<pb::RequestOp>) -> Request {
    Request::Txn(pb::TxnRequest { success, ..pb::TxnRequest::default() })
}

#[test]
fn every_request_needs_its_key() {
    assert_eq!(check(Request::Range(range(""))), Err(Status::EmptyKey));
    assert_eq!(check(Request::Put(put(""))), Err(Status::EmptyKey));
    assert_eq!(check(Request::DeleteRange(delete("", "x"))), Err(Status::EmptyKey));
    let compare = vec![pb::Compare::default()];
    assert_eq!(check(Request::Txn(pb::TxnRequest { compare, ..Default::default() })), Err(Status::EmptyKey));
    for operation in [op(Op::RequestRange(range(""))), put_op(""), delete_op("", ""), nested(vec![put_op("")], vec![])]
    {
        assert_eq!(check(txn(vec![operation])), Err(Status::EmptyKey));
    }
}

#[test]
fn sort_options_must_exist() {
    for (sort_order, sort_target, expected) in
        [(2, 4, Ok(())), (3, 0, Err(Status::InvalidSortOption)), (0, 5, Err(Status::InvalidSortOption))]
    {
        assert_eq!(check(Request::Range(pb::RangeRequest { sort_order, sort_target, ..range("a") })), expected);
    }
}

#[test]
fn what_is_ignored_must_not_be_given() {
    let value = pb::PutRequest { ignore_value: true, value: bytes("v"), ..put("a") };
    assert_eq!(check(Request::Put(value)), Err(Status::ValueProvided));
    let lease = pb::PutRequest { ignore_lease: true, lease: 1, ..put("a") };
    assert_eq!(check(Request::Put(lease)), Err(Status::LeaseProvided));
    assert_eq!(check(Request::Put(pb::PutRequest { ignore_lease: true, ignore_value: true, ..put("a") })), Ok(()));
}

#[test]
fn a_txn_has_as_many_operations_as_allowed_with_nested_ones_getting_the_rest() {
    let puts = |names: &'static str| names.split_terminator(' ').map(put_op).collect::<Vec<_>>();
    assert_eq!(check(txn(puts("a b c d"))), Ok(()));
    assert_eq!(check(txn(puts("a b c d e"))), Err(Status::TooManyOps));
    let with_nested = |inner: &'static str| {
        let mut operations = puts("a");
        operations.push(nested(puts(inner), vec![]));
        check(txn(operations))
    };
    assert_eq!(with_nested("x y"), Ok(()));
    assert_eq!(with_nested("x y z"), Err(Status::TooManyOps));
    let compares = vec![pb::Compare { key: bytes("a"), ..Default::default() }; 5];
    let request = pb::TxnRequest { compare: compares, ..Default::default() };
    assert_eq!(check(Request::Txn(request)), Err(Status::TooManyOps));
    assert_eq!(check(txn(vec![pb::RequestOp { request: None }])), Err(Status::KeyNotFound));
}

#[test]
fn nesting_ends_before_the_log_could_no_longer_be_read() {
    use prost::Message;
    let limits = Limits { txn_ops_max: 1000, request_bytes_max: 1 << 20 };
    let deep = |depth: usize| {
        let mut operations = vec![put_op("a")];
        for _ in 1..depth {
            operations = vec![nested(operations, vec![])];
        }
        pb::TxnRequest { success: operations, ..Default::default() }
    };
    assert_eq!(validate(&Request::Txn(deep(TXN_DEPTH_MAX + 1)), &limits), Err(Status::TooManyOps));
    let deepest = deep(TXN_DEPTH_MAX);
    assert_eq!(validate(&Request::Txn(deepest.clone()), &limits), Ok(()));
    let proposal = Proposal { id: 1, drawn_lease: LeaseId(1), lease_ttl_min_s: 2 };
    let entry = propose(Request::Txn(deepest), proposal).unwrap();
    assert_eq!(pb::InternalRaftRequest::decode(entry.encode_to_vec().as_slice()), Ok(entry));
}

/// Zoo, row 27.
#[test]
fn no_key_is_written_twice_however_deep_and_open_the_ranges_are() {
    let twice = Err(Status::DuplicateKey);
    for (operations, expected) in [
        (vec![put_op("a"), put_op("a")], twice),
        (vec![put_op("a"), put_op("b")], Ok(())),
        (vec![put_op("b"), delete_op("a", "c")], twice),
        (vec![put_op("c"), delete_op("a", "c")], Ok(())),
        (vec![put_op("z"), delete_op("a", "\0")], twice),
        (vec![put_op("b"), delete_op("c", "a")], Ok(())),
        (vec![delete_op("a", "c"), delete_op("b", "d")], Ok(())),
        (vec![nested(vec![put_op("a")], vec![put_op("a")])], Ok(())),
        (vec![nested(vec![put_op("a")], vec![delete_op("a", "")])], Ok(())),
        (vec![nested(vec![], vec![put_op("a")]), put_op("a")], twice),
        (vec![nested(vec![put_op("a")], vec![]), nested(vec![], vec![put_op("a")])], twice),
        (vec![nested(vec![put_op("a")], vec![]), nested(vec![delete_op("a", "\0")], vec![])], twice),
        (vec![nested(vec![nested(vec![delete_op("\0", "\0")], vec![])], vec![]), put_op("a")], twice),
    ] {
        assert_eq!(check(txn(operations.clone())), expected, "{operations:?}");
    }
}

#[test]
fn leases_have_a_longest_ttl() {
    let grant = |ttl| Request::LeaseGrant(pb::LeaseGrantRequest { ttl, id: 0 });
    assert_eq!(check(grant(9_000_000_000)), Ok(()));
    assert_eq!(check(grant(9_000_000_001)), Err(Status::LeaseTtlTooLarge));
}

#[test]
fn a_long_proposal_is_refused() {
    assert_eq!(check_size(100, &LIMITS), Ok(()));
    assert_eq!(check_size(101, &LIMITS), Err(Status::RequestTooLarge));
}

/// What etcd 3.5 takes at its usual limit, at a member whose id makes its proposals' numbers as long as they get.
#[test]
fn the_longest_put_is_as_long_as_etcds() {
    let bytes = |value_bytes: usize, proposer: NodeId, id: u64| {
        let put = pb::PutRequest { key: "big".into(), value: vec![0; value_bytes].into(), ..Default::default() };
        let header = Some(pb::RequestHeader { id, ..Default::default() });
        let entry =
            pb::InternalRaftRequest { header, id: proposer.0, put: Some(put), ..pb::InternalRaftRequest::default() };
        etcd_bytes(prost::Message::encoded_len(&entry), proposer, id)
    };
    for (proposer, id) in [(NodeId(1), 1), (NodeId(u64::MAX), u64::MAX), (NodeId(1 << 40), 1 << 50)] {
        assert_eq!(bytes(1_572_837, proposer, id), 1_572_864);
        assert_eq!(bytes(1_572_838, proposer, id), 1_572_865);
    }
}

#[test]
fn only_ranges_make_a_txn_a_read_and_only_serializable_ones_make_it_serializable() {
    let request = |success| pb::TxnRequest { success, ..pb::TxnRequest::default() };
    let plain = op(Op::RequestRange(range("a")));
    let serializable = op(Op::RequestRange(pb::RangeRequest { serializable: true, ..range("a") }));
    let empty = request(vec![]);
    assert!(is_read_only(&empty) && is_serializable(&empty));
    let read = request(vec![serializable.clone()]);
    assert!(is_read_only(&read) && is_serializable(&read));
    let read = request(vec![serializable, plain.clone()]);
    assert!(is_read_only(&read) && !is_serializable(&read));
    assert!(!is_read_only(&request(vec![nested(vec![plain.clone()], vec![])])));
    assert!(!is_read_only(&pb::TxnRequest { failure: vec![put_op("a")], ..request(vec![plain]) }));
}

#[test]
fn a_grant_is_proposed_with_an_id_and_the_shortest_ttl() {
    let grant = |ttl, id| {
        let proposal = Proposal { id: 8, drawn_lease: LeaseId(55), lease_ttl_min_s: 2 };
        let entry = propose(Request::LeaseGrant(pb::LeaseGrantRequest { ttl, id }), proposal).unwrap();
        assert_eq!(entry.header.unwrap().id, 8);
        let grant = entry.lease_grant.unwrap();
        (grant.ttl, grant.id)
    };
    assert_eq!(grant(-1, 0), (2, 55));
    assert_eq!(grant(1, -7), (2, -7));
    assert_eq!(grant(60, 7), (60, 7));
}
