//! What a raft message would put on the disk.

use raft::eraftpb::{self, MessageType};

use super::convert;
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
    let Ok(mut message) = <eraftpb::Message as prost_raft::Message>::decode(message) else { return Carried::Nothing };
    if message.msg_type == MessageType::MsgSnapshot as i32 {
        Carried::Snapshot
    } else if message.entries.is_empty() {
        Carried::Nothing
    } else {
        Carried::Entries(message.take_entries().into_iter().map(convert::entry_from_raft).collect())
    }
}
