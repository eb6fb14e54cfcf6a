//! Forwarded proposals, written and read by hand: of the messages that are not raft's they are by far the most.

use bytes::Bytes;

use crate::fields::{BYTES, Head, NUMBER, Tag, delimited, key, put_length, varint};
use crate::proto::detcdpeer as pb;
use crate::proto::detcdpeer::forward_request::What;

/// The numbers of a request's fields.
const TERM_TAG: Tag = 1;
const BOOT_TAG: Tag = 2;
const SEQUENCE_TAG: Tag = 3;
const PROPOSE_TAG: Tag = 8;

/// The number of the one field of a list of proposals.
const PROPOSAL_TAG: Tag = 1;

/// The numbers of a proposal's fields.
const PROPOSAL_SEQUENCE_TAG: Tag = 1;
const DATA_TAG: Tag = 2;

/// What a proposal takes beside its data, at most.
const PROPOSAL_HEAD_BYTES_MAX: usize = 2 * 11;

/// What a request takes beside its proposals, at most.
const REQUEST_HEAD_BYTES_MAX: usize = 4 * 11;

/// A request for `proposals`, in two parts: what is before them, and themselves.
pub(super) fn encode(
    request: &pb::ForwardRequest,
    proposals: &[pb::Proposal],
) -> (Head<REQUEST_HEAD_BYTES_MAX>, Vec<u8>) {
    let room_bytes = |proposal: &pb::Proposal| 11 + PROPOSAL_HEAD_BYTES_MAX + proposal.data.len();
    let mut list = Vec::with_capacity(proposals.iter().map(room_bytes).sum());
    for proposal in proposals {
        let mut head = Head::<PROPOSAL_HEAD_BYTES_MAX>::new();
        head.number(PROPOSAL_SEQUENCE_TAG, proposal.sequence);
        if !proposal.data.is_empty() {
            head.length(DATA_TAG, proposal.data.len());
        }
        put_length(PROPOSAL_TAG, head.bytes().len() + proposal.data.len(), &mut list);
        list.extend_from_slice(head.bytes());
        list.extend_from_slice(&proposal.data);
    }
    let mut head = Head::new();
    head.number(TERM_TAG, request.term);
    head.number(BOOT_TAG, request.boot);
    head.number(SEQUENCE_TAG, request.sequence);
    head.length(PROPOSE_TAG, list.len());
    (head, list)
}

/// Reads a request that asks for proposals and nothing else, as the generated code would read it; the data of the
/// proposals shares the memory of `bytes`. `None` for whatever is not that, also what is malformed.
pub(super) fn decode(bytes: &Bytes) -> Option<pb::ForwardRequest> {
    let mut request = pb::ForwardRequest::default();
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match key(&mut rest).ok()? {
            (TERM_TAG, NUMBER) => request.term = varint(&mut rest).ok()?,
            (BOOT_TAG, NUMBER) => request.boot = varint(&mut rest).ok()?,
            (SEQUENCE_TAG, NUMBER) => request.sequence = varint(&mut rest).ok()?,
            (PROPOSE_TAG, BYTES) if request.what.is_none() => {
                let proposals = decode_list(bytes, delimited(&mut rest).ok()?)?;
                request.what = Some(What::Propose(pb::Proposals { proposals }));
            }
            _ => return None,
        }
    }
    request.what.is_some().then_some(request)
}

/// The proposals that stand in `rest`, a part of `bytes`.
fn decode_list(bytes: &Bytes, mut rest: &[u8]) -> Option<Vec<pb::Proposal>> {
    let mut proposals = Vec::new();
    while !rest.is_empty() {
        match key(&mut rest).ok()? {
            (PROPOSAL_TAG, BYTES) => proposals.push(decode_one(bytes, delimited(&mut rest).ok()?)?),
            _ => return None,
        }
    }
    Some(proposals)
}

fn decode_one(bytes: &Bytes, mut rest: &[u8]) -> Option<pb::Proposal> {
    let mut proposal = pb::Proposal::default();
    while !rest.is_empty() {
        match key(&mut rest).ok()? {
            (PROPOSAL_SEQUENCE_TAG, NUMBER) => proposal.sequence = varint(&mut rest).ok()?,
            (DATA_TAG, BYTES) => proposal.data = bytes.slice_ref(delimited(&mut rest).ok()?),
            _ => return None,
        }
    }
    Some(proposal)
}
