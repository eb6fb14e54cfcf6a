//! The seeded simulator of detcd: one seed, one thread, one world.
//!
//! The kernel drives [`detcd_core::Node`]s through their one door with simulated time, network, disks and clocks;
//! clients talk to them as real ones would; checkers watch and change nothing. Randomness is weather: a function of
//! (seed, place, kind, virtual time), never of how many draws came before.
//!
//! What this crate does *not* know: sockets, real files, gRPC, the catalogue, command lines.

pub mod check;
mod clock;
pub mod disk;
pub mod faults;
pub mod history;
mod index_key;
pub mod network;
pub mod observe;
mod open;
pub mod plan;
pub mod queue;
pub mod report;
pub mod run;
pub mod scenario;
pub mod trail;
pub mod weather;
pub mod workload;
mod world;

pub use report::{RunReport, TraceLine, Verdict};
pub use run::{RunOptions, run, run_observed, run_traced, run_unjudged};
pub use scenario::Scenario;
