//! The crate `etcd-client` against three real members: every call of KV, Lease, Watch and Maintenance that detcd
//! serves, with each of its options.
//!
//! What a member answers from its own store is asked of the one that acknowledged it: the others may be behind.

use std::time::Duration;

use detcd_tests::cluster::{Cluster, ClusterOptions};
use detcd_tests::launch;
use etcd_client::{
    AlarmAction, AlarmOptions, AlarmType, Client, CompactionOptions, Compare, CompareOp, DeleteOptions, Error, Event,
    EventType, GetOptions, GetResponse, KeyValue, LeaseGrantOptions, LeaseTimeToLiveOptions, PutOptions, SortOrder,
    SortTarget, Txn, TxnOp, TxnOpResponse, WatchFilterType, WatchOptions, WatchResponse, WatchStream,
};

/// How long anything may take that is waited for.
const WITHIN: Duration = Duration::from_secs(30);

/// A TTL in seconds that no test outlives.
const TTL_S: i64 = 600;

/// Three fresh members, and a client of all of them.
struct Three {
    cluster: Cluster,
    client: Client,
}

impl Three {
    async fn start(flags: &[&str]) -> Three {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let options = ClusterOptions { flags, ..ClusterOptions::three(launch::detcd()) };
        let cluster = Cluster::start(&options).expect("three members come up");
        let client = Client::connect(cluster.endpoints(), None).await.expect("they serve");
        Three { cluster, client }
    }

    /// A client of one member alone.
    async fn member(&self, place: usize) -> Client {
        Client::connect([self.cluster.members()[place].client_url()], None).await.expect("it serves")
    }
}

fn block_on(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(test);
}

/// A pair on one line.
fn told(pair: &KeyValue) -> String {
    format!("{}={}", pair.key_str().expect("text"), pair.value_str().expect("text"))
}

/// The pairs of an answer on one line.
fn pairs(response: &GetResponse) -> String {
    response.kvs().iter().map(told).collect::<Vec<String>>().join(" ")
}

/// The text of a refusal by a member.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::GRpcStatus(status)) => status.message().to_owned(),
        other => panic!("this is no refusal: {other:?}"),
    }
}

#[test]
fn kv_put_takes_every_option() {
    block_on(async {
        let mut client = Three::start(&[]).await;
        let client = &mut client.client;
        let lease = client.lease_grant(TTL_S, None).await.expect("granted").id();
        let first = client.put("a", "one", Some(PutOptions::new().with_lease(lease))).await.expect("written");
        assert!(first.prev_key().is_none());
        assert_eq!(first.header().expect("a header").revision(), 2);
        let second = client.put("a", "two", Some(PutOptions::new().with_prev_key().with_ignore_lease())).await;
        let second = second.expect("written");
        let before = second.prev_key().expect("there was one");
        assert_eq!((told(before).as_str(), before.lease(), before.version()), ("a=one", lease, 1));
        let kept = client.put("a", "", Some(PutOptions::new().with_ignore_value().with_prev_key())).await;
        assert_eq!(kept.expect("written").prev_key().expect("there was one").lease(), lease, "it was kept");
        let found = client.get("a", None).await.expect("read");
        let pair = &found.kvs()[0];
        assert_eq!((told(pair).as_str(), pair.lease(), pair.version()), ("a=two", 0, 3));
        assert_eq!((pair.create_revision(), pair.mod_revision()), (2, 4));
        let refused = client.put("none", "", Some(PutOptions::new().with_ignore_value())).await;
        assert_eq!(refusal(refused), "etcdserver: key not found");
        let refused = client.put("a", "x", Some(PutOptions::new().with_lease(lease + 1))).await;
        assert_eq!(refusal(refused), "etcdserver: requested lease not found");
    });
}

/// Writes `a/1`, `a/2`, `a/3`, then `a/1` once more, then `b`: revisions 2 to 6.
async fn fill(client: &mut Client) {
    for (key, value) in [("a/1", "z"), ("a/2", "y"), ("a/3", "x"), ("a/1", "w"), ("b", "v")] {
        client.put(key, value, None).await.expect("written");
    }
}

#[test]
fn kv_get_takes_every_option() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        fill(&mut three.client).await;
        let prefix = || GetOptions::new().with_prefix();
        let by = |target, order| GetOptions::new().with_prefix().with_sort(target, order);
        let (ascend, descend) = (SortOrder::Ascend, SortOrder::Descend);
        for (key, options, expected) in [
            ("a/1", GetOptions::new(), "a/1=w"),
            ("a/", prefix(), "a/1=w a/2=y a/3=x"),
            ("a/1", GetOptions::new().with_range("a/3"), "a/1=w a/2=y"),
            ("a/3", GetOptions::new().with_from_key(), "a/3=x b=v"),
            ("", GetOptions::new().with_all_keys(), "a/1=w a/2=y a/3=x b=v"),
            ("a/", prefix().with_revision(3), "a/1=z a/2=y"),
            ("a/", prefix().with_limit(2), "a/1=w a/2=y"),
            ("a/", prefix().with_keys_only(), "a/1= a/2= a/3="),
            ("a/", prefix().with_count_only(), ""),
            ("a/", prefix().with_min_mod_revision(4), "a/1=w a/3=x"),
            ("a/", prefix().with_max_mod_revision(4), "a/2=y a/3=x"),
            ("a/", prefix().with_min_create_revision(3), "a/2=y a/3=x"),
            ("a/", prefix().with_max_create_revision(2), "a/1=w"),
            ("a/", by(SortTarget::Key, descend), "a/3=x a/2=y a/1=w"),
            ("a/", by(SortTarget::Key, ascend), "a/1=w a/2=y a/3=x"),
            ("a/", by(SortTarget::Version, descend), "a/1=w a/2=y a/3=x"),
            ("a/", by(SortTarget::Version, ascend), "a/2=y a/3=x a/1=w"),
            ("a/", by(SortTarget::Create, descend), "a/3=x a/2=y a/1=w"),
            ("a/", by(SortTarget::Mod, ascend), "a/2=y a/3=x a/1=w"),
            ("a/", by(SortTarget::Value, ascend), "a/1=w a/3=x a/2=y"),
            ("a/", by(SortTarget::Value, descend).with_limit(1), "a/2=y"),
        ] {
            let found = three.client.get(key, Some(options.clone())).await.expect("read");
            assert_eq!(pairs(&found), expected, "{options:?}");
        }
        let limited = three.client.get("a/", Some(prefix().with_limit(2))).await.expect("read");
        assert_eq!((limited.more(), limited.count()), (true, 3));
        let counted = three.client.get("a/", Some(prefix().with_count_only())).await.expect("read");
        assert_eq!((counted.more(), counted.count()), (false, 3));
        let refused = three.client.get("a/1", Some(GetOptions::new().with_revision(99))).await;
        assert_eq!(refusal(refused), "etcdserver: mvcc: required revision is a future revision");
        // What a member acknowledged is in its own store.
        let mut first = three.member(0).await;
        first.put("own", "store", None).await.expect("written");
        let own = first.get("own", Some(GetOptions::new().with_serializable())).await.expect("read");
        assert_eq!(pairs(&own), "own=store");
    });
}

#[test]
fn kv_get_stream_has_what_get_has() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        fill(&mut three.client).await;
        let mut chunks = three.client.kv_client().get_stream("a/", Some(GetOptions::new().with_prefix())).await;
        let chunks = chunks.as_mut().expect("a stream");
        let (mut found, mut count) = (Vec::new(), 0);
        while let Some(chunk) = chunks.message().await.expect("a chunk") {
            found.extend(chunk.kvs().iter().map(told));
            count = chunk.count();
        }
        assert_eq!(found, ["a/1=w", "a/2=y", "a/3=x"]);
        assert_eq!(count, 3, "the last one tells it");
    });
}

#[test]
fn kv_delete_takes_every_option() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        let client = &mut three.client;
        for (key, options, deleted) in [
            ("a/1", DeleteOptions::new(), 1),
            ("none", DeleteOptions::new(), 0),
            ("a/", DeleteOptions::new().with_prefix(), 3),
            ("a/2", DeleteOptions::new().with_range("b"), 2),
            ("a/2", DeleteOptions::new().with_from_key(), 3),
            ("", DeleteOptions::new().with_all_keys(), 4),
        ] {
            fill(client).await;
            let answer = client.delete(key, Some(options.clone())).await.expect("deleted");
            assert_eq!(answer.deleted(), deleted, "{options:?}");
            assert!(answer.prev_kvs().is_empty(), "nobody asked for them: {options:?}");
        }
        fill(client).await;
        let options = DeleteOptions::new().with_prefix().with_prev_key();
        let deleted = client.delete("a/", Some(options)).await.expect("deleted");
        assert_eq!(deleted.prev_kvs().iter().map(told).collect::<Vec<String>>(), ["a/1=w", "a/2=y", "a/3=x"]);
        let left = client.get("", Some(GetOptions::new().with_all_keys())).await.expect("read");
        assert_eq!(pairs(&left), "b=v");
    });
}

#[test]
fn kv_txn_takes_every_compare_and_operation() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        let client = &mut three.client;
        let lease = client.lease_grant(TTL_S, None).await.expect("granted").id();
        fill(client).await;
        client.put("b", "v", Some(PutOptions::new().with_lease(lease))).await.expect("written");
        let (equal, greater, less) = (CompareOp::Equal, CompareOp::Greater, CompareOp::Less);
        for (compare, holds) in [
            (Compare::version("a/1", equal, 2), true),
            (Compare::version("a/1", greater, 2), false),
            (Compare::version("none", equal, 0), true),
            (Compare::create_revision("a/2", equal, 3), true),
            (Compare::create_revision("a/2", CompareOp::NotEqual, 3), false),
            (Compare::mod_revision("a/1", greater, 4), true),
            (Compare::mod_revision("a/1", less, 5), false),
            (Compare::value("a/3", equal, "x"), true),
            (Compare::value("a/3", less, "x"), false),
            (Compare::lease("b", equal, lease), true),
            (Compare::lease("a/1", equal, lease), false),
            (Compare::value("a/", less, "z").with_prefix(), true),
            (Compare::value("a/", less, "y").with_prefix(), false),
            (Compare::version("a/2", equal, 1).with_range("b"), true),
            (Compare::version("a/1", equal, 1).with_range("b"), false),
        ] {
            // Without a linearizable range it would be answered from the member's own store.
            let read = [TxnOp::get("b", None)];
            let txn = Txn::new().when([compare.clone()]).and_then(read.clone()).or_else(read);
            let answer = client.txn(txn).await.expect("compared");
            assert_eq!(answer.succeeded(), holds, "{compare:?}");
        }
        let nested = Txn::new()
            .when([Compare::version("none", greater, 0)])
            .and_then([TxnOp::put("never", "x", None)])
            .or_else([TxnOp::put("inner", "x", None), TxnOp::get("inner", None)]);
        let txn = Txn::new().when([Compare::value("b", equal, "v")]).and_then([
            TxnOp::put("a/1", "new", Some(PutOptions::new().with_prev_key())),
            TxnOp::get("a/1", None),
            TxnOp::delete("a/2", Some(DeleteOptions::new().with_prev_key())),
            TxnOp::txn(nested),
        ]);
        let answer = client.txn(txn).await.expect("executed");
        assert!(answer.succeeded());
        let answers = answer.op_responses();
        let [
            TxnOpResponse::Put(put),
            TxnOpResponse::Get(get),
            TxnOpResponse::Delete(delete),
            TxnOpResponse::Txn(inner),
        ] = answers.as_slice()
        else {
            panic!("an answer to each operation: {answers:?}");
        };
        assert_eq!(told(put.prev_key().expect("there was one")), "a/1=w");
        assert_eq!(pairs(get), "a/1=new", "it sees what was written before it");
        assert_eq!(told(&delete.prev_kvs()[0]), "a/2=y");
        assert!(!inner.succeeded());
        let inner = inner.op_responses();
        assert!(
            matches!(inner.as_slice(), [TxnOpResponse::Put(_), TxnOpResponse::Get(get)] if pairs(get) == "inner=x")
        );
        let twice = Txn::new().and_then([TxnOp::put("c", "1", None), TxnOp::put("c", "2", None)]);
        assert_eq!(refusal(client.txn(twice).await), "etcdserver: duplicate key given in txn request");
    });
}

#[test]
fn kv_compact_forgets_with_and_without_waiting() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        let client = &mut three.client;
        fill(client).await;
        client.compact(3, None).await.expect("compacted");
        client.compact(5, Some(CompactionOptions::new().with_physical())).await.expect("compacted");
        let old = client.get("a/1", Some(GetOptions::new().with_revision(4))).await;
        assert_eq!(refusal(old), "etcdserver: mvcc: required revision has been compacted");
        let kept = client.get("a/1", Some(GetOptions::new().with_revision(5))).await.expect("it was kept");
        assert_eq!(pairs(&kept), "a/1=w");
        assert_eq!(refusal(client.compact(5, None).await), "etcdserver: mvcc: required revision has been compacted");
        let future = client.compact(99, None).await;
        assert_eq!(refusal(future), "etcdserver: mvcc: required revision is a future revision");
    });
}

#[test]
fn leases_are_granted_renewed_told_of_listed_and_revoked() {
    block_on(async {
        let three = Three::start(&[]).await;
        let client = &mut three.member(0).await;
        let given = client.lease_grant(TTL_S, Some(LeaseGrantOptions::new().with_id(77))).await.expect("granted");
        assert_eq!((given.id(), given.ttl(), given.error()), (77, TTL_S, ""));
        let drawn = client.lease_grant(TTL_S, None).await.expect("granted").id();
        assert!(drawn > 0 && drawn != 77, "{drawn}");
        let again = client.lease_grant(TTL_S, Some(LeaseGrantOptions::new().with_id(77))).await;
        assert_eq!(refusal(again), "etcdserver: lease already exists");
        for key in ["a", "b"] {
            client.put(key, "leased", Some(PutOptions::new().with_lease(77))).await.expect("written");
        }
        let bare = client.lease_time_to_live(77, None).await.expect("told");
        assert_eq!((bare.id(), bare.granted_ttl(), bare.keys().len()), (77, TTL_S, 0));
        assert!((TTL_S - 60..=TTL_S).contains(&bare.ttl()), "{bare:?}");
        let options = LeaseTimeToLiveOptions::new().with_keys();
        let mut keys = client.lease_time_to_live(77, Some(options)).await.expect("told").keys().to_vec();
        keys.sort();
        assert_eq!(keys, [b"a", b"b"]);
        let (mut keeper, mut renewals) = client.lease_keep_alive(77).await.expect("renewed");
        assert_eq!(keeper.id(), 77);
        keeper.keep_alive().await.expect("sent");
        let renewal = renewals.message().await.expect("an answer").expect("a renewal");
        assert_eq!((renewal.id(), renewal.ttl()), (77, TTL_S));
        let listed = client.leases().await.expect("listed");
        let mut ids: Vec<i64> = listed.leases().iter().map(|lease| lease.id()).collect();
        ids.sort_unstable();
        assert_eq!(ids, [77, drawn]);
        client.lease_revoke(77).await.expect("revoked");
        assert_eq!(client.get("a", None).await.expect("read").count(), 0, "its keys went with it");
        assert_eq!(client.lease_time_to_live(77, None).await.expect("told").ttl(), -1);
        assert_eq!(refusal(client.lease_revoke(77).await), "etcdserver: requested lease not found");
        let lost = client.lease_keep_alive(77).await;
        assert!(matches!(lost, Err(Error::LeaseKeepAliveError(_))), "there is nothing to renew");
    });
}

/// The next message of a watch stream.
async fn next(stream: &mut WatchStream) -> WatchResponse {
    let message = tokio::time::timeout(WITHIN, stream.message()).await.expect("a message in time");
    message.expect("no error").expect("no end")
}

fn event(event: &Event) -> String {
    let pair = event.kv().expect("a pair");
    let (key, before) = (pair.key_str().expect("text"), event.prev_kv().map(told));
    let before = before.map_or(String::new(), |before| format!(" was {before}"));
    match event.event_type() {
        EventType::Put => format!("put {}{before}", told(pair)),
        EventType::Delete => format!("delete {key}{before}"),
    }
}

/// As many of the next events as are wanted, each on one line.
async fn events(stream: &mut WatchStream, count: usize) -> Vec<String> {
    let mut found = Vec::new();
    while found.len() < count {
        let message = next(stream).await;
        assert!(!message.canceled(), "{message:?}");
        found.extend(message.events().iter().map(event));
    }
    found
}

#[test]
fn watch_takes_every_range_start_and_filter() {
    block_on(async {
        let three = Three::start(&[]).await;
        let client = &mut three.member(0).await;
        fill(client).await;
        client.delete("a/2", None).await.expect("deleted");
        client.put("c", "end", None).await.expect("written");
        let from = |revision| WatchOptions::new().with_start_revision(revision);
        let (no_put, no_delete) = (WatchFilterType::NoPut, WatchFilterType::NoDelete);
        for (key, options, expected) in [
            ("a/1", from(1), vec!["put a/1=z", "put a/1=w"]),
            ("a/", from(4).with_prefix(), vec!["put a/3=x", "put a/1=w", "delete a/2"]),
            ("a/2", from(1).with_range("b"), vec!["put a/2=y", "put a/3=x", "delete a/2"]),
            ("b", from(1).with_from_key(), vec!["put b=v", "put c=end"]),
            ("", from(6).with_all_keys(), vec!["put b=v", "delete a/2", "put c=end"]),
            ("a/", from(1).with_prefix().with_filters([no_put]), vec!["delete a/2"]),
            ("a/2", from(1).with_filters([no_delete]), vec!["put a/2=y"]),
            ("a/1", from(5).with_prev_key(), vec!["put a/1=w was a/1=z"]),
            ("a/2", from(7).with_prev_key(), vec!["delete a/2 was a/2=y"]),
            ("a/1", from(1).with_fragment(), vec!["put a/1=z", "put a/1=w"]),
        ] {
            let mut stream = client.watch(key, Some(options.clone())).await.expect("a stream");
            assert!(next(&mut stream).await.created());
            assert_eq!(events(&mut stream, expected.len()).await, expected, "{options:?}");
            // Nothing comes behind them but the answer to this.
            stream.cancel(0).await.expect("sent");
            let last = next(&mut stream).await;
            assert!(last.canceled() && last.events().is_empty(), "{options:?}: {last:?}");
        }
        client.compact(6, None).await.expect("compacted");
        let mut late = client.watch("a/1", Some(from(2))).await.expect("a stream");
        assert!(next(&mut late).await.created());
        let canceled = next(&mut late).await;
        assert_eq!((canceled.canceled(), canceled.compact_revision()), (true, 6));
    });
}

#[test]
fn watchers_share_a_stream_have_ids_and_are_canceled() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        let client = &mut three.client;
        let mut stream = client.watch("a", Some(WatchOptions::new().with_watch_id(5))).await.expect("a stream");
        let created = next(&mut stream).await;
        assert_eq!((created.created(), created.watch_id()), (true, 5));
        stream.watch("a", Some(WatchOptions::new().with_watch_id(6))).await.expect("sent");
        assert_eq!(next(&mut stream).await.watch_id(), 6);
        stream.watch("a", Some(WatchOptions::new().with_watch_id(6))).await.expect("sent");
        let taken = next(&mut stream).await;
        assert!(taken.canceled(), "{taken:?}");
        assert!(taken.cancel_reason().contains("duplicate"), "{taken:?}");
        client.put("a", "1", None).await.expect("written");
        let mut told_to = [next(&mut stream).await.watch_id(), next(&mut stream).await.watch_id()];
        told_to.sort_unstable();
        assert_eq!(told_to, [5, 6]);
        stream.cancel(5).await.expect("sent");
        let canceled = next(&mut stream).await;
        assert_eq!((canceled.canceled(), canceled.watch_id()), (true, 5));
        client.put("a", "2", None).await.expect("written");
        let left = next(&mut stream).await;
        assert_eq!((left.watch_id(), left.events().len()), (6, 1));
        // The two halves of a stream do the same.
        let (mut requests, mut responses) = stream.split();
        requests.cancel(6).await.expect("sent");
        let canceled = responses.message().await.expect("no error").expect("no end");
        assert_eq!((canceled.canceled(), canceled.watch_id()), (true, 6));
    });
}

#[test]
fn watch_progress_is_told_on_request_and_by_itself() {
    block_on(async {
        let three = Three::start(&["--watch-progress-notify-interval=200ms"]).await;
        let mut client = three.member(0).await;
        fill(&mut client).await;
        let mut stream = client.watch("none", None).await.expect("a stream");
        assert!(next(&mut stream).await.created());
        stream.request_progress().await.expect("sent");
        let asked = next(&mut stream).await;
        assert_eq!((asked.watch_id(), asked.events().len()), (-1, 0), "it speaks for the whole stream");
        assert_eq!(asked.header().expect("a header").revision(), 6);
        let mut stream =
            client.watch("none", Some(WatchOptions::new().with_progress_notify())).await.expect("a stream");
        assert!(next(&mut stream).await.created());
        let unasked = next(&mut stream).await;
        assert_eq!((unasked.watch_id(), unasked.events().len()), (0, 0));
        assert_eq!(unasked.header().expect("a header").revision(), 6);
    });
}

#[test]
fn alarms_go_on_are_listed_refuse_and_go_off() {
    block_on(async {
        let three = Three::start(&[]).await;
        let client = &mut three.member(0).await;
        client.put("a", "1", None).await.expect("written");
        let of = |member_id| {
            let mut options = AlarmOptions::new();
            options.with_member(member_id);
            Some(options)
        };
        let listed = async |client: &mut Client, kind| {
            let response = client.alarm(AlarmAction::Get, kind, None).await.expect("listed");
            response.alarms().iter().map(|alarm| (alarm.member_id(), alarm.alarm() as i32)).collect::<Vec<_>>()
        };
        for (kind, words) in [
            (AlarmType::Nospace, "etcdserver: mvcc: database space exceeded"),
            (AlarmType::Corrupt, "etcdserver: corrupt cluster"),
        ] {
            assert_eq!(listed(client, AlarmType::None).await, []);
            let on = client.alarm(AlarmAction::Activate, kind, of(42)).await.expect("on");
            assert_eq!((on.alarms().len(), on.alarms()[0].member_id()), (1, 42));
            assert_eq!(listed(client, AlarmType::None).await, [(42, kind as i32)]);
            assert_eq!(listed(client, kind).await, [(42, kind as i32)]);
            assert_eq!(refusal(client.put("a", "2", None).await), words);
            let status = client.status().await.expect("told");
            assert!(status.errors().iter().any(|error| error.contains("memberID:42")), "{status:?}");
            assert_eq!(client.get("a", Some(GetOptions::new().with_serializable())).await.expect("read").count(), 1);
            let other = client.alarm(AlarmAction::Deactivate, kind, of(43)).await.expect("answered");
            assert!(other.alarms().is_empty(), "nothing is on for that member");
            let off = client.alarm(AlarmAction::Deactivate, kind, of(42)).await.expect("off");
            assert_eq!(off.alarms().len(), 1);
            client.put("a", "3", None).await.expect("written again");
        }
        assert_eq!(listed(client, AlarmType::None).await, []);
    });
}

#[test]
fn status_and_defragment_are_answered_by_each_member() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        fill(&mut three.client).await;
        let mut leaders = Vec::new();
        let mut ids = Vec::new();
        for place in 0..3 {
            let mut member = three.member(place).await;
            // The linearizable read brings the member to what was written.
            member.get("b", None).await.expect("read");
            let status = member.status().await.expect("told");
            let header = status.header().expect("a header");
            assert_eq!(header.revision(), 6, "{status:?}");
            assert!(status.version().starts_with("3."), "{status:?}");
            assert!(status.db_size() > 0 && status.raft_used_db_size() > 0, "{status:?}");
            assert!(status.raft_index() > 0 && status.raft_applied_index() > 0, "{status:?}");
            assert!(status.raft_term() > 0 && status.db_size_quota() > 0, "{status:?}");
            assert!(status.errors().is_empty() && !status.is_learner(), "{status:?}");
            leaders.push(status.leader());
            ids.push(header.member_id());
            member.defragment().await.expect("defragmented");
            assert_eq!(pairs(&member.get("b", None).await.expect("read")), "b=v");
        }
        assert!(leaders.iter().all(|leader| ids.contains(leader)), "{leaders:?} of {ids:?}");
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 3, "each has its own id");
    });
}

#[test]
fn hashes_of_all_members_are_equal() {
    block_on(async {
        let mut three = Three::start(&[]).await;
        fill(&mut three.client).await;
        let physical = CompactionOptions::new().with_physical();
        three.client.compact(3, Some(physical)).await.expect("compacted");
        let mut current = Vec::new();
        let mut past = Vec::new();
        let mut whole = Vec::new();
        for place in 0..3 {
            let mut member = three.member(place).await;
            // The linearizable read brings the member to all that was acknowledged.
            member.get("b", None).await.expect("read");
            let hash = member.hash_kv(0).await.expect("hashed");
            assert_eq!((hash.hash_revision(), hash.compact_version()), (6, 3));
            current.push(hash.hash());
            let hash = member.hash_kv(5).await.expect("hashed");
            assert_eq!(hash.hash_revision(), 5);
            past.push(hash.hash());
            whole.push(member.hash().await.expect("hashed").hash());
            let old = member.hash_kv(2).await;
            assert_eq!(refusal(old), "etcdserver: mvcc: required revision has been compacted");
            let future = member.hash_kv(7).await;
            assert_eq!(refusal(future), "etcdserver: mvcc: required revision is a future revision");
        }
        for hashes in [&current, &past, &whole] {
            assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
        }
        assert_ne!(current[0], past[0], "another history has another hash");
        three.client.put("b", "changed", None).await.expect("written");
        let mut member = three.member(0).await;
        member.get("b", None).await.expect("read");
        assert_ne!(member.hash_kv(0).await.expect("hashed").hash(), current[0]);
        assert_eq!(member.hash_kv(6).await.expect("hashed").hash(), current[0], "the history up to there is the same");
        assert_ne!(member.hash().await.expect("hashed").hash(), whole[0]);
    });
}
