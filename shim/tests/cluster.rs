//! Whole members in one process, reached by gRPC and HTTP as clients reach them.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use detcd::End;
use detcd::config::Config;
use detcd::flags::{self, Command};
use detcd::host::Host;
use detcd::member::Member;
use detcd::rpc::cluster_client::ClusterClient;
use detcd::rpc::kv_client::KvClient;
use detcd::rpc::lease_client::LeaseClient;
use detcd::rpc::maintenance_client::MaintenanceClient;
use detcd::rpc::watch_client::WatchClient;
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::etcdserverpb::watch_request::RequestUnion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

#[path = "cluster/errors.rs"]
mod errors;
#[path = "cluster/hostile.rs"]
mod hostile;

const PATIENCE: Duration = Duration::from_secs(30);

/// Ports that nobody listens on, below those that the system gives to outgoing connections, so that nobody takes one
/// before its member has it, or while its member is down.
fn free_ports(count: usize) -> Vec<u16> {
    const FIRST: u32 = 20_000;
    const COUNT: u32 = 12_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let port = |_| {
        // Processes that run side by side begin far apart.
        let offset = std::process::id() % COUNT * 37 + NEXT.fetch_add(1, Ordering::Relaxed);
        u16::try_from(FIRST + offset % COUNT).expect("a port")
    };
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (0..COUNT).map(port).filter(free).take(count).collect()
}

/// Where the members of a cluster are.
struct Plan {
    folder: tempfile::TempDir,
    peer_ports: Vec<u16>,
    client_ports: Vec<u16>,
    more: String,
    /// What it says of the cluster: this member is all.
    names_no_others: bool,
}

impl Plan {
    fn new(members: usize) -> Plan {
        let mut peer_ports = free_ports(2 * members);
        let client_ports = peer_ports.split_off(members);
        let folder = tempfile::tempdir().expect("a folder");
        Plan { folder, peer_ports, client_ports, more: String::new(), names_no_others: false }
    }

    fn config(&self, member: usize) -> Config {
        let named = |name: &usize| *name == member || !self.names_no_others;
        let url_of = |name: usize| format!("m{name}=http://127.0.0.1:{}", self.peer_ports[name]);
        let cluster: Vec<_> = (0..self.peer_ports.len()).filter(named).map(url_of).collect();
        let (peer, client) = (self.peer_ports[member], self.client_ports[member]);
        let arguments = format!(
            "--name m{member} --data-dir {data} --listen-peer-urls http://127.0.0.1:{peer} \
            --initial-advertise-peer-urls http://127.0.0.1:{peer} --listen-client-urls http://127.0.0.1:{client} \
            --advertise-client-urls http://127.0.0.1:{client} --initial-cluster {cluster} {more}",
            data = self.data_dir(member).display(),
            cluster = cluster.join(","),
            more = self.more,
        );
        match flags::parse(arguments.split_whitespace().map(String::from), []) {
            Ok(Command::Run(given)) => Config::new(&given).expect("a good configuration"),
            other => panic!("{other:?}"),
        }
    }

    fn data_dir(&self, member: usize) -> std::path::PathBuf {
        self.folder.path().join(format!("m{member}"))
    }

    async fn start(&self, member: usize) -> Member {
        Member::start(self.config(member), Host::start()).await.expect("the member starts")
    }

    async fn channel(&self, member: usize) -> Channel {
        let url = format!("http://127.0.0.1:{}", self.client_ports[member]);
        Channel::from_shared(url).expect("a URL").connect().await.expect("connected")
    }
}

async fn ready(member: &Member) {
    tokio::time::timeout(PATIENCE, member.ready()).await.expect("ready in time").expect("it lives");
}

async fn stop(member: Member) {
    assert_eq!(member.stop().await, Some(End::Stopped));
}

fn put(key: &str, value: impl Into<Vec<u8>>) -> pb::PutRequest {
    pb::PutRequest { key: key.to_string().into(), value: value.into().into(), ..Default::default() }
}

fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.to_string().into(), ..Default::default() }
}

/// Asks until the cluster is able to answer: on a busy machine a leader may lose its office at any time.
async fn insist<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, tonic::Status>) -> T {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert_eq!(error.code(), Code::Unavailable, "{what}: {error:?}"),
        }
        assert!(tokio::time::Instant::now() < deadline, "no answer in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn value(channel: &Channel, key: &str) -> Option<String> {
    let mut client = KvClient::new(channel.clone());
    let response = insist("a range", async || client.range(get(key)).await).await.into_inner();
    response.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned())
}

/// An HTTP/1.1 request on the client port: the status line's code and the body.
async fn http(port: u16, method: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("connected");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    let code = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (code, body.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_keeps_what_it_acknowledged_over_a_restart() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let response = KvClient::new(channel.clone()).put(put("k", "v")).await.expect("a put").into_inner();
    let header = response.header.expect("a header");
    assert_eq!(header.revision, 2);
    assert_eq!(value(&channel, "k").await.as_deref(), Some("v"));
    let status = MaintenanceClient::new(channel.clone()).status(pb::StatusRequest {}).await.expect("a status");
    assert_eq!(status.get_ref().version, "3.7.1");
    assert_eq!(status.get_ref().leader, header.member_id);
    let members = ClusterClient::new(channel).member_list(pb::MemberListRequest::default()).await.expect("members");
    let members = members.into_inner().members;
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].name, "m0");
    assert_eq!(members[0].client_ur_ls, [format!("http://127.0.0.1:{}", plan.client_ports[0])]);
    stop(member).await;

    let member = plan.start(0).await;
    ready(&member).await;
    assert_eq!(value(&plan.channel(0).await, "k").await.as_deref(), Some("v"));
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_version_are_served_beside_grpc() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let port = plan.client_ports[0];
    let healthy = (200, r#"{"health":"true","reason":""}"#.to_string());
    assert_eq!(http(port, "GET", "/health").await, healthy);
    assert_eq!(http(port, "GET", "/health?serializable=true").await, healthy);
    assert_eq!(http(port, "POST", "/health").await.0, 405);
    let versions = r#"{"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}"#.to_string();
    assert_eq!(http(port, "GET", "/version").await, (200, versions));
    assert_eq!(http(port, "PUT", "/version").await.0, 405);
    assert_eq!(http(port, "GET", "/nothing").await.0, 404);
    stop(member).await;
}

/// The health service of gRPC: what probes ask, and no stream of theirs holds up a stop.
#[tokio::test(flavor = "multi_thread")]
async fn grpcs_health_service_says_that_a_member_serves() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let mut health = HealthClient::new(plan.channel(0).await);
    let ask = |service: &str| HealthCheckRequest { service: service.into() };
    let serving = HealthCheckResponse { status: ServingStatus::Serving.into() };
    assert_eq!(health.check(ask("")).await.expect("an answer").into_inner(), serving);
    let unknown = health.check(ask("etcdserverpb.KV")).await.expect_err("etcd knows none by name either");
    assert_eq!((unknown.code(), unknown.message()), (Code::NotFound, "unknown service"));
    let mut watch = health.watch(ask("")).await.expect("a stream").into_inner();
    assert_eq!(watch.message().await.expect("no error"), Some(serving));
    stop(member).await;
    let end = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time");
    assert_eq!(end.expect_err("the stream ends").message(), "etcdserver: server stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_beyond_the_limits_are_refused_with_grpcs_and_etcds_codes() {
    let mut plan = Plan::new(1);
    plan.more = "--max-request-bytes 10000".into();
    let member = plan.start(0).await;
    ready(&member).await;
    let mut client = KvClient::new(plan.channel(0).await);
    let error = client.put(put("k", vec![0; 20_000])).await.expect_err("too large for etcd");
    assert_eq!((error.code(), error.message()), (Code::InvalidArgument, "etcdserver: request is too large"));
    let error = client.put(put("k", vec![0; 600_000])).await.expect_err("too large for gRPC");
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");
    client.put(put("k", vec![0; 5_000])).await.expect("within the limits");
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_stream_brings_every_event_in_order_and_ends_with_the_member() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let (requests, stream) = tokio::sync::mpsc::channel(4);
    let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
    let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    requests.send(create).await.expect("the stream listens");
    let stream = tokio_stream::wrappers::ReceiverStream::new(stream);
    let mut watch = WatchClient::new(channel.clone()).watch(stream).await.expect("a stream").into_inner();
    let created = watch.message().await.expect("no error").expect("a response");
    assert!(created.head().created);
    // Far more than the credit of a stream, while nobody reads.
    const EVENTS: usize = 60;
    let mut client = KvClient::new(channel);
    for number in 0..EVENTS {
        client.put(put("k", vec![u8::try_from(number).expect("small"); 100_000])).await.expect("a put");
    }
    let mut seen = 0;
    while seen < EVENTS {
        let response = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time");
        for event in response.expect("no error").expect("a response").events() {
            let kv = event.event().kv.as_ref().expect("a key");
            assert_eq!(usize::from(kv.value[0]), seen);
            assert_eq!(kv.value.len(), 100_000);
            seen += 1;
        }
    }
    stop(member).await;
    let end = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time");
    assert_eq!(end.expect_err("the stream ends").message(), "etcdserver: server stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_live_by_keepalives_and_take_their_keys_along() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let mut leases = LeaseClient::new(channel.clone());
    let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 }).await.expect("a lease").into_inner();
    assert_eq!(granted.ttl, 60);
    let request = pb::PutRequest { lease: granted.id, ..put("k", "v") };
    KvClient::new(channel.clone()).put(request).await.expect("a put");
    let asks = [granted.id, 12_345].map(|id| pb::LeaseKeepAliveRequest { id });
    let mut alive = leases.lease_keep_alive(tokio_stream::iter(asks)).await.expect("a stream").into_inner();
    let first = alive.message().await.expect("no error").expect("a response");
    assert_eq!((first.id, first.ttl), (granted.id, 60));
    let unknown = alive.message().await.expect("no error").expect("a response");
    assert_eq!((unknown.id, unknown.ttl), (12_345, 0));
    assert!(alive.message().await.expect("no error").is_none(), "the stream ends with the requests");
    leases.lease_revoke(pb::LeaseRevokeRequest { id: granted.id }).await.expect("revoked");
    assert_eq!(value(&channel, "k").await, None);
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reached_quota_raises_an_alarm_that_every_service_shows() {
    let plan = Plan { more: "--quota-backend-bytes 5000".into(), ..Plan::new(1) };
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let mut kv = KvClient::new(channel.clone());
    let mut maintenance = MaintenanceClient::new(channel.clone());
    kv.put(put("k", vec![b'v'; 1000])).await.expect("room for one");
    let error = kv.put(put("l", vec![b'v'; 4000])).await.expect_err("no room for that");
    let expected = (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    assert_eq!((error.code(), error.message()), expected);
    let list = async || maintenance.clone().alarm(pb::AlarmRequest::default()).await.expect("a list").into_inner();
    while list().await.alarms.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let alarm = list().await.alarms[0];
    assert_eq!(alarm.alarm(), pb::AlarmType::Nospace);
    let error = kv.put(put("l", "v")).await.expect_err("nothing more is taken");
    assert_eq!((error.code(), error.message()), expected);
    let status = maintenance.status(pb::StatusRequest {}).await.expect("a status").into_inner();
    assert_eq!(status.errors, [format!("memberID:{} alarm:NOSPACE ", alarm.member_id)]);
    assert_eq!(status.db_size_quota, 5000);
    let (code, body) = http(plan.client_ports[0], "GET", "/health").await;
    assert_eq!((code, body.trim_end()), (503, r#"{"health":"false","reason":"ALARM NOSPACE"}"#));
    assert_eq!(http(plan.client_ports[0], "GET", "/health?exclude=CORRUPT").await.0, 503);
    assert_eq!(http(plan.client_ports[0], "GET", "/health?exclude=CORRUPT&exclude=NOSPACE").await.0, 200);

    let off = pb::AlarmRequest {
        action: pb::alarm_request::AlarmAction::Deactivate.into(),
        member_id: alarm.member_id,
        alarm: alarm.alarm,
    };
    assert_eq!(maintenance.alarm(off).await.expect("put off").into_inner().alarms, [alarm]);
    kv.put(put("l", "v")).await.expect("there is room for that");
    assert_eq!(http(plan.client_ports[0], "GET", "/health").await.0, 200);

    assert_eq!(maintenance.defragment(pb::DefragmentRequest {}).await.expect("done").into_inner().header, None);
    let revision = kv.range(get("k")).await.expect("a read").into_inner().header.expect("a header").revision;
    let hash = maintenance.hash_kv(pb::HashKvRequest { revision: 0 }).await.expect("a hash").into_inner();
    assert_eq!((hash.hash_revision, hash.compact_revision), (revision, -1));
    let again = maintenance.hash_kv(pb::HashKvRequest { revision }).await.expect("a hash").into_inner();
    assert_eq!(again, hash);
    let error = maintenance.hash_kv(pb::HashKvRequest { revision: revision + 1 }).await.expect_err("not yet");
    assert_eq!(error.message(), "etcdserver: mvcc: required revision is a future revision");
    let whole = maintenance.hash(pb::HashRequest {}).await.expect("a hash").into_inner();
    assert_eq!(whole.header.expect("a header").revision, revision);
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_range_comes_in_chunks_of_one_revision() {
    let plan = Plan::new(1);
    let member = plan.start(0).await;
    ready(&member).await;
    let mut kv = KvClient::new(plan.channel(0).await);
    for n in 0..200 {
        kv.put(put(&format!("k{n:03}"), "v")).await.expect("it is put");
    }
    let all = pb::RangeRequest { range_end: "l".into(), ..get("k") };
    let whole = kv.range(all.clone()).await.expect("a range").into_inner();
    let mut stream = kv.range_stream(all.clone()).await.expect("a stream").into_inner();
    let mut chunks = Vec::new();
    while let Some(chunk) = stream.message().await.expect("no error") {
        chunks.push(chunk.range_response.expect("a part"));
        // What is written meanwhile belongs to another revision.
        kv.put(put("k999", "late")).await.expect("it is put");
    }
    let lens: Vec<usize> = chunks.iter().map(|chunk| chunk.kvs.len()).collect();
    assert_eq!(lens, [10, 20, 40, 80, 50]);
    let last = chunks.last().expect("the last").clone();
    assert_eq!((last.count, last.more), (200, false));
    assert_eq!(last.header.expect("a header").revision, whole.header.expect("a header").revision);
    assert_eq!(chunks.into_iter().flat_map(|chunk| chunk.kvs).collect::<Vec<_>>(), whole.kvs);

    let mut refused = async |request| {
        let error = match kv.range_stream(request).await {
            Ok(stream) => stream.into_inner().message().await.expect_err("refused"),
            Err(error) => error,
        };
        (error.code(), error.message().to_string())
    };
    let custom = "RangeStream does not support custom sort orders";
    let descending = pb::RangeRequest { sort_order: 2, ..all.clone() };
    assert_eq!(refused(descending).await, (Code::Unimplemented, custom.into()));
    let filtered = pb::RangeRequest { min_mod_revision: 1, ..all.clone() };
    let filters = "RangeStream does not support revision filters";
    assert_eq!(refused(filtered).await, (Code::Unimplemented, filters.into()));
    assert_eq!(refused(get("")).await, (Code::InvalidArgument, "etcdserver: key is not provided".into()));
    let future = pb::RangeRequest { revision: 1 << 40, ..all };
    assert_eq!(refused(future).await.0, Code::OutOfRange);
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_quorum_says_so_in_every_way() {
    let plan = Plan::new(3);
    let member = plan.start(0).await;
    let channel = plan.channel(0).await;
    let (code, body) =
        tokio::time::timeout(PATIENCE, http(plan.client_ports[0], "GET", "/health")).await.expect("soon");
    assert_eq!((code, body.trim_end()), (503, r#"{"health":"false","reason":"RAFT NO LEADER"}"#));
    assert_eq!(http(plan.client_ports[0], "GET", "/health?serializable=true").await.0, 200);
    let mut request = tonic::Request::new(get("k"));
    request.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
    let error = KvClient::new(channel.clone()).range(request).await.expect_err("nobody leads");
    assert_eq!((error.code(), error.message()), (Code::Unavailable, "etcdserver: no leader"));
    let mut watch = tonic::Request::new(tokio_stream::pending::<pb::WatchRequest>());
    watch.metadata_mut().insert("hasleader", "true".parse().expect("ASCII"));
    let error = WatchClient::new(channel).watch(watch).await.expect_err("nobody leads");
    assert_eq!(error.message(), "etcdserver: no leader");
    drop(member);
}

#[tokio::test(flavor = "multi_thread")]
async fn three_members_agree_and_go_on_without_one() {
    let plan = Plan::new(3);
    let mut members = Vec::new();
    for member in 0..3 {
        members.push(Some(plan.start(member).await));
    }
    for member in members.iter().flatten() {
        ready(member).await;
    }
    let channels = [plan.channel(0).await, plan.channel(1).await, plan.channel(2).await];
    for (number, channel) in channels.iter().enumerate() {
        let key = format!("k{number}");
        let mut client = KvClient::new(channel.clone());
        insist("a put through any member", async || client.put(put(&key, "v")).await).await;
        for other in &channels {
            assert_eq!(value(other, &key).await.as_deref(), Some("v"), "a read through any member is fresh");
        }
    }
    let status = MaintenanceClient::new(channels[0].clone()).status(pb::StatusRequest {}).await.expect("a status");
    let ids: Vec<u64> = (0..3).map(|member| plan.config(member).node_config(0).node_id.0).collect();
    // Whoever led just now: it matters little if another one has taken over since.
    let leader = ids.iter().position(|id| *id == status.get_ref().leader).unwrap_or(0);
    stop(members[leader].take().expect("it runs")).await;
    let other = (leader + 1) % 3;
    let mut client = KvClient::new(channels[other].clone());
    insist("a put after a change of leader", async || client.put(put("after", "v")).await).await;
    members[leader] = Some(plan.start(leader).await);
    ready(members[leader].as_ref().expect("it runs")).await;
    assert_eq!(value(&plan.channel(leader).await, "after").await.as_deref(), Some("v"), "it catches up");
    for member in members.into_iter().flatten() {
        stop(member).await;
    }
}

/// A request that is no message of the stream's is the end of the stream, and the client learns why: it would wait for
/// ever on a stream that says nothing.
#[tokio::test(flavor = "multi_thread")]
async fn members_find_each_other_again_by_what_their_data_says() {
    let mut plan = Plan::new(3);
    let mut members = Vec::new();
    for member in 0..3 {
        members.push(plan.start(member).await);
    }
    for member in &members {
        ready(member).await;
    }
    let channel = plan.channel(0).await;
    let mut client = KvClient::new(channel.clone());
    let before = insist("a put", async || client.put(put("k", "v")).await).await.into_inner();
    for member in members.drain(..) {
        stop(member).await;
    }
    plan.names_no_others = true;
    for member in 0..3 {
        members.push(plan.start(member).await);
    }
    for (place, member) in members.iter().enumerate() {
        ready(member).await;
        assert_eq!(value(&plan.channel(place).await, "k").await.as_deref(), Some("v"));
    }
    let mut client = ClusterClient::new(plan.channel(1).await);
    let list = client.member_list(pb::MemberListRequest::default()).await.expect("listed").into_inner();
    assert_eq!(list.members.len(), 3);
    assert_eq!(list.header.expect("a header").cluster_id, before.header.expect("a header").cluster_id);
    for member in members {
        stop(member).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_the_reason_when_a_request_cannot_be_read() {
    let mut plan = Plan::new(1);
    plan.more = "--max-request-bytes 10000".into();
    let member = plan.start(0).await;
    ready(&member).await;
    let channel = plan.channel(0).await;
    let create = |key: Vec<u8>| {
        let create = pb::WatchCreateRequest { key: key.into(), ..Default::default() };
        pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }
    };
    let requests = tokio_stream::iter([create(b"k".into()), create(vec![b'k'; 600_000])]);
    let requests = tokio_stream::StreamExt::chain(requests, tokio_stream::pending());
    let mut watch = WatchClient::new(channel.clone()).watch(requests).await.expect("a stream").into_inner();
    let error = loop {
        match tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time") {
            Ok(response) => assert!(response.expect("no end without a reason").head().created),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Code::ResourceExhausted, "{error:?}");

    let mut raw = tonic::client::Grpc::new(channel);
    raw.ready().await.expect("connected");
    let path = http::uri::PathAndQuery::from_static("/etcdserverpb.Lease/LeaseKeepAlive");
    let codec = tonic_prost::ProstCodec::<pb::WatchRequest, pb::LeaseKeepAliveResponse>::default();
    let requests = tokio_stream::StreamExt::chain(tokio_stream::iter([create(b"k".into())]), tokio_stream::pending());
    let mut alive = raw.streaming(tonic::Request::new(requests), path, codec).await.expect("a stream").into_inner();
    let end = tokio::time::timeout(PATIENCE, alive.message()).await.expect("in time");
    assert_eq!(end.expect_err("no keepalive").code(), Code::Internal);
    stop(member).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn open_streams_do_not_hold_up_a_stop() {
    let plan = Plan::new(1);
    let mut took = Vec::new();
    // A machine that is busy may be slow once, or twice; a stop that waits for streams is slow every time.
    while took.len() < 5 {
        let member = plan.start(0).await;
        ready(&member).await;
        let channel = plan.channel(0).await;
        let mut leases = LeaseClient::new(channel.clone());
        let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 60, id: 0 }).await.expect("a lease").into_inner();
        let asks = tokio_stream::iter([pb::LeaseKeepAliveRequest { id: granted.id }]);
        let asks = tokio_stream::StreamExt::chain(asks, tokio_stream::pending());
        let mut alive = leases.lease_keep_alive(asks).await.expect("a stream").into_inner();
        alive.message().await.expect("no error").expect("a response");
        let create = pb::WatchCreateRequest { key: "k".into(), ..Default::default() };
        let create = pb::WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
        let requests = tokio_stream::StreamExt::chain(tokio_stream::iter([create]), tokio_stream::pending());
        let mut watch = WatchClient::new(channel).watch(requests).await.expect("a stream").into_inner();
        watch.message().await.expect("no error").expect("a response");
        let begin = std::time::Instant::now();
        stop(member).await;
        took.push(begin.elapsed());
        let end = tokio::time::timeout(PATIENCE, alive.message()).await.expect("in time");
        assert_eq!(end.expect_err("the stream ends").message(), "etcdserver: server stopped");
        let end = tokio::time::timeout(PATIENCE, watch.message()).await.expect("in time");
        assert_eq!(end.expect_err("the stream ends").message(), "etcdserver: server stopped");
        if took.last() < Some(&Duration::from_millis(900)) {
            return;
        }
    }
    panic!("each stop took about a second: {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_request_that_a_flag_allows_reaches_every_member() {
    const LIMIT: usize = 32 << 20;
    let mut plan = Plan::new(3);
    plan.more = format!("--max-request-bytes {LIMIT} --election-timeout 3000");
    let mut members = Vec::new();
    for member in 0..3 {
        members.push(plan.start(member).await);
    }
    for member in &members {
        ready(member).await;
    }
    let mut channels = Vec::new();
    for member in 0..3 {
        channels.push(plan.channel(member).await);
    }
    // Through each member, so that it is forwarded at least twice.
    for (number, channel) in channels.iter().enumerate() {
        let value = vec![u8::try_from(number).expect("small"); LIMIT - 100];
        let mut client = KvClient::new(channel.clone());
        insist("a long put", async || client.put(put("k", value.clone())).await).await;
    }
    for channel in channels {
        let request = pb::RangeRequest { keys_only: true, ..get("k") };
        let mut client = KvClient::new(channel);
        let response = insist("a read", async || client.range(request.clone()).await).await.into_inner();
        assert!(response.kvs.first().map(|kv| kv.version) >= Some(3), "{response:?}");
    }
    for member in members {
        stop(member).await;
    }
}
