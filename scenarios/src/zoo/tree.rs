//! The scratch copy of the workspace, and of raft-rs beside it, in which bugs are planted. There is one, used again for
//! each plant, so that only what a patch changes is compiled anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs, io};

use detcd_core::digest::Digest;

use crate::zoo::library;
use crate::zoo::patch::Patch;

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
    /// The published source of raft-rs.
    library: PathBuf,
    /// Everything that is made, below `target/zoo`.
    home: PathBuf,
}

/// What is never copied.
const LEFT_OUT: [&str; 2] = ["target", ".git"];

/// What a build reads of the workspace, beside the manifests at its root.
const BUILT_FROM: [&str; 5] = [".cargo", "core", "sim", "scenarios", "replay"];

/// The new text of some files; nothing for those that are removed.
type Changes = BTreeMap<String, Option<String>>;

impl Tree {
    /// The scratch copy of the workspace at `original`; made when it is first needed.
    ///
    /// # Errors
    /// One line: the source of raft-rs is not there.
    pub fn of(original: &Path) -> Result<Tree, String> {
        let lock = original.join("Cargo.lock");
        let lock = fs::read_to_string(&lock).map_err(|error| format!("{}: {error}", lock.display()))?;
        let home = original.join("target").join("zoo");
        Ok(Tree { original: original.to_path_buf(), library: library::source(&lock)?, home })
    }

    /// Where the failure files of a plant go.
    pub fn failures(&self, slug: &str) -> PathBuf {
        self.home.join("failures").join(slug)
    }

    /// Where it is written down which rows are done.
    pub fn state_file(&self) -> PathBuf {
        self.home.join("done.jsonl")
    }

    /// The digest of everything that a build of the workspace is made from; planted bugs are not part of it.
    ///
    /// # Errors
    /// One line: a file cannot be read.
    pub fn digest(&self) -> Result<Digest, String> {
        let mut digest = Digest::default();
        let files = files_below(&self.original).map_err(|error| format!("cannot read the workspace: {error}"))?;
        let counts = |name: &String| match name.split_once('/') {
            Some((folder, _)) => BUILT_FROM.contains(&folder) && !name.starts_with("scenarios/bugs/"),
            None => !name.ends_with(".md"),
        };
        for name in files.iter().filter(|name| counts(name)) {
            let bytes = fs::read(self.original.join(name)).map_err(|error| format!("{name}: {error}"))?;
            digest = digest.then(Digest::of(name.as_bytes())).then(Digest::of(&bytes));
        }
        Ok(digest)
    }

    /// Makes the copy equal to the workspace, applies `patch` if there is one, and builds; the programs are kept under
    /// the name `slug`.
    ///
    /// # Errors
    /// One line: the patch does not apply, or what it gives does not compile.
    pub fn build(&self, slug: &str, patch: Option<&str>) -> Result<Binaries, String> {
        let mut changes = patch.map_or(Ok(Changes::new()), |patch| self.patched(patch))?;
        for (name, edit) in [("Cargo.toml", library::manifest as fn(&str) -> String), ("Cargo.lock", library::lock)] {
            let text = changes.get(name).cloned().flatten().or_else(|| self.read(name));
            changes.insert(name.to_string(), text.map(|text| edit(&text)));
        }
        let of_library = |name: &str| name.strip_prefix(library::PREFIX).map(str::to_string);
        let of_raft = changes.iter().filter_map(|(name, text)| Some((of_library(name)?, text.clone()))).collect();
        changes.retain(|name, _| of_library(name).is_none());
        let copied = mirror(&self.library, &self.home.join("raft"), &of_raft);
        let copied = copied.and_then(|()| mirror(&self.original, &self.copy(), &changes));
        copied.map_err(|error| format!("cannot copy the workspace: {error}"))?;
        self.compile()?;
        self.keep(slug)
    }

    /// What a patch makes of the workspace and of raft-rs.
    ///
    /// # Errors
    /// One line: it cannot be read, or does not fit.
    pub fn patched(&self, patch: &str) -> Result<BTreeMap<String, Option<String>>, String> {
        let changed = Patch::parse(patch).and_then(|patch| patch.apply(|name| self.read(name)));
        changed.map_err(|error| format!("the patch no longer applies: {error}"))
    }

    fn read(&self, name: &str) -> Option<String> {
        match name.strip_prefix(library::PREFIX) {
            Some(name) => library::read(&self.library, name),
            None => fs::read_to_string(self.original.join(name)).ok(),
        }
    }

    fn copy(&self) -> PathBuf {
        self.home.join("tree")
    }

    fn compile(&self) -> Result<(), String> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--profile", "zoo", "--package", "detcd-scenarios", "--bin", "detcd-sim"]);
        cargo.args(["--package", "detcd-replay", "--bin", "detcd-replay"]);
        cargo.arg("--target-dir").arg(self.home.join("target")).current_dir(self.copy()).stdin(Stdio::null());
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

/// The paths of all files below a folder, relative to it, with `/` between their parts.
fn files_below(folder: &Path) -> io::Result<BTreeSet<String>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![(folder.to_path_buf(), String::new())];
    while let Some((folder, prefix)) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (name, kind) = (entry.file_name().to_string_lossy().into_owned(), entry.file_type()?);
            if LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            if kind.is_dir() {
                folders.push((entry.path(), format!("{prefix}{name}/")));
            } else if kind.is_file() {
                files.insert(format!("{prefix}{name}"));
            }
        }
    }
    Ok(files)
}

/// Makes `to` equal to `from` with some changes, and leaves alone what is equal already, so that its time stays.
fn mirror(from: &Path, to: &Path, changes: &Changes) -> io::Result<()> {
    fs::create_dir_all(to)?;
    let mut names = files_below(from)?;
    names.extend(changes.keys().cloned());
    names.retain(|name| changes.get(name).is_none_or(Option::is_some));
    for name in &names {
        let copy = to.join(name);
        let changed = changes.get(name).cloned().flatten().map(String::into_bytes);
        let bytes = changed.map_or_else(|| fs::read(from.join(name)), Ok)?;
        if fs::read(&copy).ok().as_ref() != Some(&bytes) {
            fs::create_dir_all(copy.parent().expect("a file is in a folder"))?;
            fs::write(&copy, bytes)?;
            if let Ok(original) = fs::metadata(from.join(name)) {
                fs::set_permissions(&copy, original.permissions())?;
            }
        }
    }
    for name in files_below(to)?.difference(&names) {
        fs::remove_file(to.join(name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().expect("in a folder")).expect("made");
            fs::write(file, text).expect("written");
        }
    }

    fn read(folder: &Path, name: &str) -> Option<String> {
        fs::read_to_string(folder.join(name)).ok()
    }

    #[test]
    fn a_mirror_takes_over_changes_and_removals_and_leaves_the_rest_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from, &[("src/a.rs", "a"), ("src/b.rs", "b"), ("src/c.rs", "c"), ("target/d", "d")]);
        mirror(&from, &to, &Changes::new()).expect("copied");
        let before = fs::metadata(to.join("src/a.rs")).and_then(|m| m.modified()).expect("it has a time");

        fs::remove_file(from.join("src/b.rs")).expect("removed");
        write(&to, &[("src/stray.rs", "x")]);
        let text = |text: &str| Some(text.to_string());
        let changes = [("src/c.rs".to_string(), text("new")), ("deep/e.rs".to_string(), text("e"))];
        mirror(&from, &to, &Changes::from(changes)).expect("copied");
        let after = fs::metadata(to.join("src/a.rs")).and_then(|m| m.modified()).expect("it has a time");
        assert_eq!(before, after);
        assert!(!to.join("src/b.rs").exists() && !to.join("src/stray.rs").exists() && !to.join("target").exists());
        assert_eq!((read(&to, "src/c.rs"), read(&to, "deep/e.rs")), (text("new"), text("e")));

        mirror(&from, &to, &Changes::from([("src/a.rs".to_string(), None)])).expect("copied");
        assert!(!to.join("src/a.rs").exists() && !to.join("deep/e.rs").exists());
        assert_eq!(read(&to, "src/c.rs"), text("c"), "a change lasts as long as it is asked for");
    }

    fn tree(folder: &Path) -> Tree {
        let tree = Tree { original: folder.join("ws"), library: folder.join("lib"), home: folder.join("home") };
        write(
            &tree.original,
            &[("Cargo.toml", "[workspace]\n"), ("core/a.rs", "one\ntwo\nthree\n"), ("README.md", "")],
        );
        write(&tree.library, &[("src/raft.rs", "one\ntwo\nthree\n")]);
        tree
    }

    #[test]
    fn a_patch_that_does_not_fit_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = tree(folder.path());
        let patch = |file: &str, line: &str| {
            format!("--- a/{file}\n+++ b/{file}\n@@ -1,3 +1,3 @@\n one\n-{line}\n+2\n three\n")
        };
        for file in ["core/a.rs", "raft/src/raft.rs"] {
            let changed = tree.patched(&patch(file, "two")).expect("it fits");
            assert_eq!(changed[file].as_deref(), Some("one\n2\nthree\n"));
            let error = tree.patched(&patch(file, "too")).expect_err("it does not fit");
            assert!(error.starts_with("the patch no longer applies: ") && !error.contains('\n'), "{error}");
        }
        assert!(tree.patched(&patch("src/raft.rs", "two")).is_err(), "the library's files have its prefix");
    }

    #[test]
    fn the_digest_is_of_what_is_built() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = tree(folder.path());
        let before = tree.digest().expect("read");
        write(&tree.original, &[("README.md", "new"), ("scenarios/bugs/a.patch", "x"), ("tests/b.rs", "x")]);
        assert_eq!(tree.digest().expect("read"), before);
        write(&tree.original, &[("core/a.rs", "one\n")]);
        assert_ne!(tree.digest().expect("read"), before);
    }
}
