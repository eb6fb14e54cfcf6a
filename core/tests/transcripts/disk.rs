//! A disk whose operations are issued in order, and end when the script says so. Only what a sync covered outlives a
//! loss of power; names outlive it after a sync of their directory.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use detcd_core::types::DiskOp;
use detcd_core::{DiskAction, DiskError, DiskReply, Listing};

/// A crash keeps or loses whole sectors of a write.
const SECTOR_BYTES: u64 = 512;

/// One member's disk.
#[derive(Default)]
pub struct Disk {
    /// Its operations end when the script says so.
    pub held: bool,
    /// It has no room for anything more.
    pub full: bool,
    /// Operations that were issued and have not ended, oldest first.
    pub under_way: VecDeque<Operation>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    files: Vec<File>,
    /// Changes of names that no sync of their directory covered yet.
    renamings: Vec<(DiskOp, Naming)>,
}

/// An operation on its way.
pub struct Operation {
    /// How the node names it.
    pub op: DiskOp,
    /// How the transcript names it; none while nobody looks.
    pub label: Option<u64>,
    /// What it does.
    pub action: DiskAction,
    /// What it will give if the script lets it succeed.
    result: Result<DiskReply, DiskError>,
}

#[derive(Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(DiskOp, Write)>,
}

#[derive(Clone)]
enum Write {
    Grow(u64),
    Bytes { offset: u64, bytes: Bytes },
}

enum Naming {
    Made { name: String, file: usize },
    Renamed { from: String, to: String },
    Removed { name: String },
}

/// What of the writes that no sync covered is there after a loss of power.
#[derive(Default)]
pub struct Kept {
    /// These as a whole.
    pub whole: Vec<DiskOp>,
    /// These without their last sector.
    pub torn: Vec<DiskOp>,
}

impl Write {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Write::Grow(size_bytes) => content.resize(content.len().max(*size_bytes as usize), 0),
            Write::Bytes { offset, bytes } => {
                let end = *offset as usize + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*offset as usize..end].copy_from_slice(bytes);
            }
        }
    }

    /// What is left of it when its last sector is lost.
    fn without_last_sector(&self) -> Write {
        match self {
            Write::Grow(size_bytes) => Write::Grow(*size_bytes),
            Write::Bytes { offset, bytes } => {
                let last = (*offset + bytes.len() as u64 - 1) / SECTOR_BYTES * SECTOR_BYTES;
                Write::Bytes { offset: *offset, bytes: bytes.slice(..last.saturating_sub(*offset) as usize) }
            }
        }
    }
}

impl Disk {
    /// Names and sizes, as a node is opened with them.
    pub fn listing(&self) -> Listing {
        let size = |file: &usize| self.files[*file].now.len() as u64;
        Listing { files: self.names.iter().map(|(name, file)| (name.clone(), size(file))).collect() }
    }

    /// Issues an operation; its effects are there at once for who reads.
    pub fn issue(&mut self, op: DiskOp, label: Option<u64>, action: DiskAction) {
        let result = self.perform(op, &action);
        self.under_way.push_back(Operation { op, label, action, result });
    }

    fn perform(&mut self, op: DiskOp, action: &DiskAction) -> Result<DiskReply, DiskError> {
        match action {
            DiskAction::Allocate { .. } if self.full => return Err(DiskError::NoSpace),
            DiskAction::Allocate { file, size_bytes } => {
                if !self.names.contains_key(&**file) {
                    let made = self.files.len();
                    self.files.push(File::default());
                    self.names.insert(file.to_string(), made);
                    self.renamings.push((op, Naming::Made { name: file.to_string(), file: made }));
                }
                self.write(op, file, Write::Grow(*size_bytes));
            }
            DiskAction::Append { file, offset, bytes } => {
                self.write(op, file, Write::Bytes { offset: *offset, bytes: bytes.clone() });
            }
            DiskAction::Read { file, offset, len } => {
                let content = &self.files[self.names[&**file]].now;
                let end = content.len().min((offset + len) as usize);
                return Ok(DiskReply::Data(Bytes::copy_from_slice(&content[end.min(*offset as usize)..end])));
            }
            DiskAction::Rename { from, to } => {
                let file = self.names.remove(&**from).expect("what is renamed is there");
                self.names.insert(to.to_string(), file);
                self.renamings.push((op, Naming::Renamed { from: from.to_string(), to: to.to_string() }));
            }
            DiskAction::Remove { file } => {
                self.names.remove(&**file);
                self.renamings.push((op, Naming::Removed { name: file.to_string() }));
            }
            DiskAction::Sync { .. } | DiskAction::SyncDir { .. } => {}
        }
        Ok(DiskReply::Done)
    }

    fn write(&mut self, op: DiskOp, name: &str, write: Write) {
        let file = &mut self.files[self.names[name]];
        write.apply(&mut file.now);
        file.unsynced.push((op, write));
    }

    /// Ends an operation that is under way: as it must, or with an error of the script's. A sync that succeeds makes
    /// durable what was issued before it.
    pub fn end(&mut self, op: DiskOp, failure: Option<DiskError>) -> Option<Result<DiskReply, DiskError>> {
        let place = self.under_way.iter().position(|operation| operation.op == op)?;
        let operation = self.under_way.remove(place).expect("found");
        if let Some(failure) = failure {
            return Some(Err(failure));
        }
        match &operation.action {
            DiskAction::Sync { file } => {
                if let Some(file) = self.names.get(&**file) {
                    let file = &mut self.files[*file];
                    let covered = file.unsynced.iter().take_while(|(write, _)| *write < op).count();
                    file.unsynced.drain(..covered).for_each(|(_, write)| write.apply(&mut file.durable));
                }
            }
            DiskAction::SyncDir { dir } => self.sync_names(op, dir),
            _ => {}
        }
        Some(operation.result)
    }

    fn sync_names(&mut self, op: DiskOp, dir: &str) {
        let within = |name: &str| name.rsplit_once('/').is_some_and(|(parent, _)| parent == dir);
        for (issued, naming) in std::mem::take(&mut self.renamings) {
            let name = match &naming {
                Naming::Made { name, .. } | Naming::Removed { name } => name,
                Naming::Renamed { to, .. } => to,
            };
            if issued >= op || !within(name) {
                self.renamings.push((issued, naming));
                continue;
            }
            match naming {
                Naming::Made { name, file } => drop(self.durable_names.insert(name, file)),
                Naming::Renamed { from, to } => {
                    let file = self.durable_names.remove(&from).expect("it was made before it was renamed");
                    self.durable_names.insert(to, file);
                }
                Naming::Removed { name } => drop(self.durable_names.remove(&name)),
            }
        }
    }

    /// The process is gone; what it had issued is in the system's cache.
    pub fn lose_process(&mut self) {
        self.under_way.clear();
    }

    /// The power is gone, and with it all that no sync covered, but for what is `kept`.
    pub fn lose_power(&mut self, kept: &Kept) {
        self.under_way.clear();
        self.renamings.clear();
        self.names = self.durable_names.clone();
        for file in &mut self.files {
            for (op, write) in std::mem::take(&mut file.unsynced) {
                if kept.whole.contains(&op) {
                    write.apply(&mut file.durable);
                } else if kept.torn.contains(&op) {
                    write.without_last_sector().apply(&mut file.durable);
                }
            }
            file.now = file.durable.clone();
        }
    }

    /// Flips a bit of the last record of the log; the name of the file.
    pub fn rot(&mut self) -> Option<String> {
        let (name, file) = self.names.iter().rfind(|(name, _)| name.ends_with(".wal"))?;
        let file = &mut self.files[*file];
        let last = file.now.iter().rposition(|byte| *byte != 0)?;
        for content in [&mut file.now, &mut file.durable] {
            if let Some(byte) = content.get_mut(last - 4) {
                *byte ^= 4;
            }
        }
        Some(name.clone())
    }
}
