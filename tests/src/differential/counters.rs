//! How often each option was used, and how often with success: an option that never was is not compared at all.

use std::collections::BTreeMap;
use std::fmt;

use super::step::Refusal;

/// How often an option was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// In how many requests.
    pub asked: u64,
    /// In how many of them it showed an effect, or at least was no reason to refuse.
    pub succeeded: u64,
}

/// The uses of all options, and the refusals.
#[derive(Clone, Debug)]
pub struct Counters {
    options: BTreeMap<String, Use>,
    refusals: BTreeMap<String, u64>,
}

impl Counters {
    /// Counters of these options, all at zero.
    pub(super) fn new(options: impl IntoIterator<Item = String>) -> Counters {
        let options = options.into_iter().map(|name| (name, Use::default())).collect();
        Counters { options, refusals: BTreeMap::new() }
    }

    /// Counts one use of an option.
    pub(super) fn count(&mut self, option: &str, success: bool) {
        self.asked(option);
        if success {
            self.succeeded(option);
        }
    }

    /// Counts one use, whose success is not known yet.
    pub(super) fn asked(&mut self, option: &str) {
        self.option(option).asked += 1;
    }

    /// Counts the success of a use that was counted before.
    pub(super) fn succeeded(&mut self, option: &str) {
        self.option(option).succeeded += 1;
    }

    fn option(&mut self, name: &str) -> &mut Use {
        self.options.get_mut(name).unwrap_or_else(|| panic!("the option {name:?} is not declared"))
    }

    /// Counts an answer that was a refusal.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        *self.refusals.entry(format!("{:?}: {}", refusal.code, refusal.text)).or_default() += 1;
    }

    /// The options that were never used with success.
    pub fn unused(&self) -> Vec<&str> {
        self.options.iter().filter(|(_, used)| used.succeeded == 0).map(|(name, _)| name.as_str()).collect()
    }

    /// How often each refusal was given, by `Code: text`.
    pub fn refusals(&self) -> &BTreeMap<String, u64> {
        &self.refusals
    }
}

impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>8} {:>8}  option", "asked", "success")?;
        for (name, used) in &self.options {
            writeln!(f, "{:>8} {:>8}  {name}", used.asked, used.succeeded)?;
        }
        writeln!(f, "{:>8}  refusal", "times")?;
        self.refusals.iter().try_for_each(|(text, times)| writeln!(f, "{times:>8}  {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_without_success_is_told() {
        let mut counters = Counters::new(["limit".to_owned(), "sort".to_owned()]);
        counters.count("limit", true);
        counters.count("sort", false);
        assert_eq!(counters.unused(), ["sort"]);
        assert!(counters.to_string().contains("1        0  sort"), "{counters}");
    }
}
