//! One simulated world: pops the earliest event, lets it happen, and tells the observers.

mod ambush;
mod calls;
mod checkers;
mod client;
mod converge;
mod conversation;
mod conversations;
mod crash_point;
mod damage;
mod describe;
mod encoded;
mod event;
mod following;
mod host;
mod lock_service;
mod lock_worker;
mod locks;
mod marks;
mod members;
mod nemesis;
mod open_calls;
mod partition;
mod progress;
mod reads;
mod record;
mod session;
mod stepping;
mod watchers;

use std::collections::BTreeMap;

use detcd_core::Outputs;
use detcd_core::types::{Revision, Term};

use crate::check::{self, CheckConfig, Checker, Violation, ViolationKind};
use crate::history::HistoryEvent;
use crate::network::Network;
use crate::observe::{NodeIndex, Observation, Observed};
use crate::plan::Plan;
use crate::queue::Queue;
use crate::report::{MessageFate, MessageKey, RunReport, Verdict};
use crate::run::RunOptions;
use crate::scenario::{Expect, FaultKind, Scenario};
use crate::weather::Weather;
use ambush::Lurking;
use checkers::Checkers;
use client::Client;
use converge::Convergence;
use crash_point::Sweep;
pub use crash_point::{CrashPoint, Moment};
use event::Event;
use host::Host;
use lock_worker::LockWorker;
use marks::RarePlaces;
use nemesis::Struck;
use progress::Progress;
use record::{Record, Sink};
use session::Session;

/// A run that needs more events than this will not end.
const EVENTS_MAX: u64 = 50_000_000;

/// A world of one scenario and seed.
pub(crate) struct World<'a> {
    scenario: String,
    expect: Expect,
    seed: u64,
    weather: Weather,
    plan: Plan,
    now: u64,
    queue: Queue<Event>,
    hosts: Vec<Host>,
    network: Network,
    clients: Vec<Client>,
    sessions: Vec<Session>,
    workers: Vec<LockWorker>,
    struck: Vec<Option<Struck>>,
    /// The faults that wait, or have waited, for their moment.
    lurking: BTreeMap<usize, Lurking>,
    /// What all present loss and delay faults add up to.
    loss_permille: u64,
    delay_ms: u64,
    convergence: Convergence,
    progress: Progress,
    checkers: Checkers<'a>,
    violation: Option<Violation>,
    record: Record<'a>,
    outputs: Outputs,
    /// Every revision up to here was told to the observers.
    witnessed: Revision,
    /// How far any member's store was compacted.
    compacted: Revision,
    newest_term: Term,
    leader_changes: u64,
    ops_acknowledged: u64,
    messages: u64,
    faults: BTreeMap<&'static str, u64>,
    marks: BTreeMap<&'static str, u64>,
    rare: RarePlaces,
    record_fates: bool,
    fates: BTreeMap<MessageKey, MessageFate>,
    is_over: bool,
    /// A crash that is to come, or a look at the moments for one.
    sweep: Option<Sweep>,
}

impl<'a> World<'a> {
    /// A world before its first event.
    pub(crate) fn new(scenario: &Scenario, seed: u64, options: &RunOptions, sink: Option<Sink<'a>>) -> World<'a> {
        let plan = Plan::draw(scenario, seed, options);
        let weather = Weather::new(seed);
        let nodes = plan.nodes.len();
        let mut world = World {
            scenario: scenario.name.clone(),
            expect: scenario.expect.clone(),
            seed,
            weather,
            now: 0,
            queue: Queue::default(),
            hosts: plan.clock_ppm.iter().map(|rate_ppm| Host::new(*rate_ppm)).collect(),
            network: Network::new(weather, plan.links, nodes),
            clients: Client::all(&plan),
            sessions: Vec::new(),
            workers: (0..plan.workload.locks.workers).map(|_| LockWorker::default()).collect(),
            struck: (0..plan.faults.len()).map(|_| None).collect(),
            lurking: BTreeMap::new(),
            loss_permille: 0,
            delay_ms: 0,
            convergence: Convergence::default(),
            progress: Progress::default(),
            checkers: Checkers::default(),
            violation: None,
            record: Record::new(options.expected.clone(), sink),
            outputs: Outputs::default(),
            witnessed: 1,
            compacted: 0,
            newest_term: Term(0),
            leader_changes: 0,
            ops_acknowledged: 0,
            messages: 0,
            faults: BTreeMap::new(),
            marks: BTreeMap::new(),
            rare: RarePlaces::default(),
            record_fates: options.record_fates,
            fates: BTreeMap::new(),
            is_over: false,
            sweep: options.crash.as_ref().map(Sweep::strike),
            plan,
        };
        check::all(&world.check_config()).into_iter().for_each(|checker| world.add_checker(checker));
        world.prepare();
        world
    }

    /// One more that is told what it has an interest in.
    pub(crate) fn add_checker(&mut self, checker: Box<dyn Checker + 'a>) {
        self.checkers.add(checker);
    }

    /// Nobody is told anything.
    pub(crate) fn dismiss_checkers(&mut self) {
        self.checkers = Checkers::default();
    }

    /// Notes the moments of a member in a window of virtual time, in nanoseconds.
    pub(crate) fn scout(&mut self, node: NodeIndex, from: u64, to: u64) {
        self.sweep = Some(Sweep::scout(node, from, to));
    }

    /// What checkers have to know of this world beforehand.
    pub(crate) fn check_config(&self) -> CheckConfig {
        check_config(&self.plan)
    }

    fn prepare(&mut self) {
        for node in 0..self.hosts.len() {
            self.queue.push(0, Event::Start { node, boot: 0 });
        }
        self.plan_op(0);
        for index in 0..self.plan.faults.len() {
            self.queue.push(self.plan.faults[index].start, Event::FaultStart { index });
        }
    }

    /// Plans the operation at this place of the plan's list; each one plans the next, so that few wait in the queue.
    fn plan_op(&mut self, index: usize) {
        if let Some(op) = self.plan.ops.get(index) {
            self.queue.push(op.at, Event::OpDue { index });
        }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> RunReport {
        self.queue.push(self.plan.heal_at, Event::Heal);
        while self.violation.is_none() && !self.is_over {
            let Some((at, event)) = self.queue.pop() else { break };
            self.now = at;
            self.happen(event);
            self.record.end(at);
            if self.record.events > EVENTS_MAX {
                self.fail(ViolationKind::Liveness, "kernel", format!("no end after {EVENTS_MAX} events"));
            }
        }
        if self.violation.is_none() {
            self.finish();
        }
        self.report()
    }

    /// Lets one event happen.
    fn happen(&mut self, event: Event) {
        if let Some(waiting) = self.waiting_room(&event) {
            return waiting.push_back(event);
        }
        match event {
            Event::Wake { node, token } => self.wake(node, token),
            Event::Frame { from, to, frame } => self.frame_arrives(from, to, frame),
            Event::LinkHint { node, peer, up } => self.hint_arrives(node, peer, up),
            Event::DiskDone { node, boot, op, reply, durable } => self.disk_done(node, boot, op, reply, durable),
            Event::ReadDue { node, boot, call, read } => self.read_due(node, boot, call, &read),
            Event::Arrive { client, attempt, node, request } => self.call_arrives(client, attempt, node, *request),
            Event::Hangup { node, client, attempt } => self.hangup_arrives(node, client, attempt),
            Event::Answer { client, attempt, from, answer } => self.answer_arrives(client, attempt, from, answer),
            Event::GiveUp { client } => self.patience_ends(client),
            Event::Retry { client, attempt } => self.retry(client, attempt),
            Event::OpDue { index } => self.op_due(index),
            Event::StreamIn { session, generation, node, what } => self.stream_in(session, generation, node, what),
            Event::StreamOut { session, generation, from, batch } => {
                self.stream_out(session, generation, from, batch);
            }
            Event::StreamEnded { session, generation, from } => self.stream_ended(session, generation, from),
            Event::Watch { session, generation, timer } => self.watch_timer(session, generation, timer),
            Event::Lock { worker, session, timer } => self.lock_timer(worker, session, timer),
            Event::Conversation { node, number, word } => self.conversation(node, number, word),
            Event::LockTold { worker, number, from, told } => self.lock_service_told(worker, number, from, told),
            Event::FaultStart { index } => self.fault_starts(index),
            Event::FaultEnd { index } => self.fault_ends(index),
            Event::Flap { index } => self.flap(index),
            Event::Start { node, boot } => self.start(node, boot),
            Event::PowerReturns { node } => self.power_returns(node),
            Event::Heal => self.heal(),
            Event::Check => self.check_convergence(),
        }
    }

    /// Tells the observers.
    fn observe(&mut self, what: Observation<'_>) {
        self.checkers.tell(&Observed { at: self.now, what }, &mut self.violation);
    }

    /// Tells the observers what a client did or saw.
    fn history(&mut self, event: &HistoryEvent) {
        self.learn_history(event);
        self.observe(Observation::History(event));
    }

    /// The run is broken.
    #[cold]
    fn fail(&mut self, kind: ViolationKind, checker: &'static str, detail: String) {
        let at = self.now;
        self.record.say(|| format!("VIOLATION: {detail}"));
        self.violation.get_or_insert(Violation { kind, checker, at, detail });
    }

    fn finish(&mut self) {
        self.tell_who_follows();
        // Who is entitled to be stuck has not kept anybody waiting too long.
        let is_entitled = self.convergence.entitled.is_some();
        let counts = |violation: &Violation| !is_entitled || violation.kind != ViolationKind::Liveness;
        for violation in self.checkers.finish(self.now).filter(counts) {
            self.violation.get_or_insert(violation);
        }
    }

    fn report(self) -> RunReport {
        let mut report = RunReport {
            scenario: self.scenario,
            seed: self.seed,
            digest: self.record.digest,
            trail: self.record.trail,
            events: self.record.events,
            sim_ms: self.now / 1_000_000,
            ops: self.ops_acknowledged,
            ops_planned: self.plan.ops.len() as u64,
            faults: self.faults,
            leader_changes: self.leader_changes,
            messages: self.messages,
            marks: self.marks,
            shortfalls: Vec::new(),
            entitled: self.convergence.entitled,
            verdict: self.violation.map_or(Verdict::Ok, Verdict::Broken),
            parting: self.record.parting,
            fates: self.fates,
            moments: self.sweep.map(Sweep::into_moments).unwrap_or_default(),
        };
        report.shortfalls = shortfalls(&report, &self.expect);
        report
    }

    /// The member that leads in the newest term, if there is one.
    fn leader(&self) -> Option<NodeIndex> {
        let leads = |node: &NodeIndex| self.hosts[*node].status.role == detcd_core::Role::Leader;
        (0..self.hosts.len()).filter(leads).max_by_key(|node| self.hosts[*node].status.term)
    }
}

/// What the checkers have to know of the plan.
fn check_config(plan: &Plan) -> CheckConfig {
    let drift = plan.clock_ppm.iter().map(|rate_ppm| rate_ppm.abs_diff(1_000_000)).max().unwrap_or(0);
    let skews = plan.faults.iter().filter(|fault| fault.kind == FaultKind::ClockSkew);
    let skew = skews.map(|fault| fault.strength * 1_000).max().unwrap_or(0);
    let delays = plan.faults.iter().filter(|fault| fault.kind == FaultKind::Delay);
    let delay_ns = delays.map(|fault| fault.strength * 1_000_000).sum();
    let steps = plan.faults.iter().filter(|fault| fault.kind == FaultKind::ClockStep);
    let is_full = plan.faults.iter().any(|fault| fault.kind == FaultKind::NoSpace);
    CheckConfig {
        space_may_run_out: plan.has_quota() || is_full,
        auto_compactions: Some(plan.nodes.iter().map(|config| config.auto_compaction).collect()),
        message_life: plan.links.message_life_ns(delay_ns),
        clock_skew_ppm_max: drift.max(skew),
        clock_steps: steps.map(|fault| fault.strength * 1_000_000).sum(),
        txn_ops_max: plan.nodes.iter().map(|config| config.txn_ops_max).min().unwrap_or(0),
        settle: converge::SETTLE_WITHIN_NS,
        ..CheckConfig::new(plan.nodes.len())
    }
}

/// What a run did not reach of what its scenario expects of one run.
fn shortfalls(report: &RunReport, expect: &Expect) -> Vec<String> {
    let wanted = [
        ("acknowledged operations", report.ops, expect.ops),
        ("faults", report.fault_count(), expect.faults),
        ("kinds of faults", report.faults.len() as u64, expect.fault_kinds),
        ("leader changes", report.leader_changes, expect.leader_changes),
        ("simulated ms", report.sim_ms, expect.sim_ms),
    ];
    let short = wanted.into_iter().filter(|(_, reached, wanted)| reached < wanted);
    let short = short.map(|(what, reached, wanted)| format!("{reached} of {wanted} {what}"));
    let missed = expect.marks.iter().filter(|mark| !report.marks.contains_key(mark.as_str()));
    short.chain(missed.map(|mark| format!("not the mark \"{mark}\""))).collect()
}
