//! The plain HTTP side of the client port: `/health` and `/version` (contract, section 3).

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb::{AlarmMember, AlarmType, RangeRequest};
use detcd_core::types::NodeId;
use serde_json::json;

use crate::calls::Calls;
use crate::version;

/// The key that a health check reads; it need not exist.
const HEALTH_KEY: &[u8] = b"health";

/// Everything that is served without gRPC.
pub fn router(calls: Arc<Calls>) -> Router {
    Router::new()
        .route("/health", any(health))
        .route("/version", any(version))
        .fallback(async || (StatusCode::NOT_FOUND, "404 page not found\n"))
        .with_state(calls)
}

async fn health(State(calls): State<Arc<Calls>>, RawQuery(query): RawQuery, method: Method) -> Response {
    if method != Method::GET {
        return method_not_allowed();
    }
    let query = query.unwrap_or_default();
    let parts = || query.split('&').filter_map(|part| part.split_once('='));
    let serializable = parts().any(|part| part == ("serializable", "true"));
    let excluded: Vec<&str> = parts().filter(|(name, _)| *name == "exclude").map(|(_, alarm)| alarm).collect();
    match check(&calls, serializable, &excluded).await {
        Ok(()) => (StatusCode::OK, json!({"health": "true", "reason": ""}).to_string()).into_response(),
        Err(reason) => {
            tracing::warn!(%reason, "/health error");
            let body = json!({"health": "false", "reason": reason}).to_string() + "\n";
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

/// Looks for alarms that are not excluded, and reads, through a quorum unless `serializable`; the reason if something
/// is wrong.
async fn check(calls: &Calls, serializable: bool, excluded: &[&str]) -> Result<(), String> {
    let name = |alarm: &AlarmMember| AlarmType::try_from(alarm.alarm).map_or("UNKNOWN", |kind| kind.as_str_name());
    let alarms = calls.view().alarms();
    if let Some(alarm) = alarms.iter().map(name).find(|alarm| !excluded.contains(alarm)) {
        return Err(format!("ALARM {alarm}"));
    }
    if !serializable && calls.leader() == NodeId(0) {
        return Err("RAFT NO LEADER".into());
    }
    let key = Bytes::from_static(HEALTH_KEY);
    let request = RangeRequest { key, limit: 1, keys_only: true, serializable, ..RangeRequest::default() };
    match calls.call(Request::Range(request), None).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("RANGE ERROR:{error}")),
    }
}

async fn version(method: Method) -> Response {
    if method != Method::GET {
        return method_not_allowed();
    }
    let body = format!(
        r#"{{"etcdserver":"{}","etcdcluster":"{}","storage":"{}"}}"#,
        version::SERVER,
        version::CLUSTER,
        version::STORAGE
    );
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn method_not_allowed() -> Response {
    (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET")], "Method Not Allowed\n").into_response()
}
