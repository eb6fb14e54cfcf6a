//! Members behind their one door, each with a clock, a disk and links of its own, all moved by the script alone.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use detcd_core::api::{Request, read};
use detcd_core::types::{CallId, ClusterId, DiskOp, NodeId};
use detcd_core::{DiskError, Effect, Input, Instant, Member, Node, NodeConfig, NodeStatus, Outputs, Role};

use crate::agreement::Agreement;
use crate::describe;
use crate::disk::Disk;
use crate::network::{Flight, Network};

/// The cluster of all transcripts.
pub const CLUSTER: ClusterId = ClusterId(7);

/// A script that takes more steps in one command does not come to rest.
const STEPS_MAX: usize = 100_000;

/// One member and what is around it.
pub struct Host {
    /// Who it is.
    pub id: NodeId,
    /// The member, while its process lives.
    pub node: Option<Node>,
    /// Its disk.
    pub disk: Disk,
    /// Its own clock.
    pub now: Instant,
    config: NodeConfig,
    last_label: u64,
}

/// All members, what is on its way between them, and what the transcript says so far.
pub struct World {
    /// The members, by id.
    pub hosts: Vec<Host>,
    /// What is on its way.
    pub network: Network,
    /// What the command at hand has brought about.
    pub lines: Vec<String>,
    /// Whether somebody looks: only then messages and operations get names.
    pub looked_at: bool,
    agreement: Agreement,
    disagreement: Option<String>,
    /// Operations that end by themselves, oldest first.
    ending: VecDeque<(usize, DiskOp)>,
    last_call: u64,
    /// The watch streams that clients opened, by the place of their member.
    pub opened: BTreeSet<(usize, u64)>,
    steps: usize,
}

impl World {
    /// Members of a new cluster, open and at rest.
    pub fn new(size: usize, adjust: impl Fn(&mut NodeConfig)) -> World {
        let id = |at: usize| NodeId(at as u64 + 1);
        let member = |at| Member { id: id(at), name: format!("m{at}"), peer_urls: vec![format!("http://m{at}:2380")] };
        let members: Vec<Member> = (0..size).map(member).collect();
        let host = |at| {
            let mut config = NodeConfig::with_etcd_defaults(CLUSTER, id(at), members.clone(), 42);
            config.wal_segment_bytes = 64 << 10;
            adjust(&mut config);
            let now = Instant::from_millis(0);
            Host { id: id(at), node: None, disk: Disk::default(), now, config, last_label: 0 }
        };
        let mut world = World {
            hosts: (0..size).map(host).collect(),
            network: Network::default(),
            lines: Vec::new(),
            looked_at: false,
            agreement: Agreement::default(),
            disagreement: None,
            ending: VecDeque::new(),
            last_call: 0,
            opened: BTreeSet::new(),
            steps: 0,
        };
        (0..size).for_each(|at| world.open(at));
        world
    }

    /// Begins a command. Messages and operations from before get their names now, if somebody looks.
    pub fn begin(&mut self, looked_at: bool) {
        (self.looked_at, self.steps) = (looked_at, 0);
        self.lines.clear();
        if looked_at {
            self.network.number_all();
            for host in &mut self.hosts {
                for operation in host.disk.under_way.iter_mut().filter(|operation| operation.label.is_none()) {
                    host.last_label += 1;
                    operation.label = Some(host.last_label);
                }
            }
        }
    }

    /// What members do that they must never do, if they did.
    pub fn disagreement(&self) -> Result<(), String> {
        self.disagreement.clone().map_or(Ok(()), Err)
    }

    /// The place of a member that there is.
    pub fn place(&self, id: NodeId) -> Result<usize, String> {
        let none = || format!("there is no member {id}; there are 1 to {}", self.hosts.len());
        self.hosts.iter().position(|host| host.id == id).ok_or_else(none)
    }

    /// How a member stands; `None` if its process is gone.
    pub fn status(&self, at: usize) -> Option<NodeStatus> {
        self.hosts[at].node.as_ref().map(Node::status)
    }

    /// Whether a member has this role.
    pub fn has_role(&self, at: usize, role: Role) -> bool {
        self.status(at).is_some_and(|status| status.role == role)
    }

    // ---- what happens to members ----

    /// Opens a member on what its disk holds.
    pub fn open(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let mut out = Outputs::default();
        host.node = Some(Node::open(host.config.clone(), host.disk.listing(), host.now, &mut out));
        self.took(at, Some("opens".to_owned()), None, out);
        self.drain();
    }

    /// The process of a member is gone, with all that it had in memory.
    pub fn end_life(&mut self, at: usize) {
        self.hosts[at].node = None;
        self.opened.retain(|(place, _)| *place != at);
    }

    /// Hands an input to a member, and carries on with all that ends by itself. A title is shown in any case; without
    /// one, only what comes of it is.
    pub fn step(&mut self, at: usize, title: String, input: Input, is_shown: bool) {
        self.step_once(at, title, input, is_shown);
        self.drain();
    }

    fn step_once(&mut self, at: usize, title: String, input: Input, is_shown: bool) {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "the members do not come to rest");
        let host = &mut self.hosts[at];
        let Some(node) = &mut host.node else { return };
        let before = node.status();
        let mut out = Outputs::default();
        node.step(host.now, input, &mut out);
        let is_empty = out.effects.is_empty() && describe::notes(&out.notes).is_empty();
        let title = (is_shown || !is_empty).then_some(title);
        self.took(at, title, Some(before), out);
    }

    /// Ends what ends by itself, and wakes who wants to be woken now.
    fn drain(&mut self) {
        loop {
            if let Some((at, op)) = self.ending.pop_front() {
                self.end_once(at, op, None, false);
                continue;
            }
            let wants = |host: &Host| host.node.as_ref().is_some_and(|node| node.next_wakeup().at <= host.now);
            let Some(at) = self.hosts.iter().position(wants) else { return };
            let why = self.hosts[at].node.as_ref().expect("it wants to be woken").next_wakeup().why;
            self.step_once(at, format!("wakes: {why}"), Input::Wakeup, false);
        }
    }

    /// Ends an operation of a member's disk, if it is under way, and says so to the member.
    pub fn end(&mut self, at: usize, op: DiskOp, failure: Option<DiskError>, is_shown: bool) {
        self.end_once(at, op, failure, is_shown);
        self.drain();
    }

    fn end_once(&mut self, at: usize, op: DiskOp, failure: Option<DiskError>, is_shown: bool) {
        let disk = &mut self.hosts[at].disk;
        let Some(operation) = disk.under_way.iter().find(|operation| operation.op == op) else { return };
        let what = describe::action_kind(&operation.action);
        let name = operation.label.map_or("-".to_owned(), |label| label.to_string());
        let id = self.hosts[at].id;
        let result = self.hosts[at].disk.end(op, failure).expect("it is under way");
        let outcome = match &result {
            Ok(_) => "done".to_owned(),
            Err(DiskError::NoSpace) => "no space".to_owned(),
            Err(DiskError::Io(text)) => format!("failed: {text}"),
            Err(other) => format!("failed: {other:?}"),
        };
        let title = format!("disk {id}:{name} {what}: {outcome}");
        let is_shown = is_shown || result.is_err();
        self.step_once(at, title, Input::DiskDone { op, result }, is_shown);
    }

    /// Lets a member's clock go on, and wakes it whenever it wants.
    pub fn wait(&mut self, at: usize, duration: Duration) {
        let until = self.hosts[at].now + duration;
        loop {
            let host = &mut self.hosts[at];
            let wakeup = host.node.as_ref().map_or(Instant::NEVER, |node| node.next_wakeup().at);
            if wakeup > until {
                host.now = until;
                return;
            }
            host.now = host.now.max(wakeup);
            self.drain();
        }
    }

    /// A client calls; what the transcript names the call.
    pub fn call(&mut self, at: usize, what: &str, request: Request) {
        self.last_call += 1;
        let call = CallId(self.last_call);
        let deadline = self.hosts[at].now + Duration::from_secs(60);
        self.step(at, format!("is called c{call}: {what}"), Input::Call { call, deadline, request }, true);
    }

    /// A message arrives, if its receiver lives.
    pub fn arrive(&mut self, flight: Flight) {
        let (from, to) = flight.link;
        let title = flight.title();
        match self.place(to) {
            Ok(at) if self.hosts[at].node.is_some() => {
                self.step(at, format!("receives {title}"), Input::Peer { from, frame: flight.frame }, true);
            }
            _ => self.lines.push(format!("{title} finds nobody")),
        }
    }

    // ---- what members do ----

    fn took(&mut self, at: usize, title: Option<String>, before: Option<NodeStatus>, out: Outputs) {
        let id = self.hosts[at].id;
        for note in &out.notes {
            if let Err(disagreement) = self.agreement.observe(id, note) {
                self.disagreement.get_or_insert(disagreement);
            }
        }
        self.lines.extend(title.map(|title| format!("{id} {title}")));
        let after = self.status(at);
        if let (Some(before), Some(after)) = (before, after)
            && before.phase.takes_part()
            && after.phase.takes_part()
            && before.commit != after.commit
        {
            self.lines.push(format!("    commit {} -> {}", before.commit, after.commit));
        }
        self.lines.extend(describe::notes(&out.notes).into_iter().map(|note| format!("    {note}")));
        for effect in out.effects {
            let line = self.perform(at, effect);
            self.lines.extend(line.map(|line| format!("    {line}")));
        }
    }

    /// Performs an effect; the line about it.
    fn perform(&mut self, at: usize, effect: Effect) -> Option<String> {
        let id = self.hosts[at].id;
        Some(match effect {
            Effect::Send { to, frame, .. } => {
                let message = describe::message(CLUSTER, id, to, &frame);
                format!("send {}", self.network.send((id, to), message, frame, self.looked_at))
            }
            Effect::Disk { op, action } => {
                let host = &mut self.hosts[at];
                host.last_label += u64::from(self.looked_at);
                let label = self.looked_at.then_some(host.last_label);
                let name = label.map_or("-".to_owned(), |label| label.to_string());
                let line = format!("disk {id}:{name} {}", describe::action(&action));
                host.disk.issue(op, label, action);
                if !host.disk.held {
                    self.ending.push_back((at, op));
                }
                line
            }
            Effect::Reply { call, result } => format!("answer c{call}: {}", describe::answer(&result)),
            Effect::Read { call, request, view, header } => {
                let answer = describe::answer(&read::execute(&view, &request, header));
                format!("answer c{call}, reading at {}: {answer}", view.applied())
            }
            Effect::Push { stream, batch } => {
                let responses: Vec<String> =
                    batch.into_iter().map(|message| describe::watch_response(&message.into_response())).collect();
                format!("push s{stream}: {}", responses.join("; "))
            }
            Effect::EndStream { stream, status } => format!("end s{stream}: {status}"),
            Effect::Stopped => "stopped".to_owned(),
            Effect::Halt(reason) => format!("halt: {reason}"),
            Effect::Discard(_) => return None,
        })
    }
}
