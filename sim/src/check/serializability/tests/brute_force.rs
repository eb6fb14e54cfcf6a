//! The same question answered by search: is there an order of the operations that explains everything?
//!
//! Shares nothing with the checker but the history. Only for puts, gets and deletes of single keys, and few of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::mvccpb::{Event, KeyValue};
use detcd_core::seed::draw_below;
use proptest::prelude::*;

use super::judge;
use crate::check::generated::{Shape, generate};
use crate::history::{HistoryEvent, OpId, Outcome};

/// A store as naive as it gets.
#[derive(Clone, Default)]
struct Naive {
    /// Value, create revision, mod revision, version.
    keys: BTreeMap<Bytes, KeyValue>,
    /// How many revisions were made.
    made: usize,
}

impl Naive {
    fn revision(&self) -> i64 {
        1 + i64::try_from(self.made).expect("small")
    }

    /// Executes; gives the response without its member, and the event if there is one.
    fn execute(&mut self, request: &Request) -> (Response, Option<Event>) {
        let header = |revision| Some(pb::ResponseHeader { revision, ..Default::default() });
        match request {
            Request::Put(put) => {
                self.made += 1;
                let revision = self.revision();
                let before = self.keys.get(&put.key).cloned();
                let mut kv = before.clone().unwrap_or(KeyValue {
                    key: put.key.clone(),
                    create_revision: revision,
                    ..Default::default()
                });
                kv.value = put.value.clone();
                kv.mod_revision = revision;
                kv.version += 1;
                self.keys.insert(put.key.clone(), kv.clone());
                let prev_kv = before.filter(|_| put.prev_kv);
                let response = pb::PutResponse { header: header(revision), prev_kv };
                (Response::Put(response), Some(Event { r#type: 0, kv: Some(kv), prev_kv: None }))
            }
            Request::DeleteRange(delete) => {
                let gone = self.keys.remove(&delete.key);
                self.made += usize::from(gone.is_some());
                let revision = self.revision();
                let event = gone.as_ref().map(|_| Event {
                    r#type: 1,
                    kv: Some(KeyValue { key: delete.key.clone(), mod_revision: revision, ..Default::default() }),
                    prev_kv: None,
                });
                let response = pb::DeleteRangeResponse {
                    header: header(revision),
                    deleted: i64::from(gone.is_some()),
                    prev_kvs: gone.into_iter().filter(|_| delete.prev_kv).collect(),
                };
                (Response::DeleteRange(response), event)
            }
            Request::Range(range) => {
                let kvs: Vec<KeyValue> = self.keys.get(&range.key).cloned().into_iter().collect();
                let response = pb::RangeResponse {
                    header: header(self.revision()),
                    count: i64::try_from(kvs.len()).expect("small"),
                    kvs,
                    more: false,
                };
                (Response::Range(response), None)
            }
            _ => panic!("not in a plain history"),
        }
    }
}

struct Op {
    request: Request,
    invoked: usize,
    returned: usize,
    outcome: Outcome,
}

fn without_member(outcome: &Outcome) -> Outcome {
    let mut outcome = outcome.clone();
    let Outcome::Ok(response) = &mut outcome else { return outcome };
    let header = match response {
        Response::Put(told) => &mut told.header,
        Response::DeleteRange(told) => &mut told.header,
        Response::Range(told) => &mut told.header,
        _ => panic!("not in a plain history"),
    };
    if let Some(header) = header {
        header.member_id = 0;
    }
    outcome
}

struct Search {
    ops: Vec<Op>,
    /// The witness's events, and where in the history they stand.
    witness: Vec<(usize, Vec<Event>)>,
}

impl Search {
    fn new(history: &[HistoryEvent]) -> Search {
        let mut ops: BTreeMap<OpId, Op> = BTreeMap::new();
        let mut witness = Vec::new();
        for (place, event) in history.iter().enumerate() {
            match event {
                HistoryEvent::Invoke { op, request, .. } => {
                    let op = ops.insert(
                        *op,
                        Op {
                            request: request.clone(),
                            invoked: place,
                            returned: usize::MAX,
                            outcome: Outcome::Unknown,
                        },
                    );
                    assert!(op.is_none());
                }
                HistoryEvent::Return { op, outcome } => {
                    let op = ops.get_mut(op).expect("invoked");
                    op.outcome = without_member(outcome);
                    if *outcome != Outcome::Unknown {
                        op.returned = place;
                    }
                }
                HistoryEvent::Revision { events, .. } => witness.push((place, events.to_vec())),
                _ => panic!("not in a plain history"),
            }
        }
        Search { ops: ops.into_values().collect(), witness }
    }

    fn possible(&self) -> bool {
        self.from(&Naive::default(), &mut vec![false; self.ops.len()])
    }

    fn from(&self, store: &Naive, done: &mut Vec<bool>) -> bool {
        let acknowledged = |op: &Op| matches!(op.outcome, Outcome::Ok(_));
        if store.made == self.witness.len()
            && self.ops.iter().zip(done.iter()).all(|(op, done)| *done || !acknowledged(op))
        {
            return true;
        }
        // Whoever happens now must have begun before everybody who has not happened yet returned.
        let first_return = self
            .ops
            .iter()
            .zip(done.iter())
            .filter(|(op, done)| !**done && acknowledged(op))
            .map(|(op, _)| op.returned)
            .min()
            .unwrap_or(usize::MAX);
        // The next revision was made before the witness told of it.
        let first_told = self.witness.get(store.made).map_or(usize::MAX, |(place, _)| *place);
        for place in 0..self.ops.len() {
            let op = &self.ops[place];
            if done[place] || op.invoked > first_return || op.invoked > first_told {
                continue;
            }
            if matches!(op.outcome, Outcome::Failed(_)) {
                continue;
            }
            let mut after = store.clone();
            let (response, event) = after.execute(&op.request);
            if let Outcome::Ok(told) = &op.outcome
                && *told != response
            {
                continue;
            }
            if let Some(event) = event {
                let told = self.witness.get(store.made);
                if told.is_none_or(|(_, events)| events.as_slice() != [event]) {
                    continue;
                }
            } else if op.outcome == Outcome::Unknown {
                continue; // It changes nothing and nobody saw it.
            }
            // Nobody is told of a revision before the witness is.
            let newest_told = after.made.checked_sub(1).map_or(0, |last| self.witness[last].0);
            if op.returned < newest_told {
                continue;
            }
            done[place] = true;
            if self.from(&after, done) {
                return true;
            }
            done[place] = false;
        }
        false
    }
}

/// Makes one small change that may or may not be legal.
fn disturb(history: &mut Vec<HistoryEvent>, seed: u64) {
    let draw = |what: u64, bound: usize| {
        usize::try_from(draw_below(seed, &[what], bound as u64)).expect("a place in the history")
    };
    let place = draw(1, history.len());
    let other = draw(2, history.len());
    match draw(3, 6) {
        0 => {
            let next = (place + 1) % history.len();
            history.swap(place, next);
        }
        1 => drop(history.remove(place)),
        2 => {
            if let HistoryEvent::Return { outcome, .. } = &mut history[place] {
                *outcome = Outcome::Unknown;
            }
        }
        3 => {
            if let HistoryEvent::Return { outcome, .. } = &mut history[place] {
                *outcome = Outcome::Failed(detcd_core::api::Status::NoLeader);
            }
        }
        4 => {
            if let HistoryEvent::Return { outcome: Outcome::Ok(Response::Range(told)), .. } = &mut history[place]
                && let Some(header) = &mut told.header
            {
                header.revision -= 1;
            }
        }
        _ => {
            let donor = history[other].clone();
            if let (
                HistoryEvent::Return { outcome: Outcome::Ok(to @ Response::Range(_)), .. },
                HistoryEvent::Return { outcome: Outcome::Ok(from @ Response::Range(_)), .. },
            ) = (&mut history[place], donor)
            {
                *to = from;
            }
        }
    }
}

/// Whether the changed history still is one: every operation is invoked once, before it returns, and returns once.
fn well_formed(history: &[HistoryEvent]) -> bool {
    let mut state: BTreeMap<OpId, bool> = BTreeMap::new();
    let mut next = 2;
    history.iter().all(|event| match event {
        HistoryEvent::Invoke { op, .. } => state.insert(*op, true).is_none(),
        HistoryEvent::Return { op, .. } => state.insert(*op, false) == Some(true),
        HistoryEvent::Revision { revision, .. } => {
            next += 1;
            *revision == next - 1
        }
        _ => true,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_checker_and_the_search_agree(seed: u64, operations in 1u64..9, changes in 0u64..3, clients in 1usize..5) {
        let shape = Shape { seed, clients, operations, unknown_percent: 15, plain: true, keys: 2 };
        let mut history = generate(shape);
        for change in 0..changes {
            if !history.is_empty() {
                disturb(&mut history, seed.wrapping_add(change));
            }
        }
        prop_assume!(well_formed(&history));
        let expected = Search::new(&history).possible();
        let judged = judge(&history);
        prop_assert_eq!(judged.is_ok(), expected, "{:?}\n{:#?}", judged, history);
        prop_assert!(changes > 0 || expected, "a history is right by construction");
    }
}
