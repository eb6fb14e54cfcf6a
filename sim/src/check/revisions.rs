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
use std::sync::Arc;

use detcd_core::proto::mvccpb::{Event, KeyValue, event::EventType};
use detcd_core::state_machine::{Contents, Record};
use detcd_core::types::{LogIndex, Revision};
use detcd_core::{NodeStatus, StoreView};

use super::serializability::header;
use super::window::Window;
use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{ClientId, HistoryEvent, Outcome};
use crate::observe::{NodeIndex, Observation, Observed};
use crate::open::OpenOps;

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

/// The newest header that a member showed a client in its present life, and the position.
#[derive(Clone, Copy, Debug)]
struct Session {
    member: u64,
    revision: Revision,
    seq: u64,
}

/// A revision as it was first told.
#[derive(Debug)]
struct Told {
    events: Arc<[Event]>,
    /// If there is one event: the record in which some member was last seen to have it. Most members' are copies of
    /// it, which need not be compared with the event field by field.
    record: Option<Record>,
}

impl Told {
    fn new(events: Arc<[Event]>) -> Told {
        Told { events, record: None }
    }

    /// Takes a member's next record, if it is a copy of the record that shows all of the revision.
    fn take_copy(&self, records: &mut &[&Record]) -> bool {
        let (Some(seen), [next, behind @ ..]) = (&self.record, *records) else { return false };
        let is_copy = next.is_copy_of(seen);
        if is_copy {
            *records = behind;
        }
        is_copy
    }

    /// Takes a member's records, one for each event.
    ///
    /// # Errors
    /// The first that shows something else than its event; `None` if there are no more.
    fn take<'a>(&mut self, records: &mut &[&'a Record]) -> Result<(), Option<&'a Record>> {
        for (event, kv) in with_keys(&self.events) {
            let record = records.split_off_first().copied();
            let same = record.filter(|record| shows(&record.contents(), event, kv)).ok_or(record)?;
            self.record = (self.events.len() == 1).then(|| same.clone());
        }
        Ok(())
    }
}

/// Judges revisions.
#[derive(Debug)]
pub struct Revisions {
    member_ids: Vec<u64>,
    seq: u64,
    standing: Vec<Option<Standing>>,
    /// The position of each member's last end.
    crashed: Vec<u64>,
    /// The events of each revision as they were first told.
    contents: Window<Told>,
    /// Whose each open operation is, and the position of its invocation.
    open: OpenOps<(ClientId, u64)>,
    /// What each client was told last, by each member that it spoke to.
    sessions: BTreeMap<ClientId, Vec<Session>>,
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
            open: OpenOps::default(),
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

    /// Compares the events of `first..=last` on a member with what they were first, as far as that is still known.
    fn compare(&mut self, node: NodeIndex, first: Revision, last: Revision, view: &StoreView) -> Result<(), String> {
        let records = view.records_between(first, last);
        let mut records = &records[..];
        for revision in first..=last {
            let Some(told) = self.contents.get_mut(number(revision)) else {
                let events: Arc<[Event]> = view.events_between(revision, revision).collect();
                records = &records[events.len().min(records.len())..];
                self.contents.get_or_insert(number(revision), Told::new(events));
                continue;
            };
            if !told.take_copy(&mut records)
                && let Err(wrong) = told.take(&mut records)
            {
                // An event too many shows only where the next one should be.
                let wrong = wrong.map_or(revision, |record| record.at().revision.min(revision));
                return Err(differs_on(node, wrong, view));
            }
        }
        records.first().map_or(Ok(()), |record| Err(differs_on(node, record.at().revision, view)))
    }

    fn told(&mut self, event: &HistoryEvent) -> Result<(), String> {
        self.seq += 1;
        match event {
            HistoryEvent::Invoke { op, client, .. } => {
                self.open.insert(*op, (*client, self.seq));
                Ok(())
            }
            HistoryEvent::Return { op, outcome } => {
                let Some((client, invoked)) = self.open.remove(*op) else { return Ok(()) };
                let Outcome::Ok(response) = outcome else { return Ok(()) };
                match header(response).flatten() {
                    Some(header) => self.answered(client, invoked, header.member_id, header.revision),
                    None => Ok(()),
                }
            }
            HistoryEvent::Revision { revision, events } => {
                let first = self.contents.get_or_insert(number(*revision), Told::new(events.clone()));
                let first = first.map(|told| &told.events);
                match first.is_none_or(|first| Arc::ptr_eq(first, events) || shown(first).eq(shown(events))) {
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
        let now = Session { member, revision, seq: self.seq };
        let sessions = self.sessions.entry(client).or_default();
        let Some(session) = sessions.iter_mut().find(|session| session.member == member) else {
            sessions.push(now);
            return Ok(());
        };
        let before = std::mem::replace(session, now);
        if before.seq > born && revision < before.revision {
            let before = before.revision;
            return Err(format!(
                "client {} was told revision {revision} by member {member:x} after {before}",
                client.0
            ));
        }
        Ok(())
    }
}

/// All events that have a key, with what they tell of it.
fn with_keys(events: &[Event]) -> impl Iterator<Item = (&Event, &KeyValue)> {
    events.iter().filter_map(|event| Some((event, event.kv.as_ref()?)))
}

/// Everything that a client can see of the events that have a key.
fn shown(events: &[Event]) -> impl Iterator<Item = (EventType, [i64; 4], &[u8], &[u8])> {
    with_keys(events).map(|(event, kv)| {
        let numbers = [kv.create_revision, kv.mod_revision, kv.version, kv.lease];
        (event.r#type(), numbers, &kv.key[..], &kv.value[..])
    })
}

/// Whether all of that is the same in a record and an event.
fn shows(record: &Contents<'_>, event: &Event, kv: &KeyValue) -> bool {
    record.at.revision == kv.mod_revision
        && record.create_revision == kv.create_revision
        && record.version == kv.version
        && record.lease == kv.lease
        && record.is_tombstone() == (event.r#type() == EventType::Delete)
        && record.key == kv.key
        && record.value == kv.value
}

/// The place of a revision among all.
fn number(revision: Revision) -> u64 {
    u64::try_from(revision).expect("revisions begin at 1")
}

fn differs_on(node: NodeIndex, revision: Revision, view: &StoreView) -> String {
    let its: Vec<Event> = view.events_between(revision, revision).collect();
    format!("{} on node {node}", differs(revision, &its))
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
        Interest::CHANGES.and(Interest::CLIENTS)
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        let judged = match seen.what {
            Observation::Stepped { node, status, view, .. } => self.stepped(node, status, view),
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
    use detcd_core::proto::etcdserverpb as pb;
    use pb::request_op::Request as Op;

    use super::*;
    use crate::check::observations::{Replica, Script, bytes, invoke_get, range_answered};

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

    #[test]
    fn a_revision_with_an_event_less_or_more_is_named() {
        let put = |key: &str| pb::PutRequest { key: bytes(key), value: bytes("v"), ..Default::default() };
        let op = |key: &str| pb::RequestOp { request: Some(Op::RequestPut(put(key))) };
        let replica = |revisions: &[&[&str]]| {
            let mut replica = Replica::new();
            for keys in revisions {
                let txn = pb::TxnRequest { success: keys.iter().map(|key| op(key)).collect(), ..Default::default() };
                let request = pb::InternalRaftRequest { txn: Some(txn), ..Default::default() };
                replica.apply(request).expect("a transaction");
            }
            replica
        };
        let told = |first: &[&[&str]], second: &[&[&str]]| {
            let mut run = script();
            for event in replica(first).witness(2) {
                run.history(&event);
            }
            run.view(1, replica(second).view()).notes(1, &[]);
            run.verdict()
        };
        let (one, two): (&[&[&str]], &[&[&str]]) = (&[&["k"], &["l"]], &[&["k", "l"], &["l"]]);
        for (first, second) in [(one, two), (two, one), (&one[..1], &two[..1]), (&two[..1], &one[..1])] {
            let why = told(first, second).expect_err("another number of events").detail;
            assert!(why.contains("revision 2 has other events") && why.contains("on node 1"), "{why}");
        }
        assert_eq!(told(two, two), Ok(()));
    }
}
