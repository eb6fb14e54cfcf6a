//! What the zoo prints: one line a planted bug, as a table or as JSON.

use serde::{Deserialize, Serialize};

use crate::zoo::hunt::Catch;
use crate::zoo::plant::Plant;

/// The name of the last row: the tree as it is.
pub const CLEAN: &str = "clean";

/// The line of one planted bug, or of the tree as it is, as `--json` prints it. The fields and their names are stable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The bug's name; `clean` for the tree as it is.
    pub slug: String,
    /// Whether something was caught; in the tree as it is, that would be a false alarm.
    pub found: bool,
    /// Who caught it.
    pub checker: Option<String>,
    /// Who should catch it; empty where anybody may, or where nobody may.
    pub expected: Vec<String>,
    /// Seeds run.
    pub seeds: u64,
    /// Real seconds until the catch, or the whole budget.
    pub seconds: f64,
    /// Events of the run that was caught; of all runs, if none was.
    pub events: u64,
    /// How many runs of the tree as it is ended badly; `null` for a planted bug.
    pub false_positives: Option<u64>,
    /// Whether a fresh process gave the same violation and digests again; `null` where nothing was caught.
    pub replayed: Option<bool>,
    /// Whether all is as it should be.
    pub ok: bool,
    /// What is not, in one line.
    pub problem: Option<String>,
    /// The path of the failure file.
    pub repro: Option<String>,
}

impl Line {
    /// The line of a planted bug.
    pub fn of_plant(plant: &Plant, result: Result<Catch, String>) -> Line {
        let expected = plant.expect.clone();
        let catch = match result {
            Ok(catch) => catch,
            Err(problem) => return Line::broken(&plant.slug, expected, problem),
        };
        let checker = catch.caught.as_ref().and_then(|row| row.checker.clone());
        let problem = match &checker {
            None => Some("not caught".to_string()),
            Some(checker) if !plant.expects(checker) => Some("caught by another checker than expected".to_string()),
            Some(_) if !catch.replayed => Some("its failure file does not replay".to_string()),
            Some(_) => None,
        };
        Line::new(&plant.slug, expected, &catch, problem)
    }

    /// The line of the tree as it is, in which every violation is false.
    pub fn of_clean(result: Result<Catch, String>) -> Line {
        match result {
            Ok(catch) => {
                let problem = (catch.violations > 0).then(|| "the tree as it is must be silent".to_string());
                let line = Line::new(CLEAN, Vec::new(), &catch, problem);
                Line { false_positives: Some(catch.violations), ..line }
            }
            Err(problem) => Line::broken(CLEAN, Vec::new(), problem),
        }
    }

    fn new(slug: &str, expected: Vec<String>, catch: &Catch, problem: Option<String>) -> Line {
        Line {
            slug: slug.to_string(),
            found: catch.caught.is_some(),
            checker: catch.caught.as_ref().and_then(|row| row.checker.clone()),
            expected,
            seeds: catch.seeds,
            seconds: catch.wall_ms as f64 / 1000.0,
            events: catch.events,
            false_positives: None,
            replayed: catch.caught.is_some().then_some(catch.replayed),
            ok: problem.is_none(),
            problem,
            repro: catch.caught.as_ref().and_then(|row| row.repro.clone()),
        }
    }

    fn broken(slug: &str, expected: Vec<String>, problem: String) -> Line {
        Line::new(slug, expected, &Catch::default(), Some(problem))
    }

    /// The line as people read it; `slug_width` makes the columns straight.
    pub fn text(&self, slug_width: usize) -> String {
        let replayed = self.replayed.map_or("-", |replayed| if replayed { "yes" } else { "no" });
        let ok = self.false_positives.map_or("ok".to_string(), |count| format!("ok: {count} false positives"));
        let count = self.false_positives.map_or(String::new(), |count| format!("{count} false positives: "));
        let verdict = self.problem.as_ref().map_or(ok, |problem| format!("WRONG: {count}{problem}"));
        format!(
            "{:<slug_width$}  {:<24}  {:>6}  {:>8.1}  {:>12}  {:<8}  {:<40}  {}",
            self.slug,
            self.checker.as_deref().unwrap_or("-"),
            self.seeds,
            self.seconds,
            self.events,
            replayed,
            self.expected.join(", "),
            verdict
        )
    }
}

/// The line above all others.
pub fn head(slug_width: usize) -> String {
    format!(
        "{:<slug_width$}  {:<24}  {:>6}  {:>8}  {:>12}  {:<8}  {:<40}  {}",
        "bug", "caught by", "seeds", "seconds", "events", "replayed", "expected", "verdict"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Row, Verdict};

    fn plant() -> Plant {
        let expect = vec!["a".to_string(), "b".to_string()];
        Plant { slug: "x".to_string(), patch: String::new(), what: "w".to_string(), expect }
    }

    fn catch_by(checker: &str, replayed: bool) -> Catch {
        let row = Row { verdict: Verdict::Safety, checker: Some(checker.to_string()), ..Row::default() };
        Catch { seeds: 3, violations: 1, caught: Some(row), replayed, ..Catch::default() }
    }

    #[test]
    fn only_a_catch_by_an_expected_checker_that_replays_is_right() {
        assert!(Line::of_plant(&plant(), Ok(catch_by("b", true))).ok);
        assert!(!Line::of_plant(&plant(), Ok(catch_by("b", false))).ok);
        assert!(!Line::of_plant(&plant(), Ok(catch_by("c", true))).ok);
        assert!(!Line::of_plant(&plant(), Ok(Catch { seeds: 9, ..Catch::default() })).ok);
        assert!(!Line::of_plant(&plant(), Err("the patch no longer applies".to_string())).ok);
    }

    #[test]
    fn the_clean_tree_must_be_silent() {
        assert!(Line::of_clean(Ok(Catch { seeds: 9, ..Catch::default() })).ok);
        let line = Line::of_clean(Ok(catch_by("a", true)));
        assert_eq!((line.ok, line.found, line.false_positives), (false, true, Some(1)));
        assert!(line.text(5).ends_with("WRONG: 1 false positives: the tree as it is must be silent"));
    }
}
