//! What is said of an election's leader, and by it.

use super::requests::{first, grant, lease_of, prefix_of, proclaim, resign, txn_of};
use super::{Ask, Conversation};
use crate::api::{Request, Response, Status};
use crate::proto::etcdserverpb as pb;
use crate::proto::v3electionpb::{
    LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse, ResignRequest, ResignResponse,
};

/// The call `Leader`: who leads now.
#[derive(Debug)]
pub struct Leader(LeaderRequest);

impl Leader {
    /// The conversation about this request.
    pub fn new(request: LeaderRequest) -> Leader {
        Leader(request)
    }
}

impl Conversation for Leader {
    type Answer = LeaderResponse;

    fn begin(&mut self) -> Ask<LeaderResponse> {
        Ask::Call(Request::Range(first(&prefix_of(&self.0.name))))
    }

    fn answered(&mut self, result: Result<Response, Status>) -> Ask<LeaderResponse> {
        Ask::Done(result.and_then(|response| {
            let (header, leader) = leader_of(response);
            let kv = Some(leader.ok_or(Status::NobodyElected)?);
            Ok(LeaderResponse { header, kv })
        }))
    }
}

/// What [`first`] found.
pub fn leader_of(response: Response) -> (Option<pb::ResponseHeader>, Option<crate::proto::mvccpb::KeyValue>) {
    match response {
        Response::Range(found) => (found.header, found.kvs.into_iter().next()),
        other => unreachable!("a range is answered by a range, not {other:?}"),
    }
}

/// The call `Proclaim`: the leader says something else, if it still leads. Without a lease in the request, the key gets
/// one that is made for it, as in etcd.
#[derive(Debug)]
pub struct Proclaim(ProclaimRequest);

impl Proclaim {
    /// The conversation about this request.
    pub fn new(request: ProclaimRequest) -> Proclaim {
        Proclaim(request)
    }

    fn proclaim(&self, leader: &LeaderKey, lease: i64) -> Ask<ProclaimResponse> {
        Ask::Call(proclaim(&leader.key, leader.rev, &self.0.value, lease))
    }
}

impl Conversation for Proclaim {
    type Answer = ProclaimResponse;

    fn begin(&mut self) -> Ask<ProclaimResponse> {
        match &self.0.leader {
            None => Ask::Done(Err(Status::LeaderMissing)),
            Some(LeaderKey { lease: 0, .. }) => Ask::Call(grant()),
            Some(leader) => self.proclaim(leader, leader.lease),
        }
    }

    fn answered(&mut self, result: Result<Response, Status>) -> Ask<ProclaimResponse> {
        match (result, &self.0.leader) {
            (Ok(granted @ Response::LeaseGrant(_)), Some(leader)) => self.proclaim(leader, lease_of(&granted)),
            (Ok(response), _) => {
                let txn = txn_of(response);
                let done = ProclaimResponse { header: txn.header };
                Ask::Done(if txn.succeeded { Ok(done) } else { Err(Status::NotElected) })
            }
            (Err(why), _) => Ask::Done(Err(why)),
        }
    }
}

/// The call `Resign`: the leader's key is deleted, if it is still the one that was elected; if not, all is well, too.
#[derive(Debug)]
pub struct Resign(ResignRequest);

impl Resign {
    /// The conversation about this request.
    pub fn new(request: ResignRequest) -> Resign {
        Resign(request)
    }
}

impl Conversation for Resign {
    type Answer = ResignResponse;

    fn begin(&mut self) -> Ask<ResignResponse> {
        match &self.0.leader {
            None => Ask::Done(Err(Status::LeaderMissing)),
            Some(leader) => Ask::Call(resign(&leader.key, leader.rev)),
        }
    }

    fn answered(&mut self, result: Result<Response, Status>) -> Ask<ResignResponse> {
        Ask::Done(result.map(|response| ResignResponse { header: txn_of(response).header }))
    }
}
