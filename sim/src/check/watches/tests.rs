//! What a watcher may get and what not.

use detcd_core::api::Request;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::{Event, KeyValue};
use pb::{WatchCreateRequest, WatchResponse};

use super::*;
use crate::check::ViolationKind;
use crate::check::observations::{Replica, bytes, header, invoke};
use crate::history::ClientId;

/// Revisions 2 to 6: a=1, b=1, a=2, a deleted, and c=1 with d=1 in one transaction.
fn replica() -> Replica {
    let mut replica = Replica::new();
    replica.put("a", "1");
    replica.put("b", "1");
    replica.put("a", "2");
    let delete = pb::DeleteRangeRequest { key: bytes("a"), ..Default::default() };
    let delete = pb::InternalRaftRequest { delete_range: Some(delete), ..Default::default() };
    replica.apply(delete).expect("a deletion");
    let put = |key: &str| pb::RequestOp {
        request: Some(pb::request_op::Request::RequestPut(pb::PutRequest {
            key: bytes(key),
            value: bytes("1"),
            ..Default::default()
        })),
    };
    let txn = pb::TxnRequest { success: vec![put("c"), put("d")], ..Default::default() };
    replica.apply(pb::InternalRaftRequest { txn: Some(txn), ..Default::default() }).expect("a transaction");
    replica
}

fn witness(upto: Revision) -> Vec<HistoryEvent> {
    let told = |event: &HistoryEvent| matches!(event, HistoryEvent::Revision { revision, .. } if *revision <= upto);
    replica().witness(2).into_iter().filter(told).collect()
}

/// The events of a revision, as a watcher without previous values gets them.
fn events(revision: Revision) -> Vec<Event> {
    replica().view().events_between(revision, revision).collect()
}

fn open(request: WatchCreateRequest) -> HistoryEvent {
    HistoryEvent::WatchOpen { watcher: WatcherId(1), client: ClientId(1), request }
}

/// Everything from `start` on.
fn all(start: Revision) -> WatchCreateRequest {
    WatchCreateRequest { key: bytes("\0"), range_end: bytes("\0"), start_revision: start, ..Default::default() }
}

fn one(key: &str, start: Revision) -> WatchCreateRequest {
    WatchCreateRequest { key: bytes(key), start_revision: start, ..Default::default() }
}

fn receive(response: WatchResponse) -> HistoryEvent {
    HistoryEvent::WatchReceive { watcher: WatcherId(1), response }
}

fn created(at: Revision) -> HistoryEvent {
    receive(WatchResponse { header: header(1, at), created: true, ..Default::default() })
}

fn got(at: Revision, events: Vec<Event>) -> HistoryEvent {
    receive(WatchResponse { header: header(1, at), events, ..Default::default() })
}

fn bookmark(at: Revision) -> HistoryEvent {
    got(at, Vec::new())
}

fn judge_as(witness: Witness, histories: &[&[HistoryEvent]]) -> Result<(), String> {
    let mut checker = Watches::new(&CheckConfig { witness, ..CheckConfig::new(1) });
    histories.iter().copied().flatten().try_for_each(|event| checker.take(0, event))
}

/// The witness tells everything, the watcher is opened and created at the head, and receives `rest`.
fn judge(request: WatchCreateRequest, rest: &[HistoryEvent]) -> Result<(), String> {
    judge_as(Witness::Live, &[&witness(6), &[open(request), created(6)], rest])
}

fn refusal(request: WatchCreateRequest, rest: &[HistoryEvent]) -> String {
    judge(request, rest).expect_err("a violation")
}

#[test]
fn everything_in_order_is_right_however_it_is_batched() {
    let apart: Vec<HistoryEvent> = (2..=6).map(|revision| got(6, events(revision))).collect();
    assert_eq!(judge(all(2), &apart), Ok(()));
    let together = got(6, (2..=6).flat_map(events).collect());
    assert_eq!(judge(all(2), &[together, bookmark(6)]), Ok(()));
    assert_eq!(judge(all(4), &[got(6, events(4)), got(6, events(5))]), Ok(()));
}

#[test]
fn an_event_left_out_is_noticed_with_the_next_one() {
    assert!(refusal(all(2), &[got(6, events(2)), got(6, events(4))]).contains("without those of revision 3"));
    assert!(refusal(one("a", 2), &[got(6, events(4))]).contains("without those of revision 2"));
    // What is not in its range is not left out.
    assert_eq!(judge(one("a", 2), &[got(6, events(2)), got(6, events(4))]), Ok(()));
}

#[test]
fn an_event_again_or_out_of_order_is_refused() {
    let [two, three] = [got(6, events(2)), got(6, events(3))];
    assert!(refusal(all(2), &[two.clone(), two.clone()]).contains("lies behind it"));
    assert!(refusal(all(2), &[two.clone(), three.clone(), two.clone()]).contains("lies behind it"));
    assert!(refusal(all(2), &[three, two]).contains("without those of revision 2"));
}

#[test]
fn an_event_of_another_key_or_before_the_start_is_refused() {
    assert!(refusal(one("b", 2), &[got(6, events(3)), got(6, events(4))]).contains("not for it"));
    assert!(refusal(one("b", 2), &[got(6, events(2))]).contains("not for it"));
    assert!(refusal(all(4), &[got(6, events(3))]).contains("lies behind it"));
    assert!(refusal(one("z", 2), &[got(6, events(3))]).contains("not for it"));
}

#[test]
fn a_revision_is_not_split_unless_the_watcher_asked_for_fragments() {
    let both = events(6);
    let part = |place: usize, fragment: bool| {
        let events = vec![both[place].clone()];
        receive(WatchResponse { header: header(1, 6), events, fragment, ..Default::default() })
    };
    assert_eq!(judge(all(6), &[got(6, both.clone())]), Ok(()));
    assert!(refusal(all(6), &[part(0, false), part(1, false)]).contains("only a part"));
    let asked = WatchCreateRequest { fragment: true, ..all(6) };
    assert_eq!(judge(asked.clone(), &[part(0, true), part(1, false)]), Ok(()));
    assert!(refusal(asked.clone(), &[part(0, false), part(1, false)]).contains("only a part"));
    assert!(refusal(asked, &[part(0, true), part(0, false)]).contains("not"));
    assert!(refusal(all(6), &[part(0, true)]).contains("did not ask"));
    let turned = vec![both[1].clone(), both[0].clone()];
    assert!(refusal(all(6), &[got(6, turned)]).contains("it got Put \"d\""));
}

#[test]
fn wrong_fields_are_refused() {
    let changed = |change: fn(&mut KeyValue)| {
        let mut event = events(4).remove(0);
        event.kv.as_mut().map(change).expect("a key");
        judge(all(4), &[got(6, vec![event])])
    };
    assert_eq!(changed(|_| {}), Ok(()));
    assert!(changed(|kv| kv.value = bytes("x")).is_err());
    assert!(changed(|kv| kv.version = 1).is_err());
    assert!(changed(|kv| kv.create_revision = 4).is_err());
    let mut event = events(5).remove(0);
    event.r#type = 0;
    assert!(judge(all(5), &[got(6, vec![event])]).is_err());
}

#[test]
fn filters_leave_out_what_they_name() {
    let no_put = WatchCreateRequest { filters: vec![0], ..all(2) };
    let no_delete = WatchCreateRequest { filters: vec![1], ..one("a", 2) };
    assert_eq!(judge(no_put.clone(), &[got(6, events(5)), bookmark(6)]), Ok(()));
    assert!(judge(no_put, &[got(6, events(2))]).is_err());
    let puts = [got(6, events(2)), got(6, events(4))];
    assert_eq!(judge(no_delete.clone(), &[&puts[..], &[bookmark(6)]].concat()), Ok(()));
    assert!(judge(no_delete, &[&puts[..], &[got(6, events(5))]].concat()).is_err());
}

#[test]
fn a_bookmark_must_not_overtake_events_nor_go_back() {
    assert!(refusal(all(2), &[got(6, events(2)), bookmark(3)]).contains("without the events of revision 3"));
    assert_eq!(judge(all(2), &[got(6, events(2)), bookmark(2), got(6, events(3))]), Ok(()));
    assert!(refusal(all(2), &[got(6, events(2)), got(6, events(3)), bookmark(2)]).contains("bookmark of revision 2"));
    assert!(refusal(one("z", 0), &[bookmark(6), bookmark(5)]).contains("bookmark of revision 5"));
    assert!(judge(one("z", 0), &[bookmark(7)]).expect_err("future").contains("the newest is 6"));
    // Answers to requests for progress are about the whole stream.
    let whole = receive(WatchResponse { header: header(1, 6), watch_id: -1, ..Default::default() });
    assert_eq!(judge(one("z", 0), std::slice::from_ref(&whole)), Ok(()));
    assert!(judge(all(2), &[whole]).is_err());
}

#[test]
fn the_header_of_the_created_response_is_where_a_watcher_without_start_begins_and_no_bookmark() {
    let told = |at: Revision, rest: &[HistoryEvent]| {
        judge_as(Witness::Live, &[&witness(6), &[open(all(0)), created(at)], rest])
    };
    // A member that lags behind.
    assert_eq!(told(4, &[got(6, events(5)), got(6, events(6))]), Ok(()));
    assert!(told(4, &[got(6, events(6))]).is_err());
    assert!(told(4, &[got(6, events(4))]).is_err());
    assert_eq!(judge(all(2), &[got(6, events(2))]), Ok(()));
}

#[test]
fn nothing_comes_before_the_created_response_or_after_the_end() {
    let told = |rest: &[HistoryEvent]| judge_as(Witness::Live, &[&witness(6), rest]);
    assert!(told(&[open(all(2)), got(6, events(2))]).expect_err("early").contains("before its created"));
    assert!(told(&[open(all(2)), created(6), created(6)]).expect_err("twice").contains("created twice"));
    let end = HistoryEvent::WatchEnd { watcher: WatcherId(1) };
    assert!(told(&[open(all(2)), created(6), end, got(6, events(2))]).expect_err("late").contains("after its end"));
}

fn compact(revision: Revision) -> HistoryEvent {
    invoke(9, 9, Request::Compact(pb::CompactionRequest { revision, physical: false }))
}

fn canceled(compact_revision: Revision) -> HistoryEvent {
    receive(WatchResponse { header: header(1, 0), canceled: true, compact_revision, ..Default::default() })
}

#[test]
fn a_watcher_is_canceled_only_for_a_compaction_that_took_what_it_needs() {
    let told = |compacted: Revision, start: Revision, rest: &[HistoryEvent]| {
        let start = [compact(compacted), open(all(start)), created(6)];
        judge_as(Witness::Live, &[&witness(6), &start, rest])
    };
    assert_eq!(told(5, 2, &[canceled(5)]), Ok(()));
    assert_eq!(told(5, 2, &[got(6, events(2)), canceled(5)]), Ok(()));
    assert!(told(5, 5, &[canceled(5)]).expect_err("it has it").contains("everything before 5"));
    assert!(told(5, 2, &[canceled(4)]).expect_err("another").contains("nobody asked for"));
    assert!(told(5, 2, &[canceled(0)]).expect_err("no reason").contains("for no reason"));
    assert!(told(5, 2, &[canceled(5), got(6, events(2))]).expect_err("more").contains("after it was canceled"));
    // Being moved on in silence is a gap.
    assert!(told(5, 2, &[got(6, events(5))]).is_err());
}

#[test]
fn a_refused_watcher_needs_a_reason_in_its_request() {
    let refused = |request: WatchCreateRequest, reason: &str| {
        let response = WatchResponse {
            header: header(1, 6),
            watch_id: -1,
            created: true,
            canceled: true,
            cancel_reason: reason.into(),
            ..Default::default()
        };
        judge_as(Witness::Live, &[&witness(6), &[open(request), receive(response)]])
    };
    let empty = WatchCreateRequest { range_end: bytes("a"), ..one("b", 0) };
    let (range, old) = ("mvcc: watcher range is empty", "etcdserver: mvcc: required revision has been compacted");
    assert_eq!(refused(empty.clone(), range), Ok(()));
    assert_eq!(refused(one("b", -1), old), Ok(()));
    assert!(refused(one("b", 1), range).is_err());
    assert!(refused(one("b", 1), old).is_err());
    assert!(judge(empty, &[]).is_err());
}

#[test]
fn a_previous_value_is_right_or_absent_after_a_compaction() {
    let asked = |start| WatchCreateRequest { prev_kv: true, ..one("a", start) };
    let with = |revision: Revision, prev_kv: Option<KeyValue>| {
        let mut event = events(revision).remove(0);
        event.prev_kv = prev_kv;
        got(6, vec![event])
    };
    let first = events(2).remove(0).kv;
    let second = events(4).remove(0).kv;
    assert_eq!(judge(asked(2), &[with(2, None), with(4, first.clone()), with(5, second.clone())]), Ok(()));
    assert!(judge(asked(2), &[with(2, first.clone())]).is_err());
    assert!(judge(asked(4), &[with(4, second)]).is_err());
    assert!(judge(asked(4), &[with(4, None)]).is_err());
    assert!(judge(one("a", 4), &[with(4, first.clone())]).is_err());
    let compacted = |at: Revision| {
        let rest = [compact(at), open(asked(4)), created(6), with(4, None)];
        judge_as(Witness::Live, &[&witness(6), &rest])
    };
    assert_eq!(compacted(4), Ok(()));
    assert!(compacted(3).is_err());
}

#[test]
fn a_recorded_witness_may_tell_late() {
    let watch = [open(all(0)), created(4), got(5, events(5))];
    let parts: [&[HistoryEvent]; 3] = [&witness(4), &watch, &witness(6)[3..]];
    assert_eq!(judge_as(Witness::Recorded, &parts), Ok(()));
    assert!(judge_as(Witness::Live, &parts).is_err());
    // The witness catches up with the creation first, and with the events later.
    let ahead: Vec<HistoryEvent> = (5..=6).map(|revision| got(6, events(revision))).collect();
    let slowly = [&[open(all(0)), created(4)], ahead.as_slice()].concat();
    let parts: [&[HistoryEvent]; 4] = [&witness(3), &slowly, &witness(4)[2..], &witness(6)[3..]];
    assert_eq!(judge_as(Witness::Recorded, &parts), Ok(()));
    let skips = [open(all(0)), created(4), got(6, events(6))];
    let parts: [&[HistoryEvent]; 3] = [&witness(4), &skips, &witness(6)[3..]];
    assert!(judge_as(Witness::Recorded, &parts).is_err());
}

#[test]
fn a_watcher_that_is_still_open_at_the_end_has_got_everything() {
    let told = |rest: &[HistoryEvent], now_s: u64| {
        let mut checker = Watches::new(&CheckConfig::new(1));
        let start = [witness(6), vec![open(all(2)), created(6)], rest.to_vec()].concat();
        start.iter().try_for_each(|event| checker.take(0, event)).expect("legal");
        checker.observe(&Observed { at: 5_000_000_000, what: Observation::Healed }).expect("legal");
        checker.finish(now_s * 1_000_000_000)
    };
    let everything: Vec<HistoryEvent> = (2..=6).map(|revision| got(6, events(revision))).collect();
    assert_eq!(told(&everything, 100), Ok(()));
    let late = told(&everything[..4], 36).expect_err("revision 6 is missing");
    assert_eq!((late.kind, late.detail.as_str()), (ViolationKind::Liveness, "watcher 1 did not get revision 6"));
    assert_eq!(told(&everything[..4], 35), Ok(()));
    let ended = [&everything[..4], &[HistoryEvent::WatchEnd { watcher: WatcherId(1) }]].concat();
    assert_eq!(told(&ended, 100), Ok(()));
}

#[test]
fn revisions_are_taken_in_order_though_nobody_watches() {
    let told = witness(6);
    assert_eq!(judge_as(Witness::Live, &[&told]), Ok(()));
    let why = judge_as(Witness::Live, &[&told[..2], &told[3..]]).expect_err("revision 4 is left out");
    assert_eq!(why, "revision 5 came after revision 3");
}

#[test]
fn what_nobody_watched_is_judged_at_the_end() {
    let finished = |version| {
        let kv = KeyValue { key: bytes("k"), create_revision: 2, mod_revision: 2, version, ..Default::default() };
        let events = [Event { kv: Some(kv), ..Default::default() }].into();
        let mut checker = Watches::new(&CheckConfig::new(1));
        checker.take(0, &HistoryEvent::Revision { revision: 2, events }).expect("in order");
        checker.finish(0)
    };
    assert_eq!(finished(1), Ok(()));
    assert!(finished(7).is_err(), "a key begins with version 1");
}

#[test]
fn what_is_compacted_is_forgotten_though_nobody_watches() {
    let mut checker = Watches::new(&CheckConfig::new(1));
    let last = 22 * FORGET_EVERY;
    for revision in 2..=last {
        let (create_revision, mod_revision, version) = (2, revision, revision - 1);
        let kv = KeyValue { key: bytes("k"), create_revision, mod_revision, version, ..Default::default() };
        let events = [Event { kv: Some(kv), ..Default::default() }].into();
        checker.take(revision as Nanos, &HistoryEvent::Revision { revision, events }).expect("in order");
        if revision == last / 2 {
            checker.take(0, &HistoryEvent::Compaction { revision }).expect("it exists");
        }
    }
    let told = &checker.told;
    assert_eq!((told.store.floor(), told.head()), (last - WINDOW_REVISIONS, last));
    assert_eq!(told.told_at(told.store.floor()), None);
    assert!((told.store.floor() + 1..=last).all(|revision| told.told_at(revision) == Some(revision as Nanos)));
    assert_eq!(told.told_at.len() as Revision, WINDOW_REVISIONS);
}
