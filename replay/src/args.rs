//! The command line of `detcd-replay`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Runs a failing seed again, and shows what happened.
#[derive(Debug, Parser)]
#[command(name = "detcd-replay", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `detcd-replay` can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a failure again: the same digests and the same violation, or where the two runs part
    Run {
        /// A failure file of `detcd-sim run`
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Prints what happened, one line an event
    Trace(TraceArgs),
}

/// What `detcd-replay trace` takes.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// A failure file of `detcd-sim run`, or SCENARIO:SEED
    #[arg(value_name = "FILE")]
    pub what: String,
    /// Leave out what happened before this virtual time
    #[arg(long, value_name = "MS")]
    pub from_ms: Option<u64>,
    /// Leave out what happened after this virtual time
    #[arg(long, value_name = "MS")]
    pub to_ms: Option<u64>,
    /// Only what happened at this member, counted from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub node: Option<u64>,
}
