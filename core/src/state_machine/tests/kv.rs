//! Range, Put and DeleteRange: contract, section 1.1.

use super::*;
use crate::proto::etcdserverpb::range_request::{SortOrder, SortTarget};

fn three() -> Machine {
    let mut machine = Machine::new();
    machine.put("a", "3"); // 2
    machine.put("b", "2"); // 3
    machine.put("c", "1"); // 4
    machine.put("a", "4"); // 5
    machine
}

#[test]
fn the_empty_store_has_revision_one_and_the_first_write_makes_two() {
    let mut machine = Machine::new();
    assert_eq!(machine.machine.view().revision(), 1);
    assert_eq!(machine.put("a", "1"), 2);
}

#[test]
fn a_put_counts_versions_and_keeps_the_create_revision() {
    let mut machine = Machine::new();
    machine.put("a", "same");
    machine.put("b", "x");
    assert_eq!(machine.put("a", "same"), 4, "a put of the same value is a write");
    let kv = machine.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 4, 2));
}

#[test]
fn prev_kv_of_a_put_is_absent_when_the_key_is_new() {
    let mut machine = Machine::new();
    let request = pb::PutRequest { prev_kv: true, ..put("a", "1") };
    assert_eq!(machine.try_put(request.clone()).unwrap().prev_kv, None);
    assert_eq!(machine.try_put(request).unwrap().prev_kv.unwrap().mod_revision, 2);
    assert_eq!(machine.try_put(put("a", "2")).unwrap().prev_kv, None, "nobody asked");
}

#[test]
fn ignore_value_and_ignore_lease_keep_what_is_there_and_need_a_key() {
    let mut machine = Machine::new();
    machine.grant(9, 60).unwrap();
    let keep_value = pb::PutRequest { ignore_value: true, lease: 9, ..put("a", "") };
    let keep_lease = pb::PutRequest { ignore_lease: true, ..put("a", "2") };
    assert_eq!(machine.try_put(keep_value.clone()), Err(Status::KeyNotFound));
    assert_eq!(machine.try_put(keep_lease.clone()), Err(Status::KeyNotFound));
    assert_eq!(machine.machine.view().revision(), 1, "a refused put changes nothing");
    machine.put("a", "1");
    machine.try_put(keep_value).unwrap();
    let kv = machine.get("a").unwrap();
    assert_eq!((kv.value, kv.lease, kv.version), (bytes("1"), 9, 2));
    machine.try_put(keep_lease).unwrap();
    let kv = machine.get("a").unwrap();
    assert_eq!((kv.value, kv.lease, kv.version), (bytes("2"), 9, 3));
}

#[test]
fn a_put_on_an_unknown_lease_is_refused() {
    let mut machine = Machine::new();
    let request = pb::PutRequest { lease: 5, ..put("a", "1") };
    assert_eq!(machine.try_put(request), Err(Status::LeaseNotFound));
}

#[test]
fn delete_range_gives_the_previous_values_and_one_revision() {
    let mut machine = three();
    let response = machine.delete("a", "c");
    assert_eq!((response.deleted, revision(&response.header)), (2, 6));
    assert_eq!(keys(&response.prev_kvs), ["a", "b"]);
    assert_eq!(machine.events_since(6), ["6-a", "6-b"]);
    assert_eq!(machine.machine.view().revision(), 6);
}

#[test]
fn deleting_nothing_makes_no_revision() {
    let mut machine = three();
    for (key, end) in [("x", ""), ("b", "a"), ("x", "\0")] {
        let response = machine.delete(key, end);
        assert_eq!((response.deleted, revision(&response.header)), (0, 5), "{key:?} {end:?}");
    }
    assert_eq!(machine.put("d", ""), 6);
}

#[test]
fn a_key_created_anew_starts_at_version_one() {
    let mut machine = three();
    machine.delete("a", "");
    machine.put("a", "5");
    let kv = machine.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (7, 7, 1));
}

#[test]
fn a_past_revision_is_read_as_it_was() {
    let mut machine = three();
    machine.delete("b", "");
    let past = |revision| pb::RangeRequest { revision, ..everything() };
    let at = |machine: &Machine, revision| {
        let response = machine.range(past(revision)).unwrap();
        assert_eq!(super::revision(&response.header), 6, "the header has the current revision");
        assert_eq!(response.count, response.kvs.len() as i64);
        response
            .kvs
            .iter()
            .map(|kv| format!("{}{}", keys(std::slice::from_ref(kv))[0], kv.mod_revision))
            .collect::<Vec<_>>()
    };
    assert!(at(&machine, 1).is_empty());
    assert_eq!(at(&machine, 2), ["a2"]);
    assert_eq!(at(&machine, 4), ["a2", "b3", "c4"]);
    assert_eq!(at(&machine, 5), ["a5", "b3", "c4"]);
    assert_eq!(at(&machine, 6), ["a5", "c4"]);
    assert_eq!(at(&machine, 0), ["a5", "c4"]);
    assert_eq!(at(&machine, -3), ["a5", "c4"], "below zero is the latest, too");
    assert_eq!(machine.range(past(7)), Err(Status::FutureRevision));
}

#[test]
fn count_ignores_limit_and_filters_and_more_says_what_the_limit_cut() {
    let machine = three();
    let response = machine.range(pb::RangeRequest { limit: 2, ..everything() }).unwrap();
    assert_eq!((keys(&response.kvs), response.more, response.count), (vec!["a".into(), "b".into()], true, 3));
    let response = machine.range(pb::RangeRequest { limit: 3, ..everything() }).unwrap();
    assert_eq!((response.kvs.len(), response.more, response.count), (3, false, 3));
    let response = machine.range(pb::RangeRequest { min_mod_revision: 4, limit: 1, ..everything() }).unwrap();
    assert_eq!((keys(&response.kvs), response.more, response.count), (vec!["a".into()], true, 3));
    let response = machine.range(pb::RangeRequest { count_only: true, limit: 1, ..everything() }).unwrap();
    assert_eq!((response.kvs.len(), response.more, response.count), (0, false, 3));
}

#[test]
fn filters_are_inclusive_and_come_before_the_limit() {
    let machine = three();
    let filtered = |request| keys(&machine.range(request).unwrap().kvs);
    assert_eq!(filtered(pb::RangeRequest { min_mod_revision: 4, ..everything() }), ["a", "c"]);
    assert_eq!(filtered(pb::RangeRequest { max_mod_revision: 4, ..everything() }), ["b", "c"]);
    assert_eq!(filtered(pb::RangeRequest { min_create_revision: 3, ..everything() }), ["b", "c"]);
    assert_eq!(filtered(pb::RangeRequest { max_create_revision: 2, ..everything() }), ["a"]);
    assert_eq!(filtered(pb::RangeRequest { min_mod_revision: 4, limit: 2, ..everything() }), ["a", "c"]);
}

#[test]
fn keys_only_has_no_values_and_leases_only_when_values_decide_the_order() {
    let mut machine = Machine::new();
    machine.grant(9, 60).unwrap();
    machine.try_put(pb::PutRequest { lease: 9, ..put("a", "1") }).unwrap();
    let request = pb::RangeRequest { keys_only: true, ..everything() };
    let kv = machine.range(request.clone()).unwrap().kvs.remove(0);
    assert_eq!((kv.value.len(), kv.lease, kv.version), (0, 0, 1));
    let request = pb::RangeRequest { sort_target: SortTarget::Value.into(), ..request };
    let kv = machine.range(request).unwrap().kvs.remove(0);
    assert_eq!((kv.value.len(), kv.lease, kv.version), (0, 9, 1));
}

#[test]
fn every_target_sorts_both_ways() {
    let machine = three();
    let sorted = |target: SortTarget, order: SortOrder| {
        let request = pb::RangeRequest { sort_target: target.into(), sort_order: order.into(), ..everything() };
        keys(&machine.range(request).unwrap().kvs).concat()
    };
    assert_eq!(sorted(SortTarget::Key, SortOrder::Ascend), "abc");
    assert_eq!(sorted(SortTarget::Key, SortOrder::Descend), "cba");
    assert_eq!(sorted(SortTarget::Version, SortOrder::Descend).chars().next(), Some('a'));
    assert_eq!(sorted(SortTarget::Create, SortOrder::Descend), "cba");
    assert_eq!(sorted(SortTarget::Mod, SortOrder::Ascend), "bca");
    assert_eq!(sorted(SortTarget::Value, SortOrder::Ascend), "cba");
    assert_eq!(sorted(SortTarget::Value, SortOrder::None), "cba", "no order means ascending");
}

#[test]
fn without_an_order_the_limit_comes_before_the_sort() {
    let machine = three();
    let request = pb::RangeRequest { sort_target: SortTarget::Mod.into(), limit: 1, ..everything() };
    // The first two in key order are a (5) and b (3): etcd looks one further than the limit, then sorts.
    assert_eq!(keys(&machine.range(request.clone()).unwrap().kvs), ["b"]);
    let request = pb::RangeRequest { sort_order: SortOrder::Descend.into(), ..request };
    assert_eq!(keys(&machine.range(request).unwrap().kvs), ["a"]);
}

#[test]
fn a_view_stays_what_it_was() {
    let mut machine = three();
    let view = machine.machine.view();
    let digest = view.digest();
    machine.delete("\0", "\0");
    machine.compact(6).unwrap();
    machine.sweep();
    assert_eq!((view.revision(), view.compacted()), (5, 0));
    assert_eq!(view.get(&bytes("a")).unwrap().value, bytes("4"));
    assert_eq!(view.recompute_digest(), digest);
    assert_ne!(machine.machine.digest(), digest);
}

#[test]
fn a_record_does_not_keep_the_buffer_of_its_request_alive() {
    let mut machine = Machine::new();
    let buffer = Bytes::from(vec![b'x'; 1 << 20]);
    let request = pb::PutRequest { key: buffer.slice(0..4), value: buffer.slice(4..8), ..Default::default() };
    machine.try_put(request).unwrap();
    assert!(buffer.is_unique(), "nothing in the store shares it");
}
