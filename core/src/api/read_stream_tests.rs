use super::*;
use crate::proto::mvccpb::KeyValue;
use crate::state_machine::{Command, StateMachine};

/// A store with so many keys of ten bytes each, the last of them overwritten.
fn view(keys: usize) -> StoreView {
    let mut machine = StateMachine::default();
    let mut put = |key: usize, value: &'static str| {
        let put = pb::PutRequest { key: format!("k{key:04}").into(), value: value.into(), ..Default::default() };
        let entry = pb::InternalRaftRequest { put: Some(put), ..Default::default() };
        machine.apply(machine.applied().next(), &Command::from(entry)).result.expect("a put");
    };
    (0..keys).for_each(|key| put(key, "12345"));
    put(keys - 1, "again");
    machine.view()
}

fn all(limit: i64) -> pb::RangeRequest {
    pb::RangeRequest { key: Bytes::from_static(b"k"), range_end: Bytes::from_static(b"l"), limit, ..Default::default() }
}

fn chunks(view: &StoreView, request: &pb::RangeRequest, chunk_bytes: usize) -> Vec<pb::RangeResponse> {
    let header = pb::ResponseHeader { member_id: 7, ..Default::default() };
    let mut chunks = RangeChunks::new(view.clone(), request.clone(), header, chunk_bytes);
    std::iter::from_fn(|| chunks.next_chunk()).map(|chunk| chunk.expect("it can be read")).collect()
}

/// The same as one response.
fn whole(view: &StoreView, request: &pb::RangeRequest) -> pb::RangeResponse {
    let header = pb::ResponseHeader { member_id: 7, ..Default::default() };
    match execute(view, &ReadRequest::Range(request.clone()), header) {
        Ok(Response::Range(response)) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn chunks_together_are_the_range() {
    let view = view(100);
    let requests = [
        all(0),
        all(-1),
        all(1),
        all(10),
        all(99),
        all(100),
        all(101),
        pb::RangeRequest { keys_only: true, ..all(35) },
        pb::RangeRequest { revision: 50, ..all(0) },
        pb::RangeRequest { count_only: true, ..all(0) },
        pb::RangeRequest { key: Bytes::from_static(b"k0003"), range_end: Bytes::new(), ..all(0) },
        pb::RangeRequest { key: Bytes::from_static(b"nothing"), range_end: Bytes::new(), ..all(0) },
        pb::RangeRequest { range_end: Bytes::from_static(b"a"), ..all(0) },
    ];
    for request in requests {
        for chunk_bytes in [1, 100, 1_000, 1 << 20] {
            let mut chunks = chunks(&view, &request, chunk_bytes);
            let last = chunks.pop().expect("at least one");
            let is_bare = |chunk: &pb::RangeResponse| chunk.header.is_none() && !chunk.more && chunk.count == 0;
            assert!(chunks.iter().all(is_bare), "{request:?}");
            let kvs: Vec<KeyValue> = chunks.into_iter().flat_map(|chunk| chunk.kvs).chain(last.kvs.clone()).collect();
            assert_eq!(pb::RangeResponse { kvs, ..last }, whole(&view, &request), "{request:?}");
        }
    }
}

#[test]
fn chunks_grow_and_shrink_towards_their_size() {
    let view = view(100);
    let lens =
        |chunk_bytes| chunks(&view, &all(0), chunk_bytes).iter().map(|chunk| chunk.kvs.len()).collect::<Vec<_>>();
    assert_eq!(lens(1 << 20), [10, 20, 40, 30]);
    let small = lens(40);
    assert_eq!((small[0], small[1], small[2]), (10, 5, 2));
    assert!(small[2..].iter().all(|len| *len <= 2), "{small:?}");
}

#[test]
fn a_revision_that_cannot_be_read_is_told_once() {
    let view = view(3);
    let request = pb::RangeRequest { revision: 50, ..all(0) };
    let mut chunks = RangeChunks::new(view, request, pb::ResponseHeader::default(), 100);
    assert_eq!(chunks.next_chunk(), Some(Err(Status::FutureRevision)));
    assert_eq!(chunks.next_chunk(), None);
}
