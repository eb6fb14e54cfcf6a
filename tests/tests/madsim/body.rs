//! The body that madsim gives to the shim's loop: virtual time, tasks, datagrams, and the simulator's disk in memory.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use detcd::driver::Body;
use detcd::inbox::Item;
use detcd_core::effect::Garbage;
use detcd_core::seed::draw_below;
use detcd_core::types::{DiskOp, NodeId};
use detcd_core::{DiskAction, Input, Instant, Listing, NodeStatus, Note, StoreView};
use detcd_sim::disk::{CrashOdds, Disk, SECTOR_BYTES};
use madsim::net::Endpoint;
use madsim::rand::{Rng, thread_rng};
use madsim::task;
use madsim::time::{sleep, timeout};
use tokio::sync::Notify;

use crate::record::{Recorder, Seen, now};

/// The datagrams of members among each other.
pub const PEER_TAG: u64 = 1;

/// How long a disk takes for an action, in microseconds: so differently long that they complete in any order.
const DISK_MICROS: std::ops::Range<u64> = 1_000..6_000;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The queue in front of a node.
#[derive(Debug, Default)]
pub struct Queue {
    /// `None` when it is closed.
    items: Mutex<Option<Vec<Item>>>,
    filled: Notify,
}

impl Queue {
    /// An open one.
    pub fn new() -> Arc<Queue> {
        Arc::new(Queue { items: Mutex::new(Some(Vec::new())), filled: Notify::new() })
    }

    /// Adds an item, or drops it if nobody will take it.
    pub fn put(&self, item: impl Into<Item>) {
        if let Some(items) = lock(&self.items).as_mut() {
            items.push(item.into());
            self.filled.notify_one();
        }
    }

    fn is_empty(&self) -> bool {
        lock(&self.items).as_ref().is_none_or(Vec::is_empty)
    }
}

/// A disk that outlives its member.
#[derive(Clone, Debug, Default)]
pub struct KeptDisk {
    disk: Arc<Mutex<Disk>>,
    /// It says that a sync is done and does nothing: what the tests of the tests need.
    lies: bool,
}

impl KeptDisk {
    /// An empty disk, which lies about syncs or does not.
    pub fn new(lies: bool) -> KeptDisk {
        KeptDisk { disk: Arc::default(), lies }
    }

    /// Names and sizes of its files.
    pub fn listing(&self) -> Listing {
        lock(&self.disk).listing()
    }

    /// The machine loses power: of what was not synced, some survives, and some of it in part, as `draw` says. A disk
    /// that lies loses all of it.
    pub fn lose_power(&self, draw: u64) {
        if self.lies {
            lock(&self.disk).crash_to(&[], SECTOR_BYTES);
        } else {
            let keeps_permille = draw_below(draw, &[1], 1_001);
            let odds = CrashOdds { keeps_permille, tears_permille: keeps_permille, grain_bytes: SECTOR_BYTES };
            lock(&self.disk).crash(odds, draw);
        }
    }

    fn issue(&self, queue: &Arc<Queue>, op: DiskOp, action: DiskAction) {
        let completion = lock(&self.disk).issue(action, true);
        let (kept, queue) = (self.clone(), Arc::clone(queue));
        let takes = Duration::from_micros(thread_rng().gen_range(DISK_MICROS));
        task::spawn(async move {
            sleep(takes).await;
            if let Some(durable) = completion.durable.filter(|_| !kept.lies) {
                lock(&kept.disk).complete(&durable);
            }
            queue.put(Input::DiskDone { op, result: completion.reply });
        });
    }
}

/// What one life of a member works with.
pub struct MadsimBody {
    /// The member's place.
    pub place: usize,
    /// Where inputs come from.
    pub queue: Arc<Queue>,
    /// Where disk actions go.
    pub disk: KeptDisk,
    /// Where datagrams leave and arrive.
    pub endpoint: Endpoint,
    /// Where each member listens.
    pub peers: Arc<BTreeMap<NodeId, SocketAddr>>,
    /// Who observes.
    pub recorder: Arc<Recorder>,
}

impl Body for MadsimBody {
    fn now(&self) -> Instant {
        Instant::from_nanos(now())
    }

    async fn take(&mut self, patience: Duration, into: &mut Vec<Item>) {
        if patience.is_zero() {
            // Time goes on only between tasks.
            task::yield_now().await;
        } else if self.queue.is_empty() {
            // Nothing has come, or something: both are seen below.
            let _ = timeout(patience, self.queue.filled.notified()).await;
        }
        if let Some(items) = lock(&self.queue.items).as_mut() {
            into.append(items);
        }
    }

    fn send(&mut self, to: NodeId, frame: Bytes) {
        let (endpoint, address) = (self.endpoint.clone(), self.peers[&to]);
        task::spawn(async move {
            // Without its receiver it is lost, as on any network.
            let _ = endpoint.send_to(address, PEER_TAG, &frame).await;
        });
    }

    fn issue(&mut self, op: DiskOp, action: DiskAction) {
        self.disk.issue(&self.queue, op, action);
    }

    fn discard(&mut self, garbage: Garbage) {
        drop(garbage);
    }

    fn stepped(&mut self, notes: &[Note], status: &NodeStatus, view: &StoreView) {
        let (node, notes) = (self.place, notes.to_vec());
        self.recorder.see(Seen::Stepped { node, notes, status: *status, view: view.clone() });
    }

    fn close(&mut self) {
        // What is dropped may wake others, which is nothing to hold a lock for.
        let dropped = lock(&self.queue.items).take();
        drop(dropped);
    }
}
