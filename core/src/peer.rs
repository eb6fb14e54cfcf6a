//! Frames between members: encoding, and the checks of everything that comes from the network.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use crate::proto::detcdpeer as pb;
use crate::types::{ClusterId, NodeId};

pub use crate::proto::detcdpeer::frame::Body;

/// The number of the field that holds a raft message.
const RAFT_TAG: u32 = 4;

/// Encodes one frame.
pub fn encode(cluster: ClusterId, from: NodeId, to: NodeId, body: Body) -> Bytes {
    let frame = pb::Frame { cluster_id: cluster.0, from: from.0, to: to.0, body: Some(body) };
    Bytes::from(frame.encode_to_vec())
}

/// Encodes one frame around a raft message of `len` bytes, which `put` appends: the same as [`encode`] gives, without
/// the message being written twice.
pub(crate) fn encode_raft(
    cluster: ClusterId,
    from: NodeId,
    to: NodeId,
    len: usize,
    put: impl FnOnce(&mut Vec<u8>),
) -> Bytes {
    let head = pb::Frame { cluster_id: cluster.0, from: from.0, to: to.0, body: None };
    let mut frame = Vec::with_capacity(head.encoded_len() + 1 + encoded_len_varint(len as u64) + len);
    head.encode(&mut frame).expect("a vector has room");
    encode_key(RAFT_TAG, WireType::LengthDelimited, &mut frame);
    encode_varint(len as u64, &mut frame);
    let start = frame.len();
    put(&mut frame);
    assert_eq!(frame.len() - start, len, "the message is as long as it was said to be");
    Bytes::from(frame)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raft_message_written_in_place_makes_the_same_frame() {
        for len in [0, 1, 127, 128, 70_000] {
            let message = vec![7; len];
            let (cluster, from, to) = (ClusterId(u64::MAX), NodeId(1), NodeId(300));
            let whole = encode(cluster, from, to, Body::Raft(Bytes::from(message.clone())));
            let in_place = encode_raft(cluster, from, to, len, |frame| frame.extend_from_slice(&message));
            assert_eq!(whole, in_place);
            assert_eq!(decode(cluster, from, to, in_place), Ok(Body::Raft(Bytes::from(message))));
        }
    }
}
