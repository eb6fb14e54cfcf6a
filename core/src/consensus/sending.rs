//! raft-rs's messages, with the data of their entries, as frames.

use raft::eraftpb::{self, MessageType};

use super::{Consensus, Outgoing, convert, wire};
use crate::log::Entry;
use crate::peer;
use crate::types::{LogIndex, NodeId, Term};

/// Entries that are encoded. A leader sends the same ones to every follower.
#[derive(Default)]
pub(super) struct EncodedEntries {
    /// The first and the last, which say it all: there is one entry of an index and a term.
    of: Option<[(u64, u64); 2]>,
    bytes: Vec<u8>,
}

impl Consensus {
    /// Messages leave ordered by destination, so that no hash table inside raft-rs decides.
    pub(super) fn send(&mut self, mut messages: Vec<Outgoing>) {
        messages.sort_by_key(|message| message.to);
        self.outgoing.append(&mut messages);
    }

    /// raft-rs's messages as frames, with the data of their entries.
    pub(super) fn frames(&mut self, messages: Vec<eraftpb::Message>) -> Vec<Outgoing> {
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.of = None;
        let frames = messages.iter().filter_map(|message| self.frame(message, &mut encoded)).collect();
        self.encoded = encoded;
        frames
    }

    /// A message as a frame. `None` if entries of it left the log since it was made: then it counts as lost.
    fn frame(&self, message: &eraftpb::Message, encoded: &mut EncodedEntries) -> Option<Outgoing> {
        self.encode_entries(&message.entries, encoded)?;
        let to = NodeId(message.to);
        let (head, tail) = wire::encode_around(message);
        Some(Outgoing {
            to,
            kind: convert::kind_name(message.msg_type),
            frame: peer::encode_raft(self.cluster, self.node, to, &[head.bytes(), &encoded.bytes, &tail]),
            snapshot: (message.msg_type == MessageType::MsgSnapshot as i32)
                .then(|| Box::new(convert::meta_from_raft(message.get_snapshot().get_metadata()))),
        })
    }

    /// Encodes `entries`, as many as a message may carry, if they are not encoded yet.
    fn encode_entries(&self, entries: &[eraftpb::Entry], encoded: &mut EncodedEntries) -> Option<()> {
        let place = |entry: &eraftpb::Entry| (entry.index, entry.term);
        let of = entries.first().zip(entries.last()).map(|(first, last)| [place(first), place(last)]);
        if of.is_some() && encoded.of == of {
            return Some(());
        }
        encoded.bytes.clear();
        encoded.of = None;
        let mut bytes = 0;
        for entry in entries {
            let data = if wire::is_elsewhere(entry) { &self.whole(entry)?.data } else { &entry.data[..] };
            bytes += data.len() as u64;
            // What was not in the log when raft-rs made the message, it could not measure. What is left out is sent
            // when the follower says how far it got.
            if bytes > self.message_bytes_max && !encoded.bytes.is_empty() {
                break;
            }
            wire::encode_entry(entry, data, &mut encoded.bytes);
        }
        encoded.of = of;
        Some(())
    }

    /// An entry of raft-rs's as it stands in the log.
    fn whole(&self, entry: &eraftpb::Entry) -> Option<&Entry> {
        self.raw.store().entry(LogIndex(entry.index), Term(entry.term))
    }
}
