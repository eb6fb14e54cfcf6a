//! The same question answered by search: is there an order of the operations that explains everything?
//!
//! Shares nothing with the checker but the history. Only for few operations.

use std::collections::{BTreeMap, BTreeSet};

use detcd_core::api::{Request, Response};
use detcd_core::proto::mvccpb::Event;
use detcd_core::seed::draw_below;
use proptest::prelude::*;

use super::judge;
use super::naive::{Answer, Naive};
use crate::check::generated::{Kinds, Shape, generate};
use crate::history::{HistoryEvent, OpId, Outcome};

struct Op {
    id: OpId,
    request: Request,
    invoked: usize,
    returned: usize,
    outcome: Outcome,
}

impl Op {
    /// Whether it has to happen somewhere.
    fn must_happen(&self) -> bool {
        match &self.outcome {
            Outcome::Ok(_) => true,
            // Errors of availability claim only that nothing was done.
            Outcome::Failed(status) => !matches!(status.code(), detcd_core::api::Code::Unavailable),
            Outcome::Unknown => false,
        }
    }

    fn fits(&self, answer: &Answer) -> bool {
        match (&self.outcome, answer) {
            (Outcome::Ok(told), Ok(response)) => without_members(told.clone()) == without_members(response.clone()),
            (Outcome::Failed(status), Err(refusals)) => refusals.contains(status),
            (Outcome::Unknown, Ok(_)) => true,
            _ => false,
        }
    }

    /// Whether a member that lags behind may answer it.
    fn may_be_stale(&self) -> bool {
        use detcd_core::proto::etcdserverpb::request_op::Request as Inner;
        match &self.request {
            Request::Range(range) => range.serializable,
            Request::Txn(txn) => txn.success.iter().chain(&txn.failure).all(|op| match &op.request {
                Some(Inner::RequestRange(range)) => range.serializable,
                _ => false,
            }),
            _ => false,
        }
    }
}

/// Nested headers carry no member, and those of nested transactions are not looked at.
fn without_members(mut response: Response) -> Response {
    if let Some(header) = response.header_mut() {
        header.member_id = 0;
    }
    if let Response::Txn(txn) = &mut response {
        txn.responses.iter_mut().for_each(tidy);
    }
    response
}

fn tidy(op: &mut detcd_core::proto::etcdserverpb::ResponseOp) {
    use detcd_core::proto::etcdserverpb::response_op::Response as Inner;
    if let Some(Inner::ResponseTxn(nested)) = &mut op.response {
        nested.header = None;
        nested.responses.iter_mut().for_each(tidy);
    }
}

struct Search {
    ops: Vec<Op>,
    /// The witness's events, and where in the history they stand.
    witness: Vec<(usize, Vec<Event>)>,
    /// Revisions that need nobody who made them.
    anonymous: BTreeSet<i64>,
    /// Whether leases may end by themselves.
    leases_end: bool,
    /// Whether it counts when the witness told.
    timed: bool,
}

impl Search {
    fn new(history: &[HistoryEvent]) -> Search {
        let mut ops: BTreeMap<OpId, Op> = BTreeMap::new();
        let mut witness = Vec::new();
        for (place, event) in history.iter().enumerate() {
            match event {
                HistoryEvent::Invoke { op: id, request, .. } => {
                    let (request, returned, outcome) = (request.clone(), usize::MAX, Outcome::Unknown);
                    let op = ops.insert(*id, Op { id: *id, request, invoked: place, returned, outcome });
                    assert!(op.is_none());
                }
                HistoryEvent::Return { op, outcome } => {
                    let op = ops.get_mut(op).expect("invoked");
                    op.outcome = outcome.clone();
                    if *outcome != Outcome::Unknown {
                        op.returned = place;
                    }
                }
                HistoryEvent::Revision { events, .. } => witness.push((place, events.to_vec())),
                _ => panic!("not in a generated history"),
            }
        }
        Search { ops: ops.into_values().collect(), witness, anonymous: BTreeSet::new(), leases_end: false, timed: true }
    }

    /// The same question about these operations only, while nobody need have made the revisions that are not `claimed`.
    fn about(history: &[HistoryEvent], ops: &BTreeSet<OpId>, claimed: &BTreeSet<i64>, timed: bool) -> Search {
        let mut search = Search { timed, ..Search::new(history) };
        search.ops.retain(|op| ops.contains(&op.id));
        let revisions = 2..2 + i64::try_from(search.witness.len()).expect("small");
        search.anonymous = revisions.filter(|revision| !claimed.contains(revision)).collect();
        search
    }

    fn possible(&self) -> bool {
        self.from(&Naive::default(), &mut vec![false; self.ops.len()])
    }

    fn told(&self, store: &Naive) -> Option<&(usize, Vec<Event>)> {
        self.witness.get(usize::try_from(store.revision() - 1).expect("small"))
    }

    fn from(&self, store: &Naive, done: &mut Vec<bool>) -> bool {
        let open = |place: &usize| self.ops[*place].must_happen() && !done[*place];
        if self.told(store).is_none() && !(0..self.ops.len()).any(|place| open(&place)) {
            return true;
        }
        // Whoever happens now must have begun before everybody who has not happened yet returned.
        let waiting = (0..self.ops.len()).filter(open);
        let first_return = waiting.map(|place| self.ops[place].returned).min().unwrap_or(usize::MAX);
        (0..self.ops.len()).any(|place| !done[place] && self.happens(place, first_return, store, done))
            || self.by_itself(store, done)
    }

    /// Lets an operation happen next, and everything else after it.
    fn happens(&self, place: usize, first_return: usize, store: &Naive, done: &mut Vec<bool>) -> bool {
        let op = &self.ops[place];
        // The next revision was made before the witness told of it.
        let next_told = self.told(store).filter(|_| self.timed).map_or(usize::MAX, |(told, _)| *told);
        if !(op.must_happen() || op.outcome == Outcome::Unknown) || op.invoked > first_return {
            return false;
        }
        let mut after = store.clone();
        let fits = if op.may_be_stale() {
            let newest = usize::try_from(store.revision()).expect("small");
            (1..=newest).any(|revision| op.fits(&store.behind(revision).execute(&op.request).0))
        } else {
            let (answer, events) = after.execute(&op.request);
            let as_told = events.is_empty() || self.told(store).is_some_and(|(_, told)| *told == events);
            op.invoked <= next_told && as_told && op.fits(&answer)
        };
        // An operation of unknown outcome that changes nothing need not have happened.
        let idle = op.outcome == Outcome::Unknown && after.revision() == store.revision() && !self.leases_end;
        if !fits || idle || op.returned < self.newest_told(&after) {
            return false;
        }
        done[place] = true;
        let possible = self.from(&after, done);
        done[place] = false;
        possible
    }

    /// Nobody is told of a revision before the witness is.
    fn newest_told(&self, store: &Naive) -> usize {
        let revisions = usize::try_from(store.revision() - 1).expect("small");
        revisions.checked_sub(1).filter(|_| self.timed).map_or(0, |last| self.witness[last].0)
    }

    /// Lets something happen that no operation asked for.
    fn by_itself(&self, store: &Naive, done: &mut Vec<bool>) -> bool {
        if let Some((_, told)) = self.told(store)
            && self.anonymous.contains(&(store.revision() + 1))
        {
            let mut after = store.clone();
            after.let_happen(told);
            if self.from(&after, done) {
                return true;
            }
        }
        let leases = if self.leases_end { store.leases.clone() } else { BTreeSet::new() };
        leases.into_iter().any(|lease| {
            let mut after = store.clone();
            let events = after.end_lease(lease);
            let as_told = events.is_empty() || self.told(store).is_some_and(|(_, told)| *told == events);
            as_told && self.from(&after, done)
        })
    }
}

/// Makes one small change that may or may not be legal.
fn disturb(history: &mut Vec<HistoryEvent>, seed: u64) {
    let draw = |what: u64, bound: usize| {
        usize::try_from(draw_below(seed, &[what], bound as u64)).expect("a place in the history")
    };
    let place = draw(1, history.len());
    let other = draw(2, history.len());
    match draw(3, 8) {
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
            if let HistoryEvent::Return { outcome: Outcome::Ok(told), .. } = &mut history[place]
                && let Some(header) = told.header_mut()
            {
                header.revision += if draw(4, 4) == 0 { 1 } else { -1 };
            }
        }
        5 => {
            if let HistoryEvent::Revision { events, .. } = &mut history[place]
                && events.len() > 1
            {
                *events = events.iter().skip(1).cloned().collect();
            }
        }
        _ => {
            let donor = history[other].clone();
            if let (
                HistoryEvent::Return { outcome: Outcome::Ok(to), .. },
                HistoryEvent::Return { outcome: Outcome::Ok(from), .. },
            ) = (&mut history[place], donor)
                && std::mem::discriminant(to) == std::mem::discriminant(&from)
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

/// The numbers that follow `word` in a text.
fn numbers_after(text: &str, word: &str) -> BTreeSet<u64> {
    let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    text.split(word).skip(1).filter_map(number).collect()
}

/// The operations that a verdict names cannot be ordered, and could be with any of them less; how many there are.
fn names_the_smallest_set(history: &[HistoryEvent], verdict: &str) -> usize {
    let ops: BTreeSet<OpId> = numbers_after(verdict, "operation ").into_iter().map(OpId).collect();
    if ops.is_empty() && !verdict.contains("belongs to no operation") {
        return 0; // What the witness told is no etcd's, whoever asked for it.
    }
    let mut claimed = BTreeSet::new();
    if verdict.contains("belongs to no operation") {
        claimed = numbers_after(verdict, "revision ");
        assert_eq!(claimed.len(), ops.len() + 1, "one revision more than operations: {verdict}");
    }
    let claimed: BTreeSet<i64> = claimed.into_iter().map(|revision| i64::try_from(revision).expect("small")).collect();
    // Where two operations contradict each other, what the witness told between them is no part of it.
    let timed = !verdict.contains("had been answered with it");
    let possible =
        |ops: &BTreeSet<OpId>, claimed: &BTreeSet<i64>| Search::about(history, ops, claimed, timed).possible();
    assert!(!possible(&ops, &claimed), "these can be ordered: {verdict}\n{history:#?}");
    let without = |op: &OpId| ops.iter().filter(|other| *other != op).copied().collect::<BTreeSet<OpId>>();
    for op in ops.iter().filter(|_| claimed.is_empty()) {
        assert!(possible(&without(op), &claimed), "{} is not needed: {verdict}\n{history:#?}", op.0);
    }
    for revision in &claimed {
        let fewer = claimed.iter().filter(|other| *other != revision).copied().collect();
        assert!(possible(&ops, &fewer), "revision {revision} is not needed: {verdict}\n{history:#?}");
    }
    ops.len()
}

fn disturbed(shape: Shape, changes: u64) -> Option<Vec<HistoryEvent>> {
    let mut history = generate(shape);
    for change in 0..changes {
        if !history.is_empty() {
            disturb(&mut history, shape.seed.wrapping_add(change));
        }
    }
    well_formed(&history).then_some(history)
}

/// The checker and the search on thousands of histories.
fn agree(kinds: Kinds, cases: u64, operations_max: u64) {
    let (mut right, mut wrong, mut named) = (0, 0, [0; 4]);
    for seed in 0..cases {
        let draw = |what: u64, bound: u64| draw_below(seed, &[77, what], bound);
        let clients = 1 + usize::try_from(draw(0, 4)).expect("small");
        let operations = 1 + draw(1, operations_max);
        let shape = Shape { seed, clients, operations, unknown_percent: 15, kinds, keys: 2 };
        let changes = draw(2, 5);
        let Some(history) = disturbed(shape, changes) else { continue };
        let expected = Search::new(&history).possible();
        let judged = judge(&history);
        assert_eq!(judged.is_ok(), expected, "seed {seed}: {judged:?}\n{history:#?}");
        assert!(changes > 0 || expected, "a history is right by construction");
        match judged {
            Ok(()) => right += 1,
            Err(verdict) => {
                named[names_the_smallest_set(&history, &verdict).min(3)] += 1;
                wrong += 1;
            }
        }
    }
    assert!(right > 5_000 && wrong > 1_500, "{right} right and {wrong} wrong histories");
    assert!(
        named.iter().take(3).all(|count| *count > 10),
        "so many verdicts named 0, 1, 2, more operations: {named:?}"
    );
}

#[test]
fn the_checker_and_the_search_agree_on_puts_gets_and_deletions() {
    agree(Kinds::Plain, 16_000, 8);
}

#[test]
fn the_checker_and_the_search_agree_on_transactions_ranges_and_reads_of_the_past() {
    agree(Kinds::Keys, 16_000, 7);
}

/// With leases that end whenever they like, and compactions, the checker knows less than the search: it has to accept
/// whatever is possible, and to refuse most of what is not.
#[test]
fn the_checker_accepts_whatever_is_possible_with_leases_and_compactions() {
    let (mut right, mut refused, mut missed) = (0, 0, 0);
    for seed in 0..12_000 {
        let draw = |what: u64, bound: u64| draw_below(seed, &[78, what], bound);
        let clients = 1 + usize::try_from(draw(0, 3)).expect("small");
        let shape = Shape {
            seed,
            clients,
            operations: 1 + draw(1, 7),
            unknown_percent: 10,
            kinds: Kinds::KeysAndLeases,
            keys: 2,
        };
        let changes = draw(2, 6);
        let Some(history) = disturbed(shape, changes) else { continue };
        let possible = Search { leases_end: true, ..Search::new(&history) }.possible();
        assert!(changes > 0 || possible, "seed {seed}: a history is right by construction\n{history:#?}");
        match (judge(&history), possible) {
            (Ok(()), true) => right += 1,
            (Ok(()), false) => missed += 1,
            (Err(_), false) => refused += 1,
            (Err(verdict), true) => panic!("seed {seed}: {verdict}\n{history:#?}"),
        }
    }
    assert!(right > 1_500 && refused > 1_000, "{right} right and {refused} refused histories");
    assert!(missed * 10 < refused, "{missed} wrong histories were accepted, and {refused} refused");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_checker_and_the_search_agree_on_seeds_that_nobody_has_tried(
        seed: u64, operations in 1u64..8, changes in 0u64..3, clients in 1usize..5, plain: bool,
    ) {
        let kinds = if plain { Kinds::Plain } else { Kinds::Keys };
        let history = disturbed(Shape { seed, clients, operations, unknown_percent: 15, kinds, keys: 2 }, changes);
        prop_assume!(history.is_some());
        let history = history.expect("assumed");
        let expected = Search::new(&history).possible();
        let judged = judge(&history);
        prop_assert_eq!(judged.is_ok(), expected, "{:?}\n{:#?}", judged, history);
    }
}
