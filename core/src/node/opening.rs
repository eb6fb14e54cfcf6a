//! Opening: read the log, read the checkpoint it goes on from, make the log ready to be written, and only then take
//! part. Nothing is written before everything has been read and found whole.

use crate::config::{Member, NodeConfig};
use crate::consensus::Start;
use crate::disk_queue::DiskQueue;
use crate::effect::{DiskAction, FileName, HaltReason, Note, Outputs};
use crate::input::{DiskError, DiskReply, Listing};
use crate::log::{ConfState, Entry, EntryKind, HardState, SnapshotMeta};
use crate::proto::etcdserverpb as pb;
use crate::snapshot::{SnapshotError, SnapshotLoader, checkpoint_name, parse_checkpoint_name};
use crate::state_machine::{MemberAction, MemberAttributes, MemberChange, StateMachine, bootstrap_entries};
use crate::types::{DiskOp, LogIndex, NodeId, Term};
use crate::wal::{CutTail, Recovered, Recovery, WalConfig, WriteId, Writer};

use super::checkpoint::Checkpoints;
use super::checkpoint_file::CHECKPOINT_DIR;
use super::member::MemberStart;
use super::status::Phase;

/// A node that reads what its disk holds.
pub(super) struct Opening {
    reading: Reading,
    stage: Stage,
}

/// What all stages share.
struct Reading {
    config: NodeConfig,
    /// This member's name, as it was told.
    own_name: String,
    disk: DiskQueue,
    /// The checkpoint files there are, and their sizes.
    checkpoint_files: Vec<(FileName, u64)>,
    asked: DiskOp,
    asked_file: FileName,
    read_bytes: u64,
    total_bytes: u64,
}

enum Stage {
    Log(Box<Recovery>),
    Checkpoint(Box<LoadingCheckpoint>),
    Writer(Box<OpeningWriter>),
}

struct LoadingCheckpoint {
    recovered: Recovered,
    meta: SnapshotMeta,
    size_bytes: u64,
    offset: u64,
    loader: SnapshotLoader,
}

struct OpeningWriter {
    writer: Writer,
    /// What has to be durable before the member takes part.
    wait_for: WriteId,
    start: Start,
    state: StateMachine,
    checkpoint: Option<SnapshotMeta>,
    /// Older checkpoints, which are not needed any more when the log is durable.
    superseded: Vec<FileName>,
}

/// How far opening came.
pub(super) enum Opened {
    /// It waits for the disk.
    NotYet(Box<Opening>),
    /// The member takes part from here.
    Ready(Box<MemberStart>),
}

/// How much of a checkpoint is read at once.
const READ_BYTES: u64 = 256 << 10;

impl Opening {
    /// Begins with the names and sizes of the files.
    pub(super) fn begin(config: NodeConfig, listing: &Listing, out: &mut Outputs) -> Result<Opened, HaltReason> {
        let own = config.members.iter().find(|member| member.id == config.node_id);
        let own_name = own.expect("a node is one of the members that it is told of").name.clone();
        let recovery = Recovery::new(WalConfig::of(&config), listing);
        let in_dir = |name: &str| name.strip_prefix(CHECKPOINT_DIR).is_some_and(|rest| rest.starts_with('/'));
        let checkpoint_files = listing.files.iter().filter(|(name, _)| in_dir(name));
        let (read_bytes, total_bytes) = recovery.progress();
        let reading = Reading {
            checkpoint_files: checkpoint_files.map(|(name, size)| (name.as_str().into(), *size)).collect(),
            disk: DiskQueue::default(),
            asked: DiskOp(0),
            asked_file: "".into(),
            read_bytes,
            total_bytes,
            config,
            own_name,
        };
        let opening = Box::new(Opening { reading, stage: Stage::Log(Box::new(recovery)) });
        out.notes.push(Note::Phase(opening.phase()));
        opening.go_on(out)
    }

    /// What is read so far.
    pub(super) fn phase(&self) -> Phase {
        Phase::Loading { read_bytes: self.reading.read_bytes, total_bytes: self.reading.total_bytes }
    }

    /// Takes a completion.
    pub(super) fn disk_done(
        mut self: Box<Self>,
        op: DiskOp,
        result: Result<DiskReply, DiskError>,
        out: &mut Outputs,
    ) -> Result<Opened, HaltReason> {
        if let Stage::Writer(opening) = &mut self.stage {
            opening.writer.on_disk_done(op, &result, &mut self.reading.disk)?;
            return self.go_on(out);
        }
        assert_eq!(op, self.reading.asked, "one read at a time");
        let file = &self.reading.asked_file;
        let bytes = match result {
            Ok(DiskReply::Data(bytes)) => bytes,
            Ok(DiskReply::Done) => unreachable!("a read gives data"),
            Err(error) => return Err(read_failed(file, error)),
        };
        self.reading.read_bytes += bytes.len() as u64;
        match &mut self.stage {
            Stage::Log(recovery) => recovery.feed(bytes)?,
            Stage::Checkpoint(loading) => loading.feed(&bytes, file)?,
            Stage::Writer(_) => unreachable!("handled above"),
        }
        self.go_on(out)
    }

    /// Goes as far as it can without the disk.
    fn go_on(mut self: Box<Self>, out: &mut Outputs) -> Result<Opened, HaltReason> {
        loop {
            let reading = &mut self.reading;
            let read = match &mut self.stage {
                Stage::Log(recovery) => recovery.next_read(),
                Stage::Checkpoint(loading) => loading.next_read(),
                Stage::Writer(opening) => {
                    opening.writer.flush(&mut reading.disk);
                    if opening.is_ready() {
                        for file in opening.superseded.drain(..) {
                            reading.disk.issue(DiskAction::Remove { file });
                        }
                        return Ok(Opened::Ready(Box::new(self.member_start())));
                    }
                    reading.disk.drain(out);
                    return Ok(Opened::NotYet(self));
                }
            };
            if let Some(DiskAction::Read { file, offset, len }) = read {
                reading.asked_file = file.clone();
                reading.asked = reading.disk.issue(DiskAction::Read { file, offset, len });
                reading.disk.drain(out);
                return Ok(Opened::NotYet(self));
            }
            let Opening { mut reading, stage } = *self;
            let stage = reading.next_stage(stage, out)?;
            self = Box::new(Opening { reading, stage });
        }
    }

    fn member_start(mut self) -> MemberStart {
        // The data says who belongs to the cluster, but a member is called what it is told to be called.
        let Reading { config, own_name, .. } = &mut self.reading;
        for own in config.members.iter_mut().filter(|member| member.id == config.node_id) {
            own.name = std::mem::take(own_name);
        }
        let Stage::Writer(opening) = self.stage else { unreachable!("the last stage") };
        MemberStart {
            config: self.reading.config,
            consensus: opening.start,
            checkpoints: Checkpoints::new(opening.checkpoint, &opening.state),
            state: opening.state,
            writer: opening.writer,
            disk: self.reading.disk,
        }
    }
}

impl LoadingCheckpoint {
    fn next_read(&self) -> Option<DiskAction> {
        let file = checkpoint_name(self.meta.term, self.meta.index).into();
        let read = DiskAction::Read { file, offset: self.offset, len: READ_BYTES };
        (self.offset < self.size_bytes).then_some(read)
    }

    fn feed(&mut self, bytes: &[u8], file: &FileName) -> Result<(), HaltReason> {
        self.offset += bytes.len() as u64;
        if bytes.is_empty() {
            return Err(damaged_checkpoint(file, &SnapshotError::Incomplete));
        }
        self.loader.feed(bytes).map_err(|error| damaged_checkpoint(file, &error))
    }
}

impl OpeningWriter {
    fn is_ready(&self) -> bool {
        self.writer.is_open() && self.writer.durable() >= self.wait_for
    }
}

impl Reading {
    fn next_stage(&mut self, stage: Stage, out: &mut Outputs) -> Result<Stage, HaltReason> {
        match stage {
            Stage::Log(recovery) => self.after_log(recovery.finish()?, out),
            Stage::Checkpoint(loading) => {
                let file = checkpoint_name(loading.meta.term, loading.meta.index).into();
                let (meta, state) = loading.loader.finish().map_err(|error| damaged_checkpoint(&file, &error))?;
                if meta.index != loading.meta.index || meta.term != loading.meta.term {
                    return Err(damaged_checkpoint(&file, &SnapshotError::NotASnapshot));
                }
                let view = state.view();
                if view.cluster_id() != self.config.cluster_id {
                    let what = format!("{file} is of another cluster than the log, {}", view.cluster_id());
                    return Err(HaltReason::Foreign { what });
                }
                self.config.members = view.members().map(member_of).collect();
                Ok(self.open_writer(loading.recovered, Some(meta), state))
            }
            Stage::Writer(_) => unreachable!("the last stage"),
        }
    }

    /// The log is read: begins with the newest checkpoint that it marks and goes on from, or with the founders' state.
    fn after_log(&mut self, recovered: Recovered, out: &mut Outputs) -> Result<Stage, HaltReason> {
        self.config.cluster_id = recovered.cluster_id;
        if has_founders(&recovered) {
            self.config.members = founders(&recovered.entries);
        }
        self.judge_cut(&recovered, out)?;
        let usable = |meta: &&SnapshotMeta| {
            meta.index > LogIndex(0)
                && recovered.continues_from(meta.index, meta.term)
                && self.size_of(&checkpoint_name(meta.term, meta.index)).is_some()
        };
        if let Some(meta) = recovered.marks.iter().rev().find(usable).cloned() {
            let size_bytes = self.size_of(&checkpoint_name(meta.term, meta.index)).expect("usable");
            self.total_bytes += size_bytes;
            let loader = SnapshotLoader::new();
            let loading = LoadingCheckpoint { recovered, meta, size_bytes, offset: 0, loader };
            return Ok(Stage::Checkpoint(Box::new(loading)));
        }
        if recovered.first_index > LogIndex(1) {
            return Err(missing_checkpoint(&recovered));
        }
        let founding = bootstrap_entries(self.config.cluster_id, &self.config.members);
        if has_founders(&recovered) && !starts_with(&recovered.entries, &founding) {
            let what = "the log does not begin with the members that founded the cluster".to_string();
            return Err(HaltReason::Foreign { what });
        }
        let state = StateMachine::genesis(self.config.cluster_id, &self.config.members);
        Ok(self.open_writer(recovered, None, state))
    }

    /// A tail that a crash can have torn was never acknowledged, as far as anyone can tell. One that no crash leaves
    /// may have been: then the others have to help, if they can.
    fn judge_cut(&self, recovered: &Recovered, out: &mut Outputs) -> Result<(), HaltReason> {
        let Some(CutTail { file, offset, zero_until, rot }) = &recovered.cut else { return Ok(()) };
        assert!(zero_until > offset, "a cut tail has bytes");
        let Some(rot) = rot else {
            out.mark("wal: a torn tail was cut");
            return Ok(());
        };
        let founders = self.founders_meta();
        let newest = recovered.marks.iter().rev().find(|mark| mark.index > LogIndex(0)).unwrap_or(&founders);
        if !newest.conf_state.elects_without_one() {
            let what =
                format!("{rot}, in what may have been acknowledged; too few other voters are there to repair it");
            return Err(HaltReason::Damaged { file: file.to_string(), offset: *offset, what });
        }
        out.mark("wal: a rotten tail was cut");
        Ok(())
    }

    fn size_of(&self, name: &str) -> Option<u64> {
        self.checkpoint_files.iter().find(|(file, _)| &**file == name).map(|(_, size_bytes)| *size_bytes)
    }

    /// Everything is read and whole: from here on the disk is written.
    fn open_writer(&mut self, recovered: Recovered, checkpoint: Option<SnapshotMeta>, state: StateMachine) -> Stage {
        let superseded = self.remove_leftovers(&recovered.marks, checkpoint.as_ref());
        let applied = checkpoint.clone().unwrap_or_else(|| self.founders_meta());
        let mut start = Start {
            hard_state: recovered.hard_state,
            base: (applied.index, applied.term),
            entries: Vec::new(),
            applied: applied.clone(),
            boot: recovered.boot,
            lost_until: recovered.lost_until,
        };
        let founds = checkpoint.is_none() && !has_founders(&recovered);
        if founds {
            let term = recovered.hard_state.term.max(Term(1));
            start.hard_state = HardState { term, vote: NodeId(0), commit: applied.index };
        } else {
            start.entries = recovered.entries_after(applied.index).to_vec();
        }
        let mut writer = Writer::open(WalConfig::of(&self.config), recovered.start, &mut self.disk);
        let wait_for = if founds {
            let founding = bootstrap_entries(self.config.cluster_id, &self.config.members);
            writer.append(founding, Some(start.hard_state), None)
        } else {
            writer.durable()
        };
        Stage::Writer(Box::new(OpeningWriter { writer, wait_for, start, state, checkpoint, superseded }))
    }

    /// Where the founders' state stands: after the conf changes that name them, one each, in term 1.
    fn founders_meta(&self) -> SnapshotMeta {
        let mut voters: Vec<NodeId> = self.config.members.iter().map(|member| member.id).collect();
        voters.sort_unstable();
        let conf_state = ConfState { voters, ..ConfState::default() };
        SnapshotMeta { index: LogIndex(self.config.members.len() as u64), term: Term(1), conf_state }
    }

    /// Removes what no restart would begin with. Returns the marked checkpoints that the newest one has taken the place
    /// of. They go when the log is durable as it was read: until then the newest one's mark may be lost, and a restart
    /// would begin with an older one.
    fn remove_leftovers(&mut self, marks: &[SnapshotMeta], checkpoint: Option<&SnapshotMeta>) -> Vec<FileName> {
        let mut superseded = Vec::new();
        let marked = |term, index| marks.iter().any(|mark| (mark.term, mark.index) == (term, index));
        for (file, _) in std::mem::take(&mut self.checkpoint_files) {
            let name = parse_checkpoint_name(&file);
            let newer = |index| checkpoint.is_none_or(|newest| index > newest.index);
            let is_leftover = match name {
                Some((term, index)) => {
                    let begins_here = checkpoint.is_some_and(|newest| (newest.term, newest.index) == (term, index));
                    !begins_here && (!marked(term, index) || !newer(index))
                }
                None => file.ends_with(".tmp"),
            };
            if is_leftover && name.is_some_and(|(term, index)| marked(term, index)) {
                superseded.push(file);
            } else if is_leftover {
                self.disk.issue(DiskAction::Remove { file });
            }
        }
        superseded
    }
}

/// Why a log cannot be opened that goes on from a checkpoint that is not there. If the end of the log is rotten, that
/// is why: the mark of a newer checkpoint stood there, for which the one before was removed.
fn missing_checkpoint(recovered: &Recovered) -> HaltReason {
    if let Some(CutTail { file, offset, rot: Some(rot), .. }) = &recovered.cut {
        let what = format!("{rot}, and no checkpoint is left that the log before it goes on from");
        return HaltReason::Damaged { file: file.to_string(), offset: *offset, what };
    }
    let newest = recovered.marks.last().cloned().unwrap_or_default();
    let what = "the log goes on from this checkpoint, and the file is missing".to_string();
    HaltReason::Damaged { file: checkpoint_name(newest.term, newest.index), offset: 0, what }
}

/// Whether the log holds its founders, or goes on behind them. The hard state that commits them is written behind them
/// in the first write of all; a log without it was created and never served, and is founded once more.
fn has_founders(recovered: &Recovered) -> bool {
    !recovered.fresh && recovered.hard_state.commit > LogIndex(0)
}

/// The members that the first entries name: those of term 1, in which nobody ever led.
fn founders(entries: &[Entry]) -> Vec<Member> {
    let founding = entries.iter().take_while(|entry| entry.term == Term(1) && entry.kind == EntryKind::ConfChange);
    let member = |entry: &Entry| match MemberChange::decode(&entry.data).ok()? {
        MemberChange {
            node_id: id, action: MemberAction::AddVoter(MemberAttributes { peer_urls, name, .. }), ..
        } => Some(Member { id, name, peer_urls }),
        _ => None,
    };
    founding.filter_map(member).collect()
}

fn member_of(member: &pb::Member) -> Member {
    Member { id: NodeId(member.id), name: member.name.clone(), peer_urls: member.peer_ur_ls.clone() }
}

fn starts_with(entries: &[Entry], founding: &[Entry]) -> bool {
    entries.len() >= founding.len() && entries.iter().zip(founding).all(|(entry, founder)| entry == founder)
}

fn read_failed(file: &FileName, error: DiskError) -> HaltReason {
    let error = match error {
        DiskError::NoSpace => "no space".to_string(),
        DiskError::Io(error) => error,
    };
    HaltReason::Disk { what: format!("read {file}"), error }
}

fn damaged_checkpoint(file: &FileName, error: &SnapshotError) -> HaltReason {
    let offset = match error {
        SnapshotError::Damaged { offset, .. } => *offset,
        _ => 0,
    };
    HaltReason::Damaged { file: file.to_string(), offset, what: error.to_string() }
}
