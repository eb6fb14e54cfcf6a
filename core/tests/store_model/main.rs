//! The store against a plain, slow model of etcd, over random sequences of operations.

mod generate;
mod model;
mod overlaps;
mod snapshots;

use bytes::Bytes;
use detcd_core::api::validate::{self, Limits};
use detcd_core::api::{ReadRequest, Request, Response, Status, read};
use detcd_core::config::Member;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::event::EventType;
use detcd_core::state_machine::{Asker, Command, StateMachine};
use detcd_core::types::{ClusterId, LeaseId, NodeId};
use proptest::prelude::*;

use generate::{Step, steps};
use model::Model;

const LIMITS: Limits = Limits { txn_ops_max: 128, request_bytes_max: 1 << 20 };

fn genesis() -> StateMachine {
    let member = Member { id: NodeId(1), name: "m".into(), peer_urls: vec!["http://m".into()] };
    StateMachine::genesis(ClusterId(1), &[member])
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// The entry for a write; None for what only reads, or what a proposer refuses.
fn entry(machine: &StateMachine, step: &Step) -> Option<Command<'static>> {
    let request = match step.clone() {
        Step::Put(put) => Request::Put(put),
        Step::Delete(delete) => Request::DeleteRange(delete),
        Step::Txn(txn) => Request::Txn(txn),
        Step::Compact(back) => {
            let revision = machine.view().revision() - back;
            Request::Compact(pb::CompactionRequest { revision, physical: false })
        }
        Step::Grant(id, ttl) => Request::LeaseGrant(pb::LeaseGrantRequest { id, ttl }),
        Step::Revoke(id) => Request::LeaseRevoke(pb::LeaseRevokeRequest { id }),
        Step::Empty => return Some(Command::Empty),
        Step::Read(_) | Step::ReadTxn(_) => return None,
    };
    validate::validate(&request, &LIMITS).ok()?;
    let proposal = validate::Proposal { id: 1, drawn_lease: LeaseId(99), lease_ttl_min_s: 2 };
    validate::propose(request, proposal).map(Command::from)
}

/// What the model answers, if it knows such entries.
fn run_model(model: &mut Model, command: Command<'_>) -> Option<Result<Response, Status>> {
    match command {
        Command::Request(request) => Some(run_request(model, *request)),
        Command::Empty | Command::Put(_) | Command::ConfChange(_) => None,
    }
}

fn run_request(model: &mut Model, request: pb::InternalRaftRequest) -> Result<Response, Status> {
    if let Some(put) = request.put {
        model.put(&put).map(Response::Put)
    } else if let Some(delete) = request.delete_range {
        Ok(Response::DeleteRange(model.delete_range(&delete)))
    } else if let Some(txn) = request.txn {
        model.txn(&txn).map(Response::Txn)
    } else if let Some(compaction) = request.compaction {
        model.compact(compaction.revision).map(Response::Compact)
    } else if let Some(grant) = request.lease_grant {
        model.grant(grant.id, grant.ttl).map(Response::LeaseGrant)
    } else {
        model.revoke(request.lease_revoke.unwrap().id).map(Response::LeaseRevoke)
    }
}

fn read(machine: &StateMachine, request: ReadRequest) -> Result<Response, Status> {
    read::execute(&machine.view(), &request, pb::ResponseHeader::default())
}

fn check_read(machine: &StateMachine, model: &Model, step: &Step) -> Result<(), TestCaseError> {
    match step {
        Step::Read(range) => {
            let found = read(machine, ReadRequest::Range(range.clone()));
            prop_assert_eq!(found, model.range(range).map(Response::Range));
        }
        Step::ReadTxn(txn) => {
            prop_assert!(validate::is_read_only(txn));
            let found = read(machine, ReadRequest::Txn(txn.clone()));
            prop_assert_eq!(found, model.clone().txn(txn).map(Response::Txn));
        }
        _ => {}
    }
    Ok(())
}

/// Everything that a watcher from `first` on could see, with previous values.
fn check_events(machine: &StateMachine, model: &Model, first: i64) -> Result<(), TestCaseError> {
    let view = machine.view();
    let compacted = model.compacted.unwrap_or(0);
    prop_assert_eq!(view.compacted(), compacted);
    let mut expected = model.events.iter().filter(|event| event.revision >= first.max(compacted));
    for event in view.events_since(first) {
        let kv = event.kv.clone().unwrap();
        let model_event = expected.next().expect("no event that never happened");
        prop_assert_eq!((kv.mod_revision, kv.key.to_vec()), (model_event.revision, model_event.key.clone()));
        match &model_event.kv {
            Some(model_kv) => prop_assert_eq!(&kv, model_kv),
            None => {
                prop_assert_eq!(event.r#type(), EventType::Delete);
                let bare = detcd_core::proto::mvccpb::KeyValue {
                    key: kv.key.clone(),
                    mod_revision: kv.mod_revision,
                    ..Default::default()
                };
                prop_assert_eq!(&kv, &bare);
            }
        }
        let before = view.value_before(&kv.key, kv.mod_revision);
        if kv.mod_revision > compacted {
            let expected = model.state_at(kv.mod_revision - 1).remove(kv.key.as_ref());
            prop_assert_eq!(before, expected);
        } else {
            prop_assert_eq!(before, None);
        }
    }
    prop_assert_eq!(expected.next(), None, "every event is there");
    Ok(())
}

fn check_leases(machine: &StateMachine, model: &Model) -> Result<(), TestCaseError> {
    let view = machine.view();
    let ids: Vec<i64> = view.leases().map(|LeaseId(id)| id).collect();
    prop_assert_eq!(ids, model.leases.keys().copied().collect::<Vec<_>>());
    for (id, ttl) in &model.leases {
        let lease = view.lease(LeaseId(*id)).unwrap();
        let keys: Vec<Vec<u8>> = lease.keys.iter().map(|key| key.to_vec()).collect();
        prop_assert_eq!(lease.ttl_s, *ttl);
        prop_assert_eq!(keys, model.keys_of(*id).into_iter().collect::<Vec<_>>());
    }
    Ok(())
}

/// Every key at every readable revision.
fn check_past(machine: &StateMachine, model: &Model) -> Result<(), TestCaseError> {
    let everything = Bytes::from_static(b"\0");
    for revision in model.compacted.unwrap_or(0).max(1)..=model.revision {
        let request =
            pb::RangeRequest { key: everything.clone(), range_end: everything.clone(), revision, ..Default::default() };
        let Ok(Response::Range(found)) = read(machine, ReadRequest::Range(request)) else { panic!("readable") };
        prop_assert_eq!(found.kvs, model.state_at(revision).into_values().collect::<Vec<_>>());
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn the_store_answers_like_the_model(steps in steps()) {
        let (mut machine, mut model) = (genesis(), Model::new());
        // On another member, where nobody waits for the answers.
        let mut silent = genesis();
        for step in &steps {
            check_read(&machine, &model, step)?;
            let Some(command) = entry(&machine, step) else { continue };
            let index = machine.applied().next();
            let found = machine.apply(index, &command).result;
            let unheard = silent.apply_for(index, &command, Asker::IsElsewhere);
            prop_assert_eq!(unheard.result.map(|_| ()), found.clone().map(|_| ()));
            prop_assert_eq!(silent.digest(), machine.digest());
            if let Some(expected) = run_model(&mut model, command) {
                prop_assert_eq!(found, expected, "{:?}", step);
            }
            prop_assert_eq!(machine.view().revision(), model.revision);
            prop_assert_eq!(machine.digest(), machine.recompute_digest());
            check_events(&machine, &model, model.revision - 3)?;
            check_leases(&machine, &model)?;
        }
        check_events(&machine, &model, 0)?;
        check_past(&machine, &model)?;
    }
}
