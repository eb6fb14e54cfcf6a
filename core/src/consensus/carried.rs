//! What a raft message would put on the disk.

use raft::eraftpb::MessageType;

use super::wire;
use crate::log::Entry;

/// What a raft message carries that needs room on the disk.
#[derive(Debug)]
pub(crate) enum Carried {
    /// Nothing. Also what cannot be decoded, and is refused elsewhere.
    Nothing,
    /// Entries for the log.
    Entries(Vec<Entry>),
    /// The announcement of a snapshot.
    Snapshot,
}

/// Looks into a message that was not taken yet.
pub(crate) fn carried(message: &[u8]) -> Carried {
    let Ok(received) = wire::decode(message) else { return Carried::Nothing };
    if received.message.msg_type == MessageType::MsgSnapshot as i32 {
        Carried::Snapshot
    } else if received.message.entries.is_empty() {
        Carried::Nothing
    } else {
        Carried::Entries(received.into_entries())
    }
}
