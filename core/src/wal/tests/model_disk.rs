//! A disk that forgets: what is not synced may be lost, kept or torn at sectors; names are durable by `SyncDir` only.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::effect::{DiskAction, FileName};
use crate::input::{DiskError, DiskReply, Listing};
use crate::wal::SECTOR_BYTES;

/// A source of choices; each test seeds its own.
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    pub(super) fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        crate::seed::draw_below(self.0, &[], bound)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}

/// What a file's name leads to.
#[derive(Clone, Debug, Default)]
struct Inode {
    /// What a power loss cannot take.
    durable: Vec<u8>,
    /// Changes since, in the order in which they were issued.
    changes: Vec<(u64, Change)>,
    /// What the system remembers and will never make durable, as a sync has failed; and what was written since.
    cached: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Size(u64),
    Bytes(u64, Bytes),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Size(size_bytes) => content.resize(content.len().max(*size_bytes as usize), 0),
            Change::Bytes(offset, bytes) => {
                let (start, end) = (*offset as usize, *offset as usize + bytes.len());
                content.resize(content.len().max(end), 0);
                content[start..end].copy_from_slice(bytes);
            }
        }
    }

    /// The parts that a power loss keeps: each sector by itself.
    fn torn(&self, draw: &mut Draw) -> Vec<Change> {
        let Change::Bytes(offset, bytes) = self else {
            return if draw.coin() { vec![self.clone()] } else { Vec::new() };
        };
        let fate = draw.below(4);
        let mut kept = Vec::new();
        let mut at = 0;
        while at < bytes.len() as u64 {
            let end = ((offset + at) / SECTOR_BYTES * SECTOR_BYTES + SECTOR_BYTES - offset).min(bytes.len() as u64);
            if fate == 0 || fate > 1 && draw.coin() {
                kept.push(Change::Bytes(offset + at, bytes.slice(at as usize..end as usize)));
            }
            at = end;
        }
        kept
    }
}

impl Inode {
    fn content(&self) -> Vec<u8> {
        let mut content = self.durable.clone();
        for change in self.changes.iter().map(|(_, change)| change).chain(&self.cached) {
            change.apply(&mut content);
        }
        content
    }

    fn change(&mut self, order: u64, change: Change) {
        if !self.cached.is_empty() {
            self.cached.push(change.clone());
        }
        self.changes.push((order, change));
    }

    fn sync_before(&mut self, order: u64) {
        let (synced, rest) = std::mem::take(&mut self.changes).into_iter().partition(|(at, _)| *at < order);
        self.changes = rest;
        let synced: Vec<(u64, Change)> = synced;
        for (_, change) in synced {
            change.apply(&mut self.durable);
        }
    }
}

#[derive(Clone, Debug)]
enum NameChange {
    Create(FileName, u64),
    Rename(FileName, FileName),
    Remove(FileName),
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<FileName, u64>) {
        match self {
            NameChange::Create(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

/// The disk of one node. Actions take effect for readers when they are issued.
#[derive(Clone, Debug, Default)]
pub(super) struct ModelDisk {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<FileName, u64>,
    durable_names: BTreeMap<FileName, u64>,
    name_changes: Vec<(u64, NameChange)>,
    order: u64,
    /// Whether `Allocate` finds no room.
    pub(super) is_full: bool,
    /// Whether the next write that is issued fails, when it completes, and nothing of it happens.
    pub(super) fails_next_write: bool,
    /// The writes that fail.
    failing: BTreeSet<u64>,
}

impl ModelDisk {
    /// An empty disk without room.
    pub(super) fn full() -> ModelDisk {
        ModelDisk { is_full: true, ..ModelDisk::default() }
    }

    /// Issues an action and gives its place in the order.
    pub(super) fn issue(&mut self, action: &DiskAction) -> u64 {
        self.order += 1;
        let order = self.order;
        match action {
            DiskAction::Allocate { file, size_bytes } if !self.is_full => {
                if !self.names.contains_key(file) {
                    self.inodes.insert(order, Inode::default());
                    self.change_name(NameChange::Create(file.clone(), order));
                }
                self.inode(file).change(order, Change::Size(*size_bytes));
            }
            DiskAction::Append { file, offset, bytes } => {
                let inode = self.inode(file);
                assert!(
                    offset + bytes.len() as u64 <= inode.content().len() as u64,
                    "{file} is written beyond its room"
                );
                if std::mem::take(&mut self.fails_next_write) {
                    self.failing.insert(order);
                } else {
                    self.inode(file).change(order, Change::Bytes(*offset, bytes.clone()));
                }
            }
            DiskAction::Rename { from, to } => {
                assert!(self.names.contains_key(from), "{from} is renamed and is not there");
                assert!(!self.names.contains_key(to), "{to} is replaced");
                self.change_name(NameChange::Rename(from.clone(), to.clone()));
            }
            DiskAction::Remove { file } => self.change_name(NameChange::Remove(file.clone())),
            DiskAction::Sync { file } => {
                self.inode(file);
            }
            DiskAction::Allocate { .. } | DiskAction::Read { .. } | DiskAction::SyncDir { .. } => {}
        }
        order
    }

    fn change_name(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.name_changes.push((self.order, change));
    }

    fn inode(&mut self, file: &FileName) -> &mut Inode {
        let inode = self.names.get(file).unwrap_or_else(|| panic!("{file} is not there"));
        self.inodes.get_mut(inode).expect("names lead to inodes")
    }

    /// Completes an action; a sync makes durable what was issued before it and does not fail.
    pub(super) fn complete(&mut self, order: u64, action: &DiskAction) -> Result<DiskReply, DiskError> {
        match action {
            DiskAction::Append { .. } if self.failing.remove(&order) => {
                Err(DiskError::Io("input/output error".to_owned()))
            }
            DiskAction::Allocate { file, .. } if !self.names.contains_key(file) => Err(DiskError::NoSpace),
            DiskAction::Allocate { file, size_bytes } if (self.inode(file).content().len() as u64) < *size_bytes => {
                Err(DiskError::NoSpace)
            }
            DiskAction::Sync { file } => {
                if let Some(inode) = self.names.get(file) {
                    self.inodes.get_mut(inode).expect("names lead to inodes").sync_before(order);
                }
                Ok(DiskReply::Done)
            }
            DiskAction::SyncDir { .. } => {
                let (synced, rest) =
                    std::mem::take(&mut self.name_changes).into_iter().partition(|(at, _)| *at < order);
                self.name_changes = rest;
                let synced: Vec<(u64, NameChange)> = synced;
                for (_, change) in synced {
                    change.apply(&mut self.durable_names);
                }
                Ok(DiskReply::Done)
            }
            DiskAction::Read { file, offset, len } => {
                let content = self.content(file);
                let start = (*offset as usize).min(content.len());
                let end = (start + *len as usize).min(content.len());
                Ok(DiskReply::Data(Bytes::copy_from_slice(&content[start..end])))
            }
            _ => Ok(DiskReply::Done),
        }
    }

    /// The power goes: of everything that is not durable any part may be lost.
    pub(super) fn lose_power(&mut self, draw: &mut Draw) {
        for inode in self.inodes.values_mut() {
            for (_, change) in std::mem::take(&mut inode.changes) {
                for part in change.torn(draw) {
                    part.apply(&mut inode.durable);
                }
            }
            inode.cached.clear();
        }
        let fate = draw.below(3);
        for (_, change) in std::mem::take(&mut self.name_changes) {
            if fate == 0 || fate == 1 && draw.coin() {
                change.apply(&mut self.durable_names);
            }
        }
        self.names = self.durable_names.clone();
    }

    /// The power goes, and takes everything that is not durable.
    pub(super) fn forget(&mut self) {
        for inode in self.inodes.values_mut() {
            inode.changes.clear();
            inode.cached.clear();
        }
        self.name_changes.clear();
        self.names = self.durable_names.clone();
    }

    /// A sync fails, and the process halts over it. What it had written is never made durable, unless it is written
    /// again; but the system goes on giving it to whoever reads, and the next sync succeeds.
    pub(super) fn fail_syncs(&mut self) {
        for inode in self.inodes.values_mut() {
            let written = inode.changes.iter().filter(|(_, change)| matches!(change, Change::Bytes(..)));
            let written: Vec<Change> = written.map(|(_, change)| change.clone()).collect();
            if inode.cached.is_empty() {
                inode.cached = written;
            }
            inode.changes.retain(|(_, change)| matches!(change, Change::Size(_)));
        }
    }

    /// Only the process dies: what was issued and not completed may be undone, the rest stays, as durable as it was.
    pub(super) fn kill(&mut self, outstanding: &[u64], draw: &mut Draw) {
        for inode in self.inodes.values_mut() {
            inode.changes.retain(|(order, _)| !outstanding.contains(order) || draw.coin());
        }
        self.name_changes.retain(|(order, _)| !outstanding.contains(order) || draw.coin());
        self.names = self.durable_names.clone();
        for (_, change) in &self.name_changes {
            change.apply(&mut self.names);
        }
    }

    pub(super) fn content(&self, file: &str) -> Vec<u8> {
        self.names.get(file).map(|inode| self.inodes[inode].content()).unwrap_or_default()
    }

    /// Changes a byte behind everybody's back.
    pub(super) fn rot(&mut self, file: &str, offset: u64, with: u8) {
        let inode = self.names[file];
        let inode = self.inodes.get_mut(&inode).expect("names lead to inodes");
        inode.durable = inode.content();
        inode.changes.clear();
        inode.cached.clear();
        inode.durable[offset as usize] ^= with;
    }

    pub(super) fn remove(&mut self, file: &str) {
        self.names.remove(file);
        self.durable_names.remove(file);
    }

    /// Puts a file there, durable.
    pub(super) fn put(&mut self, file: &str, content: Vec<u8>) {
        self.order += 1;
        self.inodes.insert(self.order, Inode { durable: content, ..Inode::default() });
        self.names.insert(file.into(), self.order);
        self.durable_names.insert(file.into(), self.order);
    }

    pub(super) fn listing(&self) -> Listing {
        let size = |inode: &u64| self.inodes[inode].content().len() as u64;
        Listing { files: self.names.iter().map(|(name, inode)| (name.to_string(), size(inode))).collect() }
    }
}
