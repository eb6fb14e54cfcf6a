//! The body of a member that is deployed: a thread that blocks, lanes for the disk, connections to the others.

use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use detcd_core::effect::Garbage;
use detcd_core::types::{DiskOp, NodeId};
use detcd_core::{DiskAction, Instant};
use tokio::sync::watch;

use crate::disk::Disk;
use crate::driver::{Body, Driver, End};
use crate::host::Host;
use crate::inbox::{Inbox, Item};
use crate::peers::Outboxes;

/// How long disk actions that were issued may take after a node that must not go on has said so.
const DISK_TIME_MAX: Duration = Duration::from_secs(5);

/// What the thread of a node works with.
pub struct RealBody {
    /// Clock and threads.
    pub host: Host,
    /// Where inputs come from.
    pub inbox: Arc<Inbox>,
    /// Where disk actions go.
    pub disk: Disk,
    /// Where messages go.
    pub peers: Outboxes,
    /// Where large things are dropped.
    pub garbage: mpsc::Sender<Garbage>,
}

impl Body for RealBody {
    fn now(&self) -> Instant {
        self.host.now()
    }

    /// Blocks the thread, which has nothing else to do; so it is never pending.
    async fn take(&mut self, patience: Duration, into: &mut Vec<Item>) {
        self.inbox.take(patience, into);
    }

    fn send(&mut self, to: NodeId, frame: Bytes) {
        self.peers.send(to, frame);
    }

    fn issue(&mut self, op: DiskOp, action: DiskAction) {
        self.disk.issue(op, action);
    }

    fn discard(&mut self, garbage: Garbage) {
        // Without its thread the garbage is dropped here, late but right.
        let _ = self.garbage.send(garbage);
    }

    fn close(&mut self) {
        self.inbox.close();
    }
}

/// Runs a node on this thread until it stops or halts, and tells `end`.
///
/// A node that has stopped leaves no disk action behind. One that has halted says so first: it may have halted for
/// a disk that never answers.
pub fn run(mut driver: Driver<RealBody>, end: &watch::Sender<Option<End>>) {
    let how = at_once(driver.run());
    let (body, _node) = driver.into_parts();
    if how == End::Stopped {
        body.disk.close();
        end.send_replace(Some(how));
    } else {
        end.send_replace(Some(how));
        body.disk.close_within(DISK_TIME_MAX);
    }
}

/// The output of a future that is never pending.
fn at_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the loop waits for its body alone, and this body blocks"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::disk::{DataDir, Done};
    use crate::flags::{self, Command};
    use detcd_core::{DiskError, Input};
    use std::sync::Mutex;

    #[test]
    fn a_node_that_halts_says_why_before_it_waits_for_a_disk_that_hangs() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = Arc::new(DataDir::open(folder.path(), false).expect("a data directory"));
        let Ok(Command::Run(given)) = flags::parse([], []) else { panic!("no flags at all make a member") };
        let config = Config::new(&given).expect("a configuration").node_config(1);
        let listing = dir.listing().expect("a listing");
        let (host, inbox) = (Host::start(), Arc::new(Inbox::default()));
        // The first action fails, and then the disk does not come back.
        let (release, released) = mpsc::channel::<()>();
        let released = Mutex::new(released);
        let done: Done = {
            let inbox = Arc::clone(&inbox);
            Arc::new(move |op, _| {
                inbox.put(Input::DiskDone { op, result: Err(DiskError::Io("broken".into())) }.into());
                let _ = released.lock().expect("nobody panics with the lock").recv();
            })
        };
        let disk = Disk::new(host.clone(), dir, done);
        let (garbage, _garbage_of) = mpsc::channel();
        let peers = Outboxes::default();
        let (end, ended) = watch::channel(None);
        let driver = Driver::open(config, listing, RealBody { host, inbox, disk, peers, garbage });
        let thread = std::thread::spawn(move || run(driver, &end));
        let begin = std::time::Instant::now();
        while ended.borrow().is_none() && begin.elapsed() < DISK_TIME_MAX * 4 / 5 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let told = ended.borrow().clone();
        assert!(matches!(told, Some(End::Halted(_))), "{told:?}, and the disk still hangs");
        drop(release);
        thread.join().expect("no panic");
    }
}
