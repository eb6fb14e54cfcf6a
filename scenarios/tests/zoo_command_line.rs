//! `zoo` as a user meets it, and its hunt with the real `detcd-sim`; what takes a build of a patched tree is left to
//! `cargo zoo` itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use detcd_scenarios::zoo::hunt::{Catch, Hunt};
use detcd_scenarios::zoo::tree::Binaries;

/// A run of a few simulated seconds without faults.
const BRIEF: &str =
    "name = \"brief\"\nwhy = \"To be quick.\"\nnodes = 3\n\n[phases]\nwarmup_ms = 1_000\nfaults_ms = 2_000\n";

/// Every message is lost, so nobody ever leads.
const HOPELESS: &str = "name = \"hopeless\"\nwhy = \"To fail.\"\nnodes = 3\n\n[network]\nloss_permille = 1_000\n
[phases]\nfaults_ms = 2_000\nconverge_within_ms = 2_000\n";

/// The one line on stderr with which a refused command ends; it printed nothing else.
fn refused(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_zoo")).args(args).current_dir(folder).output().expect("it runs");
    let line = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(64), "{args:?}: {line}");
    assert!(output.stdout.is_empty(), "{args:?} printed something");
    assert_eq!(line.trim_end().lines().count(), 1, "{args:?}: {line}");
    line
}

#[test]
fn what_cannot_be_hunted_is_refused_before_anything_is_built() {
    let folder = tempfile::tempdir().expect("a folder");
    let here = folder.path();
    assert!(refused(here, &["no-such-bug"]).contains("no planted bug 'no-such-bug'; there are "));
    assert!(refused(here, &["--seconds", "0"]).contains("--seconds"));
    assert!(refused(here, &["--patch", "missing.patch"]).contains("missing.patch"));
    for file in ["core/src/lib.rs", "raft/src/lib.rs", "raft/src/none.rs"] {
        let patch = format!("--- a/{file}\n+++ b/{file}\n@@ -1 +1 @@\n-nothing has this line\n+nor this one\n");
        fs::write(here.join("old.patch"), patch).expect("written");
        let line = refused(here, &["--patch", "old.patch"]);
        assert!(line.contains("old: the patch no longer applies: ") && line.contains(file), "{line}");
    }
}

fn hunt(scenario: &str, until_first: bool) -> (tempfile::TempDir, Catch) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("hunted.toml");
    fs::write(&file, scenario).expect("written");
    // It replays nothing: what it is given is no scenario.
    let sim = PathBuf::from(env!("CARGO_BIN_EXE_detcd-sim"));
    let binaries = Binaries { sim: sim.clone(), replay: sim };
    let scenario = file.to_string_lossy().into_owned();
    let hunt = Hunt { scenario, seconds: 1, until_first, seed: 7, jobs: Some(1) };
    let catch = hunt.go(&binaries, &folder.path().join("out")).expect("it hunts");
    (folder, catch)
}

#[test]
fn a_hunt_ends_with_the_first_run_that_ends_badly_and_tells_of_it() {
    let (_folder, catch) = hunt(HOPELESS, true);
    let caught = catch.caught.expect("nobody ever leads");
    assert_eq!((caught.seed, caught.checker.as_deref()), (7, Some("convergence")));
    assert_eq!((catch.seeds, catch.violations, catch.events), (1, 1, caught.events));
    assert!(!catch.replayed && Path::new(&caught.repro.expect("it is on file")).is_file());
}

#[test]
fn a_hunt_for_false_positives_counts_them_all() {
    let (_folder, catch) = hunt(HOPELESS, false);
    assert!(catch.violations > 1 && catch.violations == catch.seeds, "{catch:?}");
    let (_folder, catch) = hunt(BRIEF, false);
    assert!(catch.violations == 0 && catch.seeds > 1 && catch.caught.is_none() && catch.events > 1_000, "{catch:?}");
}
