//! Words that must not appear.

use crate::expect_none;
use crate::source::{Source, tree};

/// Code that promises what it does not do.
const UNFINISHED: [&str; 4] = ["todo!", "unimplemented!", "dbg!", "#[ignore"];

/// Names that say nothing. The field's own terms exist for everything here.
const EMPTY_NAMES: [&str; 4] = ["manager", "helper", "util", "handler"];

/// What introduces a name in Rust.
const INTRODUCERS: [&str; 7] = ["struct ", "enum ", "trait ", "mod ", "fn ", "type ", "union "];

/// Folders of single machines, put together here so that this file does not offend.
fn machine_paths() -> [String; 4] {
    ["work/", "root/", "home/", "Users/"].map(|folder| format!("/{folder}"))
}

fn unfinished(tree: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in tree.iter().filter(|source| source.is_rust()) {
        let code = source.code();
        for word in UNFINISHED {
            for (at, _) in code.match_indices(word) {
                offences.push(format!("{}:{}: {word}", source.path, source.line_of(at)));
            }
        }
    }
    offences
}

fn names(code: &str) -> impl Iterator<Item = (usize, &str)> {
    INTRODUCERS.into_iter().flat_map(move |introducer| {
        let begins_word = |at: usize| at == 0 || !word_byte(code.as_bytes()[at - 1]);
        code.match_indices(introducer).filter(move |(at, _)| begins_word(*at)).map(move |(at, _)| {
            let name = &code[at + introducer.len()..];
            let end = name.bytes().position(|byte| !word_byte(byte)).unwrap_or(name.len());
            (at, &name[..end])
        })
    })
}

fn word_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn empty_names(tree: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in tree.iter().filter(|source| source.is_rust()) {
        let code = source.code();
        let file = (0, source.path.rsplit('/').next().unwrap_or_default());
        for (at, name) in names(&code).chain(std::iter::once(file)) {
            let lower = name.to_lowercase();
            if EMPTY_NAMES.iter().any(|empty| lower.contains(empty)) {
                offences.push(format!("{}:{}: {name}", source.path, source.line_of(at)));
            }
        }
    }
    offences
}

fn prefixed_tests(tree: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in tree.iter().filter(|source| source.is_rust()) {
        for (at, _) in source.code().match_indices("fn test_") {
            offences.push(format!("{}:{}", source.path, source.line_of(at)));
        }
    }
    offences
}

fn paths_of_machines(tree: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in tree {
        for folder in machine_paths() {
            for (at, _) in source.text.match_indices(&folder) {
                // Only an absolute path: a relative one that ends alike is a folder of the project's own.
                let before = source.text[..at].chars().next_back();
                if before.is_none_or(|letter| !letter.is_alphanumeric() && !"._-}/".contains(letter)) {
                    offences.push(format!("{}:{}: {folder}", source.path, source.line_of(at)));
                }
            }
        }
    }
    offences
}

#[test]
fn nothing_is_left_unfinished() {
    expect_none("unfinished code", &unfinished(&tree()));
}

#[test]
fn names_say_what_a_thing_is() {
    expect_none("names that say nothing", &empty_names(&tree()));
}

#[test]
fn names_of_tests_are_sentences() {
    expect_none("names of tests with a prefix", &prefixed_tests(&tree()));
}

#[test]
fn no_path_of_a_single_machine_is_written_down() {
    expect_none("paths of a single machine", &paths_of_machines(&tree()));
}

#[test]
fn banned_words_are_found() {
    let text = "// todo! in prose is fine\nfn test_it() { todo!() }\nstruct PeerManager;\n#[ignore]\n";
    let path = format!("see {}me/x, but not a{}x\n", machine_paths()[0], machine_paths()[0]);
    let tree =
        [Source::new("sim/src/a.rs", text), Source::new("sim/src/utils.rs", ""), Source::new("README.md", &path)];
    assert_eq!(unfinished(&tree), ["sim/src/a.rs:2: todo!", "sim/src/a.rs:4: #[ignore"]);
    assert_eq!(empty_names(&tree), ["sim/src/a.rs:3: PeerManager", "sim/src/utils.rs:1: utils.rs"]);
    assert_eq!(prefixed_tests(&tree), ["sim/src/a.rs:2"]);
    assert_eq!(paths_of_machines(&tree), [format!("README.md:1: {}", machine_paths()[0])]);
}
