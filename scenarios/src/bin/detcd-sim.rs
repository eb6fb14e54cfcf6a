//! `detcd-sim`: runs fault-injection scenarios of a simulated cluster from seeds.

use std::io;
use std::process::ExitCode;

use detcd_scenarios::args::{self, Cli, Command, RunArgs};
use detcd_scenarios::row::Verdict;
use detcd_scenarios::{check, crashpoints, merge, record, run};

/// A simulated world makes and drops small things all the time; this allocator halves what that costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli: Cli = match args::parse() {
        Ok(cli) => cli,
        Err(told) => return told,
    };
    // A panic is a verdict here, told in one line; `detcd-replay run` shows where it came from.
    std::panic::set_hook(Box::new(|_| {}));
    let done = match cli.command.unwrap_or_else(|| Command::Run(RunArgs::default())) {
        Command::List => run::list(io::stdout().lock()).map(|()| 0),
        Command::Check(args) => check::check(&args.file, args.json, io::stdout().lock()).map(Verdict::exit_status),
        Command::Record(args) => record::record(&args).map(Verdict::exit_status),
        Command::CrashPoints(args) => crashpoints::crashpoints(&args),
        Command::Merge(args) => merge::merge(&args, io::stdout().lock()),
        Command::Run(args) => run::run(&args),
    };
    done.map_or_else(|error| args::refuse::<Cli>(&error), ExitCode::from)
}
