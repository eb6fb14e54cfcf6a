//! Leases.

use detcd_core::api::{self, Request, Response as Answer};
use detcd_core::proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::{Services, expect_response, status, wants_leader};
use crate::rpc::lease_server::Lease;

#[tonic::async_trait]
impl Lease for Services {
    type LeaseKeepAliveStream = ReceiverStream<Result<pb::LeaseKeepAliveResponse, Status>>;

    async fn lease_grant(
        &self,
        request: tonic::Request<pb::LeaseGrantRequest>,
    ) -> Result<Response<pb::LeaseGrantResponse>, Status> {
        expect_response!(self.unary(request, Request::LeaseGrant).await?, LeaseGrant)
    }

    async fn lease_revoke(
        &self,
        request: tonic::Request<pb::LeaseRevokeRequest>,
    ) -> Result<Response<pb::LeaseRevokeResponse>, Status> {
        expect_response!(self.unary(request, Request::LeaseRevoke).await?, LeaseRevoke)
    }

    async fn lease_time_to_live(
        &self,
        request: tonic::Request<pb::LeaseTimeToLiveRequest>,
    ) -> Result<Response<pb::LeaseTimeToLiveResponse>, Status> {
        expect_response!(self.unary(request, Request::LeaseTimeToLive).await?, LeaseTimeToLive)
    }

    async fn lease_leases(
        &self,
        request: tonic::Request<pb::LeaseLeasesRequest>,
    ) -> Result<Response<pb::LeaseLeasesResponse>, Status> {
        expect_response!(self.unary(request, Request::LeaseLeases).await?, LeaseLeases)
    }

    async fn lease_keep_alive(
        &self,
        request: tonic::Request<Streaming<pb::LeaseKeepAliveRequest>>,
    ) -> Result<Response<Self::LeaseKeepAliveStream>, Status> {
        self.admit(request.metadata())?;
        let wants_leader = wants_leader(request.metadata());
        // One response may wait; the next request is read when it has been taken.
        let (responses, stream) = mpsc::channel(1);
        let services = self.clone();
        self.calls.host().spawn_detached(async move {
            let leaderless = async {
                if !wants_leader {
                    std::future::pending::<()>().await;
                }
                services.calls.leaderless_for(services.leaderless_max).await;
            };
            tokio::select! {
                () = services.keep_alive(request.into_inner(), &responses) => {}
                () = leaderless => {
                    let _ = responses.send(Err(status::to_grpc(api::Status::NoLeader))).await;
                }
                () = services.calls.gone() => {
                    let _ = responses.send(Err(status::to_grpc(api::Status::Stopped))).await;
                }
                () = responses.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

type KeepAliveResponses = mpsc::Sender<Result<pb::LeaseKeepAliveResponse, Status>>;

impl Services {
    /// Answers keepalives one after the other until the client ends the stream, or one fails.
    async fn keep_alive(&self, mut requests: Streaming<pb::LeaseKeepAliveRequest>, responses: &KeepAliveResponses) {
        while let Some(request) = requests.message().await.transpose() {
            let result = match request {
                Ok(request) => self.keep_one_alive(request).await,
                Err(why) => Err(status::of_bad_message(why)),
            };
            let failed = result.is_err();
            if responses.send(result).await.is_err() || failed {
                return;
            }
        }
    }

    async fn keep_one_alive(&self, request: pb::LeaseKeepAliveRequest) -> Result<pb::LeaseKeepAliveResponse, Status> {
        match self.calls.call(Request::LeaseKeepAlive(request), None).await {
            Ok(Answer::LeaseKeepAlive(response)) => Ok(response),
            Ok(other) => unreachable!("a keepalive is answered by a keepalive, not {other:?}"),
            Err(error) => Err(status::to_grpc(error)),
        }
    }
}
