//! `detcd-replay trace`: every event of a run as a line of text.

use std::io::{self, Write};
use std::path::Path;

use detcd_scenarios::args::{UsageError, parse_seed};
use detcd_scenarios::catalogue::{self, Source};
use detcd_scenarios::trial;
use detcd_sim::report::{RunReport, TraceLine};
use detcd_sim::run::RunOptions;

use crate::args::TraceArgs;
use crate::replay::Recorded;

/// Which events are wanted.
#[derive(Clone, Copy, Debug, Default)]
struct Window {
    from_ms: Option<u64>,
    to_ms: Option<u64>,
    node: Option<u64>,
}

impl Window {
    fn shows(&self, line: &TraceLine) -> bool {
        let at_ms = line.at / 1_000_000;
        self.from_ms.is_none_or(|from| at_ms >= from)
            && self.to_ms.is_none_or(|to| at_ms <= to)
            && self.node.is_none_or(|node| line.node.is_some_and(|index| index as u64 + 1 == node))
    }
}

/// Runs what `args` names again and prints the wanted events to `to`; what the run came to.
///
/// # Errors
/// The file, the scenario or the seed is wrong; nothing was printed.
pub fn trace(args: &TraceArgs, to: impl Write) -> Result<RunReport, UsageError> {
    if let (Some(from), Some(to)) = (args.from_ms, args.to_ms)
        && from > to
    {
        return Err(UsageError(format!("--from-ms {from} is later than --to-ms {to}")));
    }
    let (source, seed, options) = what(&args.what)?;
    if let Some(node) = args.node.filter(|node| *node > source.scenario.nodes.max) {
        return Err(UsageError(format!("--node {node}: there are at most {} members", source.scenario.nodes.max)));
    }
    let window = Window { from_ms: args.from_ms, to_ms: args.to_ms, node: args.node };
    let mut to = io::BufWriter::new(to);
    let report = trial::play_traced(&source, seed, &options, &mut |line| {
        if window.shows(line) && write_line(&mut to, line).is_err() {
            // Nobody reads any more, as after `head`.
            std::process::exit(0);
        }
    });
    let _ = to.flush();
    Ok(report)
}

/// A failure file, or SCENARIO:SEED.
fn what(argument: &str) -> Result<(Source, u64, RunOptions), UsageError> {
    if !Path::new(argument).exists()
        && let Some((scenario, seed)) = argument.rsplit_once(':')
    {
        let seed = parse_seed(seed).map_err(|why| UsageError(format!("'{argument}': {why}")))?;
        return Ok((catalogue::one(scenario)?, seed, RunOptions::default()));
    }
    let recorded = Recorded::read(Path::new(argument))?;
    let options = recorded.options();
    Ok((recorded.source, recorded.failure.seed, options))
}

fn write_line(to: &mut impl Write, line: &TraceLine) -> io::Result<()> {
    let node = line.node.map_or("--".to_string(), |index| format!("n{}", index + 1));
    let (ms, us) = (line.at / 1_000_000, line.at / 1_000 % 1_000);
    writeln!(to, "{ms:>8}.{us:03} ms  {node}  {}", line.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(at_ms: u64, node: Option<usize>) -> TraceLine {
        TraceLine {
            event: 1,
            at: at_ms * 1_000_000 + 7_000,
            node,
            text: "stepped".to_string(),
            digest: Default::default(),
        }
    }

    #[test]
    fn a_window_shows_its_edges() {
        let window = Window { from_ms: Some(5), to_ms: Some(9), node: None };
        let shown: Vec<u64> = (0..20).filter(|ms| window.shows(&line(*ms, None))).collect();
        assert_eq!(shown, [5, 6, 7, 8, 9]);
    }

    #[test]
    fn members_are_counted_from_one() {
        let window = Window { node: Some(2), ..Window::default() };
        assert!(window.shows(&line(0, Some(1))));
        assert!(!window.shows(&line(0, Some(2))) && !window.shows(&line(0, None)));
        let mut text = Vec::new();
        write_line(&mut text, &line(12, Some(1))).expect("memory takes it");
        assert_eq!(String::from_utf8(text).expect("text"), "      12.007 ms  n2  stepped\n");
    }

    #[test]
    fn a_scenario_and_a_seed_are_enough() {
        let (source, seed, _) = what("calm:12").expect("there is one");
        assert_eq!((source.scenario.name.as_str(), seed), ("calm", 12));
        assert!(what("calm:x").expect_err("x is no seed").0.contains("a seed is a number"));
        assert!(what("no-such:1").expect_err("there is none").0.starts_with("no scenario 'no-such'"));
    }
}
