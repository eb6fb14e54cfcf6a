//! What operators ask one member.

use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use tonic::{Response, Status};

use super::{Services, expect_response};
use crate::rpc::maintenance_server::Maintenance;

#[tonic::async_trait]
impl Maintenance for Services {
    async fn status(&self, request: tonic::Request<pb::StatusRequest>) -> Result<Response<pb::StatusResponse>, Status> {
        expect_response!(self.unary(request, Request::Status).await?, Status)
    }
}
