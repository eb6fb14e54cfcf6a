use super::*;
use crate::check::observations::{answered, bytes, failed, invoke, put_answered, unknown};

fn judge(space_may_run_out: bool, events: &[HistoryEvent]) -> Result<(), String> {
    let mut alarms = Alarms::new(&CheckConfig { space_may_run_out, ..CheckConfig::new(3) });
    // Time goes on with every event.
    (1..).zip(events).try_for_each(|(at, event)| alarms.take(at, event))
}

fn ask(op: u64, action: AlarmAction, kind: pb::AlarmType) -> HistoryEvent {
    let action = action.into();
    invoke(op, 1, Request::Alarm(pb::AlarmRequest { action, member_id: 7, alarm: kind.into() }))
}

fn on(op: u64) -> HistoryEvent {
    ask(op, AlarmAction::Activate, pb::AlarmType::Nospace)
}

fn off(op: u64) -> HistoryEvent {
    ask(op, AlarmAction::Deactivate, pb::AlarmType::Nospace)
}

fn list(op: u64) -> HistoryEvent {
    ask(op, AlarmAction::Get, pb::AlarmType::None)
}

fn done(op: u64, kinds: &[pb::AlarmType]) -> HistoryEvent {
    let alarms = kinds.iter().map(|kind| pb::AlarmMember { member_id: 7, alarm: (*kind).into() }).collect();
    answered(op, Response::Alarm(pb::AlarmResponse { header: None, alarms }))
}

fn put(op: u64) -> HistoryEvent {
    invoke(op, 2, Request::Put(pb::PutRequest { key: bytes("k"), ..Default::default() }))
}

fn delete(op: u64) -> HistoryEvent {
    invoke(op, 2, Request::DeleteRange(pb::DeleteRangeRequest { key: bytes("k"), ..Default::default() }))
}

fn deleted(op: u64) -> HistoryEvent {
    answered(op, Response::DeleteRange(Default::default()))
}

const SPACE: &[pb::AlarmType] = &[pb::AlarmType::Nospace];
const NO_SPACE: Status = Status::NoSpace;

#[test]
fn a_put_does_not_succeed_while_an_alarm_is_certainly_on() {
    let begun = [on(1), done(1, SPACE)];
    let wrong = "a write succeeded although NOSPACE of member 7 was on all the while";
    for (more, verdict) in [
        (vec![put(2), put_answered(2, 5)], Err(wrong.to_string())),
        (vec![put(2), failed(2, NO_SPACE)], Ok(())),
        (vec![delete(2), deleted(2)], Ok(())),
        (vec![off(3), put(2), put_answered(2, 5)], Ok(())),
        (vec![put(2), off(3), put_answered(2, 5)], Ok(())),
        (vec![off(3), unknown(3), put(2), put_answered(2, 5)], Ok(())),
        (vec![off(3), done(3, SPACE), on(4), put(2), put_answered(2, 5)], Ok(())),
        (vec![off(3), done(3, SPACE), on(4), done(4, SPACE), put(2), put_answered(2, 5)], Err(wrong.to_string())),
        // Nobody knows which of the two came first.
        (vec![off(3), on(4), done(3, SPACE), done(4, SPACE), put(2), put_answered(2, 5)], Ok(())),
        (vec![off(3), on(4), done(3, SPACE), done(4, SPACE), list(5), done(5, SPACE), put(2), put_answered(2, 5)], {
            Err(wrong.to_string())
        }),
    ] {
        let events: Vec<_> = begun.iter().chain(&more).cloned().collect();
        assert_eq!(judge(false, &events), verdict, "{more:?}");
    }
    let overlaps = [on(1), put(2), done(1, SPACE), put_answered(2, 5)];
    assert_eq!(judge(false, &overlaps), Ok(()), "it may have been first");
}

#[test]
fn nothing_is_refused_without_a_reason() {
    let wrong = Err("\"etcdserver: mvcc: database space exceeded\", but no alarm forbade the operation".to_string());
    assert_eq!(judge(false, &[put(2), failed(2, NO_SPACE)]), wrong);
    assert_eq!(judge(true, &[put(2), failed(2, NO_SPACE)]), Ok(()), "a quota may be reached");
    assert_eq!(judge(false, &[on(1), put(2), failed(2, NO_SPACE)]), Ok(()));
    assert_eq!(judge(false, &[on(1), unknown(1), put(2), failed(2, NO_SPACE)]), Ok(()));
    assert_eq!(judge(false, &[on(1), done(1, SPACE), delete(2), failed(2, NO_SPACE)]), wrong, "it frees");
    let over = [on(1), done(1, SPACE), off(3), done(3, SPACE), put(2), failed(2, NO_SPACE)];
    assert_eq!(judge(false, &over), wrong);
    assert!(judge(false, &[on(1), done(1, SPACE), put(2), failed(2, Status::Corrupt)]).is_err(), "another kind");
}

#[test]
fn a_corrupt_cluster_takes_no_deletion_either() {
    let corrupt = &[pb::AlarmType::Corrupt];
    let begun = [ask(1, AlarmAction::Activate, pb::AlarmType::Corrupt), done(1, corrupt), delete(2)];
    let with = |event| [&begun[..], &[event]].concat();
    assert!(judge(false, &with(deleted(2))).is_err());
    assert_eq!(judge(false, &with(failed(2, Status::Corrupt))), Ok(()));
}

#[test]
fn lists_have_what_is_on_and_nothing_else() {
    let begun = [on(1), done(1, SPACE), list(2)];
    let with = |event| [&begun[..], &[event]].concat();
    assert_eq!(judge(false, &with(done(2, SPACE))), Ok(()));
    let lacks = "a list lacks NOSPACE of member 7, which was on all the while";
    assert_eq!(judge(false, &with(done(2, &[]))), Err(lacks.into()));
    let has = "a list has NOSPACE of member 7, which was off all the while";
    assert_eq!(judge(false, &[list(1), done(1, SPACE)]), Err(has.into()));
    assert_eq!(judge(true, &[list(1), done(1, SPACE)]), Ok(()), "members whose quota is reached raise it themselves");
    let again = [list(1), done(1, SPACE), list(2), done(2, &[])];
    assert!(judge(true, &again).is_err(), "and nobody put it off");
    let other = [ask(1, AlarmAction::Get, pb::AlarmType::Corrupt), done(1, SPACE)];
    assert!(judge(true, &other).is_err());
}
