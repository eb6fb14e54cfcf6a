//! The source of raft-rs, for bugs that are planted in it: a scratch copy of what cargo has downloaded, which takes the
//! place of the published crate in the scratch copy of the workspace, and nowhere else.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// What a patch's paths begin with if they mean raft-rs.
pub const PREFIX: &str = "raft/";

/// How the workspace's manifest ends in the scratch copy; the library lies beside that.
const REPLACEMENT: &str = "
[patch.crates-io]
raft = { path = \"../raft\" }
";

/// Where cargo keeps the source of raft-rs, in the version that `lock`, a `Cargo.lock`, names.
///
/// # Errors
/// One line: it is not there.
pub fn source(lock: &str) -> Result<PathBuf, String> {
    let version = entry(lock).and_then(|entry| value(entry, "version")).ok_or("Cargo.lock names no raft-rs")?;
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo"))).ok_or("there is no home folder")?;
    let registries = home.join("registry").join("src");
    let folders = fs::read_dir(&registries).map_err(|error| format!("{}: {error}", registries.display()))?;
    let folder = |registry: fs::DirEntry| registry.path().join(format!("raft-{version}"));
    let mut found: Vec<PathBuf> =
        folders.filter_map(|entry| Some(folder(entry.ok()?))).filter(|f| f.is_dir()).collect();
    found.sort();
    let missing = || format!("raft-{version} is not in {}; `cargo fetch` brings it", registries.display());
    found.into_iter().next().ok_or_else(missing)
}

/// The text of a file of the library.
pub fn read(source: &Path, name: &str) -> Option<String> {
    fs::read_to_string(source.join(name)).ok()
}

/// The workspace's `Cargo.toml`, with raft-rs from the folder beside the workspace.
pub fn manifest(text: &str) -> String {
    format!("{text}{REPLACEMENT}")
}

/// A `Cargo.lock` that fits such a manifest, so that cargo needs no network to find that out: a package of a folder has
/// neither source nor checksum.
pub fn lock(text: &str) -> String {
    let Some(entry) = entry(text) else { return text.to_string() };
    let is_kept = |line: &&str| !line.starts_with("source = ") && !line.starts_with("checksum = ");
    let local: String = entry.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect();
    text.replacen(entry, &local, 1)
}

/// The lines of raft-rs in a `Cargo.lock`.
fn entry(lock: &str) -> Option<&str> {
    let begins = lock.find("name = \"raft\"\n")?;
    let rest = &lock[begins..];
    Some(rest.find("\n\n").map_or(rest, |end| &rest[..=end]))
}

fn value<'a>(entry: &'a str, key: &str) -> Option<&'a str> {
    let line = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
    line.strip_suffix('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "\
[[package]]
name = \"raft\"
version = \"0.7.0\"
source = \"registry+https://example.org\"
checksum = \"f126\"
dependencies = [
 \"slog\",
]

[[package]]
name = \"raft-proto\"
version = \"0.7.0\"
source = \"registry+https://example.org\"
";

    #[test]
    fn the_lock_of_a_local_library_names_no_registry_for_it_and_for_it_alone() {
        let expected = LOCK.replacen("source = \"registry+https://example.org\"\nchecksum = \"f126\"\n", "", 1);
        assert_eq!(lock(LOCK), expected);
        assert_eq!(lock("[[package]]\n"), "[[package]]\n");
    }

    #[test]
    fn the_library_is_where_cargo_put_it() {
        let own = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.lock")).expect("a lock");
        let source = source(&own).expect("this was built with it");
        assert!(read(&source, "src/raft.rs").expect("its main part").contains("fn "));
        assert_eq!(read(&source, "src/none.rs"), None);
        assert!(super::source(&LOCK.replace("0.7.0", "0.0.1")).expect_err("never published").contains("cargo fetch"));
    }
}
