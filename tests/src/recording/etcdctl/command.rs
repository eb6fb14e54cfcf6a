//! The command lines of etcdctl.

use std::path::Path;
use std::process::Command;

use bytes::Bytes;

use crate::launch;
use crate::recording::workload::{Step, end};
use crate::recording::{ANSWER_WITHIN, CONNECT_WITHIN};

/// An etcdctl that talks to `endpoints` and prints JSON; its command and arguments have still to come.
pub(super) fn etcdctl(program: &Path, endpoints: &str) -> Command {
    let mut command = launch::dying_with_us(program).expect("the launcher is built");
    command.env("ETCDCTL_API", "3").args(["--write-out=json", "--endpoints", endpoints]);
    command.arg(format!("--command-timeout={}s", ANSWER_WITHIN.as_secs()));
    command.arg(format!("--dial-timeout={}s", CONNECT_WITHIN.as_secs()));
    command
}

/// The arguments that make etcdctl send the request of [`Step::request`], and what it has to read.
///
/// # Panics
/// The step is about leases or compactions, which etcdctl is not asked for: its client library sends those again when
/// they fail, so that the last error says nothing about the operation.
pub(super) fn of(step: &Step) -> (Vec<String>, String) {
    let arguments = match step {
        Step::Put { key, value, prev_kv, lease: 0 } => {
            let flag = prev_kv.then(|| "--prev-kv".to_owned());
            ["put".to_owned(), text(key), text(value)].into_iter().chain(flag).collect()
        }
        Step::Get { key, serializable, revision: 0 } => {
            let consistency = if *serializable { "s" } else { "l" };
            vec!["get".into(), text(key), format!("--consistency={consistency}")]
        }
        Step::Scan { key, limit } => vec!["get".into(), text(key), text(&end()), format!("--limit={limit}")],
        Step::Delete { key } => vec!["del".into(), text(key), "--prev-kv".into()],
        Step::Swap { .. } => vec!["txn".into()],
        _ => panic!("etcdctl is not asked for {step:?}"),
    };
    let input = match step {
        Step::Swap { key, expected, other, value } => {
            let (key, other, value) = (text(key), text(other), text(value));
            let success = format!("put {key} {value}\nget {key}\nput {other} {value}");
            format!("mod(\"{key}\") = \"{expected}\"\n\n{success}\n\nget {key}\n\n")
        }
        _ => String::new(),
    };
    (arguments, input)
}

/// Keys and values of the workload are text without blanks or quotes.
fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).expect("the workload's keys and values are text")
}
