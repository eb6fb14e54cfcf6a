//! The way in: connections that other members dialled.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use detcd_core::Input;
use detcd_core::types::NodeId;
use tokio::sync::Semaphore;

use super::Identity;
use super::wire::{FRAME_BYTES_MAX, Hello, Verdict, Welcome, read_frame, read_hello, write_welcome};
use crate::host::{Host, Listener, Stream, Task};
use crate::inbox::{Inbox, Item};

/// How long a connection may take to say who it is.
const HELLO_TIME_MAX: Duration = Duration::from_secs(5);
/// How many connections may be about to say who they are.
const STRANGERS_MAX: usize = 256;
/// How long to wait after the operating system refuses a new connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Frames are counted in units of this size, rounded up, against a budget of each member.
const UNIT_BYTES: usize = 4 << 10;
const UNITS_WAITING_MAX: usize = FRAME_BYTES_MAX / UNIT_BYTES + 1;

/// A member that may connect.
struct Other {
    /// Its newest connection. A new one replaces the old, whose other end is gone.
    connection: Mutex<Option<Task>>,
    /// How many units of frames may still wait for the node, whichever connection they came on.
    units_free: Arc<Semaphore>,
}

/// Accepts members.
pub struct Inbound {
    host: Host,
    identity: Identity,
    others: HashMap<NodeId, Other>,
    inbox: Arc<Inbox>,
}

impl Inbound {
    /// Will hand what `others` send to the node's inbox.
    pub fn new(
        host: Host,
        identity: Identity,
        others: impl IntoIterator<Item = NodeId>,
        inbox: Arc<Inbox>,
    ) -> Arc<Inbound> {
        let other = || Other { connection: Mutex::default(), units_free: Arc::new(Semaphore::new(UNITS_WAITING_MAX)) };
        let others = others.into_iter().map(|peer| (peer, other())).collect();
        Arc::new(Inbound { host, identity, others, inbox })
    }

    /// Accepts for as long as the future lives.
    pub async fn serve(self: Arc<Inbound>, listener: Listener) {
        let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
        loop {
            let permit = Arc::clone(&strangers).acquire_owned().await.expect("this semaphore is never closed");
            match self.host.accept(&listener).await {
                Ok((stream, from)) => {
                    let inbound = Arc::clone(&self);
                    self.host.spawn_detached(async move {
                        let met = inbound.host.within(HELLO_TIME_MAX, inbound.meet(stream)).await;
                        let error = match met {
                            Some(Ok(())) => return,
                            Some(Err(error)) => error,
                            None => io::Error::from(io::ErrorKind::TimedOut),
                        };
                        tracing::warn!(%from, %error, "refused a connection on the peer port");
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a member's connection");
                    self.host.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Learns who dialled, answers, and starts to read.
    async fn meet(self: &Arc<Inbound>, mut stream: Stream) -> io::Result<()> {
        let hello = read_hello(&mut stream).await?;
        let verdict = self.verdict(hello);
        let Identity { cluster, own } = self.identity;
        write_welcome(&mut stream, Welcome { verdict, cluster, own }).await?;
        let other = match (verdict, self.others.get(&hello.from)) {
            (Verdict::Taken, Some(other)) => other,
            (Verdict::OtherCluster, _) => {
                let text = format!("member {} belongs to cluster {}, not to {cluster}", hello.from, hello.cluster);
                return Err(io::Error::other(text));
            }
            (Verdict::OtherMember, _) => {
                let text = format!("member {} looks for member {}, and this is {own}", hello.from, hello.to);
                return Err(io::Error::other(text));
            }
            _ => return Err(io::Error::other(format!("{} is not a member of this cluster", hello.from))),
        };
        let (inbox, units_free) = (Arc::clone(&self.inbox), Arc::clone(&other.units_free));
        let task = self.host.spawn(async move {
            if let Err(error) = receive(stream, hello.from, &units_free, &inbox).await {
                tracing::warn!(peer = %hello.from, %error, "lost the connection from a member");
            }
        });
        *other.connection.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
        Ok(())
    }

    fn verdict(&self, hello: Hello) -> Verdict {
        if hello.cluster != self.identity.cluster {
            Verdict::OtherCluster
        } else if hello.to != self.identity.own {
            Verdict::OtherMember
        } else if !self.others.contains_key(&hello.from) {
            Verdict::Stranger
        } else {
            Verdict::Taken
        }
    }
}

/// Hands frames to the node; reads no further than the node can follow.
async fn receive(mut stream: Stream, from: NodeId, units_free: &Arc<Semaphore>, inbox: &Inbox) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    while let Some(frame) = read_frame(&mut stream, &mut buffer).await? {
        let units = u32::try_from(frame.len() / UNIT_BYTES + 1).expect("a frame's length is limited");
        let permit = Arc::clone(units_free).acquire_many_owned(units).await.expect("this semaphore is never closed");
        inbox.put(Item::Input { input: Input::Peer { from, frame }, permit: Some(permit) });
    }
    Ok(())
}
