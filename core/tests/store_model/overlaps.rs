//! The rule against writing a key twice, against trying every way that a transaction could go (contract, section 1.1).

use std::collections::BTreeMap;

use bytes::Bytes;
use detcd_core::api::validate::validate;
use detcd_core::api::{Request, Status};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::request_op::Request as Op;
use proptest::prelude::*;

use crate::generate::txn;
use crate::model::in_range;
use crate::{LIMITS, cases};

/// What may happen in one run of some operations: how often each key is put, and what is deleted.
type Run = (BTreeMap<Bytes, usize>, Vec<pb::DeleteRangeRequest>);

/// All runs of some operations, whatever branches the nested transactions take.
fn runs(operations: &[pb::RequestOp]) -> Vec<Run> {
    let mut all: Vec<Run> = vec![Run::default()];
    for operation in operations {
        let next: Vec<Run> = match operation.request.as_ref().unwrap() {
            Op::RequestPut(put) => vec![(BTreeMap::from([(put.key.clone(), 1)]), vec![])],
            Op::RequestDeleteRange(delete) => vec![(BTreeMap::new(), vec![delete.clone()])],
            Op::RequestTxn(nested) => runs(&nested.success).into_iter().chain(runs(&nested.failure)).collect(),
            Op::RequestRange(_) => continue,
        };
        all = all.iter().flat_map(|run| next.iter().map(move |more| join(run, more))).collect();
    }
    all
}

fn join(a: &Run, b: &Run) -> Run {
    let mut joined = a.clone();
    for (key, times) in &b.0 {
        *joined.0.entry(key.clone()).or_default() += times;
    }
    joined.1.extend(b.1.iter().cloned());
    joined
}

fn writes_a_key_twice(operations: &[pb::RequestOp]) -> bool {
    runs(operations).iter().any(|(puts, deletes)| {
        puts.iter().any(|(key, times)| {
            *times > 1 || deletes.iter().any(|delete| in_range(key, &delete.key, &delete.range_end))
        })
    })
}

proptest! {
    #![proptest_config(cases(1500))]

    #[test]
    fn a_txn_is_refused_exactly_if_some_run_of_it_could_write_a_key_twice(txn in txn()) {
        let twice = writes_a_key_twice(&txn.success) || writes_a_key_twice(&txn.failure);
        let expected = if twice { Err(Status::DuplicateKey) } else { Ok(()) };
        prop_assert_eq!(validate(&Request::Txn(txn), &LIMITS), expected);
    }
}
