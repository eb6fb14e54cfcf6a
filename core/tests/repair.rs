//! A member whose log has a rotten tail: it may have acknowledged what it lost, and must not help to forget it.

#[allow(dead_code, reason = "more than these tests need")]
mod cluster;

use cluster::Cluster;
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb::{PutRequest, RangeRequest};
use detcd_core::seed::draw_below;
use detcd_core::types::CallId;
use detcd_core::{HaltReason, Phase, Role};

fn put(key: &str) -> Request {
    Request::Put(PutRequest { key: key.to_owned().into(), value: "value".into(), ..PutRequest::default() })
}

fn count(cluster: &mut Cluster, at: usize, key: &str) -> i64 {
    let range = RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() };
    match cluster.ask(at, Request::Range(range)) {
        Ok(Response::Range(range)) => range.count,
        other => panic!("{other:?}"),
    }
}

/// Puts a key and gives control back at once, before a mark is written.
fn put_quickly(cluster: &mut Cluster, at: usize, key: &str) {
    // A tick has just passed.
    cluster.run_ms(120);
    let call = cluster.call(at, put(key));
    for _ in 0..20 {
        cluster.run_ms(1);
        if let Some(answer) = cluster.answers.remove(&call) {
            assert!(answer.is_ok(), "{answer:?}");
            return;
        }
    }
    panic!("no answer");
}

/// Flips a bit of the last record of a log.
fn rot(cluster: &mut Cluster, at: usize) -> (String, u64) {
    let is_segment = |(name, _): &(&String, &mut Vec<u8>)| name.ends_with(".wal");
    let (name, content) = cluster.disks[at].iter_mut().filter(is_segment).last().expect("a segment");
    let last = content.iter().rposition(|&byte| byte != 0).expect("a record");
    content[last - 4] ^= 4;
    (name.clone(), last as u64)
}

fn phase(cluster: &Cluster, at: usize) -> Phase {
    cluster.node(at).status().phase
}

fn leads(cluster: &Cluster) -> bool {
    cluster.nodes.iter().flatten().any(|node| node.status().role == Role::Leader)
}

#[test]
fn a_rotten_tail_comes_back_from_the_others() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let rotten = (leader + 1) % 3;
    put_quickly(&mut cluster, leader, "k");
    cluster.run_ms(3);
    cluster.kill(rotten);
    let before = cluster.node(leader).status();
    rot(&mut cluster, rotten);
    cluster.open(rotten);
    cluster.run_ms(3);
    assert!(cluster.marked(rotten, "wal: a rotten tail was cut"));
    assert_eq!(phase(&cluster, rotten), Phase::Repairing);
    assert!(cluster.node(rotten).status().last < before.last, "something is cut off");
    let mut waited_ms = 0;
    while phase(&cluster, rotten) != Phase::Serving {
        cluster.run_ms(100);
        waited_ms += 100;
        assert!(waited_ms < 20_000, "{:?}", cluster.node(rotten).status());
    }
    assert!(cluster.marked(rotten, "repair: over"));
    let now = cluster.node(rotten).status();
    assert!(now.term > before.term, "a leader that relies on old acknowledgements cannot repair");
    assert!(now.last > before.last);
    assert_eq!(count(&mut cluster, rotten, "k"), 1);

    // Its vote counts again, and nothing of the loss is left.
    let other = (0..3).find(|at| *at != rotten).expect("there are three");
    cluster.kill(other);
    cluster.leader();
    cluster.kill(rotten);
    cluster.open(rotten);
    cluster.run_ms(3);
    assert_eq!(phase(&cluster, rotten), Phase::Serving);
    cluster.leader();
}

#[test]
fn a_member_that_may_have_lost_a_committed_entry_does_not_elect_one_that_lacks_it() {
    let mut cluster = Cluster::new(3, |_| {});
    let leader = cluster.leader();
    let (rotten, behind) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(behind);
    put_quickly(&mut cluster, leader, "k");
    cluster.run_ms(3);
    cluster.kill(leader);
    cluster.kill(rotten);
    rot(&mut cluster, rotten);
    cluster.open(rotten);
    cluster.open(behind);
    for _ in 0..40 {
        cluster.run_ms(500);
        assert!(!leads(&cluster), "these two do not have the entry that was acknowledged");
    }
    // Being killed again changes nothing.
    cluster.kill(rotten);
    cluster.open(rotten);
    for _ in 0..40 {
        cluster.run_ms(500);
        assert!(!leads(&cluster) && phase(&cluster, rotten) == Phase::Repairing);
    }
    cluster.open(leader);
    assert_ne!(cluster.leader(), rotten, "it has no vote, not even for itself");
    cluster.run_ms(2_000);
    assert_eq!(phase(&cluster, rotten), Phase::Serving);
    for at in 0..3 {
        assert_eq!(count(&mut cluster, at, "k"), 1);
    }
}

#[test]
fn a_leader_whose_tail_rots_does_not_lead_again_before_it_has_it_back() {
    let mut cluster = Cluster::new(3, |_| {});
    let rotten = cluster.leader();
    put_quickly(&mut cluster, rotten, "k");
    cluster.run_ms(3);
    cluster.kill(rotten);
    rot(&mut cluster, rotten);
    cluster.open(rotten);
    let leader = cluster.leader();
    assert_ne!(leader, rotten);
    cluster.run_ms(2_000);
    assert_eq!(phase(&cluster, rotten), Phase::Serving);
    assert_eq!(count(&mut cluster, rotten, "k"), 1);
}

/// Random lives of three or five members. At most one at a time lacks what it had acknowledged.
struct Lives {
    cluster: Cluster,
    seed: u64,
    draws: u64,
    /// Who may lack something, until it serves again.
    lacking: Option<usize>,
    waiting: Vec<(CallId, String)>,
    acknowledged: Vec<String>,
    rotten_tails: usize,
}

impl Lives {
    fn new(seed: u64) -> Lives {
        let size = 3 + 2 * (seed as usize % 2);
        let mut cluster = Cluster::new(size, |config| config.checkpoint_entries = 30);
        cluster.leader();
        let mut messages = 0;
        cluster.filter(move |_| {
            messages += 1;
            usize::from(draw_below(seed, &[1, messages], 30) > 0)
        });
        let (waiting, acknowledged) = (Vec::new(), Vec::new());
        Lives { cluster, seed, draws: 0, lacking: None, waiting, acknowledged, rotten_tails: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.draws += 1;
        draw_below(self.seed, &[2, self.draws], bound as u64) as usize
    }

    fn step(&mut self) {
        let at = self.below(self.cluster.nodes.len());
        let is_up = self.cluster.nodes[at].is_some();
        match self.below(5) {
            0 | 1 if is_up => self.put(at),
            2 if is_up => {
                self.cluster.kill(at);
                if self.lacking.is_none_or(|lacking| lacking == at) {
                    self.rot_and_open(at);
                }
            }
            3 if !is_up => self.cluster.open(at),
            4 => self.black_out(at),
            _ => {}
        }
        let ms = [2, 20, 150, 1_500][self.below(4)];
        self.cluster.run_ms(ms);
        self.take_answers();
        self.notice_repair();
    }

    fn put(&mut self, at: usize) {
        let key = format!("k{}", self.draws);
        self.waiting.push((self.cluster.call(at, put(&key)), key));
    }

    /// Without `behind` something is written, then all go down. Those come back first that may not have it any more.
    fn black_out(&mut self, behind: usize) {
        let size = self.cluster.nodes.len();
        self.cluster.kill(behind);
        self.cluster.run_ms(3_000);
        for at in (0..size).filter(|at| *at != behind) {
            if self.cluster.nodes[at].is_some() {
                self.put(at);
            }
        }
        self.cluster.run_ms(15);
        self.take_answers();
        (0..size).for_each(|at| self.cluster.kill(at));
        let rotten = (behind + 1 + self.below(size - 1)) % size;
        if self.lacking.is_none_or(|lacking| lacking == rotten) {
            self.rot_and_open(rotten);
        }
        for at in [behind, rotten] {
            if self.cluster.nodes[at].is_none() {
                self.cluster.open(at);
            }
        }
        self.cluster.run_ms(4_000);
    }

    fn rot_and_open(&mut self, at: usize) {
        rot(&mut self.cluster, at);
        self.cluster.open(at);
        self.cluster.run_ms(3);
        if self.cluster.halted[at].is_some() {
            // A mark covers it. The same bit again, and all is well.
            rot(&mut self.cluster, at);
            self.cluster.open(at);
        } else {
            self.rotten_tails += 1;
            self.lacking = Some(at);
        }
    }

    fn take_answers(&mut self) {
        let answered = |(call, key): &(CallId, String)| match self.cluster.answers.get(call) {
            Some(Ok(_)) => Some(key.clone()),
            _ => None,
        };
        self.acknowledged.extend(self.waiting.iter().filter_map(answered));
        self.waiting.retain(|(call, _)| !self.cluster.answers.contains_key(call));
    }

    fn notice_repair(&mut self) {
        let serves = |at: usize| self.cluster.nodes[at].is_some() && phase(&self.cluster, at) == Phase::Serving;
        if self.lacking.is_some_and(serves) {
            self.lacking = None;
        }
    }

    /// Everybody comes back, and everything that was acknowledged is there.
    fn end(mut self) -> (usize, usize) {
        self.cluster.filter(|_| 1);
        for at in 0..self.cluster.nodes.len() {
            if self.cluster.nodes[at].is_none() {
                self.cluster.open(at);
            }
        }
        self.cluster.run_ms(20_000);
        let leader = self.cluster.leader();
        self.notice_repair();
        assert_eq!(self.lacking, None, "seed {}: a repair does not end", self.seed);
        for key in &self.acknowledged {
            assert_eq!(count(&mut self.cluster, leader, key), 1, "seed {}: {key} is gone", self.seed);
        }
        (self.rotten_tails, self.acknowledged.len())
    }
}

#[test]
fn no_rotten_tail_takes_what_was_acknowledged() {
    let ended = (0..100).map(|seed| {
        let mut lives = Lives::new(seed);
        (0..40).for_each(|_| lives.step());
        lives.end()
    });
    let (rotten_tails, acknowledged) = ended.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    assert!(rotten_tails > 100 && acknowledged > 500, "{rotten_tails} tails, {acknowledged} keys: too few");
}

/// Where the last record of a log ends, about.
fn end(cluster: &mut Cluster, at: usize) -> usize {
    let (_, content) = cluster.disks[at].iter_mut().rfind(|(name, _)| name.ends_with(".wal")).expect("a segment");
    content.iter().rposition(|&byte| byte != 0).expect("a record") + 1
}

/// The limit of what can be told: what is lost as a whole never came, unless a mark covers it. One does at the next
/// tick.
#[test]
fn a_lost_write_is_damage_from_the_next_tick_on() {
    for passed_ms in [0, 150, 250, 350] {
        let mut cluster = Cluster::new(3, |_| {});
        let leader = cluster.leader();
        let before = end(&mut cluster, leader);
        put_quickly(&mut cluster, leader, "k");
        cluster.run_ms(passed_ms);
        cluster.kill(leader);
        let after = end(&mut cluster, leader);
        let (_, content) = cluster.disks[leader].iter_mut().rfind(|(name, _)| name.ends_with(".wal")).expect("found");
        content[before..after].fill(0);
        cluster.open(leader);
        cluster.run_ms(1);
        match &cluster.halted[leader] {
            None => assert_eq!((passed_ms, phase(&cluster, leader)), (0, Phase::Serving), "no mark was written"),
            Some(HaltReason::Damaged { what, .. }) => {
                assert!(passed_ms > 0 && what.contains("the log was durable up to"), "{passed_ms} ms: {what}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn without_enough_others_a_rotten_tail_is_refused_and_nothing_is_written() {
    for size in [1, 2] {
        let mut cluster = Cluster::new(size, |_| {});
        let leader = cluster.leader();
        put_quickly(&mut cluster, leader, "k");
        cluster.run_ms(3);
        cluster.kill(leader);
        let (name, last) = rot(&mut cluster, leader);
        let disk = cluster.disks[leader].clone();
        cluster.open(leader);
        cluster.run_ms(100);
        let Some(reason @ HaltReason::Damaged { file, offset, .. }) = &cluster.halted[leader] else {
            panic!("{:?}", cluster.halted[leader])
        };
        assert_eq!(*file, name);
        assert!(*offset < last);
        let told = reason.to_string();
        assert!(told.contains("may have been acknowledged") && !told.contains('\n'), "{told}");
        assert!(disk == cluster.disks[leader], "something was written");
    }
}

#[test]
fn a_log_that_goes_on_from_a_missing_checkpoint_is_refused_by_the_name_of_its_rotten_end_if_it_has_one() {
    for is_rotten in [false, true] {
        let mut cluster = Cluster::new(3, |config| {
            cluster::snapshots_soon(config);
            config.wal_segment_bytes = 1_024;
        });
        let leader = cluster.leader();
        let behind = (leader + 1) % 3;
        while cluster.marks(behind, "checkpoint: durable") < 4 {
            put_quickly(&mut cluster, leader, "k");
        }
        put_quickly(&mut cluster, leader, "k");
        cluster.run_ms(3);
        cluster.kill(behind);
        // As if the mark of a newer one had stood in the rotten end: the older one goes when that is durable.
        cluster.disks[behind].retain(|name, _| !name.ends_with(".ckpt"));
        let segment = if is_rotten { rot(&mut cluster, behind).0 } else { String::new() };
        cluster.open(behind);
        cluster.run_ms(100);
        let Some(HaltReason::Damaged { file, .. }) = &cluster.halted[behind] else {
            panic!("{:?}", cluster.halted[behind])
        };
        assert!(if is_rotten { *file == segment } else { file.ends_with(".ckpt") }, "{file}");
    }
}

/// The log as it was read may not be durable: what its last records say may be lost with the next failed write.
#[test]
fn a_checkpoint_stays_until_the_mark_of_the_newer_one_is_durable_again() {
    let mut cluster = Cluster::new(3, cluster::snapshots_soon);
    let leader = cluster.leader();
    let at = (leader + 1) % 3;
    let checkpoints = |cluster: &Cluster| -> Vec<String> {
        cluster.disks[at].keys().filter(|name| name.ends_with(".ckpt")).cloned().collect()
    };
    while cluster.marks(at, "checkpoint: durable") < 2 {
        put_quickly(&mut cluster, leader, "k");
    }
    let [older] = &checkpoints(&cluster)[..] else { panic!("one is there") };
    let (older, bytes) = (older.clone(), cluster.disks[at][older].clone());
    while cluster.marks(at, "checkpoint: durable") < 3 {
        put_quickly(&mut cluster, leader, "k");
    }
    cluster.run_ms(10);
    cluster.kill(at);
    assert!(!checkpoints(&cluster).contains(&older), "the newer one has taken its place");
    // As if it had died before it could remove the older one.
    cluster.disks[at].insert(older.clone(), bytes);
    cluster.held[at] = true;
    cluster.open(at);
    while matches!(phase(&cluster, at), Phase::Loading { .. }) {
        assert!(checkpoints(&cluster).contains(&older), "the log is not written again yet");
        let one = cluster.withheld[at].len().min(1);
        cluster.release(at, one);
        cluster.run_ms(1);
    }
    cluster.held[at] = false;
    let rest = cluster.withheld[at].len();
    cluster.release(at, rest);
    cluster.run_ms(100);
    assert!(!checkpoints(&cluster).contains(&older), "it goes in the end");
}
