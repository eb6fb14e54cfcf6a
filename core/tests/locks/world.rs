//! A store, and conversations with it that go on when the test says so.

use std::collections::BTreeSet;

use bytes::Bytes;
use detcd_core::StoreView;
use detcd_core::api::validate::{self, Limits, Proposal};
use detcd_core::api::{ReadRequest, Request, Response, Status, read};
use detcd_core::config::Member;
use detcd_core::locks::{Ask, Conversation, Left};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::watch_create_request::FilterType;
use detcd_core::proto::mvccpb::event::EventType;
use detcd_core::proto::mvccpb::{Event, KeyValue};
use detcd_core::state_machine::{Command, StateMachine};
use detcd_core::types::{ClusterId, LeaseId, NodeId};

const LIMITS: Limits = Limits { txn_ops_max: 128, request_bytes_max: 1 << 20 };
/// Leases that the member draws are counted up from here.
pub const FIRST_DRAWN: i64 = 0x1000;

/// One member's store, without a cluster around it.
pub struct World {
    machine: StateMachine,
    drawn: i64,
}

impl World {
    /// An empty store.
    pub fn new() -> World {
        let member = Member { id: NodeId(1), name: "m".into(), peer_urls: vec!["http://m".into()] };
        World { machine: StateMachine::genesis(ClusterId(1), &[member]), drawn: FIRST_DRAWN }
    }

    /// What the member answers.
    pub fn call(&mut self, request: &Request) -> Result<Response, Status> {
        validate::validate(request, &LIMITS)?;
        let read = match request {
            Request::Range(range) => Some(ReadRequest::Range(range.clone())),
            Request::Txn(txn) if validate::is_read_only(txn) => Some(ReadRequest::Txn(txn.clone())),
            _ => None,
        };
        if let Some(read) = read {
            return read::execute(&self.view(), &read, pb::ResponseHeader::default());
        }
        let proposal = Proposal { id: 1, drawn_lease: LeaseId(self.drawn), lease_ttl_min_s: 2 };
        self.drawn += 1;
        let entry = validate::propose(request.clone(), proposal).expect("a write");
        let index = self.machine.applied().next();
        self.machine.apply(index, &Command::from(entry)).result
    }

    /// The store as it is.
    pub fn view(&self) -> StoreView {
        self.machine.view()
    }

    /// A lease with this id.
    pub fn grant(&mut self, id: i64) {
        self.call(&Request::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 60 })).expect("granted");
    }

    /// Ends a lease, if it is there.
    pub fn revoke(&mut self, id: i64) {
        let _ = self.call(&Request::LeaseRevoke(pb::LeaseRevokeRequest { id }));
    }

    /// Writes a key.
    pub fn put(&mut self, key: &str, value: &str, lease: i64) -> i64 {
        let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
        let put = pb::PutRequest { key, value, lease, ..Default::default() };
        self.call(&Request::Put(put)).expect("written");
        self.view().revision()
    }

    /// Deletes a key.
    pub fn delete(&mut self, key: &[u8]) {
        let delete = pb::DeleteRangeRequest { key: Bytes::copy_from_slice(key), ..Default::default() };
        self.call(&Request::DeleteRange(delete)).expect("deleted");
    }

    /// Compacts everything before the newest revision.
    pub fn compact(&mut self) {
        let revision = self.view().revision();
        let _ = self.call(&Request::Compact(pb::CompactionRequest { revision, physical: false }));
    }

    /// All keys, in order.
    pub fn keys(&self) -> Vec<String> {
        keys_below(&self.view(), b"\0", b"\0").iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect()
    }

    /// All leases.
    pub fn leases(&self) -> BTreeSet<i64> {
        self.view().leases().map(|LeaseId(id)| id).collect()
    }

    /// What a watcher that was told everything before `from` is told next; `None` if that is nothing.
    fn watch(&self, watcher: &pb::WatchCreateRequest, from: i64) -> Option<pb::WatchResponse> {
        let view = self.view();
        let header = Some(pb::ResponseHeader { revision: view.revision(), ..Default::default() });
        if from < view.compacted() {
            let compact_revision = view.compacted();
            return Some(pb::WatchResponse { header, canceled: true, compact_revision, ..Default::default() });
        }
        let skips = |filter: FilterType| watcher.filters.contains(&(filter as i32));
        let wanted = |event: &Event| {
            let key = &event.kv.as_ref().expect("every event has a key").key;
            let covered = if watcher.range_end.is_empty() {
                *key == watcher.key
            } else {
                watcher.key <= *key && *key < watcher.range_end
            };
            covered && !skips(if event.r#type() == EventType::Put { FilterType::Noput } else { FilterType::Nodelete })
        };
        let events: Vec<Event> = view.events_since(from).filter(wanted).collect();
        (!events.is_empty()).then(|| pb::WatchResponse { header, events, ..Default::default() })
    }
}

/// The keys of a range, in order.
pub fn keys_below(view: &StoreView, key: &[u8], end: &[u8]) -> Vec<KeyValue> {
    let (key, range_end) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(end));
    let range = ReadRequest::Range(pb::RangeRequest { key, range_end, ..Default::default() });
    match read::execute(view, &range, pb::ResponseHeader::default()) {
        Ok(Response::Range(found)) => found.kvs,
        other => panic!("{other:?}"),
    }
}

/// One conversation, and how far it is.
pub struct Talk<C: Conversation> {
    /// The conversation.
    pub conversation: C,
    /// What it asked for last.
    pub ask: Ask<C::Answer>,
    /// What its watchers were told already: everything before this revision.
    told_before: i64,
}

impl<C: Conversation> Talk<C> {
    /// Begins it.
    pub fn begin(mut conversation: C) -> Talk<C> {
        let ask = conversation.begin();
        Talk { conversation, ask, told_before: 0 }
    }

    /// Goes on for as long as it need not wait; the outcome, if it has one.
    pub fn go_on(&mut self, world: &mut World) -> Option<&Result<C::Answer, Status>> {
        while self.step(world) {}
        self.outcome()
    }

    /// One call and its answer, or one response of a watcher; whether there was something to do.
    pub fn step(&mut self, world: &mut World) -> bool {
        let next = match &self.ask {
            Ask::Done(_) => None,
            Ask::Call(request) => {
                let result = world.call(request);
                Some(self.conversation.answered(result))
            }
            Ask::Watch(watchers) => {
                let created = pb::WatchResponse { created: true, ..Default::default() };
                assert!(self.conversation.watched(created).is_none(), "that a watcher exists is no news");
                let from = |watcher: &pb::WatchCreateRequest| watcher.start_revision.max(self.told_before);
                let told: Vec<_> = watchers.iter().filter_map(|watcher| world.watch(watcher, from(watcher))).collect();
                self.told_before = world.view().revision() + 1;
                told.into_iter().find_map(|response| self.conversation.watched(response))
            }
        };
        let Some(next) = next else { return false };
        (self.ask, self.told_before) = (next, 0);
        true
    }

    /// Fails the call that is asked for, which was `done` all the same or not.
    pub fn fail(&mut self, world: &mut World, done: bool, why: Status) {
        let Ask::Call(request) = &self.ask else { panic!("it does not call") };
        if done {
            let _ = world.call(request);
        }
        self.ask = self.conversation.answered(Err(why));
    }

    /// How it ended.
    pub fn outcome(&self) -> Option<&Result<C::Answer, Status>> {
        match &self.ask {
            Ask::Done(result) => Some(result),
            _ => None,
        }
    }

    /// The caller goes away. A call under way is answered before or after, as the member likes.
    pub fn leave(self, world: &mut World) {
        let undo = match self.conversation.leave() {
            Left::Nothing => None,
            Left::Undo(request) => Some(request),
            Left::Undecided(pending) => {
                let Ask::Call(request) = &self.ask else { panic!("it waits for no answer") };
                pending.answered(world.call(request))
            }
        };
        if let Some(request) = undo {
            world.call(&request).expect("undone");
        }
    }
}
