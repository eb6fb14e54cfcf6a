//! Faults as episodes, drawn before the run: what, where, from when to when, how strong.

use crate::scenario::{FaultKind, FaultSpec, Place, Span};
use crate::weather::{Domain, Weather, below, nth};

/// One fault of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Episode {
    /// Its number, which no other fault of the run has; (place in the scenario's list, ordinal there).
    pub id: u64,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Where; which member that is, is found out when it starts.
    pub place: Place,
    /// When it starts, in virtual time.
    pub start: u64,
    /// When it ends.
    pub end: u64,
    /// Whether the scenario names its time; otherwise it may wait for a moment that hurts.
    pub is_timed: bool,
    /// How strong; see the kind.
    pub strength: u64,
    /// About how long links that it cuts stay cut, and whole, in turn; 0 if they stay cut.
    pub flap_ns: u64,
    /// Decides what is left open.
    pub draw: u64,
}

const MS: u64 = 1_000_000;

/// Draws the episodes of `specs` that start between `from` and `until`, sorted by start. None lasts beyond `until`.
pub fn draw(weather: Weather, specs: &[FaultSpec], from: u64, until: u64) -> Vec<Episode> {
    let mut episodes = Vec::new();
    for (list, spec) in (0u64..).zip(specs) {
        for (ordinal, start) in (0u64..).zip(starts(weather, list, spec, from, until)) {
            let draw = weather.draw(Domain::Fault, &[list, ordinal, 1]);
            let end = start + spec.duration_ms.map_or(0, |span| span.pick(nth(draw, 0))) * MS;
            episodes.push(Episode {
                id: list << 32 | ordinal,
                kind: spec.kind,
                place: spec.place,
                start,
                end: end.min(until),
                is_timed: spec.at_ms.is_some(),
                strength: spec.strength.map_or(0, |span| span.pick(nth(draw, 1))),
                flap_ns: spec.flap_ms.map_or(0, |span| span.pick(nth(draw, 3))) * MS,
                draw: nth(draw, 2),
            });
        }
    }
    episodes.sort_by_key(|episode| (episode.start, episode.id));
    episodes
}

fn starts(weather: Weather, list: u64, spec: &FaultSpec, from: u64, until: u64) -> Vec<u64> {
    if let Some(times) = &spec.at_ms {
        return times.iter().map(|ms| from + ms * MS).filter(|start| *start < until).collect();
    }
    let draw = weather.draw(Domain::Fault, &[list]);
    let per_minute = spec.per_minute.expect("checked: a rate or times").pick(nth(draw, 0));
    // Half a fault on average is one fault in every other run.
    let expected = u128::from(per_minute) * u128::from(until - from) * 1_000 / (60_000 * u128::from(MS));
    let expected = u64::try_from(expected).unwrap_or(u64::MAX);
    let count = (expected + below(nth(draw, 1), 1_000)) / 1_000;
    let start = |n| from + below(weather.draw(Domain::Fault, &[list, n]), until - from);
    (0..count).map(start).collect()
}

/// The faults of a swarm run: some kinds, each with its own rate and strength, and one blow to a leader for certain.
pub fn swarm(weather: Weather, nodes: u64) -> Vec<FaultSpec> {
    let draw = weather.draw(Domain::Plan, &[u64::MAX]);
    let kinds = 3 + below(nth(draw, 0), 5);
    let mut specs = vec![certain_blow(nth(draw, 1), nodes)];
    let mut pool = FaultKind::ALL.to_vec();
    for n in 0..kinds {
        let pick = nth(draw, 10 + n);
        let kind = pool.swap_remove(usize::try_from(below(pick, pool.len() as u64)).expect("a short list"));
        specs.push(template(kind, nth(pick, 0)));
    }
    specs
}

/// At least one leader goes, and at least three faults of two kinds strike.
fn certain_blow(draw: u64, nodes: u64) -> FaultSpec {
    let kinds = [FaultKind::Crash, FaultKind::Pause, FaultKind::Isolate, FaultKind::DiskStall];
    // Where nobody else can win, a leader has to die to be another one's predecessor, or its own.
    let choice = if nodes < 3 { 1 } else { 4 };
    let kind = kinds[usize::try_from(below(draw, choice)).expect("below four")];
    FaultSpec {
        kind,
        place: Place::Leader,
        per_minute: None,
        at_ms: Some(vec![1_000 + below(nth(draw, 0), 4_000), 12_000 + below(nth(draw, 1), 4_000)]),
        duration_ms: Some(Span::new(3_000, 6_000)),
        strength: None,
        flap_ms: None,
    }
}

fn template(kind: FaultKind, draw: u64) -> FaultSpec {
    let (duration_ms, strength) = match kind {
        FaultKind::LateWakeups => (Span::new(500, 8_000), Some(Span::new(10, 2_000))),
        FaultKind::SlowDisk => (Span::new(500, 10_000), Some(Span::new(2, 100))),
        FaultKind::ClockSkew => (Span::new(1_000, 20_000), Some(Span::new(1, 200))),
        FaultKind::ClockStep => (Span::fixed(0), Some(Span::new(1, 4_000))),
        FaultKind::Loss => (Span::new(200, 5_000), Some(Span::new(50, 600))),
        FaultKind::Delay => (Span::new(200, 5_000), Some(Span::new(10, 1_000))),
        FaultKind::PowerLoss => (Span::new(50, 2_000), None),
        FaultKind::Crash => (Span::new(10, 5_000), None),
        _ => (Span::new(100, 6_000), None),
    };
    // Most partitions are short; some are held for long, and some flap.
    let (duration_ms, flap_ms) = match (kind.cuts_links(), below(nth(draw, 2), 5)) {
        (true, 0) => (Span::new(6_000, 20_000), None),
        (true, 1) => (Span::new(2_000, 12_000), Some(Span::new(30, 1_500))),
        _ => (duration_ms, None),
    };
    let places = [Place::Any, Place::Leader, Place::Follower];
    FaultSpec {
        kind,
        place: places[usize::try_from(below(nth(draw, 0), 3)).expect("below three")],
        per_minute: Some(Span::fixed(2 + below(nth(draw, 1), 9))),
        at_ms: None,
        duration_ms: (!kind.is_instant()).then_some(duration_ms),
        strength,
        flap_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(per_minute: u64) -> FaultSpec {
        FaultSpec { per_minute: Some(Span::fixed(per_minute)), ..template(FaultKind::Crash, 1) }
    }

    #[test]
    fn a_rate_gives_as_many_faults_as_it_says_and_none_outside_its_time() {
        let count: usize = (0..200)
            .map(|seed| {
                let episodes = draw(Weather::new(seed), &[spec(5)], 2_000 * MS, 32_000 * MS);
                assert!(episodes.iter().all(|e| e.start >= 2_000 * MS && e.end <= 32_000 * MS && e.start <= e.end));
                episodes.len()
            })
            .sum();
        assert!((450..550).contains(&count), "{count} faults in 100 minutes at 5 a minute");
    }

    #[test]
    fn every_fault_has_its_own_number_and_they_come_in_order() {
        let episodes = draw(Weather::new(1), &[spec(20), spec(20)], 0, 60_000 * MS);
        let mut ids: Vec<u64> = episodes.iter().map(|episode| episode.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), episodes.len());
        assert!(episodes.is_sorted_by_key(|episode| episode.start));
    }

    #[test]
    fn every_swarm_strikes_a_leader_and_has_faults_of_two_kinds() {
        for seed in 0..100 {
            let episodes = draw(Weather::new(seed), &swarm(Weather::new(seed), 1 + seed % 5), 0, 30_000 * MS);
            assert!(episodes.iter().filter(|episode| episode.place == Place::Leader).count() >= 2);
            assert!(episodes.len() >= 3);
        }
    }
}
