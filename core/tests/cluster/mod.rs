//! A few members in one loop with disks that are instant, held or full, and a filter on their messages.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use detcd_core::api::{Request, Response, Status, read};
use detcd_core::types::{CallId, ClusterId, NodeId, StreamId};
use detcd_core::{
    DiskAction, DiskError, DiskReply, Effect, HaltReason, Input, Instant, Listing, Member, Node, NodeConfig, Note,
    Outputs, Role, StoreView,
};

/// How many copies of a frame of this kind arrive.
type Filter = Box<dyn FnMut(&'static str) -> usize>;

/// Members by their place; member `at` has the id `at + 1`.
pub struct Cluster {
    pub nodes: Vec<Option<Node>>,
    pub disks: Vec<BTreeMap<String, Vec<u8>>>,
    pub halted: Vec<Option<HaltReason>>,
    pub stopped: Vec<bool>,
    pub notes: Vec<Vec<Note>>,
    pub answers: BTreeMap<CallId, Result<Response, Status>>,
    pub writes: usize,
    /// Completions of this member's disk are kept until they are released.
    pub held: Vec<bool>,
    /// This member's disk has no room.
    pub full: Vec<bool>,
    /// What each member gave away to be dropped.
    pub discarded: Vec<Vec<StoreView>>,
    pub now_ms: u64,
    /// Completions that are withheld, oldest first.
    pub withheld: Vec<VecDeque<Input>>,
    configs: Vec<NodeConfig>,
    filter: Filter,
    inbox: VecDeque<(usize, Input)>,
    last_call: u64,
}

/// Members that soon have a checkpoint, forget the log before it, and send it in many chunks.
pub fn snapshots_soon(config: &mut NodeConfig) {
    config.checkpoint_entries = 20;
    config.catchup_entries = 5;
    config.checkpoint_chunk_bytes = 200;
}

impl Cluster {
    pub fn new(size: usize, adjust: impl Fn(&mut NodeConfig)) -> Cluster {
        let id = |at: usize| NodeId(at as u64 + 1);
        let member = |at| Member { id: id(at), name: format!("m{at}"), peer_urls: vec![format!("http://m{at}:2380")] };
        let members: Vec<Member> = (0..size).map(member).collect();
        let config = |at| {
            let mut config = NodeConfig::with_etcd_defaults(ClusterId(7), id(at), members.clone(), 42);
            config.wal_segment_bytes = 64 << 10;
            adjust(&mut config);
            config
        };
        let mut cluster = Cluster {
            nodes: (0..size).map(|_| None).collect(),
            disks: vec![BTreeMap::new(); size],
            halted: vec![None; size],
            stopped: vec![false; size],
            notes: vec![Vec::new(); size],
            answers: BTreeMap::new(),
            writes: 0,
            held: vec![false; size],
            full: vec![false; size],
            discarded: vec![Vec::new(); size],
            withheld: vec![VecDeque::new(); size],
            configs: (0..size).map(config).collect(),
            filter: Box::new(|_| 1),
            inbox: VecDeque::new(),
            now_ms: 0,
            last_call: 0,
        };
        (0..size).for_each(|at| cluster.open(at));
        cluster
    }

    /// Opens a member on what its disk holds.
    pub fn open(&mut self, at: usize) {
        let files = self.disks[at].iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect();
        let mut out = Outputs::default();
        let now = Instant::from_millis(self.now_ms);
        (self.halted[at], self.stopped[at]) = (None, false);
        self.nodes[at] = Some(Node::open(self.configs[at].clone(), Listing { files }, now, &mut out));
        self.perform(at, out);
    }

    /// The member is gone with its memory; its instant disk keeps everything.
    pub fn kill(&mut self, at: usize) {
        self.nodes[at] = None;
        self.inbox.retain(|(to, _)| *to != at);
        self.withheld[at].clear();
    }

    pub fn config_mut(&mut self, at: usize) -> &mut NodeConfig {
        &mut self.configs[at]
    }

    pub fn filter(&mut self, filter: impl FnMut(&'static str) -> usize + 'static) {
        self.filter = Box::new(filter);
    }

    /// Tells a member of the oldest completions of its disk that are withheld.
    pub fn release(&mut self, at: usize, count: usize) {
        let released = self.withheld[at].drain(..count).map(|input| (at, input));
        self.inbox.extend(released);
    }

    /// Lets time go by.
    pub fn run_ms(&mut self, ms: u64) {
        for _ in 0..ms {
            self.now_ms += 1;
            let now = Instant::from_millis(self.now_ms);
            for at in 0..self.nodes.len() {
                if self.nodes[at].as_ref().is_some_and(|node| node.next_wakeup().at <= now) {
                    self.inbox.push_back((at, Input::Wakeup));
                }
            }
            let mut steps = 0;
            while let Some((at, input)) = self.inbox.pop_front() {
                steps += 1;
                assert!(steps < 100_000, "the members do not come to rest");
                let Some(node) = &mut self.nodes[at] else { continue };
                let mut out = Outputs::default();
                node.step(now, input, &mut out);
                self.perform(at, out);
            }
        }
    }

    pub fn call(&mut self, at: usize, request: Request) -> CallId {
        self.last_call += 1;
        let call = CallId(self.last_call);
        let deadline = Instant::from_millis(self.now_ms + 60_000);
        self.inbox.push_back((at, Input::Call { call, deadline, request }));
        call
    }

    pub fn input(&mut self, at: usize, input: Input) {
        self.inbox.push_back((at, input));
    }

    /// Calls, and waits for the answer.
    pub fn ask(&mut self, at: usize, request: Request) -> Result<Response, Status> {
        let call = self.call(at, request);
        for _ in 0..100 {
            self.run_ms(100);
            if let Some(answer) = self.answers.remove(&call) {
                return answer;
            }
        }
        panic!("no answer to call {call}");
    }

    /// Waits for a leader.
    pub fn leader(&mut self) -> usize {
        for _ in 0..200 {
            self.run_ms(50);
            let leads = |node: &Option<Node>| node.as_ref().is_some_and(|node| node.status().role == Role::Leader);
            if let Some(leader) = self.nodes.iter().position(leads) {
                self.run_ms(300);
                return leader;
            }
        }
        panic!("no leader");
    }

    pub fn node(&self, at: usize) -> &Node {
        self.nodes[at].as_ref().expect("it lives")
    }

    pub fn marked(&self, at: usize, mark: &str) -> bool {
        self.marks(at, mark) > 0
    }

    pub fn marks(&self, at: usize, mark: &str) -> usize {
        self.notes[at].iter().filter(|note| matches!(note, Note::Mark(marked) if *marked == mark)).count()
    }

    fn perform(&mut self, at: usize, out: Outputs) {
        self.notes[at].extend(out.notes);
        for effect in out.effects {
            match effect {
                Effect::Send { to, kind, frame } => {
                    let to = to.0 as usize - 1;
                    for _ in 0..(self.filter)(kind) {
                        self.inbox.push_back((to, Input::Peer { from: NodeId(at as u64 + 1), frame: frame.clone() }));
                    }
                }
                Effect::Disk { op, action } => {
                    let full = self.full[at] && matches!(action, DiskAction::Allocate { .. });
                    let result = if full { Err(DiskError::NoSpace) } else { Ok(self.disk(at, action)) };
                    let done = Input::DiskDone { op, result };
                    if self.held[at] {
                        self.withheld[at].push_back(done);
                    } else {
                        self.inbox.push_back((at, done));
                    }
                }
                Effect::Reply { call, result } => drop(self.answers.insert(call, result)),
                Effect::Read { call, request, view, header } => {
                    self.answers.insert(call, read::execute(&view, &request, header));
                }
                Effect::Halt(reason) => self.halted[at] = Some(reason),
                Effect::Stopped => self.stopped[at] = true,
                Effect::Push { stream: StreamId(_), .. } | Effect::EndStream { .. } => {}
                Effect::Discard(garbage) => self.discarded[at].push(garbage.0),
            }
        }
    }

    fn disk(&mut self, at: usize, action: DiskAction) -> DiskReply {
        let disk = &mut self.disks[at];
        self.writes += usize::from(!matches!(action, DiskAction::Read { .. }));
        match action {
            DiskAction::Allocate { file, size_bytes } => {
                let bytes = disk.entry(file.to_string()).or_default();
                bytes.resize(bytes.len().max(size_bytes as usize), 0);
            }
            DiskAction::Append { file, offset, bytes } => {
                let file = disk.get_mut(&*file).expect("allocated before");
                file[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
            }
            DiskAction::Read { file, offset, len } => {
                let bytes = &disk[&*file];
                let end = bytes.len().min((offset + len) as usize);
                return DiskReply::Data(Bytes::copy_from_slice(&bytes[end.min(offset as usize)..end]));
            }
            DiskAction::Rename { from, to } => {
                let bytes = disk.remove(&*from).expect("written before");
                disk.insert(to.to_string(), bytes);
            }
            DiskAction::Remove { file } => drop(disk.remove(&*file)),
            DiskAction::Sync { .. } | DiskAction::SyncDir { .. } => {}
        }
        DiskReply::Done
    }
}
