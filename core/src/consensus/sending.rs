//! raft-rs's messages, with the data of their entries, as frames.

use std::ops::Range;

use raft::eraftpb::{self, MessageType};

use super::{Consensus, Outgoing, convert, wire};
use crate::peer;
use crate::types::{LogIndex, NodeId, Term};

/// How much is kept of what was encoded before another message is made, in bytes.
const KEPT_BYTES_MAX: usize = 256 << 10;

/// Entries that were encoded, one after the other as in the log. A leader sends the same ones to every follower, and
/// again to those that messages reach out of order.
#[derive(Default)]
pub(super) struct EncodedEntries {
    /// The index of the first one.
    first: u64,
    kept: Vec<Kept>,
    bytes: Vec<u8>,
}

/// An entry that was encoded.
#[derive(Clone, Copy)]
struct Kept {
    /// With the index, this says which one it is.
    term: u64,
    /// How long its data is.
    data_bytes: u64,
    /// Where its bytes end.
    end: usize,
}

impl EncodedEntries {
    /// Makes room for a message that begins with the entry at `index`, and says where its bytes begin. Of more than is
    /// kept, only what the message itself can use stays: the same one goes to all followers, however long it is.
    fn begin(&mut self, index: u64) -> usize {
        match self.place(index) {
            Some(place) if self.bytes.len() <= KEPT_BYTES_MAX => self.start_of(place),
            Some(place) if place < self.kept.len() => {
                let start = self.start_of(place);
                self.bytes.drain(..start);
                self.kept.drain(..place);
                self.kept.iter_mut().for_each(|kept| kept.end -= start);
                self.first = index;
                0
            }
            Some(_) | None => {
                self.kept.clear();
                self.bytes.clear();
                self.first = index;
                0
            }
        }
    }

    /// This entry, if it is encoded already.
    fn kept(&self, entry: &eraftpb::Entry) -> Option<Kept> {
        let kept = self.kept.get(self.place(entry.index)?)?;
        (kept.term == entry.term).then_some(*kept)
    }

    /// Encodes `entry`, which has this data and is not kept; the entries before it in the message come before it here.
    fn put(&mut self, entry: &eraftpb::Entry, data: &[u8]) -> Kept {
        let place = self.place(entry.index).expect("the entries of a message have one index after the other");
        // The log may have had others from there on.
        self.bytes.truncate(self.start_of(place));
        self.kept.truncate(place);
        wire::encode_entry(entry, data, &mut self.bytes);
        let kept = Kept { term: entry.term, data_bytes: data.len() as u64, end: self.bytes.len() };
        self.kept.push(kept);
        kept
    }

    /// Where the entry at `index` stands, or would stand next.
    fn place(&self, index: u64) -> Option<usize> {
        let place = usize::try_from(index.checked_sub(self.first)?).ok()?;
        (place <= self.kept.len()).then_some(place)
    }

    fn start_of(&self, place: usize) -> usize {
        place.checked_sub(1).map_or(0, |before| self.kept[before].end)
    }
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
        let frames = messages.iter().filter_map(|message| self.frame(message, &mut encoded)).collect();
        self.encoded = encoded;
        frames
    }

    /// A message as a frame. `None` if entries of it left the log before they were encoded: then it counts as lost.
    fn frame(&self, message: &eraftpb::Message, encoded: &mut EncodedEntries) -> Option<Outgoing> {
        let entries = self.encode_entries(&message.entries, encoded)?;
        let to = NodeId(message.to);
        let (head, tail) = wire::encode_around(message);
        Some(Outgoing {
            to,
            kind: convert::kind_name(message.msg_type),
            frame: peer::encode_raft(self.cluster, self.node, to, &[head.bytes(), &encoded.bytes[entries], &tail]),
            snapshot: (message.msg_type == MessageType::MsgSnapshot as i32)
                .then(|| Box::new(convert::meta_from_raft(message.get_snapshot().get_metadata()))),
        })
    }

    /// Encodes those of `entries` that are not encoded yet, as many as a message may carry, and says where their bytes
    /// stand.
    fn encode_entries(&self, entries: &[eraftpb::Entry], encoded: &mut EncodedEntries) -> Option<Range<usize>> {
        let Some(first) = entries.first() else { return Some(0..0) };
        let start = encoded.begin(first.index);
        let (mut bytes, mut end) = (0, start);
        for entry in entries {
            let kept = match encoded.kept(entry) {
                Some(kept) => kept,
                None => encoded.put(entry, self.data(entry)?),
            };
            bytes += kept.data_bytes;
            // What was not in the log when raft-rs made the message, it could not measure. What is left out is sent
            // when the follower says how far it got.
            if bytes > self.message_bytes_max && end > start {
                break;
            }
            end = kept.end;
        }
        Some(start..end)
    }

    /// The data of an entry of raft-rs's, which stands in the log.
    fn data<'a>(&'a self, entry: &'a eraftpb::Entry) -> Option<&'a [u8]> {
        if wire::is_elsewhere(entry) {
            let whole = self.raw.store().entry(LogIndex(entry.index), Term(entry.term))?;
            Some(&whole.data)
        } else {
            Some(&entry.data)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn alone(entry: &eraftpb::Entry, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        wire::encode_entry(entry, data, &mut bytes);
        bytes
    }

    fn end_of(encoded: &mut EncodedEntries, entry: &eraftpb::Entry, data: &[u8]) -> usize {
        encoded.kept(entry).unwrap_or_else(|| encoded.put(entry, data)).end
    }

    /// As many bytes as are kept in four entries, for one follower after the other, and what follows.
    #[test]
    fn a_long_message_is_encoded_once_and_lets_go_of_what_is_before_it() {
        let mut encoded = EncodedEntries::default();
        let data = vec![7; KEPT_BYTES_MAX / 3];
        let entry = |index| wire::elsewhere(Term(2), LogIndex(index));
        let mut message = |first: u64| {
            let start = encoded.begin(first);
            let before = encoded.kept.len();
            let ends: Vec<usize> = (first..first + 4).map(|index| end_of(&mut encoded, &entry(index), &data)).collect();
            assert!(encoded.bytes[start..ends[0]] == alone(&entry(first), &data));
            (encoded.kept.len() - before, encoded.kept.len())
        };
        assert_eq!(message(5), (4, 4), "all are encoded");
        assert_eq!(message(5), (0, 4), "for the next follower none is");
        assert_eq!(message(7), (2, 4), "and of a later message two are");
        assert_eq!(message(11), (4, 4));
        assert_eq!(message(3), (4, 4), "an earlier one begins anew");
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_would_be_encoded_now(
            messages in prop::collection::vec((1u64..12, 1u64..8, 1u64..4), 1..30),
            long in any::<bool>(),
        ) {
            let mut encoded = EncodedEntries::default();
            for (first, count, term) in messages {
                let start = encoded.begin(first);
                let (mut end, mut expected) = (start, Vec::new());
                for index in first..first + count {
                    let entry = wire::elsewhere(Term(term), LogIndex(index));
                    let data = [index as u8, term as u8].repeat(if long { KEPT_BYTES_MAX / 8 } else { 3 });
                    end = end_of(&mut encoded, &entry, &data);
                    expected.extend(alone(&entry, &data));
                }
                prop_assert!(encoded.bytes[start..end] == expected);
            }
        }
    }
}
