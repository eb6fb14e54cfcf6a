//! Frames between members: encoding, and the checks of everything that comes from the network.

use bytes::Bytes;
use prost::Message;

use crate::proto::detcdpeer as pb;
use crate::types::{ClusterId, NodeId};

pub use crate::proto::detcdpeer::frame::Body;

/// Encodes one frame.
pub fn encode(cluster: ClusterId, from: NodeId, to: NodeId, body: Body) -> Bytes {
    let frame = pb::Frame { cluster_id: cluster.0, from: from.0, to: to.0, body: Some(body) };
    Bytes::from(frame.encode_to_vec())
}

/// The name of a body's kind; a raft message has a name of its own.
pub fn kind(body: &Body) -> &'static str {
    use pb::forward_request::What;
    match body {
        Body::Raft(_) => "raft",
        Body::Forward(forward) => match &forward.what {
            Some(What::Propose(_)) => "forward-propose",
            Some(What::ReadIndex(_)) => "forward-read-index",
            Some(What::LeaseKeepAlive(_)) => "forward-keep-alive",
            Some(What::LeaseTimeToLive(_)) => "forward-time-to-live",
            None => "forward-empty",
        },
        Body::ForwardReply(_) => "forward-reply",
        Body::SnapshotFetch(_) => "snapshot-fetch",
        Body::SnapshotChunk(_) => "snapshot-chunk",
    }
}

/// Decodes a frame that the network says comes from `from`.
///
/// # Errors
/// What is wrong with it; such a frame is dropped.
pub fn decode(cluster: ClusterId, from: NodeId, to: NodeId, frame: Bytes) -> Result<Body, &'static str> {
    let frame = pb::Frame::decode(frame).map_err(|_| "not a frame")?;
    if frame.cluster_id != cluster.0 {
        return Err("a frame of another cluster");
    }
    if frame.from != from.0 || frame.to != to.0 {
        return Err("a frame between other members");
    }
    frame.body.ok_or("an empty frame")
}
