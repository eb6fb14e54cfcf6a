//! The thread that owns the node: takes inputs, steps, publishes the view, hands out effects. Nothing else.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use detcd_core::effect::Garbage;
use detcd_core::types::{CallId, StreamId};
use detcd_core::{
    Effect, HaltReason, Input, Instant, Listing, Node, NodeConfig, NodeStatus, Outputs, StoreView, StreamOp,
};
use tokio::sync::watch;

use crate::disk::Disk;
use crate::host::Host;
use crate::inbox::{Answer, Inbox, Item, Pushed, Waiting};
use crate::peers::Outboxes;

/// The longest wait; a node that asks for none is still looked at now and then.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How long disk actions that were issued may take after a node that must not go on has said so.
const DISK_TIME_MAX: Duration = Duration::from_secs(5);
/// How many items are stepped before the clock is asked whether the node wanted to be woken.
const ITEMS_BETWEEN_WAKEUPS: usize = 32;

/// How a node's life ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It stopped cleanly, as it was asked to.
    Stopped,
    /// It must not go on.
    Halted(HaltReason),
    /// An assertion failed: a fault of ours. The words went to stderr.
    Panicked,
}

/// What the node shows to the other threads.
#[derive(Debug)]
pub struct Published {
    view: Mutex<StoreView>,
    status: watch::Sender<NodeStatus>,
}

impl Published {
    pub(crate) fn new(view: StoreView, status: NodeStatus) -> Published {
        Published { view: Mutex::new(view), status: watch::Sender::new(status) }
    }

    /// The store as of the last step.
    pub fn view(&self) -> StoreView {
        self.view.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Follows the node's status. It is always the newest; a change is told when phase, role, term or leader changes.
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.status.subscribe()
    }

    /// Who leads, as far as the node knows; 0 for nobody.
    pub fn leader(&self) -> detcd_core::types::NodeId {
        self.status.borrow().leader
    }

    pub(crate) fn publish(&self, view: StoreView, new: NodeStatus) {
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
        self.status.send_if_modified(|old| {
            let standing = |status: &NodeStatus| (status.phase, status.role, status.term, status.leader);
            let changed = standing(old) != standing(&new);
            *old = new;
            changed
        });
    }
}

/// The node and everything that its effects go to.
pub struct Driver {
    node: Node,
    host: Host,
    inbox: Arc<Inbox>,
    disk: Disk,
    peers: Outboxes,
    published: Arc<Published>,
    garbage: mpsc::Sender<Garbage>,
    calls: HashMap<CallId, Waiting>,
    streams: HashMap<StreamId, tokio::sync::mpsc::UnboundedSender<Pushed>>,
    outputs: Outputs,
    end: Option<End>,
}

/// What a driver works with.
pub struct Parts {
    /// What the node is told.
    pub config: NodeConfig,
    /// What its data directory holds.
    pub listing: Listing,
    /// Clock and threads.
    pub host: Host,
    /// Where inputs come from.
    pub inbox: Arc<Inbox>,
    /// Where disk actions go.
    pub disk: Disk,
    /// Where messages go.
    pub peers: Outboxes,
    /// Where large things are dropped.
    pub garbage: mpsc::Sender<Garbage>,
}

impl Driver {
    /// Opens the node. What it asks for first is handed out by [`Driver::run`].
    pub fn open(parts: Parts) -> Driver {
        let mut outputs = Outputs::default();
        let node = Node::open(parts.config, parts.listing, parts.host.now(), &mut outputs);
        Driver {
            published: Arc::new(Published::new(node.view(), node.status())),
            node,
            host: parts.host,
            inbox: parts.inbox,
            disk: parts.disk,
            peers: parts.peers,
            garbage: parts.garbage,
            calls: HashMap::new(),
            streams: HashMap::new(),
            outputs,
            end: None,
        }
    }

    /// What the node shows to the other threads.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Runs the node until it stops or halts, and tells `end`. Whoever still waits for an answer then learns that none
    /// will come.
    ///
    /// A node that has stopped leaves no disk action behind. One that has halted says so first: it may have halted for
    /// a disk that never answers.
    pub fn run(mut self, end: &watch::Sender<Option<End>>) {
        self.perform();
        let mut items = Vec::new();
        while self.end.is_none() {
            let patience = self.node.next_wakeup().at.since(self.host.now());
            self.inbox.take(patience.min(WAIT_MAX), &mut items);
            for (number, item) in items.drain(..).enumerate() {
                if number % ITEMS_BETWEEN_WAKEUPS == 0 {
                    self.wake_if_due();
                }
                self.accept(item);
            }
            self.wake_if_due();
        }
        self.inbox.close();
        self.calls.clear();
        self.streams.clear();
        if self.end == Some(End::Stopped) {
            self.disk.close();
            end.send_replace(self.end);
        } else {
            end.send_replace(self.end);
            self.disk.close_within(DISK_TIME_MAX);
        }
    }

    fn wake_if_due(&mut self) {
        let now = self.host.now();
        if self.node.next_wakeup().at <= now {
            self.step(now, Input::Wakeup);
        }
    }

    fn accept(&mut self, item: Item) {
        let now = self.host.now();
        match item {
            Item::Input { input, permit } => {
                match &input {
                    Input::Cancel { call } => drop(self.calls.remove(call)),
                    Input::Stream { stream, op: StreamOp::Close } => drop(self.streams.remove(stream)),
                    _ => {}
                }
                self.step(now, input);
                drop(permit);
            }
            Item::Call { call, deadline, request, waiting } => {
                let before = self.calls.insert(call, waiting);
                assert!(before.is_none(), "call {call} is used twice");
                self.step(now, Input::Call { call, deadline, request });
            }
            Item::Open { stream, pushes } => {
                let before = self.streams.insert(stream, pushes);
                assert!(before.is_none(), "stream {stream} is used twice");
                self.step(now, Input::Stream { stream, op: StreamOp::Open });
            }
        }
    }

    fn step(&mut self, now: Instant, input: Input) {
        if self.end.is_some() {
            return;
        }
        self.node.step(now, input, &mut self.outputs);
        self.perform();
    }

    /// Publishes, then hands out the effects of the last step.
    fn perform(&mut self) {
        self.published.publish(self.node.view(), self.node.status());
        for effect in self.outputs.effects.drain(..) {
            match effect {
                Effect::Send { to, kind: _, frame } => self.peers.send(to, frame),
                Effect::Reply { call, result } => answer(&mut self.calls, call, Answer::Reply(result)),
                Effect::Read { call, request, view, header } => {
                    answer(&mut self.calls, call, Answer::Read { request, view: Box::new(view), header });
                }
                Effect::Push { stream, batch } => {
                    if let Some(pushes) = self.streams.get(&stream) {
                        // A client that went away is told to the node by `Close`.
                        let _ = pushes.send(Pushed::Batch(batch));
                    }
                }
                Effect::EndStream { stream, status } => {
                    if let Some(pushes) = self.streams.remove(&stream) {
                        let _ = pushes.send(Pushed::End(status));
                    }
                }
                Effect::Disk { op, action } => self.disk.issue(op, action),
                Effect::Discard(garbage) => {
                    // Without its thread the garbage is dropped here, late but right.
                    let _ = self.garbage.send(garbage);
                }
                Effect::Stopped => self.end = Some(End::Stopped),
                Effect::Halt(reason) => self.end = Some(End::Halted(reason)),
            }
        }
        self.outputs.clear();
    }
}

fn answer(calls: &mut HashMap<CallId, Waiting>, call: CallId, answer: Answer) {
    if let Some(waiting) = calls.remove(&call) {
        waiting.answer(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::disk::{DataDir, Done};
    use crate::flags::{self, Command};
    use detcd_core::DiskError;

    #[test]
    fn a_node_that_halts_says_why_before_it_waits_for_a_disk_that_hangs() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Arc::new(DataDir::open(folder.path(), false).expect("a data directory"));
        let Ok(Command::Run(given)) = flags::parse([], []) else { panic!("no flags at all make a member") };
        let config = Config::new(&given).expect("a configuration").node_config(1);
        let listing = dir.listing().expect("a listing");
        let (host, inbox) = (Host::start(), Arc::new(Inbox::default()));
        // The first action fails, and then the disk does not come back.
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let done: Done = {
            let inbox = Arc::clone(&inbox);
            Arc::new(move |op, _| {
                inbox.put(Input::DiskDone { op, result: Err(DiskError::Io("broken".into())) }.into());
                let _ = released.lock().expect("nobody panics with the lock").recv();
            })
        };
        let disk = Disk::new(host.clone(), dir, done);
        let (garbage, _garbage_of) = mpsc::channel();
        let peers = Outboxes::default();
        let (end, ended) = watch::channel(None);
        let driver = Driver::open(Parts { config, listing, host, inbox, disk, peers, garbage });
        let thread = std::thread::spawn(move || driver.run(&end));
        let begin = std::time::Instant::now();
        while ended.borrow().is_none() && begin.elapsed() < DISK_TIME_MAX * 4 / 5 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let told = ended.borrow().clone();
        assert!(matches!(told, Some(End::Halted(_))), "{told:?}, and the disk still hangs");
        drop(release);
        thread.join().expect("no panic");
    }
}
