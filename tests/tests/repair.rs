//! A member whose disk lost the end of its log is repaired by the others: real processes, a real flipped bit.

use std::fs::OpenOptions;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use detcd_tests::cluster::{Cluster, ClusterError, ClusterOptions};
use detcd_tests::launch;
use etcd_client::{Client, GetOptions};

/// How often a mark may come in between before that is no accident any more.
const ATTEMPTS: usize = 5;

/// How long a member may take to have what the others have.
const WITHIN: Duration = Duration::from_secs(20);

/// Whether `client`'s member has the key in its own store.
async fn has(client: &mut Client, key: &str) -> bool {
    let own = GetOptions::new().with_serializable();
    client.get(key, Some(own)).await.is_ok_and(|found| found.count() == 1)
}

async fn wait_for(client: &mut Client, key: &str) {
    let start = Instant::now();
    while !has(client, key).await {
        assert!(start.elapsed() < WITHIN, "the member does not get {key}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Flips a bit in the last byte that was written to the only segment of a log.
fn rot_the_end(data_dir: &Path) {
    let folder = data_dir.join("member").join("wal");
    let names = std::fs::read_dir(&folder).expect("the log's folder").map(|entry| entry.expect("an entry").path());
    let segment = names.filter(|path| path.extension().is_some_and(|ending| ending == "wal")).max().expect("a segment");
    let mut file = OpenOptions::new().read(true).write(true).open(segment).expect("the segment can be written");
    let mut content = Vec::new();
    file.read_to_end(&mut content).expect("the segment can be read");
    let last = content.iter().rposition(|byte| *byte != 0).expect("something is written");
    file.seek(SeekFrom::Start(last as u64)).expect("the byte is there");
    file.write_all(&[content[last] ^ 0x40]).expect("the byte can be written");
}

/// Lets the end of a follower's log rot right after it was acknowledged. Gives the member's log if it comes up again;
/// nothing if a mark was faster, so that the member knows for sure what it lost and refuses.
async fn repaired() -> Option<String> {
    // Marks come with the ticks; slow ones leave time to be faster.
    let flags = ["--heartbeat-interval=500", "--election-timeout=2500"].map(String::from).to_vec();
    let mut cluster = Cluster::start(&ClusterOptions { flags, ..ClusterOptions::three(launch::detcd()) }).expect("up");
    let url = |cluster: &Cluster, place: usize| cluster.members()[place].client_url();
    let mut others = Client::connect([url(&cluster, 0)], None).await.expect("it serves");
    let mut member = Client::connect([url(&cluster, 2)], None).await.expect("it serves");
    others.put("acknowledged", "once", None).await.expect("it writes");
    wait_for(&mut member, "acknowledged").await;
    cluster.kill(2);
    rot_the_end(&cluster.members()[2].data_dir());
    match cluster.restart(2) {
        Ok(()) => {}
        Err(ClusterError::Ended { log, .. }) => {
            assert!(log.contains("data is damaged"), "{log}");
            return None;
        }
        Err(error) => panic!("{error}"),
    }
    let mut member = Client::connect([url(&cluster, 2)], None).await.expect("it serves");
    wait_for(&mut member, "acknowledged").await;
    // With its vote back it is one of the two that are left.
    cluster.kill(1);
    let start = Instant::now();
    while others.put("later", "again", None).await.is_err() {
        assert!(start.elapsed() < 2 * WITHIN, "two members of three can write");
    }
    wait_for(&mut member, "later").await;
    Some(cluster.members()[2].log())
}

#[test]
fn a_member_whose_log_rotted_at_its_end_gets_it_back_from_the_others() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads");
    let log = (0..ATTEMPTS).find_map(|_| runtime.block_on(repaired())).expect("one attempt is faster than the marks");
    assert!(log.contains("Repairing"), "it says what it does: {log}");
}
