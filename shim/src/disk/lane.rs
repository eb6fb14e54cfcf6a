//! One lane: performs disk actions one after the other.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::Arc;

use bytes::Bytes;
use detcd_core::effect::FileName;
use detcd_core::{DiskAction, DiskError, DiskReply};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::DataDir;

/// Only the owner may read a file.
const MODE: u32 = 0o600;
/// How many files a lane keeps open, apart from those with writes that are not synced.
const OPEN_FILES_MAX: usize = 16;
/// Zeros are written in pieces of this size where the file system cannot reserve room.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

struct Opened {
    file: File,
    /// Whether something was written that no `Sync` covers yet.
    dirty: bool,
}

/// The files that one thread works on.
pub struct Lane {
    dir: Arc<DataDir>,
    opened: BTreeMap<FileName, Opened>,
    /// The disk had no room for so many bytes, and has not had it since.
    lacked_bytes: Option<u64>,
}

impl Lane {
    /// A lane in `dir` without open files.
    pub fn new(dir: Arc<DataDir>) -> Lane {
        Lane { dir, opened: BTreeMap::new(), lacked_bytes: None }
    }

    /// Performs one action.
    pub fn perform(&mut self, action: DiskAction) -> Result<DiskReply, DiskError> {
        let done = |()| DiskReply::Done;
        match action {
            DiskAction::Allocate { file, size_bytes } => {
                let allocated = self.allocate(&file, size_bytes);
                self.tell_of_room(&file, size_bytes, &allocated);
                return allocated.map(done);
            }
            DiskAction::Append { file, offset, bytes } => self.append(&file, offset, &bytes).map(done),
            DiskAction::Read { file, offset, len } => self.read(&file, offset, len).map(DiskReply::Data),
            DiskAction::Rename { from, to } => self.rename(&from, to).map(done),
            DiskAction::Remove { file } => self.remove(&file).map(done),
            DiskAction::Sync { file } => self.sync(&file).map(done),
            DiskAction::SyncDir { dir } => self.sync_dir(&dir).map(done),
        }
        .map_err(|error| DiskError::Io(error.to_string()))
    }

    fn allocate(&mut self, name: &FileName, size_bytes: u64) -> Result<(), DiskError> {
        let failed = |error: io::Error| DiskError::Io(error.to_string());
        let path = self.dir.path_of(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(MODE);
        let (file, created) = match options.clone().create_new(true).open(&path) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => (options.open(&path).map_err(failed)?, false),
            Err(error) if no_space(&error) => return Err(DiskError::NoSpace),
            Err(error) => return Err(failed(error)),
        };
        let old_bytes = file.metadata().map_err(failed)?.len();
        if let Err(error) = grow(&file, old_bytes, size_bytes) {
            // Nothing must have happened: take back what was done.
            file.set_len(old_bytes).map_err(failed)?;
            if created {
                fs::remove_file(&path).map_err(failed)?;
            }
            return Err(if no_space(&error) { DiskError::NoSpace } else { failed(error) });
        }
        self.keep(name.clone(), file, true);
        Ok(())
    }

    /// Whoever runs the member has to know when its disk is full, and only once: it is tried again and again.
    fn tell_of_room(&mut self, file: &FileName, bytes: u64, allocated: &Result<(), DiskError>) {
        match (allocated, self.lacked_bytes) {
            (Err(DiskError::NoSpace), None) => {
                tracing::warn!(%file, bytes, "the disk has no room for a file; what needs it waits, or is refused");
                self.lacked_bytes = Some(bytes);
            }
            (Ok(()), Some(lacked)) if bytes >= lacked => {
                tracing::info!(%file, bytes, "the disk has room again");
                self.lacked_bytes = None;
            }
            _ => {}
        }
    }

    fn append(&mut self, name: &FileName, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let opened = self.open(name)?;
        opened.dirty = true;
        opened.file.write_all_at(bytes, offset)
    }

    fn read(&mut self, name: &FileName, offset: u64, len: u64) -> io::Result<Bytes> {
        let file = &self.open(name)?.file;
        let rest = file.metadata()?.len().saturating_sub(offset).min(len);
        let mut bytes = vec![0; usize::try_from(rest).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }

    fn rename(&mut self, from: &FileName, to: FileName) -> io::Result<()> {
        fs::rename(self.dir.path_of(from), self.dir.path_of(&to))?;
        self.opened.remove(&to);
        if let Some(opened) = self.opened.remove(from) {
            self.opened.insert(to, opened);
        }
        Ok(())
    }

    fn remove(&mut self, name: &FileName) -> io::Result<()> {
        self.opened.remove(name);
        match fs::remove_file(self.dir.path_of(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync(&mut self, name: &FileName) -> io::Result<()> {
        let opened = self.open(name)?;
        opened.file.sync_data()?;
        opened.dirty = false;
        Ok(())
    }

    fn sync_dir(&mut self, name: &FileName) -> io::Result<()> {
        File::open(self.dir.path_of(name))?.sync_all()
    }

    fn open(&mut self, name: &FileName) -> io::Result<&mut Opened> {
        if !self.opened.contains_key(name) {
            let file = OpenOptions::new().read(true).write(true).open(self.dir.path_of(name))?;
            self.keep(name.clone(), file, false);
        }
        Ok(self.opened.get_mut(name).expect("kept just now"))
    }

    fn keep(&mut self, name: FileName, file: File, dirty: bool) {
        if self.opened.len() >= OPEN_FILES_MAX {
            // An error of writing back reaches those who have the file open: what is not synced stays open.
            self.opened.retain(|_, opened| opened.dirty);
        }
        let dirty = dirty || self.opened.get(&name).is_some_and(|opened| opened.dirty);
        self.opened.insert(name, Opened { file, dirty });
    }
}

fn no_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Reserves room from `from` to `to` bytes, filled with zeros.
fn grow(file: &File, from: u64, to: u64) -> io::Result<()> {
    if to <= from {
        return Ok(());
    }
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), from, to - from) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => return write_zeros(file, from, to),
            Err(error) => return Err(error.into()),
        }
    }
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let piece = usize::try_from(to - at).unwrap_or(usize::MAX).min(ZEROS.len());
        file.write_all_at(&ZEROS[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_fill_the_room_where_a_file_system_cannot_reserve_it() {
        let file = tempfile::tempfile().expect("a temporary file");
        file.write_all_at(b"old", 0).expect("written");
        write_zeros(&file, 3, 200_000).expect("room");
        assert_eq!(file.metadata().expect("metadata").len(), 200_000);
        let mut bytes = vec![1; 200_000];
        file.read_exact_at(&mut bytes, 0).expect("read");
        assert!(bytes.starts_with(b"old"));
        assert!(bytes[3..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn only_a_full_disk_counts_as_no_space() {
        assert!(no_space(&Errno::NOSPC.into()));
        assert!(no_space(&Errno::DQUOT.into()));
        assert!(!no_space(&Errno::IO.into()));
        assert!(!no_space(&Errno::ROFS.into()));
    }
}
