//! Just at the limits: where one more or one less makes another answer.

use prost::Message;

use super::*;

/// A snapshot whose compaction stands just where the cursor goes on skips nothing.
#[test]
fn a_compaction_up_to_the_next_revision_takes_nothing_from_anybody() {
    let mut bench = Bench::with_stream();
    bench.create(watch("a"));
    bench.put_silently("a", "1");
    bench.put_silently("a", "2");
    bench.compact_silently(2);
    bench.applied();
    assert_eq!(bench.told(), ["0@1 created", "0@3 2:a=1 3:a=2"]);
}

#[test]
fn who_waits_for_the_compacted_revision_itself_gets_it_after_a_snapshot() {
    let mut bench = Bench::with_stream();
    bench.create(watch_from("a", 4));
    for value in ["1", "2", "3", "4"] {
        bench.put_silently("a", value);
    }
    bench.compact_silently(4);
    bench.applied();
    assert_eq!(bench.told(), ["0@1 created", "0@5 4:a=3 5:a=4"]);
}

/// Contract, section 1.2: progress is told to those who had no events.
#[test]
fn events_make_the_progress_that_is_owed_superfluous() {
    let mut bench = Bench::with(WatchHub::new(1 << 20, Duration::from_secs(1)));
    bench.open(STREAM, 1);
    bench.create(WatchCreateRequest { progress_notify: true, ..watch("a") });
    bench.pass(Duration::from_secs(2));
    bench.put("a", "");
    assert_eq!(bench.told(), ["0@1 created"]);
    bench.credit(STREAM, PLENTY);
    assert_eq!(bench.told(), ["0@2 2:a="]);
}

/// Nobody proposes this, and if it were in a log, the value of the former life would not be the previous one.
#[test]
fn a_key_created_anew_in_the_revision_of_its_deletion_has_no_previous_value() {
    let mut bench = Bench::with_stream();
    bench.put("a", "1");
    bench.create(WatchCreateRequest { prev_kv: true, ..watch("a") });
    let delete = pb::DeleteRangeRequest { key: bytes_of("a"), ..Default::default() };
    let put = pb::PutRequest { key: bytes_of("a"), value: bytes_of("2"), ..Default::default() };
    let both = [pb::request_op::Request::RequestDeleteRange(delete), pb::request_op::Request::RequestPut(put)];
    let success = both.map(|request| pb::RequestOp { request: Some(request) }).to_vec();
    let txn = pb::TxnRequest { success, ..Default::default() };
    bench.apply(pb::InternalRaftRequest { txn: Some(txn), ..Default::default() });
    bench.applied();
    assert_eq!(bench.told(), ["0@2 created", "0@3 3:-a(was 1) 3:a=2"]);
}

/// What a watcher that allows pieces is sent of three events in one revision.
fn pieces(fragment_bytes: usize) -> Vec<WatchResponse> {
    let hub = WatchHub::new(1 << 20, Duration::from_secs(600)).with_fragment_bytes(fragment_bytes);
    let mut bench = Bench::with(hub);
    bench.open(STREAM, PLENTY);
    bench.create(WatchCreateRequest { fragment: true, ..watch_span("", "\0") });
    bench.responses();
    bench.put_together_silently(&["a", "b", "c"], "some value");
    bench.applied();
    bench.responses()
}

/// As etcd: a response is whole if it is shorter than the limit, and so is each piece (contract, section 1.2).
#[test]
fn a_piece_is_shorter_than_the_limit() {
    let whole = pieces(usize::MAX);
    let [all] = &whole[..] else { panic!("not whole: {whole:?}") };
    let events = |fragment_bytes| pieces(fragment_bytes).iter().map(|piece| piece.events.len()).collect::<Vec<_>>();
    assert_eq!(events(all.encoded_len() + 1), [3]);
    assert_eq!(events(all.encoded_len()), [2, 1]);
    let two = WatchResponse { events: all.events[..2].to_vec(), fragment: true, ..all.clone() };
    assert_eq!(events(two.encoded_len() + 1), [2, 1]);
    assert_eq!(events(two.encoded_len()), [1, 1, 1]);
}
