//! Sending snapshots: raft-rs announces one, its follower pulls it chunk by chunk. Every attempt ends: the follower
//! acknowledges it, or the leader reports it as failed; raft-rs would wait for ever otherwise.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::member::Member;
use crate::effect::{Effect, Garbage, Outputs};
use crate::log::SnapshotMeta;
use crate::peer::Body;
use crate::proto::detcdpeer as pb;
use crate::snapshot::SnapshotWriter;
use crate::time::Instant;
use crate::types::{LogIndex, NodeId};

/// A follower that asks for nothing for this many election timeouts has lost the attempt.
const PATIENCE_ELECTION_TIMEOUTS: u32 = 3;

/// The snapshots on their way, one a follower, and the followers that have got one.
#[derive(Default)]
pub(super) struct Sending {
    to: BTreeMap<NodeId, Attempt>,
    catching_up: BTreeMap<NodeId, CatchingUp>,
}

/// A follower that has its snapshot, and not yet the log after it. Without that log it would need the next snapshot,
/// and then the next: under load, or with a slow disk, it would never be done.
struct CatchingUp {
    matched: LogIndex,
    /// Until when it has to get further.
    until: Instant,
}

impl Sending {
    /// The index after which followers need the log that got a snapshot, or get one.
    pub(super) fn oldest_needed(&self) -> Option<LogIndex> {
        let sent = self.to.values().map(|attempt| attempt.meta.index);
        sent.chain(self.catching_up.values().map(|follower| follower.matched)).min()
    }
}

struct Attempt {
    meta: SnapshotMeta,
    chunks: SnapshotWriter,
    /// The number of `current`.
    number: u64,
    current: Bytes,
    /// `None` when `current` is the last one.
    next: Option<Bytes>,
    until: Instant,
}

impl Attempt {
    /// Drops the state that it was about, where time allows.
    fn discard(self, out: &mut Outputs) {
        out.effects.push(Effect::Discard(Garbage(self.chunks.into_view())));
    }
}

impl Sending {
    /// This member does not lead any more.
    pub(super) fn forget_all(&mut self, out: &mut Outputs) {
        self.catching_up.clear();
        std::mem::take(&mut self.to).into_values().for_each(|attempt| attempt.discard(out));
    }

    fn forget(&mut self, peer: NodeId, out: &mut Outputs) {
        if let Some(attempt) = self.to.remove(&peer) {
            attempt.discard(out);
        }
    }
}

impl Member {
    /// raft-rs announces a snapshot of the state as it stands to `to`; false if the state has moved on meanwhile, and
    /// the announcement must not leave.
    pub(super) fn snapshot_leaves(&mut self, to: NodeId, meta: &SnapshotMeta, out: &mut Outputs) -> bool {
        if meta.index != self.applied() {
            self.consensus.snapshot_sent(to, false);
            return false;
        }
        let bytes = self.config.checkpoint_chunk_bytes;
        let mut chunks = SnapshotWriter::new(self.state.view(), meta.clone(), self.config.cluster_id);
        let current = chunks.next_chunk(bytes).expect("a snapshot has a header");
        let next = chunks.next_chunk(bytes);
        let until = self.sending_until();
        self.sending.forget(to, out);
        self.sending.catching_up.remove(&to);
        self.sending.to.insert(to, Attempt { meta: meta.clone(), chunks, number: 0, current, next, until });
        true
    }

    fn sending_until(&self) -> Instant {
        self.now + self.config.election_timeout * PATIENCE_ELECTION_TIMEOUTS
    }

    /// A follower asks for a chunk: the one it got last, again, or the next. One that asks beyond the last has them all
    /// and makes them durable, which may take longer than silence is borne.
    pub(super) fn snapshot_fetched(&mut self, from: NodeId, fetch: &pb::SnapshotFetch, out: &mut Outputs) {
        let (index, term, chunk) = (fetch.index, fetch.term, fetch.chunk);
        let until = self.sending_until();
        let bytes = self.config.checkpoint_chunk_bytes;
        let attempt = self.sending.to.get_mut(&from);
        let attempt = attempt.filter(|attempt| (attempt.meta.index.0, attempt.meta.term.0) == (index, term));
        let mut answer = pb::SnapshotChunk { index, term, chunk, gone: true, ..Default::default() };
        if let Some(attempt) = attempt {
            if chunk == attempt.number + 1 {
                let Some(next) = attempt.next.take() else {
                    attempt.until = until;
                    return;
                };
                attempt.number += 1;
                attempt.current = next;
                attempt.next = attempt.chunks.next_chunk(bytes);
            }
            match chunk.cmp(&attempt.number) {
                // An old request that was overtaken; its sender has what it asks for.
                Ordering::Less => return,
                Ordering::Equal => {
                    attempt.until = until;
                    answer.gone = false;
                    answer.data = attempt.current.clone();
                    answer.last = attempt.next.is_none();
                }
                // It goes on with an attempt that ended here: both begin anew.
                Ordering::Greater => {
                    self.sending.forget(from, out);
                    self.consensus.snapshot_sent(from, false);
                    out.mark("snapshot: an attempt was ended because its follower was ahead of it");
                }
            }
        }
        self.send_peer(from, Body::SnapshotChunk(answer), out);
    }

    /// Ends the attempts that arrived, or that took too long, and looks how far the followers are that got theirs.
    pub(super) fn sending_tick(&mut self, out: &mut Outputs) {
        let until = self.sending_until();
        let peers: Vec<NodeId> = self.sending.to.keys().copied().collect();
        for peer in peers {
            let late = self.sending.to[&peer].until <= self.now;
            if !self.consensus.wants_snapshot(peer) {
                self.sending.forget(peer, out);
                self.sending.catching_up.insert(peer, CatchingUp { matched: self.consensus.matched(peer), until });
            } else if late {
                self.sending.forget(peer, out);
                self.consensus.snapshot_sent(peer, false);
            }
        }
        let (consensus, now) = (&self.consensus, self.now);
        self.sending.catching_up.retain(|peer, follower| {
            let matched = consensus.matched(*peer);
            if matched > follower.matched {
                *follower = CatchingUp { matched, until };
            }
            matched < consensus.commit() && now < follower.until
        });
    }
}
