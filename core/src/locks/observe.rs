//! Following an election's leader.

use std::convert::Infallible;

use bytes::Bytes;

use super::leader::leader_of;
use super::requests::{first, prefix_of, revision_of, watch_key, watch_prefix};
use super::{Ask, Conversation};
use crate::api::{Request, Response, Status};
use crate::proto::etcdserverpb as pb;
use crate::proto::mvccpb::KeyValue;
use crate::proto::mvccpb::event::EventType;
use crate::proto::v3electionpb::{LeaderRequest, LeaderResponse};
use crate::types::Revision;

/// The call `Observe`: the leader as it is, everything that it proclaims, then the next one; until the caller has
/// enough. Leaders who came and went while their predecessor's end was not yet known may be left out, the newest never
/// is.
#[derive(Debug)]
pub struct Observe {
    prefix: Bytes,
    /// The key of the leader who is followed; `None` while nobody leads.
    followed: Option<Bytes>,
    /// What was told last: key and mod revision.
    last: Option<(Bytes, Revision)>,
    /// What is to be told to the caller.
    told: Vec<LeaderResponse>,
}

impl Observe {
    /// The conversation about this request.
    pub fn new(request: &LeaderRequest) -> Observe {
        Observe { prefix: prefix_of(&request.name), followed: None, last: None, told: Vec::new() }
    }

    /// What the caller is to be told, in order; to be taken after each step.
    pub fn take(&mut self) -> Vec<LeaderResponse> {
        std::mem::take(&mut self.told)
    }

    fn tell(&mut self, header: Option<pb::ResponseHeader>, kv: KeyValue) {
        // After a compaction one looks again, and may find what was told already.
        let state = Some((kv.key.clone(), kv.mod_revision));
        if self.last != state {
            self.last = state;
            self.told.push(LeaderResponse { header, kv: Some(kv) });
        }
    }

    fn follow(&mut self, key: Bytes, from: Revision) -> Ask<Infallible> {
        let watcher = watch_key(&key, from, None);
        self.followed = Some(key);
        Ask::Watch(vec![watcher])
    }

    /// Somebody became leader where nobody was.
    fn elected(&mut self, response: pb::WatchResponse) -> Option<Ask<Infallible>> {
        let put = response.events.into_iter().find(|event| event.r#type() == EventType::Put)?;
        let kv = put.kv.expect("every event has a key");
        let (key, revision) = (kv.key.clone(), kv.mod_revision);
        // The response may have events of later revisions, too.
        self.tell(response.header.map(|header| pb::ResponseHeader { revision, ..header }), kv);
        Some(self.follow(key, revision + 1))
    }

    /// The leader said something else, or was the leader.
    fn proclaimed(&mut self, response: pb::WatchResponse) -> Option<Ask<Infallible>> {
        for event in response.events {
            if event.r#type() == EventType::Delete {
                return Some(self.begin());
            }
            self.tell(response.header, event.kv.expect("every event has a key"));
        }
        None
    }
}

impl Conversation for Observe {
    type Answer = Infallible;

    fn begin(&mut self) -> Ask<Infallible> {
        Ask::Call(Request::Range(first(&self.prefix)))
    }

    fn answered(&mut self, result: Result<Response, Status>) -> Ask<Infallible> {
        let (header, leader) = match result {
            Ok(response) => leader_of(response),
            Err(why) => return Ask::Done(Err(why)),
        };
        let from = revision_of(header.as_ref()) + 1;
        match leader {
            Some(kv) => {
                let key = kv.key.clone();
                self.tell(header, kv);
                self.follow(key, from)
            }
            None => {
                self.followed = None;
                Ask::Watch(vec![watch_prefix(&self.prefix, from)])
            }
        }
    }

    fn watched(&mut self, response: pb::WatchResponse) -> Option<Ask<Infallible>> {
        if response.canceled {
            // A compaction has overtaken the watcher.
            return Some(self.begin());
        }
        if self.followed.is_some() { self.proclaimed(response) } else { self.elected(response) }
    }
}
