//! The pure state machine of detcd.
//!
//! One door: [`Node::step`] takes an [`Input`] and the time, and writes [`Effect`]s into [`Outputs`]. The crate does
//! no I/O, reads no clock, draws no entropy, starts no thread and iterates over no hashed collection; whoever drives
//! it (the simulator, the real shim, madsim) supplies time, bytes and seeds.
//!
//! What this crate does *not* know: sockets, files, gRPC, scenarios, clients' retry rules.

// The loop that drives members in tests is shared with those outside this crate.
#[cfg(test)]
extern crate self as detcd_core;

pub mod api;
pub mod config;
mod consensus;
pub mod digest;
pub mod disk_queue;
pub mod effect;
mod fields;
mod in_order;
pub mod input;
pub mod locks;
pub mod log;
mod node;
pub mod peer;
pub mod proto;
pub mod seed;
pub mod snapshot;
pub mod state_machine;
pub mod time;
pub mod types;
pub mod wal;
pub mod watch;

mod lease_clock;

pub use config::{Member, NodeConfig};
pub use effect::{DiskAction, Effect, HaltReason, Note, Outputs};
pub use input::{DiskError, DiskReply, Input, Listing, StreamOp};
pub use node::{Node, NodeStatus, Phase, Role, Wakeup};
pub use state_machine::StoreView;
pub use time::Instant;
