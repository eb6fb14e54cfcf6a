//! Reads are executed beside the node, on the view that it gave.

use detcd_core::api::read_stream::{self, RangeChunks};
use detcd_core::api::{ReadRequest, Response, Status, read};
use detcd_core::proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use detcd_core::proto::etcdserverpb::{RangeRequest, RangeResponse};
use detcd_core::types::CallId;

use super::World;
use super::describe;
use super::event::{Answer, PendingRead};
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
        let result = match &read.request {
            ReadRequest::Range(range) if permille(draw, 500) && streams_alike(range) => {
                let bytes_max = usize::try_from(below(nth(draw, 0), CHUNK_BYTES_MAX)).expect("small");
                self.read_in_chunks(read, range, bytes_max)
            }
            request => read::execute(&read.view, request, read.header),
        };
        self.record.answer(&result);
        self.record.say(|| format!("call {call} reads: {}", describe::answer(&result)));
        self.reply(node, call, Answer::Result(Box::new(result)));
    }

    /// A range as its client puts it together from chunks. Only the last has a header, a count, and says whether there
    /// is more.
    fn read_in_chunks(
        &mut self,
        read: &PendingRead,
        range: &RangeRequest,
        bytes_max: usize,
    ) -> Result<Response, Status> {
        let mut chunks = RangeChunks::new(read.view.clone(), range.clone(), read.header, bytes_max);
        let mut whole = RangeResponse::default();
        let mut count = 0;
        while let Some(chunk) = chunks.next_chunk() {
            let chunk = chunk?;
            whole.kvs.extend(chunk.kvs);
            whole = RangeResponse { kvs: whole.kvs, ..chunk };
            count += 1;
        }
        if count > 1 {
            self.mark("range: told in several chunks");
        }
        Ok(Response::Range(whole))
    }
}
