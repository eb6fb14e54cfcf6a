//! What crosses the crates of detcd: real clusters of real processes, and the load that drives them.
//!
//! This crate has no promise to keep towards users: it exists for its tests and for the binary `detcd-load`.

pub mod cluster;
pub mod differential;
pub mod launch;
pub mod load;
pub mod recording;
pub mod rpc;
