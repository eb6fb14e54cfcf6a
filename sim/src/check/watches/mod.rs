//! Watchers see what they asked for: everything, once, in order (W-ord, W-comp, W-uniq, W-atom, W-book, W-res, W-fld).
//!
//! Rules and their sources (contract, section 1.2, unless another is named):
//! * A watcher starts at its start revision, or, with 0, after the revision of its created response's header. Nothing
//!   comes before that response, and it comes once.
//! * From there it gets every event of its range that its filters let through, in order of (revision, sub-revision),
//!   each once, with the fields that the witness told. A watcher that resumes is a new one, under the same rule.
//! * A revision is never split over two responses, unless the watcher asked for fragments and the response says it is
//!   one.
//! * A response without events, neither created nor canceled, is a bookmark: nothing up to its header's revision comes
//!   any more, and bookmarks do not go back. The headers of other responses are no bookmarks; they are not older than
//!   the events they come with. No header names a revision that does not exist.
//! * `prev_kv` is there only if it was asked for; then it is the key as it was one revision before, and absent for a
//!   key that did not exist or when a compaction may have taken it.
//! * The server cancels a watcher only with the revision of a compaction that may have happened, newer than the first
//!   revision the watcher had still to look at; or in its created response, for an empty range or a negative start.
//!   Nothing comes after that.
//! * Once faults have ended, a watcher that is still open has got everything that is older than the time to settle. So
//!   the kernel ends every watcher whose stream broke (`WatchEnd`), and gives credit to those that stay open.

#[cfg(test)]
mod tests;
mod watcher;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb::WatchResponse;
use detcd_core::proto::mvccpb::Event;
use detcd_core::types::Revision;

use self::watcher::Watcher;
use super::model::Store;
use super::{CheckConfig, Checker, Interest, Violation, Witness};
use crate::history::{HistoryEvent, Nanos, OpId, Outcome, WatcherId};
use crate::observe::{Observation, Observed};

/// The checker's name.
pub const NAME: &str = "watches";

/// How many revisions behind the newest one stay known for watchers that start in the past, compacted or not.
const WINDOW_REVISIONS: Revision = 20_000;

/// How often forgetting is worth a look at all watchers.
const FORGET_EVERY: Revision = 1_024;

/// What the store did, and which compactions may have happened.
#[derive(Debug)]
struct Told {
    /// What watchers are compared with.
    store: Store,
    /// The revisions after the store's head: nobody watches, and so nothing has to be looked up in them yet.
    unread: VecDeque<Arc<[Event]>>,
    /// When each revision after the store's floor was told.
    told_at: VecDeque<Nanos>,
    witness: Witness,
    /// Revisions of compactions that did not fail, with their operations; without one, if the witness told them.
    compactions: BTreeSet<(Revision, Option<OpId>)>,
}

impl Told {
    fn new(witness: Witness) -> Told {
        Told {
            store: Store::new(),
            unread: VecDeque::new(),
            told_at: VecDeque::new(),
            witness,
            compactions: BTreeSet::new(),
        }
    }

    fn head(&self) -> Revision {
        self.store.head() + self.unread.len() as Revision
    }

    /// Takes the next revision from the witness. Whether the revision itself is possible is for the serializability
    /// checker; here it only has to be in order.
    fn take(&mut self, at: Nanos, revision: Revision, events: &Arc<[Event]>) -> Result<(), String> {
        let head = self.head();
        if revision != head + 1 {
            return Err(format!("revision {revision} came after revision {head}"));
        }
        self.unread.push_back(events.clone());
        self.told_at.push_back(at);
        Ok(())
    }

    /// Somebody watches: the store has to have everything that was told.
    fn read(&mut self) -> Result<(), String> {
        while let Some(events) = self.unread.pop_front() {
            self.store.append(self.store.head() + 1, &events)?;
        }
        Ok(())
    }

    /// When a revision was told, if that is still known.
    fn told_at(&self, revision: Revision) -> Option<Nanos> {
        let place = usize::try_from(revision - self.store.floor() - 1).ok()?;
        self.told_at.get(place).copied()
    }

    /// Gives up every state older than that of `revision`.
    fn forget_below(&mut self, revision: Revision) -> Result<(), String> {
        if revision > self.store.floor() {
            self.read()?;
            let floor = self.store.floor();
            self.store.forget_below(revision);
            let forgotten = usize::try_from(self.store.floor() - floor).expect("a floor only rises");
            self.told_at.drain(..forgotten.min(self.told_at.len()));
        }
        Ok(())
    }
}

/// Judges watchers.
#[derive(Debug)]
pub struct Watches {
    told: Told,
    settle: Nanos,
    healed: Option<Nanos>,
    watchers: BTreeMap<WatcherId, Watcher>,
    /// Created watchers of a single key.
    by_key: BTreeMap<Bytes, BTreeSet<WatcherId>>,
    /// Created watchers of ranges.
    of_ranges: BTreeSet<WatcherId>,
    /// Watchers with responses that the witness has not caught up with (recorded histories only).
    waiting: BTreeSet<WatcherId>,
    compactions_open: BTreeMap<OpId, Revision>,
    compacted_certain: Revision,
    unjudged: u64,
}

impl Watches {
    /// A checker for a run from an empty store.
    pub fn new(config: &CheckConfig) -> Watches {
        Watches {
            told: Told::new(config.witness),
            settle: config.settle,
            healed: None,
            watchers: BTreeMap::new(),
            by_key: BTreeMap::new(),
            of_ranges: BTreeSet::new(),
            waiting: BTreeSet::new(),
            compactions_open: BTreeMap::new(),
            compacted_certain: 0,
            unjudged: 0,
        }
    }

    /// Watchers that started before what is kept, and so were not judged.
    pub fn unjudged(&self) -> u64 {
        self.unjudged
    }

    /// Judges one line of a history, at the time it was written.
    ///
    /// # Errors
    /// What this line proves to be wrong, in one line.
    pub fn take(&mut self, at: Nanos, event: &HistoryEvent) -> Result<(), String> {
        match event {
            HistoryEvent::Invoke { op, request: Request::Compact(compact), .. } => {
                self.told.compactions.insert((compact.revision, Some(*op)));
                self.compactions_open.insert(*op, compact.revision);
                Ok(())
            }
            HistoryEvent::Return { op, outcome } => {
                if let Some(revision) = self.compactions_open.remove(op) {
                    match outcome {
                        Outcome::Ok(_) => self.compacted_certain = self.compacted_certain.max(revision),
                        Outcome::Failed(_) => drop(self.told.compactions.remove(&(revision, Some(*op)))),
                        Outcome::Unknown => {}
                    }
                }
                Ok(())
            }
            HistoryEvent::Revision { revision, events } => self.revision(at, *revision, events),
            HistoryEvent::Compaction { revision } => {
                self.told.compactions.insert((*revision, None));
                self.compacted_certain = self.compacted_certain.max(*revision);
                Ok(())
            }
            HistoryEvent::WatchOpen { watcher, request, .. } => {
                self.watchers.insert(*watcher, Watcher::new(request, at));
                self.told.read()
            }
            HistoryEvent::WatchReceive { watcher, response } => self.receive(*watcher, response),
            HistoryEvent::WatchEnd { watcher } => {
                self.end(*watcher);
                Ok(())
            }
            HistoryEvent::Invoke { .. } => Ok(()),
        }
    }

    fn revision(&mut self, at: Nanos, revision: Revision, events: &Arc<[Event]>) -> Result<(), String> {
        self.told.take(at, revision, events)?;
        if !self.watchers.is_empty() {
            self.told.read()?;
        }
        for event in events.iter() {
            let Some(kv) = &event.kv else { continue };
            let interested = self.by_key.get(&kv.key).into_iter().flatten().chain(&self.of_ranges);
            for id in interested {
                if let Some(watcher) = self.watchers.get_mut(id) {
                    watcher.expect(revision, event);
                }
            }
        }
        let waiting: Vec<WatcherId> = self.waiting.iter().copied().collect();
        for id in waiting {
            self.catch_up(id)?;
        }
        if revision % FORGET_EVERY == 0 {
            self.forget()?;
        }
        Ok(())
    }

    fn receive(&mut self, id: WatcherId, response: &WatchResponse) -> Result<(), String> {
        let Some(watcher) = self.watchers.get_mut(&id) else {
            return Err(format!("watcher {} received something after its end", id.0));
        };
        watcher.early.push_back(response.clone());
        self.catch_up(id)
    }

    /// Judges the responses of a watcher that the witness has caught up with: in a live run, all of them.
    fn catch_up(&mut self, id: WatcherId) -> Result<(), String> {
        let Some(watcher) = self.watchers.get_mut(&id) else { return Ok(()) };
        let was_created = watcher.is_created();
        let mut waits = false;
        while let Some(response) = watcher.early.front() {
            let named = Watcher::newest_named(response);
            if named > self.told.store.head() {
                if self.told.witness == Witness::Recorded {
                    waits = true;
                    break;
                }
                let head = self.told.store.head();
                return Err(format!("watcher {} was told of revision {named}, but the newest is {head}", id.0));
            }
            let Some(response) = watcher.early.pop_front() else { break };
            watcher.receive(&response, &self.told).map_err(|what| format!("watcher {}: {what}", id.0))?;
        }
        if waits {
            self.waiting.insert(id);
        } else {
            self.waiting.remove(&id);
        }
        if watcher.is_canceled() {
            self.end(id);
            return Ok(());
        }
        if !was_created && watcher.is_created() {
            self.unjudged += u64::from(!watcher.is_judged());
            match watcher.range().point() {
                Some(key) => drop(self.by_key.entry(key.clone()).or_default().insert(id)),
                None => drop(self.of_ranges.insert(id)),
            }
        }
        Ok(())
    }

    /// The watcher needs nothing more. One that was canceled stays known, to notice if anything follows.
    fn end(&mut self, id: WatcherId) {
        let Some(watcher) = self.watchers.get(&id) else { return };
        if let Some(key) = watcher.range().point()
            && let Some(ids) = self.by_key.get_mut(key)
        {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_key.remove(key);
            }
        }
        self.of_ranges.remove(&id);
        if !watcher.is_canceled() {
            // What the witness has not caught up with (recorded histories) is given up with the watcher.
            self.waiting.remove(&id);
            self.watchers.remove(&id);
        }
    }

    fn forget(&mut self) -> Result<(), String> {
        let needed = self.watchers.values().filter_map(Watcher::needs).min().unwrap_or(Revision::MAX);
        let compacted = self.compacted_certain;
        self.told.forget_below(compacted.min(self.told.head() - WINDOW_REVISIONS).min(needed - 1))
    }

    /// The first thing that an open watcher should have got by `now`.
    fn overdue(&self, now: Nanos) -> Option<String> {
        let healed = self.healed?;
        self.watchers.iter().find_map(|(id, watcher)| {
            if watcher.is_canceled() {
                return None;
            }
            let since = watcher.opened_at().max(healed);
            let (since, what) = match watcher.first_expected() {
                _ if !watcher.is_created() => (since, "its created response".to_string()),
                Some(revision) => {
                    let told_at = self.told.told_at(revision).unwrap_or(0);
                    (since.max(told_at), format!("revision {revision}"))
                }
                None => return None,
            };
            (now > since.saturating_add(self.settle)).then(|| format!("watcher {} did not get {what}", id.0))
        })
    }
}

impl Checker for Watches {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::CLIENTS_BUT_KV.and(Interest::FATES)
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        match seen.what {
            Observation::History(event) => {
                self.take(seen.at, event).map_err(|detail| Violation::safety(NAME, seen.at, detail))
            }
            Observation::Healed => {
                self.healed = Some(seen.at);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, at: Nanos) -> Result<(), Violation> {
        // What nobody watched has to be possible, too.
        self.told.read().map_err(|detail| Violation::safety(NAME, at, detail))?;
        if let Some(id) = self.waiting.first() {
            let detail = format!("watcher {} was told of a revision that never came to exist", id.0);
            return Err(Violation::safety(NAME, at, detail));
        }
        match self.overdue(at) {
            Some(detail) => Err(Violation::liveness(NAME, at, detail)),
            None => Ok(()),
        }
    }
}
