//! What is known hides nothing else.

use bytes::Bytes;

use super::*;

const OLD: Version = Version(3, 5, 1);
const NEW: Version = Version(3, 7, 1);

fn pair(key: &'static str, version: i64, lease: i64) -> KeyValue {
    KeyValue { key: Bytes::from_static(key.as_bytes()), version, lease, ..Default::default() }
}

fn found(kvs: Vec<KeyValue>, more: bool) -> Answer {
    let count = 7 + i64::try_from(kvs.len()).expect("few");
    Ok(Response::Range(pb::RangeResponse { kvs, more, count, ..Default::default() }))
}

fn refused(code: tonic::Code, text: &str) -> Answer {
    Err(Refusal { code, text: text.to_owned() })
}

/// Whether the answers are equal once what is known is taken out, and what that was.
fn settled(version: Version, request: &Request, mut etcd: Answer, mut detcd: Answer) -> (bool, Vec<Known>) {
    let counts = reconcile(version, request, &mut etcd, &mut detcd);
    (etcd == detcd, counts.into_keys().collect())
}

#[test]
fn versions_are_read_and_ordered() {
    assert_eq!("3.5.1".parse(), Ok(OLD));
    assert_eq!("3.7.0-rc.1".parse(), Ok(Version(3, 7, 0)));
    assert!("3.5".parse::<Version>().is_err());
    assert!(!refuses_negative_starts(Version(3, 5, 23)) && refuses_negative_starts(Version(3, 5, 24)));
    assert!(!refuses_negative_starts(Version(3, 6, 5)) && refuses_negative_starts(NEW));
    assert!(!refuses_negative_starts(Version(3, 4, 99)));
}

#[test]
fn only_keys_only_loses_leases_and_only_before_the_version_that_does_so_too() {
    let range = |keys_only| Request::Range(pb::RangeRequest { keys_only, ..Default::default() });
    let (with, without) = (found(vec![pair("a", 1, 7)], false), found(vec![pair("a", 1, 0)], false));
    let known = vec![Known::LeaseOfKeysOnly];
    assert_eq!(settled(OLD, &range(true), with.clone(), without.clone()), (true, known));
    assert_eq!(settled(OLD, &range(false), with.clone(), without.clone()), (false, vec![]));
    assert_eq!(settled(NEW, &range(true), with.clone(), without.clone()), (false, vec![]));
    assert_eq!(settled(NEW, &range(true), without, with), (false, vec![]));
}

#[test]
fn ties_come_in_any_order_and_nothing_else_does() {
    let range = |target: SortTarget| {
        Request::Range(pb::RangeRequest { sort_target: target as i32, sort_order: 2, ..Default::default() })
    };
    let by_version = range(SortTarget::Version);
    let one = found(vec![pair("a", 2, 0), pair("b", 1, 0), pair("c", 1, 0)], false);
    let other = found(vec![pair("a", 2, 0), pair("c", 1, 0), pair("b", 1, 0)], false);
    assert_eq!(settled(OLD, &by_version, one.clone(), other.clone()), (true, vec![Known::OrderOfTies]));
    assert_eq!(settled(OLD, &range(SortTarget::Key), one.clone(), other), (false, vec![]));
    let unsorted = found(vec![pair("b", 1, 0), pair("a", 2, 0), pair("c", 1, 0)], false);
    assert_eq!(settled(OLD, &by_version, one.clone(), unsorted), (false, vec![]));
    let changed = found(vec![pair("a", 2, 0), pair("c", 1, 9), pair("b", 1, 0)], false);
    assert!(!settled(OLD, &by_version, one, changed).0);
    // At the limit another member of the last tie may have been left out.
    let one = found(vec![pair("a", 2, 0), pair("b", 1, 0)], true);
    let other = found(vec![pair("a", 2, 0), pair("c", 1, 0)], true);
    assert_eq!(settled(OLD, &by_version, one.clone(), other), (true, vec![Known::OrderOfTies]));
    let other = found(vec![pair("x", 2, 0), pair("c", 1, 0)], true);
    assert!(!settled(OLD, &by_version, one, other).0);
}

#[test]
fn a_put_is_named_before_a_range_only_by_old_versions() {
    let txn = Request::Txn(pb::TxnRequest::default());
    let put = refused(tonic::Code::NotFound, "etcdserver: requested lease not found");
    let range = refused(tonic::Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision");
    assert_eq!(settled(OLD, &txn, put.clone(), range.clone()), (true, vec![Known::OrderOfChecks]));
    assert_eq!(settled(OLD, &txn, range.clone(), put.clone()), (false, vec![]));
    assert_eq!(settled(NEW, &txn, put.clone(), range.clone()), (false, vec![]));
    assert_eq!(settled(OLD, &Request::Put(pb::PutRequest::default()), put, range), (false, vec![]));
}

#[test]
fn a_second_more_or_less_is_known_and_an_unknown_lease_is_not() {
    let request = Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest::default());
    let left = |ttl| Ok(Response::LeaseTimeToLive(pb::LeaseTimeToLiveResponse { ttl, ..Default::default() }));
    assert_eq!(settled(OLD, &request, left(5), left(6)), (true, vec![Known::SecondBoundary]));
    assert_eq!(settled(OLD, &request, left(5), left(7)), (false, vec![]));
    assert_eq!(settled(OLD, &request, left(-1), left(0)), (false, vec![]));
}

#[test]
fn of_a_long_message_both_say_the_same_numbers() {
    let long = tonic::Code::ResourceExhausted;
    let etcd = refused(long, "grpc: received message larger than max (20 vs. 10)");
    let words = |found| format!("Error, decoded message length too large: found {found} bytes, the limit is: 10 bytes");
    let put = Request::Put(pb::PutRequest::default());
    assert_eq!(settled(OLD, &put, etcd.clone(), refused(long, &words(20))), (true, vec![Known::WordsOfGrpc]));
    assert_eq!(settled(OLD, &put, etcd.clone(), refused(long, &words(21))), (false, vec![]));
    assert_eq!(settled(OLD, &put, etcd, refused(tonic::Code::OutOfRange, &words(20))), (false, vec![]));
}

#[test]
fn a_hash_without_its_revision_is_known_and_another_hash_is_not() {
    let request = |revision| Request::HashKv(pb::HashKvRequest { revision });
    let hashed = |hash, hash_revision| {
        let header = Some(pb::ResponseHeader { revision: 9, ..Default::default() });
        Ok(Response::HashKv(pb::HashKvResponse { header, hash, compact_revision: 2, hash_revision }))
    };
    let known = vec![Known::NoHashRevision];
    assert_eq!(settled(OLD, &request(0), hashed(1, 0), hashed(1, 9)), (true, known.clone()));
    assert_eq!(settled(OLD, &request(5), hashed(1, 0), hashed(1, 5)), (true, known.clone()));
    assert_eq!(settled(OLD, &request(5), hashed(1, 0), hashed(2, 5)), (false, known));
    assert_eq!(settled(OLD, &request(5), hashed(1, 0), hashed(1, 9)), (false, vec![]));
    assert_eq!(settled(NEW, &request(5), hashed(1, 0), hashed(1, 5)), (false, vec![]));
}

#[test]
fn alarms_come_in_any_order_and_all_of_them_come() {
    let request = Request::Alarm(pb::AlarmRequest::default());
    let told = |members: &[u64]| {
        let alarms = members.iter().map(|member_id| pb::AlarmMember { member_id: *member_id, alarm: 1 }).collect();
        Ok(Response::Alarm(pb::AlarmResponse { header: None, alarms }))
    };
    assert_eq!(settled(NEW, &request, told(&[2, 1]), told(&[1, 2])), (true, vec![Known::OrderOfAlarms]));
    assert!(!settled(NEW, &request, told(&[2, 1]), told(&[1])).0);
    assert!(!settled(NEW, &request, told(&[2, 1]), told(&[1, 3])).0);
}

#[test]
fn hashes_of_odd_revisions_differ_only_as_they_are_known_to() {
    let request = |revision| Request::HashKv(pb::HashKvRequest { revision });
    let hashed = |hash, hash_revision| {
        let header = Some(pb::ResponseHeader { revision: 9, ..Default::default() });
        Ok(Response::HashKv(pb::HashKvResponse { header, hash, compact_revision: 2, hash_revision }))
    };
    let compacted = || refused(tonic::Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted");
    assert_eq!(settled(OLD, &request(2), compacted(), hashed(1, 2)), (true, vec![Known::HashOfCompacted]));
    assert_eq!(settled(OLD, &request(3), compacted(), hashed(1, 3)), (false, vec![]));
    assert_eq!(settled(NEW, &request(2), compacted(), hashed(1, 2)), (false, vec![]));
    let known = vec![Known::NoHashRevision];
    assert_eq!(settled(OLD, &request(-1), hashed(1, 0), hashed(1, -1)), (true, known.clone()));
    assert_eq!(settled(OLD, &request(0), hashed(1, 0), hashed(1, 9)), (true, known.clone()));
    assert_eq!(settled(OLD, &request(0), hashed(2, 0), hashed(1, 9)), (false, known));
    assert_eq!(settled(NEW, &request(-1), hashed(1, -1), hashed(1, 9)), (false, vec![]));
}

#[test]
fn only_a_refusal_of_nested_puts_for_space_is_a_gap() {
    let txn = |operations: Vec<Op>| {
        let success = operations.into_iter().map(|operation| pb::RequestOp { request: Some(operation) }).collect();
        pb::TxnRequest { success, ..Default::default() }
    };
    let put = || Op::RequestPut(pb::PutRequest { key: Bytes::from_static(b"a"), ..Default::default() });
    let nested = Request::Txn(txn(vec![Op::RequestTxn(txn(vec![Op::RequestTxn(txn(vec![put()]))]))]));
    let plain = Request::Txn(txn(vec![put(), Op::RequestTxn(txn(vec![]))]));
    let no_space = refused(tonic::Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    assert!(taken_by_etcd(&nested).is_some() && taken_by_etcd(&plain).is_none());
    assert_eq!(gap(&nested, &no_space), Some(Known::NestedPut));
    assert_eq!(gap(&plain, &no_space), None);
    assert_eq!(gap(&nested, &refused(tonic::Code::DataLoss, "etcdserver: corrupt cluster")), None);
}

#[test]
fn nothing_lives_where_all_is_deleted() {
    let event = |kind: EventType, key, mod_revision| {
        let pair = KeyValue { mod_revision, ..pair(key, 1, 0) };
        Event { r#type: kind as i32, kv: Some(pair), prev_kv: None }
    };
    let (put, delete) = (EventType::Put, EventType::Delete);
    let history = [event(put, "a", 2), event(put, "b", 3), event(delete, "a", 4), event(delete, "b", 4)];
    assert_eq!([1, 2, 3, 4, 5].map(|at| nothing_lives(&history, at)), [true, false, false, true, true]);
}

#[test]
fn only_a_ttl_that_is_too_long_is_refused_before_an_alarm() {
    let grant = Request::LeaseGrant(pb::LeaseGrantRequest::default());
    let alarm = refused(tonic::Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    let ttl = refused(tonic::Code::OutOfRange, "etcdserver: too large lease TTL");
    let exists = refused(tonic::Code::FailedPrecondition, "etcdserver: lease already exists");
    assert_eq!(settled(OLD, &grant, alarm.clone(), ttl.clone()), (true, vec![Known::AlarmBeforeTtl]));
    assert_eq!(settled(OLD, &grant, ttl.clone(), alarm.clone()), (false, vec![]));
    assert_eq!(settled(OLD, &grant, alarm, exists.clone()), (false, vec![]));
    assert_eq!(settled(OLD, &grant, exists, ttl), (false, vec![]));
}

#[test]
fn leases_come_in_any_order_of_several_members_only_and_all_of_them_come() {
    let request = Request::LeaseLeases(pb::LeaseLeasesRequest {});
    let told = |ids: &[i64]| -> Answer {
        let leases = ids.iter().map(|id| pb::LeaseStatus { id: *id }).collect();
        Ok(Response::LeaseLeases(pb::LeaseLeasesResponse { header: None, leases }))
    };
    let among_members = |mut etcd: Answer, mut detcd: Answer| {
        let counts = reconcile_members(&mut etcd, &mut detcd);
        (etcd == detcd, counts.into_keys().collect::<Vec<_>>())
    };
    assert_eq!(settled(NEW, &request, told(&[2, 1]), told(&[1, 2])), (false, vec![]));
    assert_eq!(among_members(told(&[2, 1]), told(&[1, 2])), (true, vec![Known::OrderOfLeases]));
    assert_eq!(among_members(told(&[1, 2]), told(&[1, 2])), (true, vec![]));
    assert!(!among_members(told(&[2, 1]), told(&[1])).0);
}
