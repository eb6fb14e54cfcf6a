//! Hashes of keys: the same history has the same hash, on every member, in every life, however far the sweep of its
//! compaction is (HASH; contract, section 1.5 `HashKV`).

use std::collections::BTreeMap;

use detcd_core::api::Response;
use detcd_core::proto::etcdserverpb::HashKvResponse;
use detcd_core::types::Revision;

use super::{CheckConfig, Checker, Interest, Violation};
use crate::history::{HistoryEvent, Outcome};
use crate::observe::{Observation, Observed};

/// The checker's name.
pub const NAME: &str = "hashes";

/// How many hashes are remembered: of the newest revisions, since members that lag are not far behind.
const KNOWN_MAX: usize = 10_000;

/// Compares the hashes that clients are told.
#[derive(Debug)]
pub struct Hashes {
    /// By revision, and the compacted revision at that time.
    known: BTreeMap<(Revision, Revision), u32>,
}

impl Hashes {
    /// A checker for a run.
    pub fn new(_config: &CheckConfig) -> Hashes {
        Hashes { known: BTreeMap::new() }
    }

    fn told(&mut self, response: &HashKvResponse) -> Result<(), String> {
        let at = (response.hash_revision, response.compact_revision);
        if at.1 > at.0 {
            return Err(format!("a hash of revision {}, which is compacted at {}", at.0, at.1));
        }
        let known = *self.known.entry(at).or_insert(response.hash);
        if self.known.len() > KNOWN_MAX {
            self.known.pop_first();
        }
        if known == response.hash {
            return Ok(());
        }
        let hash = response.hash;
        Err(format!("the keys of revision {}, compacted at {}, have the hashes {known:08x} and {hash:08x}", at.0, at.1))
    }
}

impl Checker for Hashes {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interest(&self) -> Interest {
        Interest::RETURNS_BUT_KV
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        let Observation::History(HistoryEvent::Return { outcome: Outcome::Ok(Response::HashKv(response)), .. }) =
            seen.what
        else {
            return Ok(());
        };
        self.told(response).map_err(|detail| Violation::safety(NAME, seen.at, detail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_history_has_one_hash() {
        let told = |hash, hash_revision, compact_revision| HashKvResponse {
            hash,
            hash_revision,
            compact_revision,
            ..Default::default()
        };
        let mut hashes = Hashes::new(&CheckConfig::new(3));
        assert_eq!(hashes.told(&told(1, 10, -1)), Ok(()));
        assert_eq!(hashes.told(&told(2, 10, 9)), Ok(()), "a compaction makes another history of it");
        assert_eq!(hashes.told(&told(1, 10, -1)), Ok(()));
        let wrong = "the keys of revision 10, compacted at 9, have the hashes 00000002 and 00000001";
        assert_eq!(hashes.told(&told(1, 10, 9)), Err(wrong.into()));
        assert!(hashes.told(&told(3, 10, 11)).is_err());
    }
}
