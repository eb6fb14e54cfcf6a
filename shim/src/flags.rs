//! The command line and the environment, with the rules of etcd's flags (contract, section 4).
//!
//! `-f` and `--f` are the same; a value follows after `=` or as the next argument; a flag may be repeated and the last
//! one counts; `ETCD_F` in the environment stands in for a flag that is not given. Only flags that do something exist.

use std::collections::BTreeMap;

/// A flag: its name, its default as `--help` shows it, and what it takes.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// The name, without dashes.
    pub name: &'static str,
    /// The value when it is not given.
    pub default: &'static str,
    /// What it takes and means.
    pub about: &'static str,
}

macro_rules! flags {
    ($($name:literal, $default:literal, $about:literal;)*) => {
        /// All flags that take a value.
        pub const FLAGS: &[Flag] = &[$(Flag { name: $name, default: $default, about: $about },)*];
    };
}

flags! {
    "name", "default", "name of this member";
    "data-dir", "${name}.etcd", "folder of this member's data";
    "listen-peer-urls", "http://localhost:2380", "URLs to listen on for other members";
    "listen-client-urls", "http://localhost:2379", "URLs to listen on for clients, gRPC and HTTP";
    "initial-advertise-peer-urls", "http://localhost:2380", "URLs at which other members reach this one";
    "advertise-client-urls", "http://localhost:2379", "URLs at which clients reach this member";
    "initial-cluster", "", "founders of a fresh data-dir, name=url with commas between; by default this member alone";
    "initial-cluster-state", "new", "new, or existing for a data-dir that already holds a member";
    "initial-cluster-token", "etcd-cluster", "word that tells clusters apart whose members have the same URLs";
    "heartbeat-interval", "100", "milliseconds between two heartbeats of the leader";
    "election-timeout", "1000", "milliseconds without a leader before an election, at least 5 heartbeat intervals";
    "snapshot-count", "10000", "entries applied between two checkpoints";
    "snapshot-catchup-entries", "5000", "entries kept behind a checkpoint for members that lag";
    "quota-backend-bytes", "0", "bytes that the store may take, as dbSize counts; 0 for 2 GiB, less for no quota";
    "auto-compaction-mode", "periodic", "periodic or revision: what --auto-compaction-retention counts";
    "auto-compaction-retention", "0", "hours, or a time like 30m, or revisions, that are kept; 0 for all";
    "compaction-batch-limit", "1000", "records looked at in one slice of a compaction, at most 10000";
    "compaction-sleep-interval", "10ms", "time between two slices of a compaction";
    "watch-progress-notify-interval", "10m", "time between two notifications of watchers that ask for progress";
    "max-txn-ops", "128", "operations in one transaction";
    "max-request-bytes", "1572864", "bytes in one request, at most 32 MiB";
    "log-level", "info", "debug, info, warn or error";
}

/// What the command line and the environment gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    values: BTreeMap<&'static str, String>,
    /// Variables that look like flags and are none; worth a warning.
    pub unknown_variables: Vec<String>,
}

/// What the user wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Run a member.
    Run(Given),
    /// Print the version.
    Version,
    /// Print the flags.
    Help,
}

/// A command line that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FlagsError {
    /// There is no such flag.
    #[error("unknown flag --{0}; detcd --help lists the flags")]
    Unknown(String),
    /// Something is no flag at all.
    #[error("{0:?} is not a flag; detcd --help lists the flags")]
    NotAFlag(String),
    /// A flag stands at the end without its value.
    #[error("--{name} needs a value: {about}")]
    MissingValue {
        /// The flag.
        name: &'static str,
        /// What it takes.
        about: &'static str,
    },
    /// `--version=maybe`.
    #[error("--{name} takes true or false, not {value:?}")]
    NotABoolean {
        /// The flag.
        name: &'static str,
        /// What was given.
        value: String,
    },
}

impl FlagsError {
    /// The exit status: 2, as etcd's, except where a known flag has a bad value.
    pub fn exit_status(&self) -> u8 {
        match self {
            FlagsError::Unknown(_) | FlagsError::NotAFlag(_) => 2,
            FlagsError::MissingValue { .. } | FlagsError::NotABoolean { .. } => 1,
        }
    }
}

impl Given {
    /// The value of a flag, if one was given and is not empty.
    ///
    /// # Panics
    ///
    /// If there is no flag of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        assert!(FLAGS.iter().any(|flag| flag.name == name), "--{name} is no flag");
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

/// Reads the arguments (without the program's name) and the environment.
pub fn parse(
    arguments: impl IntoIterator<Item = String>,
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<Command, FlagsError> {
    let mut given = Given::default();
    let mut command = None;
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let stripped = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
        let Some(text) = stripped.filter(|text| !text.is_empty()) else {
            return Err(FlagsError::NotAFlag(argument));
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_string())),
            None => (text, None),
        };
        match name {
            "version" => command = boolean("version", value)?.then_some(Command::Version).or(command),
            "help" | "h" => command = boolean("help", value)?.then_some(Command::Help).or(command),
            _ => {
                let flag = FLAGS.iter().find(|flag| flag.name == name);
                let flag = flag.ok_or_else(|| FlagsError::Unknown(name.into()))?;
                let missing = FlagsError::MissingValue { name: flag.name, about: flag.about };
                given.values.insert(flag.name, value.or_else(|| arguments.next()).ok_or(missing)?);
            }
        }
    }
    add_environment(&mut given, environment);
    Ok(command.unwrap_or(Command::Run(given)))
}

fn add_environment(given: &mut Given, environment: impl IntoIterator<Item = (String, String)>) {
    for (variable, value) in environment {
        let Some(rest) = variable.strip_prefix("ETCD_") else { continue };
        let name = rest.to_ascii_lowercase().replace('_', "-");
        match FLAGS.iter().find(|flag| flag.name == name) {
            Some(flag) if !value.is_empty() => {
                given.values.entry(flag.name).or_insert(value);
            }
            Some(_) => {}
            None => given.unknown_variables.push(variable),
        }
    }
    given.unknown_variables.sort();
}

fn boolean(name: &'static str, value: Option<String>) -> Result<bool, FlagsError> {
    match value.as_deref() {
        None | Some("true" | "1" | "t" | "T" | "TRUE" | "True") => Ok(true),
        Some("false" | "0" | "f" | "F" | "FALSE" | "False") => Ok(false),
        Some(value) => Err(FlagsError::NotABoolean { name, value: value.into() }),
    }
}

/// The text of `--help`.
pub fn help() -> String {
    let mut text = String::from("detcd [flags]\n    Run one member of a cluster.\n\nFlags:\n");
    for flag in FLAGS {
        text.push_str(&format!("  --{} '{}'\n      {}.\n", flag.name, flag.default, flag.about));
    }
    text.push_str("  --version\n      Print the version and exit.\n\n");
    text.push_str("Each flag is also read from the environment, as ETCD_NAME, ETCD_DATA_DIR and so on.\n");
    text
}

#[cfg(test)]
#[path = "flags_tests.rs"]
mod tests;
