//! Disks that do not keep what they promised, and members that refuse to start on them.

use detcd_core::HaltReason;

use super::World;
use super::members::Death;
use super::nemesis::Struck;
use crate::check::ViolationKind;
use crate::disk::{Damaged, MARKS_FILE};
use crate::faults::Episode;
use crate::observe::{NodeIndex, Observation};
use crate::weather::nth;

impl World<'_> {
    /// The member's machine loses power, and its disk is damaged; none if it may not be, or cannot.
    pub(super) fn damage_disk(&mut self, node: NodeIndex, fault: &Episode) -> Option<Struck> {
        let host = &self.hosts[node];
        let others = self.hosts.iter().filter(|other| !other.damaged_files.is_empty()).count() as u64;
        let within_budget = !host.damaged_files.is_empty() || others < self.plan.disk.damaged_members_max;
        // What is damaged before the member has looked at the damage before could take away what gives that away.
        if !within_budget || host.damaged_boot == Some(host.boot) || host.refusal.is_some() {
            return None;
        }
        let damage = fault.kind.damage().expect("it damages disks");
        self.kill(node, Death::Power);
        let host = &mut self.hosts[node];
        // Even if its process was down before, now its machine is.
        host.disk.crash(self.plan.disk.crash, nth(fault.draw, 2));
        let struck = self.take_down(vec![node], Death::Power);
        let host = &mut self.hosts[node];
        if let Some(Damaged { files, what }) = host.disk.damage(damage, nth(fault.draw, 3)) {
            host.damaged_files.extend(files);
            host.damaged_boot = Some(host.boot);
            self.record.say(|| what);
            self.observe(Observation::Damaged { node });
        } else {
            self.record.say(|| "and its disk keeps everything".into());
        }
        Some(struck)
    }

    /// The member says that its disk is damaged. If it is, and there, the member stays down for good.
    pub(super) fn refused(&mut self, node: NodeIndex, reason: &HaltReason, (named, offset): (&str, u64)) {
        let host = &mut self.hosts[node];
        let is_there = |file: &str| host.damaged_files.iter().any(|damaged| &**damaged == file);
        // The checksums are one chain, so that what is missing at the end of a segment shows at the start of the next.
        let is_start = offset == 0 && named.ends_with(".wal");
        if !is_there(named) && !is_there(MARKS_FILE) && !is_start {
            let detail = format!("m{} halted, and nothing is wrong with that file: {reason}", node + 1);
            self.fail(ViolationKind::Crash, "no-halt", detail);
            return;
        }
        host.refusal = Some(reason.to_string());
        host.downs += 1;
        self.record.say(|| format!("m{} refuses to start: {reason}", node + 1));
        self.mark("disk: a member refused a damaged disk");
        self.kill(node, Death::Process);
        self.do_without(node);
    }
}
