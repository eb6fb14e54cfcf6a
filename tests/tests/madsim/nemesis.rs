//! Faults under madsim: members that die, stand still or are cut off, and packets that are lost.

use std::sync::Arc;
use std::time::Duration;

use detcd_core::seed::{draw, draw_below};
use madsim::net::NetSim;
use madsim::runtime::Handle;
use madsim::task::NodeId;
use madsim::time::sleep;

use crate::member::{MEMBERS, Site};
use crate::record::Seen;

/// Of so many packets, how many are lost when nothing else is wrong, and when much is.
const LOSS_ALWAYS: f64 = 0.01;
const LOSS_MUCH: f64 = 0.25;

/// The order in which faults come, again and again.
const ORDER: [Fault; 8] = [
    Fault::Kill,
    Fault::Isolate,
    Fault::Loss,
    Fault::Kill,
    Fault::ClogOneWay,
    Fault::KillAll,
    Fault::Pause,
    Fault::Kill,
];

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A member loses its memory, and its disk some of what was not synced.
    Kill,
    /// All members do, at once.
    KillAll,
    /// A member reaches nobody, and nobody it.
    Isolate,
    /// Nothing comes through from one member to another.
    ClogOneWay,
    /// Many packets are lost.
    Loss,
    /// A member stands still, and goes on later as if nothing had been.
    Pause,
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Members killed.
    pub kills: u64,
    /// Links and members that were clogged.
    pub clogs: u64,
    /// Times that many packets were lost.
    pub losses: u64,
    /// Members paused.
    pub pauses: u64,
}

/// Strikes at the members of a run.
pub struct Nemesis {
    /// The members and their nodes, by place.
    pub members: Vec<(Arc<Site>, NodeId)>,
    /// What was done.
    pub done: Done,
}

impl Nemesis {
    /// Packets may be lost from now on.
    pub fn begin(&self) {
        NetSim::current().update_config(|config| config.packet_loss_rate = LOSS_ALWAYS);
    }

    /// The world is well from now on.
    pub fn end(&self) {
        NetSim::current().update_config(|config| config.packet_loss_rate = 0.0);
    }

    /// Fault number `number`, from its beginning to its end.
    pub async fn strike(&mut self, number: u64) {
        let (net, handle) = (NetSim::current(), Handle::current());
        let seed = self.members[0].0.seed;
        let chosen = |word, bound| draw_below(seed, &[number, word], bound);
        let place = usize::try_from(chosen(1, MEMBERS as u64)).expect("a small number");
        let (site, node) = &self.members[place];
        let next = self.members[(place + 1) % MEMBERS].1;
        let lasts = Duration::from_millis(200 + chosen(2, 1_800));
        match ORDER[usize::try_from(number).expect("few faults") % ORDER.len()] {
            Fault::Kill => {
                kill(&handle, site, *node, draw(seed, &[number, 3]));
                self.done.kills += 1;
                sleep(lasts).await;
                handle.restart(node);
            }
            Fault::KillAll => {
                for (site, node) in &self.members {
                    kill(&handle, site, *node, draw(seed, &[number, 4, site.place as u64]));
                    self.done.kills += 1;
                }
                sleep(lasts).await;
                self.members.iter().for_each(|(_, node)| handle.restart(node));
            }
            Fault::Isolate => {
                net.clog_node(*node);
                sleep(lasts).await;
                net.unclog_node(*node);
                self.done.clogs += 1;
            }
            Fault::ClogOneWay => {
                net.clog_link(*node, next);
                sleep(lasts).await;
                net.unclog_link(*node, next);
                self.done.clogs += 1;
            }
            Fault::Loss => {
                net.update_config(|config| config.packet_loss_rate = LOSS_MUCH);
                sleep(lasts).await;
                net.update_config(|config| config.packet_loss_rate = LOSS_ALWAYS);
                self.done.losses += 1;
            }
            Fault::Pause => {
                handle.pause(node);
                sleep(lasts).await;
                handle.resume(node);
                self.done.pauses += 1;
            }
        }
    }
}

/// No task of the node runs again in this life, so that nothing comes between its end and the loss.
fn kill(handle: &Handle, site: &Site, node: NodeId, draw: u64) {
    handle.kill(node);
    site.disk.lose_power(draw);
    site.recorder.see(Seen::Died(site.place));
}
