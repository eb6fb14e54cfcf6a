//! One run: asks both servers for the same, step by step, and compares everything that they say.

use std::time::{Duration, Instant};

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::watch_request::RequestUnion;
use detcd_core::proto::mvccpb::Event;

use super::Settings;
use super::compare::{brief, difference, stripped};
use super::counters::Counters;
use super::dice::Dice;
use super::generate::Generator;
use super::known::{self, Counts, Known, Version};
use super::options;
use super::server::Server;
use super::step::{Answer, Step};
use super::stream::{Stream, Watcher};
use super::world::{STREAMS, World};

/// So many steps may pass before everything that the watchers were told is compared.
const SETTLE_EVERY: u64 = 25;

/// After so long etcd has looked for watchers that lag several times.
const SYNCED_AFTER: Duration = Duration::from_millis(500);

/// How long a lease may outlive its TTL of two seconds.
const EXPIRES_WITHIN: Duration = Duration::from_secs(30);

/// How often is looked whether a lease has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What was found at a step.
#[derive(Debug)]
pub(super) enum Found {
    /// The answers differ; the stores may still be equal.
    Difference(String),
    /// Nothing that follows could be compared.
    Divergence(String),
}

/// Both servers and what was learnt of them.
#[derive(Debug)]
pub(super) struct Run {
    version: Version,
    seed: u64,
    members: usize,
    /// The member that is asked in the present step.
    place: usize,
    etcd: Server,
    detcd: Server,
    streams: Vec<Stream>,
    /// Watches everything from the start.
    observer: Stream,
    /// What it saw.
    history: Vec<Event>,
    generator: Generator,
    world: World,
    /// What was asked since everything that the watchers were told was compared.
    uncompared: Vec<Step>,
    /// How often options were used.
    pub counters: Counters,
    /// How often known differences were met.
    pub known: Counts,
}

impl Run {
    /// A run of `seed` on two fresh servers.
    pub async fn new(etcd: Server, detcd: Server, settings: &Settings) -> Result<Run, Found> {
        let Settings { seed, members, .. } = *settings;
        let version = settings.etcd.version;
        let open = |place| open(&etcd, &detcd, place, members);
        let (mut observer, streams) = (open(0), (0..STREAMS).map(|stream| open(stream % members)).collect());
        let everything = Bytes::from_static(b"\0");
        let create = pb::WatchCreateRequest {
            key: everything.clone(),
            range_end: everything,
            prev_kv: true,
            ..Default::default()
        };
        observer.send(pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }).await;
        let reply = observer.reply().await.map_err(Found::Divergence)?;
        assert!(reply.created && reply.watch_id == 0, "no observer: {reply:?}");
        Ok(Run {
            version,
            seed,
            members,
            place: 0,
            streams,
            observer,
            history: Vec::new(),
            generator: Generator::new(seed, version, members),
            world: World::new(),
            uncompared: Vec::new(),
            counters: Counters::new(options::all()),
            known: Counts::new(),
            etcd,
            detcd,
        })
    }

    /// The next step.
    pub fn next(&mut self) -> Step {
        self.generator.next(&self.world)
    }

    /// Does step number `position`. What the watchers say to it may be compared some steps later; then the text says
    /// which steps those were.
    pub async fn perform(&mut self, position: u64, step: &Step) -> Result<(), Found> {
        if position.is_multiple_of(SETTLE_EVERY) {
            self.settle().await?;
        }
        self.uncompared.push(step.clone());
        self.place = match step {
            Step::Watch { stream, .. } | Step::Reopen { stream } => stream % self.members,
            _ => self.draw_place(position),
        };
        self.catch_up_member().await?;
        match step {
            Step::Call(request) => self.call(request).await,
            Step::Watch { stream, request } => self.watch(*stream, request).await,
            Step::Reopen { stream } => {
                self.settle().await?;
                self.streams[*stream] = open(&self.etcd, &self.detcd, self.place, self.members);
                self.world.watchers[*stream].clear();
                Ok(())
            }
            Step::RevokeDrawn => {
                let revoke = |id| Request::LeaseRevoke(pb::LeaseRevokeRequest { id });
                let (etcd, detcd) = (revoke(self.etcd.drawn), revoke(self.detcd.drawn));
                let (etcd, detcd) = tokio::join!(self.etcd.ask(self.place, etcd), self.detcd.ask(self.place, detcd));
                self.compare(&revoke(0), etcd, detcd)
            }
            Step::AwaitExpiry { id } => self.await_expiry(*id).await,
        }
    }

    /// Which member is asked at a position, the same of both.
    fn draw_place(&self, position: u64) -> usize {
        let place = Dice::new(!self.seed, position).below(self.members as u64);
        usize::try_from(place).expect("few members")
    }

    /// Of several members one may be behind those that answered before; a linearizable read brings it to them, so that
    /// what it answers from its own store is the same on both servers.
    async fn catch_up_member(&mut self) -> Result<(), Found> {
        if self.members == 1 {
            return Ok(());
        }
        let read = pb::RangeRequest { key: Bytes::from_static(b"a"), count_only: true, ..Default::default() };
        let read = Request::Range(read);
        let (etcd, detcd) = tokio::join!(self.etcd.ask(self.place, read.clone()), self.detcd.ask(self.place, read));
        match difference(&stripped(etcd), &stripped(detcd)) {
            Some(text) => Err(Found::Divergence(format!("a linearizable read differs:\n{text}"))),
            None => Ok(()),
        }
    }

    /// Compares everything that the watchers were told.
    pub async fn settle(&mut self) -> Result<(), Found> {
        let seen = self.history.last().map_or(1, super::stream::mod_revision);
        if seen < self.world.head {
            let (events, counts) = self.observer.observe(self.world.head).await.map_err(Found::Divergence)?;
            add(&mut self.known, counts);
            for event in &events {
                self.world.observe(event);
                let watchers = self.streams.iter_mut().flat_map(|stream| stream.watchers.values_mut());
                watchers.for_each(|watcher| watcher.expect(event));
            }
            self.history.extend(events);
        }
        for stream in 0..STREAMS {
            self.catch_up(stream).await?;
        }
        self.uncompared.clear();
        Ok(())
    }

    /// The steps whose effect on the watchers was not compared yet, a line each.
    pub fn uncompared(&self) -> String {
        self.uncompared.iter().fold(String::new(), |text, step| format!("{text}  {}\n", brief(step)))
    }

    /// Waits until no watcher lags, after [`Run::settle`]. In etcd even one that is told of nothing lags at first.
    async fn sync(&mut self) -> Result<(), Found> {
        self.settle().await?;
        if !self.streams.iter().flat_map(|stream| stream.watchers.values()).any(|watcher| watcher.lags) {
            return Ok(());
        }
        if self.history.is_empty() || self.world.head == self.world.compacted {
            // There is nothing that a new watcher is sure to be told of.
            tokio::time::sleep(SYNCED_AFTER).await;
        } else {
            // Those of one member catch up together, and there is a stream to each.
            for stream in &mut self.streams[..self.members] {
                stream.sync(self.world.head).await.map_err(Found::Divergence)?;
            }
        }
        let watchers = self.streams.iter_mut().flat_map(|stream| stream.watchers.values_mut());
        watchers.for_each(|watcher| watcher.lags = false);
        Ok(())
    }

    async fn catch_up(&mut self, stream: usize) -> Result<(), Found> {
        let stream = &mut self.streams[stream];
        let counts = stream.catch_up().await.map_err(Found::Divergence)?;
        add(&mut self.known, counts);
        let has_fragments = stream.has_fragments();
        for watcher in stream.watchers.values_mut().filter(|watcher| watcher.has_told()) {
            watcher.take_options(has_fragments).into_iter().for_each(|option| self.counters.succeeded(option));
        }
        Ok(())
    }

    async fn call(&mut self, request: &Request) -> Result<(), Found> {
        if matches!(request, Request::Compact(_)) {
            // A watcher that lags may lose its place to a compaction, or may not.
            self.sync().await?;
        }
        if matches!(request, Request::HashKv(_)) {
            // Whether anything lived at its revision has to be known.
            self.settle().await?;
        }
        if let Some(unexecuted) = known::taken_by_etcd(request) {
            let answer = self.detcd.ask(self.place, request.clone()).await;
            if let Some(gap) = known::gap(request, &answer) {
                add(&mut self.known, Counts::from([(gap, 1)]));
                return match self.etcd.ask(self.place, unexecuted).await {
                    Err(refusal) if !known::is_too_many_ops(&refusal) => {
                        Err(Found::Difference(format!("only we were known to refuse this, but etcd says {refusal:?}")))
                    }
                    _ => Ok(()),
                };
            }
            let etcd = self.etcd.ask(self.place, request.clone()).await;
            return self.compare(request, etcd, answer);
        }
        let (etcd, detcd) =
            tokio::join!(self.etcd.ask(self.place, request.clone()), self.detcd.ask(self.place, request.clone()));
        self.compare(request, etcd, detcd)
    }

    fn compare(&mut self, request: &Request, etcd: Answer, detcd: Answer) -> Result<(), Found> {
        let (mut etcd, mut detcd) = (stripped(etcd), stripped(detcd));
        let told = etcd.clone();
        add(&mut self.known, known::reconcile(self.version, request, &mut etcd, &mut detcd));
        if self.members > 1 {
            add(&mut self.known, known::reconcile_members(&mut etcd, &mut detcd));
        }
        if let (Ok(Response::HashKv(etcd)), Ok(Response::HashKv(detcd))) = (&mut etcd, &detcd) {
            self.reconcile_hashes_of_nothing(etcd, detcd);
        }
        if let Some(text) = difference(&etcd, &detcd) {
            return Err(Found::Difference(text));
        }
        options::count(&mut self.counters, request, &told, self.world.head, self.world.compacted);
        self.world.learn(request, &told);
        Ok(())
    }

    /// See [`Known::HashOfEmpty`].
    fn reconcile_hashes_of_nothing(&mut self, etcd: &mut pb::HashKvResponse, detcd: &pb::HashKvResponse) {
        if etcd.hash == detcd.hash || self.world.compacted <= 0 {
            return;
        }
        if known::nothing_lives(&self.history, detcd.hash_revision) {
            etcd.hash = detcd.hash;
            add(&mut self.known, Counts::from([(Known::HashOfEmpty, 1)]));
        }
    }

    async fn watch(&mut self, stream: usize, request: &pb::WatchRequest) -> Result<(), Found> {
        self.settle().await?;
        self.streams[stream].send(request.clone()).await;
        // A request without content gets no reply.
        let Some(request) = &request.request_union else { return Ok(()) };
        match request {
            RequestUnion::CreateRequest(create) => self.created(stream, create).await,
            RequestUnion::CancelRequest(cancel) => {
                let is_known = self.streams[stream].watchers.contains_key(&cancel.watch_id);
                self.counters.asked("watch cancel");
                // An unknown watcher is canceled without a reply (contract, section 1.2).
                if is_known {
                    self.streams[stream].reply().await.map_err(Found::Divergence)?;
                    self.forget(stream, cancel.watch_id);
                    self.counters.succeeded("watch cancel");
                }
                Ok(())
            }
            RequestUnion::ProgressRequest(_) => self.progress(stream).await,
        }
    }

    fn forget(&mut self, stream: usize, watch_id: i64) {
        self.streams[stream].watchers.remove(&watch_id);
        self.world.watchers[stream].remove(&watch_id);
    }

    async fn created(&mut self, stream: usize, create: &pb::WatchCreateRequest) -> Result<(), Found> {
        let (head, compacted) = (self.world.head, self.world.compacted);
        let options = options::of_watcher(create, head, compacted);
        options.iter().for_each(|option| self.counters.asked(option));
        let reply = self.streams[stream].reply().await.map_err(Found::Divergence)?;
        if reply.canceled {
            return Ok(());
        }
        if options.contains(&options::NOTHING) {
            // It is told of nothing, and that is its success.
            self.counters.succeeded(options::NOTHING);
        }
        if (1..compacted).contains(&create.start_revision) {
            return self.compacted(stream, reply.watch_id).await;
        }
        let watcher = Watcher::new(create.clone(), options, head, &self.history, compacted, self.version);
        self.streams[stream].watchers.insert(reply.watch_id, watcher);
        self.world.watchers[stream].insert(reply.watch_id);
        self.catch_up(stream).await
    }

    /// A new watcher is canceled, because it begins before the compacted revision. Its client cancels it, too: see
    /// [`Known::CancelOfCompacted`].
    async fn compacted(&mut self, stream: usize, watch_id: i64) -> Result<(), Found> {
        let watched = &mut self.streams[stream];
        let canceled = watched.reply().await.map_err(Found::Divergence)?;
        if canceled.watch_id != watch_id || !canceled.canceled || canceled.compact_revision != self.world.compacted {
            return Err(Found::Divergence(format!("the watcher is not canceled for the compaction: {canceled:?}")));
        }
        self.counters.succeeded("watch from before it");
        let cancel = pb::WatchCancelRequest { watch_id };
        watched.send(pb::WatchRequest { request_union: Some(RequestUnion::CancelRequest(cancel)) }).await;
        let reply = watched.reply_of_etcd().await;
        if !reply.is_some_and(|reply| reply.is_ok_and(|reply| reply.canceled && reply.watch_id == watch_id)) {
            return Err(Found::Divergence("etcd does not reply to a cancel, although it always did".to_owned()));
        }
        add(&mut self.known, Counts::from([(Known::CancelOfCompacted, 1)]));
        Ok(())
    }

    /// A request for progress is answered if there is a watcher and none waits for the future (contract, section 1.2).
    async fn progress(&mut self, stream: usize) -> Result<(), Found> {
        let head = self.world.head;
        let watched = &mut self.streams[stream];
        let early = watched.watchers.values().any(|watcher| watcher.is_early(head));
        let watchers = !watched.watchers.is_empty();
        self.counters.asked("watch progress request");
        if watchers && !early {
            watched.reply().await.map_err(Found::Divergence)?;
            self.counters.succeeded("watch progress request");
        } else if known::tells_progress(self.version, watchers, early) {
            let reply = watched.reply_of_etcd().await;
            if !reply.is_some_and(|reply| reply.is_ok_and(|reply| reply.watch_id == -1)) {
                return Err(Found::Divergence("etcd does not tell its progress, although it always did".to_owned()));
            }
            add(&mut self.known, Counts::from([(Known::EarlyProgress, 1)]));
        }
        Ok(())
    }

    /// Asks for nothing until the lease is gone on both, and learns what that did.
    async fn await_expiry(&mut self, id: i64) -> Result<(), Found> {
        let begin = Instant::now();
        for server in [&mut self.etcd, &mut self.detcd] {
            loop {
                let request = pb::LeaseTimeToLiveRequest { id, keys: false };
                let answer = server.ask(self.place, Request::LeaseTimeToLive(request)).await;
                if matches!(&answer, Ok(Response::LeaseTimeToLive(response)) if response.granted_ttl == 0) {
                    break;
                }
                if begin.elapsed() > EXPIRES_WITHIN {
                    return Err(Found::Divergence(format!("lease {id} does not end on {server:?}: {answer:?}")));
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        self.catch_up_member().await?;
        self.world.leases.remove(&id);
        self.counters.count("lease expiry", true);
        self.call(&Request::LeaseLeases(pb::LeaseLeasesRequest {})).await?;
        let key = Bytes::from_static(b"a/");
        let range_end = Bytes::from_static(b"\0");
        self.call(&Request::Range(pb::RangeRequest { key, range_end, ..Default::default() })).await
    }
}

/// A new watch stream to the member at `place` of each, who have so many `members`.
fn open(etcd: &Server, detcd: &Server, place: usize, members: usize) -> Stream {
    Stream::new(etcd.open_watch(place), detcd.open_watch(place), members == 1)
}

fn add(known: &mut Counts, more: Counts) {
    for (difference, times) in more {
        *known.entry(difference).or_default() += times;
    }
}
