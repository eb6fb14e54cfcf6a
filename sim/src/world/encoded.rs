//! A put and the answer to one, as the generated code would write them, written by hand: most of what clients ask and
//! are told is one, and the generated code would take another hold on key and value for each.

use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::KeyValue;
use prost::encoding::{WireType, encode_varint};

/// Appends a put.
pub(super) fn put(put: &pb::PutRequest, out: &mut Vec<u8>) {
    let pb::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease } = put;
    bytes(1, key, out);
    bytes(2, value, out);
    number(3, *lease as u64, out);
    for (tag, flag) in [(4, *prev_kv), (5, *ignore_value), (6, *ignore_lease)] {
        number(tag, flag.into(), out);
    }
}

/// Appends the answer to a put.
pub(super) fn put_answer(answer: &pb::PutResponse, out: &mut Vec<u8>) {
    let pb::PutResponse { header, prev_kv } = answer;
    if let Some(pb::ResponseHeader { cluster_id, member_id, revision, raft_term }) = header {
        message(1, out, |out| {
            for (tag, value) in [(1, *cluster_id), (2, *member_id), (3, *revision as u64), (4, *raft_term)] {
                number(tag, value, out);
            }
        });
    }
    if let Some(KeyValue { key, create_revision, mod_revision, version, value, lease }) = prev_kv {
        message(2, out, |out| {
            bytes(1, key, out);
            for (tag, value) in [(2, *create_revision), (3, *mod_revision), (4, *version)] {
                number(tag, value as u64, out);
            }
            bytes(5, value, out);
            number(6, *lease as u64, out);
        });
    }
}

/// Appends a message that is part of another, of which `fill` appends the fields.
fn message(tag: u8, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    field(tag, WireType::LengthDelimited, out);
    let start = out.len();
    out.push(0);
    fill(out);
    // Most are so short that their length is one byte, for which there is room.
    let len = out.len() - start - 1;
    match u8::try_from(len) {
        Ok(byte) if byte < 0x80 => out[start] = byte,
        _ => {
            let mut bytes = Vec::new();
            encode_varint(len as u64, &mut bytes);
            out.splice(start..=start, bytes);
        }
    }
}

/// Appends a field of bytes; none if there are none.
fn bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    if !bytes.is_empty() {
        field(tag, WireType::LengthDelimited, out);
        varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    }
}

/// Appends a number; 0 is what is not written.
fn number(tag: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        field(tag, WireType::Varint, out);
        varint(value, out);
    }
}

/// Appends what a field begins with. The tag is not beyond 15.
fn field(tag: u8, kind: WireType, out: &mut Vec<u8>) {
    out.push(tag << 3 | kind as u8);
}

/// Appends a number as such, which most of the time is one byte.
fn varint(value: u64, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(byte) if byte < 0x80 => out.push(byte),
        _ => encode_varint(value, out),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn some_bytes() -> impl Strategy<Value = Bytes> {
        prop_oneof![0..3usize, 120..140usize].prop_map(|len| vec![7; len].into())
    }

    fn some_number() -> impl Strategy<Value = u64> {
        prop_oneof![0..300u64, any::<u64>()]
    }

    proptest! {
        #[test]
        fn a_put_is_written_as_the_generated_code_writes_it(
            key in some_bytes(),
            value in some_bytes(),
            lease in some_number(),
            flags: [bool; 3],
        ) {
            let [prev_kv, ignore_value, ignore_lease] = flags;
            let lease = lease as i64;
            let request = pb::PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease };
            let mut out = Vec::new();
            put(&request, &mut out);
            prop_assert_eq!(out, request.encode_to_vec());
        }

        #[test]
        fn an_answer_is_written_as_the_generated_code_writes_it(
            header: Option<[u8; 4]>,
            factor in some_number(),
            key in some_bytes(),
            value in some_bytes(),
            has_prev_kv: bool,
        ) {
            let header = header.map(|numbers| {
                let [cluster_id, member_id, revision, raft_term] = numbers.map(|n| u64::from(n).wrapping_mul(factor));
                pb::ResponseHeader { cluster_id, member_id, revision: revision as i64, raft_term }
            });
            let lease = factor as i64;
            let kv = KeyValue { key, create_revision: 0, mod_revision: -1, version: 300, value, lease };
            let answer = pb::PutResponse { header, prev_kv: has_prev_kv.then_some(kv) };
            let mut out = vec![1, 2, 3];
            put_answer(&answer, &mut out);
            prop_assert_eq!(out, [vec![1, 2, 3], answer.encode_to_vec()].concat());
        }
    }
}
