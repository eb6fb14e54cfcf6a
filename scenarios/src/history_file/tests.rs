//! What a file holds comes back, and a line that no recorder can have meant is told what would be right.

use bytes::Bytes;
use detcd_core::api::{Request, Response, Status};
use detcd_core::proto::{etcdserverpb as pb, mvccpb};
use detcd_sim::check::Witness;
use detcd_sim::history::{ClientId, HistoryEvent, OpId, Outcome, WatcherId};

use super::{BadLine, Header, Line, Reader, What, Writer};

const FIRST: &str = "{\"format\": \"detcd-history\", \"version\": 1, \"members\": [1, 2, 3]}\n";

fn read(text: &str) -> Result<(Header, Vec<Line>), BadLine> {
    let reader = Reader::begin(text.as_bytes())?;
    let header = reader.header().clone();
    let lines = reader.collect::<Result<Vec<Line>, BadLine>>()?;
    Ok((header, lines))
}

fn written(header: &Header, lines: &[Line]) -> String {
    let mut writer = Writer::begin(Vec::new(), header).expect("memory takes it");
    lines.iter().try_for_each(|line| writer.line(line)).expect("memory takes it");
    String::from_utf8(writer.end().expect("memory takes it")).expect("JSON is text")
}

/// What is wrong with these lines behind a right first one.
fn refused(lines: &[&str]) -> String {
    read(&format!("{FIRST}{}", lines.join("\n"))).expect_err("it is wrong").to_string()
}

fn header() -> pb::ResponseHeader {
    pb::ResponseHeader { cluster_id: u64::MAX, member_id: 9_372_538_179_322_589_801, revision: 7, raft_term: 3 }
}

fn kv() -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: Bytes::from_static(b"\xff\x00"),
        create_revision: 2,
        mod_revision: 7,
        version: 4,
        value: Bytes::from("ünder \"quotes\"\n"),
        lease: -5,
    }
}

fn every_kind_of_operation() -> pb::TxnRequest {
    use pb::compare::TargetUnion;
    use pb::request_op::Request as Op;
    let compare = |target, union| pb::Compare {
        result: 2,
        target,
        key: Bytes::from("k"),
        range_end: Bytes::from("l"),
        target_union: Some(union),
    };
    let range = pb::RangeRequest {
        key: Bytes::from("a"),
        range_end: Bytes::from_static(b"\0"),
        limit: 1,
        revision: 2,
        sort_order: 2,
        sort_target: 4,
        serializable: true,
        keys_only: true,
        count_only: true,
        min_mod_revision: 3,
        max_mod_revision: 4,
        min_create_revision: 5,
        max_create_revision: 6,
    };
    let put = pb::PutRequest {
        key: Bytes::from("k"),
        value: Bytes::from("v"),
        lease: i64::MAX,
        prev_kv: true,
        ignore_value: true,
        ignore_lease: true,
    };
    let delete = pb::DeleteRangeRequest { key: Bytes::from("k"), range_end: Bytes::from("z"), prev_kv: true };
    let op = |request| pb::RequestOp { request: Some(request) };
    let nested = pb::TxnRequest { success: vec![pb::RequestOp::default()], ..Default::default() };
    pb::TxnRequest {
        compare: vec![
            compare(0, TargetUnion::Version(0)),
            compare(1, TargetUnion::CreateRevision(1)),
            compare(2, TargetUnion::ModRevision(2)),
            compare(3, TargetUnion::Value(Bytes::new())),
            compare(4, TargetUnion::Lease(3)),
            pb::Compare { target: 17, ..Default::default() },
        ],
        success: vec![op(Op::RequestRange(range)), op(Op::RequestPut(put))],
        failure: vec![op(Op::RequestDeleteRange(delete)), op(Op::RequestTxn(nested))],
    }
}

fn every_kind_of_answer() -> pb::TxnResponse {
    use pb::response_op::Response as Done;
    let done = |response| pb::ResponseOp { response: Some(response) };
    let head = Some(header());
    pb::TxnResponse {
        header: head,
        succeeded: true,
        responses: vec![
            done(Done::ResponseRange(pb::RangeResponse { header: head, kvs: vec![kv()], more: true, count: 9 })),
            done(Done::ResponsePut(pb::PutResponse { header: None, prev_kv: Some(kv()) })),
            done(Done::ResponseDeleteRange(pb::DeleteRangeResponse {
                header: None,
                deleted: 1,
                prev_kvs: vec![kv(), mvccpb::KeyValue::default()],
            })),
            done(Done::ResponseTxn(pb::TxnResponse::default())),
            pb::ResponseOp::default(),
        ],
    }
}

fn every_call() -> Vec<(Request, Outcome)> {
    let head = Some(header());
    let keys = vec![Bytes::from("a"), Bytes::from_static(b"\xfe")];
    let member = pb::Member {
        id: u64::MAX,
        name: "m1".to_string(),
        peer_ur_ls: vec!["http://m1:2380".to_string()],
        client_ur_ls: vec![String::new()],
        is_learner: true,
    };
    let ok = Outcome::Ok;
    vec![
        (Request::Txn(every_kind_of_operation()), ok(Response::Txn(every_kind_of_answer()))),
        (Request::Put(pb::PutRequest::default()), Outcome::Failed(Status::EmptyKey)),
        (Request::Range(pb::RangeRequest::default()), ok(Response::Range(pb::RangeResponse::default()))),
        (Request::DeleteRange(pb::DeleteRangeRequest::default()), Outcome::Unknown),
        (
            Request::Compact(pb::CompactionRequest { revision: 3, physical: true }),
            ok(Response::Compact(pb::CompactionResponse { header: head })),
        ),
        (
            Request::LeaseGrant(pb::LeaseGrantRequest { ttl: 5, id: 6 }),
            ok(Response::LeaseGrant(pb::LeaseGrantResponse { header: head, id: 6, ttl: 5, error: "x".to_string() })),
        ),
        (
            Request::LeaseRevoke(pb::LeaseRevokeRequest { id: 6 }),
            ok(Response::LeaseRevoke(pb::LeaseRevokeResponse { header: head })),
        ),
        (
            Request::LeaseKeepAlive(pb::LeaseKeepAliveRequest { id: 6 }),
            ok(Response::LeaseKeepAlive(pb::LeaseKeepAliveResponse { header: head, id: 6, ttl: 1 })),
        ),
        (
            Request::LeaseTimeToLive(pb::LeaseTimeToLiveRequest { id: 6, keys: true }),
            ok(Response::LeaseTimeToLive(pb::LeaseTimeToLiveResponse {
                header: head,
                id: 6,
                ttl: -1,
                granted_ttl: 5,
                keys,
            })),
        ),
        (
            Request::LeaseLeases(pb::LeaseLeasesRequest {}),
            ok(Response::LeaseLeases(pb::LeaseLeasesResponse {
                header: head,
                leases: vec![pb::LeaseStatus { id: 6 }],
            })),
        ),
        (
            Request::MemberList(pb::MemberListRequest { linearizable: true }),
            ok(Response::MemberList(pb::MemberListResponse { header: head, members: vec![member] })),
        ),
        (
            Request::Status(pb::StatusRequest {}),
            ok(Response::Status(pb::StatusResponse { header: head, errors: vec!["e".into()], ..Default::default() })),
        ),
    ]
}

fn every_kind_of_line() -> Vec<Line> {
    let mut events = Vec::new();
    for ((request, outcome), op) in every_call().into_iter().zip(1..) {
        events.push(HistoryEvent::Invoke { op: OpId(op), client: ClientId(7), request });
        events.push(HistoryEvent::Return { op: OpId(op), outcome });
    }
    let request = pb::WatchCreateRequest {
        key: Bytes::from("a"),
        range_end: Bytes::from_static(b"\xff"),
        start_revision: 2,
        progress_notify: true,
        filters: vec![1, 0],
        prev_kv: true,
        watch_id: 3,
        fragment: true,
    };
    let event = mvccpb::Event { r#type: 1, kv: Some(kv()), prev_kv: Some(kv()) };
    let response = pb::WatchResponse {
        header: Some(header()),
        watch_id: 1,
        created: true,
        canceled: true,
        compact_revision: 5,
        cancel_reason: "why".to_string(),
        fragment: true,
        events: vec![event.clone()],
    };
    let watcher = WatcherId(4);
    events.push(HistoryEvent::WatchOpen { watcher, client: ClientId(7), request });
    events.push(HistoryEvent::WatchReceive { watcher, response });
    events.push(HistoryEvent::WatchEnd { watcher });
    events.push(HistoryEvent::Revision { revision: 2, events: [event].into() });
    events.push(HistoryEvent::Compaction { revision: 2 });
    let mut lines: Vec<Line> = (10..).zip(events).map(|(at, event)| Line { at, what: What::History(event) }).collect();
    lines.push(Line { at: u64::MAX, what: What::Died(9_372_538_179_322_589_801) });
    lines
}

#[test]
fn every_kind_of_line_comes_back_as_it_was_written() {
    let header = Header {
        members: vec![9_372_538_179_322_589_801, 2],
        witness: Witness::Live,
        txn_ops_max: 12,
        clock_skew_ppm_max: 3,
        clock_steps: 4,
    };
    let lines = every_kind_of_line();
    let text = written(&header, &lines);
    assert_eq!(text.lines().count(), lines.len() + 1, "one line each");
    assert_eq!(read(&text), Ok((header.clone(), lines.clone())));
    let numbers_as_text = text.replace("\"revision\":7", "\"revision\":\"7\"");
    assert_ne!(numbers_as_text, text);
    assert_eq!(read(&numbers_as_text), Ok((header, lines)));
}

#[test]
fn an_error_of_any_text_is_a_refusal_only_if_it_says_so() {
    let ending = |error: &str| {
        let invoke = "{\"at_ns\":1,\"event\":\"invoke\",\"op\":1,\"client\":1,\"request\":{\"put\":{\"key\":\"k\"}}}";
        let end = format!("{{\"at_ns\":1,\"event\":\"return\",\"op\":1,\"error\":\"{error}\"}}");
        let (_, lines) = read(&format!("{FIRST}{invoke}\n{end}\n")).expect("it is right");
        match &lines[1].what {
            What::History(HistoryEvent::Return { outcome, .. }) => outcome.clone(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ending("etcdserver: key is not provided"), Outcome::Failed(Status::EmptyKey));
    assert_eq!(ending("etcdserver: request timed out"), Outcome::Unknown);
    assert_eq!(ending("connection reset by peer"), Outcome::Unknown);
}

#[test]
fn a_first_line_that_is_none_is_refused() {
    let first = |text: &str| read(text).expect_err("it is wrong").to_string();
    assert!(first("").starts_with("line 1: not a JSON object on one line"));
    assert!(first("[]").contains("line 1: the first line of a history is {\"format\": \"detcd-history\""));
    let version = first("{\"format\": \"detcd-history\", \"version\": 2, \"members\": [1]}");
    assert!(version.contains("version 2") && version.contains("version 1"), "{version}");
    let form = |rest: &str| first(&format!("{{\"format\": \"detcd-history\", \"version\": 1{rest}}}"));
    assert!(form("").contains("the field 'members' is missing"));
    assert!(form(", \"members\": []").contains("members: the ids"));
    assert!(form(", \"members\": [-1]").contains("members[0]: a number is -1"));
    assert!(form(", \"members\": [1], \"witness\": \"me\"").contains("\"recorded\" or \"live\""));
    assert!(form(", \"members\": [1], \"clock_skew_ppm\": 1000000").contains("clock_skew_ppm: "));
    assert!(form(", \"members\": [1], \"nodes\": 3").contains("there is no field 'nodes' here; there are format, "));
}

#[test]
fn a_line_that_is_wrong_is_told_its_number_and_what_would_be_right() {
    let put = "{\"at_ns\":5,\"event\":\"invoke\",\"op\":1,\"client\":1,\"request\":{\"put\":{\"key\":\"k\"}}}";
    for (lines, wanted) in [
        (vec![put, "{\"at_ns\""], "line 3: not a JSON object on one line: EOF while parsing"),
        (vec![put, "7"], "line 3: it is a number, not an object"),
        (vec![put, "", "{\"event\":\"died\"}"], "line 4: the field 'at_ns' is missing"),
        (vec!["{\"at_ns\":1,\"event\":\"dies\"}"], "line 2: event: there is no 'dies'; there are invoke, return"),
        (vec!["{\"at_ns\":1,\"event\":\"died\",\"member\":4}"], "line 2: member: 4 is not among the members"),
        (vec!["{\"at_ns\":1,\"event\":\"died\",\"member\":1,\"why\":2}"], "line 2: there is no field 'why' here"),
        (vec![put, &put.replace(":5", ":4")], "line 3: at_ns: 4 comes before 5"),
        (vec![put, put], "line 3: client: 1 still waits for operation 1"),
        (vec![put, &put.replace("\"client\":1", "\"client\":2")], "line 3: op: 1 was used before"),
        (vec![&put.replace("\"client\":1", "\"client\":-2")], "line 2: client: a number is -2, not a whole number"),
        (vec![&put.replace("key", "kye")], "line 2: request.put: there is no field 'kye' here; there are key, value"),
        (vec![&put.replace("\"k\"", "[1]")], "line 2: request.put.key: bytes are a string if they are text"),
        (vec![&put.replace("\"k\"", "{\"base64\":\"*\"}")], "line 2: request.put.key.base64: "),
        (vec![&put.replace("put", "putt")], "line 2: request: there is no field 'putt' here; there are range, put"),
        (vec!["{\"at_ns\":1,\"event\":\"return\",\"op\":1,\"unknown\":true}"], "line 2: op: 1 is not open"),
        (vec![put, "{\"at_ns\":9,\"event\":\"return\",\"op\":1}"], "line 3: an operation returns with exactly one of"),
        (
            vec![put, "{\"at_ns\":9,\"event\":\"return\",\"op\":1,\"response\":{\"range\":{}}}"],
            "line 3: response: operation 1 is a put, which range does not answer",
        ),
        (
            vec![put, "{\"at_ns\":9,\"event\":\"return\",\"op\":1,\"refused\":\"no\"}"],
            "line 3: refused: \"no\" is no text of etcd's",
        ),
        (vec!["{\"at_ns\":1,\"event\":\"watch-end\",\"watcher\":3}"], "line 2: watcher: 3 is not open"),
        (
            vec!["{\"at_ns\":1,\"event\":\"revision\",\"revision\":2,\"events\":[{\"type\":\"POT\"}]}"],
            "line 2: events[0].type: \"POT\" is not the name of a value",
        ),
    ] {
        let line = refused(&lines);
        assert!(line.starts_with(wanted), "{line}\nis not\n{wanted}");
        assert_eq!(line.lines().count(), 1, "{line}");
    }
}
