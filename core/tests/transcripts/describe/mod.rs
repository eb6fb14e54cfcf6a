//! What happens, in words: one line for each effect and note, in Raft's and etcd's terms, and no raw bytes.

mod entry;
mod frame;
mod record;

pub use entry::short;
pub use frame::{Message, message};
pub use record::{action, action_kind, file_name};

use detcd_core::api::{Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb;
use detcd_core::{NodeStatus, Note, Phase, Role};

/// A member's standing on one line.
pub fn status(status: &NodeStatus) -> String {
    let NodeStatus { role, term, leader, commit, applied, last, durable, .. } = status;
    let phase = match status.phase {
        Phase::Serving => String::new(),
        phase @ (Phase::Loading { .. } | Phase::Halted) => return format!("is {}", self::phase(phase)),
        phase => format!(" ({})", self::phase(phase)),
    };
    let role = self::role(*role);
    format!("{role} t={term} leader={leader} last={last} durable={durable} commit={commit} applied={applied}{phase}")
}

/// Raft's name of a role.
fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Loading { .. } => "loading",
        Phase::Repairing => "repairing",
        Phase::Serving => "serving",
        Phase::Stopping => "stopping",
        Phase::Halted => "over",
    }
}

/// Notes, each on a line; neighbours of one kind that count up are one line.
pub fn notes(notes: &[Note]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = notes;
    while let Some(first) = rest.first() {
        let run = run_length(rest);
        let last = &rest[run - 1];
        lines.extend(note(first, (run > 1).then_some(last)));
        rest = &rest[run..];
    }
    lines
}

/// How many notes from the first on are of one kind that counts up.
fn run_length(notes: &[Note]) -> usize {
    let continues = |pair: &&[Note]| match (&pair[0], &pair[1]) {
        (Note::Appended { index: a, .. }, Note::Appended { index: b, .. })
        | (Note::Applied { index: a, .. }, Note::Applied { index: b, .. }) => b.0 == a.0 + 1,
        _ => false,
    };
    1 + notes.windows(2).take_while(continues).count()
}

fn note(first: &Note, last: Option<&Note>) -> Option<String> {
    let last = last.unwrap_or(first);
    Some(match first {
        Note::Voted { term, candidate } => format!("voted for {candidate} in t={term}"),
        Note::Role { role, term, leader } => format!("is {} t={term} leader={leader}", self::role(*role)),
        Note::Appended { .. } => format!("appends {}", span(first, last)),
        Note::Applied { .. } => format!("applies {}", span(first, last)),
        Note::Installed { index, term, .. } => format!("installs the snapshot at {index}/{term}"),
        Note::Durable { index, term, vote } => format!("durable up to {index}, t={term} vote={vote}"),
        Note::LeaseExpired { lease, term } => format!("lease {lease} is over by its clock, says so in t={term}"),
        Note::LeaseGone { lease, index } => format!("lease {lease} is gone by entry {index}"),
        Note::Phase(phase) => format!("phase: {}", self::phase(*phase)),
        Note::Mark(mark) => format!("mark: {mark}"),
        _ => return None,
    })
}

fn span(first: &Note, last: &Note) -> String {
    let place = |note: &Note| match note {
        Note::Appended { index, term, .. } | Note::Applied { index, term, .. } => format!("{index}/{term}"),
        _ => unreachable!("only these are counted up"),
    };
    if first == last { place(first) } else { format!("{}..{}", place(first), place(last)) }
}

/// What a client is answered.
pub fn answer(result: &Result<Response, Status>) -> String {
    let response = match result {
        Ok(response) => response,
        Err(status) => return format!("error: {status}"),
    };
    let revision = response.clone().header_mut().as_ref().map_or(0, |header| header.revision);
    let what = match response {
        Response::Put(_) => "put".to_owned(),
        Response::DeleteRange(done) => format!("deleted {}", done.deleted),
        Response::Range(range) if range.kvs.is_empty() => "nothing".to_owned(),
        Response::Range(range) => join(range.kvs.iter().map(pair)),
        Response::LeaseGrant(granted) => format!("lease {:x} ttl={}", granted.id, granted.ttl),
        Response::LeaseRevoke(_) => "revoked".to_owned(),
        Response::LeaseKeepAlive(kept) => format!("lease {:x} ttl={}", kept.id, kept.ttl),
        Response::LeaseTimeToLive(lease) => {
            let keys = join(lease.keys.iter().map(|key| short(key)));
            format!("lease {:x} ttl={} granted={} keys=[{keys}]", lease.id, lease.ttl, lease.granted_ttl)
        }
        Response::Compact(_) => "compacted".to_owned(),
        other => format!("{other:?}"),
    };
    format!("{what} rev={revision}")
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(", ")
}

fn pair(kv: &mvccpb::KeyValue) -> String {
    format!("{}={}", short(&kv.key), short(&kv.value))
}

/// One response of a watch stream.
pub fn watch_response(response: &pb::WatchResponse) -> String {
    let revision = response.header.as_ref().map_or(0, |header| header.revision);
    let events = join(response.events.iter().map(event));
    let mut line = format!("w{} rev={revision}", response.watch_id);
    if response.created {
        line.push_str(" created");
    }
    if response.canceled {
        line.push_str(&format!(" canceled compacted={}", response.compact_revision));
        line.push_str(&response.cancel_reason);
    }
    if !response.events.is_empty() {
        line.push_str(&format!(" [{events}]"));
    }
    line
}

fn event(event: &mvccpb::Event) -> String {
    let kv = event.kv.clone().unwrap_or_default();
    if event.r#type() == mvccpb::event::EventType::Put {
        format!("put {} @{}", pair(&kv), kv.mod_revision)
    } else {
        format!("delete {} @{}", short(&kv.key), kv.mod_revision)
    }
}
