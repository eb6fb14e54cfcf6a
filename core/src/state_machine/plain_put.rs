//! A put as it stands in an entry, read and written by hand: most entries are one, and each is read on every member.

use bytes::Bytes;
use prost::encoding::encoded_len_varint;

use super::command::PlainPut;
use super::put::Put;
use crate::fields::{BYTES, Head, Tag, bytes_if_next, delimited, key, number_if_next, put_bytes};
use crate::proto::etcdserverpb as pb;
use crate::types::NodeId;

/// Where an entry has who proposed it, its put, and the header with its id.
const PROPOSER_TAG: Tag = 1;
const PUT_TAG: Tag = 4;
const HEADER_TAG: Tag = 100;

/// Whether a request is a put and nothing else, of no user.
fn is_plain(request: &pb::InternalRaftRequest) -> bool {
    let nameless = |header: &pb::RequestHeader| header.username.is_empty() && header.auth_revision == 0;
    let pb::InternalRaftRequest {
        header,
        id: _,
        put: Some(_),
        delete_range: None,
        txn: None,
        compaction: None,
        lease_grant: None,
        lease_revoke: None,
        alarm: None,
        lease_checkpoint: None,
        cluster_member_attr_set: None,
        sweep: None,
        quota_reached: None,
    } = request
    else {
        return false;
    };
    header.as_ref().is_none_or(nameless)
}

/// The entry of a request as the generated code would write it, if it is plain.
pub(super) fn encode(request: &pb::InternalRaftRequest) -> Option<Vec<u8>> {
    let put = request.put.as_ref().filter(|_| is_plain(request))?;
    let mut behind = Head::<{ 4 * 11 }>::new();
    behind.number(3, put.lease as u64);
    for (tag, flag) in [(4, put.prev_kv), (5, put.ignore_value), (6, put.ignore_lease)] {
        behind.number(tag, u64::from(flag));
    }
    let put_len = field_bytes(&put.key) + field_bytes(&put.value) + behind.bytes().len();
    let mut head = Head::<{ 2 * 11 }>::new();
    head.number(PROPOSER_TAG, request.id);
    head.length(PUT_TAG, put_len);
    let mut tail = Head::<{ 2 * 12 }>::new();
    if let Some(header) = &request.header {
        tail.length(HEADER_TAG, if header.id == 0 { 0 } else { 1 + encoded_len_varint(header.id) });
        tail.number(1, header.id);
    }
    let mut out = Vec::with_capacity(head.bytes().len() + put_len + tail.bytes().len());
    out.extend_from_slice(head.bytes());
    put_bytes(1, &put.key, &mut out);
    put_bytes(2, &put.value, &mut out);
    out.extend_from_slice(behind.bytes());
    out.extend_from_slice(tail.bytes());
    Some(out)
}

/// How long a field of these bytes is.
fn field_bytes(bytes: &Bytes) -> usize {
    if bytes.is_empty() { 0 } else { 1 + encoded_len_varint(bytes.len() as u64) + bytes.len() }
}

/// The put of an entry that is one and nothing else, as the generated code would read it. `None` for one whose fields
/// come in another order than [`encode`] has, or that has others, and for what is malformed: that is for the generated
/// code.
#[inline]
pub(super) fn decode(mut rest: &[u8]) -> Option<PlainPut<'_>> {
    let proposer = NodeId(number_if_next(PROPOSER_TAG, &mut rest).ok()?.unwrap_or(0));
    let put = put(bytes_if_next(PUT_TAG, &mut rest).ok()??)?;
    let mut request_id = 0;
    if !rest.is_empty() {
        // A tag beyond 15, with a key of two bytes.
        let (HEADER_TAG, BYTES) = key(&mut rest).ok()? else { return None };
        request_id = header(delimited(&mut rest).ok()?)?;
    }
    rest.is_empty().then_some(PlainPut { proposer, request_id, put })
}

/// The put that stands in `rest`.
#[inline]
fn put(mut rest: &[u8]) -> Option<Put<'_>> {
    let key = bytes_if_next(1, &mut rest).ok()?.unwrap_or_default();
    let value = bytes_if_next(2, &mut rest).ok()?.unwrap_or_default();
    let mut number = |tag: Tag| Some(number_if_next(tag, &mut rest).ok()?.unwrap_or(0));
    let lease = number(3)? as i64;
    let (prev_kv, ignore_value, ignore_lease) = (number(4)? != 0, number(5)? != 0, number(6)? != 0);
    rest.is_empty().then_some(Put { key, value, lease, prev_kv, ignore_value, ignore_lease })
}

/// The id in a header that names the request, and no user.
#[inline]
fn header(mut rest: &[u8]) -> Option<u64> {
    let id = number_if_next(1, &mut rest).ok()?.unwrap_or(0);
    rest.is_empty().then_some(id)
}

#[cfg(test)]
mod tests {
    use prop::collection::vec;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn bytes() -> impl Strategy<Value = Bytes> {
        vec(any::<u8>(), 0..200).prop_map(Bytes::from)
    }

    fn request() -> impl Strategy<Value = pb::InternalRaftRequest> {
        let put = (bytes(), bytes(), prop_oneof![Just(0), any::<i64>()], any::<[bool; 3]>());
        let header = (any::<u64>(), prop_oneof!["", "[a-z]{3}"], 0..3u64);
        (prop::option::of(header), prop_oneof![0..3u64, any::<u64>()], put, 0..8u8).prop_map(
            |(header, id, put, more)| {
                let (key, value, lease, [prev_kv, ignore_value, ignore_lease]) = put;
                pb::InternalRaftRequest {
                    header: header.map(|(id, username, auth_revision)| pb::RequestHeader {
                        id,
                        username,
                        auth_revision,
                    }),
                    id,
                    put: (more > 0).then_some(pb::PutRequest {
                        key,
                        value,
                        lease,
                        prev_kv,
                        ignore_value,
                        ignore_lease,
                    }),
                    compaction: (more > 6).then_some(pb::CompactionRequest { revision: 7, physical: true }),
                    ..Default::default()
                }
            },
        )
    }

    /// The put that a request is, if it is nothing else.
    fn plain(request: &pb::InternalRaftRequest) -> Option<PlainPut<'_>> {
        let put = request.put.as_ref().filter(|_| is_plain(request)).map(Put::from)?;
        let request_id = request.header.as_ref().map_or(0, |header| header.id);
        Some(PlainPut { proposer: NodeId(request.id), request_id, put })
    }

    proptest! {
        #[test]
        fn a_put_is_read_as_the_generated_code_reads_it(request in request()) {
            let data = request.encode_to_vec();
            prop_assert_eq!(decode(&data), plain(&request));
        }

        #[test]
        fn a_put_is_written_as_the_generated_code_writes_it(request in request()) {
            prop_assert_eq!(encode(&request), is_plain(&request).then(|| request.encode_to_vec()));
        }

        #[test]
        fn what_was_damaged_is_read_as_the_generated_code_reads_it(
            request in request(),
            damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in any::<prop::sample::Index>(),
            doubled in any::<bool>(),
        ) {
            let mut data = request.encode_to_vec();
            if doubled {
                data.extend(request.encode_to_vec());
            }
            data.truncate(data.len().saturating_sub(cut.index(8)));
            for (place, byte) in damage {
                if !data.is_empty() {
                    let place = place.index(data.len().min(40));
                    data[place] = byte;
                }
            }
            if let Some(read) = decode(&data) {
                let request = pb::InternalRaftRequest::decode(&data[..]);
                prop_assert_eq!(request.as_ref().map(plain), Ok(Some(read)));
            }
        }
    }
}
