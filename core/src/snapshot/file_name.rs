//! Names of checkpoint files.

use crate::types::{LogIndex, Term};

const DIR: &str = "member/snap/";
const SUFFIX: &str = ".ckpt";

/// The name of the checkpoint at an index and its term, relative to the data directory. Names of one term
/// sort by index.
pub fn checkpoint_name(term: Term, index: LogIndex) -> String {
    format!("{DIR}{:016x}-{:016x}{SUFFIX}", term.0, index.0)
}

/// Term and index of the checkpoint with this name; `None` for any name that [`checkpoint_name`] does not give.
pub fn parse_checkpoint_name(name: &str) -> Option<(Term, LogIndex)> {
    let (term, index) = name.strip_prefix(DIR)?.strip_suffix(SUFFIX)?.split_once('-')?;
    let number = |digits: &str| u64::from_str_radix(digits, 16).ok();
    let (term, index) = (Term(number(term)?), LogIndex(number(index)?));
    (checkpoint_name(term, index) == name).then_some((term, index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoint_names_are_read_back_and_nothing_else_is() {
        let name = checkpoint_name(Term(2), LogIndex(255));
        assert_eq!(name, "member/snap/0000000000000002-00000000000000ff.ckpt");
        assert_eq!(parse_checkpoint_name(&name), Some((Term(2), LogIndex(255))));
        for other in [
            "member/snap/2-ff.ckpt",
            "member/snap/0000000000000002-00000000000000FF.ckpt",
            "member/snap/0000000000000002-00000000000000ff.snap",
            "0000000000000002-00000000000000ff.ckpt",
            "member/snap/+000000000000002-00000000000000ff.ckpt",
            "",
        ] {
            assert_eq!(parse_checkpoint_name(other), None, "{other}");
        }
    }
}
