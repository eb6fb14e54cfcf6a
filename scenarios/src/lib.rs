//! The catalogue of fault-injection scenarios, and what runs it: many seeds on all cores, failure files, summaries,
//! and the zoo of planted bugs.
//!
//! What this crate does *not* know: how a world is simulated or judged (`detcd-sim`), how a run is looked at afterwards
//! (`detcd-replay`), real networks.

pub mod args;
pub mod campaign;
pub mod catalogue;
pub mod check;
pub mod crashpoints;
pub mod failure;
pub mod fold;
pub mod history_file;
pub mod judge;
pub mod ledger;
pub mod merge;
pub mod must_fail;
pub mod record;
pub mod results;
pub mod row;
pub mod run;
pub mod signature;
pub mod summary;
pub mod trial;
pub mod zoo;
