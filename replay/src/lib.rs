//! Looking at a run again: the same run from its failure file, compared digest by digest, and every event of it as a
//! line of text.
//!
//! What this crate does *not* know: how a world is simulated or judged, how campaigns are run, real networks.

pub mod args;
pub mod replay;
pub mod trace;
