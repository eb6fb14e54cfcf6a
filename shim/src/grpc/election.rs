//! Elections.

use detcd_core::locks;
use detcd_core::proto::v3electionpb as pb;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::Services;
use crate::rpc::election_server::Election;

#[tonic::async_trait]
impl Election for Services {
    type ObserveStream = ReceiverStream<Result<pb::LeaderResponse, Status>>;

    async fn campaign(
        &self,
        request: tonic::Request<pb::CampaignRequest>,
    ) -> Result<Response<pb::CampaignResponse>, Status> {
        self.converse(request, locks::Campaign::new).await
    }

    async fn proclaim(
        &self,
        request: tonic::Request<pb::ProclaimRequest>,
    ) -> Result<Response<pb::ProclaimResponse>, Status> {
        self.converse(request, locks::Proclaim::new).await
    }

    async fn leader(&self, request: tonic::Request<pb::LeaderRequest>) -> Result<Response<pb::LeaderResponse>, Status> {
        self.converse(request, locks::Leader::new).await
    }

    async fn observe(
        &self,
        request: tonic::Request<pb::LeaderRequest>,
    ) -> Result<Response<Self::ObserveStream>, Status> {
        self.observe_leader(request)
    }

    async fn resign(&self, request: tonic::Request<pb::ResignRequest>) -> Result<Response<pb::ResignResponse>, Status> {
        self.converse(request, locks::Resign::new).await
    }
}
