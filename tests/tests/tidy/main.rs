//! The house rules that a program can check: who may use whom, how large things may grow, which words are banned.
//!
//! Each rule is a function of the source tree that gives its offences, and a test that wants none. Beside it stands a
//! test in which a small made-up tree offends, so that a rule cannot fall asleep.

mod imports;
mod marks;
mod sizes;
mod source;
mod words;

/// Fails with one line for each offence.
fn expect_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n{}", offences.join("\n"));
}
