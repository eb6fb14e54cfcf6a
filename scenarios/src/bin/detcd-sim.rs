//! `detcd-sim`: runs fault-injection scenarios of a simulated cluster from seeds.

use std::io;
use std::process::ExitCode;

use clap::Parser;
use detcd_scenarios::args::{Cli, Command, EXIT_USAGE, RunArgs, UsageError};
use detcd_scenarios::run;

/// A simulated world makes and drops small things all the time; this allocator halves what that costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // `--help` and `--version` are what was asked for.
        Err(error) if !error.use_stderr() => {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => return refuse(&UsageError::from(error)),
    };
    // A panic is a verdict here, told in one line; `detcd-replay run` shows where it came from.
    std::panic::set_hook(Box::new(|_| {}));
    let done = match cli.command.unwrap_or_else(|| Command::Run(RunArgs::default())) {
        Command::List => run::list(io::stdout().lock()).map(|()| 0),
        Command::Run(args) => run::run(&args).map(|worst| worst.exit_status()),
    };
    done.map_or_else(|error| refuse(&error), ExitCode::from)
}

fn refuse(error: &UsageError) -> ExitCode {
    eprintln!("detcd-sim: {error}");
    ExitCode::from(EXIT_USAGE)
}
