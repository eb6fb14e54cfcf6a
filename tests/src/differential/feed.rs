//! What one server tells on one watch stream, sorted by watcher.

use std::collections::{BTreeMap, VecDeque};

use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::Event;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::step::Reply;

/// An event as one watcher is told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// What happened.
    pub event: Event,
    /// The revision in the header of the response.
    pub header_revision: i64,
}

/// One end of a watch stream. Dropping it ends the stream.
#[derive(Debug)]
pub(super) struct Feed {
    requests: mpsc::Sender<pb::WatchRequest>,
    told: mpsc::UnboundedReceiver<Reply>,
    reader: JoinHandle<()>,
    /// Replies without events, in order.
    pub replies: VecDeque<Reply>,
    /// Events that nobody has looked at, by watcher.
    pub events: BTreeMap<i64, VecDeque<Told>>,
    /// How many responses were pieces of a longer one.
    pub fragments: u64,
}

impl Feed {
    /// A feed of a stream that `reader` reads.
    pub fn new(
        requests: mpsc::Sender<pb::WatchRequest>,
        told: mpsc::UnboundedReceiver<Reply>,
        reader: JoinHandle<()>,
    ) -> Feed {
        let (replies, events) = (VecDeque::new(), BTreeMap::new());
        Feed { requests, told, reader, replies, events, fragments: 0 }
    }

    /// Asks for something on the stream.
    pub async fn send(&self, request: pb::WatchRequest) {
        // A stream that has ended has told so, and that is compared.
        let _ = self.requests.send(request).await;
    }

    /// Takes in what has arrived.
    pub fn drain(&mut self) {
        while let Ok(reply) = self.told.try_recv() {
            match reply {
                Ok(response) if !response.events.is_empty() => self.take(response),
                other => self.replies.push_back(other),
            }
        }
    }

    fn take(&mut self, response: pb::WatchResponse) {
        self.fragments += u64::from(response.fragment);
        let header_revision = response.header.as_ref().map_or(0, |header| header.revision);
        let told = response.events.into_iter().map(|event| Told { event, header_revision });
        self.events.entry(response.watch_id).or_default().extend(told);
    }

    /// How many events of a watcher nobody has looked at.
    pub fn waiting(&self, watch_id: i64) -> usize {
        self.events.get(&watch_id).map_or(0, VecDeque::len)
    }

    /// The events of a watcher that nobody has looked at; they are looked at now.
    pub fn events_of(&mut self, watch_id: i64) -> Vec<Told> {
        self.events.remove(&watch_id).unwrap_or_default().into()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.reader.abort();
    }
}
