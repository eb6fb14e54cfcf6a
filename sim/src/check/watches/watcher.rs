//! One watcher: what it still has to get, and whether what it gets is that.

use std::collections::VecDeque;

use bytes::Bytes;
use detcd_core::proto::etcdserverpb::watch_create_request::FilterType;
use detcd_core::proto::etcdserverpb::{WatchCreateRequest, WatchResponse};
use detcd_core::proto::mvccpb::{Event, event::EventType};
use detcd_core::types::Revision;

use super::Told;
use crate::check::model::{KeyRange, show_kv};
use crate::history::Nanos;

/// The id of responses that are about the whole stream, or about a watcher that was not created.
const NO_WATCH_ID: i64 = -1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Opened,
    Created,
    Canceled,
}

/// A watcher from its opening to its end.
#[derive(Debug)]
pub(super) struct Watcher {
    range: KeyRange,
    start: Revision,
    no_put: bool,
    no_delete: bool,
    prev_kv: bool,
    fragment: bool,
    opened_at: Nanos,
    state: State,
    watch_id: i64,
    /// It started before what is kept: its events are not judged.
    judged: bool,
    /// The revisions with events for it that it has not got yet.
    expected: VecDeque<Revision>,
    /// How many events of the first of them it has got, in fragments.
    within: usize,
    /// The first revision that it still has to look at, as far as its client can know.
    next: Revision,
    /// The newest revision that it got an event or a bookmark of.
    seen: Revision,
    /// Responses that name revisions of which the witness has not told yet.
    pub(super) early: VecDeque<WatchResponse>,
}

impl Watcher {
    pub(super) fn new(request: &WatchCreateRequest, opened_at: Nanos) -> Watcher {
        let filters = |filter: FilterType| request.filters.contains(&i32::from(filter));
        // An empty key stands for the smallest one.
        let key = if request.key.is_empty() { Bytes::from_static(&[0]) } else { request.key.clone() };
        Watcher {
            range: KeyRange::new(&key, &request.range_end),
            start: request.start_revision,
            no_put: filters(FilterType::Noput),
            no_delete: filters(FilterType::Nodelete),
            prev_kv: request.prev_kv,
            fragment: request.fragment,
            opened_at,
            state: State::Opened,
            watch_id: NO_WATCH_ID,
            judged: true,
            expected: VecDeque::new(),
            within: 0,
            next: 0,
            seen: 0,
            early: VecDeque::new(),
        }
    }

    pub(super) fn range(&self) -> &KeyRange {
        &self.range
    }

    pub(super) fn opened_at(&self) -> Nanos {
        self.opened_at
    }

    pub(super) fn is_created(&self) -> bool {
        self.state != State::Opened
    }

    pub(super) fn is_canceled(&self) -> bool {
        self.state == State::Canceled
    }

    pub(super) fn is_judged(&self) -> bool {
        self.judged
    }

    pub(super) fn first_expected(&self) -> Option<Revision> {
        self.expected.front().copied()
    }

    /// The oldest revision whose events it still needs to be judged.
    pub(super) fn needs(&self) -> Option<Revision> {
        match self.state {
            State::Created => self.first_expected(),
            _ => None,
        }
    }

    /// The newest revision that a response names.
    pub(super) fn newest_named(response: &WatchResponse) -> Revision {
        let events = response.events.iter().map(mod_revision).max().unwrap_or(0);
        events.max(response.header.as_ref().map_or(0, |header| header.revision))
    }

    /// The witness told of an event in its range or, for ranges, perhaps in it.
    pub(super) fn expect(&mut self, revision: Revision, event: &Event) {
        if self.judged
            && revision >= self.next.max(self.start)
            && self.wants(event)
            && self.expected.back() != Some(&revision)
        {
            self.expected.push_back(revision);
        }
    }

    fn wants(&self, event: &Event) -> bool {
        let filtered = match event.r#type() {
            EventType::Put => self.no_put,
            EventType::Delete => self.no_delete,
        };
        !filtered && event.kv.as_ref().is_some_and(|kv| self.range.contains(&kv.key))
    }

    /// Judges a response, which names no revision that the witness has not told.
    pub(super) fn receive(&mut self, response: &WatchResponse, told: &Told) -> Result<(), String> {
        if self.state == State::Canceled {
            return Err("it received something after it was canceled".into());
        }
        let header = response.header.as_ref().map_or(0, |header| header.revision);
        if response.created {
            return self.created(response, header, told);
        }
        if self.state == State::Opened {
            return Err("it received something before its created response".into());
        }
        let bookmark = response.events.is_empty() && !response.canceled;
        let for_stream = bookmark && response.watch_id == NO_WATCH_ID;
        if response.watch_id != self.watch_id && !for_stream {
            return Err(format!("it received watch id {} as {}", response.watch_id, self.watch_id));
        }
        if response.canceled {
            return self.canceled(response, told);
        }
        if !self.judged {
            return Ok(());
        }
        if bookmark { self.bookmark(header) } else { self.events(response, header, told) }
    }

    fn created(&mut self, response: &WatchResponse, header: Revision, told: &Told) -> Result<(), String> {
        if self.state == State::Created {
            return Err("it was created twice".into());
        }
        if response.canceled {
            self.state = State::Canceled;
            let reason = response.cancel_reason.as_str();
            return match reason {
                "mvcc: watcher range is empty" if self.range.is_empty() => Ok(()),
                "etcdserver: mvcc: required revision has been compacted" if self.start < 0 => Ok(()),
                _ => Err(format!("it was refused with \"{reason}\" for no reason in its request")),
            };
        }
        if self.range.is_empty() || self.start < 0 {
            return Err("it was created, but its request had to be refused".into());
        }
        self.state = State::Created;
        self.watch_id = response.watch_id;
        self.next = if self.start > 0 { self.start } else { header + 1 };
        self.judged = self.next > told.store.floor();
        for revision in self.next..=told.store.head() {
            for event in told.store.events(revision) {
                self.expect(revision, event);
            }
        }
        if response.events.is_empty() { Ok(()) } else { Err("its created response has events".into()) }
    }

    fn canceled(&mut self, response: &WatchResponse, told: &Told) -> Result<(), String> {
        self.state = State::Canceled;
        if !response.events.is_empty() {
            return Err("it was canceled with events".into());
        }
        let revision = response.compact_revision;
        if revision == 0 {
            return Err(format!("it was canceled for no reason (\"{}\")", response.cancel_reason));
        }
        if told.compactions.range((revision, None)..).next().is_none_or(|(compacted, _)| *compacted != revision) {
            return Err(format!("it was canceled for a compaction at {revision}, which nobody asked for"));
        }
        if self.next >= revision {
            return Err(format!(
                "it was canceled for the compaction at {revision}, but had got everything before {}",
                self.next
            ));
        }
        Ok(())
    }

    fn bookmark(&mut self, header: Revision) -> Result<(), String> {
        if self.within > 0 {
            return Err("it got a bookmark in the middle of a revision".into());
        }
        if header < self.seen {
            return Err(format!("it got a bookmark of revision {header} after one or an event of {}", self.seen));
        }
        if let Some(missing) = self.first_expected().filter(|missing| *missing <= header) {
            return Err(format!("it got a bookmark of revision {header} without the events of revision {missing}"));
        }
        self.seen = header;
        self.next = self.next.max(header + 1);
        Ok(())
    }

    fn events(&mut self, response: &WatchResponse, header: Revision, told: &Told) -> Result<(), String> {
        let mut wanted: Vec<&Event> = Vec::new();
        for event in &response.events {
            let revision = mod_revision(event);
            let Some(front) = self.first_expected() else {
                return Err(self.unexpected(event, revision));
            };
            if revision < front {
                return Err(self.unexpected(event, revision));
            }
            if revision > front {
                return Err(format!("it got an event of revision {revision} without those of revision {front}"));
            }
            if wanted.first().is_none_or(|first| mod_revision(first) != front) {
                wanted = told.store.events(front).iter().filter(|event| self.wants(event)).collect();
            }
            let Some(expected) = wanted.get(self.within) else {
                return Err(self.unexpected(event, revision));
            };
            self.compare(event, expected, told)?;
            self.within += 1;
            if self.within == wanted.len() {
                self.expected.pop_front();
                self.within = 0;
                self.next = revision + 1;
            }
            self.seen = revision;
        }
        if header < self.seen {
            return Err(format!("it got events up to revision {} under a header of {header}", self.seen));
        }
        if response.fragment && !self.fragment {
            return Err("it got a fragment that it did not ask for".into());
        }
        if self.within > 0 && !response.fragment {
            return Err(format!("it got only a part of revision {}", self.seen));
        }
        Ok(())
    }

    fn unexpected(&self, event: &Event, revision: Revision) -> String {
        let shown = event.kv.as_ref().map_or_else(|| "no key".into(), show_kv);
        if revision < self.next {
            return format!("it got an event of revision {revision} that lies behind it: {shown}");
        }
        format!("it got an event of revision {revision} that is not for it: {shown}")
    }

    fn compare(&self, event: &Event, expected: &Event, told: &Told) -> Result<(), String> {
        let shown = |event: &Event| {
            let kv = event.kv.as_ref().map_or_else(|| "no key".into(), show_kv);
            format!("{:?} {kv}", event.r#type())
        };
        if (event.r#type, &event.kv) != (expected.r#type, &expected.kv) {
            return Err(format!("it got {}, not {}", shown(event), shown(expected)));
        }
        let (Some(kv), Some(got)) = (&event.kv, &event.prev_kv) else {
            return self.prev_kv_absent(event, told);
        };
        if !self.prev_kv {
            return Err(format!("it got a prev_kv that it did not ask for, with {}", shown(event)));
        }
        let before = kv.mod_revision - 1;
        if before < told.store.floor() || told.store.at(&kv.key, before) == Some(got) {
            return Ok(());
        }
        Err(format!("it got prev_kv {} with {}", show_kv(got), shown(event)))
    }

    fn prev_kv_absent(&self, event: &Event, told: &Told) -> Result<(), String> {
        let Some(kv) = event.kv.as_ref().filter(|_| self.prev_kv) else { return Ok(()) };
        let before = kv.mod_revision - 1;
        let compacted = told.compactions.last().is_some_and(|(compacted, _)| *compacted > before);
        if compacted || before < told.store.floor() || told.store.at(&kv.key, before).is_none() {
            return Ok(());
        }
        Err(format!("it got no prev_kv with {}", show_kv(kv)))
    }
}

fn mod_revision(event: &Event) -> Revision {
    event.kv.as_ref().map_or(0, |kv| kv.mod_revision)
}
