//! No key may be written twice in one transaction (contract, section 1.1; zoo, row 27).

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::api::Status;
use crate::proto::etcdserverpb as pb;
use crate::proto::etcdserverpb::request_op::Request as Op;
use crate::state_machine::KeyRange;

/// What a list of operations may write, whatever branches its nested transactions take.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a Bytes>,
    deletes: Vec<KeyRange>,
}

/// Checks one branch: no key is put twice, and none is put that is deleted too, however deep. Of the two branches of
/// one nested transaction only one runs, so these may overlap; and deletions may overlap.
pub(super) fn check(operations: &[pb::RequestOp]) -> Result<(), Status> {
    writes(operations).map(|_| ())
}

fn writes(operations: &[pb::RequestOp]) -> Result<Writes<'_>, Status> {
    let mut all = Writes::default();
    for operation in operations {
        match &operation.request {
            Some(Op::RequestPut(put)) => {
                all.add(Writes { puts: BTreeSet::from([&put.key]), deletes: Vec::new() })?;
            }
            Some(Op::RequestDeleteRange(delete)) => {
                let range = KeyRange::new(&delete.key, &delete.range_end);
                all.add(Writes { puts: BTreeSet::new(), deletes: vec![range] })?;
            }
            Some(Op::RequestTxn(nested)) => {
                let mut either = writes(&nested.success)?;
                let failure = writes(&nested.failure)?;
                either.puts.extend(failure.puts);
                either.deletes.extend(failure.deletes);
                all.add(either)?;
            }
            Some(Op::RequestRange(_)) | None => {}
        }
    }
    Ok(all)
}

impl<'a> Writes<'a> {
    /// Adds what another operation of the same branch may write, unless the two collide.
    fn add(&mut self, other: Writes<'a>) -> Result<(), Status> {
        let twice = other.puts.iter().any(|key| self.puts.contains(key));
        if twice || other.puts_into(&self.deletes) || self.puts_into(&other.deletes) {
            return Err(Status::DuplicateKey);
        }
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
        Ok(())
    }

    fn puts_into(&self, deletes: &[KeyRange]) -> bool {
        deletes.iter().any(|range| {
            !range.is_empty()
                && self.puts.range::<Bytes, _>(range.start()..).next().is_some_and(|key| range.contains(key))
        })
    }
}
