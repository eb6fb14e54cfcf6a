//! The scratch copy of the workspace in which bugs are planted. There is one, used again for each plant, so that only
//! what a patch changes is compiled anew.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use crate::zoo::patch::Patch;
use crate::zoo::plant::Plant;

/// Two programs of one build.
#[derive(Clone, Debug)]
pub struct Binaries {
    /// `detcd-sim`.
    pub sim: PathBuf,
    /// `detcd-replay`.
    pub replay: PathBuf,
}

/// A scratch copy of a workspace.
#[derive(Debug)]
pub struct Tree {
    original: PathBuf,
    /// Everything that is made, below `target/zoo`.
    home: PathBuf,
}

/// What is never copied.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

impl Tree {
    /// The scratch copy of the workspace at `original`; made when it is first needed.
    pub fn of(original: &Path) -> Tree {
        Tree { original: original.to_path_buf(), home: original.join("target").join("zoo") }
    }

    /// Where the failure files of a plant go.
    pub fn failures(&self, slug: &str) -> PathBuf {
        self.home.join("failures").join(slug)
    }

    /// Makes the copy equal to the workspace, applies `plant` if there is one, and builds.
    ///
    /// # Errors
    /// One line: the patch does not apply, or what it gives does not compile.
    pub fn build(&self, plant: Option<&Plant>) -> Result<Binaries, String> {
        let copy = self.home.join("tree");
        mirror(&self.original, &copy).map_err(|error| format!("cannot copy the workspace: {error}"))?;
        if let Some(plant) = plant {
            apply(&plant.patch, &copy)?;
        }
        self.compile(&copy)?;
        self.keep(plant.map_or("clean", |plant| plant.slug.as_str()))
    }

    fn compile(&self, copy: &Path) -> Result<(), String> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--profile", "zoo", "--package", "detcd-scenarios", "--bin", "detcd-sim"]);
        cargo.args(["--package", "detcd-replay", "--bin", "detcd-replay"]);
        cargo.arg("--target-dir").arg(self.home.join("target")).current_dir(copy).stdin(Stdio::null());
        // What cargo sets for `cargo zoo` itself would make the build believe that it is another package.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR") {
                cargo.env_remove(name);
            }
        }
        let output = cargo.output().map_err(|error| format!("cannot run cargo: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        let first = text.lines().find(|line| line.starts_with("error")).unwrap_or("cargo build failed");
        Err(format!("does not compile: {first}"))
    }

    /// Copies the programs away, since the next plant's build replaces them.
    fn keep(&self, slug: &str) -> Result<Binaries, String> {
        let folder = self.home.join("bin").join(slug);
        let built = self.home.join("target").join("zoo");
        let take = |name: &str| {
            let name = format!("{name}{}", env::consts::EXE_SUFFIX);
            let kept = folder.join(&name);
            fs::create_dir_all(&folder)?;
            fs::copy(built.join(&name), &kept)?;
            Ok(kept)
        };
        let both = take("detcd-sim").and_then(|sim| Ok(Binaries { sim, replay: take("detcd-replay")? }));
        both.map_err(|error: io::Error| format!("cannot keep the programs: {error}"))
    }
}

/// Makes `to` equal to `from`, and leaves alone what is equal already, so that its time of change stays.
fn mirror(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if LEFT_OUT.iter().any(|left_out| name == *left_out) {
            continue;
        }
        let copy = to.join(&name);
        if kind.is_dir() {
            mirror(&entry.path(), &copy)?;
        } else if kind.is_file() {
            let bytes = fs::read(entry.path())?;
            if fs::read(&copy).ok().as_ref() != Some(&bytes) {
                fs::copy(entry.path(), &copy)?;
                // `fs::copy` may keep the old time; cargo has to see that something changed.
                fs::File::options().append(true).open(&copy)?.set_modified(std::time::SystemTime::now())?;
            }
        }
        names.insert(name);
    }
    for entry in fs::read_dir(to)? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            if entry.file_type()?.is_dir() { fs::remove_dir_all(entry.path())? } else { fs::remove_file(entry.path())? }
        }
    }
    Ok(())
}

/// Applies a patch to the tree at `root`, whole or not at all.
fn apply(patch: &Path, root: &Path) -> Result<(), String> {
    let text = fs::read_to_string(patch).map_err(|error| format!("{}: {error}", patch.display()))?;
    let changed = Patch::parse(&text).and_then(|patch| patch.apply(|name| fs::read_to_string(root.join(name)).ok()));
    for (name, text) in changed.map_err(|error| format!("the patch no longer applies: {error}"))? {
        let path = root.join(&name);
        let done = match text {
            Some(text) => fs::write(&path, text),
            None => fs::remove_file(&path),
        };
        done.map_err(|error| format!("{name}: {error}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_takes_over_changes_and_removals_and_leaves_the_rest_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        fs::create_dir_all(from.join("src")).expect("made");
        fs::create_dir_all(from.join("target")).expect("made");
        fs::write(from.join("src/a.rs"), "a").expect("written");
        fs::write(from.join("src/b.rs"), "b").expect("written");
        fs::write(from.join("target/c"), "c").expect("written");
        mirror(&from, &to).expect("copied");
        let before = fs::metadata(to.join("src/a.rs")).and_then(|m| m.modified()).expect("it has a time");

        fs::remove_file(from.join("src/b.rs")).expect("removed");
        fs::write(to.join("src/stray.rs"), "x").expect("written");
        mirror(&from, &to).expect("copied");
        let after = fs::metadata(to.join("src/a.rs")).and_then(|m| m.modified()).expect("it has a time");
        assert_eq!(before, after);
        assert!(!to.join("src/b.rs").exists() && !to.join("src/stray.rs").exists() && !to.join("target").exists());
    }

    #[test]
    fn a_patch_that_does_not_fit_is_an_error_and_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = folder.path().join("tree");
        fs::create_dir_all(&copy).expect("made");
        fs::write(copy.join("a.txt"), "one\ntwo\nthree\n").expect("written");
        let patch = folder.path().join("x.patch");
        let text = "--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";
        fs::write(&patch, text).expect("written");
        apply(&patch, &copy).expect("it fits");
        assert_eq!(fs::read_to_string(copy.join("a.txt")).expect("read"), "one\n2\nthree\n");
        let error = apply(&patch, &copy).expect_err("it does not fit twice");
        assert!(error.starts_with("the patch no longer applies: ") && !error.contains('\n'), "{error}");
        assert_eq!(fs::read_to_string(copy.join("a.txt")).expect("read"), "one\n2\nthree\n");
    }
}
