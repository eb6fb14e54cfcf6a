//! Sending snapshots: raft-rs announces one, its follower pulls it in chunks. Every attempt ends when its follower
//! acknowledges it or falls silent; raft-rs would wait for ever otherwise. A follower that has got one is owed the log
//! after it: without that it would need the next one, and then the next.

use std::collections::BTreeMap;

use super::member::Member;
use super::snapshot_window::{Answer, Window};
use crate::effect::Outputs;
use crate::log::SnapshotMeta;
use crate::peer::Body;
use crate::proto::detcdpeer as pb;
use crate::snapshot::SnapshotWriter;
use crate::time::Instant;
use crate::types::{LogIndex, NodeId};

/// A follower that asks for nothing for this many election timeouts has lost the attempt.
pub(super) const PATIENCE_ELECTION_TIMEOUTS: u32 = 3;

/// The snapshots on their way, one a follower, and the followers that catch up from one.
#[derive(Default)]
pub(super) struct Sending {
    to: BTreeMap<NodeId, Attempt>,
    catching_up: BTreeMap<NodeId, CatchingUp>,
}

/// A snapshot on its way to a follower.
struct Attempt {
    meta: SnapshotMeta,
    window: Window,
    until: Instant,
}

/// A follower that has its snapshot, and not yet the log after it.
struct CatchingUp {
    /// It needs the log after this.
    needs_after: LogIndex,
    /// Until when it has to be heard of.
    until: Instant,
}

impl Sending {
    /// The index after which the log is needed by followers that get a snapshot or have got one. One that needs more
    /// than the log that begins after `base` needs another snapshot in any case, and does not count.
    pub(super) fn oldest_needed(&self, base: LogIndex) -> Option<LogIndex> {
        let sent = self.to.values().map(|attempt| attempt.meta.index);
        let needed = sent.chain(self.catching_up.values().map(|follower| follower.needs_after));
        needed.filter(|index| *index >= base).min()
    }

    /// This member does not lead any more.
    pub(super) fn forget_all(&mut self, out: &mut Outputs) {
        self.catching_up.clear();
        std::mem::take(&mut self.to).into_values().for_each(|mut attempt| attempt.window.discard(out));
    }

    fn forget(&mut self, peer: NodeId, out: &mut Outputs) {
        if let Some(mut attempt) = self.to.remove(&peer) {
            attempt.window.discard(out);
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
        let writer = SnapshotWriter::new(self.state.view(), meta.clone(), self.config.cluster_id);
        let window = Window::new(writer, self.config.checkpoint_chunk_bytes);
        let until = self.sending_until();
        self.sending.forget(to, out);
        self.sending.catching_up.remove(&to);
        self.sending.to.insert(to, Attempt { meta: meta.clone(), window, until });
        true
    }

    fn sending_until(&self) -> Instant {
        self.now + self.config.election_timeout * PATIENCE_ELECTION_TIMEOUTS
    }

    /// A follower says which chunks it has, and for how many more it has room. Without room it is at work, which its
    /// disk may make longer than silence is borne.
    pub(super) fn snapshot_fetched(&mut self, from: NodeId, fetch: &pb::SnapshotFetch, out: &mut Outputs) {
        let (index, term) = (fetch.index, fetch.term);
        let until = self.sending_until();
        let attempt = self.sending.to.get_mut(&from);
        let attempt = attempt.filter(|attempt| (attempt.meta.index.0, attempt.meta.term.0) == (index, term));
        let Some(attempt) = attempt else {
            return self.snapshot_is_gone(from, fetch, out);
        };
        if fetch.room == 0 {
            attempt.until = until;
            return;
        }
        match attempt.window.confirm(fetch.chunk, fetch.room, out) {
            Answer::Overtaken => {}
            Answer::Send(numbers) => {
                attempt.until = until;
                let chunks: Vec<_> = numbers.map(|number| (number, attempt.window.chunk(number))).collect();
                for (chunk, (data, last)) in chunks {
                    let chunk = pb::SnapshotChunk { index, term, chunk, last, data, gone: false };
                    self.send_peer(from, Body::SnapshotChunk(chunk), out);
                }
            }
            // Both begin anew.
            Answer::Ahead => {
                self.sending.forget(from, out);
                self.consensus.snapshot_sent(from, false);
                out.mark("snapshot: an attempt was ended because its follower was ahead of it");
                self.snapshot_is_gone(from, fetch, out);
            }
        }
    }

    fn snapshot_is_gone(&mut self, to: NodeId, fetch: &pb::SnapshotFetch, out: &mut Outputs) {
        let pb::SnapshotFetch { index, term, chunk, .. } = *fetch;
        let gone = pb::SnapshotChunk { index, term, chunk, gone: true, ..Default::default() };
        self.send_peer(to, Body::SnapshotChunk(gone), out);
    }

    /// Ends the attempts that were acknowledged, or whose followers fell silent, and looks how far those are that got
    /// theirs.
    pub(super) fn sending_tick(&mut self, out: &mut Outputs) {
        let peers: Vec<NodeId> = self.sending.to.keys().copied().collect();
        for peer in peers {
            let Attempt { meta, window, until } = &self.sending.to[&peer];
            let (index, late, all_sent) = (meta.index, *until <= self.now, window.is_all_sent());
            let acknowledged = !self.consensus.wants_snapshot(peer);
            if !acknowledged && !late {
                continue;
            }
            self.sending.forget(peer, out);
            if !acknowledged {
                // It may have it all, and the acknowledgement was lost or is late.
                self.consensus.snapshot_sent(peer, all_sent);
            }
            if acknowledged || all_sent {
                let until = self.sending_until();
                self.sending.catching_up.insert(peer, CatchingUp { needs_after: index, until });
            }
        }
        self.look_who_catches_up();
    }

    fn look_who_catches_up(&mut self) {
        let until = self.sending_until();
        let (consensus, now) = (&self.consensus, self.now);
        self.sending.catching_up.retain(|peer, follower| {
            let Some((matched, is_active)) = consensus.matched(*peer) else { return false };
            follower.needs_after = follower.needs_after.max(matched);
            if is_active {
                follower.until = until;
            }
            follower.needs_after < consensus.commit() && now < follower.until
        });
    }
}
