//! The data directory: created, locked, listed.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use detcd_core::Listing;
use rustix::fs::{Access, FlockOperation};

/// The folders inside a data directory, as etcd has them.
const FOLDERS: [&str; 3] = ["member", "member/wal", "member/snap"];
/// Only the owner may look into a data directory.
const MODE: u32 = 0o700;

/// A data directory that this process, and no other, works on.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Holds the lock.
    _locked: File,
}

/// Why a data directory cannot be used; one line for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataDirError {
    /// The operating system refuses.
    #[error("--data-dir: cannot {what} {}: {error}", path.display())]
    Refused {
        /// What was attempted.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
    /// Another process holds the lock.
    #[error("--data-dir: {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// `--initial-cluster-state existing` without data.
    #[error(
        "--initial-cluster-state: existing is for a data-dir that holds a member, and {} does not; \
        joining a running cluster is not available",
        .0.display()
    )]
    NoMember(PathBuf),
}

fn refused<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DataDirError + 'a {
    move |error| DataDirError::Refused { what, path: path.to_path_buf(), error }
}

impl DataDir {
    /// Creates what is missing, durably, and locks the directory. With `must_exist` nothing is created for a member
    /// that is not there.
    pub fn open(path: &Path, must_exist: bool) -> Result<DataDir, DataDirError> {
        if must_exist && files_of(path)?.is_empty() {
            return Err(DataDirError::NoMember(path.to_path_buf()));
        }
        create_durably(path)?;
        let folder = File::open(path).map_err(refused("open", path))?;
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DataDirError::InUse(path.to_path_buf())),
            Err(error) => return Err(refused("lock", path)(error.into())),
        }
        for name in FOLDERS {
            create_durably(&path.join(name))?;
        }
        // A start that was killed may have made folders whose names are not durable yet.
        for folder in [path.to_path_buf(), path.join("member")] {
            File::open(&folder).and_then(|opened| opened.sync_all()).map_err(refused("sync", &folder))?;
        }
        for name in ["", "member", "member/wal", "member/snap"] {
            let inner = path.join(name);
            rustix::fs::access(&inner, Access::WRITE_OK | Access::EXEC_OK)
                .map_err(|error| refused("write to", &inner)(error.into()))?;
        }
        Ok(DataDir { path: path.to_path_buf(), _locked: folder })
    }

    /// Where a file of the node's is.
    pub fn path_of(&self, file: &str) -> PathBuf {
        self.path.join(file)
    }

    /// The names and sizes of all files, sorted by name.
    pub fn listing(&self) -> Result<Listing, DataDirError> {
        Ok(Listing { files: files_of(&self.path)? })
    }
}

/// The files of a member, sorted by name: what stands in its folders, and nothing else that may stand beside them. A
/// link counts as what it leads to: a log behind one must never look like no log.
fn files_of(root: &Path) -> Result<Vec<(String, u64)>, DataDirError> {
    let mut files = Vec::new();
    for name in FOLDERS {
        let folder = root.join(name);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(refused("list", &folder)(error)),
        };
        for entry in entries {
            let entry = entry.map_err(refused("list", &folder))?;
            // What has no UTF-8 name is not a file of ours.
            let Ok(file) = entry.file_name().into_string() else { continue };
            let metadata = fs::metadata(entry.path()).map_err(refused("look at", &entry.path()))?;
            if metadata.is_file() {
                files.push((format!("{name}/{file}"), metadata.len()));
            }
        }
    }
    files.sort();
    Ok(files)
}

/// Creates a folder and its missing parents, each made durable in the one above it.
fn create_durably(path: &Path) -> Result<(), DataDirError> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    };
    create_durably(parent)?;
    match DirBuilder::new().mode(MODE).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        Err(error) => return Err(refused("create", path)(error)),
    }
    File::open(parent).and_then(|folder| folder.sync_all()).map_err(refused("sync", parent))
}
