//! Many watchers, long histories: work comes in bounded slices and everybody gets a share.

use super::*;

/// What one slice may push, with some room for the last response.
const SLICE_BYTES_MAX: usize = 300 << 10;

fn pushed_bytes(pushes: &[(StreamId, Vec<WatchResponse>)]) -> usize {
    use prost::Message;
    pushes.iter().flat_map(|(_, batch)| batch).map(Message::encoded_len).sum()
}

#[test]
fn a_slice_of_work_is_bounded_and_the_next_one_goes_on() {
    let mut bench = Bench::with(WatchHub::new(64 << 10, Duration::from_secs(600)));
    let value = "v".repeat(4 << 10);
    for _ in 0..1000 {
        bench.put_silently("a", &value);
    }
    bench.open(STREAM, PLENTY);
    bench.create(watch_from("a", 2));
    let mut slices = 0;
    let mut events = 0;
    loop {
        let pushes = bench.pushes();
        assert!(pushed_bytes(&pushes) < SLICE_BYTES_MAX, "{} bytes in one slice", pushed_bytes(&pushes));
        events += pushes.iter().flat_map(|(_, batch)| batch).map(|response| response.events.len()).sum::<usize>();
        if !bench.hub.has_work() {
            break;
        }
        slices += 1;
        bench.hub.pump(&bench.machine.view(), &Bench::header(), bench.now, &mut bench.out);
    }
    assert_eq!(events, 1000);
    assert!(slices >= 10, "4 MB in {slices} slices");
}

#[test]
fn a_stream_far_behind_does_not_keep_the_others_waiting() {
    let mut bench = Bench::with(WatchHub::new(16 << 10, Duration::from_secs(600)));
    let value = "v".repeat(4 << 10);
    for _ in 0..1000 {
        bench.put_silently("a", &value);
    }
    for stream in 1..=20 {
        bench.open(StreamId(stream), PLENTY);
        let request = RequestUnion::CreateRequest(watch_from("a", 2));
        bench.request(StreamId(stream), request);
    }
    bench.out.clear();
    bench.open(StreamId(100), PLENTY);
    bench.request(StreamId(100), RequestUnion::CreateRequest(watch("b")));
    bench.put_silently("b", "");
    let mut slices = 0;
    while !bench.pushes().iter().any(|(stream, batch)| *stream == StreamId(100) && !batch[batch.len() - 1].created) {
        bench.applied();
        slices += 1;
        assert!(slices < 10, "the live watcher starves");
    }
    let mut turns = BTreeMap::new();
    for (stream, _) in (0..40).flat_map(|_| {
        bench.hub.pump(&bench.machine.view(), &Bench::header(), bench.now, &mut bench.out);
        bench.pushes()
    }) {
        *turns.entry(stream).or_insert(0) += 1;
    }
    let (least, most) = (turns.values().min().unwrap(), turns.values().max().unwrap());
    assert!(turns.len() == 20 && most - least <= 1, "unequal shares: {turns:?}");
}

#[test]
fn ten_thousand_watchers_of_their_own_keys_cost_only_those_whose_keys_change() {
    let mut bench = Bench::with_stream();
    for number in 0..10_000 {
        bench.create(watch(&format!("key-{number:05}")));
    }
    for _ in 0..1_000 {
        bench.create(watch_span("x", "y"));
    }
    bench.out.clear();
    bench.put("key-04711", "1");
    assert_eq!(bench.told(), ["4711@2 2:key-04711=1"]);
    for round in 0..2_000 {
        bench.put(&format!("key-{:05}", round * 3), "2");
        let [response] = &bench.responses()[..] else { panic!("one watcher has one event") };
        assert_eq!(response.watch_id, round * 3);
    }
}

#[test]
fn ten_thousand_watchers_of_one_span_all_get_every_event() {
    let mut bench = Bench::new();
    for stream in 0..100 {
        bench.open(StreamId(stream), PLENTY);
        for _ in 0..100 {
            bench.request(StreamId(stream), RequestUnion::CreateRequest(watch_span("a", "b")));
        }
    }
    bench.out.clear();
    for round in 1..=10 {
        bench.put("a", "v");
        bench.settle();
        let responses = bench.responses();
        assert_eq!(responses.len(), 10_000);
        assert!(responses.iter().all(|response| window::revision_of(&response.events[0]) == 1 + round));
    }
}

/// Ten thousand watchers of one key on one stream, and one put of which none knows yet but those of the first slice.
fn with_a_put_half_announced() -> Bench {
    let mut bench = Bench::with_stream();
    for _ in 0..10_000 {
        bench.create(watch("a"));
    }
    bench.settle();
    bench.out.clear();
    bench.put("a", "1");
    let (_, lagging) = bench.hub.watchers();
    let told = bench.responses().len();
    assert!(told > 0 && told + lagging <= 5_000, "more than a slice: {told} are told, {lagging} will be");
    assert!(bench.hub.has_work());
    bench
}

#[test]
fn an_event_of_ten_thousand_watchers_is_announced_in_slices() {
    let mut bench = with_a_put_half_announced();
    bench.ask_for_progress();
    let mut rest: Vec<_> = bench.told();
    bench.settle();
    rest.extend(bench.told());
    assert_eq!(rest.pop(), Some("-1@2".to_owned()), "progress is told behind all events");
    assert!(rest.iter().all(|line| line.ends_with("@2 2:a=1")), "{rest:?}");
    let ids: std::collections::BTreeSet<_> = rest.iter().collect();
    assert_eq!(ids.len(), rest.len(), "nobody is told twice");
    assert!(ids.contains(&"9999@2 2:a=1".to_owned()));
}

/// Of a revision with many events the watchers of one are listed at a time, and each of them once.
#[test]
fn a_revision_of_many_events_is_announced_event_by_event() {
    let mut bench = Bench::with_stream();
    for _ in 0..1_000 {
        bench.create(watch_span("a", "b"));
    }
    bench.settle();
    bench.out.clear();
    let keys: Vec<String> = (0..1_000).map(|number| format!("a{number:04}")).collect();
    bench.put_together_silently(&keys.iter().map(String::as_str).collect::<Vec<_>>(), "v");
    let mut told = Vec::new();
    loop {
        let goes_on = bench.hub.pump(&bench.machine.view(), &Bench::header(), bench.now, &mut bench.out);
        assert!(bench.hub.announced.len() <= 1_000, "{} are listed", bench.hub.announced.len());
        told.extend(bench.responses());
        if !goes_on {
            break;
        }
    }
    assert_eq!(told.len(), 1_000);
    assert!(told.iter().all(|response| response.events.len() == 1_000), "a revision is not split");
}

#[test]
fn who_leaves_or_comes_while_an_event_is_announced_is_not_told() {
    let mut bench = with_a_put_half_announced();
    bench.cancel(9_999);
    bench.create(WatchCreateRequest { watch_id: 9_999, ..watch("a") });
    bench.cancel(9_998);
    bench.create(WatchCreateRequest { watch_id: 9_998, ..watch_from("a", 2) });
    bench.settle();
    let told = bench.told();
    let of = |id: &str| told.iter().filter(|line| line.starts_with(id)).map(String::as_str).collect::<Vec<_>>();
    assert_eq!(of("9999@"), ["9999@2 canceled", "9999@2 created"]);
    assert_eq!(of("9998@"), ["9998@2 canceled", "9998@2 created", "9998@2 2:a=1"]);
    assert_eq!(of("9997@"), ["9997@2 2:a=1"]);
}

#[test]
fn progress_is_not_told_before_the_cursor_has_seen_all_that_was_applied() {
    let mut bench = Bench::with_stream();
    bench.create(watch("b"));
    for _ in 0..10_000 {
        bench.put_silently("a", "");
    }
    bench.put_silently("b", "1");
    bench.out.clear();
    bench.ask_for_progress();
    assert_eq!(bench.told(), [""; 0], "the event of its key is not found yet");
    assert!(bench.hub.has_work());
    bench.settle();
    assert_eq!(bench.told(), ["0@10002 10002:b=1", "-1@10002"]);
}
