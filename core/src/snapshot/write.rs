//! From a state to its bytes, a bounded piece at a time.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message;

use super::codec::{Encoder, length};
use super::{CHUNK_HEAD_BYTES, CHUNK_TAIL_BYTES, ChunkKind, MAGIC, PAYLOAD_BYTES_MAX};
use crate::log::SnapshotMeta;
use crate::state_machine::StoreView;
use crate::state_machine::record::{Contents, Position, Record};
use crate::types::{ClusterId, LeaseId, NodeId};

/// What most records take, keys and values included.
const RECORD_BYTES_USUAL: usize = 4 << 10;

/// What a lease takes: its id, its TTL, its remaining time and the index that granted it.
const LEASE_BYTES: usize = 32;

/// Where the writer stands: what comes next, after what.
#[derive(Clone, Debug)]
enum Next {
    Header,
    Leases(Option<LeaseId>),
    Records(Option<Position>),
    Trailer,
    Nothing,
}

/// Writes a state as a snapshot, chunk by chunk. Equal states with equal metadata and chunk sizes give equal bytes.
#[derive(Clone, Debug)]
pub struct SnapshotWriter {
    view: StoreView,
    meta: SnapshotMeta,
    next: Next,
    chunk: u64,
    /// What the records that are written take by the replicated measure.
    records_bytes: usize,
}

impl SnapshotWriter {
    /// A writer of `view`, which must be the state exactly at `meta.index`, of the cluster `cluster_id`.
    pub fn new(view: StoreView, meta: SnapshotMeta, cluster_id: ClusterId) -> SnapshotWriter {
        assert_eq!(view.applied(), meta.index, "a snapshot is of one state");
        assert_eq!(view.cluster_id(), cluster_id, "a snapshot is of one cluster");
        SnapshotWriter { view, meta, next: Next::Header, chunk: 0, records_bytes: 0 }
    }

    /// What is being written.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.meta
    }

    /// Gives the state back; it may be the last hold on much that is old.
    pub fn into_view(self) -> StoreView {
        self.view
    }

    /// The next chunk: about as long as asked for, longer only for one long record. `None` after the last.
    pub fn next_chunk(&mut self, about_bytes: usize) -> Option<Bytes> {
        // One long record may come after the bytes that were asked for.
        let mut chunk = Encoder::with_capacity(self.bytes_left_max().min(about_bytes + RECORD_BYTES_USUAL));
        chunk.u32(0);
        chunk.u64(self.chunk);
        match std::mem::replace(&mut self.next, Next::Nothing) {
            Next::Header => self.header(&mut chunk),
            Next::Leases(after) => self.leases(&mut chunk, after, about_bytes),
            Next::Records(after) => self.records(&mut chunk, after, about_bytes),
            Next::Trailer => self.trailer(&mut chunk),
            Next::Nothing => return None,
        }
        self.chunk += 1;
        Some(seal(chunk))
    }

    /// How much a chunk of the kind that comes next may take. It stays in memory, and on a disk, as long as it is made.
    fn bytes_left_max(&self) -> usize {
        let store = &self.view.store;
        let payload = match &self.next {
            Next::Header | Next::Trailer | Next::Nothing => 512,
            Next::Leases(_) => store.leases.len() * LEASE_BYTES,
            Next::Records(_) => {
                let (all, _) = store.mvcc.logical_bytes();
                // By the replicated measure a record takes more than its bytes here.
                usize::try_from(all).unwrap_or(usize::MAX).saturating_sub(self.records_bytes)
            }
        };
        payload.saturating_add(CHUNK_HEAD_BYTES + size_of::<ChunkKind>() + CHUNK_TAIL_BYTES)
    }

    fn header(&mut self, chunk: &mut Encoder) {
        let store = &self.view.store;
        chunk.u8(ChunkKind::Header as u8);
        chunk.bytes.extend_from_slice(MAGIC);
        chunk.u64(store.cluster_id.0);
        chunk.u64(self.meta.index.0);
        chunk.u64(self.meta.term.0);
        // The whole configuration, also the half that is being left (zoo, row 46).
        let conf_state = &self.meta.conf_state;
        for ids in [&conf_state.voters, &conf_state.learners, &conf_state.voters_outgoing, &conf_state.learners_next] {
            assert!(ids.is_sorted_by(|a, b| a < b), "the lists of a configuration are sorted");
            chunk.ids(ids.iter().map(|NodeId(id)| *id));
        }
        chunk.u8(u8::from(conf_state.auto_leave));
        chunk.i64(store.mvcc.revision());
        chunk.i64(store.mvcc.compacted());
        chunk.i64(store.mvcc.sweep_next().revision);
        chunk.u32(store.mvcc.sweep_next().sub);
        let members: Vec<_> = store.members.iter().collect();
        chunk.u32(u32::try_from(members.len()).expect("fewer members than 2^32"));
        for member in members {
            chunk.string(&member.encode_to_vec());
        }
        let removed: Vec<u64> = store.members.removed().map(|NodeId(id)| id).collect();
        chunk.ids(removed.into_iter());
        let alarms: Vec<_> = store.alarms.iter().collect();
        chunk.u32(u32::try_from(alarms.len()).expect("fewer alarms than 2^32"));
        for (kind, NodeId(id)) in alarms {
            chunk.i64(i64::from(kind));
            chunk.u64(id);
        }
        self.next = Next::Leases(None);
    }

    fn leases(&mut self, chunk: &mut Encoder, after: Option<LeaseId>, about_bytes: usize) {
        chunk.u8(ChunkKind::Leases as u8);
        self.next = Next::Records(None);
        // The keys of a lease are not written: they are those whose newest records name it.
        for (id, lease) in self.view.store.leases.after(after) {
            chunk.i64(id.0);
            chunk.i64(lease.ttl_s);
            chunk.i64(lease.remaining_s);
            chunk.u64(lease.granted.0);
            if chunk.bytes.len() >= about_bytes {
                self.next = Next::Leases(Some(id));
                return;
            }
        }
    }

    fn records(&mut self, chunk: &mut Encoder, after: Option<Position>, about_bytes: usize) {
        chunk.u8(ChunkKind::Records as u8);
        let records_bytes = &mut self.records_bytes;
        let cut = self.view.store.mvcc.records_after(after).try_for_each(|record| {
            encode_record(chunk, record);
            *records_bytes += usize::try_from(record.logical_bytes()).expect("it is in memory");
            let is_full = chunk.bytes.len() >= about_bytes;
            if is_full { ControlFlow::Break(record.at()) } else { ControlFlow::Continue(()) }
        });
        self.next = cut.break_value().map_or(Next::Trailer, |last| Next::Records(Some(last)));
    }

    fn trailer(&mut self, chunk: &mut Encoder) {
        chunk.u8(ChunkKind::Trailer as u8);
        chunk.u64(self.view.store.leases.len() as u64);
        chunk.u64(self.view.store.mvcc.len() as u64);
        chunk.u128(self.view.digest().0);
    }
}

fn encode_record(chunk: &mut Encoder, record: &Record) {
    let Contents { key, value, at, create_revision, version, lease } = record.contents();
    let mut head = [0; 40];
    head[0..8].copy_from_slice(&at.revision.to_le_bytes());
    head[8..12].copy_from_slice(&at.sub.to_le_bytes());
    head[12..20].copy_from_slice(&create_revision.to_le_bytes());
    head[20..28].copy_from_slice(&version.to_le_bytes());
    head[28..36].copy_from_slice(&lease.to_le_bytes());
    head[36..40].copy_from_slice(&length(key).to_le_bytes());
    let pieces = [&head[..], key, &length(value).to_le_bytes(), value];
    chunk.bytes.reserve(pieces.iter().map(|piece| piece.len()).sum());
    pieces.into_iter().for_each(|piece| chunk.bytes.extend_from_slice(piece));
}

/// Fills in the length and adds the checksum.
fn seal(mut chunk: Encoder) -> Bytes {
    let payload = chunk.bytes.len() - CHUNK_HEAD_BYTES;
    assert!(payload <= PAYLOAD_BYTES_MAX, "a chunk is cut long before this");
    let length = u32::try_from(payload).expect("bounded above");
    chunk.bytes[..4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c(&chunk.bytes);
    chunk.u32(crc);
    debug_assert_eq!(chunk.bytes.len(), CHUNK_HEAD_BYTES + payload + CHUNK_TAIL_BYTES);
    Bytes::from(chunk.bytes)
}
