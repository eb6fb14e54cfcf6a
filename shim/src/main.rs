//! The `detcd` program: one member, run from flags as one runs etcd.

use std::io::{self, Write as _};
use std::process::ExitCode;

use detcd::config::Config;
use detcd::flags::{self, Command, Given};
use detcd::host::Host;
use detcd::member::Member;
use detcd::{End, log_format, version};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A configuration or a machine on which the member cannot run.
const EXIT_FAILED: u8 = 1;

fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned());
    let environment = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
    match flags::parse(arguments, environment) {
        Ok(Command::Run(given)) => run(&given),
        Ok(Command::Version) => {
            told(&format!("etcd Version: {}\ndetcd Version: {}\n", version::SERVER, env!("CARGO_PKG_VERSION")))
        }
        Ok(Command::Help) => told(&flags::help()),
        Err(error) => failed(&error, error.exit_status()),
    }
}

/// What was asked for, on stdout. Whoever asked may have read enough.
fn told(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

/// One line on stderr, if that takes it, and the exit status.
fn failed(why: &dyn std::fmt::Display, status: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "detcd: {why}");
    ExitCode::from(status)
}

fn run(given: &Given) -> ExitCode {
    let config = match Config::new(given) {
        Ok(config) => config,
        Err(error) => return failed(&error, EXIT_FAILED),
    };
    log_format::install(config.log_level);
    for variable in &given.unknown_variables {
        tracing::warn!(variable, "unrecognized environment variable");
    }
    allow_many_files();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("the operating system refuses: {error}"), EXIT_FAILED),
    };
    let outcome = runtime.block_on(live(config));
    // Whatever still runs, say a client that does not take its answer, is not waited for.
    runtime.shutdown_background();
    match outcome {
        Ok(signal) => die_by(signal),
        Err(why) => failed(&why, EXIT_FAILED),
    }
}

/// Each connection needs a file descriptor: take as many as the machine's owner allows, as programs written in Go do.
fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Runs a member until a signal; the signal, or the line that says why the member could not go on.
async fn live(config: Config) -> Result<SignalKind, String> {
    let listening = |kind| signal(kind).map_err(|error| format!("cannot listen for signals: {error}"));
    let mut interrupt = listening(SignalKind::interrupt())?;
    let mut terminate = listening(SignalKind::terminate())?;
    let urls: Vec<String> = config.listen_client_urls.iter().map(ToString::to_string).collect();
    let member = Member::start(config, Host::start()).await.map_err(|error| error.to_string())?;
    let lives = async {
        member.ready().await?;
        tracing::info!(urls = urls.join(","), "ready to serve client requests");
        Err(member.ended().await)
    };
    let signal = tokio::select! {
        end = lives => return Err(words(end)),
        signal = first(&mut interrupt, &mut terminate) => signal,
    };
    tracing::info!(signal = signal.as_raw_value(), "received signal; shutting down");
    tokio::select! {
        end = member.stop() => match end {
            Some(End::Stopped) | None => Ok(signal),
            Some(end) => Err(words(Err(end))),
        },
        again = first(&mut interrupt, &mut terminate) => Ok(again),
    }
}

async fn first(interrupt: &mut Signal, terminate: &mut Signal) -> SignalKind {
    tokio::select! {
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    }
}

fn words(end: Result<std::convert::Infallible, End>) -> String {
    match end {
        Ok(never) => match never {},
        Err(End::Halted(reason)) => reason.to_string(),
        Err(End::Panicked) => {
            "a fault of detcd itself, described above; the member stopped before it could spread".into()
        }
        Err(End::Stopped) => "the node stopped without being asked to".into(),
    }
}

/// Ends the process the way the signal would have done it, as etcd does. Process 1 just exits: for it the operating
/// system ignores its own signals.
fn die_by(signal: SignalKind) -> ExitCode {
    if rustix::process::getpid().is_init() {
        return ExitCode::SUCCESS;
    }
    match signal_hook::low_level::emulate_default_handler(signal.as_raw_value()) {
        Ok(()) => failed(&"the signal did not end the process", EXIT_FAILED),
        Err(error) => failed(&format!("cannot die by the signal: {error}"), EXIT_FAILED),
    }
}
