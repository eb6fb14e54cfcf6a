//! The keys of a lease, as answers tell of them.

use std::collections::BTreeSet;

use bytes::Bytes;
use detcd_core::proto::etcdserverpb::LeaseTimeToLiveResponse;
use detcd_core::types::Revision;

use super::Serializability;
use crate::check::model::show;

impl Serializability {
    /// A revocation leaves no key with the lease. It may own its header's revision if that looks like the end of the
    /// lease; but that may as well be the work of a deletion just before, so it claims nothing.
    pub(super) fn judge_revocation(&mut self, lease: i64, header: Revision) -> Result<(), String> {
        if header < self.store.floor() {
            self.unjudged += 1;
            return Ok(());
        }
        match self.keys_of(lease, header).first() {
            Some(key) => Err(format!("at revision {header} the lease still has key {}", show(key))),
            None => Ok(()),
        }
    }

    /// What is told of a lease is that of the header's revision: all its keys, if they were asked for, in any order; of
    /// one that is unknown, nothing (contract, section 1.3 TimeToLive).
    pub(super) fn judge_keys(
        &mut self,
        asked: bool,
        told: &LeaseTimeToLiveResponse,
        header: Revision,
    ) -> Result<(), String> {
        if header < self.store.floor() {
            self.unjudged += 1;
            return Ok(());
        }
        let is_unknown = told.ttl == -1 && told.granted_ttl == 0;
        let keys = if asked && !is_unknown { self.keys_of(told.id, header) } else { BTreeSet::new() };
        let got: BTreeSet<&Bytes> = told.keys.iter().collect();
        if got == keys && got.len() == told.keys.len() {
            return Ok(());
        }
        let list = |keys: &mut dyn Iterator<Item = &Bytes>| keys.map(|key| show(key)).collect::<Vec<_>>().join(" ");
        let (got, wanted) = (list(&mut told.keys.iter()), list(&mut keys.into_iter()));
        Err(format!("at revision {header} it has the keys [{got}], not [{wanted}]"))
    }

    /// The keys that hang on a lease at a revision that is known.
    fn keys_of(&self, lease: i64, revision: Revision) -> BTreeSet<&Bytes> {
        let since = (revision + 1..=self.store.head()).flat_map(|revision| self.store.events(revision));
        let touched = since.filter_map(|event| event.kv.as_ref()).map(|kv| &kv.key);
        let attached = self.store.attached(lease).into_iter().flatten().chain(touched);
        attached.filter(|key| self.store.at(key, revision).is_some_and(|kv| kv.lease == lease)).collect()
    }
}
