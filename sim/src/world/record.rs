//! Rolls every event, what came of it, and the state after it into one digest; and tells a human about it on demand.

use bytes::BufMut;
use detcd_core::api::{Request, Response, Status};
use detcd_core::digest::Digest;
use detcd_core::{DiskAction, Effect, NodeStatus, Note, Role};
use prost::Message;

use super::encoded;
use crate::observe::NodeIndex;
use crate::report::{Parting, TraceLine};
use crate::trail::DigestTrail;

/// Where the lines of a trace go.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&TraceLine);

pub(super) struct Record<'a> {
    pub digest: Digest,
    pub trail: DigestTrail,
    pub events: u64,
    pub parting: Option<Parting>,
    expected: Option<DigestTrail>,
    sink: Option<Sink<'a>>,
    buffer: Vec<u8>,
    node: Option<NodeIndex>,
    text: String,
}

impl<'a> Record<'a> {
    pub fn new(expected: Option<DigestTrail>, sink: Option<Sink<'a>>) -> Record<'a> {
        Record {
            digest: Digest::default(),
            trail: DigestTrail::default(),
            events: 0,
            parting: None,
            expected,
            sink,
            buffer: Vec::new(),
            node: None,
            text: String::new(),
        }
    }

    /// An event begins at `now`, and what was before it is over. `tag` tells its kind.
    pub fn begin(&mut self, now: u64, tag: u8, node: Option<NodeIndex>) {
        self.end(now);
        let mut head = [0; 33];
        head[..16].copy_from_slice(&self.digest.0.to_le_bytes());
        head[16..24].copy_from_slice(&now.to_le_bytes());
        head[24] = tag;
        head[25..].copy_from_slice(&node.map_or(u64::MAX, |node| node as u64).to_le_bytes());
        self.buffer.put_slice(&head);
        self.node = node;
    }

    /// Something about the event.
    pub fn number(&mut self, number: u64) {
        self.buffer.put_u64_le(number);
    }

    /// Some things about the event, which go into the digest together: there is an event for every few hundred
    /// instructions, and each has some.
    pub fn numbers<const N: usize>(&mut self, numbers: [u64; N]) {
        self.buffer.extend_from_slice(numbers.map(u64::to_le_bytes).as_flattened());
    }

    /// How a member stands after the event.
    pub fn status(&mut self, status: &NodeStatus) {
        let leads = u64::from(status.role == Role::Leader);
        let (state_low, state_high) = (status.state.0 as u64, (status.state.0 >> 64) as u64);
        let state_bytes = size_of_val(&status.state.0) as u64;
        self.numbers([leads, status.term.0, status.commit.0, status.applied.0, state_bytes, state_low, state_high]);
    }

    /// Something about the event.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.put_u64_le(bytes.len() as u64);
        self.buffer.put_slice(bytes);
    }

    /// Something about the event, for a human only.
    pub fn say(&mut self, text: impl FnOnce() -> String) {
        if self.sink.is_some() {
            self.put_down(text);
        }
    }

    /// Apart from where it is called, for in most runs nobody listens, and what each event goes through should fit into
    /// the processor's instruction cache.
    #[cold]
    #[inline(never)]
    fn put_down(&mut self, text: impl FnOnce() -> String) {
        if !self.text.is_empty() {
            self.text.push_str("; ");
        }
        self.text.push_str(&text());
    }

    /// What a member notes of the event, for a human only.
    pub fn notes(&mut self, notes: &[Note]) {
        if self.sink.is_some() {
            notes.iter().for_each(|note| self.say(|| format!("({note:?})")));
        }
    }

    /// The event is over, if there was one.
    pub fn end(&mut self, now: u64) {
        if !self.buffer.is_empty() {
            self.roll_in(now);
        }
    }

    fn roll_in(&mut self, now: u64) {
        self.digest = Digest::of(&self.buffer);
        self.buffer.clear();
        self.events += 1;
        self.trail.push(self.events, self.digest);
        if let Some(expected) = &self.expected
            && self.parting.is_none()
            && !expected.agrees(self.events, self.digest)
        {
            self.parting = Some(Parting { event: self.events, at_ms: now / 1_000_000 });
        }
        if let Some(sink) = &mut self.sink {
            let text = std::mem::take(&mut self.text);
            sink(&TraceLine { event: self.events, at: now, node: self.node, text, digest: self.digest });
        }
    }

    /// A message, as part of the event.
    pub fn message(&mut self, message: &impl Message) {
        self.encoded(|buffer| message.encode(buffer).expect("a vector has room"));
    }

    /// Something that `encode` appends, as part of the event.
    fn encoded(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.put_u64_le(0);
        encode(&mut self.buffer);
        // How long it is shows when it is there, and need not be asked before.
        let (len, encoded) = self.buffer[start..].split_at_mut(8);
        len.copy_from_slice(&(encoded.len() as u64).to_le_bytes());
    }

    /// A request, as part of the event.
    pub fn request(&mut self, request: &Request) {
        match request {
            Request::Range(m) => self.message(m),
            Request::Put(m) => self.encoded(|buffer| encoded::put(m, buffer)),
            Request::DeleteRange(m) => self.message(m),
            Request::Txn(m) => self.message(m),
            Request::Compact(m) => self.message(m),
            Request::LeaseGrant(m) => self.message(m),
            Request::LeaseRevoke(m) => self.message(m),
            Request::LeaseKeepAlive(m) => self.message(m),
            Request::LeaseTimeToLive(m) => self.message(m),
            Request::LeaseLeases(m) => self.message(m),
            Request::MemberList(m) => self.message(m),
            Request::Status(m) => self.message(m),
            Request::Alarm(m) => self.message(m),
            Request::Defragment(m) => self.message(m),
            Request::Hash(m) => self.message(m),
            Request::HashKv(m) => self.message(m),
        }
    }

    /// An answer, as part of the event.
    pub fn answer(&mut self, answer: &Result<Response, Status>) {
        match answer {
            Ok(Response::Range(m)) => self.message(m),
            Ok(Response::Put(m)) => self.encoded(|buffer| encoded::put_answer(m, buffer)),
            Ok(Response::DeleteRange(m)) => self.message(m),
            Ok(Response::Txn(m)) => self.message(m),
            Ok(Response::Compact(m)) => self.message(m),
            Ok(Response::LeaseGrant(m)) => self.message(m),
            Ok(Response::LeaseRevoke(m)) => self.message(m),
            Ok(Response::LeaseKeepAlive(m)) => self.message(m),
            Ok(Response::LeaseTimeToLive(m)) => self.message(m),
            Ok(Response::LeaseLeases(m)) => self.message(m),
            Ok(Response::MemberList(m)) => self.message(m),
            Ok(Response::Status(m)) => self.message(m),
            Ok(Response::Alarm(m)) => self.message(m),
            Ok(Response::Defragment(m)) => self.message(m),
            Ok(Response::Hash(m)) => self.message(m),
            Ok(Response::HashKv(m)) => self.message(m),
            Err(status) => self.bytes(status.message().as_bytes()),
        }
    }

    /// An effect, as part of the event.
    pub fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { to, kind, frame } => {
                self.numbers([1, to.0]);
                self.bytes(frame);
                self.say(|| format!("sends {kind} to m{to}"));
            }
            Effect::Reply { call, result } => {
                self.numbers([2, call.0]);
                self.answer(result);
                self.say(|| format!("answers call {call}: {}", super::describe::answer(result)));
            }
            Effect::Read { call, view, .. } => {
                self.numbers([3, call.0, view.applied().0]);
                self.say(|| format!("lets call {call} read at index {}", view.applied()));
            }
            Effect::Push { stream, batch } => {
                self.numbers([4, stream.0]);
                batch.iter().for_each(|response| self.message(response));
                self.say(|| format!("pushes {} to stream {stream}", super::describe::batch(batch)));
            }
            Effect::Disk { op, action } => {
                self.numbers([5, op.0]);
                self.action(action);
                self.say(|| format!("disk {op}: {}", super::describe::action(action)));
            }
            Effect::EndStream { stream, status } => {
                self.numbers([6, stream.0]);
                self.bytes(status.message().as_bytes());
                self.say(|| format!("ends stream {stream}: {status}"));
            }
            Effect::Discard(_) => self.number(7),
            Effect::Stopped => {
                self.number(8);
                self.say(|| "has stopped".into());
            }
            Effect::Halt(reason) => {
                self.number(9);
                self.say(|| format!("halts: {reason}"));
            }
        }
    }

    fn action(&mut self, action: &DiskAction) {
        match action {
            DiskAction::Allocate { file, size_bytes } => {
                self.bytes(file.as_bytes());
                self.number(*size_bytes);
            }
            DiskAction::Append { file, offset, bytes } => {
                self.bytes(file.as_bytes());
                self.number(*offset);
                self.bytes(bytes);
            }
            DiskAction::Read { file, offset, len } => {
                self.bytes(file.as_bytes());
                self.number(*offset);
                self.number(*len);
            }
            DiskAction::Rename { from, to } => {
                self.bytes(from.as_bytes());
                self.bytes(to.as_bytes());
            }
            DiskAction::Remove { file } | DiskAction::Sync { file } => self.bytes(file.as_bytes()),
            DiskAction::SyncDir { dir } => self.bytes(dir.as_bytes()),
        }
    }
}
