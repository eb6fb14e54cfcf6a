//! `detcd-sim record`: what the clients of a simulated cluster did and saw, as a file for `detcd-sim check`.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use detcd_sim::check::{CheckConfig, Checker, Interest, Violation};
use detcd_sim::observe::{Observation, Observed};

use crate::args::{RecordArgs, UsageError};
use crate::catalogue;
use crate::history_file::{Header, Line, What, Writer};
use crate::row::Verdict;
use crate::trial;

/// Writes down what it is told; it never objects.
struct Recorder<'a, W> {
    members: Vec<u64>,
    writer: Option<Writer<W>>,
    /// What went wrong with the file; nothing is written after it.
    failed: &'a mut Option<io::Error>,
}

impl<'a, W: Write> Recorder<'a, W> {
    fn new(to: W, config: &CheckConfig, failed: &'a mut Option<io::Error>) -> Recorder<'a, W> {
        let header = Header {
            members: config.member_ids.clone(),
            witness: config.witness,
            txn_ops_max: config.txn_ops_max,
            clock_skew_ppm_max: config.clock_skew_ppm_max,
            clock_steps: config.clock_steps,
        };
        let writer = Writer::begin(to, &header).map_err(|error| *failed = Some(error)).ok();
        Recorder { members: header.members, writer, failed }
    }

    fn keep(&mut self, done: io::Result<()>) {
        if let Err(error) = done {
            self.writer = None;
            self.failed.get_or_insert(error);
        }
    }
}

impl<W: Write> Checker for Recorder<'_, W> {
    fn name(&self) -> &'static str {
        "recorder"
    }

    fn interest(&self) -> Interest {
        Interest::CLIENTS
    }

    fn observe(&mut self, seen: &Observed<'_>) -> Result<(), Violation> {
        let what = match &seen.what {
            Observation::History(event) => What::History((*event).clone()),
            Observation::Crashed { node } => What::Died(self.members[*node]),
            Observation::Opened { .. }
            | Observation::Stepped { .. }
            | Observation::Damaged { .. }
            | Observation::Lock(_)
            | Observation::Healed => return Ok(()),
        };
        let done = self.writer.as_mut().map_or(Ok(()), |writer| writer.line(&Line { at: seen.at, what }));
        self.keep(done);
        Ok(())
    }
}

/// Runs the scenario and writes the history of its run; how the run ended.
///
/// # Errors
/// There is no such scenario, or the file cannot be written.
pub fn record(args: &RecordArgs) -> Result<Verdict, UsageError> {
    let source = catalogue::one(&args.scenario)?;
    let name = args.to.as_ref().map_or("standard output".to_string(), |path| path.display().to_string());
    let refused = |error: io::Error| UsageError(format!("{name}: {error}"));
    let to: Box<dyn Write> = match &args.to {
        Some(path) => Box::new(File::create(path).map_err(refused)?),
        None => Box::new(io::stdout().lock()),
    };
    let mut to = BufWriter::new(to);
    let mut failed = None;
    let report =
        trial::play_observed(&source, args.seed, |config| Box::new(Recorder::new(&mut to, config, &mut failed)));
    match failed.map_or_else(|| to.flush(), Err) {
        Ok(()) => {}
        // Whoever reads it may have read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Err(error) => return Err(refused(error)),
    }
    let ending = trial::ending_of(&report);
    let said = ending.as_ref().map_or("every promise was kept".to_string(), trial::said);
    let _ = writeln!(io::stderr(), "{said}");
    Ok(ending.map_or(Verdict::Ok, |ending| ending.kind))
}
