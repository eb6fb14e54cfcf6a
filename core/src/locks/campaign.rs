//! Running for an election.

use super::contender::{Contender, Won};
use super::{Ask, Conversation, Left};
use crate::api::{Response, Status};
use crate::proto::etcdserverpb as pb;
use crate::proto::v3electionpb::{CampaignRequest, CampaignResponse, LeaderKey};

/// The call `Campaign`: it ends when the caller is elected, or never will be. The answer's header is that of the moment
/// at which it became a candidate.
#[derive(Debug)]
pub struct Campaign {
    contender: Contender,
    request: CampaignRequest,
}

impl Campaign {
    /// The conversation about this request.
    pub fn new(request: CampaignRequest) -> Campaign {
        let contender = Contender::new(&request.name, request.lease, request.value.clone(), Status::NotElected);
        Campaign { contender, request }
    }

    fn elected(&self) -> impl FnOnce(Won) -> CampaignResponse {
        let name = self.request.name.clone();
        move |won| CampaignResponse {
            header: won.entered,
            leader: Some(LeaderKey { name, key: won.key, rev: won.created, lease: won.lease }),
        }
    }
}

impl Conversation for Campaign {
    type Answer = CampaignResponse;

    fn begin(&mut self) -> Ask<CampaignResponse> {
        let ask = self.contender.begin();
        ask.map(self.elected())
    }

    fn answered(&mut self, result: Result<Response, Status>) -> Ask<CampaignResponse> {
        let ask = self.contender.answered(result);
        ask.map(self.elected())
    }

    fn watched(&mut self, response: pb::WatchResponse) -> Option<Ask<CampaignResponse>> {
        let ask = self.contender.watched(&response)?;
        Some(ask.map(self.elected()))
    }

    fn interrupted(&mut self, why: Status) -> Ask<CampaignResponse> {
        let ask = self.contender.interrupted(why);
        ask.map(self.elected())
    }

    fn leave(self) -> Left {
        self.contender.leave()
    }
}
