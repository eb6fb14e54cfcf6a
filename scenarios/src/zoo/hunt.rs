//! Running fresh seeds of the swarm until something is caught, and running that again in a fresh process.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::row::{Row, Verdict};
use crate::zoo::tree::Binaries;

/// What a hunt came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catch {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many events those had.
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
    /// The first seed; without it, a fresh one.
    pub seed: u64,
}

impl Hunt {
    /// Hunts with the programs of one build; failure files go to `out`.
    ///
    /// # Errors
    /// One line: a program could not be run, or said something unexpected.
    pub fn go(&self, binaries: &Binaries, out: &Path) -> Result<Catch, String> {
        let began = Instant::now();
        let mut sim = Command::new(&binaries.sim);
        sim.args(["run", &self.scenario, "--json", "--seeds", &format!("{}..{}", self.seed, u64::MAX)]);
        sim.args(["--for", &format!("{}s", self.seconds)]).arg("--out").arg(out);
        sim.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = sim.spawn().map_err(|error| format!("cannot run {}: {error}", binaries.sim.display()))?;
        let lines = BufReader::new(child.stdout.take().expect("its output is piped")).lines();
        let mut catch = Catch::default();
        for line in lines.map_while(Result::ok) {
            let row: Row = serde_json::from_str(&line).map_err(|error| format!("detcd-sim said {line}: {error}"))?;
            catch.seeds += 1;
            catch.events += row.events;
            if row.verdict != Verdict::Ok {
                catch.violations += 1;
                catch.wall_ms = wall_ms(began);
                catch.caught.get_or_insert(row);
                if self.until_first {
                    break;
                }
            }
        }
        // It may be in the middle of its next run; nobody waits for that.
        let _ = child.kill();
        child.wait().map_err(|error| format!("detcd-sim does not end: {error}"))?;
        if catch.events == 0 && catch.caught.is_none() {
            return Err("detcd-sim ran nothing".to_string());
        }
        if catch.caught.is_none() {
            catch.wall_ms = wall_ms(began);
        }
        let file = catch.caught.as_ref().and_then(|row| row.repro.as_deref());
        catch.replayed = file.is_some_and(|file| replays(&binaries.replay, file));
        Ok(catch)
    }
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
