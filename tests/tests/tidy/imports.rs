//! Who may use whom: crates among each other, and modules inside core, which no compiler separates.

use std::collections::{BTreeMap, BTreeSet};

use crate::expect_none;
use crate::source::{CRATES, Source, tree};

/// For each crate, the crates of the workspace that it may use.
const CRATES_MAY_USE: [(&str, &[&str]); 6] = [
    ("core", &[]),
    ("sim", &["detcd-core"]),
    ("scenarios", &["detcd-core", "detcd-sim"]),
    ("replay", &["detcd-core", "detcd-sim", "detcd-scenarios"]),
    ("shim", &["detcd-core"]),
    ("tests", &["detcd", "detcd-core", "detcd-replay", "detcd-scenarios", "detcd-sim"]),
];

/// Libraries that reach for the world; the crates that are pure do not even name them.
const WORLDLY: [&str; 10] =
    ["tokio", "tonic", "hyper", "axum", "rustix", "libc", "rand", "getrandom", "tracing", "tempfile"];

/// For each module of core, the modules of core that it must not know, and why.
const MODULES_MUST_NOT_USE: [(&str, &[&str], &str); 10] = [
    (
        "state_machine",
        &[
            "consensus",
            "disk_queue",
            "effect",
            "input",
            "lease_clock",
            "node",
            "peer",
            "snapshot",
            "time",
            "wal",
            "watch",
        ],
        "what is replicated knows revision, key, lease and user, and not term, leader, peer, disk or time",
    ),
    (
        "consensus",
        &["api", "lease_clock", "node", "snapshot", "state_machine", "wal", "watch"],
        "consensus agrees on entries and does not look into them",
    ),
    ("wal", &["api", "consensus", "lease_clock", "node", "snapshot", "state_machine", "watch"], "the log is bytes"),
    ("snapshot", &["consensus", "lease_clock", "node", "wal", "watch"], "a checkpoint is a store turned into bytes"),
    ("watch", &["consensus", "lease_clock", "node", "snapshot", "wal"], "watchers see stores, not how they come about"),
    ("lease_clock", &["consensus", "node", "snapshot", "wal", "watch"], "the clock only says which leases are due"),
    (
        "locks",
        &["consensus", "effect", "input", "lease_clock", "node", "snapshot", "state_machine", "time", "wal", "watch"],
        "a conversation knows what may be asked of a member, and nothing of how it answers",
    ),
    (
        "api",
        &["consensus", "lease_clock", "locks", "node", "snapshot", "wal", "watch"],
        "the contract is a matter of values",
    ),
    (
        "types",
        &["api", "consensus", "effect", "input", "lease_clock", "node", "snapshot", "state_machine", "wal", "watch"],
        "everybody uses these, so they use nobody",
    ),
    ("time", &["api", "consensus", "effect", "input", "node", "state_machine", "wal", "watch"], "as types"),
];

/// Single names that a module may use although their home is closed to it: plain values that both sides speak of.
const MAY_YET_USE: [(&str, &str, &str); 2] = [("consensus", "node", "Role"), ("consensus", "wal", "WriteId")];

/// The one file of the store that turns log entries into commands, and so says what entries are made of.
const READS_ENTRIES: &str = "core/src/state_machine/command.rs";

/// Words that the replicated store must not say. It knows the index that it has applied, so `LogIndex` is none of them.
const STORE_MUST_NOT_SAY: [&str; 2] = ["Term", "Instant"];

/// Libraries that only one module of core may name.
const ONLY_IN: [(&str, &str); 3] = [("raft", "consensus"), ("prost_raft", "consensus"), ("slog", "consensus")];

fn crates_of_others(manifests: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for (folder, allowed) in CRATES_MAY_USE {
        let path = format!("{folder}/Cargo.toml");
        let Some(manifest) = manifests.iter().find(|source| source.path == path) else { continue };
        let table: toml::Table = manifest.text.parse().expect("cargo reads this file too");
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let names = table.get(section).and_then(toml::Value::as_table).into_iter().flat_map(toml::Table::keys);
            for name in names {
                if name.starts_with("detcd") && !allowed.contains(&name.as_str()) {
                    offences.push(format!("{path}: {folder} must not use {name}"));
                }
                let pure = matches!(folder, "core" | "sim") && section == "dependencies";
                if pure && WORLDLY.contains(&name.as_str()) {
                    offences.push(format!("{path}: {folder} is pure and must not use {name}"));
                }
            }
        }
    }
    offences
}

/// The module of core that a file belongs to: the first folder or the file's stem.
fn module_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("core/src/")?;
    let first = inside.split('/').next()?;
    let stem = first.strip_suffix(".rs").unwrap_or(first);
    Some(stem.strip_suffix("_tests").unwrap_or(stem)).filter(|stem| *stem != "lib")
}

/// Splits `a::{b, c::d}, e` at the commas that are in no braces.
fn split_top(list: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0usize, 0);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth = depth.saturating_sub(1),
            b',' if depth == 0 => {
                parts.push(list[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(list[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

fn word(text: &str) -> &str {
    let end = text.bytes().position(|byte| !byte.is_ascii_alphanumeric() && byte != b'_').unwrap_or(text.len());
    &text[..end]
}

/// The text of the braces that `rest` begins with, without them.
fn braced(rest: &str) -> Option<&str> {
    let mut depth = 0usize;
    for (at, byte) in rest.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return rest.get(1..at),
            b'}' => depth = depth.checked_sub(1)?,
            _ if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// The first two names of each path that comes after a `crate::`, be it one path or several in braces.
fn heads(rest: &str) -> Vec<[&str; 2]> {
    let tails = |rest| match braced(rest) {
        Some(list) => split_top(list),
        None => vec![rest],
    };
    let mut heads = Vec::new();
    for path in tails(rest.trim_start()) {
        let first = word(path);
        match path[first.len()..].strip_prefix("::") {
            Some(more) => heads.extend(tails(more).into_iter().map(|second| [first, word(second)])),
            None => heads.push([first, ""]),
        }
    }
    heads
}

/// Every name at the root of core that `source` reaches for, with its place.
fn roots_used(source: &Source) -> Vec<(usize, [String; 2])> {
    let code = source.code();
    let mut used = Vec::new();
    let mut add = |at, rest| used.extend(heads(rest).into_iter().map(|path| (at, path.map(str::to_owned))));
    for (at, _) in code.match_indices("crate::") {
        add(at, &code[at + 7..]);
    }
    // How many modules deep the file is: `super` that many times is the root.
    let inside = source.path.trim_start_matches("core/src/").trim_end_matches("/mod.rs");
    let climb = "super::".repeat(inside.split('/').count());
    for (at, _) in code.match_indices(&climb) {
        let continued = code[..at].ends_with("super::") || code[at + climb.len()..].starts_with("super::");
        if !continued {
            add(at, &code[at + climb.len()..]);
        }
    }
    used
}

/// The modules of core behind the names that its root passes on: `Node` is `node`'s.
fn passed_on(tree: &[Source]) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    let Some(root) = tree.iter().find(|source| source.path == "core/src/lib.rs") else { return names };
    let code = root.code();
    for (at, _) in code.match_indices("pub use ") {
        let statement = code[at + 8..].split(';').next().unwrap_or_default();
        if let Some((module, rest)) = statement.split_once("::") {
            for [name, _] in heads(rest) {
                names.insert(name.to_owned(), module.trim().to_owned());
            }
        }
    }
    names
}

fn modules_of_others(tree: &[Source]) -> Vec<String> {
    let passed_on = passed_on(tree);
    let mut offences = BTreeSet::new();
    for source in tree.iter().filter(|source| source.is_rust()) {
        let Some(module) = module_of(&source.path) else { continue };
        let Some((_, banned, why)) = MODULES_MUST_NOT_USE.iter().find(|rule| rule.0 == module) else { continue };
        for (at, [first, second]) in roots_used(source) {
            // `crate::Role` and `crate::node::Role` are the same.
            let (used, item) = passed_on.get(&first).map_or((&first, &second), |home| (home, &first));
            let excepted = MAY_YET_USE.contains(&(module, used, item));
            if banned.contains(&used.as_str()) && !excepted {
                let line = source.line_of(at);
                offences.insert(format!("{}:{line}: {module} must not use {used}: {why}", source.path));
            }
        }
    }
    offences.into_iter().collect()
}

/// Where `name` stands in `code` as a word of its own.
fn places_of_word<'a>(code: &'a str, name: &'a str) -> impl Iterator<Item = usize> + 'a {
    let bytes = code.as_bytes();
    let part_of_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    code.match_indices(name).map(|(at, _)| at).filter(move |at| {
        let before = at.checked_sub(1).and_then(|before| bytes.get(before));
        !part_of_word(before) && !part_of_word(bytes.get(at + name.len()))
    })
}

fn words_of_others(tree: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in tree.iter().filter(|source| source.is_rust()) {
        let Some(module) = module_of(&source.path) else { continue };
        let code = source.code();
        if module == "state_machine" && source.path != READS_ENTRIES {
            for name in STORE_MUST_NOT_SAY {
                for at in places_of_word(&code, name) {
                    offences.push(format!("{}:{}: the store must not say {name}", source.path, source.line_of(at)));
                }
            }
        }
        for (library, home) in ONLY_IN.into_iter().filter(|(_, home)| *home != module) {
            for at in places_of_word(&code, library) {
                let path = code[at + library.len()..].starts_with("::") && !code[..at].ends_with("::");
                if path {
                    offences.push(format!("{}:{}: only {home} may use {library}", source.path, source.line_of(at)));
                }
            }
        }
    }
    offences
}

#[test]
fn crates_use_only_whom_they_may() {
    assert_eq!(CRATES_MAY_USE.map(|(folder, _)| folder), CRATES);
    expect_none("dependencies between crates", &crates_of_others(&tree()));
}

#[test]
fn modules_of_core_use_only_whom_they_may() {
    expect_none("dependencies between modules of core", &modules_of_others(&tree()));
}

#[test]
fn words_stay_where_they_belong() {
    expect_none("words in modules that must not know them", &words_of_others(&tree()));
}

#[test]
fn forbidden_uses_are_found() {
    let tree = [
        Source::new("core/src/lib.rs", "pub use node::{Node, Phase};\npub use time::Instant;\n"),
        Source::new(
            "core/src/state_machine/lease.rs",
            "use crate::{types, wal::{record, writer}};\nuse crate::Phase;\n",
        ),
        Source::new("core/src/state_machine/mod.rs", "use super::{types, peer};\nuse crate::types::{Term, NodeId};\n"),
        Source::new("core/src/wal/record.rs", "use super::super::consensus::X;\nuse super::node;\n"),
        Source::new("core/src/consensus/mod.rs", "use crate::{node::{Role, Phase}, wal::WriteId};\n"),
        Source::new("core/src/node/mod.rs", "use crate::{wal, consensus};\nuse raft::RawNode;\nuse raftpb::raft::X;\n"),
        Source::new("shim/Cargo.toml", "[dependencies]\ndetcd-sim.workspace = true\n"),
        Source::new("sim/Cargo.toml", "[dependencies]\ntokio.workspace = true\n[dev-dependencies]\ntempfile = \"3\"\n"),
    ];
    let modules = modules_of_others(&tree);
    let expected = [
        ("core/src/consensus/mod.rs:1", "consensus must not use node"),
        ("core/src/state_machine/lease.rs:1", "state_machine must not use wal"),
        ("core/src/state_machine/lease.rs:2", "state_machine must not use node"),
        ("core/src/state_machine/mod.rs:1", "state_machine must not use peer"),
        ("core/src/wal/record.rs:1", "wal must not use consensus"),
    ];
    assert_eq!(modules.len(), expected.len(), "{modules:#?}");
    for (offence, (place, what)) in modules.iter().zip(expected) {
        assert!(offence.starts_with(&format!("{place}: {what}: ")), "{offence}");
    }
    assert_eq!(
        words_of_others(&tree),
        [
            "core/src/state_machine/mod.rs:2: the store must not say Term",
            "core/src/node/mod.rs:2: only consensus may use raft"
        ],
    );
    assert_eq!(
        crates_of_others(&tree),
        ["sim/Cargo.toml: sim is pure and must not use tokio", "shim/Cargo.toml: shim must not use detcd-sim"],
    );
}
