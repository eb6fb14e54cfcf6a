//! Transactions that write a key twice, or put without space, without etcd noticing.

use bytes::Bytes;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::compare::{CompareResult, CompareTarget};
use detcd_core::proto::etcdserverpb::request_op::Request as Op;

/// What is held against a transaction.
#[derive(Clone, Copy, PartialEq)]
enum Rules {
    /// Every key that may be written twice (contract, section 1.1).
    Contract,
    /// As etcd, which takes the end `\0` for a key, and looks for deletions only in the operations around a nested
    /// transaction and in the nested ones before it.
    Etcd,
}

/// Whether the contract refuses a transaction for writing a key twice, and etcd does not.
pub(super) fn only_we_refuse(txn: &pb::TxnRequest) -> bool {
    let refused = |rules| [&txn.success, &txn.failure].into_iter().any(|branch| writes(branch, rules).is_none());
    refused(Rules::Contract) && !refused(Rules::Etcd)
}

/// Whether a transaction has puts, but all of them in nested ones.
pub(super) fn puts_only_nested(txn: &pb::TxnRequest) -> bool {
    let mut operations = operations(txn);
    let puts = |operation: &Op| matches!(operation, Op::RequestPut(_));
    !operations.clone().any(puts)
        && operations.any(|operation| matches!(operation, Op::RequestTxn(nested) if puts_somewhere(nested)))
}

fn puts_somewhere(txn: &pb::TxnRequest) -> bool {
    operations(txn).any(|operation| match operation {
        Op::RequestPut(_) => true,
        Op::RequestTxn(nested) => puts_somewhere(nested),
        Op::RequestRange(_) | Op::RequestDeleteRange(_) => false,
    })
}

fn operations(txn: &pb::TxnRequest) -> impl Iterator<Item = &Op> + Clone {
    txn.success.iter().chain(&txn.failure).filter_map(|operation| operation.request.as_ref())
}

/// A transaction with this one in a branch that is not taken: it is checked like this one, and writes nothing.
pub(super) fn unexecuted(txn: &pb::TxnRequest) -> pb::TxnRequest {
    // The key that nobody writes has no version.
    let compare = pb::Compare {
        result: CompareResult::Greater as i32,
        target: CompareTarget::Version as i32,
        key: Bytes::from_static(b"\0nobody's"),
        ..Default::default()
    };
    let nested = pb::RequestOp { request: Some(Op::RequestTxn(txn.clone())) };
    pb::TxnRequest { compare: vec![compare], success: vec![nested], failure: Vec::new() }
}

#[derive(Default)]
struct Writes<'a> {
    puts: Vec<&'a Bytes>,
    deletes: Vec<(&'a Bytes, &'a Bytes)>,
}

/// What a branch may write, or nothing if it may write a key twice.
fn writes(operations: &[pb::RequestOp], rules: Rules) -> Option<Writes<'_>> {
    let operations = || operations.iter().filter_map(|operation| operation.request.as_ref());
    let mut all = Writes::default();
    for operation in operations() {
        if let Op::RequestDeleteRange(delete) = operation {
            all.deletes.push((&delete.key, &delete.range_end));
        }
    }
    for operation in operations() {
        if let Op::RequestTxn(nested) = operation {
            let mut either = writes(&nested.success, rules)?;
            let failure = writes(&nested.failure, rules)?;
            either.puts.extend(failure.puts);
            either.deletes.extend(failure.deletes);
            all.add(either, rules)?;
        }
    }
    for operation in operations() {
        if let Op::RequestPut(put) = operation {
            all.add(Writes { puts: vec![&put.key], deletes: Vec::new() }, rules)?;
        }
    }
    Some(all)
}

impl<'a> Writes<'a> {
    fn add(&mut self, other: Writes<'a>, rules: Rules) -> Option<()> {
        let deleted = |puts: &[&Bytes], deletes: &[(&Bytes, &Bytes)]| {
            puts.iter().any(|key| deletes.iter().any(|range| contains(*range, key, rules)))
        };
        let twice = other.puts.iter().any(|key| self.puts.contains(key));
        let behind = rules == Rules::Contract && deleted(&self.puts, &other.deletes);
        if twice || behind || deleted(&other.puts, &self.deletes) {
            return None;
        }
        self.puts.extend(other.puts);
        self.deletes.extend(other.deletes);
        Some(())
    }
}

fn contains((start, end): (&Bytes, &Bytes), key: &Bytes, rules: Rules) -> bool {
    if end.is_empty() {
        return key == start;
    }
    let is_open = rules == Rules::Contract && end.as_ref() == [0];
    key >= start && (is_open || key < end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(key: &'static str) -> pb::RequestOp {
        let put = pb::PutRequest { key: Bytes::from_static(key.as_bytes()), ..Default::default() };
        pb::RequestOp { request: Some(Op::RequestPut(put)) }
    }

    fn delete(key: &'static str, range_end: &'static str) -> pb::RequestOp {
        let (key, range_end) = (Bytes::from_static(key.as_bytes()), Bytes::from_static(range_end.as_bytes()));
        let delete = pb::DeleteRangeRequest { key, range_end, ..Default::default() };
        pb::RequestOp { request: Some(Op::RequestDeleteRange(delete)) }
    }

    fn nested(success: Vec<pb::RequestOp>) -> pb::RequestOp {
        let txn = pb::TxnRequest { success, ..Default::default() };
        pb::RequestOp { request: Some(Op::RequestTxn(txn)) }
    }

    fn is_known(success: Vec<pb::RequestOp>) -> bool {
        only_we_refuse(&pb::TxnRequest { success, ..Default::default() })
    }

    #[test]
    fn only_the_two_gaps_of_etcd_are_known() {
        assert!(is_known(vec![delete("a", "\0"), put("z")]));
        assert!(is_known(vec![nested(vec![put("a")]), nested(vec![delete("a", "")])]));
        // Refused by both.
        assert!(!is_known(vec![delete("a", "z"), put("b")]));
        assert!(!is_known(vec![put("a"), nested(vec![delete("a", "")])]));
        assert!(!is_known(vec![nested(vec![delete("a", "")]), nested(vec![put("a")])]));
        assert!(!is_known(vec![delete("a", "\0"), put("z"), put("z")]));
        // Taken by both.
        assert!(!is_known(vec![delete("b", "\0"), put("a"), delete("b", "b"), put("aa")]));
    }
}
