//! What a slice of work may cost.

/// How many events and watchers are looked at in one slice, about, if nothing else is said.
pub const SLICE_EVENTS: usize = 4096;
/// How many bytes of responses are made in one slice, about.
const SLICE_BYTES: usize = 256 << 10;

/// What one slice of work may still cost.
#[derive(Debug)]
pub(super) struct Budget {
    events: usize,
    bytes: usize,
}

impl Budget {
    /// All of a slice of so many events and watchers.
    pub fn of_a_slice(events: usize) -> Budget {
        Budget { events, bytes: SLICE_BYTES }
    }

    /// Whether the slice is over.
    pub fn is_spent(&self) -> bool {
        self.events == 0 || self.bytes == 0
    }

    /// So many events, or watchers, were looked at.
    pub fn spend_events(&mut self, events: usize) {
        self.events = self.events.saturating_sub(events);
    }

    /// So many bytes of responses were made.
    pub fn spend_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}
