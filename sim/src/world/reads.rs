//! Reads are executed beside the node, on the view that it gave.

use std::panic::{AssertUnwindSafe, catch_unwind};

use detcd_core::api::read_stream::{self, RangeChunks};
use detcd_core::api::{ReadRequest, Response, Status, read};
use detcd_core::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use detcd_core::proto::etcdserverpb::{RangeRequest, RangeResponse};
use detcd_core::types::CallId;

use super::World;
use super::describe;
use super::event::{Answer, PendingRead};
use crate::check::ViolationKind;
use crate::observe::NodeIndex;
use crate::weather::{Domain, below, nth, permille};

/// Chunks become so large at most, in bytes: the ranges of a simulation are small.
const CHUNK_BYTES_MAX: u64 = 500;

/// Whether the chunks of a range are together what the range is. With a target and no order a range is sorted, and its
/// chunks come in the order of keys.
fn streams_alike(range: &RangeRequest) -> bool {
    let is_sorted = range.sort_order() == SortOrder::None && range.sort_target() != SortTarget::Key;
    read_stream::unsupported(range).is_none() && !is_sorted
}

impl World<'_> {
    /// A read is executed now. Half of the ranges that can be are told in chunks (contract, section 1.1 RangeStream);
    /// together these have to be what the range would be.
    pub(super) fn read_due(&mut self, node: NodeIndex, boot: u32, call: CallId, read: &PendingRead) {
        if self.hosts[node].boot != boot || !self.hosts[node].is_up() {
            return;
        }
        self.record.begin(self.now, 4, Some(node));
        self.record.number(call.0);
        let draw = self.weather.draw(Domain::Read, &[node as u64, self.now, call.0, 1]);
        let chunk_bytes = match &read.request {
            ReadRequest::Range(range) if permille(draw, 500) && streams_alike(range) => {
                Some(usize::try_from(below(nth(draw, 0), CHUNK_BYTES_MAX)).expect("small"))
            }
            _ => None,
        };
        let Ok((result, chunks)) = catch_unwind(AssertUnwindSafe(|| execute(read, chunk_bytes))) else {
            let detail = format!("m{} panicked while it executed a read: {:?}", node + 1, read.request);
            return self.fail(ViolationKind::Crash, "no-panic", detail);
        };
        if chunks > 1 {
            self.mark("range: told in several chunks");
        }
        self.record.answer(&result);
        self.record.say(|| format!("call {call} reads: {}", describe::answer(&result)));
        self.reply(node, call, Answer::Result(Box::new(result)));
    }
}

/// Executes a read, a range in chunks of about so many bytes; and how many chunks it took.
fn execute(read: &PendingRead, chunk_bytes: Option<usize>) -> (Result<Response, Status>, usize) {
    match (&read.request, chunk_bytes) {
        (ReadRequest::Range(range), Some(chunk_bytes)) => in_chunks(read, range, chunk_bytes),
        (request, _) => (read::execute(&read.view, request, read.header), 1),
    }
}

/// A range as its client puts it together from chunks. Only the last has a header, a count, and says whether there is
/// more.
fn in_chunks(read: &PendingRead, range: &RangeRequest, chunk_bytes: usize) -> (Result<Response, Status>, usize) {
    let mut chunks = RangeChunks::new(read.view.clone(), range.clone(), read.header, chunk_bytes);
    let mut whole = RangeResponse::default();
    let mut count = 0;
    while let Some(chunk) = chunks.next_chunk() {
        match chunk {
            Err(status) => return (Err(status), count),
            Ok(chunk) => {
                whole.kvs.extend(chunk.kvs);
                whole = RangeResponse { kvs: whole.kvs, ..chunk };
            }
        }
        count += 1;
    }
    (Ok(Response::Range(whole)), count)
}
