//! The loop around a node: takes inputs, steps, publishes the view, hands out effects. Nothing else.
//!
//! It is the same for every host. What a host has to give is its [`Body`]: a clock, a queue of inputs, and places for
//! the effects. The member that is deployed has a thread that blocks (`real_body`); a simulated runtime has tasks.
//! Both laws of effects and views are kept here, so no body can break them: the view is out before the first effect of
//! its step, and effects are handed over in their order, each at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use detcd_core::effect::Garbage;
use detcd_core::types::{CallId, DiskOp, NodeId, StreamId};
use detcd_core::{
    DiskAction, Effect, HaltReason, Input, Instant, Listing, Node, NodeConfig, NodeStatus, Note, Outputs, StoreView,
    StreamOp,
};
use tokio::sync::watch;

use crate::inbox::{Answer, Item, Pushed, Waiting};

/// The longest wait; a node that asks for none is still looked at now and then.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// How many items are stepped before the clock is asked whether the node wanted to be woken.
const ITEMS_BETWEEN_WAKEUPS: usize = 32;

/// What a host gives to the loop: the only place from which it takes time and inputs, and to which effects go.
///
/// Answers to calls and responses to watch streams are not here: they go to where each [`Item`] said.
pub trait Body {
    /// The time on the member's monotonic clock.
    fn now(&self) -> Instant;

    /// Moves everything that has come to `into`, which is empty, in the order in which it came; waits at most
    /// `patience` for the first. A body with a thread of its own may block it instead of being pending.
    fn take(&mut self, patience: Duration, into: &mut Vec<Item>) -> impl Future<Output = ()>;

    /// Sends a frame to another member, or loses it. Never waits.
    fn send(&mut self, to: NodeId, frame: Bytes);

    /// Begins a disk action; its result comes back as [`Input::DiskDone`]. Never waits. Actions are issued in the order
    /// of the calls, and [`DiskAction`] says what that order means.
    fn issue(&mut self, op: DiskOp, action: DiskAction);

    /// Drops something large where nobody waits for it.
    fn discard(&mut self, garbage: Garbage);

    /// Tells an observer what a step did and what it is about to show, before its effects are performed. The first call
    /// is that of the opening.
    fn stepped(&mut self, notes: &[Note], status: &NodeStatus, view: &StoreView) {
        let _ = (notes, status, view);
    }

    /// The node's life is over: what waits to be taken, and what still comes, is dropped.
    fn close(&mut self);
}

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

/// What the node shows to others on its host.
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
    pub fn leader(&self) -> NodeId {
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

/// A node and the body that its effects go to.
pub struct Driver<B> {
    node: Node,
    body: B,
    published: Arc<Published>,
    // In order, so that whoever waits learns of a node's end in the same order on every run of a simulated host.
    calls: BTreeMap<CallId, Waiting>,
    streams: BTreeMap<StreamId, tokio::sync::mpsc::UnboundedSender<Pushed>>,
    outputs: Outputs,
    end: Option<End>,
}

impl<B: Body> Driver<B> {
    /// Opens the node on what its data directory holds. What it asks for first is handed out by [`Driver::run`].
    pub fn open(config: NodeConfig, listing: Listing, body: B) -> Driver<B> {
        let mut outputs = Outputs::default();
        let node = Node::open(config, listing, body.now(), &mut outputs);
        Driver {
            published: Arc::new(Published::new(node.view(), node.status())),
            node,
            body,
            calls: BTreeMap::new(),
            streams: BTreeMap::new(),
            outputs,
            end: None,
        }
    }

    /// What the node shows to others on its host.
    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    /// Runs the node until it stops or halts, and says how it ended. Whoever still waits for an answer has then learnt
    /// that none will come.
    ///
    /// A node that has stopped leaves no disk action behind; one that has halted may.
    pub async fn run(&mut self) -> End {
        self.perform();
        let mut items = Vec::new();
        let end = loop {
            if let Some(end) = self.end.clone() {
                break end;
            }
            let patience = self.node.next_wakeup().at.since(self.body.now());
            self.body.take(patience.min(WAIT_MAX), &mut items).await;
            for (number, item) in items.drain(..).enumerate() {
                if number % ITEMS_BETWEEN_WAKEUPS == 0 {
                    self.wake_if_due();
                }
                self.accept(item);
            }
            self.wake_if_due();
        };
        self.body.close();
        self.calls.clear();
        self.streams.clear();
        end
    }

    /// What is left after a run: the body, and the node, whose destruction may take time.
    pub fn into_parts(self) -> (B, Node) {
        (self.body, self.node)
    }

    fn wake_if_due(&mut self) {
        let now = self.body.now();
        if self.node.next_wakeup().at <= now {
            self.step(now, Input::Wakeup);
        }
    }

    fn accept(&mut self, item: Item) {
        let now = self.body.now();
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
        let (view, status) = (self.node.view(), self.node.status());
        self.body.stepped(&self.outputs.notes, &status, &view);
        self.published.publish(view, status);
        for effect in self.outputs.effects.drain(..) {
            match effect {
                Effect::Send { to, kind: _, frame } => self.body.send(to, frame),
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
                Effect::Disk { op, action } => self.body.issue(op, action),
                Effect::Discard(garbage) => self.body.discard(garbage),
                Effect::Stopped => self.end = Some(End::Stopped),
                Effect::Halt(reason) => self.end = Some(End::Halted(reason)),
            }
        }
        self.outputs.clear();
    }
}

fn answer(calls: &mut BTreeMap<CallId, Waiting>, call: CallId, answer: Answer) {
    if let Some(waiting) = calls.remove(&call) {
        waiting.answer(answer);
    }
}
