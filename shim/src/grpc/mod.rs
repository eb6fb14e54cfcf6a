//! The client contract's services over gRPC: each request becomes a call, each answer a message.

mod cluster;
mod conversation;
mod credit;
mod election;
mod health;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod pushes;
pub mod status;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use detcd_core::api::{Request, Response, Status};
use detcd_core::types::NodeId;
use tonic::metadata::MetadataMap;

pub use self::health::HealthService;

use crate::calls::Calls;

/// The metadata with which a client asks for a member that knows a leader (contract, section 1).
const HAS_LEADER: &str = "hasleader";
/// How many election timeouts without a leader end a stream that asked for one (contract, section 1).
const LEADERLESS_ELECTIONS_MAX: u32 = 3;

/// All services; cheap to clone.
#[derive(Clone)]
pub struct Services {
    calls: Arc<Calls>,
    /// How long a stream that asked for a leader lives without one.
    leaderless_max: Duration,
    /// How large the chunks of a range become, in bytes.
    chunk_bytes: usize,
}

impl Services {
    /// Services that call through `calls`.
    pub fn new(calls: Arc<Calls>, election_timeout: Duration, chunk_bytes: usize) -> Services {
        Services { calls, leaderless_max: LEADERLESS_ELECTIONS_MAX * election_timeout, chunk_bytes }
    }

    /// Calls the node for a unary request.
    async fn unary<M>(
        &self,
        request: tonic::Request<M>,
        into_request: impl FnOnce(M) -> Request,
    ) -> Result<Response, tonic::Status> {
        self.admit(request.metadata())?;
        let timeout = timeout_of(request.metadata());
        self.calls.call(into_request(request.into_inner()), timeout).await.map_err(status::to_grpc)
    }

    /// Refuses a client that asks for a leader when there is none.
    fn admit(&self, metadata: &MetadataMap) -> Result<(), tonic::Status> {
        if wants_leader(metadata) && self.calls.leader() == NodeId(0) {
            return Err(status::to_grpc(Status::NoLeader));
        }
        Ok(())
    }
}

fn wants_leader(metadata: &MetadataMap) -> bool {
    metadata.get(HAS_LEADER).is_some_and(|value| value.as_bytes() == b"true")
}

/// The client's own limit: gRPC's `grpc-timeout`, at most eight digits and a unit. What is malformed counts as absent.
fn timeout_of(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// Unwraps the response that belongs to a request; another one would be a fault of ours.
macro_rules! expect_response {
    ($response:expr, $name:ident) => {
        match $response {
            detcd_core::api::Response::$name(message) => Ok(tonic::Response::new(message)),
            other => unreachable!("the node answers a request with a response of the same name, not {other:?}"),
        }
    };
}
use expect_response;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_in_every_unit() {
        let table = [
            ("5S", Some(Duration::from_secs(5))),
            ("1H", Some(Duration::from_secs(3600))),
            ("2M", Some(Duration::from_secs(120))),
            ("4999m", Some(Duration::from_millis(4999))),
            ("99999999u", Some(Duration::from_micros(99_999_999))),
            ("1n", Some(Duration::from_nanos(1))),
            ("123456789S", None),
            ("S", None),
            ("", None),
            ("-1S", None),
            ("5", None),
            ("5x", None),
        ];
        for (text, expected) in table {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().expect("ASCII"));
            assert_eq!(timeout_of(&metadata), expected, "{text}");
        }
    }
}
