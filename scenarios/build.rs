//! Gives the crate a digest of the sources that decide how a run goes, so that a failure file can say whether it was
//! found by the same code.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The folders whose code and schemas decide how a run goes, seen from this crate.
const DECIDING: [&str; 4] = ["../core/src", "../core/proto", "../sim/src", "../Cargo.lock"];

fn main() {
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo says where the crate is"));
    let mut digest = 0xcbf2_9ce4_8422_2325_u64;
    for place in DECIDING {
        println!("cargo::rerun-if-changed={place}");
        roll_in(&here.join(place), &mut digest);
    }
    println!("cargo::rustc-env=DETCD_SOURCE={digest:016x}");
    println!("cargo::rustc-env=DETCD_PROFILE={}", profile());
    println!("cargo::rerun-if-env-changed=DETCD_COMMIT");
    println!("cargo::rustc-env=DETCD_COMMIT={}", commit(&here).unwrap_or_default());
}

/// The commit that is built, as `DETCD_COMMIT` says or else git, if there is one: the time of the commit in seconds
/// since 1970, a space, and its hash, with a `+` if files were changed since.
fn commit(here: &Path) -> Option<String> {
    if let Ok(said) = env::var("DETCD_COMMIT") {
        return Some(said);
    }
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(here).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    // Whoever builds a copy inside some other repository is not told about that one.
    let known = git(&["ls-files", "--error-unmatch", "build.rs"]);
    let commit = known.and_then(|_| git(&["log", "-1", "--format=%ct %H"]))?;
    // The head moves with each commit.
    let moved = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if here.join(&moved).exists() {
        println!("cargo::rerun-if-changed={}", here.join(&moved).display());
    }
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|files| !files.is_empty());
    Some(format!("{commit}{}", if changed { "+" } else { "" }))
}

/// FNV-1a over the contents of `path`, or of everything below it in order of names.
fn roll_in(path: &Path, digest: &mut u64) {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a source folder can be read");
        let mut below: Vec<PathBuf> = entries.map(|entry| entry.expect("a source folder can be read").path()).collect();
        below.sort();
        below.iter().for_each(|path| roll_in(path, digest));
    } else if let Ok(bytes) = fs::read(path) {
        for byte in bytes {
            *digest = (*digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The name of cargo's profile, which it tells only through the path of `OUT_DIR`: .../PROFILE/build/CRATE-HASH/out.
fn profile() -> String {
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo gives an OUT_DIR"));
    let profile = out.ancestors().nth(3).and_then(Path::file_name);
    profile.map_or_else(|| "unknown".to_string(), |name| name.to_string_lossy().into_owned())
}
