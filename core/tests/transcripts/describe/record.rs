//! What is written to which file.

use bytes::{Buf, Bytes};
use detcd_core::DiskAction;
use detcd_core::log::EntryKind;
use detcd_core::proto::raftpb;
use prost::Message as _;

use super::entry::show_entry;

/// The kind of an operation, which a script may pick it by.
pub fn action_kind(action: &DiskAction) -> &'static str {
    match action {
        DiskAction::Allocate { .. } => "allocate",
        DiskAction::Append { .. } => "append",
        DiskAction::Read { .. } => "read",
        DiskAction::Rename { .. } => "rename",
        DiskAction::Remove { .. } => "remove",
        DiskAction::Sync { .. } => "sync",
        DiskAction::SyncDir { .. } => "sync-dir",
    }
}

/// An operation as its kind, its file, and what it writes.
pub fn action(action: &DiskAction) -> String {
    let kind = action_kind(action);
    match action {
        DiskAction::Allocate { file, .. }
        | DiskAction::Read { file, .. }
        | DiskAction::Remove { file }
        | DiskAction::Sync { file } => format!("{kind} {}", file_name(file)),
        DiskAction::SyncDir { dir } => format!("{kind} {}", file_name(dir)),
        DiskAction::Rename { from, to } => format!("{kind} {} to {}", file_name(from), file_name(to)),
        DiskAction::Append { file, bytes, .. } => format!("{kind} {}: {}", file_name(file), content(file, bytes)),
    }
}

/// A file by its directory and the numbers of its name, without their leading zeros.
pub fn file_name(name: &str) -> String {
    let name = name.strip_prefix("member/").unwrap_or(name);
    let mut short = String::new();
    for part in name.split_inclusive(['/', '-', '.']) {
        let digits = part.trim_end_matches(['/', '-', '.']);
        let is_number = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let shown = if is_number { digits.trim_start_matches('0') } else { digits };
        short.push_str(if is_number && shown.is_empty() { "0" } else { shown });
        short.push_str(&part[digits.len()..]);
    }
    short
}

fn content(file: &str, bytes: &Bytes) -> String {
    if bytes.iter().all(|byte| *byte == 0) {
        "zeros".to_owned()
    } else if file.contains("durable.marks") {
        mark(bytes)
    } else if file.contains("/wal/") {
        records(bytes)
    } else {
        "a chunk".to_owned()
    }
}

/// A durable mark: twelve numbers, of which these matter to Raft.
fn mark(bytes: &[u8]) -> String {
    let (numbers, _) = bytes.as_chunks::<8>();
    let number = |at: usize| numbers.get(at).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut text = format!("boot {}, durable up to {}/{}, terms up to {}", number(2), number(6), number(7), number(9));
    if number(10) > 0 {
        text.push_str(&format!(", may lack what it acknowledged up to t={}", number(10)));
    }
    text
}

/// Records of the log in etcd's framing: a length in 56 bits, then the record, padded to eight bytes.
fn records(bytes: &Bytes) -> String {
    let mut rest = bytes.clone();
    let mut shown = Vec::new();
    while rest.len() >= 8 {
        let length = (rest.get_u64_le() & ((1 << 56) - 1)) as usize;
        let record = raftpb::Record::decode(rest.slice(..length)).expect("a record");
        rest.advance(length.next_multiple_of(8));
        shown.push(record_text(&record));
    }
    shown.join(", ")
}

fn record_text(record: &raftpb::Record) -> String {
    let data = record.data.clone().unwrap_or_default();
    match record.r#type() {
        1 => "metadata".to_owned(),
        2 => {
            let entry = raftpb::Entry::decode(data).expect("an entry");
            let kind = match entry.r#type() {
                0 => EntryKind::Normal,
                1 => EntryKind::ConfChange,
                _ => EntryKind::ConfChangeV2,
            };
            format!("[{}]", show_entry(entry.index(), entry.term(), kind, &entry.data.clone().unwrap_or_default()))
        }
        3 => {
            let state = raftpb::HardState::decode(data).expect("a hard state");
            format!("t={} vote={} commit={}", state.term(), state.vote(), state.commit())
        }
        4 => "crc".to_owned(),
        _ => {
            let mark = raftpb::SnapshotMark::decode(data).expect("a snapshot mark");
            format!("snapshot mark {}/{}", mark.index(), mark.term())
        }
    }
}
