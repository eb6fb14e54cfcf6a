use super::*;
use crate::flags::{self, Command};

fn config(line: &str) -> Result<Config, ConfigError> {
    match flags::parse(line.split_whitespace().map(String::from), []) {
        Ok(Command::Run(given)) => Config::new(&given),
        other => panic!("{line}: {other:?}"),
    }
}

fn refusal(line: &str) -> String {
    config(line).expect_err(line).to_string()
}

#[test]
fn no_flags_at_all_make_a_single_member_as_etcds() {
    let config = config("").expect("the defaults");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(list(&config.listen_client_urls), "http://localhost:2379");
    assert_eq!(list(&config.listen_peer_urls), "http://localhost:2380");
    let node = config.node_config(7);
    assert_eq!(node.node_id.to_string(), "8e9e05c52164694d");
    assert_eq!(node.cluster_id.to_string(), "cdf818194e3a8c32");
    assert_eq!(node.client_urls, ["http://localhost:2379"]);
    assert_eq!(node.seed, 7);
    assert_eq!(config.grpc_receive_bytes_max(), 1_572_864 + 524_288);
    assert_eq!(node.members.len(), 1);
}

#[test]
fn the_name_decides_folder_and_cluster() {
    let config = config("--name m1").expect("a name");
    assert_eq!(config.data_dir, PathBuf::from("m1.etcd"));
    assert_eq!(config.initial_cluster[0].0, "m1");
}

#[test]
fn every_flag_reaches_its_place() {
    let line = "--name b --data-dir /d --listen-peer-urls http://0.0.0.0:11 --listen-client-urls http://127.0.0.1:12 \
        --advertise-client-urls http://c:12 --initial-advertise-peer-urls http://b:11 \
        --initial-cluster a=http://a:1,b=http://b:11,a=http://a:0 --initial-cluster-state existing \
        --initial-cluster-token t --heartbeat-interval 10 --election-timeout 50 --snapshot-count 5 \
        --snapshot-catchup-entries 0 --max-txn-ops 9 --max-request-bytes 1000 --log-level warn \
        --quota-backend-bytes 77 --auto-compaction-mode revision --auto-compaction-retention 5 \
        --compaction-batch-limit 3 --compaction-sleep-interval 4ms --watch-progress-notify-interval 1m30s";
    let config = config(line).expect("all flags");
    let node = config.node_config(1);
    assert_eq!(list(&config.listen_peer_urls), "http://0.0.0.0:11");
    assert_eq!(list(&config.listen_client_urls), "http://127.0.0.1:12");
    assert!(config.must_exist);
    assert_eq!(config.log_level, tracing::Level::WARN);
    assert_eq!(node.client_urls, ["http://c:12"]);
    assert_eq!((node.heartbeat_interval.as_millis(), node.election_timeout.as_millis()), (10, 50));
    assert_eq!((node.checkpoint_entries, node.catchup_entries), (5, 0));
    assert_eq!((node.txn_ops_max, node.request_bytes_max), (9, 1000));
    assert_eq!(
        (node.quota_bytes, node.auto_compaction),
        (77, AutoCompaction::Revisions { kept: 5, every: REVISIONS_EVERY })
    );
    assert_eq!((node.sweep_records, node.sweep_interval.as_millis()), (3, 4));
    assert_eq!(node.watch_progress_interval.as_secs(), 90);
    assert_eq!(node.members[0].peer_urls, ["http://a:0", "http://a:1"]);
    assert_eq!(node.members[0].id, ids::member_id(["http://a:0", "http://a:1"], "t"));
    assert_eq!(node.node_id, node.members[1].id);
    assert_eq!(node.members.len(), 2);
}

#[test]
fn quota_and_retention_read_as_in_etcd() {
    let quota = |line: &str| config(line).expect(line).quota_bytes;
    assert_eq!([quota(""), quota("--quota-backend-bytes=0")], [2 << 30; 2]);
    assert_eq!(quota("--quota-backend-bytes=-1"), -1);
    let periodic = |seconds| AutoCompaction::Periodic(Duration::from_secs(seconds));
    let table = [
        ("", AutoCompaction::Off),
        ("--auto-compaction-mode=revision", AutoCompaction::Off),
        ("--auto-compaction-retention=2", periodic(7200)),
        ("--auto-compaction-retention=90s", periodic(90)),
        ("--auto-compaction-mode=periodic --auto-compaction-retention=1h", periodic(3600)),
        (
            "--auto-compaction-mode=revision --auto-compaction-retention=1000",
            AutoCompaction::Revisions { kept: 1000, every: REVISIONS_EVERY },
        ),
    ];
    for (line, expected) in table {
        assert_eq!(config(line).expect(line).auto_compaction, expected, "{line}");
    }
}

#[test]
fn a_bad_value_gives_one_line_that_names_the_flag_and_what_it_takes() {
    let table = [
        ("--election-timeout 499", "--election-timeout: takes at least 5 times --heartbeat-interval (100 ms)"),
        ("--election-timeout 50001", "--election-timeout: takes a whole number from 1 to 50000, not \"50001\""),
        ("--heartbeat-interval 0", "--heartbeat-interval: takes a whole number from 1"),
        ("--heartbeat-interval soon", "--heartbeat-interval: takes a whole number from 1"),
        ("--snapshot-count -1", "--snapshot-count: takes a whole number from 1 on, not \"-1\""),
        ("--max-txn-ops 0", "--max-txn-ops: takes a whole number"),
        (
            "--max-request-bytes 33554433",
            "--max-request-bytes: takes a whole number from 1 to 33554432, not \"33554433\"",
        ),
        ("--quota-backend-bytes 2G", "--quota-backend-bytes: takes a whole number of bytes, not \"2G\""),
        ("--auto-compaction-mode daily", "--auto-compaction-mode: takes periodic or revision, not \"daily\""),
        (
            "--auto-compaction-retention 1d",
            "--auto-compaction-retention: takes hours, or a time like 30m from 1s on, with --auto-compaction-mode",
        ),
        ("--auto-compaction-retention 10ms", "--auto-compaction-retention: takes hours, or a time like 30m from 1s on"),
        (
            "--auto-compaction-mode revision --auto-compaction-retention 1h",
            "--auto-compaction-retention: takes a number of revisions with --auto-compaction-mode=revision, not \"1h\"",
        ),
        ("--compaction-batch-limit 0", "--compaction-batch-limit: takes a whole number from 1 to 10000, not \"0\""),
        ("--compaction-sleep-interval 10", "--compaction-sleep-interval: takes a time like 10ms or 1h30m, not \"10\""),
        ("--log-level loud", "--log-level: takes debug, info, warn or error, not \"loud\""),
        ("--initial-cluster-state old", "--initial-cluster-state: takes new or existing, not \"old\""),
        (
            "--listen-peer-urls https://localhost:1",
            "--listen-peer-urls: \"https://localhost:1\" must begin with http://",
        ),
        ("--listen-client-urls http://localhost:1", "--advertise-client-urls: is required when --listen-client-urls"),
        ("--initial-cluster a=http://localhost:2380", "--initial-cluster: must name this member, \"default\""),
        ("--initial-cluster http://localhost:2380", "--initial-cluster: takes name=url with commas between"),
        ("--initial-cluster default=http://h:1", "--initial-advertise-peer-urls: is http://localhost:2380, but"),
        ("--initial-cluster default=http://h:1,b=http://h:1", "--initial-cluster: has http://h:1 twice"),
    ];
    for (line, expected) in table {
        let refusal = refusal(line);
        assert!(refusal.starts_with(expected), "{line}: {refusal}");
        assert!(!refusal.contains('\n'), "{line}: {refusal}");
    }
}
