//! Contract, section 1.2, and the rows of the bug zoo that are about watches.

use super::*;

#[test]
fn a_watcher_gets_the_events_of_its_key_from_now_on() {
    let mut bench = Bench::with_stream();
    bench.put("a", "1");
    bench.create(watch("a"));
    bench.put("b", "2");
    bench.put("a", "3");
    bench.delete("a");
    assert_eq!(bench.told(), ["0@2 created", "0@4 4:a=3", "0@5 5:-a"]);
}

#[test]
fn a_deletion_carries_key_and_revision_only() {
    let mut bench = Bench::with_stream();
    bench.put("a", "1");
    bench.create(watch("a"));
    bench.delete("a");
    let responses = bench.responses();
    let kv = KeyValue { key: bytes_of("a"), mod_revision: 3, ..Default::default() };
    assert_eq!(responses[1].events, [Event { r#type: EventType::Delete as i32, kv: Some(kv), prev_kv: None }]);
}

#[test]
fn a_past_start_is_replayed_and_includes_its_revision() {
    let mut bench = Bench::with_stream();
    for value in ["1", "2", "3"] {
        bench.put("a", value);
    }
    bench.create(watch_from("a", 3));
    bench.put("a", "4");
    assert_eq!(bench.told(), ["0@4 created", "0@4 3:a=2 4:a=3", "0@5 5:a=4"]);
}

#[test]
fn a_future_start_is_silent_until_it_is_reached() {
    let mut bench = Bench::with(WatchHub::new(1 << 20, Duration::from_secs(1)));
    bench.open(STREAM, PLENTY);
    bench.create(WatchCreateRequest { progress_notify: true, ..watch_from("a", 4) });
    bench.put("a", "1");
    bench.ask_for_progress();
    bench.pass(Duration::from_secs(3));
    bench.put("a", "2");
    assert_eq!(bench.told(), ["0@1 created"]);
    bench.put("a", "3");
    assert_eq!(bench.told(), ["0@4 4:a=3"]);
    bench.ask_for_progress();
    assert_eq!(bench.told(), ["-1@4"]);
}

#[test]
fn a_revision_is_never_split() {
    let mut bench = Bench::with(WatchHub::new(1, Duration::from_secs(600)));
    bench.put_together_silently(&["a", "b", "c"], "1");
    bench.put_together_silently(&["b", "d"], "2");
    bench.open(STREAM, PLENTY);
    bench.create(WatchCreateRequest { range_end: bytes_of("\0"), ..watch_from("", 1) });
    bench.settle();
    assert_eq!(bench.told(), ["0@3 created", "0@2 2:a=1 2:b=1 2:c=1", "0@3 3:b=2 3:d=2"]);
}

#[test]
fn ids_count_up_from_zero_and_skip_those_in_use() {
    let mut bench = Bench::with_stream();
    bench.create(WatchCreateRequest { watch_id: 1, ..watch("a") });
    for _ in 0..2 {
        bench.create(watch("a"));
    }
    bench.cancel(0);
    bench.create(watch("a"));
    assert_eq!(bench.told(), ["1@1 created", "0@1 created", "2@1 created", "0@1 canceled", "3@1 created"]);
}

#[test]
fn a_create_that_fails_says_why_and_leaves_the_stream_up() {
    let mut bench = Bench::with_stream();
    bench.create(WatchCreateRequest { watch_id: 5, ..watch("a") });
    bench.create(WatchCreateRequest { watch_id: 5, ..watch("b") });
    bench.create(watch_span("b", "a"));
    bench.create(watch_from("a", -1));
    bench.put("a", "1");
    assert_eq!(
        bench.told(),
        [
            "5@1 created",
            "-1@1 created canceled 'mvcc: duplicate watch ID provided on the WatchStream'",
            "-1@1 created canceled 'mvcc: watcher range is empty'",
            "-1@1 created canceled 'etcdserver: mvcc: required revision has been compacted'",
            "5@2 2:a=1",
        ]
    );
}

#[test]
fn a_compacted_start_is_created_and_then_canceled_with_the_compacted_revision() {
    let mut bench = Bench::with_stream();
    for value in ["1", "2", "3", "4"] {
        bench.put("a", value);
    }
    bench.compact(4);
    bench.create(watch_from("a", 3));
    bench.create(watch_from("a", 4));
    assert_eq!(
        bench.told(),
        ["0@5 created", "0@0 canceled compacted=4", "1@5 created", "1@5 4:a=3 5:a=4"],
        "the compacted revision itself can be watched"
    );
    bench.cancel(0);
    assert_eq!(bench.told(), [""; 0], "a watcher that is gone is unknown");
}

/// Zoo, row 21.
#[test]
fn a_deletion_at_the_compacted_revision_can_be_watched() {
    let mut bench = Bench::with_stream();
    bench.put("a", "1");
    bench.put("a", "2");
    bench.delete("a");
    bench.compact(4);
    for _ in 0..100 {
        bench.put("b", "");
    }
    bench.create(watch_from("a", 4));
    assert_eq!(bench.told(), ["0@104 created", "0@104 4:-a"]);
}

#[test]
fn canceling_is_confirmed_and_an_unknown_id_is_not_answered() {
    let mut bench = Bench::with_stream();
    bench.create(watch("a"));
    bench.cancel(9);
    bench.cancel(0);
    bench.cancel(0);
    bench.put("a", "1");
    assert_eq!(bench.told(), ["0@1 created", "0@1 canceled"]);
}

#[test]
fn previous_values_come_to_those_who_ask_and_only_where_there_is_one() {
    let mut bench = Bench::with_stream();
    bench.create(WatchCreateRequest { prev_kv: true, ..watch("a") });
    bench.put("a", "1");
    bench.put("a", "2");
    bench.delete("a");
    bench.put("a", "3");
    assert_eq!(bench.told(), ["0@1 created", "0@2 2:a=1", "0@3 3:a=2(was 1)", "0@4 4:-a(was 2)", "0@5 5:a=3"]);
    bench.compact(4);
    bench.create(WatchCreateRequest { prev_kv: true, ..watch_from("a", 4) });
    assert_eq!(bench.told(), ["1@5 created", "1@5 4:-a 5:a=3"], "what is compacted away is absent");
}

#[test]
fn filters_take_out_puts_or_deletions_and_what_is_left_empty_is_not_sent() {
    let mut bench = Bench::with_stream();
    bench.create(WatchCreateRequest { filters: vec![FilterType::Noput as i32], ..watch("a") });
    bench.create(WatchCreateRequest { filters: vec![FilterType::Nodelete as i32], ..watch("a") });
    bench.create(WatchCreateRequest {
        filters: vec![FilterType::Nodelete as i32, FilterType::Noput as i32],
        ..watch_from("a", 1)
    });
    bench.put("a", "1");
    bench.delete("a");
    let told = bench.told();
    assert_eq!(told[3..], ["1@2 2:a=1", "0@3 3:-a"]);
}

#[test]
fn ranges_mean_what_they_mean_elsewhere() {
    let mut bench = Bench::with_stream();
    bench.create(watch_span("b", "d"));
    bench.create(watch_span("c", "\0"));
    bench.create(watch_span("", "\0"));
    for key in ["a", "b", "c", "d"] {
        bench.put(key, "");
    }
    let told = bench.told();
    assert_eq!(
        told[3..],
        ["2@2 2:a=", "0@3 3:b=", "2@3 3:b=", "0@4 4:c=", "1@4 4:c=", "2@4 4:c=", "1@5 5:d=", "2@5 5:d="]
    );
}

#[test]
fn nothing_is_sent_without_credit_and_one_batch_may_overdraw() {
    let mut bench = Bench::new();
    bench.open(STREAM, 0);
    bench.create(watch("a"));
    bench.put("a", "1");
    assert_eq!(bench.told(), [""; 0]);
    bench.credit(STREAM, 1);
    assert_eq!(bench.told(), ["0@1 created"], "as of when it was asked for");
    bench.put("a", "2");
    bench.credit(STREAM, 1);
    assert_eq!(bench.told(), [""; 0], "the credit is still overdrawn");
    bench.credit(STREAM, 100);
    assert_eq!(bench.told(), ["0@3 2:a=1 3:a=2"]);
}

/// Zoo, row 30.
#[test]
fn a_slow_watcher_whose_position_is_compacted_is_canceled_and_not_moved_on() {
    let mut bench = Bench::new();
    bench.open(STREAM, 1);
    bench.create(watch("a"));
    assert_eq!(bench.told(), ["0@1 created"]);
    for value in ["1", "2", "3"] {
        bench.put("a", value);
    }
    bench.compact(3);
    bench.put("a", "4");
    assert_eq!(bench.told(), [""; 0]);
    bench.credit(STREAM, PLENTY);
    bench.put("a", "5");
    assert_eq!(bench.told(), ["0@0 canceled compacted=3"]);
}

#[test]
fn a_synced_watcher_is_not_hurt_by_a_compaction() {
    let mut bench = Bench::with_stream();
    bench.create(watch("a"));
    for value in ["1", "2", "3"] {
        bench.put("b", value);
    }
    bench.compact(4);
    bench.put("a", "1");
    assert_eq!(bench.told(), ["0@1 created", "0@5 5:a=1"]);
}

#[test]
fn a_slow_watcher_is_not_hurt_by_a_compaction_before_its_next_event() {
    let mut bench = Bench::new();
    bench.open(STREAM, 1);
    bench.create(watch("a"));
    bench.put("b", "1");
    bench.put("b", "2");
    bench.put("a", "3");
    bench.compact(4);
    bench.credit(STREAM, PLENTY);
    assert_eq!(bench.told(), ["0@1 created", "0@4 4:a=3"]);
}

/// Zoo, rows 29 and 33: the store of a snapshot is told like any other.
#[test]
fn after_a_snapshot_a_watcher_gets_what_it_contains_and_nothing_twice() {
    let mut bench = Bench::with_stream();
    bench.create(watch("a"));
    bench.put("a", "1");
    assert_eq!(bench.told(), ["0@1 created", "0@2 2:a=1"]);
    bench.put_silently("a", "2");
    bench.put_silently("b", "3");
    bench.put_silently("a", "4");
    bench.applied();
    assert_eq!(bench.told(), ["0@5 3:a=2 5:a=4"]);
    bench.put("a", "5");
    assert_eq!(bench.told(), ["0@6 6:a=5"]);
}

/// Zoo, rows 30 and 33.
#[test]
fn after_a_snapshot_that_compacted_what_was_not_seen_watchers_are_canceled() {
    let mut bench = Bench::with_stream();
    bench.create(watch("a"));
    bench.create(watch_from("a", 5));
    for value in ["1", "2", "3", "4"] {
        bench.put_silently("a", value);
    }
    bench.compact_silently(4);
    bench.applied();
    assert_eq!(bench.told(), ["0@1 created", "1@1 created", "0@0 canceled compacted=4", "1@5 5:a=4"]);
}

/// Zoo, row 32.
#[test]
fn a_watcher_created_between_apply_and_telling_misses_nothing() {
    let mut bench = Bench::with_stream();
    bench.put_silently("a", "1");
    bench.create(watch("a"));
    bench.put_silently("a", "2");
    bench.create(watch_from("a", 2));
    bench.applied();
    assert_eq!(bench.told(), ["0@2 created", "1@3 created", "0@3 3:a=2", "1@3 2:a=1 3:a=2"]);
}

#[test]
fn progress_of_the_stream_is_told_when_all_its_watchers_are_synced() {
    let mut bench = Bench::with_stream();
    bench.ask_for_progress();
    assert_eq!(bench.told(), [""; 0], "there is nobody to tell it about");
    bench.create(watch("a"));
    bench.create(watch("b"));
    bench.put("c", "");
    bench.ask_for_progress();
    assert_eq!(bench.told(), ["0@1 created", "1@1 created", "-1@2"]);
}

/// Zoo, row 28.
#[test]
fn progress_does_not_overtake_events() {
    let mut bench = Bench::new();
    bench.open(STREAM, 1);
    bench.create(watch("a"));
    bench.put("a", "1");
    for _ in 0..3 {
        bench.ask_for_progress();
    }
    bench.put("a", "2");
    assert_eq!(bench.told(), ["0@1 created"]);
    bench.credit(STREAM, PLENTY);
    assert_eq!(bench.told(), ["0@3 2:a=1 3:a=2", "-1@3"]);
}

#[test]
fn a_watcher_that_asked_for_it_is_told_progress_when_it_had_no_events() {
    let interval = Duration::from_secs(10);
    let mut bench = Bench::with(WatchHub::new(1 << 20, interval));
    bench.open(STREAM, PLENTY);
    bench.create(WatchCreateRequest { progress_notify: true, ..watch("a") });
    bench.create(watch("a"));
    assert_eq!(bench.told(), ["0@1 created", "1@1 created"]);
    let first = bench.hub.next_wakeup().expect("a tick is planned");
    assert!(first >= bench.now + interval && first <= bench.now + interval + interval / 10);
    bench.put("b", "");
    bench.pass(interval * 11 / 10);
    assert_eq!(bench.told(), ["0@2"]);
    bench.put("a", "");
    bench.pass(interval * 11 / 10);
    assert_eq!(bench.told(), ["0@3 3:a=", "1@3 3:a="], "events were just sent");
    bench.pass(interval * 11 / 10);
    assert_eq!(bench.told(), ["0@3"]);
    bench.cancel(0);
    assert_eq!(bench.hub.next_wakeup(), None);
}

#[test]
fn progress_is_owed_once_however_long_the_client_does_not_read() {
    let mut bench = Bench::with(WatchHub::new(1 << 20, Duration::from_secs(1)));
    bench.open(STREAM, 1);
    bench.create(WatchCreateRequest { progress_notify: true, ..watch("a") });
    for _ in 0..10 {
        bench.put("b", "");
        bench.pass(Duration::from_secs(2));
    }
    assert_eq!(bench.told(), ["0@1 created"]);
    bench.credit(STREAM, PLENTY);
    assert_eq!(bench.told(), ["0@11"]);
}

#[test]
fn a_long_message_is_cut_in_pieces_for_those_who_allow_it() {
    let mut bench = Bench::with(WatchHub::new(1 << 20, Duration::from_secs(600)).with_fragment_bytes(120));
    bench.open(STREAM, PLENTY);
    bench.create(WatchCreateRequest { fragment: true, ..watch_span("", "\0") });
    bench.create(watch_span("", "\0"));
    let long = "x".repeat(40);
    bench.put_together_silently(&["a", "b", "c"], &long);
    bench.put_silently("d", "");
    bench.applied();
    let expected = [
        "0@1 created".to_owned(),
        "1@1 created".to_owned(),
        format!("0@3 fragment 2:a={long}"),
        format!("0@3 fragment 2:b={long}"),
        format!("0@3 2:c={long} 3:d="),
        format!("1@3 2:a={long} 2:b={long} 2:c={long} 3:d="),
    ];
    assert_eq!(bench.told(), expected);
}

#[test]
fn a_client_that_asks_without_reading_is_refused_in_the_end() {
    let mut bench = Bench::new();
    bench.open(STREAM, 0);
    for _ in 0..CONTROL_REPLIES_MAX {
        bench.create(watch("a"));
    }
    assert!(bench.out.effects.is_empty());
    bench.create(watch("a"));
    let [Effect::EndStream { stream: STREAM, status: Status::TooManyRequests }] = bench.out.effects[..] else {
        panic!("the stream goes on: {:?}", bench.out.effects);
    };
    bench.out.clear();
    assert_eq!(bench.hub.watchers(), (0, 0));
    bench.credit(STREAM, PLENTY);
    bench.create(watch("a"));
    bench.put("a", "");
    bench.hub.close(STREAM);
    assert!(bench.out.effects.is_empty());
}

#[test]
fn a_stopping_node_ends_every_stream() {
    let mut bench = Bench::with_stream();
    bench.open(StreamId(8), 0);
    bench.create(WatchCreateRequest { progress_notify: true, ..watch("a") });
    bench.out.clear();
    bench.hub.stop(&mut bench.out);
    let ended: Vec<_> = bench.out.effects.iter().map(|effect| format!("{effect:?}")).collect();
    assert_eq!(
        ended,
        ["EndStream { stream: StreamId(7), status: Stopped }", "EndStream { stream: StreamId(8), status: Stopped }"]
    );
    assert_eq!(bench.hub.next_wakeup(), None);
}

#[test]
fn a_closed_stream_leaves_nothing_behind() {
    let mut bench = Bench::with_stream();
    bench.create(WatchCreateRequest { progress_notify: true, ..watch("a") });
    bench.create(watch_span("a", "z"));
    bench.hub.close(STREAM);
    bench.out.clear();
    bench.put("a", "1");
    assert!(bench.out.effects.is_empty());
    assert_eq!(bench.hub.watchers(), (0, 0));
    assert_eq!(bench.hub.next_wakeup(), None);
    assert!(!bench.hub.has_work());
}
