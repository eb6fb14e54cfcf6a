//! A range as a stream of chunks (contract, section 1.1 RangeStream): pure, on whatever thread.

use bytes::Bytes;
use prost::Message;

use super::Status;
use super::read::execute;
use super::{ReadRequest, Response};
use crate::proto::etcdserverpb as pb;
use crate::state_machine::StoreView;
use crate::state_machine::range::{count, range_uncounted};

/// How many keys the first chunk has.
const FIRST_CHUNK_KEYS: usize = 10;

/// Why a range, valid by itself, cannot be told in chunks, in etcd's words; `None` if it can.
///
/// A sort target without an order passes, as in etcd; the keys come in their own order then. etcd sorts each chunk, and
/// goes on behind the last key of the sorted chunk.
pub fn unsupported(request: &pb::RangeRequest) -> Option<&'static str> {
    use pb::range_request::{SortOrder, SortTarget};
    let in_key_order = request.sort_order() == SortOrder::None
        || request.sort_order() == SortOrder::Ascend && request.sort_target() == SortTarget::Key;
    let bounds =
        [request.min_mod_revision, request.max_mod_revision, request.min_create_revision, request.max_create_revision];
    if !in_key_order {
        return Some("RangeStream does not support custom sort orders");
    }
    (bounds != [0; 4]).then_some("RangeStream does not support revision filters")
}

/// The chunks of a range, all of one view. Only the last has a header, and says how many keys the range has and whether
/// the limit cut it short.
#[derive(Debug)]
pub struct RangeChunks {
    view: StoreView,
    /// The rest of the range; its limit is that of all chunks.
    request: pb::RangeRequest,
    header: pb::ResponseHeader,
    /// How many keys the next chunk may have.
    chunk_keys: usize,
    /// How large chunks should become, in bytes.
    chunk_bytes: usize,
    /// How many keys were given.
    given: i64,
    is_over: bool,
}

impl RangeChunks {
    /// The chunks of `request`, which has passed [`super::validate::validate`] and [`unsupported`], on `view`. They
    /// grow or shrink towards `chunk_bytes`.
    pub fn new(
        view: StoreView,
        request: pb::RangeRequest,
        header: pb::ResponseHeader,
        chunk_bytes: usize,
    ) -> RangeChunks {
        RangeChunks { view, request, header, chunk_keys: FIRST_CHUNK_KEYS, chunk_bytes, given: 0, is_over: false }
    }

    /// The next chunk; none after the last one, and after an error.
    ///
    /// # Errors
    /// The revision is compacted, or does not exist yet.
    pub fn next_chunk(&mut self) -> Option<Result<pb::RangeResponse, Status>> {
        if self.is_over {
            return None;
        }
        let chunk = if self.request.count_only { self.count_only() } else { self.some_keys() };
        self.is_over |= chunk.is_err();
        Some(chunk)
    }

    fn count_only(&mut self) -> Result<pb::RangeResponse, Status> {
        self.is_over = true;
        match execute(&self.view, &ReadRequest::Range(self.request.clone()), self.header)? {
            Response::Range(response) => Ok(response),
            other => unreachable!("a range is answered with a range, not {other:?}"),
        }
    }

    fn some_keys(&mut self) -> Result<pb::RangeResponse, Status> {
        let mvcc = &self.view.store.mvcc;
        let left = if self.request.limit > 0 { self.request.limit - self.given } else { i64::MAX };
        let keys_max = self.chunk_keys.min(usize::try_from(left).unwrap_or(usize::MAX));
        let (kvs, more) = range_uncounted(mvcc, &self.request, keys_max)?;
        self.given += kvs.len() as i64;
        let mut chunk = pb::RangeResponse { kvs, ..Default::default() };
        self.is_over = !more || self.given == self.request.limit;
        if more && let Some(last) = chunk.kvs.last() {
            self.request.key = after(&last.key);
        }
        if self.is_over {
            chunk.header = Some(pb::ResponseHeader { revision: self.view.revision(), ..self.header });
            chunk.more = more;
            chunk.count = self.given + if more { count(mvcc, &self.request)? } else { 0 };
        }
        self.chunk_keys = match chunk.encoded_len() {
            len if len < self.chunk_bytes / 2 => self.chunk_keys.saturating_mul(2),
            len if len > self.chunk_bytes.saturating_mul(2) => (self.chunk_keys / 2).max(1),
            _ => self.chunk_keys,
        };
        Ok(chunk)
    }
}

/// The first key after `key`.
fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

#[cfg(test)]
#[path = "read_stream_tests.rs"]
mod tests;
