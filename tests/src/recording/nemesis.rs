//! Faults on real processes: `kill -9` of the leader, SIGSTOP of a member, all members down at once.

use std::time::{Duration, Instant};

use detcd_core::seed::draw_below;
use etcd_client::{Client, ConnectOptions};

use crate::cluster::{Cluster, ClusterError};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Processes killed.
    pub(super) kills: u64,
    /// Members paused.
    pub(super) pauses: u64,
    /// Times that all were down at once.
    pub(super) blackouts: u64,
}

/// Does fault number `number` and waits until all members serve again.
pub(super) async fn strike(cluster: &mut Cluster, seed: u64, number: u64, done: &mut Done) -> Result<(), ClusterError> {
    let place = usize::try_from(number).expect("few faults") % ORDER.len();
    let any = usize::try_from(draw_below(seed, &[number], 3)).expect("below 3") % cluster.members().len();
    match ORDER[place] {
        Fault::KillLeader => {
            let leader = leader(cluster).await.unwrap_or(any);
            cluster.kill(leader);
            done.kills += 1;
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
            let all = 0..cluster.members().len();
            all.clone().for_each(|place| cluster.kill(place));
            done.kills += u64::try_from(all.len()).expect("few members");
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
    let within = Duration::from_millis(500);
    let options = ConnectOptions::new().with_connect_timeout(within).with_timeout(within);
    let mut client = Client::connect([endpoint], Some(options)).await.ok()?;
    let status = tokio::time::timeout(within, client.status()).await.ok()?.ok()?;
    Some(status.leader() != 0 && status.header()?.member_id() == status.leader())
}
