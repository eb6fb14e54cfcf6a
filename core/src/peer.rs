//! Frames between members: encoding, and the checks of everything that comes from the network.

use bytes::{Buf, Bytes};
use prost::Message;

use crate::fields::{self, BYTES, Head, NUMBER, Tag};
use crate::proto::detcdpeer as pb;
use crate::types::{ClusterId, NodeId};

pub use crate::proto::detcdpeer::frame::Body;

/// The numbers of a frame's fields, of those that a raft message comes in.
const CLUSTER_TAG: Tag = 1;
const FROM_TAG: Tag = 2;
const TO_TAG: Tag = 3;
const RAFT_TAG: Tag = 4;

/// Encodes one frame.
pub fn encode(cluster: ClusterId, from: NodeId, to: NodeId, body: Body) -> Bytes {
    let frame = pb::Frame { cluster_id: cluster.0, from: from.0, to: to.0, body: Some(body) };
    Bytes::from(frame.encode_to_vec())
}

/// Encodes one frame around a raft message, which comes in parts: what [`encode`] gives, faster.
pub(crate) fn encode_raft(cluster: ClusterId, from: NodeId, to: NodeId, message: &[&[u8]]) -> Bytes {
    let message_len = message.iter().map(|part| part.len()).sum();
    let mut head = Head::<{ 5 * 11 }>::new();
    head.number(CLUSTER_TAG, cluster.0);
    head.number(FROM_TAG, from.0);
    head.number(TO_TAG, to.0);
    head.length(RAFT_TAG, message_len);
    let head = head.bytes();
    let mut frame = Vec::with_capacity(head.len() + message_len);
    frame.extend_from_slice(head);
    message.iter().for_each(|part| frame.extend_from_slice(part));
    Bytes::from(frame)
}

/// Reads a frame around a raft message up to the message itself, if it is encoded as [`encode_raft`] does it; gives
/// where the message begins, too.
fn decode_raft_head(frame: &[u8]) -> Option<(pb::Frame, usize)> {
    let mut head = pb::Frame::default();
    let mut rest = frame;
    loop {
        match fields::key(&mut rest).ok()? {
            (CLUSTER_TAG, NUMBER) => head.cluster_id = fields::varint(&mut rest).ok()?,
            (FROM_TAG, NUMBER) => head.from = fields::varint(&mut rest).ok()?,
            (TO_TAG, NUMBER) => head.to = fields::varint(&mut rest).ok()?,
            (RAFT_TAG, BYTES) => break,
            _ => return None,
        }
    }
    let message = fields::delimited(&mut rest).ok()?;
    rest.is_empty().then_some((head, frame.len() - message.len()))
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
pub fn decode(cluster: ClusterId, from: NodeId, to: NodeId, mut frame: Bytes) -> Result<Body, &'static str> {
    let frame = match decode_raft_head(&frame) {
        Some((head, start)) => {
            frame.advance(start);
            pb::Frame { body: Some(Body::Raft(frame)), ..head }
        }
        None => pb::Frame::decode(frame).map_err(|_| "not a frame")?,
    };
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
            let in_place = encode_raft(cluster, from, to, &[&message[..len / 2], &message[len / 2..]]);
            assert_eq!(whole, in_place);
            assert_eq!(decode(cluster, from, to, in_place), Ok(Body::Raft(Bytes::from(message))));
        }
    }
}
