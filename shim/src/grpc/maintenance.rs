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

    async fn alarm(&self, request: tonic::Request<pb::AlarmRequest>) -> Result<Response<pb::AlarmResponse>, Status> {
        expect_response!(self.unary(request, Request::Alarm).await?, Alarm)
    }

    async fn defragment(
        &self,
        request: tonic::Request<pb::DefragmentRequest>,
    ) -> Result<Response<pb::DefragmentResponse>, Status> {
        expect_response!(self.unary(request, Request::Defragment).await?, Defragment)
    }

    async fn hash(&self, request: tonic::Request<pb::HashRequest>) -> Result<Response<pb::HashResponse>, Status> {
        expect_response!(self.unary(request, Request::Hash).await?, Hash)
    }

    async fn hash_kv(
        &self,
        request: tonic::Request<pb::HashKvRequest>,
    ) -> Result<Response<pb::HashKvResponse>, Status> {
        expect_response!(self.unary(request, Request::HashKv).await?, HashKv)
    }
}
