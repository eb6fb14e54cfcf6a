//! Faults on real processes: `kill -9` of the leader, SIGSTOP of a member, all members down at once.

use std::time::{Duration, Instant};

use detcd_core::seed::draw_below;
use detcd_sim::history::Nanos;
use etcd_client::{Client, ConnectOptions};

use super::Recorder;
use crate::cluster::{Cluster, ClusterError};

/// A member was dead at this time, by the clock of the record; what it held in memory was gone, and it was not started
/// again yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// When.
    pub at: Nanos,
    /// Its place in the cluster, from 0.
    pub place: usize,
}

/// One fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the leader; it comes back.
    KillLeader,
    /// SIGSTOP of the leader for longer than an election takes, then SIGCONT: it wakes up deposed.
    PauseLeader,
    /// SIGSTOP of any member for a while.
    PauseAny,
    /// `kill -9` of all members at once; they come back.
    KillAll,
}

/// The order in which faults come, again and again.
const ORDER: [Fault; 8] = [
    Fault::KillLeader,
    Fault::PauseLeader,
    Fault::KillLeader,
    Fault::KillLeader,
    Fault::PauseAny,
    Fault::KillLeader,
    Fault::KillAll,
    Fault::KillLeader,
];

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Processes killed.
    pub(super) deaths: Vec<Death>,
    /// Members paused.
    pub(super) pauses: u64,
    /// Times that all were down at once.
    pub(super) blackouts: u64,
}

impl Done {
    /// How many processes were killed.
    pub(super) fn kills(&self) -> u64 {
        u64::try_from(self.deaths.len()).expect("few kills")
    }

    fn kill(&mut self, cluster: &mut Cluster, recorder: &Recorder, place: usize) {
        cluster.kill(place);
        self.deaths.push(Death { at: recorder.now(), place });
    }
}

/// Does fault number `number` and waits until all members serve again.
pub(super) async fn strike(
    cluster: &mut Cluster,
    recorder: &Recorder,
    seed: u64,
    number: u64,
    done: &mut Done,
) -> Result<(), ClusterError> {
    let place = usize::try_from(number).expect("few faults") % ORDER.len();
    let any = usize::try_from(draw_below(seed, &[number], 3)).expect("below 3") % cluster.members().len();
    match ORDER[place] {
        Fault::KillLeader => {
            let leader = leader(cluster).await.unwrap_or(any);
            done.kill(cluster, recorder, leader);
            // Long enough for the others to elect another, most times.
            tokio::time::sleep(Duration::from_millis(500 + 500 * draw_below(seed, &[number, 1], 4))).await;
            cluster.restart(leader)
        }
        Fault::PauseLeader => {
            let leader = leader(cluster).await.unwrap_or(any);
            pause(cluster, leader, done).await;
            Ok(())
        }
        Fault::PauseAny => {
            pause(cluster, any, done).await;
            Ok(())
        }
        Fault::KillAll => {
            for place in 0..cluster.members().len() {
                done.kill(cluster, recorder, place);
            }
            done.blackouts += 1;
            cluster.start_all()
        }
    }
}

async fn pause(cluster: &Cluster, place: usize, done: &mut Done) {
    cluster.pause(place);
    done.pauses += 1;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    cluster.resume(place);
}

/// Which member leads, by its own word, asked for up to three seconds.
pub(super) async fn leader(cluster: &Cluster) -> Option<usize> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        for (place, endpoint) in cluster.endpoints().into_iter().enumerate() {
            if says_it_leads(&endpoint).await.unwrap_or(false) {
                return Some(place);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

async fn says_it_leads(endpoint: &str) -> Option<bool> {
    let (member, leader) = standing(endpoint).await?;
    Some(leader != 0 && member == leader)
}

/// The id of the member at `endpoint`, and that of the leader that it knows.
pub(super) async fn standing(endpoint: &str) -> Option<(u64, u64)> {
    let within = Duration::from_millis(500);
    let options = ConnectOptions::new().with_connect_timeout(within).with_timeout(within);
    let mut client = Client::connect([endpoint], Some(options)).await.ok()?;
    let status = tokio::time::timeout(within, client.status()).await.ok()?.ok()?;
    Some((status.header()?.member_id(), status.leader()))
}
