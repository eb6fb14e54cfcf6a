//! The load generator behind `detcd-load`: a closed loop of clients against any etcd-compatible cluster.
//!
//! Closed loop means that each client sends its next operation when the last one is answered, so the load adapts to
//! the servers and the latencies are those of a system that is busy but not drowned. Draws come from a seed; the keys
//! of a run are the same every time.

pub mod bench;
mod client;
pub mod comparison;
mod cpu;
mod fan_out;
mod lease;
pub mod memory;
mod operation;
mod preload;
mod report;
mod run;
mod shape;
mod watcher;

pub use cpu::CpuMeter;
pub use operation::Operation;
pub use report::{Latency, Preloaded, Report};
pub use run::{LoadError, LoadOptions, preload, run};
pub use shape::{Shape, TooFewKeys};
