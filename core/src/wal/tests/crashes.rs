//! Random lives, ended by crashes, against a plain list of what was appended: what was durable is there, what is
//! there was appended, and in order.

use proptest::prelude::*;

use super::*;
use crate::log::HardState;
use crate::wal::WriteId;

#[derive(Clone, Debug)]
enum Step {
    Append { entries: u64, data_bytes: usize },
    Overwrite { back: u64, new_vote: bool },
    Commit,
    Checkpoint { back: u64 },
    Install { ahead: u64 },
    Flush,
    Complete(u64),
    Settle,
    Release { back: u64 },
    Mark,
    Note,
    Full(bool),
    Retry,
    PowerLoss(u64),
    Kill(u64),
    FailedSync,
    FailedWrite(Death),
    Stop,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    PowerLoss(u64),
    Kill(u64),
    FailedSync,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4_u64, 0..300_usize).prop_map(|(entries, data_bytes)| Step::Append { entries, data_bytes }),
        2 => (0..5_u64, any::<bool>()).prop_map(|(back, new_vote)| Step::Overwrite { back, new_vote }),
        3 => Just(Step::Commit),
        1 => (0..9_u64).prop_map(|back| Step::Checkpoint { back }),
        1 => (1..9_u64).prop_map(|ahead| Step::Install { ahead }),
        6 => Just(Step::Flush),
        12 => any::<u64>().prop_map(Step::Complete),
        2 => Just(Step::Settle),
        2 => (0..9_u64).prop_map(|back| Step::Release { back }),
        1 => Just(Step::Mark),
        2 => Just(Step::Note),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::Retry),
        2 => any::<u64>().prop_map(Step::PowerLoss),
        1 => any::<u64>().prop_map(Step::Kill),
        1 => Just(Step::FailedSync),
        2 => death().prop_map(Step::FailedWrite),
        1 => Just(Step::Stop),
    ]
}

fn death() -> impl Strategy<Value = Death> {
    prop_oneof![any::<u64>().prop_map(Death::PowerLoss), any::<u64>().prop_map(Death::Kill), Just(Death::FailedSync)]
}

/// A log as a plain list, and its hard state without the commit index.
#[derive(Clone, Debug, Default, PartialEq)]
struct Log {
    /// The index before the first entry.
    base: u64,
    entries: Vec<Entry>,
    state: (Term, NodeId),
    marks: Vec<SnapshotMeta>,
}

impl Log {
    fn last(&self) -> u64 {
        self.base + self.entries.len() as u64
    }

    fn term_at(&self, index: u64) -> Option<Term> {
        let at = index.checked_sub(self.base + 1)?;
        self.entries.get(at as usize).map(|entry| entry.term)
    }

    fn take(&mut self, record: &Record) {
        match record {
            Record::Entry(entry) => {
                self.entries.truncate((entry.index.0 - self.base - 1) as usize);
                self.entries.push(entry.clone());
                self.raise(entry.term);
            }
            Record::State(state) => self.state = (state.term, state.vote),
            Record::Mark(mark) => {
                let other = self.term_at(mark.index.0).is_some_and(|term| term != mark.term);
                if other || mark.index.0 > self.last() {
                    *self = Log { base: mark.index.0, entries: Vec::new(), ..self.clone() };
                }
                self.marks.push(mark.clone());
                self.raise(mark.term);
            }
        }
    }

    /// What recovery makes of an entry or a mark whose hard state was torn off.
    fn raise(&mut self, term: Term) {
        if term > self.state.0 {
            self.state = (term, NodeId(0));
        }
    }

    /// Whether this is what was recovered; released entries and marks may be gone.
    fn is_recovered(&self, recovered: &Recovered) -> bool {
        let skipped = recovered.first_index.0.checked_sub(self.base + 1);
        recovered.last_index().0 == self.last()
            && skipped.is_some_and(|skipped| self.entries[skipped as usize..] == recovered.entries)
            && (recovered.hard_state.term, recovered.hard_state.vote) == self.state
            && self.marks.ends_with(&recovered.marks)
    }
}

#[derive(Clone, Debug)]
enum Record {
    Entry(Entry),
    State(HardState),
    Mark(SnapshotMeta),
}

/// What a life found and what it appended.
#[derive(Clone, Debug, Default)]
struct Written {
    /// The log as recovery found it.
    recovered: Log,
    recovered_commit: u64,
    /// Each with its write, and whether it is durable with it: a changed commit index alone need not be.
    records: Vec<(WriteId, bool, Record)>,
    /// Up to where the writer said that it is durable.
    durable: WriteId,
}

struct World {
    config: WalConfig,
    life: Life,
    /// By the life that goes on.
    written: Written,
    /// By the last life that came as far as writing: only then is what it had found durable.
    written_before: Written,
    /// The log with everything appended.
    log: Log,
    term: Term,
    vote: NodeId,
    commit: u64,
    /// Entries before this may be gone.
    released: u64,
    last_boot: u64,
    draws: u64,
    /// What becomes of the machine when a write fails.
    death: Death,
}

impl World {
    fn new(config: WalConfig) -> World {
        let life = Life::begin(&config, ModelDisk::default()).expect("an empty disk is fine").0;
        let start = Log { marks: vec![SnapshotMeta::default()], ..Log::default() };
        World {
            config,
            life,
            written: Written { recovered: start.clone(), ..Written::default() },
            written_before: Written { recovered: start.clone(), ..Written::default() },
            log: start,
            term: Term(0),
            vote: NodeId(0),
            commit: 0,
            released: 0,
            last_boot: 0,
            draws: 0,
            death: Death::FailedSync,
        }
    }

    fn append(&mut self, entries: Vec<Entry>, mark: Option<SnapshotMeta>) {
        let state = HardState { term: self.term, vote: self.vote, commit: LogIndex(self.commit) };
        let id = self.life.writer.append(entries.clone(), Some(state), mark.clone());
        let must_sync = !entries.is_empty() || mark.is_some() || self.log.state != (self.term, self.vote);
        let entries = entries.into_iter().map(Record::Entry);
        for record in mark.map(Record::Mark).into_iter().chain(entries).chain([Record::State(state)]) {
            self.log.take(&record);
            self.written.records.push((id, must_sync, record));
        }
    }

    fn entries(&mut self, first: u64, count: u64, data_bytes: usize) -> Vec<Entry> {
        let data = |index: u64, draws: u64| vec![(index * 31 + draws) as u8 | 1; data_bytes];
        self.draws += 1;
        (first..first + count).map(|index| entry(self.term.0, index, &data(index, self.draws))).collect()
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Append { entries, data_bytes } => {
                self.term = self.term.max(Term(1));
                let entries = self.entries(self.log.last() + 1, *entries, *data_bytes);
                self.append(entries, None);
            }
            Step::Overwrite { back, new_vote } => {
                self.term = Term(self.term.0 + 1 + 5 * back);
                self.vote = NodeId(u64::from(*new_vote));
                let first = (self.log.last() + 1).saturating_sub(*back).max(self.commit + 1);
                let entries = self.entries(first, 2, 40);
                self.append(entries, None);
            }
            Step::Commit => {
                self.commit = self.commit.max(self.log.last().saturating_sub(2));
                self.append(Vec::new(), None);
            }
            Step::Checkpoint { back } => {
                let index = self.commit.saturating_sub(*back);
                if let Some(term) = self.log.term_at(index) {
                    self.append(Vec::new(), Some(mark(term.0, index)));
                }
            }
            Step::Install { ahead } => {
                self.term = self.term.next();
                self.vote = NodeId(0);
                self.commit = self.commit + *ahead + self.released % 3;
                let entries = self.entries(self.commit + 1, 1, 30);
                self.append(entries, Some(mark(self.term.0, self.commit)));
            }
            Step::Flush => self.life.writer.flush(&mut self.life.queue),
            Step::Complete(pick) => self.complete(*pick),
            Step::Settle => _ = self.settle(),
            Step::Release { back } => self.release(*back),
            Step::Mark => self.life.writer.write_mark(&mut self.life.queue),
            Step::Note => self.life.writer.note_mark(&mut self.life.queue),
            Step::Full(is_full) => self.life.disk.is_full = *is_full,
            Step::Retry => self.life.writer.retry_allocate(&mut self.life.queue),
            Step::PowerLoss(seed) => self.crash(Death::PowerLoss(*seed)),
            Step::Kill(seed) => self.crash(Death::Kill(*seed)),
            Step::FailedSync => self.crash(Death::FailedSync),
            Step::FailedWrite(death) => {
                self.death = *death;
                self.life.disk.fails_next_write = true;
            }
            Step::Stop => {
                self.life.writer.stop(&mut self.life.queue);
                if self.settle() {
                    assert!(self.life.writer.is_stopped(), "a stop does not end: {:?}", self.life.writer);
                    self.crash(Death::PowerLoss(0));
                }
            }
        }
        self.life.issue();
    }

    fn complete(&mut self, pick: u64) {
        if self.life.outstanding.is_empty() {
            return;
        }
        let before = self.life.writer.durable();
        let at = pick as usize % self.life.outstanding.len();
        match self.life.try_complete(at) {
            Ok(progress) => assert_eq!(progress.durable.unwrap_or(before), self.life.writer.durable()),
            Err(_) => self.crash(self.death),
        }
    }

    /// Completes everything, in order; false if something failed, and another life has begun.
    fn settle(&mut self) -> bool {
        self.life.writer.flush(&mut self.life.queue);
        self.life.issue();
        while !self.life.outstanding.is_empty() {
            if self.life.try_complete(0).is_err() {
                self.crash(self.death);
                return false;
            }
        }
        true
    }

    /// Releases behind the newest mark that is durable, as a node does that keeps one checkpoint.
    fn release(&mut self, back: u64) {
        let durable = self.life.writer.durable();
        let marks =
            self.written.records.iter().filter(|(id, ..)| *id <= durable).filter_map(|(.., record)| match record {
                Record::Mark(mark) => Some(mark.index.0),
                _ => None,
            });
        let Some(newest) = marks.chain(self.written.recovered.marks.iter().map(|mark| mark.index.0)).max() else {
            return;
        };
        let index = (newest + 1).saturating_sub(back);
        self.released = self.released.max(index);
        self.life.writer.release_before(LogIndex(index), &mut self.life.queue);
    }

    fn crash(&mut self, death: Death) {
        if self.life.writer.is_ready() {
            self.written.durable = self.life.writer.durable();
            self.written_before = std::mem::take(&mut self.written);
            assert!(self.life.writer.boot() > self.last_boot, "a boot is used twice");
            self.last_boot = self.life.writer.boot();
        }
        let mut disk = std::mem::take(&mut self.life.disk);
        match death {
            Death::PowerLoss(seed) => disk.lose_power(&mut Draw::new(seed)),
            Death::Kill(seed) => {
                let outstanding: Vec<u64> = self.life.outstanding.iter().map(|(order, ..)| *order).collect();
                disk.kill(&outstanding, &mut Draw::new(seed));
            }
            Death::FailedSync => disk.fail_syncs(),
        }
        let (life, recovered) = Life::begin(&self.config, disk).expect("a crash does no damage");
        self.life = life;
        self.compare(&recovered);
    }

    fn compare(&mut self, recovered: &Recovered) {
        assert_eq!(recovered.cut.as_ref().and_then(|cut| cut.rot), None, "what a crash left passes for rot");
        assert_eq!(recovered.lost_until, None);
        assert!(recovered.start.recorded_state.term <= recovered.start.mark.term_max, "a term that was not allowed");
        let written = &self.written_before;
        let is_needed = |(id, must_sync, _): &(WriteId, bool, Record)| *id <= written.durable && *must_sync;
        let needed = written.records.iter().rposition(is_needed).map_or(0, |at| at + 1);
        let mut commit_min = written.recovered_commit;
        let mut log = written.recovered.clone();
        let mut commit = written.recovered_commit;
        let mut fits = None;
        for kept in 0..=written.records.len() {
            if kept >= needed && log.is_recovered(recovered) {
                fits = Some((log.clone(), commit));
            }
            let Some((.., record)) = written.records.get(kept) else { break };
            log.take(record);
            if kept < needed
                && let Record::State(state) = record
            {
                commit_min = commit_min.max(state.commit.0);
            }
            match record {
                Record::State(state) => commit = commit.max(state.commit.0),
                Record::Mark(mark) => commit = commit.max(mark.index.0),
                Record::Entry(_) => {}
            }
        }
        let Some((log, commit_max)) = fits else {
            panic!("this was not appended: {recovered:#?}; this was: {written:#?}")
        };
        assert!(recovered.hard_state.commit.0 <= commit_max, "a commit index is invented");
        assert!(recovered.hard_state.commit.0 >= commit_min, "a durable commit index is lost");
        assert!(recovered.first_index.0 <= self.released.max(log.base + 1), "more is gone than was released");
        self.term = recovered.hard_state.term;
        self.vote = recovered.hard_state.vote;
        self.commit = recovered.hard_state.commit.0;
        let recovered_commit = self.commit;
        self.written = Written { recovered: log.clone(), recovered_commit, ..Written::default() };
        self.log = log;
    }
}

fn run(config: WalConfig, steps: &[Step]) {
    let mut world = World::new(config);
    for step in steps {
        world.run(step);
    }
    world.crash(Death::PowerLoss(1));
    while !world.settle() {}
    world.life.disk.is_full = false;
    world.life.disk.fails_next_write = false;
    world.life.settle();
    world.life.writer.retry_allocate(&mut world.life.queue);
    world.life.settle();
    assert!(world.life.writer.is_open());
    let before = world.life.writer.durable();
    world.run(&Step::Append { entries: 1, data_bytes: 10 });
    world.life.settle();
    assert_eq!(world.life.writer.durable(), WriteId(before.0 + 1), "after everything, the log still works");
    world.crash(Death::PowerLoss(2));
    assert_eq!(world.log.entries.last().map(|entry| entry.data.len()), Some(10));
}

fn config() -> impl Strategy<Value = WalConfig> {
    let segment_bytes = prop_oneof![Just(512_u64), Just(2048), Just(64 << 10)];
    (segment_bytes, 1..4_usize, 1..1500_usize, 1..3000_u64, 1..2000_u64).prop_map(
        |(segment_bytes, writes_in_flight_max, write_bytes_max, mark_interval_bytes, read_bytes_max)| WalConfig {
            segment_bytes,
            writes_in_flight_max,
            write_bytes_max,
            mark_interval_bytes,
            read_bytes_max,
            ..small_config()
        },
    )
}

fn proptest_config() -> ProptestConfig {
    ProptestConfig { cases: 600, max_shrink_iters: 5_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(proptest_config())]

    #[test]
    fn no_crash_loses_what_was_durable_or_invents_anything(
        config in config(),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        run(config, &steps);
    }
}
