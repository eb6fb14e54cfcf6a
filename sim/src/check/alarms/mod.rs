//! Alarms: what they forbid does not happen while they are on, and is not refused while they are off.
//!
//! Rules and their sources (contract, section 1.5 Alarm, NOSPACE, CORRUPT). An alarm is a kind and a member.
//! * It is on from somewhere within an operation that puts it on to somewhere within one that puts it off. An operation
//!   of unknown outcome may have its effect at any time later.
//! * While any `NOSPACE` is on, nothing that puts or grants succeeds, whichever branch a transaction takes; while any
//!   `CORRUPT` is on, no write of a client's does at all.
//! * Nothing is refused for either reason while no alarm of that kind can be on; but for want of space also where a
//!   member may have reached its quota, or its disk may be full.
//! * A list has every alarm of its kind that is on, and no other. Members whose quota is reached put theirs on
//!   themselves.

use std::collections::BTreeMap;

use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use pb::alarm_request::AlarmAction;
use pb::request_op::Request as Op;

use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{HistoryEvent, Nanos, Outcome};
use crate::observe::{Observation, Observed};
use crate::open::OpenOps;

/// The checker's name.
pub const NAME: &str = "alarms";

const NOSPACE: i32 = pb::AlarmType::Nospace as i32;
const CORRUPT: i32 = pb::AlarmType::Corrupt as i32;

/// An alarm: its kind, and whose it is.
type Alarm = (i32, u64);

/// Operations of one direction on one alarm: those under way, or of unknown outcome, and when the last one ended.
#[derive(Clone, Copy, Debug, Default)]
struct Changes {
    open: u64,
    last_end: Option<Nanos>,
}

impl Changes {
    /// Whether none of them can have had its effect at `since` or later.
    fn quiet_since(self, since: Nanos) -> bool {
        self.open == 0 && self.last_end.is_none_or(|end| end < since)
    }
}

/// What is known of an alarm.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Certainly on, since at the latest then.
    on_since: Option<Nanos>,
    /// Certainly off, since at the latest then.
    off_since: Option<Nanos>,
    activations: Changes,
    deactivations: Changes,
}

impl Known {
    /// It was on at some time since `since`.
    fn was_on(&mut self, since: Nanos, now: Nanos) {
        if self.deactivations.quiet_since(since) {
            self.on_since.get_or_insert(now);
        }
    }

    /// It was off at some time since `since`.
    fn was_off(&mut self, since: Nanos, now: Nanos) {
        if self.activations.quiet_since(since) {
            self.off_since.get_or_insert(now);
        }
    }
}

/// An operation that is under way.
#[derive(Debug)]
struct Open {
    invoked: Nanos,
    /// What it asks of alarms, if that is what it does.
    alarm: Option<Box<pb::AlarmRequest>>,
    /// It is a client's write.
    is_write: bool,
    /// It may add to the store.
    is_costly: bool,
}

impl Open {
    /// An operation that alarms concern.
    fn new(invoked: Nanos, request: &Request) -> Option<Open> {
        let is_write = is_write(request);
        let alarm = match request {
            Request::Alarm(alarm) => Some(Box::new(*alarm)),
            _ if is_write => None,
            _ => return None,
        };
        Some(Open { invoked, alarm, is_write, is_costly: is_costly(request) })
    }

    /// Which alarm it changes, and whether it puts it on.
    fn change(&self) -> Option<(Alarm, bool)> {
        self.alarm.as_deref().and_then(change)
    }
}

/// Judges alarms and what they forbid.
#[derive(Debug)]
pub struct Alarms {
    /// Members may run out of space by themselves.
    space_may_run_out: bool,
    open: OpenOps<Open>,
    /// All alarms that anybody spoke of; the others are off.
    alarms: BTreeMap<Alarm, Known>,
}

impl Alarms {
    /// A checker for a cluster that starts empty.
    pub fn new(config: &CheckConfig) -> Alarms {
        Alarms { space_may_run_out: config.space_may_run_out, open: OpenOps::default(), alarms: BTreeMap::new() }
    }

    fn known(&mut self, alarm: Alarm) -> &mut Known {
        let raises_itself = alarm.0 == NOSPACE && self.space_may_run_out;
        self.alarms.entry(alarm).or_insert_with(|| Known {
            off_since: (!raises_itself).then_some(0),
            activations: Changes { open: u64::from(raises_itself), last_end: None },
            ..Known::default()
        })
    }

    fn take(&mut self, now: Nanos, event: &HistoryEvent) -> Result<(), String> {
        match event {
            HistoryEvent::Invoke { op, request, .. } => {
                let Some(open) = Open::new(now, request) else { return Ok(()) };
                if let Some((alarm, activates)) = open.change() {
                    let known = self.known(alarm);
                    if activates {
                        known.activations.open += 1;
                        known.off_since = None;
                    } else {
                        known.deactivations.open += 1;
                        known.on_since = None;
                    }
                }
                self.open.insert(*op, open);
                Ok(())
            }
            HistoryEvent::Return { op, outcome } => {
                let Some(open) = self.open.remove(*op) else { return Ok(()) };
                match outcome {
                    Outcome::Ok(response) => self.succeeded(now, &open, response),
                    Outcome::Failed(status) => self.failed(now, &open, *status),
                    // A change stays open for ever.
                    Outcome::Unknown => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    fn succeeded(&mut self, now: Nanos, open: &Open, response: &Response) -> Result<(), String> {
        if let Some((alarm, activates)) = open.change() {
            self.changed(now, open.invoked, alarm, activates);
        } else if let (Some(request), Response::Alarm(response)) = (&open.alarm, response) {
            return self.listed(now, open.invoked, request.alarm, &response.alarms);
        }
        for (kind, forbids) in [(NOSPACE, open.is_costly), (CORRUPT, open.is_write)] {
            let since = |known: &Known| known.on_since.is_some_and(|since| since <= open.invoked);
            let on = self.alarms.iter().find(|(alarm, known)| alarm.0 == kind && since(known));
            if let Some((alarm, _)) = on.filter(|_| forbids) {
                return Err(format!("a write succeeded although {} was on all the while", show(*alarm)));
            }
        }
        Ok(())
    }

    fn changed(&mut self, now: Nanos, invoked: Nanos, alarm: Alarm, activates: bool) {
        let known = self.known(alarm);
        let changes = if activates { &mut known.activations } else { &mut known.deactivations };
        changes.open -= 1;
        changes.last_end = Some(now);
        if activates {
            known.was_on(invoked, now);
        } else {
            known.was_off(invoked, now);
        }
    }

    fn listed(&mut self, now: Nanos, invoked: Nanos, kind: i32, list: &[pb::AlarmMember]) -> Result<(), String> {
        let told: Vec<Alarm> = list.iter().map(|alarm| (alarm.alarm, alarm.member_id)).collect();
        for alarm in &told {
            if kind != 0 && alarm.0 != kind {
                return Err(format!("a list of another kind has {}", show(*alarm)));
            }
            let known = self.known(*alarm);
            if known.off_since.is_some_and(|since| since <= invoked) {
                return Err(format!("a list has {}, which was off all the while", show(*alarm)));
            }
            known.was_on(invoked, now);
        }
        let missing = |alarm: &Alarm| (kind == 0 || alarm.0 == kind) && !told.contains(alarm);
        for (alarm, known) in self.alarms.iter_mut().filter(|(alarm, _)| missing(alarm)) {
            if known.on_since.is_some_and(|since| since <= invoked) {
                return Err(format!("a list lacks {}, which was on all the while", show(*alarm)));
            }
            known.was_off(invoked, now);
        }
        Ok(())
    }

    fn failed(&mut self, now: Nanos, open: &Open, status: Status) -> Result<(), String> {
        if let Some((alarm, activates)) = open.change() {
            // Nothing was done, so that nothing is known; but it is over.
            let known = self.known(alarm);
            let changes = if activates { &mut known.activations } else { &mut known.deactivations };
            changes.open -= 1;
            changes.last_end = Some(now);
        }
        let (kind, may_be) = match status {
            Status::NoSpace if self.space_may_run_out => return Ok(()),
            Status::NoSpace => (NOSPACE, open.is_costly),
            Status::Corrupt => (CORRUPT, open.is_write),
            _ => return Ok(()),
        };
        let may_be_on = |known: &Known| known.off_since.is_none_or(|since| since > open.invoked);
        if may_be && self.alarms.iter().any(|(alarm, known)| alarm.0 == kind && may_be_on(known)) {
            return Ok(());
        }
        Err(format!("\"{status}\", but no alarm forbade the operation"))
    }
}

/// Which alarm a request changes, and whether it puts it on.
fn change(request: &pb::AlarmRequest) -> Option<(Alarm, bool)> {
    let alarm = (request.alarm, request.member_id);
    match request.action() {
        AlarmAction::Get => None,
        AlarmAction::Activate => (request.alarm != 0).then_some((alarm, true)),
        AlarmAction::Deactivate => Some((alarm, false)),
    }
}

/// Whether it is a client's write: what only reads is none, whatever it is called.
fn is_write(request: &Request) -> bool {
    match request {
        Request::Put(_)
        | Request::DeleteRange(_)
        | Request::Compact(_)
        | Request::LeaseGrant(_)
        | Request::LeaseRevoke(_) => true,
        Request::Txn(txn) => {
            txn.success.iter().chain(&txn.failure).any(|op| !matches!(op.request, Some(Op::RequestRange(_))))
        }
        _ => false,
    }
}

/// Whether it may add to the store.
fn is_costly(request: &Request) -> bool {
    match request {
        Request::Put(_) | Request::LeaseGrant(_) => true,
        Request::Txn(txn) => puts(txn),
        _ => false,
    }
}

fn puts(txn: &pb::TxnRequest) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestPut(_)) => true,
        Some(Op::RequestTxn(nested)) => puts(nested),
        _ => false,
    })
}

fn show((kind, member): Alarm) -> String {
    let name = pb::AlarmType::try_from(kind).map_or("an unknown alarm", |kind| kind.as_str_name());
    format!("{name} of member {member:x}")
}

impl Checker for Alarms {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::OPERATIONS
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        let Observation::History(event) = seen.what else { return Ok(()) };
        self.take(seen.at, event).map_err(|detail| Violation::safety(NAME, seen.at, detail))
    }
}

#[cfg(test)]
mod tests;
