//! Revisions never go back, and are never used again (REV).
//!
//! Rules and their sources:
//! * What one member tells one client in the headers of its responses never goes back while the member lives: its store
//!   only grows, and a client has one operation open at a time (contract, section 6: per connection). A restarted
//!   member may be behind, for how far the log was committed is not durable (Raft, figure 2); an answer to an operation
//!   that began before the restart may come from the earlier life, so it binds nothing.
//! * In one life, a member's applied index, revision and compacted revision never go back.
//! * A revision has the same events on every member and in every life as when it first existed (contract 1.1: one
//!   revision is one transaction; State Machine Safety). A member is compared with each step that it makes; after a
//!   restart or a snapshot the newest 256 revisions are. What is compacted has no events any more, but the compacted
//!   revision's own are still there.
//!
//! Harnesses of real clusters tell kills of members as `Observation::Crashed`.

use std::collections::BTreeMap;

use detcd_core::digest::Digest;
use detcd_core::proto::mvccpb::{Event, event::EventType};
use detcd_core::state_machine::Contents;
use detcd_core::types::{LogIndex, Revision};
use detcd_core::{NodeStatus, StoreView};

use super::serializability::header;
use super::window::Window;
use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{ClientId, HistoryEvent, OpId, Outcome};
use crate::observe::{NodeIndex, Observation, Observed};

/// The checker's name.
pub const NAME: &str = "revisions";

/// How many revisions stay comparable.
const WINDOW_REVISIONS: usize = 50_000;

/// How many revisions are compared after a leap.
const LEAP_REVISIONS: Revision = 256;

/// Where a member stands in this life.
#[derive(Clone, Copy, Debug)]
struct Standing {
    applied: LogIndex,
    revision: Revision,
    compacted: Revision,
}

/// Judges revisions.
#[derive(Debug)]
pub struct Revisions {
    member_ids: Vec<u64>,
    seq: u64,
    standing: Vec<Option<Standing>>,
    /// The position of each member's last end.
    crashed: Vec<u64>,
    contents: Window<Digest>,
    /// Room for the events of a revision, used again and again.
    room: Vec<u8>,
    open: BTreeMap<OpId, (ClientId, u64)>,
    /// The newest header that a member showed a client in its present life, and the position.
    sessions: BTreeMap<(ClientId, u64), (Revision, u64)>,
}

impl Revisions {
    /// A checker for a cluster that starts empty.
    pub fn new(config: &CheckConfig) -> Revisions {
        Revisions {
            member_ids: config.member_ids.clone(),
            seq: 0,
            standing: vec![None; config.nodes],
            crashed: vec![0; config.nodes],
            contents: Window::new(WINDOW_REVISIONS),
            room: Vec::new(),
            open: BTreeMap::new(),
            sessions: BTreeMap::new(),
        }
    }

    fn stepped(&mut self, node: NodeIndex, status: &NodeStatus, view: &StoreView) -> Result<(), String> {
        if !status.phase.takes_part() {
            return Ok(());
        }
        let now = Standing { applied: status.applied, revision: view.revision(), compacted: view.compacted() };
        let before = self.standing[node].replace(now);
        if let Some(before) = before {
            let pairs = [
                ("applied index", before.applied.0 as i64, now.applied.0 as i64),
                ("revision", before.revision, now.revision),
                ("compacted revision", before.compacted, now.compacted),
            ];
            for (what, before, now) in pairs {
                if now < before {
                    return Err(format!("the {what} of node {node} went back from {before} to {now}"));
                }
            }
            if before.revision == now.revision {
                return Ok(());
            }
        }
        let known = before.map_or(1, |before| before.revision);
        let first = (known + 1).max(now.compacted).max(now.revision - LEAP_REVISIONS);
        self.compare(node, first, now.revision, view)
    }

    /// Compares the events of `first..=last` on a member with what they were first.
    fn compare(&mut self, node: NodeIndex, first: Revision, last: Revision, view: &StoreView) -> Result<(), String> {
        let mut records = view.records_between(first, last).peekable();
        for revision in first..=last {
            self.room.clear();
            while let Some(record) = records.next_if(|record| record.at.revision == revision) {
                put_record(&mut self.room, &record);
            }
            if !self.agrees(revision) {
                let its: Vec<Event> = view.events_between(revision, revision).collect();
                return Err(format!("{} on node {node}", differs(revision, &its)));
            }
        }
        Ok(())
    }

    /// Whether the events of a revision, which stand in `room`, are what they were first, as far as that is still
    /// known.
    fn agrees(&mut self, revision: Revision) -> bool {
        let number = u64::try_from(revision).expect("revisions begin at 1");
        let digest = Digest::of(&self.room);
        self.contents.get_or_insert(number, digest).is_none_or(|first| *first == digest)
    }

    fn told(&mut self, event: &HistoryEvent) -> Result<(), String> {
        self.seq += 1;
        match event {
            HistoryEvent::Invoke { op, client, .. } => {
                self.open.insert(*op, (*client, self.seq));
                Ok(())
            }
            HistoryEvent::Return { op, outcome } => {
                let Some((client, invoked)) = self.open.remove(op) else { return Ok(()) };
                let Outcome::Ok(response) = outcome else { return Ok(()) };
                match header(response).flatten() {
                    Some(header) => self.answered(client, invoked, header.member_id, header.revision),
                    None => Ok(()),
                }
            }
            HistoryEvent::Revision { revision, events } => {
                self.room.clear();
                events.iter().for_each(|event| put_event(&mut self.room, event));
                match self.agrees(*revision) {
                    true => Ok(()),
                    false => Err(format!("{}, as the witness tells", differs(*revision, events))),
                }
            }
            _ => Ok(()),
        }
    }

    fn answered(&mut self, client: ClientId, invoked: u64, member: u64, revision: Revision) -> Result<(), String> {
        let place = self.member_ids.iter().position(|id| *id == member);
        let born = place.map_or(0, |place| self.crashed[place]);
        if invoked < born {
            return Ok(());
        }
        match self.sessions.insert((client, member), (revision, self.seq)) {
            Some((before, at)) if at > born && revision < before => {
                Err(format!("client {} was told revision {revision} by member {member:x} after {before}", client.0))
            }
            _ => Ok(()),
        }
    }
}

/// Appends everything that a client can see of a record.
fn put_record(room: &mut Vec<u8>, record: &Contents<'_>) {
    let numbers = [record.create_revision, record.at.revision, record.version, record.lease];
    put(room, record.is_tombstone(), numbers, record.key, record.value);
}

/// The same of an event.
fn put_event(room: &mut Vec<u8>, event: &Event) {
    let Some(kv) = &event.kv else { return };
    let numbers = [kv.create_revision, kv.mod_revision, kv.version, kv.lease];
    put(room, event.r#type() == EventType::Delete, numbers, &kv.key, &kv.value);
}

fn put(room: &mut Vec<u8>, deleted: bool, numbers: [i64; 4], key: &[u8], value: &[u8]) {
    let mut head = [0; 49];
    let lens = [key.len() as u64, value.len() as u64].map(u64::to_le_bytes);
    let words = numbers.map(i64::to_le_bytes).into_iter().chain(lens);
    head[0] = u8::from(deleted);
    head[1..].chunks_exact_mut(8).zip(words).for_each(|(slot, word)| slot.copy_from_slice(&word));
    room.extend_from_slice(&head);
    room.extend_from_slice(key);
    room.extend_from_slice(value);
}

fn differs(revision: Revision, events: &[Event]) -> String {
    let key = events.first().and_then(|event| event.kv.as_ref()).map(super::model::show_kv);
    let shown = key.unwrap_or_else(|| "nothing".into());
    format!("revision {revision} has other events than when it was made, {} of them: {shown}", events.len())
}

impl Checker for Revisions {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::All
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        let judged = match seen.what {
            Observation::Stepped { node, status, view, .. } => self.stepped(node, &status, view),
            Observation::Opened { node } | Observation::Crashed { node } => {
                self.seq += 1;
                self.standing[node] = None;
                self.crashed[node] = self.seq;
                Ok(())
            }
            Observation::History(event) => self.told(event),
            Observation::Healed | Observation::Damaged { .. } | Observation::Lock(_) => Ok(()),
        };
        judged.map_err(|detail| Violation::safety(NAME, seen.at, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::observations::{Replica, Script, invoke_get, range_answered};

    fn script() -> Script {
        Script::new(Box::new(Revisions::new(&CheckConfig::new(3))))
    }

    #[test]
    fn a_header_that_goes_back_on_one_member_is_a_violation_and_on_another_is_not() {
        let told = |member: u64, revision: Revision| {
            let mut run = script();
            run.history(&invoke_get(1, 1, "k")).history(&range_answered(1, 1, 9));
            run.history(&invoke_get(2, 1, "k")).history(&range_answered(2, member, revision));
            run.verdict()
        };
        assert!(told(1, 8).expect_err("went back").detail.contains("after 9"));
        assert_eq!(told(1, 9), Ok(()));
        assert_eq!(told(2, 8), Ok(()));
    }

    #[test]
    fn a_restarted_member_may_be_behind() {
        let mut run = script();
        run.history(&invoke_get(1, 1, "k")).history(&range_answered(1, 1, 9));
        run.history(&invoke_get(2, 1, "k"));
        run.crash(0).open(0);
        // From the earlier life: it binds nothing.
        run.history(&range_answered(2, 1, 10));
        run.history(&invoke_get(3, 1, "k")).history(&range_answered(3, 1, 7));
        assert_eq!(run.verdict(), Ok(()));
        run.history(&invoke_get(4, 1, "k")).history(&range_answered(4, 1, 6));
        assert!(run.verdict().is_err());
    }

    #[test]
    fn a_store_that_goes_back_in_one_life_is_a_violation() {
        let told = |crash: bool| {
            let (mut run, mut replica) = (script(), Replica::new());
            let empty = replica.view();
            replica.put("k", "v");
            run.view(0, replica.view()).notes(0, &[]);
            if crash {
                run.crash(0).open(0);
            }
            run.view(0, empty).notes(0, &[]);
            run.verdict()
        };
        assert!(told(false).expect_err("went back").detail.contains("went back from 2 to 1"));
        assert_eq!(told(true), Ok(()));
    }

    #[test]
    fn a_revision_used_again_with_other_events_is_a_violation() {
        let told = |value: &str, crash: bool| {
            let (mut run, mut first, mut second) = (script(), Replica::new(), Replica::new());
            first.put("k", "v");
            second.put("k", value);
            run.view(0, first.view()).notes(0, &[]);
            for event in first.witness(2) {
                run.history(&event);
            }
            let node = if crash { 0 } else { 1 };
            if crash {
                run.crash(0).open(0);
            }
            run.view(node, second.view()).notes(node, &[]);
            run.verdict()
        };
        for crash in [false, true] {
            assert!(told("w", crash).expect_err("other").detail.contains("revision 2 has other events"));
            assert_eq!(told("v", crash), Ok(()));
        }
    }
}
