//! Histories that are right by construction: a few clients talk to one of the core's state machines, which takes their
//! requests one at a time, somewhere between invocation and return.

use detcd_core::StoreView;
use detcd_core::api::validate::{self, Limits, Proposal};
use detcd_core::api::{ReadRequest, Request, Response, Status, read};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::seed::draw_below;
use detcd_core::state_machine::{Command, StateMachine};
use detcd_core::types::{LeaseId, Revision};
use pb::request_op::Request as Op;

use super::observations::bytes;
use crate::history::{ClientId, HistoryEvent, OpId, Outcome};

/// What clients of a generated history ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kinds {
    /// Only puts, single gets and single deletes of few values.
    Plain,
    /// Everything that is about keys, and nothing that ends by itself; sorted by nothing but the key.
    Keys,
    /// The same, with leases and compactions.
    KeysAndLeases,
    /// Everything.
    All,
}

/// What a generated history is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    pub(crate) operations: u64,
    /// Of 100 operations, how many end with nobody knowing how.
    pub(crate) unknown_percent: u64,
    pub(crate) kinds: Kinds,
    pub(crate) keys: u64,
}

enum Client {
    Idle,
    Waiting { op: OpId, request: Request },
    Done { op: OpId, result: Result<Response, Status> },
}

/// Generates one history.
struct Generator {
    shape: Shape,
    draws: u64,
    machine: StateMachine,
    clients: Vec<Client>,
    /// Requests whose clients have given up; they may still take effect.
    lost: Vec<Request>,
    /// What a member that lags behind has.
    stale: StoreView,
    next_op: u64,
    events: Vec<HistoryEvent>,
}

pub(crate) fn generate(shape: Shape) -> Vec<HistoryEvent> {
    let mut history = Vec::new();
    generate_into(shape, |event| history.push(event));
    history
}

/// Hands each line to `take` as it comes.
pub(crate) fn generate_into(shape: Shape, mut take: impl FnMut(HistoryEvent)) {
    let mut generator = Generator {
        shape,
        draws: 0,
        machine: StateMachine::default(),
        clients: (0..shape.clients).map(|_| Client::Idle).collect(),
        lost: Vec::new(),
        stale: StateMachine::default().view(),
        next_op: 0,
        events: Vec::new(),
    };
    while generator.next_op < shape.operations {
        generator.step();
        generator.events.drain(..).for_each(&mut take);
    }
    for client in 0..shape.clients {
        generator.advance(client);
        generator.advance(client);
    }
    generator.events.drain(..).for_each(take);
}

impl Generator {
    fn draw(&mut self, bound: u64) -> u64 {
        self.draws += 1;
        draw_below(self.shape.seed, &[self.draws], bound)
    }

    fn step(&mut self) {
        if !self.lost.is_empty() && self.draw(4) == 0 {
            let index = self.draw(self.lost.len() as u64);
            let request = self.lost.swap_remove(usize::try_from(index).expect("small"));
            let _ = self.execute(&request);
        }
        if self.draw(20) == 0 {
            self.stale = self.machine.view();
        }
        let client = self.draw(self.shape.clients as u64);
        self.advance(usize::try_from(client).expect("small"));
    }

    fn advance(&mut self, client: usize) {
        let state = std::mem::replace(&mut self.clients[client], Client::Idle);
        self.clients[client] = match state {
            Client::Idle => {
                let (op, request) = (OpId(self.next_op), self.request());
                self.next_op += 1;
                let id = ClientId(u32::try_from(client).expect("small"));
                self.events.push(HistoryEvent::Invoke { op, client: id, request: request.clone() });
                Client::Waiting { op, request }
            }
            Client::Waiting { op, request } => {
                if self.draw(100) < self.shape.unknown_percent {
                    self.lost.push(request);
                    self.events.push(HistoryEvent::Return { op, outcome: Outcome::Unknown });
                    Client::Idle
                } else {
                    Client::Done { op, result: self.execute(&request) }
                }
            }
            Client::Done { op, result } => {
                let outcome = match result {
                    _ if self.draw(100) < self.shape.unknown_percent => Outcome::Unknown,
                    Ok(response) => Outcome::Ok(response),
                    Err(status) => Outcome::Failed(status),
                };
                self.events.push(HistoryEvent::Return { op, outcome });
                Client::Idle
            }
        };
    }

    /// Executes a request now, and lets the witness tell what it did.
    fn execute(&mut self, request: &Request) -> Result<Response, Status> {
        validate::validate(request, &Limits { txn_ops_max: 128, request_bytes_max: 1 << 20 })?;
        let header = pb::ResponseHeader { member_id: 1, ..Default::default() };
        match request {
            Request::Range(range) => {
                let view = if range.serializable { self.stale.clone() } else { self.machine.view() };
                read::execute(&view, &ReadRequest::Range(range.clone()), header)
            }
            Request::Txn(txn) if validate::is_read_only(txn) => {
                let view = if validate::is_serializable(txn) { self.stale.clone() } else { self.machine.view() };
                read::execute(&view, &ReadRequest::Txn(txn.clone()), header)
            }
            _ => {
                let before = self.machine.view().revision();
                let proposal = Proposal { id: self.draws, drawn_lease: LeaseId(7_000_000), lease_ttl_min_s: 1 };
                let entry = validate::propose(request.clone(), proposal).expect("a write");
                let result = self.machine.apply(self.machine.applied().next(), &Command::from(entry)).result;
                let view = self.machine.view();
                if view.revision() > before {
                    let revision = view.revision();
                    let events = view.events_since(revision).collect();
                    self.events.push(HistoryEvent::Revision { revision, events });
                }
                result
            }
        }
    }

    fn key(&mut self) -> bytes::Bytes {
        let key = self.draw(self.shape.keys);
        bytes(&format!("k{key}"))
    }

    fn range_end(&mut self) -> bytes::Bytes {
        match self.draw(5) {
            0 => bytes("\0"),
            1 => bytes("l"),
            2 => self.key(),
            _ => bytes(""),
        }
    }

    fn revision(&mut self) -> Revision {
        let head = self.machine.view().revision();
        match self.draw(6) {
            0 => head + 1 - i64::try_from(self.draw(12)).expect("small"),
            1 => -1,
            _ => 0,
        }
    }

    fn put(&mut self) -> pb::PutRequest {
        let value = if self.draw(2) == 0 { self.draws } else { self.draw(2) };
        let leases = matches!(self.shape.kinds, Kinds::KeysAndLeases | Kinds::All);
        let lease = if leases { self.draw(8) } else { 0 };
        let quirk = if self.shape.kinds == Kinds::Plain { 0 } else { self.draw(12) };
        pb::PutRequest {
            key: self.key(),
            value: if quirk == 1 { bytes("") } else { bytes(&format!("v{value}")) },
            lease: if lease < 3 && quirk != 2 { i64::try_from(lease).expect("small") } else { 0 },
            prev_kv: self.draw(2) == 0,
            ignore_value: quirk == 1,
            ignore_lease: quirk == 2,
        }
    }

    fn delete(&mut self) -> pb::DeleteRangeRequest {
        let range_end = if self.shape.kinds == Kinds::Plain { bytes("") } else { self.range_end() };
        pb::DeleteRangeRequest { key: self.key(), range_end, prev_kv: self.draw(2) == 0 }
    }

    fn range(&mut self) -> pb::RangeRequest {
        let mut range = pb::RangeRequest { key: self.key(), serializable: self.draw(4) == 0, ..Default::default() };
        if self.shape.kinds == Kinds::Plain {
            range.serializable = false;
            return range;
        }
        range.range_end = self.range_end();
        range.revision = self.revision();
        range.limit = i64::try_from(self.draw(4)).expect("small");
        range.keys_only = self.draw(5) == 0;
        range.count_only = self.draw(5) == 0;
        range.sort_order = i32::try_from(self.draw(3)).expect("small");
        range.sort_target =
            if self.shape.kinds == Kinds::All { i32::try_from(self.draw(5)).expect("small") } else { 0 };
        if self.draw(4) == 0 {
            range.min_mod_revision = self.revision().max(0);
            range.max_create_revision = self.revision().max(0);
        }
        range
    }

    fn txn(&mut self, depth: u64) -> pb::TxnRequest {
        let compare = (0..self.draw(3)).map(|_| self.compare()).collect();
        let success = (0..self.draw(4)).map(|_| self.op(depth)).collect();
        let failure = (0..self.draw(3)).map(|_| self.op(depth)).collect();
        pb::TxnRequest { compare, success, failure }
    }

    fn op(&mut self, depth: u64) -> pb::RequestOp {
        let request = match self.draw(8) {
            0..=2 => Op::RequestPut(self.put()),
            3 => Op::RequestDeleteRange(self.delete()),
            4 if depth < 2 => Op::RequestTxn(self.txn(depth + 1)),
            _ => Op::RequestRange(self.range()),
        };
        pb::RequestOp { request: Some(request) }
    }

    fn compare(&mut self) -> pb::Compare {
        let number = i64::try_from(self.draw(4)).expect("small");
        let (target, union) = match self.draw(5) {
            0 => (0, pb::compare::TargetUnion::Version(number)),
            1 => (1, pb::compare::TargetUnion::CreateRevision(number)),
            2 => (2, pb::compare::TargetUnion::ModRevision(number)),
            3 => (3, pb::compare::TargetUnion::Value(bytes(&format!("v{number}")))),
            _ => (4, pb::compare::TargetUnion::Lease(number)),
        };
        let result = i32::try_from(self.draw(4)).expect("small");
        let range_end = if self.draw(4) == 0 { self.range_end() } else { bytes("") };
        pb::Compare { result, target, key: self.key(), range_end, target_union: Some(union) }
    }

    fn request(&mut self) -> Request {
        let kinds = match self.shape.kinds {
            Kinds::Plain => 9,
            Kinds::Keys => 12,
            Kinds::KeysAndLeases | Kinds::All => 16,
        };
        match self.draw(kinds) {
            0..=3 => Request::Put(self.put()),
            4..=6 => Request::Range(self.range()),
            7..=8 => Request::DeleteRange(self.delete()),
            9..=11 => Request::Txn(self.txn(0)),
            12 => {
                let revision = self.revision().max(self.machine.view().revision() - 20);
                Request::Compact(pb::CompactionRequest { revision, physical: false })
            }
            13..=14 => {
                let id = 1 + i64::try_from(self.draw(2)).expect("small");
                Request::LeaseGrant(pb::LeaseGrantRequest { ttl: 5, id })
            }
            _ => {
                let id = 1 + i64::try_from(self.draw(2)).expect("small");
                Request::LeaseRevoke(pb::LeaseRevokeRequest { id })
            }
        }
    }
}
