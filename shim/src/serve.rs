//! The client port: gRPC over HTTP/2 and plain HTTP/1.1 on one listener.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tonic::body::Body;
use tonic_health::pb::health_server::HealthServer;
use tower::{Service, ServiceExt};

use crate::grpc::{HealthService, Services};
use crate::host::{Executor, Host, Io, Listener, Stream, Timer};
use crate::rpc::cluster_server::ClusterServer;
use crate::rpc::election_server::ElectionServer;
use crate::rpc::kv_server::KvServer;
use crate::rpc::lease_server::LeaseServer;
use crate::rpc::lock_server::LockServer;
use crate::rpc::maintenance_server::MaintenanceServer;
use crate::rpc::watch_server::WatchServer;

/// How many client connections are served at once; further ones wait in the operating system's queue.
const CONNECTIONS_MAX: usize = 32_768;
/// How many requests, watch streams among them, one connection may have open.
const STREAMS_PER_CONNECTION_MAX: u32 = 16_384;
/// How many requests that were canceled before they were looked at a connection may have. A client whose calls run out
/// of time together cancels many at once, and its connection, with all watches on it, has to live on; etcd knows no
/// limit. More at once are an attack (CVE-2023-44487), and close the connection.
const CANCELED_PER_CONNECTION_MAX: usize = 16_384;
/// The windows of HTTP/2: large enough that a request of the usual size never waits for an update.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// etcd's keepalive pings (contract, section 4).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2 * 3600);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long to wait after the operating system refuses a new connection, say for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to send the head of an HTTP/1.1 request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Routes a request to the service that its path names; cheap to clone.
#[derive(Clone)]
pub struct Routes {
    kv: KvServer<Services>,
    watch: WatchServer<Services>,
    lease: LeaseServer<Services>,
    cluster: ClusterServer<Services>,
    maintenance: MaintenanceServer<Services>,
    lock: LockServer<Services>,
    election: ElectionServer<Services>,
    health: HealthServer<HealthService>,
    plain: Router,
}

impl Routes {
    /// The gRPC services, each accepting messages of at most `receive_bytes_max`, and `plain` for everything else.
    pub fn new(services: &Services, health: HealthService, plain: Router, receive_bytes_max: usize) -> Routes {
        macro_rules! limited {
            ($server:ident) => {
                $server::new(services.clone())
                    .max_decoding_message_size(receive_bytes_max)
                    .max_encoding_message_size(i32::MAX as usize)
            };
        }
        Routes {
            kv: limited!(KvServer),
            watch: limited!(WatchServer),
            lease: limited!(LeaseServer),
            cluster: limited!(ClusterServer),
            maintenance: limited!(MaintenanceServer),
            lock: limited!(LockServer),
            election: limited!(ElectionServer),
            health: HealthServer::new(health),
            plain,
        }
    }

    async fn answer(mut self, request: Request<Incoming>) -> Response<Body> {
        let content_type = request.headers().get(http::header::CONTENT_TYPE);
        if !content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc")) {
            let request = request.map(axum::body::Body::new);
            return infallible(self.plain.oneshot(request).await).map(Body::new);
        }
        let uri = request.uri().clone();
        let service = uri.path().strip_prefix("/etcdserverpb.").and_then(|path| path.split_once('/'));
        let response = match service.map(|(service, _)| service) {
            Some("KV") => infallible(self.kv.call(request).await),
            Some("Watch") => infallible(self.watch.call(request).await),
            Some("Lease") => infallible(self.lease.call(request).await),
            Some("Cluster") => infallible(self.cluster.call(request).await),
            Some("Maintenance") => infallible(self.maintenance.call(request).await),
            _ if uri.path().starts_with("/v3lockpb.Lock/") => infallible(self.lock.call(request).await),
            _ if uri.path().starts_with("/v3electionpb.Election/") => infallible(self.election.call(request).await),
            _ if uri.path().starts_with("/grpc.health.v1.Health/") => infallible(self.health.call(request).await),
            _ => {
                let service = uri.path().trim_start_matches('/').split('/').next().unwrap_or_default();
                tonic::Status::unimplemented(format!("unknown service {service}")).into_http()
            }
        };
        with_the_method(with_grpcs_own_code(response), uri.path())
    }
}

/// Who calls a method that is not there is told its name, in the words of gRPC's library for Go.
fn with_the_method(response: Response<Body>, path: &str) -> Response<Body> {
    let headers = response.headers();
    let is_unknown =
        headers.get("grpc-status").is_some_and(|code| code == "12") && !headers.contains_key("grpc-message");
    match path.trim_start_matches('/').split_once('/') {
        Some((service, method)) if is_unknown => {
            tonic::Status::unimplemented(format!("unknown method {method} for service {service}")).into_http()
        }
        _ => response,
    }
}

/// A message beyond the receive limit is `ResourceExhausted` to gRPC's own libraries, and to etcd's clients; tonic says
/// `OutOfRange`.
fn with_grpcs_own_code(mut response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    let too_long = headers.get("grpc-status").is_some_and(|code| code == "11")
        && headers.get("grpc-message").is_some_and(|text| text.as_bytes().starts_with(b"Error,%20decoded%20message"));
    if too_long {
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("8"));
    }
    response
}

fn infallible<T>(result: Result<T, Infallible>) -> T {
    result.unwrap_or_else(|never| match never {})
}

impl Service<Request<Incoming>> for Routes {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Incoming>) -> Self::Future {
        let routes = self.clone();
        Box::pin(async move { Ok(routes.answer(request).await) })
    }
}

/// Serves a listener until `stopping` turns true; then the open connections finish what they have begun.
///
/// `open` counts the connections: it has all its permits when none is left.
pub async fn serve(
    host: Host,
    listener: Listener,
    routes: Routes,
    open: Arc<Semaphore>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let permit = Arc::clone(&open).acquire_owned().await.expect("this semaphore is never closed");
        let accepted = tokio::select! {
            accepted = host.accept(&listener) => accepted,
            _ = stopping.wait_for(|stopping| *stopping) => return,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = serve_connection(stream, routes.clone(), stopping.clone());
                host.spawn_detached(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a client's connection");
                host.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The budget of connections for [`serve`].
pub fn connections() -> (Arc<Semaphore>, u32) {
    let max = u32::try_from(CONNECTIONS_MAX).expect("a small number");
    (Arc::new(Semaphore::new(CONNECTIONS_MAX)), max)
}

async fn serve_connection(stream: Stream, routes: Routes, mut stopping: watch::Receiver<bool>) {
    let mut builder = auto::Builder::new(Executor::new());
    builder.http1().timer(Timer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(Timer::new())
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .max_pending_accept_reset_streams(CANCELED_PER_CONNECTION_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let connection = builder.serve_connection(Io::new(stream), TowerToHyperService::new(routes));
    let mut connection = std::pin::pin!(connection);
    let stopped = async move { drop(stopping.wait_for(|stopping| *stopping).await) };
    let served = tokio::select! {
        served = &mut connection => served,
        () = stopped => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a client's connection ended");
    }
}
