//! What two failures have in common that are the same mistake seen twice: who noticed, and the shape of what was said.

use crate::row::Verdict;

/// The signature of a failure: the same for the same mistake on other seeds, as far as words can tell.
///
/// Numbers, quoted keys and values, and how many of them there are, are left out of the detail.
pub fn signature(verdict: Verdict, checker: &str, detail: &str) -> String {
    format!("{} {checker}: {}", verdict.word(), shape(detail))
}

fn shape(detail: &str) -> String {
    let mut shape = String::new();
    let mut chars = detail.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                // What is quoted is escaped, so that a quote ends it.
                let mut escaped = false;
                for quoted in chars.by_ref() {
                    match quoted {
                        '"' if !escaped => break,
                        '\\' => escaped = !escaped,
                        _ => escaped = false,
                    }
                }
                shape.push('"');
            }
            _ if is_number(c, &shape) => {
                while chars.next_if(|c| c.is_ascii_hexdigit() || *c == '.' || *c == '_').is_some() {}
                shape.push('#');
            }
            _ => shape.push(c),
        }
    }
    without_repetitions(&shape)
}

/// Whether a number begins here: a digit, but not one in a name that letters begin, unless it counts members.
fn is_number(c: char, before: &str) -> bool {
    c.is_ascii_digit() && !before.ends_with(|last: char| last.is_ascii_alphabetic() && last != 'm')
}

/// `#, #, #` and the like become one.
fn without_repetitions(shape: &str) -> String {
    let mut words: Vec<&str> = Vec::new();
    for word in shape.split(' ') {
        let plain = word.trim_end_matches(',');
        let again = plain.contains(['#', '"']) && words.last().is_some_and(|last| last.trim_end_matches(',') == plain);
        if again {
            words.pop();
        }
        words.push(word);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(one: &str, other: &str) -> bool {
        signature(Verdict::Safety, "x", one) == signature(Verdict::Safety, "x", other)
    }

    #[test]
    fn numbers_keys_and_their_count_are_no_part_of_a_signature() {
        let one = "operation 9 (put \"k/1\"=\"a \\\" 7\"): it claims revision 12, which operation 7 made";
        let other = "operation 11 (put \"key\"=\"\"): it claims revision 13, which operation 8 made";
        assert!(same(one, other), "{}", shape(one));
        assert!(same("m1 panicked: index 3 of 2", "m3 panicked: index 17 of 1"));
        assert!(same("members 1, 2, 3 differ", "members 4, 5 differ"));
        assert!(same("lease 30000000c was gone", "lease 7a was gone"));
        assert!(same("after 12.5 ms", "after 700.25 ms"));
    }

    #[test]
    fn words_verdict_and_checker_are() {
        assert!(!same("revision 7 is gone", "revision 7 came twice"));
        assert!(!same("applied to v2 and v3", "applied to v2 and v4"), "a name is not a number");
        assert_ne!(signature(Verdict::Safety, "x", "7"), signature(Verdict::Crash, "x", "7"));
        assert_ne!(signature(Verdict::Safety, "x", "7"), signature(Verdict::Safety, "y", "7"));
    }
}
