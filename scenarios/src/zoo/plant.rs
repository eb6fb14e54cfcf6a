//! The planted bugs that there are: `scenarios/bugs/SLUG.patch` with `SLUG.toml` beside it.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::args::UsageError;

/// A planted bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plant {
    /// Its name, that of its files.
    pub slug: String,
    /// The patch that plants it, against the root of the workspace; paths under `raft/` mean raft-rs.
    pub patch: String,
    /// What is wrong then. Empty for a patch without a description.
    pub what: String,
    /// Which checkers may catch it: any of them is right. Empty: any checker at all.
    pub expect: Vec<String>,
}

/// What stands in `SLUG.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Description {
    what: String,
    /// Where the mistake was made in the real world; for readers only.
    #[serde(rename = "source")]
    _source: String,
    expect: Vec<String>,
}

impl Plant {
    /// The planted bugs in `folder`, by name: all of them, or those that `slugs` names.
    ///
    /// # Errors
    /// A name that is not there, or a description that cannot be used.
    pub fn all(folder: &Path, slugs: &[String]) -> Result<Vec<Plant>, UsageError> {
        let entries = fs::read_dir(folder).map_err(|error| UsageError(format!("{}: {error}", folder.display())))?;
        let patches = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let mut patches: Vec<PathBuf> = patches.filter(|path| path.extension().is_some_and(|e| e == "patch")).collect();
        patches.sort();
        let known: Vec<String> = patches.iter().map(|patch| stem(patch)).collect();
        if let Some(unknown) = slugs.iter().find(|slug| !known.contains(slug)) {
            return Err(UsageError(format!("no planted bug '{unknown}'; there are {}", known.join(", "))));
        }
        let wanted = patches.into_iter().filter(|patch| slugs.is_empty() || slugs.contains(&stem(patch)));
        wanted.map(Plant::described).collect()
    }

    /// A patch that has no description: whichever checker catches it is right.
    ///
    /// # Errors
    /// The file is not there.
    pub fn undescribed(patch: &Path) -> Result<Plant, UsageError> {
        Ok(Plant { slug: stem(patch), patch: read(patch)?, what: String::new(), expect: Vec::new() })
    }

    fn described(patch: PathBuf) -> Result<Plant, UsageError> {
        let path = patch.with_extension("toml");
        let wrong = |why: String| UsageError(format!("{}: {}", path.display(), why.lines().next().unwrap_or_default()));
        let text = fs::read_to_string(&path).map_err(|error| wrong(error.to_string()))?;
        let description: Description = toml::from_str(&text).map_err(|error| wrong(error.message().to_string()))?;
        if description.expect.is_empty() {
            return Err(wrong("`expect` names no checker".to_string()));
        }
        let (slug, patch) = (stem(&patch), read(&patch)?);
        Ok(Plant { slug, patch, what: description.what, expect: description.expect })
    }

    /// Whether `checker` is one of those that should catch it.
    pub fn expects(&self, checker: &str) -> bool {
        self.expect.is_empty() || self.expect.iter().any(|expected| expected == checker)
    }
}

fn read(path: &Path) -> Result<String, UsageError> {
    fs::read_to_string(path).map_err(|error| UsageError(format!("{}: {error}", path.display())))
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zoo::tree::Tree;

    /// Those that are no part of the oracle: a simulated member that panics or halts, a cluster that does not recover.
    const OF_THE_WORLD: [&str; 3] = ["no-panic", "no-halt", "convergence"];

    fn folder_with(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("it is written");
        }
        folder
    }

    const GOOD: &str = "what = \"w\"\nsource = \"s\"\nexpect = [\"a\", \"b\"]\n";

    #[test]
    fn plants_are_found_by_name_in_order() {
        let folder = folder_with(&[("b.patch", ""), ("b.toml", GOOD), ("a.patch", ""), ("a.toml", GOOD)]);
        let slugs = |wanted: &[String]| -> Vec<String> {
            Plant::all(folder.path(), wanted).expect("they are fine").into_iter().map(|plant| plant.slug).collect()
        };
        assert_eq!(slugs(&[]), ["a", "b"]);
        assert_eq!(slugs(&["b".to_string()]), ["b"]);
        let error = Plant::all(folder.path(), &["c".to_string()]).expect_err("there is no c");
        assert_eq!(error.0, "no planted bug 'c'; there are a, b");
    }

    #[test]
    fn a_description_needs_its_three_fields_and_no_other() {
        for wrong in ["what = \"w\"\nsource = \"s\"\nexpect = []\n", "what = \"w\"\n", &format!("{GOOD}more = 1\n")] {
            let folder = folder_with(&[("a.patch", ""), ("a.toml", wrong)]);
            let error = Plant::all(folder.path(), &[]).expect_err("it is wrong");
            assert!(error.0.contains("a.toml") && !error.0.contains('\n'), "{error}");
        }
    }

    #[test]
    fn every_planted_bug_of_the_project_is_described() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bugs");
        let plants = Plant::all(&folder, &[]).expect("they are fine");
        assert!(plants.iter().all(|plant| !plant.what.is_empty()));
        let described = fs::read_dir(&folder).expect("the folder is there");
        let described =
            described.filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "toml")));
        assert_eq!(described.count(), plants.len(), "each description has a patch");
    }

    #[test]
    fn every_planted_bug_of_the_project_still_fits_the_tree() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let tree = Tree::of(&root).expect("raft-rs is where cargo put it");
        for plant in Plant::all(&root.join("scenarios/bugs"), &[]).expect("they are fine") {
            let fits = tree.patched(&plant.patch);
            assert!(fits.is_ok(), "{}: {}", plant.slug, fits.expect_err("looked at"));
        }
    }

    #[test]
    fn every_expected_checker_of_the_project_exists() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bugs");
        let config = detcd_sim::check::CheckConfig::new(3);
        let mut known: Vec<&str> = detcd_sim::check::all(&config).iter().map(|checker| checker.name()).collect();
        known.extend(OF_THE_WORLD);
        for plant in Plant::all(&folder, &[]).expect("they are fine") {
            let unknown = plant.expect.iter().find(|expected| !known.contains(&expected.as_str()));
            assert_eq!(unknown, None, "{}: there are {}", plant.slug, known.join(", "));
        }
    }
}
