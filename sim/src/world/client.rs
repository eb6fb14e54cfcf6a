//! One client: a session bound to one member, at most one operation open, the others waiting.

use std::collections::VecDeque;

use detcd_core::api::{Code, Request, Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use detcd_core::proto::etcdserverpb::response_op::Response as OpResponse;

use crate::history::OpId;
use crate::observe::NodeIndex;
use crate::plan::Plan;
use crate::weather::Position;
use crate::workload::Seen;

/// How often a client tries one operation, at most.
pub(super) const ATTEMPTS_MAX: u32 = 4;

/// The operation that a client waits for.
#[derive(Debug)]
pub(super) struct Open {
    pub op: OpId,
    pub request: Request,
    pub attempts: u32,
    /// Decides what is left open.
    pub draw: u64,
    /// Some attempt may have been taken up by a member.
    pub may_have_happened: bool,
}

/// What a client is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The operations of the mix.
    Usual,
    /// It stays with its member and asks until it has what it needs.
    Prober,
    /// What the lock worker of this number asks for.
    Locker(u32),
    /// Keeping the session of the lock worker of this number alive.
    Keeper(u32),
}

#[derive(Debug)]
pub(super) struct Client {
    /// The member that it talks to, and in which of its lives it last had an answer of it.
    pub node: NodeIndex,
    pub connected: Option<u32>,
    pub open: Option<Open>,
    /// The number of the present attempt; what comes for an older one is ignored.
    pub attempt: u64,
    /// It waits a while before its next attempt.
    pub is_between_attempts: bool,
    /// When its patience with the present attempt ends, and whether a timer will ring then or before.
    pub gives_up_at: u64,
    pub has_timer: bool,
    /// Places in the plan's list of operations.
    pub waiting: VecDeque<usize>,
    pub seen: Seen,
    pub position: Position,
    pub role: Role,
}

impl Client {
    /// The workload's clients, then one prober for each member of the core, then two clients for each lock worker.
    pub fn all(plan: &Plan) -> Vec<Client> {
        let nodes = plan.nodes.len();
        let usual = (0..plan.workload.clients).map(|n| Client::new(n as usize % nodes, Role::Usual));
        let probers = (0..nodes).filter(|node| plan.core[*node]).map(|node| Client::new(node, Role::Prober));
        let workers = (0..plan.workload.locks.workers).flat_map(|worker| {
            let at = |further: usize| (worker as usize + further) % nodes;
            [Client::new(at(0), Role::Locker(worker)), Client::new(at(1), Role::Keeper(worker))]
        });
        usual.chain(probers).chain(workers).collect()
    }

    fn new(node: NodeIndex, role: Role) -> Client {
        Client {
            node,
            connected: None,
            open: None,
            attempt: 0,
            is_between_attempts: false,
            gives_up_at: 0,
            has_timer: false,
            waiting: VecDeque::new(),
            seen: Seen::of_revision(1),
            position: Position::default(),
            role,
        }
    }

    /// Whether it waits for nothing.
    pub fn is_idle(&self) -> bool {
        self.open.is_none() && self.waiting.is_empty()
    }

    /// Remembers what later operations build on.
    pub fn learn(&mut self, request: &Request, response: &Response) {
        match (request, response) {
            (Request::Put(put), Response::Put(done)) => {
                let revision = self.learn_header(done.header.as_ref());
                self.seen.key(&put.key, Some(revision));
            }
            (Request::DeleteRange(delete), Response::DeleteRange(done)) => {
                self.learn_header(done.header.as_ref());
                self.seen.key(&delete.key, None);
            }
            (Request::Range(asked), Response::Range(found)) => {
                self.learn_header(found.header.as_ref());
                if asked.revision == 0 {
                    self.learn_keys(found);
                }
            }
            (Request::Txn(txn), Response::Txn(done)) => {
                let revision = self.learn_header(done.header.as_ref());
                let branch = if done.succeeded { &txn.success } else { &txn.failure };
                for (asked, got) in branch.iter().zip(&done.responses) {
                    match (&asked.request, &got.response) {
                        (Some(Op::RequestPut(put)), Some(OpResponse::ResponsePut(_))) => {
                            self.seen.key(&put.key, Some(revision));
                        }
                        (Some(_), Some(OpResponse::ResponseRange(found))) => self.learn_keys(found),
                        _ => {}
                    }
                }
            }
            (_, Response::Compact(done)) => {
                self.learn_header(done.header.as_ref());
            }
            _ => {}
        }
    }

    fn learn_header(&mut self, header: Option<&pb::ResponseHeader>) -> i64 {
        let revision = header.map_or(0, |header| header.revision);
        self.seen.revision(revision);
        revision
    }

    fn learn_keys(&mut self, found: &pb::RangeResponse) {
        for kv in &found.kvs {
            self.seen.key(&kv.key, Some(kv.mod_revision));
        }
    }
}

/// Whether an error says that nothing was done. etcd's clients cannot tell what became of a write that ends in
/// `Unavailable` (contract, section 2).
pub(super) fn says_nothing_was_done(status: Status) -> bool {
    !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Internal)
}
