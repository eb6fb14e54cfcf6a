//! What a run knows of the two stores: enough to ask for things that exist, and for things that just do not.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_core::proto::mvccpb::{Event, KeyValue, event::EventType};

use super::step::Answer;

/// How many watch streams a run keeps open, besides the observer's.
pub(super) const STREAMS: usize = 3;

/// What both servers have told so far.
#[derive(Debug)]
pub(super) struct World {
    /// The newest revision.
    pub head: i64,
    /// The first revision that can be read; −1 before any compaction, as inside etcd.
    pub compacted: i64,
    /// All leases, with the TTL in seconds that the grant named.
    pub leases: BTreeMap<i64, i64>,
    /// The pairs of the newest revision that the observer has told of.
    pub live: BTreeMap<Bytes, KeyValue>,
    /// Ids of the watchers of each stream.
    pub watchers: Vec<BTreeSet<i64>>,
}

impl World {
    /// The world of two fresh stores.
    pub fn new() -> World {
        World {
            head: 1,
            compacted: -1,
            leases: BTreeMap::new(),
            live: BTreeMap::new(),
            watchers: vec![BTreeSet::new(); STREAMS],
        }
    }

    /// Learns from an answer that both servers gave.
    pub fn learn(&mut self, request: &Request, answer: &Answer) {
        let Ok(response) = answer else { return };
        if let Some(header) = response.clone().header_mut() {
            self.head = self.head.max(header.revision);
        }
        match (request, response) {
            (Request::Compact(request), Response::Compact(_)) => self.compacted = request.revision,
            (Request::LeaseGrant(request), Response::LeaseGrant(response)) if request.id != 0 => {
                self.leases.insert(response.id, response.ttl);
            }
            (Request::LeaseRevoke(request), Response::LeaseRevoke(_)) => {
                self.leases.remove(&request.id);
            }
            _ => {}
        }
    }

    /// Learns what an event did.
    pub fn observe(&mut self, event: &Event) {
        let Some(pair) = &event.kv else { return };
        if event.r#type() == EventType::Put {
            self.live.insert(pair.key.clone(), pair.clone());
        } else {
            self.live.remove(&pair.key);
        }
    }
}
