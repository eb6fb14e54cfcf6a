//! `detcd-replay`: runs a failing seed again, and shows what happened.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use detcd_replay::args::{Cli, Command};
use detcd_replay::replay::{Recorded, Replayed, other_build};
use detcd_replay::trace;
use detcd_scenarios::args::{self, UsageError};
use detcd_scenarios::trial;

/// A simulated world makes and drops small things all the time; this allocator halves what that costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli: Cli = match args::parse() {
        Ok(cli) => cli,
        Err(told) => return told,
    };
    let done = match cli.command {
        Command::Run { file } => run(&file),
        Command::Trace(args) => trace::trace(&args, io::stdout().lock()).map(|report| {
            let ending = trial::ending_of(&report);
            let said = ending.as_ref().map_or("every promise was kept".to_string(), trial::said);
            let _ = writeln!(io::stderr(), "{said}");
            ExitCode::SUCCESS
        }),
    };
    done.unwrap_or_else(|error| args::refuse::<Cli>(&error))
}

/// A line for whoever reads; the status says the same to whoever does not.
fn tell(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

fn run(file: &Path) -> Result<ExitCode, UsageError> {
    let recorded = Recorded::read(file)?;
    match recorded.replay() {
        Replayed::Same => {
            tell(&format!("reproduced: {recorded}"));
            Ok(ExitCode::SUCCESS)
        }
        Replayed::Parted(how) => {
            tell(&format!("not reproduced: {recorded}\n  {how}"));
            if let Some(other) = other_build(&recorded.failure) {
                tell(&format!("  {other}"));
            }
            Ok(ExitCode::FAILURE)
        }
    }
}
