//! What a member without room on its disk still takes.
//!
//! It refuses proposals, but goes on with what frees space, and with the entries that open a leader's term or change
//! the members: without these nobody could read or be replaced. Heartbeats, votes and answers cost next to nothing and
//! are taken in any case.

use bytes::Bytes;

use super::member::Member;
use crate::consensus::{self, Carried};
use crate::log::EntryKind;
use crate::state_machine::Command;
use crate::wal::Claim;

/// What an entry takes in the log beside its data, at most.
const ENTRY_OVERHEAD_BYTES: u64 = 80;

/// What the mark of a snapshot takes in the log, with the configuration of a large cluster.
const MARK_BYTES_MAX: u64 = 1 << 10;

/// A leader without room that has handed leadership on, and got it back, keeps it for this many election timeouts: its
/// successors have no room either, and somebody has to take the deletions.
const KEEP_ELECTION_TIMEOUTS: u32 = 5;

/// What an entry with so much data takes in the log, at most.
pub(super) fn room_of(data_bytes: usize) -> u64 {
    data_bytes as u64 + ENTRY_OVERHEAD_BYTES
}

impl Member {
    /// Whether a proposal may be appended, beside those that are not handed to the log yet.
    pub(super) fn has_room_to_propose(&self, data: &Bytes) -> bool {
        let (proposals, data_bytes) = self.consensus.proposed();
        let bytes = data_bytes + proposals as u64 * ENTRY_OVERHEAD_BYTES + room_of(data.len());
        self.writer.has_room_for(bytes, Claim::Proposal)
            || (self.writer.has_room_for(bytes, Claim::Relief) && is_relief(EntryKind::Normal, data))
    }

    /// Whether a member without room may take this raft message.
    pub(super) fn has_room_to_receive(&self, message: &[u8]) -> bool {
        match consensus::carried(message) {
            Carried::Nothing => true,
            // Its mark is all that goes into this log, and the log before it goes; its file asks for room of its own.
            Carried::Snapshot => self.writer.has_room_for(MARK_BYTES_MAX, Claim::Relief),
            Carried::Entries(entries) => {
                let bytes = entries.iter().map(|entry| room_of(entry.data.len())).sum();
                let relief = entries.iter().all(|entry| is_relief(entry.kind, &entry.data));
                self.writer.has_room_for(bytes, if relief { Claim::Relief } else { Claim::Replication })
            }
        }
    }

    /// Whether a leader has no room, be it for a larger proposal only, and did not find out lately that the others have
    /// none either.
    pub(super) fn is_to_hand_on_without_room(&self) -> bool {
        let pause = self.config.election_timeout * KEEP_ELECTION_TIMEOUTS;
        let lacks_room = self.lacked_room || !self.writer.has_room();
        lacks_room && self.handed_on_at.is_none_or(|at| self.now - at >= pause)
    }
}

/// Whether an entry frees space, or the cluster cannot go on without it.
fn is_relief(kind: EntryKind, data: &Bytes) -> bool {
    Command::decode(kind, data).is_ok_and(|command| command.adds_no_data())
}
