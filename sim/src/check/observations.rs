//! Observations written by hand, and stores and histories to put into them, for the checkers' own tests.

use detcd_core::types::Term;
use detcd_core::{NodeStatus, Note, Phase, Role, StoreView};

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::state_machine::{Command, StateMachine};
use detcd_core::types::Revision;

use super::{Checker, Violation};
use crate::history::{ClientId, HistoryEvent, Nanos, OpId, Outcome};
use crate::observe::{NodeIndex, Notes, Observation, Observed};

/// What a checker says of a run.
pub(crate) fn judge(checker: impl Checker + 'static, run: impl FnOnce(&mut Script)) -> Result<(), Violation> {
    let mut script = Script::new(Box::new(checker));
    run(&mut script);
    script.verdict()
}

/// Tells one checker a run, and stops at the first violation.
pub(crate) struct Script {
    checker: Box<dyn Checker>,
    at: Nanos,
    statuses: Vec<NodeStatus>,
    views: Vec<StoreView>,
    verdict: Result<(), Violation>,
}

impl Script {
    pub(crate) fn new(checker: Box<dyn Checker>) -> Script {
        let status = NodeStatus { term: Term(1), ..NodeStatus::of_phase(Phase::Serving) };
        Script { checker, at: 0, statuses: vec![status; 8], views: vec![StoreView::default(); 8], verdict: Ok(()) }
    }

    pub(crate) fn tell(&mut self, what: Observation<'_>) -> &mut Script {
        // As a run tells it.
        if self.verdict.is_ok() && self.checker.interest().covers(&what) {
            self.verdict = self.checker.observe(&Observed { at: self.at, what });
        }
        self
    }

    pub(crate) fn at_ms(&mut self, ms: u64) -> &mut Script {
        self.at = ms * 1_000_000;
        self
    }

    pub(crate) fn status(&mut self, node: NodeIndex) -> &mut NodeStatus {
        &mut self.statuses[node]
    }

    pub(crate) fn term(&mut self, node: NodeIndex, term: u64) -> &mut Script {
        self.statuses[node].term = Term(term);
        self
    }

    /// A step of `node` with these notes, from which its status follows as far as it can.
    pub(crate) fn notes(&mut self, node: NodeIndex, notes: &[Note]) -> &mut Script {
        for note in notes {
            let status = &mut self.statuses[node];
            match note {
                Note::Role { role, term, leader } => {
                    (status.role, status.term, status.leader) = (*role, *term, *leader);
                }
                Note::Appended { index, .. } => status.last = *index,
                Note::Applied { index, state, .. } => (status.applied, status.state) = (*index, *state),
                Note::Installed { index, state, .. } => {
                    (status.applied, status.state, status.last) = (*index, *state, *index);
                }
                Note::Durable { index, term, .. } => {
                    (status.durable, status.term) = (*index, status.term.max(*term));
                }
                Note::Voted { term, .. } => status.term = status.term.max(*term),
                _ => {}
            }
        }
        let (status, view) = (self.statuses[node], self.views[node].clone());
        self.tell(Observation::Stepped { node, notes: Notes::new(notes), status: &status, view: &view })
    }

    /// The store of `node` from its next step on.
    pub(crate) fn view(&mut self, node: NodeIndex, view: StoreView) -> &mut Script {
        self.views[node] = view;
        self
    }

    pub(crate) fn crash(&mut self, node: NodeIndex) -> &mut Script {
        self.statuses[node].role = Role::Follower;
        self.tell(Observation::Crashed { node })
    }

    pub(crate) fn open(&mut self, node: NodeIndex) -> &mut Script {
        self.tell(Observation::Opened { node })
    }

    pub(crate) fn history(&mut self, event: &HistoryEvent) -> &mut Script {
        self.tell(Observation::History(event))
    }

    pub(crate) fn verdict(&mut self) -> Result<(), Violation> {
        self.verdict.clone()
    }

    pub(crate) fn finish(&mut self) -> Result<(), Violation> {
        self.verdict.clone()?;
        self.checker.finish(self.at)
    }
}

/// The core's own state machine without a node around it.
pub(crate) struct Replica(StateMachine);

impl Replica {
    pub(crate) fn new() -> Replica {
        Replica(StateMachine::default())
    }

    pub(crate) fn apply(&mut self, request: pb::InternalRaftRequest) -> Result<Response, detcd_core::api::Status> {
        self.0.apply(self.0.applied().next(), &Command::from(request)).result
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) {
        let put = pb::PutRequest { key: bytes(key), value: bytes(value), ..Default::default() };
        self.apply(pb::InternalRaftRequest { put: Some(put), ..Default::default() }).expect("a put");
    }

    pub(crate) fn view(&self) -> StoreView {
        self.0.view()
    }

    /// What a witness tells of the revisions from `first` on.
    pub(crate) fn witness(&self, first: Revision) -> Vec<HistoryEvent> {
        let mut told: Vec<HistoryEvent> = Vec::new();
        for event in self.view().events_since(first) {
            let revision = event.kv.as_ref().map_or(0, |kv| kv.mod_revision);
            match told.last_mut() {
                Some(HistoryEvent::Revision { revision: last, events }) if *last == revision => {
                    *events = events.iter().cloned().chain([event]).collect();
                }
                _ => told.push(HistoryEvent::Revision { revision, events: [event].into() }),
            }
        }
        told
    }
}

pub(crate) fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(crate) fn header(member_id: u64, revision: Revision) -> Option<pb::ResponseHeader> {
    Some(pb::ResponseHeader { member_id, revision, ..Default::default() })
}

pub(crate) fn invoke(op: u64, client: u32, request: Request) -> HistoryEvent {
    HistoryEvent::Invoke { op: OpId(op), client: ClientId(client), request }
}

pub(crate) fn answered(op: u64, response: Response) -> HistoryEvent {
    HistoryEvent::Return { op: OpId(op), outcome: Outcome::Ok(response) }
}

pub(crate) fn unknown(op: u64) -> HistoryEvent {
    HistoryEvent::Return { op: OpId(op), outcome: Outcome::Unknown }
}

pub(crate) fn failed(op: u64, status: detcd_core::api::Status) -> HistoryEvent {
    HistoryEvent::Return { op: OpId(op), outcome: Outcome::Failed(status) }
}

pub(crate) fn invoke_get(op: u64, client: u32, key: &str) -> HistoryEvent {
    invoke(op, client, Request::Range(pb::RangeRequest { key: bytes(key), ..Default::default() }))
}

/// An answer to a range that found nothing.
pub(crate) fn range_answered(op: u64, member: u64, revision: Revision) -> HistoryEvent {
    answered(op, Response::Range(pb::RangeResponse { header: header(member, revision), ..Default::default() }))
}

pub(crate) fn put_answered(op: u64, revision: Revision) -> HistoryEvent {
    answered(op, Response::Put(pb::PutResponse { header: header(1, revision), prev_kv: None }))
}
