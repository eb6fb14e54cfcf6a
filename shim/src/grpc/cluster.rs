//! The cluster's members.

use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use tonic::{Response, Status};

use super::{Services, expect_response};
use crate::rpc::cluster_server::Cluster;

#[tonic::async_trait]
impl Cluster for Services {
    async fn member_list(
        &self,
        request: tonic::Request<pb::MemberListRequest>,
    ) -> Result<Response<pb::MemberListResponse>, Status> {
        expect_response!(self.unary(request, Request::MemberList).await?, MemberList)
    }
}
