use detcd_core::StoreView;
use detcd_core::api::{Response, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::{NodeId, Term};

use super::*;
use crate::check::observations::{Replica, Script, answered, failed, invoke, unknown};

const OFF: AutoCompaction = AutoCompaction::Off;

fn periodic(seconds: u64) -> AutoCompaction {
    AutoCompaction::Periodic(Duration::from_secs(seconds))
}

/// Keeps so many revisions, and looks every second.
fn revisions(kept: Revision) -> AutoCompaction {
    AutoCompaction::Revisions { kept, every: Duration::from_secs(1) }
}

fn ask(op: u64, revision: Revision) -> HistoryEvent {
    invoke(op, 1, Request::Compact(pb::CompactionRequest { revision, physical: false }))
}

fn proposed(request: u64, revision: Revision) -> Note {
    Note::CompactionProposed { revision, request }
}

fn compacted(node: NodeIndex, request: u64, revision: Revision) -> Note {
    Note::Compacted { revision, proposer: NodeId(node as u64 + 1), request }
}

fn role(role: Role, term: u64) -> Note {
    Note::Role { role, term: Term(term), leader: NodeId(1) }
}

/// A run, its revisions, and the store after each of them.
struct Run {
    script: Script,
    stores: Vec<StoreView>,
}

impl Run {
    fn with(auto_compactions: Option<Vec<AutoCompaction>>, clock_skew_ppm_max: u64) -> Run {
        let config = CheckConfig { auto_compactions, clock_skew_ppm_max, ..CheckConfig::new(3) };
        let mut replica = Replica::new();
        let mut stores = vec![StoreView::default(), replica.view()];
        for revision in 2..=40 {
            replica.put("k", &revision.to_string());
            stores.push(replica.view());
        }
        Run { script: Script::new(Box::new(Compactions::new(&config))), stores }
    }

    fn of(modes: &[AutoCompaction]) -> Run {
        Run::with(Some(modes.to_vec()), 0)
    }

    /// Three members start; a revision a second is witnessed, 2 at second 2 and so on to 20, and `node` has each at
    /// once, as the leader of term 1.
    fn twenty(modes: &[AutoCompaction], node: NodeIndex) -> Run {
        let mut run = Run::of(modes);
        run.begin(node);
        run
    }

    fn begin(&mut self, node: NodeIndex) {
        for each in 0..3 {
            self.script.open(each);
            self.reaches(each, 1);
        }
        self.script.notes(node, &[role(Role::Leader, 1)]);
        for second in 2..=20 {
            self.second(second).witnessed(i64::try_from(second).expect("small"));
            self.reaches(node, i64::try_from(second).expect("small"));
        }
    }

    fn second(&mut self, second: u64) -> &mut Run {
        self.script.at_ms(second * 1_000);
        self
    }

    fn witnessed(&mut self, revision: Revision) -> &mut Run {
        self.script.history(&HistoryEvent::Revision { revision, events: [].into() });
        self
    }

    fn reaches(&mut self, node: NodeIndex, revision: Revision) -> &mut Run {
        let store = self.stores[usize::try_from(revision).expect("not negative")].clone();
        self.script.view(node, store).notes(node, &[]);
        self
    }

    /// What the checker says, after a step of `node` with these notes.
    fn says(&mut self, node: NodeIndex, notes: &[Note]) -> Result<(), String> {
        self.script.notes(node, notes);
        self.script.verdict().map_err(|violation| violation.detail)
    }

    fn objects(&mut self, node: NodeIndex, note: Note, why: &str) {
        let said = self.says(node, &[note]).expect_err(why);
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_client_has_to_have_asked_for_what_no_member_proposed_by_itself() {
    let by_client = compacted(1, 77, 5);
    Run::twenty(&[OFF; 3], 0).objects(2, by_client.clone(), "no client asked");
    // That it would have been allowed to is no excuse.
    Run::twenty(&[periodic(1), revisions(1), revisions(1)], 0).objects(2, by_client.clone(), "no client asked");
    let done = answered(1, Response::Compact(pb::CompactionResponse::default()));
    for outcome in [None, Some(unknown(1)), Some(done)] {
        let mut run = Run::twenty(&[OFF; 3], 0);
        run.script.history(&ask(1, 5));
        if let Some(outcome) = outcome {
            run.script.history(&outcome);
        }
        assert_eq!(run.says(2, std::slice::from_ref(&by_client)), Ok(()));
        // Others apply it later, and so does one that starts again.
        assert_eq!(run.says(0, &[by_client.clone(), by_client.clone()]), Ok(()));
        run.objects(2, compacted(1, 78, 6), "no client asked");
    }
    let mut run = Run::twenty(&[OFF; 3], 0);
    run.script.history(&ask(1, 5)).history(&failed(1, Status::NoLeader));
    run.objects(2, by_client, "no client asked");
}

#[test]
fn a_members_mode_excuses_that_member_alone() {
    let modes = [OFF, periodic(5), revisions(7)];
    for (node, allowed, refused) in [(1, 15, 16), (2, 13, 14)] {
        assert_eq!(Run::twenty(&modes, node).says(node, &[proposed(9, allowed)]), Ok(()));
        Run::twenty(&modes, node).objects(node, proposed(9, refused), "although it keeps");
    }
    Run::twenty(&modes, 0).objects(0, proposed(9, 2), "may not do that by itself");
    // What the third may, the second may not, and the other way round.
    Run::twenty(&[OFF, periodic(5), revisions(1)], 1).objects(1, proposed(9, 19), "although it keeps 5000 ms");
    Run::twenty(&[OFF, periodic(1), revisions(7)], 2).objects(2, proposed(9, 14), "it keeps 7 and the newest is 20");
}

#[test]
fn only_a_member_that_leads_proposes() {
    let modes = [revisions(7); 3];
    Run::twenty(&modes, 0).objects(1, proposed(9, 1), "does not lead");
    let mut run = Run::twenty(&modes, 0);
    assert_eq!(run.says(0, &[proposed(9, 13), role(Role::Follower, 2)]), Ok(()), "it led when it did");
    run.second(30).objects(0, proposed(10, 13), "does not lead");
    let mut run = Run::twenty(&modes, 0);
    assert_eq!(run.says(0, &[role(Role::Candidate, 2), role(Role::Leader, 2), proposed(9, 13)]), Ok(()));
    run.script.crash(0).open(0);
    run.second(30).reaches(0, 20).objects(0, proposed(9, 13), "does not lead");
}

#[test]
fn a_revision_is_as_old_as_the_member_has_known_it() {
    let mut run = Run::twenty(&[periodic(5); 3], 0);
    // The second learns of everything at second 22, and leads then.
    run.second(22).reaches(1, 20);
    assert_eq!(run.says(1, &[role(Role::Leader, 2)]), Ok(()));
    run.second(24);
    assert_eq!(run.says(1, &[proposed(9, 1)]), Ok(()), "that one it knew");
    run.second(26).objects(1, proposed(10, 16), "which it reached 4000 ms before");
    let mut run = Run::twenty(&[periodic(5); 3], 0);
    run.second(22).reaches(1, 20);
    assert_eq!(run.second(27).says(1, &[role(Role::Leader, 2), proposed(9, 20)]), Ok(()));
    let mut run = Run::twenty(&[periodic(5); 3], 0);
    run.second(50).witnessed(30).objects(0, proposed(9, 30), "which it does not know: the newest is 20");
}

#[test]
fn the_period_counts_from_the_last_start() {
    let told = |second: u64| {
        let mut run = Run::twenty(&[periodic(5); 3], 0);
        run.script.crash(0).at_ms(30_000).open(0);
        // It loads what it had.
        run.reaches(0, 1).reaches(0, 20);
        run.second(second).says(0, &[role(Role::Leader, 2), proposed(9, 10)])
    };
    assert!(told(34).expect_err("young").contains("which it reached 4000 ms before"));
    assert_eq!(told(35), Ok(()));
}

/// A clock that counts five seconds while four pass.
#[test]
fn a_period_is_as_short_as_the_fastest_clock_makes_it_and_no_shorter() {
    let told = |revision: Revision, skew_ppm: u64| {
        let mut run = Run::with(Some(vec![periodic(5)]), skew_ppm);
        run.begin(0);
        run.says(0, &[proposed(9, revision)])
    };
    assert_eq!(told(16, 250_000), Ok(()));
    told(17, 250_000).expect_err("it is three seconds old");
    told(16, 0).expect_err("it is four seconds old");
}

#[test]
fn what_is_proposed_rightly_may_be_committed_at_any_time_in_any_order() {
    let mut run = Run::twenty(&[OFF, OFF, revisions(7)], 2);
    assert_eq!(run.says(2, &[proposed(9, 13)]), Ok(()));
    run.second(22).witnessed(22).reaches(2, 22);
    assert_eq!(run.says(2, &[proposed(11, 15)]), Ok(()), "two are in flight");
    // Its leadership ends, and its life; what it left behind is committed by the first, which may not propose any.
    run.script.notes(2, &[role(Role::Follower, 2)]).crash(2).at_ms(60_000);
    run.witnessed(40).reaches(0, 40);
    assert_eq!(run.says(0, &[role(Role::Leader, 2), compacted(2, 9, 13), compacted(2, 11, 15)]), Ok(()));
    assert_eq!(run.says(1, &[compacted(2, 9, 13), compacted(2, 11, 15)]), Ok(()));
    run.objects(0, compacted(2, 12, 16), "and which it did not propose by itself");
    let mut run = Run::twenty(&[OFF, OFF, revisions(7)], 2);
    assert_eq!(run.says(2, &[proposed(9, 13), compacted(2, 9, 13)]), Ok(()), "alone, all in one step");
}

#[test]
fn a_proposal_stands_for_its_own_request_and_revision() {
    for (compacted, why) in [
        (compacted(1, 9, 13), "no client asked"),
        (compacted(2, 8, 13), "no client asked"),
        (compacted(2, 9, 14), "which is for revision 13"),
        (compacted(2, 9, 12), "which is for revision 13"),
    ] {
        let mut run = Run::twenty(&[OFF, OFF, revisions(7)], 2);
        assert_eq!(run.says(2, &[proposed(9, 13)]), Ok(()));
        run.objects(0, compacted, why);
    }
}

#[test]
fn proposals_are_a_look_apart() {
    let told = |mode: AutoCompaction, ms: u64| {
        let mut run = Run::twenty(&[mode], 0);
        run.says(0, &[proposed(9, 2)]).expect("the first");
        run.script.at_ms(20_000 + ms);
        run.says(0, &[proposed(10, 2)])
    };
    assert_eq!(told(revisions(7), 1_000), Ok(()));
    assert!(told(revisions(7), 999).expect_err("often").contains("999 ms after it did so before"));
    assert_eq!(told(periodic(10), 1_000), Ok(()));
    assert!(told(periodic(10), 999).expect_err("often").contains("999 ms after it did so before"));
}

#[test]
fn only_the_future_is_wrong_if_nobody_knows_the_members() {
    let mut run = Run::with(None, 0);
    run.begin(0);
    let told = |run: &mut Run, revision| {
        run.script.history(&HistoryEvent::Compaction { revision });
        run.script.verdict()
    };
    assert_eq!(told(&mut run, 20), Ok(()));
    assert!(told(&mut run, 21).expect_err("it does not exist").detail.contains("the newest is 20"));
}
