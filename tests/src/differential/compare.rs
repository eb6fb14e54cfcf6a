//! Whether two answers are equal, and if not, where.

use std::fmt::{Debug, Write as _};

use detcd_core::proto::etcdserverpb as pb;

use super::step::{Answer, Reply};

/// How many equal lines are shown around those that differ.
const CONTEXT_LINES: usize = 3;

/// More lines than this are not shown of one side.
const LINES_MAX: usize = 120;

/// Longer lines are cut: values may have hundreds of kilobytes.
const COLUMNS_MAX: usize = 160;

/// What is shown on one line ends here.
const BRIEF_MAX: usize = 2_000;

/// Takes away what is each server's own: the cluster, the member, and the term of its log.
pub(super) fn strip(header: &mut Option<pb::ResponseHeader>) {
    if let Some(header) = header {
        (header.cluster_id, header.member_id, header.raft_term) = (0, 0, 0);
    }
}

/// An answer without what is the server's own.
pub(super) fn stripped(mut answer: Answer) -> Answer {
    if let Ok(response) = &mut answer {
        strip(response.header_mut());
    }
    answer
}

/// A reply on a watch stream without what is the server's own.
pub(super) fn stripped_reply(mut reply: Reply) -> Reply {
    if let Ok(response) = &mut reply {
        strip(&mut response.header);
    }
    reply
}

/// Where two values differ, as lines: `-` those of etcd, `+` those of detcd.
pub(super) fn difference<T: Debug + PartialEq>(etcd: &T, detcd: &T) -> Option<String> {
    if etcd == detcd {
        return None;
    }
    let (etcd, detcd) = (pretty(etcd), pretty(detcd));
    let (etcd, detcd): (Vec<&str>, Vec<&str>) = (etcd.lines().collect(), detcd.lines().collect());
    let before = etcd.iter().zip(&detcd).take_while(|(one, other)| one == other).count();
    let shorter = etcd.len().min(detcd.len()) - before;
    let ends = etcd.iter().rev().zip(detcd.iter().rev());
    let after = ends.take(shorter).take_while(|(one, other)| one == other).count();
    let mut text = String::new();
    let mut say = |sign: char, lines: &[&str]| {
        for line in lines.iter().take(LINES_MAX) {
            let line: String = line.chars().take(COLUMNS_MAX).collect();
            writeln!(text, "  {sign} {line}").expect("a string takes everything");
        }
    };
    say(' ', &etcd[before.saturating_sub(CONTEXT_LINES)..before]);
    say('-', &etcd[before..etcd.len() - after]);
    say('+', &detcd[before..detcd.len() - after]);
    say(' ', &etcd[etcd.len() - after..(etcd.len() - after + CONTEXT_LINES).min(etcd.len())]);
    Some(text)
}

/// A value over several lines, each cut to a length that a screen can take.
pub(super) fn pretty(value: &impl Debug) -> String {
    format!("{value:#?}")
}

/// A value on one line, as long as that is readable.
pub(super) fn brief(value: &impl Debug) -> String {
    format!("{value:?}").chars().take(BRIEF_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_each_side_says() {
        assert_eq!(difference(&[1, 2, 3], &[1, 2, 3]), None);
        let text = difference(&vec![1, 2, 3], &vec![1, 4, 3]).expect("they differ");
        assert_eq!(text, "    [\n        1,\n  -     2,\n  +     4,\n        3,\n    ]\n");
        let text = difference(&vec![1, 1], &vec![1]).expect("they differ");
        assert_eq!(text, "    [\n        1,\n  -     1,\n    ]\n");
    }
}
