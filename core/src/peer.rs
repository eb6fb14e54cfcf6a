//! Frames between members: encoding, and the checks of everything that comes from the network.

mod proposals;

use bytes::{Buf, Bytes};
use prost::Message;

use crate::fields::{self, BYTES, Head, NUMBER, Tag};
use crate::proto::detcdpeer as pb;
use crate::proto::detcdpeer::forward_request::What;
use crate::types::{ClusterId, NodeId};

pub use crate::proto::detcdpeer::frame::Body;

/// The numbers of a frame's fields, of those that most frames consist of.
const CLUSTER_TAG: Tag = 1;
const FROM_TAG: Tag = 2;
const TO_TAG: Tag = 3;
const RAFT_TAG: Tag = 4;
const FORWARD_TAG: Tag = 5;

/// Encodes one frame.
pub fn encode(cluster: ClusterId, from: NodeId, to: NodeId, body: Body) -> Bytes {
    if let Body::Forward(request) = &body
        && let Some(What::Propose(asked)) = &request.what
    {
        let (head, list) = proposals::encode(request, &asked.proposals);
        return encode_around(cluster, from, to, FORWARD_TAG, &[head.bytes(), &list]);
    }
    let frame = pb::Frame { cluster_id: cluster.0, from: from.0, to: to.0, body: Some(body) };
    Bytes::from(frame.encode_to_vec())
}

/// Encodes one frame around a raft message, which comes in parts: what [`encode`] gives, faster.
pub(crate) fn encode_raft(cluster: ClusterId, from: NodeId, to: NodeId, message: &[&[u8]]) -> Bytes {
    encode_around(cluster, from, to, RAFT_TAG, message)
}

/// Encodes one frame around the body that `tag` numbers, which comes in parts.
fn encode_around(cluster: ClusterId, from: NodeId, to: NodeId, tag: Tag, body: &[&[u8]]) -> Bytes {
    let body_len = body.iter().map(|part| part.len()).sum();
    let mut head = Head::<{ 5 * 11 }>::new();
    head.number(CLUSTER_TAG, cluster.0);
    head.number(FROM_TAG, from.0);
    head.number(TO_TAG, to.0);
    head.length(tag, body_len);
    let head = head.bytes();
    let mut frame = Vec::with_capacity(head.len() + body_len);
    frame.extend_from_slice(head);
    body.iter().for_each(|part| frame.extend_from_slice(part));
    Bytes::from(frame)
}

/// Reads a frame up to its body, if it is encoded as [`encode`] does it; gives the number of the body and where it
/// begins, too.
fn decode_head(frame: &[u8]) -> Option<(pb::Frame, Tag, usize)> {
    let mut head = pb::Frame::default();
    let mut rest = frame;
    let tag = loop {
        match fields::key(&mut rest).ok()? {
            (CLUSTER_TAG, NUMBER) => head.cluster_id = fields::varint(&mut rest).ok()?,
            (FROM_TAG, NUMBER) => head.from = fields::varint(&mut rest).ok()?,
            (TO_TAG, NUMBER) => head.to = fields::varint(&mut rest).ok()?,
            (tag, BYTES) => break tag,
            _ => return None,
        }
    };
    let body = fields::delimited(&mut rest).ok()?;
    rest.is_empty().then_some((head, tag, frame.len() - body.len()))
}

/// Reads a frame, the most frequent ones by hand.
fn decode_frame(mut frame: Bytes) -> Result<pb::Frame, prost::DecodeError> {
    let body = match decode_head(&frame) {
        Some((head, RAFT_TAG, start)) => {
            frame.advance(start);
            return Ok(pb::Frame { body: Some(Body::Raft(frame)), ..head });
        }
        Some((head, FORWARD_TAG, start)) => proposals::decode(&frame.slice(start..)).map(|request| (head, request)),
        _ => None,
    };
    match body {
        Some((head, request)) => Ok(pb::Frame { body: Some(Body::Forward(request)), ..head }),
        None => pb::Frame::decode(frame),
    }
}

/// The name of a body's kind; a raft message has a name of its own.
pub fn kind(body: &Body) -> &'static str {
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
    let frame = decode_frame(frame).map_err(|_| "not a frame")?;
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_raft_message_written_in_place_makes_the_same_frame() {
        for len in [0, 1, 127, 128, 70_000] {
            let message = vec![7; len];
            let (cluster, from, to) = (ClusterId(u64::MAX), NodeId(1), NodeId(300));
            let frame = pb::Frame {
                cluster_id: cluster.0,
                from: from.0,
                to: to.0,
                body: Some(Body::Raft(Bytes::from(message.clone()))),
            };
            let in_place = encode_raft(cluster, from, to, &[&message[..len / 2], &message[len / 2..]]);
            assert_eq!(frame.encode_to_vec(), in_place);
            assert_eq!(decode(cluster, from, to, in_place), Ok(Body::Raft(Bytes::from(message))));
        }
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![Just(0), 1..300u64, any::<u64>()]
    }

    fn forward() -> impl Strategy<Value = pb::ForwardRequest> {
        let data = prop::collection::vec(any::<u8>(), 0..200).prop_map(Bytes::from);
        let proposal = (number(), data).prop_map(|(sequence, data)| pb::Proposal { sequence, data });
        let propose =
            prop::collection::vec(proposal, 0..4).prop_map(|proposals| What::Propose(pb::Proposals { proposals }));
        let what = prop_oneof![
            8 => propose.prop_map(Some),
            1 => any::<i64>().prop_map(|id| Some(What::LeaseKeepAlive(pb::LeaseKeepAlive { id }))),
            1 => Just(None),
        ];
        (number(), number(), number(), what).prop_map(|(term, boot, sequence, what)| pb::ForwardRequest {
            term,
            boot,
            sequence,
            what,
        })
    }

    proptest! {
        #[test]
        fn a_forwarded_request_is_written_and_read_as_the_generated_code_does(
            ids in prop::array::uniform3(number()),
            request in forward(),
            spoil in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let [cluster_id, from, to] = ids;
            let frame = pb::Frame { cluster_id, from, to, body: Some(Body::Forward(request.clone())) };
            let mut bytes = frame.encode_to_vec();
            prop_assert_eq!(&encode(ClusterId(cluster_id), NodeId(from), NodeId(to), Body::Forward(request)), &bytes);
            for (place, byte) in spoil {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(decode_frame(bytes.clone()).ok(), pb::Frame::decode(bytes).ok());
        }
    }
}
