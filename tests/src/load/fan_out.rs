//! Many watchers of the same keys: every write is delivered once to each of them.
//!
//! The watchers are spread over some streams. Each stream is read by a task that counts which revision has come how
//! often; when as many watchers as it has were told of one, writers that wait for it go on. So an operation is over
//! when its event has been delivered everywhere, and no run ends with events on their way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tonic::Status;
use tonic::transport::Channel;

use super::operation::watched_keys;
use super::watcher::WatchStream;

/// How long all watchers together may take to be told of one write before it counts as failed.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);

/// Up to which revision all watchers of a stream have everything, or how the stream ended.
type Progress = Result<i64, Status>;

/// Watchers of all keys that are written for watchers, and how far they are. A copy is about the same watchers.
#[derive(Clone)]
pub struct FanOut {
    streams: Vec<watch::Receiver<Progress>>,
    delivered: Arc<AtomicU64>,
}

impl FanOut {
    /// Creates `watchers` watchers on `streams` streams that go round the channels; no stream is without a watcher.
    ///
    /// # Errors
    /// A watcher cannot be created.
    pub async fn open(channels: &[Channel], watchers: u32, streams: u32) -> Result<FanOut, Status> {
        let streams = streams.min(watchers);
        let delivered = Arc::new(AtomicU64::new(0));
        let opening: Vec<_> = (0..streams)
            .zip(channels.iter().cycle())
            .map(|(place, channel)| {
                let share = watchers / streams + u32::from(place < watchers % streams);
                let (key, range_end) = watched_keys();
                let channel = channel.clone();
                tokio::spawn(async move { (WatchStream::open(channel, key, range_end, share).await, share) })
            })
            .collect();
        let mut receivers = Vec::new();
        for stream in opening {
            let (stream, share) = stream.await.expect("opening a stream does not panic");
            let (sender, receiver) = watch::channel(Ok(0));
            tokio::spawn(follow(stream?, Deliveries::to(share), sender, delivered.clone()));
            receivers.push(receiver);
        }
        Ok(FanOut { streams: receivers, delivered })
    }

    /// Waits until every watcher has the event of the write with this revision.
    ///
    /// # Errors
    /// A stream has ended, a watcher was canceled, or it takes too long.
    pub async fn wait(&mut self, revision: i64) -> Result<(), Status> {
        let all = async {
            for stream in &mut self.streams {
                let there = |progress: &Progress| progress.as_ref().map_or(true, |complete| *complete >= revision);
                let progress = stream.wait_for(there).await.map_err(|_| Status::unknown("a stream is not read"))?;
                progress.clone()?;
            }
            Ok(())
        };
        let late = |_| Err(Status::deadline_exceeded("the watchers were not told of a write in time"));
        tokio::time::timeout(DELIVERED_WITHIN, all).await.unwrap_or_else(late)
    }

    /// How many events have been delivered to all watchers together.
    pub fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::Relaxed)
    }
}

async fn follow(
    mut stream: WatchStream,
    mut deliveries: Deliveries,
    progress: watch::Sender<Progress>,
    delivered: Arc<AtomicU64>,
) {
    loop {
        match stream.next().await {
            Ok(events) => {
                let complete = events
                    .iter()
                    .filter_map(|event| event.kv.as_ref())
                    .filter_map(|kv| deliveries.add(kv.mod_revision))
                    .max();
                delivered.fetch_add(events.len() as u64, Ordering::Relaxed);
                if let Some(complete) = complete {
                    progress.send_modify(|progress| *progress = Ok(complete));
                }
            }
            Err(status) => {
                progress.send_modify(|progress| *progress = Err(status));
                return;
            }
        }
    }
}

/// Which revisions some watchers of a stream have and others still miss. Every write has a revision of its own.
struct Deliveries {
    watchers: u32,
    begun: BTreeMap<i64, u32>,
}

impl Deliveries {
    fn to(watchers: u32) -> Deliveries {
        Deliveries { watchers, begun: BTreeMap::new() }
    }

    /// One watcher was told of `revision`; gives it if that was the last to be told. Each has its events in order, so
    /// then all earlier ones have come, too.
    fn add(&mut self, revision: i64) -> Option<i64> {
        let count = self.begun.entry(revision).or_default();
        *count += 1;
        if *count < self.watchers {
            return None;
        }
        self.begun.remove(&revision);
        Some(revision)
    }
}

#[cfg(test)]
mod tests {
    use super::Deliveries;

    #[test]
    fn a_revision_is_complete_when_each_watcher_was_told() {
        let mut deliveries = Deliveries::to(2);
        let complete: Vec<Option<i64>> = [5, 6, 5, 7, 6].map(|revision| deliveries.add(revision)).to_vec();
        assert_eq!(complete, [None, None, Some(5), None, Some(6)]);
        assert_eq!(deliveries.begun.len(), 1, "what is complete is forgotten");
    }

    #[test]
    fn with_one_watcher_each_revision_is_complete_at_once() {
        let mut deliveries = Deliveries::to(1);
        assert_eq!([deliveries.add(2), deliveries.add(3)], [Some(2), Some(3)]);
    }
}
