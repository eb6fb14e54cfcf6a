//! A put as it comes in an entry, read by hand: most entries are one, and each is read on every member.

use bytes::Bytes;

use crate::fields::{BYTES, Malformed, NUMBER, delimited, key, varint};
use crate::proto::etcdserverpb as pb;

/// The request of an entry that is a put and nothing else, as the generated code would read it. `None` for whatever is
/// not that, also what is malformed: that is for the generated code.
#[inline]
pub(super) fn decode(data: &Bytes) -> Option<pb::InternalRaftRequest> {
    // The request is large, since it could be anything: it is made last, where it stays.
    let (mut id, mut read_put, mut read_header) = (0, None, None);
    let mut rest = &data[..];
    while !rest.is_empty() {
        match key(&mut rest).ok()? {
            (1, NUMBER) => id = varint(&mut rest).ok()?,
            (4, BYTES) if read_put.is_none() => read_put = Some(put(data, delimited(&mut rest).ok()?)?),
            (100, BYTES) if read_header.is_none() => read_header = Some(header(delimited(&mut rest).ok()?)?),
            _ => return None,
        }
    }
    let put = Some(read_put?);
    Some(pb::InternalRaftRequest { header: read_header, id, put, ..Default::default() })
}

/// The put that stands in `rest`, a part of `data`, whose memory it shares.
fn put(data: &Bytes, mut rest: &[u8]) -> Option<pb::PutRequest> {
    let mut put = pb::PutRequest::default();
    let flag = |rest: &mut &[u8]| -> Result<bool, Malformed> { Ok(varint(rest)? != 0) };
    while !rest.is_empty() {
        match key(&mut rest).ok()? {
            (1, BYTES) => put.key = data.slice_ref(delimited(&mut rest).ok()?),
            (2, BYTES) => put.value = data.slice_ref(delimited(&mut rest).ok()?),
            (3, NUMBER) => put.lease = varint(&mut rest).ok()? as i64,
            (4, NUMBER) => put.prev_kv = flag(&mut rest).ok()?,
            (5, NUMBER) => put.ignore_value = flag(&mut rest).ok()?,
            (6, NUMBER) => put.ignore_lease = flag(&mut rest).ok()?,
            _ => return None,
        }
    }
    Some(put)
}

/// A header that names the request, and no user.
fn header(mut rest: &[u8]) -> Option<pb::RequestHeader> {
    let mut header = pb::RequestHeader::default();
    while !rest.is_empty() {
        match key(&mut rest).ok()? {
            (1, NUMBER) => header.id = varint(&mut rest).ok()?,
            (3, NUMBER) => header.auth_revision = varint(&mut rest).ok()?,
            _ => return None,
        }
    }
    Some(header)
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

    proptest! {
        #[test]
        fn a_put_is_read_as_the_generated_code_reads_it(request in request()) {
            let data = Bytes::from(request.encode_to_vec());
            let is_plain = request.put.is_some() && request.compaction.is_none();
            let names_a_user = request.header.as_ref().is_some_and(|header| !header.username.is_empty());
            prop_assert_eq!(decode(&data), (is_plain && !names_a_user).then_some(request));
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
            let data = Bytes::from(data);
            if let Some(read) = decode(&data) {
                prop_assert_eq!(pb::InternalRaftRequest::decode(data), Ok(read));
            }
        }
    }
}
