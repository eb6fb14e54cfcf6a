//! Keys and values.

use detcd_core::api::Request;
use detcd_core::api::read_stream::{self, RangeChunks};
use detcd_core::api::validate::check_range;
use detcd_core::proto::etcdserverpb as pb;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};

use super::{Services, expect_response, status, timeout_of};
use crate::rpc::kv_server::Kv;

/// What cannot be streamed, with etcd's texts.
fn check_streamed(request: &pb::RangeRequest) -> Result<(), Status> {
    check_range(request).map_err(status::to_grpc)?;
    match read_stream::unsupported(request) {
        Some(why) => Err(Status::unimplemented(why)),
        None => Ok(()),
    }
}

type Chunks = mpsc::Sender<Result<pb::RangeStreamResponse, Status>>;

impl Services {
    /// Makes chunk after chunk as they are taken, to the end or until none was taken for as long as requests may wait:
    /// what is not told yet is of a store that nobody else may need any more.
    async fn send_chunks(&self, mut chunks: RangeChunks, responses: &Chunks, place: OwnedSemaphorePermit) {
        loop {
            let taken = self.calls.host().within(self.calls.timeout(), responses.reserve()).await;
            let Some(Ok(taken)) = taken else { break };
            let make = move || {
                let chunk = chunks.next_chunk();
                (chunk, chunks)
            };
            let (chunk, rest) = self.calls.apart(make, ()).await;
            chunks = rest;
            let Some(chunk) = chunk else { break };
            let response = |range| pb::RangeStreamResponse { range_response: Some(range) };
            taken.send(chunk.map(response).map_err(status::to_grpc));
        }
        drop(place);
    }
}

#[tonic::async_trait]
impl Kv for Services {
    async fn range(&self, request: tonic::Request<pb::RangeRequest>) -> Result<Response<pb::RangeResponse>, Status> {
        expect_response!(self.unary(request, Request::Range).await?, Range)
    }

    type RangeStreamStream = ReceiverStream<Result<pb::RangeStreamResponse, Status>>;

    async fn range_stream(
        &self,
        request: tonic::Request<pb::RangeRequest>,
    ) -> Result<Response<Self::RangeStreamStream>, Status> {
        self.admit(request.metadata())?;
        let timeout = timeout_of(request.metadata());
        let request = request.into_inner();
        check_streamed(&request)?;
        let chunks = self.calls.range_in_chunks(request, timeout, self.chunk_bytes).await;
        let (chunks, place) = chunks.map_err(status::to_grpc)?;
        // One chunk may wait; the next is made when it has been taken.
        let (responses, stream) = mpsc::channel(1);
        let services = self.clone();
        self.calls.host().spawn_detached(async move { services.send_chunks(chunks, &responses, place).await });
        Ok(Response::new(ReceiverStream::new(stream)))
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
