//! The disk: real files under the data directory.
//!
//! Each folder has a thread of its own, a lane, which performs actions strictly in the order in which they were issued;
//! so the order of actions on one file is kept, a `Sync` covers exactly what was issued before it, and a slow
//! checkpoint does not stand in the way of the log.

mod data_dir;
mod lane;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use detcd_core::types::DiskOp;
use detcd_core::{DiskAction, DiskError, DiskReply};

pub use data_dir::{DataDir, DataDirError};
use lane::Lane;

use crate::host::Host;

/// Takes the result of an operation; called on a lane's thread.
pub type Done = Arc<dyn Fn(DiskOp, Result<DiskReply, DiskError>) + Send + Sync>;

/// More folders than this share the last lane.
const LANES_MAX: usize = 4;
/// How often it is looked whether the threads have ended.
const LOOK_EVERY: Duration = Duration::from_millis(10);

type Issued = (DiskOp, DiskAction);

/// The threads that work on a data directory.
pub struct Disk {
    host: Host,
    dir: Arc<DataDir>,
    done: Done,
    folders: BTreeMap<String, usize>,
    lanes: Vec<(mpsc::Sender<Issued>, JoinHandle<()>)>,
}

impl Disk {
    /// A disk without threads yet; they start with the first action in a folder.
    pub fn new(host: Host, dir: Arc<DataDir>, done: Done) -> Disk {
        Disk { host, dir, done, folders: BTreeMap::new(), lanes: Vec::new() }
    }

    /// Issues an action. Never blocks; the result goes to `done`, an error of starting a thread too.
    pub fn issue(&mut self, op: DiskOp, action: DiskAction) {
        match self.lane_of(folder(&action)) {
            Ok(lane) => self.lanes[lane].0.send((op, action)).expect("a lane lives as long as its sender"),
            Err(error) => (self.done)(op, Err(DiskError::Io(format!("cannot start a disk thread: {error}")))),
        }
    }

    fn lane_of(&mut self, folder: &str) -> io::Result<usize> {
        if let Some(lane) = self.folders.get(folder) {
            return Ok(*lane);
        }
        if self.lanes.len() < LANES_MAX {
            let (sender, issued) = mpsc::channel::<Issued>();
            let mut lane = Lane::new(Arc::clone(&self.dir));
            let done = Arc::clone(&self.done);
            let name = format!("disk-{}", self.lanes.len());
            let thread = self.host.thread(&name, move || {
                for (op, action) in issued {
                    done(op, lane.perform(action));
                }
            })?;
            self.lanes.push((sender, thread));
        }
        let lane = self.lanes.len() - 1;
        self.folders.insert(folder.to_string(), lane);
        Ok(lane)
    }

    /// Performs what was issued and ends the threads.
    pub fn close(self) {
        for thread in self.end_lanes() {
            // A lane that panicked has told so on stderr; there is nothing left to do for it.
            let _ = thread.join();
        }
    }

    /// As [`Disk::close`], but leaves threads alone that take longer than `patience`: a disk may never answer.
    pub fn close_within(self, patience: Duration) {
        let host = self.host.clone();
        let deadline = host.now() + patience;
        let threads = self.end_lanes();
        while !threads.iter().all(JoinHandle::is_finished) {
            if host.now() >= deadline {
                tracing::warn!("the disk has not answered yet; it is not waited for any longer");
                return;
            }
            host.pause_thread(LOOK_EVERY);
        }
    }

    /// Issues nothing more.
    fn end_lanes(self) -> Vec<JoinHandle<()>> {
        self.lanes.into_iter().map(|(_sender, thread)| thread).collect()
    }
}

/// The folder, relative to the data directory, whose lane performs the action.
fn folder(action: &DiskAction) -> &str {
    let file = match action {
        DiskAction::Allocate { file, .. }
        | DiskAction::Append { file, .. }
        | DiskAction::Read { file, .. }
        | DiskAction::Rename { from: file, .. }
        | DiskAction::Remove { file }
        | DiskAction::Sync { file } => file,
        DiskAction::SyncDir { dir } => return dir,
    };
    file.rsplit_once('/').map_or("", |(folder, _)| folder)
}

#[cfg(test)]
mod tests;
