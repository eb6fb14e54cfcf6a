//! A whole member: ports, data directory, node, services; started and stopped.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use detcd_core::effect::Garbage;
use detcd_core::types::NodeId;
use detcd_core::{Input, NodeConfig, NodeStatus, Phase};
use tokio::sync::{Semaphore, watch};

use crate::calls::Calls;
use crate::config::Config;
use crate::disk::{DataDir, DataDirError, Disk, Done};
use crate::driver::{Driver, End, Published};
use crate::grpc::{HealthService, Services};
use crate::host::{Host, Listener, Task};
use crate::http;
use crate::inbox::Inbox;
use crate::peers::{Links, Outboxes};
use crate::real_body::{self, RealBody};
use crate::serve::{Routes, connections, serve};
use crate::urls::Url;

/// How long a node may take to stop cleanly.
const STOP_TIME_MAX: Duration = Duration::from_secs(5);
/// How long open requests may take after that.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(1);

/// Why a member could not start; one line for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A port is not free, or the address is not this machine's.
    #[error("--{flag}: cannot listen on {url}: {error}")]
    Listen {
        /// The flag that gave the address.
        flag: &'static str,
        /// The address.
        url: Url,
        /// What the operating system said.
        error: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// No entropy or no thread.
    #[error("the operating system refuses: {0}")]
    System(#[from] io::Error),
}

/// A running member. Dropping it leaves the node's thread running; [`Member::stop`] ends it.
pub struct Member {
    host: Host,
    inbox: Arc<Inbox>,
    published: Arc<Published>,
    end: watch::Receiver<Option<End>>,
    stopping: watch::Sender<bool>,
    connections: (Arc<Semaphore>, u32),
    client_addresses: Vec<SocketAddr>,
    tasks: Vec<Task>,
}

impl Member {
    /// Binds the ports, opens the data directory and starts the node.
    ///
    /// When this returns, the node may still be loading; clients are served from the moment at which it takes part.
    /// If it fails, nothing was created unless the data directory itself was the cause.
    pub async fn start(config: Config, host: Host) -> Result<Member, StartError> {
        let peer_listeners = bind(&host, "listen-peer-urls", &config.listen_peer_urls).await?;
        let client_listeners = bind(&host, "listen-client-urls", &config.listen_client_urls).await?;
        let client_addresses = client_listeners.iter().map(Listener::local_addr).collect::<io::Result<_>>()?;
        let dir = Arc::new(DataDir::open(&config.data_dir, config.must_exist)?);
        let node = config.node_config(host.seed()?);
        let own = node.node_id;
        let inbox = Arc::new(Inbox::default());
        let outboxes = Outboxes::default();
        let (timeout, calls_max) = (node.request_timeout(), node.calls_waiting_max);
        let (published, end) = start_driver(&host, node, dir, &inbox, outboxes.clone())?;

        // A member that is still loading, or that will refuse its data, talks to nobody.
        let links = Links::new(host.clone(), own, Arc::clone(&published), Arc::clone(&inbox), outboxes);
        let mut tasks: Vec<Task> = Vec::new();
        for listener in peer_listeners {
            tasks.push(host.spawn(after_loading(published.status(), links.clone().accept(listener))));
        }
        tasks.push(host.spawn(after_loading(published.status(), links.dial())));
        tasks.push(host.spawn(after_loading(published.status(), log_changes(published.status()))));

        let calls = Calls::new(host.clone(), Arc::clone(&inbox), Arc::clone(&published), timeout, calls_max);
        let calls = Arc::new(calls);
        let services = Services::new(Arc::clone(&calls), config.election_timeout, config.request_bytes_max);
        let (stopping, stops) = watch::channel(false);
        let health = HealthService::new(host.clone(), stops.clone());
        let routes = Routes::new(&services, health, http::router(calls), config.grpc_receive_bytes_max());
        let connections = connections();
        for listener in client_listeners {
            let served = serve(host.clone(), listener, routes.clone(), Arc::clone(&connections.0), stops.clone());
            tasks.push(host.spawn(after_loading(published.status(), served)));
        }
        Ok(Member { host, inbox, published, end, stopping, connections, client_addresses, tasks })
    }

    /// Where clients reach this member, with the real ports if the flags said 0.
    pub fn client_addresses(&self) -> &[SocketAddr] {
        &self.client_addresses
    }

    /// What the node shows: its store and its status.
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// Waits until the member takes part and knows a leader; or how it ended before.
    pub async fn ready(&self) -> Result<(), End> {
        let mut status = self.published.status();
        let serves = |status: &NodeStatus| status.phase == Phase::Serving && status.leader != NodeId(0);
        tokio::select! {
            end = self.ended() => Err(end),
            _ = status.wait_for(serves) => Ok(()),
        }
    }

    /// Waits until the node has ended, and says how.
    pub async fn ended(&self) -> End {
        let mut end = self.end.clone();
        let ended = end.wait_for(Option::is_some).await;
        // Without a word the thread was torn down from outside, which only a panic does.
        ended.ok().and_then(|end| end.clone()).unwrap_or(End::Panicked)
    }

    /// Stops cleanly: leadership is handed on, writes are finished, open requests answered. `None` if the node took
    /// longer than it may; what it acknowledged is durable all the same.
    pub async fn stop(self) -> Option<End> {
        self.inbox.put(Input::Stop.into());
        let end = self.host.within(STOP_TIME_MAX, self.ended()).await;
        // Only a receiver that is gone could refuse, and then nobody is left to be told.
        let _ = self.stopping.send(true);
        let (open, max) = &self.connections;
        let _ = self.host.within(DRAIN_TIME_MAX, open.acquire_many(*max)).await;
        for task in self.tasks {
            task.end().await;
        }
        end
    }
}

async fn bind(host: &Host, flag: &'static str, urls: &[Url]) -> Result<Vec<Listener>, StartError> {
    let mut listeners = Vec::new();
    for url in urls {
        let listener = host.listen(url).await;
        listeners.push(listener.map_err(|error| StartError::Listen { flag, url: url.clone(), error })?);
    }
    Ok(listeners)
}

type Running = (Arc<Published>, watch::Receiver<Option<End>>);

/// Opens the node and gives it its thread.
fn start_driver(
    host: &Host,
    config: NodeConfig,
    dir: Arc<DataDir>,
    inbox: &Arc<Inbox>,
    peers: Outboxes,
) -> Result<Running, StartError> {
    let listing = dir.listing()?;
    let done: Done = {
        let inbox = Arc::clone(inbox);
        Arc::new(move |op, result| inbox.put(Input::DiskDone { op, result }.into()))
    };
    let disk = Disk::new(host.clone(), dir, done);
    let (garbage, garbage_of) = mpsc::channel::<Garbage>();
    host.thread("garbage", move || garbage_of.into_iter().for_each(drop))?;
    let (end, ended) = watch::channel(None);
    let inbox = Arc::clone(inbox);
    let body = RealBody { host: host.clone(), inbox: Arc::clone(&inbox), disk, peers, garbage };
    let (opened, published) = std::sync::mpsc::sync_channel(1);
    host.thread("node", move || {
        let life = || {
            let driver = Driver::open(config, listing, body);
            opened.send(driver.published()).expect("the starter waits for it");
            real_body::run(driver, &end);
        };
        if catch_unwind(AssertUnwindSafe(life)).is_err() {
            inbox.close();
            end.send_replace(Some(End::Panicked));
        }
    })?;
    let published = published.recv().map_err(|_| io::Error::other("the node could not be opened"))?;
    Ok((published, ended))
}

/// Starts `task` when the node takes part; never, if it does not come so far.
async fn after_loading(mut status: watch::Receiver<NodeStatus>, task: impl Future<Output = ()>) {
    if status.wait_for(|status| status.phase.takes_part()).await.is_ok() {
        task.await;
    }
}

/// Tells the operator who leads.
async fn log_changes(mut status: watch::Receiver<NodeStatus>) {
    loop {
        let NodeStatus { phase, role, term, leader, .. } = *status.borrow_and_update();
        if phase == Phase::Halted {
            return;
        }
        tracing::info!(?phase, ?role, term = term.0, %leader, "node status");
        if status.changed().await.is_err() {
            return;
        }
    }
}
