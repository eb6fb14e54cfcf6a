//! The configuration of a member, checked as etcd checks it (contract, section 4).

use std::path::PathBuf;
use std::time::Duration;

use detcd_core::api::quota;
use detcd_core::config::{AutoCompaction, REVISIONS_EVERY};
use detcd_core::state_machine::SWEEP_RECORDS_MAX;
use detcd_core::types::ClusterId;
use detcd_core::{Member, NodeConfig};

use crate::durations;
use crate::flags::{FLAGS, Given};
use crate::ids;
use crate::peers::FRAME_BYTES_MAX;
use crate::urls::Url;

/// etcd's upper limit of `--election-timeout`.
const ELECTION_TIMEOUT_MS_MAX: u64 = 50_000;
/// How many heartbeats an election timeout must have room for.
const HEARTBEATS_PER_ELECTION_MIN: u64 = 5;
/// No request may be longer: it travels to the other members in one frame, with what the log and Raft add to it.
const REQUEST_BYTES_MAX: u64 = 32 << 20;
const _: () = assert!(REQUEST_BYTES_MAX as usize <= FRAME_BYTES_MAX / 2, "a request and what is added fit in a frame");
/// Automatic compaction takes ten samples in its period; more often is no use.
const PERIOD_MIN: Duration = Duration::from_secs(1);
/// What etcd adds to the request limit for gRPC's own bytes (contract, section 1).
const GRPC_OVERHEAD_BYTES: usize = 512 << 10;

/// Everything that flags decide.
#[derive(Clone, Debug)]
pub struct Config {
    /// This member's name.
    pub name: String,
    /// Where its data is.
    pub data_dir: PathBuf,
    /// Where it listens for members.
    pub listen_peer_urls: Vec<Url>,
    /// Where it listens for clients.
    pub listen_client_urls: Vec<Url>,
    /// Where clients reach it.
    pub advertise_client_urls: Vec<Url>,
    /// The founding members, by name, each with its peer URLs.
    pub initial_cluster: Vec<(String, Vec<Url>)>,
    /// Whether the data directory must already hold a member.
    pub must_exist: bool,
    /// Tells clusters apart.
    pub cluster_token: String,
    /// Between two heartbeats.
    pub heartbeat_interval: Duration,
    /// Without a leader before an election.
    pub election_timeout: Duration,
    /// Entries between two checkpoints.
    pub snapshot_count: u64,
    /// Entries kept behind a checkpoint.
    pub catchup_entries: u64,
    /// Bytes that the store may take; negative for no quota.
    pub quota_bytes: i64,
    /// When to compact without being asked.
    pub auto_compaction: AutoCompaction,
    /// Records in one slice of a compaction.
    pub sweep_records: u32,
    /// Between two slices.
    pub sweep_interval: Duration,
    /// Between two notifications of the progress.
    pub watch_progress_interval: Duration,
    /// Operations in a transaction.
    pub txn_ops_max: usize,
    /// Bytes in a request.
    pub request_bytes_max: usize,
    /// What is worth a log line.
    pub log_level: tracing::Level,
}

/// A flag whose value makes no sense: one line that names it and says what it takes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--{flag}: {what}")]
pub struct ConfigError {
    flag: &'static str,
    what: String,
}

fn wrong(flag: &'static str, what: impl ToString) -> ConfigError {
    ConfigError { flag, what: what.to_string() }
}

impl Config {
    /// Checks what was given and fills in the defaults.
    pub fn new(given: &Given) -> Result<Config, ConfigError> {
        let name = text(given, "name").to_string();
        let data_dir = given.get("data-dir").map_or_else(|| PathBuf::from(format!("{name}.etcd")), PathBuf::from);
        let advertise_peer_urls = urls(given, "initial-advertise-peer-urls", Url::parse_list)?;
        if given.get("listen-client-urls").is_some() && given.get("advertise-client-urls").is_none() {
            return Err(wrong("advertise-client-urls", "is required when --listen-client-urls is given"));
        }
        let (heartbeat_interval, election_timeout) = timing(given)?;
        let request_bytes_max = number(given, "max-request-bytes", 1, REQUEST_BYTES_MAX)?;
        let config = Config {
            initial_cluster: initial_cluster(given, &name, &advertise_peer_urls)?,
            name,
            data_dir,
            listen_peer_urls: urls(given, "listen-peer-urls", Url::parse_list_to_bind)?,
            listen_client_urls: urls(given, "listen-client-urls", Url::parse_list_to_bind)?,
            advertise_client_urls: urls(given, "advertise-client-urls", Url::parse_list)?,
            must_exist: match text(given, "initial-cluster-state") {
                "new" => false,
                "existing" => true,
                other => return Err(wrong("initial-cluster-state", format!("takes new or existing, not {other:?}"))),
            },
            cluster_token: text(given, "initial-cluster-token").to_string(),
            heartbeat_interval,
            election_timeout,
            snapshot_count: number(given, "snapshot-count", 1, u64::MAX)?,
            catchup_entries: number(given, "snapshot-catchup-entries", 0, u64::MAX)?,
            quota_bytes: quota(given)?,
            auto_compaction: auto_compaction(given)?,
            sweep_records: u32_of(number(given, "compaction-batch-limit", 1, u64::from(SWEEP_RECORDS_MAX))?),
            sweep_interval: duration(given, "compaction-sleep-interval")?,
            watch_progress_interval: duration(given, "watch-progress-notify-interval")?,
            txn_ops_max: usize_of(number(given, "max-txn-ops", 1, u64::from(u32::MAX))?),
            request_bytes_max: usize_of(request_bytes_max),
            log_level: match text(given, "log-level") {
                "debug" => tracing::Level::DEBUG,
                "info" => tracing::Level::INFO,
                "warn" => tracing::Level::WARN,
                "error" => tracing::Level::ERROR,
                other => {
                    return Err(wrong("log-level", format!("takes debug, info, warn or error, not {other:?}")));
                }
            },
        };
        config.check_own_urls(&advertise_peer_urls)?;
        Ok(config)
    }

    fn check_own_urls(&self, advertised: &[Url]) -> Result<(), ConfigError> {
        let own = self.initial_cluster.iter().find(|(name, _)| *name == self.name);
        let Some((_, own)) = own else {
            let what = format!("must name this member, {:?}, as --name gives it", self.name);
            return Err(wrong("initial-cluster", what));
        };
        if own != advertised {
            let what = format!("is {}, but --initial-cluster says {} of {:?}", list(advertised), list(own), self.name);
            return Err(wrong("initial-advertise-peer-urls", what));
        }
        Ok(())
    }

    /// The founding members with their ids, and the cluster's id.
    pub fn members(&self) -> (ClusterId, Vec<Member>) {
        let members: Vec<Member> = self.initial_cluster.iter().map(|(name, urls)| self.member(name, urls)).collect();
        (ids::cluster_id(members.iter().map(|member| member.id)), members)
    }

    fn member(&self, name: &str, urls: &[Url]) -> Member {
        let peer_urls: Vec<String> = urls.iter().map(Url::to_string).collect();
        let id = ids::member_id(peer_urls.iter().map(String::as_str), &self.cluster_token);
        Member { id, name: name.into(), peer_urls }
    }

    /// What the node is told; `seed` comes from the host.
    pub fn node_config(&self, seed: u64) -> NodeConfig {
        let (cluster_id, members) = self.members();
        let own = members.iter().find(|member| member.name == self.name).expect("checked: the cluster has this member");
        NodeConfig {
            client_urls: self.advertise_client_urls.iter().map(Url::to_string).collect(),
            heartbeat_interval: self.heartbeat_interval,
            election_timeout: self.election_timeout,
            checkpoint_entries: self.snapshot_count,
            catchup_entries: self.catchup_entries,
            quota_bytes: self.quota_bytes,
            auto_compaction: self.auto_compaction,
            sweep_records: self.sweep_records,
            sweep_interval: self.sweep_interval,
            watch_progress_interval: self.watch_progress_interval,
            request_bytes_max: self.request_bytes_max,
            watch_fragment_bytes: self.grpc_receive_bytes_max(),
            txn_ops_max: self.txn_ops_max,
            ..NodeConfig::with_etcd_defaults(cluster_id, own.id, members.clone(), seed)
        }
    }

    /// The longest gRPC message that is accepted, in bytes (contract, section 1).
    pub fn grpc_receive_bytes_max(&self) -> usize {
        self.request_bytes_max + GRPC_OVERHEAD_BYTES
    }
}

fn text<'a>(given: &'a Given, name: &str) -> &'a str {
    let flag = FLAGS.iter().find(|flag| flag.name == name).expect("a flag of ours");
    given.get(name).unwrap_or(flag.default)
}

fn number(given: &Given, name: &'static str, min: u64, max: u64) -> Result<u64, ConfigError> {
    let value = text(given, name);
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ if max == u64::MAX => Err(wrong(name, format!("takes a whole number from {min} on, not {value:?}"))),
        _ => Err(wrong(name, format!("takes a whole number from {min} to {max}, not {value:?}"))),
    }
}

/// 0 stands for etcd's default (contract, section 4).
fn quota(given: &Given) -> Result<i64, ConfigError> {
    const FLAG: &str = "quota-backend-bytes";
    let value = text(given, FLAG);
    match value.parse() {
        Ok(0) => Ok(quota::DEFAULT_BYTES),
        Ok(bytes) => Ok(bytes),
        Err(_) => Err(wrong(FLAG, format!("takes a whole number of bytes, not {value:?}"))),
    }
}

fn duration(given: &Given, flag: &'static str) -> Result<Duration, ConfigError> {
    let value = text(given, flag);
    durations::parse(value).ok_or_else(|| wrong(flag, format!("takes a time like 10ms or 1h30m, not {value:?}")))
}

fn auto_compaction(given: &Given) -> Result<AutoCompaction, ConfigError> {
    const MODE: &str = "auto-compaction-mode";
    const RETENTION: &str = "auto-compaction-retention";
    let value = text(given, RETENTION);
    match text(given, MODE) {
        "periodic" => {
            let hours = value.parse::<u32>().ok().map(|hours| Duration::from_secs(3600 * u64::from(hours)));
            match hours.or_else(|| durations::parse(value)) {
                Some(Duration::ZERO) => Ok(AutoCompaction::Off),
                Some(period) if period >= PERIOD_MIN => Ok(AutoCompaction::Periodic(period)),
                _ => {
                    let what =
                        format!("takes hours, or a time like 30m from 1s on, with --{MODE}=periodic, not {value:?}");
                    Err(wrong(RETENTION, what))
                }
            }
        }
        "revision" => match value.parse::<i64>() {
            Ok(0) => Ok(AutoCompaction::Off),
            Ok(kept) if kept > 0 => Ok(AutoCompaction::Revisions { kept, every: REVISIONS_EVERY }),
            _ => Err(wrong(RETENTION, format!("takes a number of revisions with --{MODE}=revision, not {value:?}"))),
        },
        other => Err(wrong(MODE, format!("takes periodic or revision, not {other:?}"))),
    }
}

fn u32_of(number: u64) -> u32 {
    u32::try_from(number).expect("bounded by a type that fits")
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("bounded by a type that fits")
}

fn urls<E: ToString>(
    given: &Given,
    name: &'static str,
    parse: impl Fn(&str) -> Result<Vec<Url>, E>,
) -> Result<Vec<Url>, ConfigError> {
    parse(text(given, name)).map_err(|error| wrong(name, error))
}

fn timing(given: &Given) -> Result<(Duration, Duration), ConfigError> {
    let heartbeat_ms = number(given, "heartbeat-interval", 1, ELECTION_TIMEOUT_MS_MAX)?;
    let election_ms = number(given, "election-timeout", 1, ELECTION_TIMEOUT_MS_MAX)?;
    let least_ms = HEARTBEATS_PER_ELECTION_MIN * heartbeat_ms;
    if election_ms < least_ms {
        let what = format!(
            "takes at least 5 times --heartbeat-interval ({heartbeat_ms} ms), so {least_ms} ms, not {election_ms} ms"
        );
        return Err(wrong("election-timeout", what));
    }
    Ok((Duration::from_millis(heartbeat_ms), Duration::from_millis(election_ms)))
}

fn initial_cluster(given: &Given, own: &str, own_urls: &[Url]) -> Result<Vec<(String, Vec<Url>)>, ConfigError> {
    const FLAG: &str = "initial-cluster";
    let Some(value) = given.get(FLAG) else {
        return Ok(vec![(own.to_string(), own_urls.to_vec())]);
    };
    let mut members: Vec<(String, Vec<Url>)> = Vec::new();
    for part in value.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let Some((name, url)) = part.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(wrong(FLAG, format!("takes name=url with commas between, not {part:?}")));
        };
        let url = Url::parse(url).map_err(|error| wrong(FLAG, error))?;
        if members.iter().any(|(_, urls)| urls.contains(&url)) {
            return Err(wrong(FLAG, format!("has {url} twice")));
        }
        match members.iter_mut().find(|(known, _)| known == name) {
            Some((_, urls)) => urls.push(url),
            None => members.push((name.to_string(), vec![url])),
        }
    }
    members.iter_mut().for_each(|(_, urls)| urls.sort());
    Ok(members)
}

fn list(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
