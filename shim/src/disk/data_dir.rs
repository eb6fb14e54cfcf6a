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
        if must_exist && !holds_files(path) {
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
        let mut files = Vec::new();
        collect(&self.path, "", &mut files)?;
        files.sort();
        Ok(Listing { files })
    }
}

fn holds_files(path: &Path) -> bool {
    let mut files = Vec::new();
    collect(path, "", &mut files).is_ok() && !files.is_empty()
}

fn collect(root: &Path, prefix: &str, files: &mut Vec<(String, u64)>) -> Result<(), DataDirError> {
    let folder = root.join(prefix);
    for entry in fs::read_dir(&folder).map_err(refused("list", &folder))? {
        let entry = entry.map_err(refused("list", &folder))?;
        // What has no UTF-8 name is not a file of ours.
        let Ok(name) = entry.file_name().into_string() else { continue };
        let name = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
        let metadata = entry.metadata().map_err(refused("look at", &entry.path()))?;
        if metadata.is_dir() {
            collect(root, &name, files)?;
        } else if metadata.is_file() {
            files.push((name, metadata.len()));
        }
    }
    Ok(())
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
