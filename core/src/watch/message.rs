//! What a watch stream is sent: responses whose events are shared by all the watchers that get them.

use std::sync::{Arc, OnceLock};

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::Message;
use prost::encoding::{self, DecodeContext, WireType};

use crate::proto::etcdserverpb::WatchResponse;
use crate::proto::mvccpb::Event;

/// The number of the field `events` of a response. It is the last one, so that events may be written behind the rest.
const EVENTS: u32 = 11;

/// An event as watchers are told it. Cheap to clone; whoever writes it first encodes it for all.
#[derive(Clone, Debug)]
pub struct SharedEvent(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    event: Event,
    field_len: usize,
    field: OnceLock<Bytes>,
}

impl SharedEvent {
    /// The event, to be shared.
    pub fn new(event: Event) -> SharedEvent {
        let field_len = encoding::message::encoded_len(EVENTS, &event);
        SharedEvent(Arc::new(Inner { event, field_len, field: OnceLock::new() }))
    }

    /// The event itself.
    pub fn event(&self) -> &Event {
        &self.0.event
    }

    /// How many bytes it takes in an encoded response.
    pub fn field_len(&self) -> usize {
        self.0.field_len
    }

    /// The event as a field of an encoded response: the same memory for all who share it.
    pub fn field(&self) -> &Bytes {
        self.0.field.get_or_init(|| {
            let mut field = Vec::with_capacity(self.0.field_len);
            encoding::message::encode(EVENTS, &self.0.event, &mut field);
            field.into()
        })
    }
}

/// A response on a watch stream: encoded, it is the `etcdserverpb.WatchResponse` that [`WatchMessage::into_response`]
/// gives.
#[derive(Clone, Debug, Default)]
pub struct WatchMessage {
    /// Everything but the events.
    head: WatchResponse,
    events: Vec<SharedEvent>,
}

impl WatchMessage {
    /// The response `head`, which has no events of its own, with these events.
    pub fn new(head: WatchResponse, events: Vec<SharedEvent>) -> WatchMessage {
        assert!(head.events.is_empty(), "a response has its events in one place");
        WatchMessage { head, events }
    }

    /// Everything but the events.
    pub fn head(&self) -> &WatchResponse {
        &self.head
    }

    /// The events.
    pub fn events(&self) -> &[SharedEvent] {
        &self.events
    }

    /// The response in one piece. Keys and values are not copied.
    pub fn into_response(self) -> WatchResponse {
        let events = self.events.iter().map(|shared| shared.event().clone()).collect();
        WatchResponse { events, ..self.head }
    }

    /// Appends to `batch` the response in pieces shorter than `bytes_max` if it is not and if its events allow it; all
    /// but the last piece say that more follows (contract, section 1.2).
    pub(super) fn cut(self, bytes_max: usize, batch: &mut Vec<WatchMessage>) {
        if self.events.len() < 2 || self.encoded_len() < bytes_max {
            batch.push(self);
            return;
        }
        let piece =
            |fragment| WatchMessage { head: WatchResponse { fragment, ..self.head.clone() }, events: Vec::new() };
        let head_len = piece(true).encoded_len();
        let (mut filling, mut len) = (piece(true), head_len);
        for event in self.events {
            len += event.field_len();
            if !filling.events.is_empty() && len >= bytes_max {
                len = head_len + event.field_len();
                batch.push(std::mem::replace(&mut filling, piece(true)));
            }
            filling.events.push(event);
        }
        filling.head.fragment = false;
        batch.push(filling);
    }
}

impl From<WatchResponse> for WatchMessage {
    fn from(mut response: WatchResponse) -> WatchMessage {
        let events = std::mem::take(&mut response.events).into_iter().map(SharedEvent::new).collect();
        WatchMessage { head: response, events }
    }
}

/// Encoded and decoded as a `WatchResponse`.
impl Message for WatchMessage {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        self.head.encode_raw(buf);
        for event in &self.events {
            buf.put_slice(event.field());
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        if tag != EVENTS {
            return self.head.merge_field(tag, wire_type, buf, context);
        }
        let mut event = Event::default();
        encoding::message::merge(wire_type, &mut event, buf, context)?;
        self.events.push(SharedEvent::new(event));
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        self.head.encoded_len() + self.events.iter().map(SharedEvent::field_len).sum::<usize>()
    }

    fn clear(&mut self) {
        *self = WatchMessage::default();
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
