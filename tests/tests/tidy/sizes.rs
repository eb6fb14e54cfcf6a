//! Lines, functions and files stay small enough to be read.

use crate::expect_none;
use crate::source::{Source, tree};

const LINE_COLUMNS_MAX: usize = 120;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 900;

/// Endings of the names of files that people write by the line. Prose wraps itself in a reader.
const WRITTEN_BY_LINE: [&str; 6] = [".rs", ".toml", ".proto", ".sh", ".ci/run", ".cargo/protoc"];

fn long_lines(tree: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in tree.iter().filter(|source| WRITTEN_BY_LINE.iter().any(|ending| source.path.ends_with(ending))) {
        for (number, line) in (1..).zip(source.text.lines()) {
            let columns = line.chars().count();
            if columns > LINE_COLUMNS_MAX {
                offences.push(format!("{}:{number}: {columns} columns", source.path));
            }
        }
    }
    offences
}

fn long_files(tree: &[Source]) -> Vec<String> {
    let rust = tree.iter().filter(|source| source.is_rust());
    rust.map(|source| (source, source.text.lines().count()))
        .filter(|(_, lines)| *lines > FILE_LINES_MAX)
        .map(|(source, lines)| format!("{}: {lines} lines", source.path))
        .collect()
}

fn long_functions(tree: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in tree.iter().filter(|source| source.is_rust()) {
        let code = source.code();
        for (start, _) in code.match_indices("fn ") {
            let begins_word = start == 0 || !is_word(code.as_bytes()[start - 1]);
            let Some(end) = function_end(&code, start).filter(|_| begins_word) else { continue };
            let lines = code[start..end].lines().count();
            if lines > FUNCTION_LINES_MAX {
                let name: String = code[start + 3..].chars().take_while(|letter| is_word(*letter as u8)).collect();
                offences.push(format!("{}:{}: {name} has {lines} lines", source.path, source.line_of(start)));
            }
        }
    }
    offences
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the body ends of the function whose `fn` is at `start`; `None` if it has no body.
fn function_end(code: &str, start: usize) -> Option<usize> {
    let mut depth = 0usize;
    let mut braces = 0usize;
    for (at, byte) in code.bytes().enumerate().skip(start) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth = depth.checked_sub(1)?,
            b';' if depth == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces = braces.checked_sub(1)?;
                if braces == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[test]
fn lines_fit_a_screen() {
    expect_none("lines over 120 columns", &long_lines(&tree()));
}

#[test]
fn files_have_one_subject() {
    expect_none("files over 900 lines: split them by subject", &long_files(&tree()));
}

#[test]
fn functions_fit_a_screen() {
    expect_none("functions over 70 lines: name their parts", &long_functions(&tree()));
}

#[test]
fn what_is_too_long_is_found() {
    let body = "    call();\n".repeat(69);
    let short = format!("fn fine() {{\n{}}}\n", "    call();\n".repeat(68));
    let tree = [
        Source::new(
            "core/src/a.rs",
            &format!("{short}trait T {{ fn none(&self, x: [u8; 3]); }}\nfn long() {{\n{body}}}\n"),
        ),
        Source::new("core/src/b.rs", &"//\n".repeat(901)),
        Source::new("core/src/c.rs", &format!("// {}\n// {}\n", "x".repeat(117), "x".repeat(118))),
    ];
    assert_eq!(long_functions(&tree), ["core/src/a.rs:72: long has 71 lines"]);
    assert_eq!(long_files(&tree), ["core/src/b.rs: 901 lines"]);
    assert_eq!(long_lines(&tree), ["core/src/c.rs:2: 121 columns"]);
}
