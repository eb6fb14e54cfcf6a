//! A simulated disk: what the running node reads, and what a crash would leave.
//!
//! The contract is [`DiskAction`]'s, to the letter: what is not synced may survive in any subset, in whole or in
//! sectors; directory changes without a sync of their directory may each be undone.

mod damage;
mod outcome;
mod rope;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use detcd_core::effect::FileName;
use detcd_core::{DiskAction, DiskError, DiskReply, Listing};

use crate::weather::{nth, permille};
pub(crate) use damage::MARKS_FILE;
pub use damage::{Damage, Damaged};
pub use outcome::{Image, images};
use rope::Rope;

/// A disk keeps or loses at least this many bytes together.
pub const SECTOR_BYTES: u64 = 512;

/// Some disks keep or lose this many bytes together.
pub const PAGE_BYTES: u64 = 4_096;

/// What a crash leaves, out of 1,000 unsynced changes.
#[derive(Clone, Copy, Debug)]
pub struct CrashOdds {
    /// This many are there nevertheless.
    pub keeps_permille: u64,
    /// This many writes are there in part.
    pub tears_permille: u64,
    /// In part means: some of the pieces of this many bytes, each as a whole, beginning at multiples of it.
    pub grain_bytes: u64,
}

/// What a completed sync makes durable.
#[derive(Clone, Debug)]
pub enum Durable {
    /// The changes of a file that were issued before a sync.
    File {
        /// The file, whatever its name is by now.
        inode: u64,
        /// The number of the sync.
        issue: u64,
    },
    /// The changes of a directory that were issued before a sync.
    Dir {
        /// The directory.
        dir: FileName,
        /// The number of the sync.
        issue: u64,
    },
    /// Nothing: the operation failed, and what was written to a file before it and is not durable by then is lost.
    Dropped {
        /// The file, whatever its name is by now.
        inode: u64,
        /// The number of the operation.
        issue: u64,
        /// Whether the running system reads again what was there before, or goes on reading what it wrote.
        reverts: bool,
    },
}

/// The next operation of a kind fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failing {
    /// It is a sync of a file; otherwise it is a write.
    pub is_sync: bool,
    /// What becomes of what the system remembers of the file; see [`Durable::Dropped`].
    pub reverts: bool,
}

/// What an action will have given when it completes.
#[derive(Debug)]
pub struct Completion {
    /// What the node is told.
    pub reply: Result<DiskReply, DiskError>,
    /// What is durable from then on.
    pub durable: Option<Durable>,
}

#[derive(Clone, Debug)]
enum Change {
    Grow(u64),
    Write(u64, Bytes),
}

#[derive(Debug, Default)]
struct Inode {
    /// What the running system reads.
    live: Rope,
    /// What every crash leaves.
    durable: Rope,
    /// What a crash may leave or not, with the number of its issue.
    unsynced: Vec<(u64, Change)>,
}

impl Inode {
    /// Drops the writes before an operation that failed: systems take pages whose writing failed for clean. Sizes are
    /// kept, which belong to the file's metadata.
    fn drop_writes(&mut self, issue: u64, reverts: bool) {
        let is_dropped = |(number, change): &(u64, Change)| *number < issue && matches!(change, Change::Write(..));
        self.unsynced.retain(|change| !is_dropped(change));
        if reverts {
            let len = self.live.len();
            self.live = self.durable.clone();
            for (_, change) in &self.unsynced {
                apply(&mut self.live, change.clone());
            }
            self.live.grow(len);
        }
    }
}

#[derive(Debug)]
enum Entry {
    Link(FileName, u64),
    Unlink(FileName),
    Rename(FileName, FileName, u64),
}

/// One member's disk.
#[derive(Debug, Default)]
pub struct Disk {
    issued: u64,
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<FileName, u64>,
    durable_names: BTreeMap<FileName, u64>,
    unsynced_names: Vec<(u64, FileName, Entry)>,
    failing: Option<Failing>,
}

impl Disk {
    /// The next operation of this kind fails, or, with `None`, none does any more.
    pub fn fail_next(&mut self, failing: Option<Failing>) {
        self.failing = failing;
    }

    /// Takes an action. Its effect on what the node reads is immediate; [`Disk::complete`] makes a sync's effect real.
    pub fn issue(&mut self, action: DiskAction, has_room: bool) -> Completion {
        self.issued += 1;
        if let Some(failed) = self.fail(&action) {
            return failed;
        }
        let mut durable = None;
        let reply = match action {
            DiskAction::Allocate { .. } if !has_room => Err(DiskError::NoSpace),
            DiskAction::Allocate { file, size_bytes } => {
                self.allocate(file, size_bytes);
                Ok(DiskReply::Done)
            }
            DiskAction::Append { file, offset, bytes } => self.append(&file, offset, bytes),
            DiskAction::Read { file, offset, len } => {
                self.inode(&file).map(|(_, inode)| DiskReply::Data(inode.live.read(offset, len)))
            }
            DiskAction::Rename { from, to } => self.rename(from, to),
            DiskAction::Remove { file } => {
                self.remove(file);
                Ok(DiskReply::Done)
            }
            DiskAction::Sync { file } => {
                let issue = self.issued;
                self.inode(&file).map(|(inode, _)| {
                    durable = Some(Durable::File { inode, issue });
                    DiskReply::Done
                })
            }
            DiskAction::SyncDir { dir } => {
                durable = Some(Durable::Dir { dir: tidy(&dir), issue: self.issued });
                Ok(DiskReply::Done)
            }
        };
        Completion { reply, durable }
    }

    /// A sync has completed.
    pub fn complete(&mut self, durable: &Durable) {
        match durable {
            Durable::File { inode, issue } => {
                if let Some(inode) = self.inodes.get_mut(inode) {
                    let synced = inode.unsynced.partition_point(|(number, _)| number < issue);
                    for (_, change) in inode.unsynced.drain(..synced) {
                        apply(&mut inode.durable, change);
                    }
                }
            }
            Durable::Dir { dir, issue } => {
                let covered = |(number, parent, _): &(u64, FileName, Entry)| number < issue && parent == dir;
                let (synced, rest) = self.unsynced_names.drain(..).partition(covered);
                self.unsynced_names = rest;
                for (_, _, entry) in Vec::from_iter::<Vec<_>>(synced) {
                    self.enter(entry);
                }
                self.forget_unreachable();
            }
            Durable::Dropped { inode, issue, reverts } => {
                if let Some(inode) = self.inodes.get_mut(inode) {
                    inode.drop_writes(*issue, *reverts);
                }
            }
        }
    }

    /// If this is the action that has to fail, how it does. Nothing of it happens.
    fn fail(&mut self, action: &DiskAction) -> Option<Completion> {
        let failing = self.failing?;
        let file = match action {
            DiskAction::Append { file, .. } if !failing.is_sync => file,
            DiskAction::Sync { file } if failing.is_sync => file,
            _ => return None,
        };
        let inode = *self.names.get(file)?;
        self.failing = None;
        let durable = Some(Durable::Dropped { inode, issue: self.issued, reverts: failing.reverts });
        Some(Completion { reply: Err(DiskError::Io(format!("{file}: input/output error"))), durable })
    }

    /// The machine loses power. `draw` decides about the changes that were not synced.
    pub fn crash(&mut self, odds: CrashOdds, draw: u64) {
        let mut position = 0;
        let mut next = || {
            position += 1;
            nth(draw, position)
        };
        for (_, _, entry) in std::mem::take(&mut self.unsynced_names) {
            if permille(next(), 500) {
                self.enter(entry);
            }
        }
        self.names = self.durable_names.clone();
        self.forget_unreachable();
        for inode in self.inodes.values_mut() {
            for (_, change) in std::mem::take(&mut inode.unsynced) {
                let fate = next();
                if permille(nth(fate, 0), odds.keeps_permille) {
                    apply(&mut inode.durable, change);
                } else if permille(nth(fate, 1), odds.tears_permille) {
                    tear(&mut inode.durable, change, odds.grain_bytes, nth(fate, 2));
                }
            }
            inode.live = inode.durable.clone();
        }
    }

    /// Names and sizes of the files, as a node is told when it is opened.
    pub fn listing(&self) -> Listing {
        let size = |inode: &u64| self.inodes[inode].live.len();
        Listing { files: self.names.iter().map(|(name, inode)| (name.to_string(), size(inode))).collect() }
    }

    fn inode(&self, file: &FileName) -> Result<(u64, &Inode), DiskError> {
        let number = self.names.get(file).ok_or_else(|| DiskError::Io(format!("{file}: no such file")))?;
        Ok((*number, &self.inodes[number]))
    }

    fn allocate(&mut self, file: FileName, size_bytes: u64) {
        let number = match self.names.get(&file) {
            Some(number) => *number,
            None => {
                let number = self.issued;
                self.inodes.insert(number, Inode::default());
                self.names.insert(file.clone(), number);
                self.change_names(parent(&file), Entry::Link(file, number));
                number
            }
        };
        let inode = self.inodes.get_mut(&number).expect("a name leads to its file");
        if inode.live.len() < size_bytes {
            inode.live.grow(size_bytes);
            inode.unsynced.push((self.issued, Change::Grow(size_bytes)));
        }
    }

    fn append(&mut self, file: &FileName, offset: u64, bytes: Bytes) -> Result<DiskReply, DiskError> {
        let (number, _) = self.inode(file)?;
        let inode = self.inodes.get_mut(&number).expect("a name leads to its file");
        if offset > inode.live.len() {
            return Err(DiskError::Io(format!("{file}: write at {offset} would leave a hole")));
        }
        inode.live.write(offset, bytes.clone());
        inode.unsynced.push((self.issued, Change::Write(offset, bytes)));
        Ok(DiskReply::Done)
    }

    fn rename(&mut self, from: FileName, to: FileName) -> Result<DiskReply, DiskError> {
        let number = self.names.remove(&from).ok_or_else(|| DiskError::Io(format!("{from}: no such file")))?;
        self.names.insert(to.clone(), number);
        self.change_names(parent(&to), Entry::Rename(from, to, number));
        Ok(DiskReply::Done)
    }

    fn remove(&mut self, file: FileName) {
        if self.names.remove(&file).is_some() {
            self.change_names(parent(&file), Entry::Unlink(file));
        }
    }

    fn change_names(&mut self, dir: FileName, entry: Entry) {
        self.unsynced_names.push((self.issued, dir, entry));
    }

    /// Makes a directory change durable.
    fn enter(&mut self, entry: Entry) {
        match entry {
            Entry::Link(name, inode) => {
                self.durable_names.insert(name, inode);
            }
            Entry::Unlink(name) => {
                self.durable_names.remove(&name);
            }
            Entry::Rename(from, to, inode) => {
                // Whether the creation under the old name survived or not, the file has one name now.
                if self.durable_names.get(&from) == Some(&inode) {
                    self.durable_names.remove(&from);
                }
                self.durable_names.insert(to, inode);
            }
        }
    }

    /// Drops files that have no name now and cannot have one after a crash.
    fn forget_unreachable(&mut self) {
        let mut reachable: Vec<u64> = self.names.values().chain(self.durable_names.values()).copied().collect();
        reachable.extend(self.unsynced_names.iter().filter_map(|(_, _, entry)| match entry {
            Entry::Link(_, inode) | Entry::Rename(_, _, inode) => Some(*inode),
            Entry::Unlink(_) => None,
        }));
        reachable.sort_unstable();
        self.inodes.retain(|inode, _| reachable.binary_search(inode).is_ok());
    }
}

fn apply(rope: &mut Rope, change: Change) {
    match change {
        Change::Grow(len) => rope.grow(len),
        Change::Write(offset, bytes) => rope.write(offset, bytes),
    }
}

/// Applies some of the pieces of `grain_bytes` that a write touches.
fn tear(rope: &mut Rope, change: Change, grain_bytes: u64, draw: u64) {
    let Change::Write(offset, bytes) = change else { return };
    for (at, piece) in pieces(offset, &bytes, grain_bytes) {
        if permille(nth(draw, at / grain_bytes), 500) {
            rope.write(at, piece);
        }
    }
}

/// What a write at `offset` puts into each piece of `grain_bytes` that it touches, and where.
fn pieces(offset: u64, bytes: &Bytes, grain_bytes: u64) -> impl Iterator<Item = (u64, Bytes)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = offset + from as u64;
        let room = grain_bytes - at % grain_bytes;
        let to = bytes.len().min(from + usize::try_from(room).expect("a piece is small"));
        let piece = (from < bytes.len()).then(|| (at, bytes.slice(from..to)));
        from = to;
        piece
    })
}

/// The directory of a file: what is before the last `/`, or nothing.
fn parent(file: &FileName) -> FileName {
    Arc::from(file.rsplit_once('/').map_or("", |(dir, _)| dir))
}

/// A directory's name as [`parent`] gives it.
fn tidy(dir: &FileName) -> FileName {
    match dir.trim_end_matches('/') {
        "." | "" => Arc::from(""),
        name => Arc::from(name),
    }
}

#[cfg(test)]
mod tests;
