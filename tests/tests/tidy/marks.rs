//! The list of marks in `scenarios/MARKS.md` and the code that makes them say the same.

use std::collections::BTreeSet;

use crate::expect_none;
use crate::source::{Source, tree};

/// Where the list is.
const LIST: &str = "scenarios/MARKS.md";

fn makes_marks(source: &Source) -> bool {
    source.is_rust() && (source.path.starts_with("core/src/") || source.path.starts_with("sim/src/"))
}

/// The first column of the list's table.
fn listed(list: &Source) -> BTreeSet<&str> {
    list.text.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect()
}

/// The marks that the list lacks, and the names in it that no code says.
fn unlike_marks(tree: &[Source]) -> Vec<String> {
    let list = tree.iter().find(|source| source.path == LIST).expect("there is a list of marks");
    let listed = listed(list);
    let mut offences = Vec::new();
    for source in tree.iter().filter(|source| makes_marks(source)) {
        for (at, call) in source.text.match_indices("mark(\"") {
            let name = source.text[at + call.len()..].split('"').next().expect("a split has a first part");
            if !listed.contains(name) {
                offences.push(format!("{}:{}: {LIST} has no row for `{name}`", source.path, source.line_of(at)));
            }
        }
    }
    for name in listed {
        let said = format!("\"{name}\"");
        if !tree.iter().any(|source| makes_marks(source) && source.text.contains(&said)) {
            offences.push(format!("{LIST}: nobody makes the mark `{name}`"));
        }
    }
    offences
}

#[test]
fn marks_and_their_list_agree() {
    expect_none("marks that the list and the code do not share", &unlike_marks(&tree()));
}

#[test]
fn a_mark_that_only_one_side_knows_is_found() {
    let tree = [
        Source::new("core/src/a.rs", "out.mark(\"a: known\");\nout.mark(\"a: new\");\n"),
        Source::new("sim/src/b.rs", "const B: &str = \"b: by its name\";\n"),
        Source::new("tests/c.rs", "marked(\"c: gone\")\n"),
        Source::new(LIST, "| Mark |\n|---|\n| `a: known` | core | x |\n| `b: by its name` | x |\n| `c: gone` | x |\n"),
    ];
    let expected = [
        "core/src/a.rs:2: scenarios/MARKS.md has no row for `a: new`",
        "scenarios/MARKS.md: nobody makes the mark `c: gone`",
    ];
    assert_eq!(unlike_marks(&tree), expected);
}
