//! Drives writer and recovery against a disk that forgets.

mod crashes;
mod damage;
mod format;
mod model_disk;
mod rot;
mod writing;

use bytes::Bytes;

use crate::disk_queue::DiskQueue;
use crate::effect::{DiskAction, Effect, HaltReason, Outputs};
use crate::input::DiskReply;
use crate::log::{ConfState, Entry, EntryKind, SnapshotMeta};
use crate::types::{ClusterId, DiskOp, LogIndex, NodeId, Term};

use super::{Progress, Recovered, Recovery, WalConfig, Writer};
use model_disk::{Draw, ModelDisk};

/// Small limits, so that a few entries reach all of them.
fn small_config() -> WalConfig {
    WalConfig {
        node_id: NodeId(0x2e12_59d4_15f2_a040),
        cluster_id: ClusterId(0x0482_76a8_f75b_6a87),
        segment_bytes: 2048,
        writes_in_flight_max: 2,
        write_bytes_max: 512,
        record_bytes_max: 256,
        mark_interval_bytes: 700,
        read_bytes_max: 333,
    }
}

fn entry(term: u64, index: u64, data: &[u8]) -> Entry {
    Entry { term: Term(term), index: LogIndex(index), kind: EntryKind::Normal, data: Bytes::copy_from_slice(data) }
}

fn mark(term: u64, index: u64) -> SnapshotMeta {
    let conf_state = ConfState { voters: vec![NodeId(1), NodeId(2)], ..ConfState::default() };
    SnapshotMeta { index: LogIndex(index), term: Term(term), conf_state }
}

/// Reads a log back from a disk that works.
fn recover(config: &WalConfig, disk: &mut ModelDisk) -> Result<Recovered, HaltReason> {
    let mut recovery = Recovery::new(config.clone(), &disk.listing());
    while let Some(read) = recovery.next_read() {
        assert!(recovery.next_read().is_none(), "one read at a time");
        let order = disk.issue(&read);
        let Ok(DiskReply::Data(bytes)) = disk.complete(order, &read) else { panic!("a read gives bytes") };
        recovery.feed(bytes)?;
        let (read_bytes, total_bytes) = recovery.progress();
        assert!(read_bytes <= total_bytes, "more is read than there is");
    }
    assert!(recovery.is_done());
    recovery.finish()
}

/// One life of a node, as far as its log goes.
struct Life {
    disk: ModelDisk,
    queue: DiskQueue,
    outstanding: Vec<(u64, DiskOp, DiskAction)>,
    writer: Writer,
}

impl Life {
    /// Begins a life with what the disk holds.
    fn begin(config: &WalConfig, mut disk: ModelDisk) -> Result<(Life, Recovered), HaltReason> {
        let recovered = recover(config, &mut disk)?;
        let mut queue = DiskQueue::default();
        let writer = Writer::open(config.clone(), recovered.start.clone(), &mut queue);
        let mut life = Life { disk, queue, outstanding: Vec::new(), writer };
        life.issue();
        Ok((life, recovered))
    }

    /// A life on an empty disk, open.
    fn fresh(config: &WalConfig) -> Life {
        let (mut life, recovered) = Life::begin(config, ModelDisk::default()).expect("an empty disk is fine");
        assert!(recovered.fresh);
        life.settle();
        assert!(life.writer.is_open());
        life
    }

    /// Hands what the writer asked for to the disk.
    fn issue(&mut self) {
        let mut out = Outputs::default();
        self.queue.drain(&mut out);
        for effect in out.effects {
            let Effect::Disk { op, action } = effect else { panic!("only disk actions are queued") };
            let order = self.disk.issue(&action);
            self.outstanding.push((order, op, action));
        }
    }

    /// Completes one of the operations under way.
    fn complete(&mut self, at: usize) -> Progress {
        self.try_complete(at).expect("the disk works")
    }

    /// Completes one of the operations under way, which may fail.
    fn try_complete(&mut self, at: usize) -> Result<Progress, HaltReason> {
        let (order, op, action) = self.outstanding.remove(at);
        let result = self.disk.complete(order, &action);
        let progress = self.writer.on_disk_done(op, &result, &mut self.queue)?;
        assert!(progress.ours);
        self.writer.flush(&mut self.queue);
        self.issue();
        Ok(progress)
    }

    /// Flushes and completes everything, in order.
    fn settle(&mut self) {
        self.writer.flush(&mut self.queue);
        self.issue();
        while !self.outstanding.is_empty() {
            self.complete(0);
        }
    }

    fn append(&mut self, entries: &[Entry]) {
        self.writer.append(entries.to_vec(), None, None);
        self.settle();
    }

    fn stop(mut self) -> ModelDisk {
        self.writer.stop(&mut self.queue);
        self.settle();
        assert!(self.writer.is_stopped());
        self.disk
    }

    fn segments(&self) -> Vec<String> {
        self.writer.segment_files().map(|file| file.to_string()).collect()
    }
}
