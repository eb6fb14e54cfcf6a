//! Keys and values.

use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use tonic::{Response, Status};

use super::{Services, expect_response};
use crate::rpc::kv_server::Kv;

#[tonic::async_trait]
impl Kv for Services {
    async fn range(&self, request: tonic::Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        expect_response!(self.unary(request, Request::Range).await?, Range)
    }

    async fn put(&self, request: tonic::Request<pb::PutRequest>) -> Result<Response<pb::PutResponse>, Status> {
        expect_response!(self.unary(request, Request::Put).await?, Put)
    }

    async fn delete_range(
        &self,
        request: tonic::Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        expect_response!(self.unary(request, Request::DeleteRange).await?, DeleteRange)
    }

    async fn txn(&self, request: tonic::Request<pb::TxnRequest>) -> Result<Response<pb::TxnResponse>, Status> {
        expect_response!(self.unary(request, Request::Txn).await?, Txn)
    }

    async fn compact(
        &self,
        request: tonic::Request<pb::CompactionRequest>,
    ) -> Result<Response<pb::CompactionResponse>, Status> {
        expect_response!(self.unary(request, Request::Compact).await?, Compact)
    }
}
