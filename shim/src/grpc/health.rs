//! gRPC's own health service, which probes of orchestrators and clients' load balancers ask (contract, section 1): a
//! member that answers serves. Whether it can do more than that, `/health` says.

use detcd_core::api;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::status;
use crate::host::Host;

/// The service; cheap to clone.
#[derive(Clone)]
pub struct HealthService {
    host: Host,
    stopping: watch::Receiver<bool>,
}

impl HealthService {
    /// The service of a member that stops when `stopping` turns true.
    pub fn new(host: Host, stopping: watch::Receiver<bool>) -> HealthService {
        HealthService { host, stopping }
    }
}

/// The status of the service with this name. Like etcd, a member knows the one without a name: itself.
fn status_of(service: &str) -> ServingStatus {
    if service.is_empty() { ServingStatus::Serving } else { ServingStatus::ServiceUnknown }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for HealthService {
    type WatchStream = ReceiverStream<Result<HealthCheckResponse, Status>>;

    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match status_of(&request.get_ref().service) {
            ServingStatus::ServiceUnknown => Err(Status::not_found("unknown service")),
            status => Ok(Response::new(answer(status))),
        }
    }

    /// The status changes no more until the member stops.
    async fn watch(&self, request: tonic::Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (responses, stream) = mpsc::channel(2);
        let status = answer(status_of(&request.get_ref().service));
        let mut stopping = self.stopping.clone();
        self.host.spawn_detached(async move {
            // Whoever has gone away is told nothing.
            if responses.send(Ok(status)).await.is_err() {
                return;
            }
            let stopped = async { drop(stopping.wait_for(|stopping| *stopping).await) };
            tokio::select! {
                () = stopped => drop(responses.send(Err(status::to_grpc(api::Status::Stopped))).await),
                () = responses.closed() => {}
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
