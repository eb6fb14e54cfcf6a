//! The source tree as text, and Rust code with its comments and literals blanked out.

use std::path::{Path, PathBuf};

/// The folders of the workspace's crates.
pub const CRATES: [&str; 6] = ["core", "sim", "scenarios", "replay", "shim", "tests"];

/// One file of the tree.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its path from the root, with `/` between folders.
    pub path: String,
    /// What it says.
    pub text: String,
}

impl Source {
    /// A made-up file.
    pub fn new(path: &str, text: &str) -> Source {
        Source { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether it is Rust.
    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The text with every comment and the inside of every literal replaced by blanks; lines stay where they are.
    pub fn code(&self) -> String {
        blank_out(&self.text)
    }

    /// Where in this file, counted from 1, the byte at `offset` of its text or code lies.
    pub fn line_of(&self, offset: usize) -> usize {
        self.text.as_bytes()[..offset].iter().filter(|byte| **byte == b'\n').count() + 1
    }
}

/// The root of the workspace.
pub fn root() -> PathBuf {
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&own).parent().expect("this crate lies in the workspace").to_owned()
}

/// All files that people wrote, in the order of their paths.
pub fn tree() -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).expect("the tree can be read") {
            let entry = entry.expect("the tree can be read");
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().expect("the tree can be read").is_dir() {
                if !matches!(name.as_str(), ".git" | "target" | "corpus" | "artifacts" | "coverage") {
                    open.push(entry.path());
                }
            } else if !matches!(name.as_str(), ".git" | "Cargo.lock")
                && let Ok(text) = std::fs::read_to_string(entry.path())
            {
                let path =
                    entry.path().strip_prefix(&root).expect("found below the root").to_string_lossy().into_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(found.len() > 50, "the tree has more than {} files", found.len());
    found
}

/// See [`Source::code`].
fn blank_out(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    while out.len() < bytes.len() {
        let at = out.len();
        let length = opaque_length(&bytes[at..], at.checked_sub(1).map(|before| bytes[before]));
        if length == 0 {
            out.push(bytes[at]);
        }
        out.extend(bytes[at..at + length].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
    }
    String::from_utf8(out).expect("blanks take the place of whole characters only")
}

/// How long the comment or literal is that begins at the start of `rest`; 0 if none does.
fn opaque_length(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => 1 + quoted(&rest[1..]),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest),
        [b'\'', b'\\', _, after @ ..] => 3 + after.iter().position(|byte| *byte == b'\'').map_or(0, |end| end + 1),
        [b'\'', first, after @ ..] => {
            // A quote that follows one whole character closes a literal; otherwise this is a lifetime.
            let more = match first {
                0..=0xbf => 0,
                0xc0..=0xdf => 1,
                0xe0..=0xef => 2,
                _ => 3,
            };
            if after.get(more) == Some(&b'\'') { 3 + more } else { 0 }
        }
        _ => 0,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &[u8]) -> usize {
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> usize {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    if rest.get(1 + hashes) != Some(&b'"') {
        return 0;
    }
    let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
    let inside = &rest[hashes + 2..];
    let end = inside.windows(closing.len()).position(|window| window == closing);
    end.map_or(rest.len(), |end| hashes + 2 + end + closing.len())
}

#[test]
fn comments_and_literals_are_blanked_and_nothing_else() {
    let cases = [
        ("a // b {\nc", "a       \nc"),
        ("a /* { /* } */ { */ b", "a                   b"),
        ("f(\"{\\\"{\", '{', '\\'', 'x')", "f(      ,    ,     ,    )"),
        ("r#\"{\"{\"# }", "         }"),
        ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
        ("for r in 0..1 {}", "for r in 0..1 {}"),
        ("'ä' {", "     {"),
    ];
    for (text, expected) in cases {
        assert_eq!(blank_out(text), expected, "of {text}");
    }
}
