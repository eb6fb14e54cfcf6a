//! `detcd-load`: drives any etcd-compatible cluster and says what an operation costs.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use detcd_tests::launch;
use detcd_tests::load::bench::{BenchOptions, compare};
use detcd_tests::load::{CpuMeter, LoadOptions, run};

/// Drives an etcd-compatible cluster in a closed loop and measures throughput, latency and processor time.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Command {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    load: LoadOptions,
    /// Print one JSON object instead of lines for people.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Start clusters of detcd and of etcd on this machine and load them in turn.
    Bench {
        #[command(flatten)]
        options: BenchOptions,
        /// Print JSON instead of lines for people.
        #[arg(long)]
        json: bool,
    },
    /// Become another program that dies with its parent; how members are started.
    #[command(name = launch::EXEC, hide = true)]
    Exec {
        program: OsString,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    let command = Command::parse();
    let outcome = match command.action {
        None => load(&command.load, command.json),
        Some(Action::Bench { options, json }) => bench(&options, json),
        Some(Action::Exec { program, arguments }) => {
            Err(format!("cannot start {}: {}", program.display(), launch::exec(&program, &arguments)))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(line) => {
            eprintln!("detcd-load: {line}");
            ExitCode::FAILURE
        }
    }
}

fn load(options: &LoadOptions, json: bool) -> Result<(), String> {
    if !options.server_pids.is_empty() && !CpuMeter::AVAILABLE {
        return Err("--server-pids: processor time of other processes is measured on Linux only".to_owned());
    }
    let report = run(options).map_err(|error| error.to_string())?;
    if json {
        println!("{}", report.json());
    } else {
        print!("{report}");
    }
    if report.operations == 0 {
        return Err(format!("no operation succeeded: {}", report.first_error.unwrap_or_default()));
    }
    if !options.server_pids.is_empty() && report.server_cpu.is_none() {
        return Err("--server-pids: one of these processes is gone, or not ours to look at".to_owned());
    }
    Ok(())
}

fn bench(options: &BenchOptions, json: bool) -> Result<(), String> {
    let comparison = compare(options, &mut |line| eprintln!("{line}")).map_err(|error| error.to_string())?;
    if json {
        println!("{}", comparison.json());
    } else {
        print!("{comparison}");
    }
    Ok(())
}
