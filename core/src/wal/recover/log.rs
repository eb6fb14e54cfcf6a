//! Puts the log together from its records, and checks that they fit together.

use bytes::Bytes;

use crate::effect::{FileName, HaltReason};
use crate::log::{Entry, HardState, SnapshotMeta};
use crate::types::{ClusterId, LogIndex, NodeId, Term};

use super::super::WalConfig;
use super::super::payload::{decode_entry, decode_hard_state, decode_mark, decode_metadata};
use super::super::record::RecordKind;
use super::super::segment::SegmentName;
use super::damaged;

/// The log as far as it is read.
#[derive(Debug)]
pub(super) struct LogBuilder {
    /// Whose log it has to be.
    node: NodeId,
    /// Of which cluster it is, once it has said so.
    pub(super) cluster: Option<ClusterId>,
    /// The running checksum.
    pub(super) crc: u32,
    pub(super) hard_state: HardState,
    /// Where `entries` begins, even if it is empty.
    pub(super) first_index: LogIndex,
    pub(super) entries: Vec<Entry>,
    pub(super) marks: Vec<SnapshotMeta>,
    /// The last entry record, if there was one.
    pub(super) last_entry: Option<(LogIndex, Term)>,
    /// The last mark, if no entry record came after it.
    pub(super) bare_mark: Option<LogIndex>,
}

impl Default for LogBuilder {
    fn default() -> LogBuilder {
        LogBuilder {
            node: NodeId(0),
            cluster: None,
            crc: 0,
            hard_state: HardState::default(),
            first_index: LogIndex(1),
            entries: Vec::new(),
            marks: Vec::new(),
            last_entry: None,
            bare_mark: None,
        }
    }
}

/// A place in a segment, for messages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) file: &'a FileName,
    pub(super) offset: u64,
}

impl Place<'_> {
    pub(super) fn damaged(self, what: &str) -> HaltReason {
        damaged(self.file, self.offset, what)
    }
}

impl LogBuilder {
    /// Begins with the first segment that counts; entries before the index in its name need not be in it.
    pub(super) fn begin(&mut self, config: &WalConfig, first: SegmentName) {
        self.node = config.node_id;
        self.first_index = first.index.max(LogIndex(1));
    }

    pub(super) fn last_index(&self) -> LogIndex {
        LogIndex(self.first_index.0 - 1 + self.entries.len() as u64)
    }

    /// The term of the last entry, or of the checkpoint on which the log goes on; 0 if neither is known.
    pub(super) fn last_term(&self) -> Term {
        let mark = self.marks.last().map_or(Term(0), |mark| mark.term);
        self.entries.last().map_or(mark, |entry| entry.term)
    }

    /// Leaves every term up to this one behind, so that nothing is done in them again.
    pub(super) fn begin_term_after(&mut self, term: Term) {
        if self.hard_state.term <= term {
            self.hard_state = HardState { term: term.next(), vote: NodeId(0), ..self.hard_state };
        }
    }

    /// Whether nothing was found that a header of the first segment does not hold.
    pub(super) fn is_untouched(&self) -> bool {
        self.entries.is_empty()
            && self.hard_state == HardState::default()
            && self.marks.iter().all(|mark| *mark == SnapshotMeta::default())
    }

    /// Takes a record whose checksum is right and which may stand where it stands.
    pub(super) fn take(&mut self, kind: RecordKind, data: Bytes, place: Place<'_>) -> Result<(), HaltReason> {
        let malformed = || place.damaged("a record with a right checksum does not hold what its type says");
        match kind {
            RecordKind::Crc if data.is_empty() => Ok(()),
            RecordKind::Crc => Err(malformed()),
            RecordKind::Metadata => self.take_owner(decode_metadata(data).ok_or_else(malformed)?, place),
            RecordKind::Entry => self.take_entry(decode_entry(data).ok_or_else(malformed)?, place),
            RecordKind::HardState => self.take_hard_state(decode_hard_state(data).ok_or_else(malformed)?, place),
            RecordKind::SnapshotMark => {
                self.take_mark(decode_mark(data).ok_or_else(malformed)?);
                Ok(())
            }
        }
    }

    fn take_owner(&mut self, (node, cluster): (NodeId, ClusterId), place: Place<'_>) -> Result<(), HaltReason> {
        let before = self.cluster.replace(cluster).unwrap_or(cluster);
        if node == self.node && cluster == before {
            return Ok(());
        }
        let mine = if cluster == before { String::new() } else { format!(" of cluster {before}") };
        let what =
            format!("{} belongs to member {node} of cluster {cluster}, this is member {}{mine}", place.file, self.node);
        Err(HaltReason::Foreign { what })
    }

    /// An entry at or before the last one overwrites it and everything after it.
    fn take_entry(&mut self, entry: Entry, place: Place<'_>) -> Result<(), HaltReason> {
        let next = self.last_index().next();
        if entry.index > next || entry.index == LogIndex(0) {
            let what = format!("entry {} where {next} has to follow", entry.index);
            return Err(place.damaged(&what));
        }
        match entry.index.0.checked_sub(self.first_index.0) {
            Some(kept) => self.entries.truncate(kept as usize),
            None => {
                self.entries.clear();
                self.first_index = entry.index;
            }
        }
        self.last_entry = Some((entry.index, entry.term));
        self.bare_mark = None;
        self.entries.push(entry);
        Ok(())
    }

    fn take_hard_state(&mut self, state: HardState, place: Place<'_>) -> Result<(), HaltReason> {
        if state.term < self.hard_state.term {
            let what = format!("term {} after term {}", state.term, self.hard_state.term);
            return Err(place.damaged(&what));
        }
        self.hard_state = state;
        Ok(())
    }

    /// A checkpoint behind the end of the log, or with another term than the entry there, came from a leader: what
    /// was in the log before it is void.
    fn take_mark(&mut self, mark: SnapshotMeta) {
        let entry = mark.index.0.checked_sub(self.first_index.0).and_then(|at| self.entries.get(at as usize));
        let is_replaced = mark.index > self.last_index() || entry.is_some_and(|entry| entry.term != mark.term);
        if is_replaced {
            self.entries.clear();
            self.first_index = mark.index.next();
        }
        self.bare_mark = Some(mark.index);
        self.marks.push(mark);
    }

    /// The whole log. Term and commit index are raised to what entries and marks prove: the hard state that belongs
    /// to them follows them in the same write, and a crash may have torn it off.
    pub(super) fn finish(mut self, file: Option<FileName>, offset: u64) -> Result<LogBuilder, HaltReason> {
        let last_term = self.entries.last().map_or(Term(0), |entry| entry.term);
        let mark_term = self.marks.iter().map(|mark| mark.term).max().unwrap_or_default();
        let mark_index = self.marks.iter().map(|mark| mark.index).max().unwrap_or_default();
        let state = &mut self.hard_state;
        let proven_term = last_term.max(mark_term);
        if proven_term > state.term {
            *state = HardState { term: proven_term, vote: NodeId(0), ..*state };
        }
        state.commit = state.commit.max(mark_index);
        let (commit, last) = (state.commit, self.last_index());
        match file {
            Some(file) if commit > last => {
                let what = format!("entry {commit} is committed, but the log ends with {last}");
                Err(damaged(&file, offset, &what))
            }
            _ => Ok(self),
        }
    }
}
