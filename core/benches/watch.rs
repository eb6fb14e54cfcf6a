//! What the watch hub costs for each event that a watcher is told: 100 and 10,000 watchers of the same keys.
//!
//! Throughput is in events that are delivered: one write counts once for each watcher.

mod measured;
mod requests;

use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::state_machine::StateMachine;
use detcd_core::types::{Revision, StreamId};
use detcd_core::watch::WatchHub;
use detcd_core::{Instant, Outputs, StoreView};

use measured::{CpuTime, by_cpu_time};
use requests::{Numbers, apply, key, loaded, put};

const KEYS: u64 = 1_000_000;

/// The watchers are spread over so many streams.
const STREAMS: u64 = 10;

/// Credit that is never used up.
const PLENTY_BYTES: u64 = 1 << 40;

/// A message carries about so many bytes of events, as by default in a member.
const BATCH_BYTES: usize = 256 << 10;

/// A hub with watchers of all keys, and what it sends.
struct Watched {
    hub: WatchHub,
    out: Outputs,
}

impl Watched {
    /// `watchers` of all keys from revision `first` on, or from now on if that is 0. None has credit.
    fn by(watchers: u64, first: Revision, view: &StoreView) -> Watched {
        let hub = WatchHub::new(BATCH_BYTES, Duration::from_secs(600));
        let mut watched = Watched { hub, out: Outputs::default() };
        (0..STREAMS).for_each(|stream| watched.hub.open(StreamId(stream)));
        let (begin, end) = (key(0), key(KEYS));
        for number in 0..watchers {
            let create = pb::WatchCreateRequest {
                key: begin.clone(),
                range_end: end.clone(),
                start_revision: first,
                ..Default::default()
            };
            let union = pb::watch_request::RequestUnion::CreateRequest(create);
            let request = pb::WatchRequest { request_union: Some(union) };
            let (header, now) = moment();
            watched.hub.request(StreamId(number % STREAMS), request, view, &header, now, &mut watched.out);
        }
        watched
    }

    fn give_credit(&mut self, view: &StoreView) {
        let (header, now) = moment();
        for stream in 0..STREAMS {
            self.hub.credit(StreamId(stream), PLENTY_BYTES, view, &header, now, &mut self.out);
        }
    }

    /// Delivers everything, and forgets it: what a driver does with it is not measured here.
    fn deliver(&mut self, view: &StoreView) {
        let (header, now) = moment();
        let mut more = self.hub.applied(view, &header, now, &mut self.out);
        while more {
            self.out.clear();
            more = self.hub.pump(view, &header, now, &mut self.out);
        }
        self.out.clear();
    }

    fn expect_all_told(&self, watchers: u64) {
        let all = usize::try_from(watchers).expect("a small number");
        assert_eq!(self.hub.watchers(), (all, 0), "nobody lags");
    }
}

fn moment() -> (pb::ResponseHeader, Instant) {
    (pb::ResponseHeader::default(), Instant::from_millis(1))
}

fn write(machine: &mut StateMachine, numbers: &mut Numbers) {
    apply(machine, put(numbers.draw()));
}

fn watch(criterion: &mut Criterion<CpuTime>) {
    let mut machine = loaded(KEYS);
    let mut numbers = Numbers::below(KEYS);
    let mut group = criterion.benchmark_group("watch");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(20);
    for watchers in [100, 10_000] {
        let mut watched = Watched::by(watchers, 0, &machine.view());
        watched.give_credit(&machine.view());
        watched.deliver(&machine.view());
        group.throughput(Throughput::Elements(watchers));
        group.bench_function(BenchmarkId::new("synced, one event", watchers), |bencher| {
            bencher.iter_batched(
                || {
                    write(&mut machine, &mut numbers);
                    machine.view()
                },
                |view| watched.deliver(&view),
                BatchSize::PerIteration,
            );
        });
        watched.expect_all_told(watchers);

        // As many deliveries with many watchers as with few.
        let events = 1_000_000 / watchers;
        let first = machine.view().revision() + 1;
        (0..events).for_each(|_| write(&mut machine, &mut numbers));
        let view = machine.view();
        group.throughput(Throughput::Elements(watchers * events));
        group.sample_size(10).bench_function(BenchmarkId::new("catching up", watchers), |bencher| {
            bencher.iter_batched_ref(
                || Watched::by(watchers, first, &view),
                |watched| {
                    watched.give_credit(&view);
                    watched.deliver(&view);
                    watched.expect_all_told(watchers);
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group!(name = benches; config = by_cpu_time(); targets = watch);
criterion_main!(benches);
