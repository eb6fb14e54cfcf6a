//! What entries mean.

use prost::Message;

use super::super::{MemberAction, MemberAttributes, MemberChange, bootstrap_entries};
use super::*;
use crate::log::EntryKind;
use crate::proto::raftpb;
use crate::types::LogIndex;

/// Zoo, row 15.
#[test]
fn every_kind_of_entry_advances_applied_and_changes_the_digest() {
    let mut machine = Machine::new();
    let request = |request| Command::from(request);
    let commands = [
        Command::Empty,
        Command::ConfChange(MemberChange { id: 0, node_id: NodeId(9), action: MemberAction::Remove }),
        request(pb::InternalRaftRequest::default()),
        request(pb::InternalRaftRequest { put: Some(put("a", "1")), ..Default::default() }),
        request(pb::InternalRaftRequest { delete_range: Some(delete("x", "")), ..Default::default() }),
        request(pb::InternalRaftRequest { txn: Some(pb::TxnRequest::default()), ..Default::default() }),
        request(pb::InternalRaftRequest {
            compaction: Some(pb::CompactionRequest { revision: 99, physical: false }),
            ..Default::default()
        }),
        request(pb::InternalRaftRequest { lease_revoke: Some(pb::LeaseRevokeRequest { id: 1 }), ..Default::default() }),
    ];
    let mut digest = machine.machine.digest();
    for command in commands {
        machine.apply(command.clone());
        assert_ne!(machine.machine.digest(), digest, "{command:?}");
        digest = machine.machine.digest();
    }
    assert_eq!(machine.machine.applied(), LogIndex(11));
}

#[test]
#[should_panic(expected = "entries are applied in order")]
fn an_entry_applied_out_of_order_is_our_mistake() {
    Machine::new().machine.apply(LogIndex(5), &Command::Empty);
}

#[test]
fn a_put_read_from_its_entry_is_applied_as_it_is_as_a_request() {
    let (mut by_entry, mut by_request) = (Machine::new(), Machine::new());
    by_entry.grant(7, 60).unwrap();
    by_request.grant(7, 60).unwrap();
    let first = pb::PutRequest { lease: 7, ..put("k", "1") };
    let kept_value = pb::PutRequest { ignore_value: true, prev_kv: true, ..put("k", "") };
    let kept_lease = pb::PutRequest { ignore_lease: true, ..put("k", "2") };
    let without_key = pb::PutRequest { ignore_value: true, ..put("none", "") };
    for put in [first, kept_lease, kept_value, without_key] {
        let header = Some(pb::RequestHeader { id: 5, ..Default::default() });
        let request = pb::InternalRaftRequest { header, id: 3, put: Some(put), ..Default::default() };
        let data = Bytes::from(request.encode_to_vec());
        let entry = Command::decode(EntryKind::Normal, &data).unwrap();
        assert!(matches!(entry, Command::Put(_)), "{entry:?}");
        let request = Command::from(request);
        assert_eq!((entry.origin(), entry.adds_no_data()), (request.origin(), request.adds_no_data()));
        assert_eq!(by_entry.apply(entry), by_request.apply(request));
        assert_eq!(by_entry.machine.digest(), by_request.machine.digest());
    }
}

#[test]
fn what_cannot_be_decoded_is_an_error_and_never_a_panic() {
    let nonsense = Bytes::from_static(b"\xff\xff\xff nonsense");
    for kind in [EntryKind::Normal, EntryKind::ConfChange, EntryKind::ConfChangeV2] {
        assert!(Command::decode(kind, &nonsense).is_err(), "{kind:?}");
    }
    assert_eq!(Command::decode(EntryKind::Normal, &Bytes::new()), Ok(Command::Empty));
    assert_eq!(Command::decode(EntryKind::ConfChangeV2, &Bytes::new()), Ok(Command::Empty));
    assert!(Command::decode(EntryKind::ConfChange, &Bytes::new()).is_err());
    for context in [&b"{}"[..], b"{\"id\":5}", b"null", b"[", b"{\"id\":4,\"peerURLs\":7}"] {
        let change = raftpb::ConfChange {
            id: Some(1),
            r#type: Some(0),
            node_id: Some(4),
            context: Some(Bytes::from_static(context)),
        };
        assert!(Command::decode(EntryKind::ConfChange, &change.encode_to_vec().into()).is_err());
    }
}

#[test]
fn member_changes_are_read_back_as_written() {
    let attributes =
        MemberAttributes { peer_urls: vec!["http://p".into()], name: "n".into(), client_urls: vec!["http://c".into()] };
    for action in [
        MemberAction::AddVoter(attributes.clone()),
        MemberAction::AddLearner(attributes),
        MemberAction::Promote,
        MemberAction::Remove,
        MemberAction::Update { peer_urls: vec!["http://q".into()] },
    ] {
        let change = MemberChange { id: 77, node_id: NodeId(4), action };
        let data = change.encode();
        assert_eq!(Command::decode(EntryKind::ConfChange, &data), Ok(Command::ConfChange(change)));
    }
}

/// As `etcdutl` and `etcd-dump-logs` print the first entries of a cluster.
#[test]
fn bootstrap_entries_have_etcds_encoding() {
    let entries = bootstrap_entries(ClusterId(7), &[member(2), member(1)]);
    let first = raftpb::ConfChange::decode(entries[0].data.clone()).unwrap();
    assert_eq!((first.r#type(), first.node_id(), entries[0].term.0, entries[0].index.0), (0, 1, 1, 1));
    assert_eq!(first.context(), br#"{"id":1,"peerURLs":["http://m1:2380"],"name":"m1"}"#.as_slice());
    assert_eq!((entries.len(), entries[1].index.0), (2, 2));
    // id, type and node are written even when they are zero.
    assert_eq!(entries[0].data[..6], [0x08, 0, 0x10, 0, 0x18, 1]);
}

#[test]
fn what_adds_no_data_is_told_from_what_puts_anywhere() {
    use pb::request_op::Request;
    let op = |request| pb::RequestOp { request: Some(request) };
    let deleting = || op(Request::RequestDeleteRange(delete("a", "")));
    let txn = |success, failure| pb::TxnRequest { success, failure, ..Default::default() };
    let of_txn = |txn| Command::from(pb::InternalRaftRequest { txn: Some(txn), ..Default::default() });
    let adds_nothing = [
        Command::Empty,
        Command::from(pb::InternalRaftRequest { delete_range: Some(delete("a", "")), ..Default::default() }),
        of_txn(txn(vec![deleting()], vec![op(Request::RequestTxn(txn(vec![deleting()], vec![])))])),
    ];
    let putting = || op(Request::RequestPut(put("a", "1")));
    let adds = [
        Command::from(pb::InternalRaftRequest::default()),
        Command::from(pb::InternalRaftRequest { put: Some(put("a", "1")), ..Default::default() }),
        of_txn(txn(vec![deleting()], vec![putting()])),
        of_txn(txn(vec![op(Request::RequestTxn(txn(vec![], vec![putting()])))], vec![])),
    ];
    assert!(adds_nothing.iter().all(Command::adds_no_data));
    assert!(!adds.iter().any(Command::adds_no_data));
}
