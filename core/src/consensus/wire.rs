//! Raft messages between members: raft-rs's own encoding, written and read without what entries carry ever being
//! inside raft-rs.
//!
//! raft-rs copies an entry's data each time that the entry passes from one of its hands to the next, some five times
//! on each member. So it is given the entries without their data, marked by [`is_elsewhere`]; the log cache keeps the
//! data, and it is put in when a message leaves and taken out when one arrives.

use bytes::Bytes;
use prost_raft::Message as _;
use raft::eraftpb;

use super::convert;
use crate::fields::{BYTES, Head, Malformed, NUMBER, Tag, bytes_if_next, delimited, key, number_if_next, put_bytes};
use crate::fields::{put_length, skip, varint};
use crate::log::{Entry, EntryKind};
use crate::types::{LogIndex, Term};

/// The numbers of the fields of a message that are not plain numbers.
const ENTRIES_TAG: Tag = 7;
const SNAPSHOT_TAG: Tag = 9;
const CONTEXT_TAG: Tag = 12;

/// The numbers of an entry's fields.
const KIND_TAG: Tag = 1;
const TERM_TAG: Tag = 2;
const INDEX_TAG: Tag = 3;
const DATA_TAG: Tag = 4;
const SYNC_TAG: Tag = 5;
const ENTRY_CONTEXT_TAG: Tag = 6;

/// Room for so many entries is taken at once; few messages have more.
pub(super) const ENTRIES_AT_ONCE: usize = 256;

/// How many plain numbers a message has.
const NUMBERS: usize = 13;

/// An entry for raft-rs whose data stands elsewhere.
pub(super) fn elsewhere(term: Term, index: LogIndex) -> eraftpb::Entry {
    // A field that raft-rs itself does not use any more, and never sets.
    eraftpb::Entry { term: term.0, index: index.0, sync_log: true, ..Default::default() }
}

/// Whether an entry of raft-rs's has its data elsewhere.
pub(super) fn is_elsewhere(entry: &eraftpb::Entry) -> bool {
    entry.sync_log
}

// ---- writing ----

/// What comes before the entries of a message.
pub(super) type MessageHead = Head<{ NUMBERS * 12 }>;

/// What comes before and what comes after the entries of `message`.
pub(super) fn encode_around(message: &eraftpb::Message) -> (MessageHead, Vec<u8>) {
    let (mut head, mut tail) = (Head::new(), Vec::new());
    put_numbers(message, &mut head);
    if let Some(snapshot) = &message.snapshot {
        put_length(SNAPSHOT_TAG, snapshot.encoded_len(), &mut tail);
        snapshot.encode(&mut tail).expect("a vector has room");
    }
    put_bytes(CONTEXT_TAG, &message.context, &mut tail);
    (head, tail)
}

/// Appends one entry of a message, with its data, to `out`.
pub(super) fn encode_entry(entry: &eraftpb::Entry, data: &[u8], out: &mut Vec<u8>) {
    let (mut head, mut tail) = (Head::<{ 4 * 11 }>::new(), Vec::new());
    head.number(KIND_TAG, kind_number(entry));
    head.number(TERM_TAG, entry.term);
    head.number(INDEX_TAG, entry.index);
    if !data.is_empty() {
        head.length(DATA_TAG, data.len());
    }
    // Most entries have none.
    put_bytes(ENTRY_CONTEXT_TAG, &entry.context, &mut tail);
    let head = head.bytes();
    put_length(ENTRIES_TAG, head.len() + data.len() + tail.len(), out);
    out.extend_from_slice(head);
    out.extend_from_slice(data);
    if !tail.is_empty() {
        out.extend_from_slice(&tail);
    }
}

/// The plain numbers of a message; 0 is not written.
fn put_numbers(message: &eraftpb::Message, head: &mut MessageHead) {
    head.number(1, i64::from(message.msg_type) as u64);
    head.number(2, message.to);
    head.number(3, message.from);
    head.number(4, message.term);
    head.number(5, message.log_term);
    head.number(6, message.index);
    head.number(8, message.commit);
    head.number(10, u64::from(message.reject));
    head.number(11, message.reject_hint);
    head.number(13, message.request_snapshot);
    head.number(14, message.deprecated_priority);
    head.number(15, message.commit_term);
    head.number(16, message.priority as u64);
}

fn kind_number(entry: &eraftpb::Entry) -> u64 {
    i64::from(entry.entry_type) as u64
}

// ---- reading ----

impl From<prost_raft::DecodeError> for Malformed {
    fn from(_: prost_raft::DecodeError) -> Malformed {
        Malformed
    }
}

/// A message as it arrived.
#[derive(Debug)]
pub(super) struct Received<'a> {
    /// For raft-rs; entries whose data is in `payloads` are marked.
    pub(super) message: eraftpb::Message,
    /// What the entries of the message carry for the state machine, in their order.
    pub(super) payloads: Vec<Payload<'a>>,
}

/// What an entry carries for the state machine, where it stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Payload<'a> {
    /// The entry's term.
    pub(super) term: Term,
    /// The entry's index.
    pub(super) index: LogIndex,
    /// Its data; never empty.
    pub(super) data: &'a [u8],
}

impl Received<'_> {
    /// All entries of the message, as they would stand in the log.
    pub(super) fn into_entries(self) -> Vec<Entry> {
        let mut payloads = self.payloads.into_iter();
        let entries = self.message.entries.into_iter();
        entries
            .map(|entry| {
                if is_elsewhere(&entry) {
                    let Payload { term, index, data } = payloads.next().expect("one for each entry that is marked");
                    Entry { term, index, kind: EntryKind::Normal, data: Bytes::copy_from_slice(data) }
                } else {
                    convert::entry_from_raft(entry)
                }
            })
            .collect()
    }
}

/// Reads a message. Takes every encoding that Protocol Buffers allow, and skips fields that it does not know.
///
/// # Errors
/// It is not a raft message.
pub(super) fn decode(bytes: &[u8]) -> Result<Received<'_>, Malformed> {
    let mut received = Received { message: eraftpb::Message::default(), payloads: Vec::new() };
    let message = &mut received.message;
    let mut rest = bytes;
    while !rest.is_empty() {
        match key(&mut rest)? {
            (1, NUMBER) => message.msg_type = varint(&mut rest)? as i32,
            (2, NUMBER) => message.to = varint(&mut rest)?,
            (3, NUMBER) => message.from = varint(&mut rest)?,
            (4, NUMBER) => message.term = varint(&mut rest)?,
            (5, NUMBER) => message.log_term = varint(&mut rest)?,
            (6, NUMBER) => message.index = varint(&mut rest)?,
            (ENTRIES_TAG, BYTES) => {
                let entry = delimited(&mut rest)?;
                if message.entries.is_empty() {
                    let count = expected_count(entry, rest);
                    message.entries.reserve(count);
                    received.payloads.reserve(count);
                }
                decode_entry(entry, &mut message.entries, &mut received.payloads)?;
            }
            (8, NUMBER) => message.commit = varint(&mut rest)?,
            (SNAPSHOT_TAG, BYTES) => message.snapshot.get_or_insert_default().merge(delimited(&mut rest)?)?,
            (10, NUMBER) => message.reject = varint(&mut rest)? != 0,
            (11, NUMBER) => message.reject_hint = varint(&mut rest)?,
            (CONTEXT_TAG, BYTES) => message.context = delimited(&mut rest)?.to_vec(),
            (13, NUMBER) => message.request_snapshot = varint(&mut rest)?,
            (14, NUMBER) => message.deprecated_priority = varint(&mut rest)?,
            (15, NUMBER) => message.commit_term = varint(&mut rest)?,
            (16, NUMBER) => message.priority = varint(&mut rest)? as i64,
            key => skip(key, 16, &mut rest)?,
        }
    }
    Ok(received)
}

/// Reads an entry, to the end of `entries`; its data, if that is the state machine's, comes apart from it.
#[inline]
fn decode_entry<'a>(
    mut rest: &'a [u8],
    entries: &mut Vec<eraftpb::Entry>,
    payloads: &mut Vec<Payload<'a>>,
) -> Result<(), Malformed> {
    // Most entries have no more than this, in this order.
    let mut kind = number_if_next(KIND_TAG, &mut rest)?.unwrap_or(0) as i32;
    let mut term = number_if_next(TERM_TAG, &mut rest)?.unwrap_or(0);
    let mut index = number_if_next(INDEX_TAG, &mut rest)?.unwrap_or(0);
    let mut data = bytes_if_next(DATA_TAG, &mut rest)?.unwrap_or_default();
    let mut context = Vec::new();
    while !rest.is_empty() {
        match key(&mut rest)? {
            (KIND_TAG, NUMBER) => kind = varint(&mut rest)? as i32,
            (TERM_TAG, NUMBER) => term = varint(&mut rest)?,
            (INDEX_TAG, NUMBER) => index = varint(&mut rest)?,
            (DATA_TAG, BYTES) => data = delimited(&mut rest)?,
            // Read and forgotten: here, it is a mark that only this member sets.
            (SYNC_TAG, NUMBER) => drop(varint(&mut rest)?),
            (ENTRY_CONTEXT_TAG, BYTES) => context = delimited(&mut rest)?.to_vec(),
            key => skip(key, ENTRY_CONTEXT_TAG, &mut rest)?,
        }
    }
    if kind != 0 || data.is_empty() {
        let data = data.to_vec();
        entries.push(eraftpb::Entry { entry_type: kind, term, index, data, context, sync_log: false });
    } else {
        let (term, index) = (Term(term), LogIndex(index));
        payloads.push(Payload { term, index, data });
        entries.push(eraftpb::Entry { context, ..elsewhere(term, index) });
    }
    Ok(())
}

/// How many entries a message is likely to have that begins with this one: as many as if the others were not much
/// shorter.
fn expected_count(entry: &[u8], rest: &[u8]) -> usize {
    let count = 1 + rest.len() / entry.len().max(1);
    (count + count / 8).min(ENTRIES_AT_ONCE)
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
