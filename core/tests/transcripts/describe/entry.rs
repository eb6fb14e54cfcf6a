//! What a log entry asks for.

use bytes::Bytes;
use detcd_core::log::EntryKind;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::state_machine::{Command, MemberAction, MemberChange, Put};

/// Longer keys and values are cut.
const SHOWN_BYTES_MAX: usize = 12;

/// A key or value; a long one by its beginning and length.
pub fn short(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if bytes.len() <= SHOWN_BYTES_MAX {
        return text.into_owned();
    }
    let same = bytes.iter().all(|byte| *byte == bytes[0]);
    let shown: String = text.chars().take(if same { 1 } else { SHOWN_BYTES_MAX }).collect();
    if same { format!("{shown}*{}", bytes.len()) } else { format!("{shown}..({} bytes)", bytes.len()) }
}

/// An entry by its place and what it asks for: `5/2 put k=v` has index 5 and term 2.
pub fn show_entry(index: u64, term: u64, kind: EntryKind, data: &Bytes) -> String {
    let what = match Command::decode(kind, data) {
        Ok(Command::Empty) => "empty".to_owned(),
        Ok(Command::Put(put)) => show_put(put.put),
        Ok(Command::Request(request)) => show_request(&request),
        Ok(Command::ConfChange(change)) => show_change(&change),
        Err(error) => error.to_string(),
    };
    format!("{index}/{term} {what}")
}

fn show_put(put: Put<'_>) -> String {
    let lease = if put.lease == 0 { String::new() } else { format!(" lease={:x}", put.lease) };
    format!("put {}={}{lease}", short(put.key), short(put.value))
}

/// A write, as it stands in an entry.
pub fn show_request(request: &pb::InternalRaftRequest) -> String {
    if let Some(put) = &request.put {
        return show_put(put.into());
    }
    if let Some(delete) = &request.delete_range {
        return format!("delete {}", short(&delete.key));
    }
    if let Some(grant) = &request.lease_grant {
        return format!("grant {:x} ttl={}", grant.id, grant.ttl);
    }
    if let Some(revoke) = &request.lease_revoke {
        return format!("revoke {:x}", revoke.id);
    }
    if let Some(checkpoint) = &request.lease_checkpoint {
        let show = |one: &pb::LeaseCheckpoint| format!("{:x} remaining={}", one.id, one.remaining_ttl);
        let leases: Vec<String> = checkpoint.checkpoints.iter().map(show).collect();
        return format!("checkpoint {} seen={}", leases.join(", "), checkpoint.seen_index);
    }
    if let Some(compaction) = &request.compaction {
        return format!("compact rev={}", compaction.revision);
    }
    if let Some(attributes) = &request.cluster_member_attr_set {
        return format!("attributes of {:x}", attributes.member_id);
    }
    "something".to_owned()
}

fn show_change(change: &MemberChange) -> String {
    let node = change.node_id;
    match &change.action {
        MemberAction::AddVoter(_) => format!("voter {node}"),
        MemberAction::AddLearner(_) => format!("learner {node}"),
        MemberAction::Promote => format!("promote {node}"),
        MemberAction::Remove => format!("remove {node}"),
        MemberAction::Update { .. } => format!("update {node}"),
    }
}
