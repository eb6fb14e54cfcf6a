//! What the hub reads of a store.

use bytes::Bytes;

use crate::proto::mvccpb::{Event, KeyValue};
use crate::state_machine::StoreView;
use crate::types::Revision;

/// A store at one revision, as far as watchers are concerned. [`StoreView`] is one; tests have a plainer one.
pub trait EventSource {
    /// The current revision.
    fn revision(&self) -> Revision;

    /// The compacted revision: the events before it are gone, its own are not.
    fn compacted(&self) -> Revision;

    /// The events of the revisions from `first` on, in order of (revision, sub-revision), read as they are taken.
    fn events_since(&self, first: Revision) -> impl Iterator<Item = Event> + '_;

    /// What `key` held before `revision`; nothing if it was absent or that is compacted away.
    fn value_before(&self, key: &Bytes, revision: Revision) -> Option<KeyValue>;
}

impl EventSource for StoreView {
    fn revision(&self) -> Revision {
        StoreView::revision(self)
    }

    fn compacted(&self) -> Revision {
        StoreView::compacted(self)
    }

    fn events_since(&self, first: Revision) -> impl Iterator<Item = Event> + '_ {
        StoreView::events_since(self, first)
    }

    fn value_before(&self, key: &Bytes, revision: Revision) -> Option<KeyValue> {
        StoreView::value_before(self, key, revision)
    }
}
