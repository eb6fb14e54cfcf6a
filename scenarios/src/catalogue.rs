//! The scenarios: those of the catalogue, embedded so that the program runs from any folder, and those of files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use detcd_sim::scenario::{Scenario, ScenarioError};

use crate::args::UsageError;
use crate::must_fail;

/// A scenario and the text that it was read from, which failure files carry along.
#[derive(Clone, Debug)]
pub struct Source {
    /// The scenario.
    pub scenario: Scenario,
    /// Its whole file.
    pub toml: String,
}

macro_rules! embedded {
    ($($name:literal)*) => {
        /// Name and text of each file in `scenarios/catalogue`, in the order in which they are listed and run.
        const EMBEDDED: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../catalogue/", $name, ".toml")))),*];
    };
}

embedded! {
    "calm"
    "leader-partition"
    "lost-tails"
    "one-way-cut"
    "crash-storm"
    "power-loss-all"
    "slow-disk"
    "disk-errors"
    "rotten-disks"
    "full-disk"
    "late-clocks"
    "partial-partitions"
    "clock-skew"
    "client-churn"
    "locks"
    "alarms"
    "swarm"
}

/// The whole catalogue.
///
/// # Errors
/// A file of the catalogue is wrong; a test sees to it that none is.
pub fn all() -> Result<Vec<Source>, UsageError> {
    EMBEDDED.iter().map(|(name, text)| parse(&format!("{name}.toml"), text)).collect()
}

/// The scenarios that `wanted` names, by their names in the catalogue or by the paths of their files; the whole
/// catalogue if it names none.
///
/// # Errors
/// A name that is neither, a file that cannot be read or is wrong, or two scenarios of one name.
pub fn select(wanted: &[String]) -> Result<Vec<Source>, UsageError> {
    if wanted.is_empty() {
        return all();
    }
    let mut by_name: BTreeMap<String, &str> = BTreeMap::new();
    let mut sources = Vec::new();
    for argument in wanted {
        let source = one(argument)?;
        if let Some(other) = by_name.insert(source.scenario.name.clone(), argument) {
            let name = &source.scenario.name;
            return Err(UsageError(format!("'{other}' and '{argument}' both name the scenario '{name}'")));
        }
        sources.push(source);
    }
    Ok(sources)
}

/// The scenario that `argument` names: one of the catalogue, or the path of a `.toml` file.
///
/// # Errors
/// It is neither, or the file cannot be read or is wrong.
pub fn one(argument: &str) -> Result<Source, UsageError> {
    if argument == must_fail::NAME {
        return parse(argument, must_fail::TOML);
    }
    if let Some((name, text)) = EMBEDDED.iter().find(|(name, _)| *name == argument) {
        return parse(&format!("{name}.toml"), text);
    }
    if Path::new(argument).extension().is_some_and(|extension| extension == "toml") {
        let text = fs::read_to_string(argument).map_err(|error| UsageError(format!("{argument}: {error}")))?;
        return parse(argument, &text);
    }
    let names: Vec<&str> = EMBEDDED.iter().map(|(name, _)| *name).collect();
    let names = names.join(", ");
    Err(UsageError(format!("no scenario '{argument}'; there are {names}, and paths of .toml files")))
}

/// A scenario from the text of the file `file_name`.
///
/// # Errors
/// One line with file, line and what is allowed there.
pub fn parse(file_name: &str, text: &str) -> Result<Source, UsageError> {
    let scenario = Scenario::parse(file_name, text).map_err(|error: ScenarioError| UsageError(error.to_string()))?;
    Ok(Source { scenario, toml: text.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue");
        let files = fs::read_dir(folder).expect("the folder is there");
        let mut files: Vec<String> =
            files.map(|file| file.expect("it can be read").file_name().to_string_lossy().into_owned()).collect();
        files.sort();
        let mut embedded: Vec<String> = EMBEDDED.iter().map(|(name, _)| format!("{name}.toml")).collect();
        embedded.sort();
        assert_eq!(files, embedded);
    }

    #[test]
    fn every_scenario_is_named_as_its_file_and_says_why() {
        for ((name, _), source) in EMBEDDED.iter().zip(all().expect("the catalogue is right")) {
            assert_eq!(source.scenario.name, *name);
            assert!(source.scenario.why.ends_with('.'), "{name}: {:?} is a sentence", source.scenario.why);
            assert!(source.scenario.expect.ops > 0, "{name} expects some work");
        }
    }

    #[test]
    fn a_scenario_may_stand_in_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mine.toml");
        fs::write(&path, "name = \"mine\"\nwhy = \"To see.\"\nnodes = 3\n").expect("written");
        let path = path.to_string_lossy().into_owned();
        let names = |wanted: &[String]| -> Vec<String> {
            select(wanted).expect("they are right").into_iter().map(|source| source.scenario.name).collect()
        };
        assert_eq!(names(&["swarm".to_string(), path.clone()]), ["swarm", "mine"]);
        assert_eq!(names(&[]).len(), EMBEDDED.len());
        let error = select(&[path.clone(), path]).expect_err("twice the same");
        assert!(error.0.contains("both name the scenario 'mine'"), "{error}");
    }

    #[test]
    fn an_unknown_name_is_told_what_there_is() {
        let error = one("clam").expect_err("there is no such scenario");
        assert!(error.0.starts_with("no scenario 'clam'; there are calm, leader-partition, "), "{error}");
    }
}
