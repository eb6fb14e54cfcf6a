//! Many runs on all cores. Which runs there are, and in which order they are told, does not depend on how many go at
//! once; only how far a campaign gets in its time does.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use crate::args::{SeedRange, Shard};

/// Where a campaign's seeds come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// From a range that the user named.
    Range(SeedRange),
    /// From this one on, without end.
    From(u64),
}

impl Seeds {
    /// The seed at `place`, counted from 0, of those that belong to `shard`.
    pub fn at(&self, place: u64, shard: Shard) -> Option<u64> {
        let (start, last) = match self {
            Seeds::Range(range) => (range.start, range.end - 1),
            Seeds::From(start) => (*start, u64::MAX),
        };
        let gap = (shard.remainder + shard.parts - start % shard.parts) % shard.parts;
        let seed = start.checked_add(gap)?.checked_add(place.checked_mul(shard.parts)?)?;
        (seed <= last).then_some(seed)
    }

    /// How many belong to `shard`, if there is an end.
    pub fn count(&self, shard: Shard) -> Option<u64> {
        let Seeds::Range(range) = self else { return None };
        let first = self.at(0, shard);
        Some(first.map_or(0, |first| (range.end - 1 - first) / shard.parts + 1))
    }
}

/// What a campaign goes through: every scenario on each seed, seed after seed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many scenarios there are.
    pub scenarios: usize,
    /// The seeds.
    pub seeds: Seeds,
    /// Which of them.
    pub shard: Shard,
    /// No run starts later than this after the beginning.
    pub for_time: Option<Duration>,
    /// How many runs go at once.
    pub jobs: usize,
    /// The place of the first run; those before it were made in earlier sittings.
    pub begin: u64,
}

impl Plan {
    /// The number of runs, if the seeds have an end.
    pub fn runs(&self) -> Option<u64> {
        self.seeds.count(self.shard).map(|seeds| seeds.saturating_mul(self.scenarios as u64))
    }

    /// The run at `place`, counted from 0: the scenario's place in the list and the seed.
    fn at(&self, place: u64) -> Option<(usize, u64)> {
        let scenarios = self.scenarios as u64;
        let seed = self.seeds.at(place / scenarios, self.shard)?;
        Some(((place % scenarios) as usize, seed))
    }

    /// Makes each run by `run(scenario, seed)`, on `jobs` threads, and hands what it gives to `tell`, on the calling
    /// thread, in the order of the plan.
    pub fn go<T: Send>(&self, run: impl Fn(usize, u64) -> T + Sync, mut tell: impl FnMut(T)) {
        assert!(self.scenarios > 0, "a plan has a scenario");
        let began = Instant::now();
        let next = AtomicU64::new(self.begin);
        let (sender, results) = mpsc::channel();
        let work = |sender: mpsc::Sender<(u64, T)>| {
            while self.for_time.is_none_or(|time| began.elapsed() < time) {
                let place = next.fetch_add(1, Ordering::Relaxed);
                let Some((scenario, seed)) = self.at(place) else { break };
                let result = run(scenario, seed);
                if sender.send((place, result)).is_err() {
                    break;
                }
            }
        };
        thread::scope(|scope| {
            for job in 0..self.jobs {
                let (sender, work) = (sender.clone(), &work);
                let thread = thread::Builder::new().name(format!("run-{job}"));
                thread.spawn_scoped(scope, move || work(sender)).expect("the system starts a thread");
            }
            drop(sender);
            tell_in_order(self.begin, results, &mut tell);
        });
    }
}

fn tell_in_order<T>(mut due: u64, results: mpsc::Receiver<(u64, T)>, tell: &mut impl FnMut(T)) {
    let mut early = BTreeMap::new();
    for (place, result) in results {
        early.insert(place, result);
        while let Some(result) = early.remove(&due) {
            tell(result);
            due += 1;
        }
    }
    assert!(early.is_empty(), "every place that was taken was run");
}

/// A seed that nobody has run, from the system's entropy; short enough to be read aloud.
pub fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id()) % 1_000_000_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(jobs: usize, shard: Shard) -> Vec<(usize, u64)> {
        let seeds = Seeds::Range(SeedRange { start: 3, end: 20 });
        let plan = Plan { scenarios: 3, seeds, shard, for_time: None, jobs, begin: 0 };
        let mut told = Vec::new();
        let run = |scenario, seed| {
            // Earlier places take longer, so that results arrive out of order.
            thread::sleep(Duration::from_micros(2_000 - 100 * seed));
            (scenario, seed)
        };
        plan.go(run, |run| told.push(run));
        assert_eq!(told.len() as u64, plan.runs().expect("a range has an end"));
        told
    }

    #[test]
    fn what_is_told_does_not_depend_on_how_many_run_at_once() {
        let alone = told(1, Shard::WHOLE);
        assert_eq!(alone.len(), 51);
        assert_eq!(alone[..4], [(0, 3), (1, 3), (2, 3), (0, 4)]);
        assert_eq!(told(7, Shard::WHOLE), alone);
    }

    #[test]
    fn shards_cut_the_seeds_without_gap_or_overlap() {
        let mut parts: Vec<_> = (0..4).flat_map(|remainder| told(2, Shard { remainder, parts: 4 })).collect();
        parts.sort_by_key(|(scenario, seed)| (*seed, *scenario));
        assert_eq!(parts, told(1, Shard::WHOLE));
    }

    #[test]
    fn a_shard_can_be_empty() {
        let seeds = Seeds::Range(SeedRange { start: 3, end: 4 });
        assert_eq!(seeds.count(Shard { remainder: 0, parts: 2 }), Some(0));
        assert_eq!(seeds.count(Shard { remainder: 1, parts: 2 }), Some(1));
    }

    #[test]
    fn the_last_seed_of_all_is_run() {
        let seeds = Seeds::Range(SeedRange { start: u64::MAX - 1, end: u64::MAX });
        assert_eq!(seeds.at(0, Shard::WHOLE), Some(u64::MAX - 1));
        assert_eq!(seeds.at(1, Shard::WHOLE), None);
        assert_eq!(Seeds::From(u64::MAX).at(0, Shard::WHOLE), Some(u64::MAX));
        assert_eq!(Seeds::From(u64::MAX).at(1, Shard::WHOLE), None);
    }

    #[test]
    fn a_later_sitting_goes_on_where_the_last_one_ended() {
        let seeds = Seeds::Range(SeedRange { start: 3, end: 20 });
        let plan = Plan { scenarios: 3, seeds, shard: Shard::WHOLE, for_time: None, jobs: 3, begin: 40 };
        let mut rest = Vec::new();
        plan.go(|scenario, seed| (scenario, seed), |run| rest.push(run));
        assert_eq!(rest, told(1, Shard::WHOLE)[40..]);
    }

    #[test]
    fn no_run_starts_after_the_time_is_over() {
        let plan = Plan {
            scenarios: 1,
            seeds: Seeds::From(0),
            shard: Shard::WHOLE,
            for_time: Some(Duration::from_millis(30)),
            jobs: 2,
            begin: 0,
        };
        let mut runs = 0;
        plan.go(|_, _| thread::sleep(Duration::from_millis(1)), |()| runs += 1);
        assert!(runs > 0 && runs <= 60, "{runs} runs of a millisecond on two threads in 30 ms");
    }
}
