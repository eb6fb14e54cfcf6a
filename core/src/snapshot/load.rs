//! From bytes, which may be anything, to a state.

use prost::Message;

use super::codec::Decoder;
use super::{CHUNK_HEAD_BYTES, CHUNK_TAIL_BYTES, ChunkKind, MAGIC, PAYLOAD_BYTES_MAX, SnapshotError};
use crate::digest::Digest;
use crate::log::{ConfState, SnapshotMeta};
use crate::proto::etcdserverpb as pb;
use crate::state_machine::alarm::Alarms;
use crate::state_machine::lease::{LEASE_TTL_MAX_S, Leases};
use crate::state_machine::members::Members;
use crate::state_machine::mvcc::{Mvcc, ReadAt};
use crate::state_machine::record::{Contents, Position};
use crate::state_machine::store::Store;
use crate::state_machine::{StateMachine, StoreView};
use crate::types::{ClusterId, LeaseId, LogIndex, NodeId, Revision, Term};

/// No revision is as high: leaves room for the ones to come.
const REVISION_MAX: Revision = Revision::MAX / 2;

/// What the first chunk says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// Whose state it is.
    pub cluster_id: ClusterId,
    /// Where it stands in the log.
    pub meta: SnapshotMeta,
}

/// Reads the header alone from the beginning of a snapshot; `Incomplete` if the first chunk is not all there.
pub fn read_header(bytes: &[u8]) -> Result<SnapshotHeader, SnapshotError> {
    match split_chunk(bytes, 0, 0)? {
        Some(chunk) => {
            let (header, _) = decode_header(chunk.payload).ok_or(SnapshotError::NotASnapshot)?;
            Ok(header)
        }
        None => Err(SnapshotError::Incomplete),
    }
}

/// Loads a snapshot from slices of any length. Believes nothing: every length, checksum, order and total is checked.
#[derive(Clone, Debug, Default)]
pub struct SnapshotLoader {
    /// The bytes of a chunk that is not complete yet.
    pending: Vec<u8>,
    /// Where `pending` begins.
    offset: u64,
    chunk: u64,
    progress: Option<Progress>,
    failed: Option<SnapshotError>,
}

/// What was loaded so far, from the header on.
#[derive(Clone, Debug)]
struct Progress {
    header: SnapshotHeader,
    store: Store,
    section: ChunkKind,
    last_lease: Option<LeaseId>,
    last_record: Option<Position>,
    /// How many keys hang on a lease that does not exist. Among older records, whose lease may be gone since, there
    /// may be such; in the end there may not.
    dangling: u64,
}

impl SnapshotLoader {
    /// A loader that has seen nothing.
    pub fn new() -> SnapshotLoader {
        SnapshotLoader::default()
    }

    /// What the first chunk says, once it has been fed.
    pub fn header(&self) -> Option<&SnapshotHeader> {
        self.progress.as_ref().map(|progress| &progress.header)
    }

    /// The number of the chunk that is wanted next, from 0.
    pub fn next_chunk(&self) -> u64 {
        self.chunk
    }

    /// What was loaded so far: O(1). It may be much, and whoever gives the snapshot up drops it where time allows.
    pub fn partial(&self) -> Option<StoreView> {
        self.progress.as_ref().map(|progress| StateMachine::from_store(progress.store.clone()).view())
    }

    /// Takes the next bytes. After an error, it stays that error.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.take(bytes).inspect_err(|error| {
            self.failed = Some(error.clone());
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        if self.is_complete() && !bytes.is_empty() {
            return Err(self.damaged("there is more after the trailer"));
        }
        self.pending.extend_from_slice(bytes);
        let pending = std::mem::take(&mut self.pending);
        let mut used = 0;
        while let Some(chunk) = split_chunk(&pending[used..], self.chunk, self.offset)? {
            self.chunk(chunk.payload)?;
            self.chunk += 1;
            self.offset += chunk.len as u64;
            used += chunk.len;
            if self.is_complete() && used < pending.len() {
                return Err(self.damaged("there is more after the trailer"));
            }
        }
        self.pending = pending;
        self.pending.drain(..used);
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.progress.as_ref().is_some_and(|progress| progress.section == ChunkKind::Trailer)
    }

    fn damaged(&self, what: &'static str) -> SnapshotError {
        SnapshotError::Damaged { chunk: self.chunk, offset: self.offset, what }
    }

    fn chunk(&mut self, payload: &[u8]) -> Result<(), SnapshotError> {
        let Some(progress) = &mut self.progress else {
            let (header, store) = decode_header(payload).ok_or(SnapshotError::NotASnapshot)?;
            self.progress = Some(Progress {
                header,
                store,
                section: ChunkKind::Header,
                last_lease: None,
                last_record: None,
                dangling: 0,
            });
            return Ok(());
        };
        let mut decoder = Decoder::new(payload);
        let section = decoder.u8().and_then(section_of);
        let Some(section) = section.filter(|section| progress.may_follow(*section)) else {
            return Err(self.damaged("it is not the section that has to come here"));
        };
        progress.section = section;
        let loaded = match section {
            ChunkKind::Leases => progress.leases(decoder),
            ChunkKind::Records => progress.records(decoder),
            ChunkKind::Trailer => return progress.trailer(decoder),
            ChunkKind::Header => unreachable!("nothing follows into the header"),
        };
        loaded.ok_or_else(|| self.damaged("its contents make no sense"))
    }

    /// Ends the snapshot: its position in the log and its state, whose digest is the one that was written.
    pub fn finish(self) -> Result<(SnapshotMeta, StateMachine), SnapshotError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        match self.progress {
            Some(progress) if progress.section == ChunkKind::Trailer => {
                assert!(self.pending.is_empty(), "nothing is kept after the trailer");
                Ok((progress.header.meta, StateMachine::from_store(progress.store)))
            }
            _ => Err(SnapshotError::Incomplete),
        }
    }
}

impl Progress {
    /// Sections come in order; each of the inner ones may take several chunks, and at least one.
    fn may_follow(&self, section: ChunkKind) -> bool {
        let same = section == self.section && section != ChunkKind::Header && section != ChunkKind::Trailer;
        same || section as u8 == self.section as u8 + 1
    }

    fn leases(&mut self, mut decoder: Decoder<'_>) -> Option<()> {
        while !decoder.is_empty() {
            let id = LeaseId(decoder.i64()?);
            let ttl_s = decoder.i64()?;
            let remaining_s = decoder.i64()?;
            let granted = LogIndex(decoder.u64()?);
            let plausible = ttl_s <= LEASE_TTL_MAX_S
                && (remaining_s == 0 || (0..ttl_s).contains(&remaining_s))
                && granted <= self.header.meta.index;
            if self.last_lease.is_some_and(|last| last >= id) || !plausible {
                return None;
            }
            self.store.leases.grant(id, ttl_s, granted).ok()?;
            self.store.leases.checkpoint(id, remaining_s, granted);
            self.last_lease = Some(id);
        }
        Some(())
    }

    fn records(&mut self, mut decoder: Decoder<'_>) -> Option<()> {
        while !decoder.is_empty() {
            let record = decode_record(&mut decoder)?;
            if self.last_record.is_some_and(|last| last >= record.at) || !self.is_plausible(&record) {
                return None;
            }
            self.last_record = Some(record.at);
            let former = self.store.mvcc.get(record.key, ReadAt::Latest).map_or(0, |former| former.lease());
            self.attach(record.key, former, record.lease);
            self.store.mvcc.restore(&record);
        }
        Some(())
    }

    fn is_plausible(&self, record: &Contents<'_>) -> bool {
        let revision = record.at.revision;
        let dated = revision > 1 && revision <= self.store.mvcc.revision() && record.at.sub < u32::MAX;
        let numbered = if record.is_tombstone() {
            record.create_revision == 0 && record.lease == 0 && record.value.is_empty()
        } else {
            (1..i64::MAX).contains(&record.version) && record.create_revision > 1 && record.create_revision <= revision
        };
        dated && numbered && !record.key.is_empty()
    }

    /// A newer record of a key takes it from one lease, as far as that exists, to another; 0 is none.
    fn attach(&mut self, key: &[u8], from: i64, to: i64) {
        if from == to {
            return;
        }
        let leases = &mut self.store.leases;
        if from != 0 {
            match leases.get(LeaseId(from)) {
                Some(_) => leases.detach(key, from),
                None => self.dangling -= 1,
            }
        }
        if to != 0 {
            match leases.get(LeaseId(to)) {
                Some(_) => leases.attach(key, 0, to),
                None => self.dangling += 1,
            }
        }
    }

    fn trailer(&mut self, mut decoder: Decoder<'_>) -> Result<(), SnapshotError> {
        let inconsistent = |what| SnapshotError::Inconsistent { what };
        let mut total = || decoder.u64().ok_or(inconsistent("the trailer is too short"));
        let totals = [total()?, total()?];
        let digest = decoder.u128().map(Digest).ok_or(inconsistent("the trailer is too short"))?;
        if !decoder.is_empty() {
            return Err(inconsistent("the trailer is too long"));
        }
        if totals != [self.store.leases.len() as u64, self.store.mvcc.len() as u64] {
            return Err(inconsistent("the totals differ"));
        }
        if self.dangling > 0 {
            return Err(inconsistent("a key hangs on a lease that does not exist"));
        }
        if digest != self.store.digest() {
            return Err(inconsistent("the digest of the state differs"));
        }
        Ok(())
    }
}

fn section_of(kind: u8) -> Option<ChunkKind> {
    [ChunkKind::Leases, ChunkKind::Records, ChunkKind::Trailer].into_iter().find(|section| *section as u8 == kind)
}

/// A chunk that is all there.
struct Chunk<'a> {
    payload: &'a [u8],
    /// The length of the whole chunk.
    len: usize,
}

/// Splits the chunk with this number off the beginning; `None` if it is not all there yet.
fn split_chunk(bytes: &[u8], number: u64, offset: u64) -> Result<Option<Chunk<'_>>, SnapshotError> {
    let damaged = |what| SnapshotError::Damaged { chunk: number, offset, what };
    let mut decoder = Decoder::new(bytes);
    let Some(length) = decoder.u32() else { return Ok(None) };
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length == 0 || length > PAYLOAD_BYTES_MAX {
        return Err(if number == 0 { SnapshotError::NotASnapshot } else { damaged("its length is impossible") });
    }
    let Some(found) = decoder.u64() else { return Ok(None) };
    if found != number {
        return Err(if number == 0 { SnapshotError::NotASnapshot } else { damaged("it has another number") });
    }
    let Some(payload) = decoder.take(length) else { return Ok(None) };
    let Some(crc) = decoder.u32() else { return Ok(None) };
    let covered = CHUNK_HEAD_BYTES + length;
    if crc32c::crc32c(&bytes[..covered]) != crc {
        return Err(damaged("its checksum does not fit"));
    }
    Ok(Some(Chunk { payload, len: covered + CHUNK_TAIL_BYTES }))
}

fn decode_header(payload: &[u8]) -> Option<(SnapshotHeader, Store)> {
    let mut decoder = Decoder::new(payload);
    if decoder.u8()? != ChunkKind::Header as u8 || decoder.take(MAGIC.len())? != MAGIC {
        return None;
    }
    let cluster_id = ClusterId(decoder.u64()?);
    let index = LogIndex(decoder.u64()?);
    let term = Term(decoder.u64()?);
    let mut ids = || decoder.ids().map(|ids| ids.into_iter().map(NodeId).collect::<Vec<_>>());
    let (voters, learners, voters_outgoing, learners_next) = (ids()?, ids()?, ids()?, ids()?);
    let auto_leave = decoder.bool()?;
    let conf_state = ConfState { voters, learners, voters_outgoing, learners_next, auto_leave };
    let mvcc = decode_scalars(&mut decoder)?;
    let members = decode_members(&mut decoder)?;
    let alarms = decode_alarms(&mut decoder)?;
    if !decoder.is_empty() {
        return None;
    }
    let store = Store { cluster_id, applied: index, mvcc, leases: Leases::default(), alarms, members };
    Some((SnapshotHeader { cluster_id, meta: SnapshotMeta { index, term, conf_state } }, store))
}

fn decode_scalars(decoder: &mut Decoder<'_>) -> Option<Mvcc> {
    let (revision, compacted) = (decoder.i64()?, decoder.i64()?);
    let sweep_next = Position { revision: decoder.i64()?, sub: decoder.u32()? };
    let plausible = (1..=REVISION_MAX).contains(&revision)
        && (-1..=revision).contains(&compacted)
        && sweep_next >= Position::default()
        && sweep_next <= Position::first_of(compacted + 1);
    plausible.then(|| Mvcc::with_scalars(revision, compacted, sweep_next))
}

fn decode_members(decoder: &mut Decoder<'_>) -> Option<Members> {
    let mut members = Members::default();
    let mut last = None;
    for _ in 0..decoder.u32()? {
        let member = pb::Member::decode(decoder.string()?).ok()?;
        if last.is_some_and(|last| last >= member.id) {
            return None;
        }
        last = Some(member.id);
        members.set(member);
    }
    for id in decoder.ids()? {
        members.set_removed(NodeId(id));
    }
    Some(members)
}

fn decode_alarms(decoder: &mut Decoder<'_>) -> Option<Alarms> {
    let mut alarms = Alarms::default();
    let mut last = None;
    for _ in 0..decoder.u32()? {
        let alarm = (i32::try_from(decoder.i64()?).ok()?, NodeId(decoder.u64()?));
        if last.is_some_and(|last| last >= alarm) {
            return None;
        }
        last = Some(alarm);
        alarms.activate(alarm);
    }
    Some(alarms)
}

fn decode_record<'a>(decoder: &mut Decoder<'a>) -> Option<Contents<'a>> {
    let at = Position { revision: decoder.i64()?, sub: decoder.u32()? };
    let create_revision = decoder.i64()?;
    let version = decoder.i64()?;
    let lease = decoder.i64()?;
    let key = decoder.string()?;
    let value = decoder.string()?;
    Some(Contents { key, value, at, create_revision, version, lease })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::snapshot::SnapshotWriter;
    use crate::state_machine::Command;

    fn state() -> StateMachine {
        let mut state = StateMachine::genesis(ClusterId(7), &[]);
        let put = |key: &'static str, lease| pb::InternalRaftRequest {
            put: Some(pb::PutRequest { key: Bytes::from(key), lease, ..Default::default() }),
            ..Default::default()
        };
        let grant = |id| pb::InternalRaftRequest {
            lease_grant: Some(pb::LeaseGrantRequest { id, ttl: 10 }),
            ..Default::default()
        };
        let revoke =
            pb::InternalRaftRequest { lease_revoke: Some(pb::LeaseRevokeRequest { id: 3 }), ..Default::default() };
        let checkpoints = vec![pb::LeaseCheckpoint { id: 2, remaining_ttl: 4 }];
        let checkpoint = pb::InternalRaftRequest {
            lease_checkpoint: Some(pb::LeaseCheckpointRequest { checkpoints, seen_index: 3 }),
            ..Default::default()
        };
        let alarm = |member_id, kind: pb::AlarmType| {
            let action = pb::alarm_request::AlarmAction::Activate.into();
            let alarm = pb::AlarmRequest { action, member_id, alarm: kind.into() };
            pb::InternalRaftRequest { alarm: Some(alarm), ..Default::default() }
        };
        let requests = [
            grant(1),
            grant(2),
            grant(3),
            put("moved", 1),
            put("moved", 2),
            put("left", 1),
            put("left", 0),
            put("kept", 1),
            put("revoked", 3),
            put("rescued", 3),
            put("rescued", 2),
            revoke,
            alarm(9, pb::AlarmType::Nospace),
            alarm(2, pb::AlarmType::Corrupt),
            checkpoint,
        ];
        for (at, request) in requests.into_iter().enumerate() {
            state.apply(LogIndex(at as u64 + 1), &Command::from(request)).result.expect("all of this is allowed");
        }
        state
    }

    /// The state's snapshot, cut as small as can be.
    fn written(state: &StateMachine) -> Vec<Bytes> {
        let meta = SnapshotMeta { index: state.applied(), term: Term(1), conf_state: ConfState::default() };
        let mut writer = SnapshotWriter::new(state.view(), meta, ClusterId(7));
        std::iter::from_fn(|| writer.next_chunk(1)).collect()
    }

    #[test]
    fn a_snapshot_of_the_former_version_is_refused_in_one_line() {
        let header = written(&state()).swap_remove(0);
        let mut former = header.to_vec();
        let magic = CHUNK_HEAD_BYTES + 1..CHUNK_HEAD_BYTES + 1 + MAGIC.len();
        former[magic].copy_from_slice(b"detcdck2");
        former.truncate(header.len() - CHUNK_TAIL_BYTES);
        former.extend_from_slice(&crc32c::crc32c(&former).to_le_bytes());
        assert!(read_header(&header).is_ok());
        let refusal = SnapshotLoader::new().feed(&former).expect_err("it has no remaining times");
        assert_eq!(refusal.to_string(), "this is no snapshot of a version that is known here");
        assert_eq!(read_header(&former), Err(refusal));
    }

    #[test]
    fn leases_have_their_keys_and_their_remaining_time_before_the_trailer_comes() {
        let state = state();
        let chunks = written(&state);
        let (trailer, before) = chunks.split_last().expect("there is a trailer");
        let mut loader = SnapshotLoader::new();
        for chunk in before {
            loader.feed(chunk).expect("it is whole");
        }
        let loaded = loader.partial().expect("there is a header");
        for id in 1..=3 {
            assert_eq!(loaded.lease(LeaseId(id)), state.view().lease(LeaseId(id)), "lease {id}");
        }
        assert_eq!(loaded.lease_time(LeaseId(2)).expect("it lives").remaining_s, 4);
        loader.feed(trailer).expect("it is whole");
        let (_, restored) = loader.finish().expect("it is complete");
        assert_eq!(restored.digest(), state.digest());
        assert_eq!(restored.recompute_digest(), state.digest());
    }
}
