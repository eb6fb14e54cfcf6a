//! Carries out commands, one after the other, and says what came of each.

use std::time::Duration;

use detcd_core::types::{DiskOp, NodeId, StreamId};
use detcd_core::{DiskError, Input, NodeConfig, Role, StreamOp};

use crate::command::{Command, Cut, Fate, Which, Who};
use crate::disk::Kept;
use crate::world::World;
use crate::{calls, describe, forge};

/// A member that does not campaign for so long never will.
const CAMPAIGN_WAIT_MAX: Duration = Duration::from_secs(10);

/// One performance of a transcript.
#[derive(Default)]
pub struct Play {
    world: Option<World>,
}

impl Play {
    /// Carries out a command; the lines of what came of it.
    ///
    /// # Errors
    /// It cannot be carried out, or members did what no script may bring about.
    pub fn command(&mut self, command: &Command) -> Result<Vec<String>, String> {
        if let Command::Members { count, knobs } = command {
            if self.world.is_some() {
                return Err("the members are there already".to_owned());
            }
            for (knob, value) in knobs {
                set_knob(&mut NodeConfig::with_etcd_defaults(Default::default(), NodeId(1), vec![], 0), knob, *value)?;
            }
            let adjust = |config: &mut NodeConfig| {
                let set = |(knob, value): &(String, u64)| set_knob(config, knob, *value).expect("tried above");
                knobs.iter().for_each(set);
            };
            let world = self.world.insert(World::new(*count, adjust));
            world.disagreement()?;
            return Ok(standings(world));
        }
        let world = self.world.as_mut().ok_or("the first command is 'members'")?;
        if let Command::Quiet(commands) = command {
            for command in commands {
                world.begin(false);
                world.carry_out(command)?;
            }
        } else {
            world.begin(true);
            world.carry_out(command)?;
        }
        world.disagreement()?;
        if matches!(command, Command::Quiet(_) | Command::Show) {
            return Ok(standings(world));
        }
        if world.lines.is_empty() && !is_setting(command) {
            world.lines.push("(nothing)".to_owned());
        }
        Ok(std::mem::take(&mut world.lines))
    }
}

/// Whether nothing is to come of a command at once.
fn is_setting(command: &Command) -> bool {
    matches!(
        command,
        Command::Hold(_)
            | Command::Release(_)
            | Command::Full { .. }
            | Command::Cut(_)
            | Command::Heal
            | Command::Kill(_)
            | Command::Crash { .. }
    )
}

/// How all stand, and what is under way.
fn standings(world: &mut World) -> Vec<String> {
    world.begin(true);
    let mut lines = Vec::new();
    for (at, host) in world.hosts.iter().enumerate() {
        let standing = world.status(at).map_or("is down".to_owned(), |status| describe::status(&status));
        lines.push(format!("{} {standing}", host.id));
    }
    lines.extend(world.network.flights().iter().map(|flight| format!("on its way: {flight}")));
    for host in &world.hosts {
        for operation in &host.disk.under_way {
            let name = operation.label.expect("named at the beginning");
            lines.push(format!("under way: disk {}:{name} {}", host.id, describe::action(&operation.action)));
        }
    }
    lines
}

fn set_knob(config: &mut NodeConfig, knob: &str, value: u64) -> Result<(), String> {
    let count = usize::try_from(value).map_err(|_| format!("{knob}={value} is too large"))?;
    match knob {
        "segment-bytes" => config.wal_segment_bytes = value,
        "writes-in-flight" => config.wal_writes_in_flight_max = count,
        "forwards-in-flight" => config.forwards_in_flight_max = count,
        "checkpoint-entries" => config.checkpoint_entries = value,
        "checkpoint-growth" => config.checkpoint_growth_percent = value,
        "chunk-bytes" => config.checkpoint_chunk_bytes = count,
        "catchup-entries" => config.catchup_entries = value,
        "lease-checkpoint-ms" => config.lease_checkpoint_interval = Duration::from_millis(value),
        "batch-bytes" => config.watch_batch_bytes = count,
        _ => {
            let knobs = "segment-bytes writes-in-flight forwards-in-flight checkpoint-entries \
                         checkpoint-growth chunk-bytes catchup-entries lease-checkpoint-ms batch-bytes";
            return Err(format!("no knob is called '{knob}'; there are: {knobs}"));
        }
    }
    Ok(())
}

impl World {
    fn carry_out(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Members { .. } | Command::Quiet(_) => Err("this is a command of its own".to_owned()),
            Command::Show => Ok(()),
            Command::Lead(member) => self.lead(*member),
            Command::Campaign(member) => self.campaign(*member),
            Command::Wait { who, duration } => self.each(who, |world, at| world.wait(at, *duration)),
            Command::Run(duration) => self.run(*duration),
            Command::Settle(who) => self.settle(who),
            Command::Deliver(_) | Command::Repeat(_) | Command::Drop(_) => self.move_messages(command),
            Command::Cut(_) | Command::Heal | Command::LinkDown { .. } => self.change_links(command),
            Command::Forge { link, message } => self.forge(*link, message),
            Command::Done { member, which } => self.done(*member, which),
            Command::Fail { member, which, error } => self.fail(*member, which, error),
            Command::Hold(_) | Command::Release(_) | Command::Full { .. } | Command::Rot(_) => self.set_disk(command),
            Command::Kill(who) => self.each(who, |world, at| {
                world.end_life(at);
                world.hosts[at].disk.lose_process();
            }),
            Command::Crash { member, fate } => self.crash(*member, fate),
            Command::Restart(who) => self.each(who, World::open),
            Command::Call { member, words } => {
                let at = self.place(*member)?;
                self.call(at, &words.join(" "), calls::request(words)?);
                Ok(())
            }
            Command::Puts { member, count, value } => self.puts(*member, *count, value.as_deref()),
            Command::Watch { member, stream, key, from } => self.watch(*member, *stream, key, *from),
            Command::Credit { member, stream, bytes } => self.credit(*member, *stream, *bytes),
            Command::Stop(member) => {
                let at = self.place(*member)?;
                self.step(at, "is told to stop".to_owned(), Input::Stop, true);
                Ok(())
            }
        }
    }

    fn each(&mut self, who: &Who, mut what: impl FnMut(&mut World, usize)) -> Result<(), String> {
        let places = match who {
            Who::All => (0..self.hosts.len()).collect(),
            Who::These(ids) => ids.iter().map(|id| self.place(*id)).collect::<Result<Vec<_>, _>>()?,
        };
        places.into_iter().for_each(|at| what(self, at));
        Ok(())
    }

    // ---- elections and time ----

    fn campaign(&mut self, member: NodeId) -> Result<(), String> {
        let at = self.place(member)?;
        let until = self.hosts[at].now + CAMPAIGN_WAIT_MAX;
        while self.has_role(at, Role::Follower) {
            if self.hosts[at].now >= until {
                return Err(format!("{member} does not campaign"));
            }
            self.wait(at, Duration::from_millis(10));
        }
        Ok(())
    }

    fn lead(&mut self, member: NodeId) -> Result<(), String> {
        let at = self.place(member)?;
        self.campaign(member)?;
        self.settle(&Who::All)?;
        // What a leader commits, others hear of with the next heartbeat.
        self.wait(at, Duration::from_millis(100));
        self.settle(&Who::All)?;
        if self.has_role(at, Role::Leader) { Ok(()) } else { Err(format!("{member} does not win")) }
    }

    fn run(&mut self, duration: Duration) -> Result<(), String> {
        for _ in 0..duration.as_millis() {
            self.each(&Who::All, |world, at| world.wait(at, Duration::from_millis(1)))?;
            self.settle(&Who::All)?;
        }
        Ok(())
    }

    fn settle(&mut self, who: &Who) -> Result<(), String> {
        let among = |id: NodeId| match who {
            Who::All => true,
            Who::These(ids) => ids.contains(&id),
        };
        while let Some(flight) = self.network.take_oldest(|(from, to)| among(from) && among(to)) {
            self.arrive(flight);
        }
        Ok(())
    }

    // ---- messages ----

    fn move_messages(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Deliver(selector) => {
                self.network.take(selector)?.into_iter().for_each(|flight| self.arrive(flight))
            }
            Command::Repeat(selector) => {
                self.network.find(selector)?.into_iter().for_each(|flight| self.arrive(flight))
            }
            Command::Drop(selector) => {
                let lost = self.network.take(selector)?;
                self.lines.extend(lost.iter().map(|flight| format!("{} is lost", flight.title())));
            }
            _ => unreachable!("only these move messages"),
        }
        Ok(())
    }

    fn change_links(&mut self, command: &Command) -> Result<(), String> {
        let links = match command {
            Command::Cut(Cut::Link((one, other))) => vec![(*one, *other), (*other, *one)],
            Command::Cut(Cut::Member(member)) => {
                self.place(*member)?;
                let others = self.hosts.iter().map(|host| host.id).filter(|other| other != member);
                others.flat_map(|other| [(*member, other), (other, *member)]).collect()
            }
            Command::LinkDown { told, link } => {
                let at = self.place(*told)?;
                let peer = if link.0 == *told { link.1 } else { link.0 };
                self.step(at, format!("hears that its link to {peer} is down"), Input::Link { peer, up: false }, true);
                return Ok(());
            }
            _ => {
                self.network.heal();
                return Ok(());
            }
        };
        for link in links {
            let lost = self.network.cut(link);
            self.lines.extend(lost.iter().map(|flight| format!("{} is lost", flight.title())));
        }
        Ok(())
    }

    fn forge(&mut self, link: (NodeId, NodeId), text: &str) -> Result<(), String> {
        let (from, to) = link;
        let at = self.place(to)?;
        let frame = forge::frame(link, text)?;
        self.step(at, format!("receives {text}, forged as from {from}"), Input::Peer { from, frame }, true);
        Ok(())
    }

    // ---- disks and processes ----

    fn set_disk(&mut self, command: &Command) -> Result<(), String> {
        match command {
            Command::Hold(who) => self.each(who, |world, at| world.hosts[at].disk.held = true),
            Command::Release(who) => self.each(who, |world, at| {
                world.hosts[at].disk.held = false;
                for op in world.meant(at, &Which::All) {
                    world.end(at, op, None, true);
                }
            }),
            Command::Full { who, full } => self.each(who, |world, at| world.hosts[at].disk.full = *full),
            Command::Rot(member) => {
                let at = self.place(*member)?;
                let file = self.hosts[at].disk.rot().ok_or("it has no log")?;
                self.lines.push(format!("{member} a bit flips in the last record of {}", describe::file_name(&file)));
                Ok(())
            }
            _ => unreachable!("only these set disks"),
        }
    }

    /// The operations under way that are meant, oldest first.
    fn meant(&self, at: usize, which: &Which) -> Vec<DiskOp> {
        let under_way = self.hosts[at].disk.under_way.iter();
        let is_meant = |operation: &&crate::disk::Operation| match which {
            Which::All | Which::Next => true,
            Which::Number(number) => operation.label == Some(*number),
            Which::Kind(kind) => describe::action_kind(&operation.action) == kind,
        };
        let count = if *which == Which::Next { 1 } else { usize::MAX };
        under_way.filter(is_meant).take(count).map(|operation| operation.op).collect()
    }

    fn some_meant(&self, at: usize, which: &Which) -> Result<Vec<DiskOp>, String> {
        let ops = self.meant(at, which);
        if !ops.is_empty() {
            return Ok(ops);
        }
        let show = |operation: &crate::disk::Operation| {
            let name = operation.label.map_or("-".to_owned(), |label| label.to_string());
            format!("{name} {}", describe::action_kind(&operation.action))
        };
        let others: Vec<String> = self.hosts[at].disk.under_way.iter().map(show).collect();
        Err(format!("no such operation is under way; there are: [{}]", others.join(", ")))
    }

    fn done(&mut self, member: NodeId, which: &Which) -> Result<(), String> {
        let at = self.place(member)?;
        for op in self.some_meant(at, which)? {
            self.end(at, op, None, true);
        }
        Ok(())
    }

    fn fail(&mut self, member: NodeId, which: &Which, error: &str) -> Result<(), String> {
        let at = self.place(member)?;
        let op = self.some_meant(at, which)?[0];
        self.end(at, op, Some(DiskError::Io(error.to_owned())), true);
        Ok(())
    }

    fn crash(&mut self, member: NodeId, fate: &Fate) -> Result<(), String> {
        let at = self.place(member)?;
        let kept = match fate {
            Fate::Lost => Kept::default(),
            Fate::Kept(which) => Kept { whole: self.some_meant(at, which)?, ..Kept::default() },
            Fate::Torn(which) => Kept { torn: self.some_meant(at, which)?, ..Kept::default() },
        };
        self.end_life(at);
        self.hosts[at].disk.lose_power(&kept);
        Ok(())
    }

    // ---- clients ----

    fn puts(&mut self, member: NodeId, count: u64, value: Option<&str>) -> Result<(), String> {
        let at = self.place(member)?;
        for number in 1..=count {
            let value = value.map_or_else(|| format!("v{number}"), str::to_owned);
            let words = ["put".to_owned(), format!("k{number}"), value];
            self.call(at, &words.join(" "), calls::request(&words)?);
        }
        Ok(())
    }

    fn watch(&mut self, member: NodeId, stream: u64, key: &str, from: i64) -> Result<(), String> {
        let at = self.place(member)?;
        let id = StreamId(stream);
        if self.opened.insert((at, stream)) {
            self.step(at, format!("opens s{stream}"), Input::Stream { stream: id, op: StreamOp::Open }, true);
        }
        let op = StreamOp::Request(calls::watch(key, from));
        self.step(at, format!("is asked on s{stream} to watch {key}"), Input::Stream { stream: id, op }, true);
        Ok(())
    }

    fn credit(&mut self, member: NodeId, stream: u64, bytes: u64) -> Result<(), String> {
        let at = self.place(member)?;
        let op = StreamOp::Credit(bytes);
        let title = format!("gets credit on s{stream} for {bytes} bytes");
        self.step(at, title, Input::Stream { stream: StreamId(stream), op }, true);
        Ok(())
    }
}
