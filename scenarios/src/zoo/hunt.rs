//! Running fresh seeds of the swarm until something is caught, and running that again in a fresh process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use crate::row::{Row, Verdict};
use crate::zoo::tree::Binaries;

/// What a hunt came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catch {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many events those had; where there is a catch, how many the run had that ended badly.
    pub events: u64,
    /// Real time until the catch, or the whole budget, in milliseconds.
    pub wall_ms: u64,
    /// The run that ended badly.
    pub caught: Option<Row>,
    /// How many runs ended badly, where the hunt goes on after the first.
    pub violations: u64,
    /// Whether the failure file gave the same violation and digests again.
    pub replayed: bool,
}

/// How a hunt goes.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// The scenario whose seeds are run.
    pub scenario: String,
    /// The budget.
    pub seconds: u64,
    /// Whether it ends with the first violation.
    pub until_first: bool,
    /// The first seed.
    pub seed: u64,
    /// How many runs go at once; nothing for as many as there are cores.
    pub jobs: Option<u64>,
}

/// How long a run that began within the budget may go on after it. A planted bug may make one go on for ever.
const GRACE: Duration = Duration::from_secs(60);

impl Hunt {
    /// Hunts with the programs of one build; failure files go to `out`.
    ///
    /// # Errors
    /// One line: a program could not be run, or said something unexpected.
    pub fn go(&self, binaries: &Binaries, out: &Path) -> Result<Catch, String> {
        let mut sim = Command::new(&binaries.sim);
        sim.args(["run", &self.scenario, "--json", "--seeds", &format!("{}..{}", self.seed, u64::MAX)]);
        sim.args(["--for", &format!("{}s", self.seconds)]).arg("--out").arg(out);
        sim.args(self.jobs.iter().flat_map(|jobs| ["--jobs".to_string(), jobs.to_string()]));
        sim.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = sim.spawn().map_err(|error| format!("cannot run {}: {error}", binaries.sim.display()))?;
        let heard = self.listen(&mut child);
        // It may be in the middle of its next run; nobody waits for that.
        let _ = child.kill();
        child.wait().map_err(|error| format!("detcd-sim does not end: {error}"))?;
        let mut catch = heard?;
        let file = catch.caught.as_ref().and_then(|row| row.repro.as_deref());
        catch.replayed = file.is_some_and(|file| replays(&binaries.replay, file));
        Ok(catch)
    }

    /// Counts the runs that `sim` tells of, until one ends badly or the budget is used up.
    fn listen(&self, sim: &mut Child) -> Result<Catch, String> {
        let began = Instant::now();
        let lines = lines_of(sim.stdout.take().expect("its output is piped"));
        let mut catch = Catch::default();
        let patience = Duration::from_secs(self.seconds) + GRACE;
        loop {
            let line = match lines.recv_timeout(patience.saturating_sub(began.elapsed())) {
                Ok(line) => line,
                Err(mpsc::RecvTimeoutError::Timeout) => return Err("a run goes on for ever".to_string()),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            };
            let row: Row = serde_json::from_str(&line).map_err(|error| format!("detcd-sim said {line}: {error}"))?;
            catch.seeds += 1;
            catch.wall_ms = wall_ms(began);
            if row.verdict == Verdict::Ok {
                catch.events += if catch.caught.is_none() { row.events } else { 0 };
                continue;
            }
            catch.violations += 1;
            if catch.caught.is_none() {
                catch.events = row.events;
                catch.caught = Some(row);
            }
            if self.until_first {
                break;
            }
        }
        if catch.seeds == 0 { Err("detcd-sim ran nothing".to_string()) } else { Ok(catch) }
    }
}

/// The lines of a program's output, as they come.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let all = BufReader::new(output).lines().map_while(Result::ok);
        let _nobody_listens = all.map(|line| sender.send(line)).find(Result::is_err);
    });
    lines
}

fn replays(replay: &Path, file: &str) -> bool {
    let status = Command::new(replay)
        .arg("run")
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn wall_ms(since: Instant) -> u64 {
    let elapsed: Duration = since.elapsed();
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}
