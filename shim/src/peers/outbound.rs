//! The way out: a bounded queue and a connection that is dialled again and again.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use detcd_core::Input;
use detcd_core::types::NodeId;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;

use super::Identity;
use super::wire::{Hello, Verdict, read_welcome, write_frames, write_hello};
use crate::host::{Host, Stream};
use crate::inbox::Inbox;
use crate::urls::Url;

/// The queue to one member holds at most so much; what comes beyond is dropped.
const FRAMES_MAX: usize = 4_096;
const BYTES_MAX: usize = 64 << 20;
/// Between two attempts to dial: doubled after each failure.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// How long dialling and the handshake may take.
const DIAL_TIME_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct Queue {
    connected: bool,
    frames: Vec<Bytes>,
    bytes: usize,
}

/// The queue to one member.
#[derive(Debug, Default)]
pub struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

impl Outbox {
    /// Adds a frame of a legal length, or drops it: without a connection it would be old when there is one.
    pub fn push(&self, frame: Bytes) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let full = queue.frames.len() >= FRAMES_MAX || queue.bytes + frame.len() > BYTES_MAX;
        if !queue.connected || full {
            return;
        }
        queue.bytes += frame.len();
        queue.frames.push(frame);
        drop(queue);
        self.filled.notify_one();
    }

    /// Empties the queue; it takes frames from now on only if there is a connection.
    pub(super) fn connect(&self, connected: bool) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        *queue = Queue { connected, ..Queue::default() };
    }

    /// How many frames and bytes wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> (usize, usize) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        (queue.frames.len(), queue.bytes)
    }

    async fn take(&self) -> Vec<Bytes> {
        loop {
            {
                let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
                if !queue.frames.is_empty() {
                    queue.bytes = 0;
                    return std::mem::take(&mut queue.frames);
                }
            }
            self.filled.notified().await;
        }
    }
}

/// Why a connection could not be made.
#[derive(Debug, thiserror::Error)]
enum DialError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("no answer in time")]
    Silent,
    #[error("refused: {}", .0.reason())]
    Refused(Verdict),
}

/// Keeps a connection to a member for as long as the future lives, and sends what `outbox` holds. The node is told when
/// the link comes up and when it is lost.
pub async fn dial(
    host: Host,
    identity: Identity,
    peer: NodeId,
    urls: Vec<Url>,
    outbox: Arc<Outbox>,
    inbox: Arc<Inbox>,
) {
    let mut pause = PAUSE_MIN;
    let mut told = String::new();
    for url in urls.iter().cycle() {
        let dialled = host.within(DIAL_TIME_MAX, connect(&host, &identity, peer, url)).await;
        match dialled.unwrap_or(Err(DialError::Silent)) {
            Ok(stream) => {
                tracing::info!(%peer, %url, "connected to a member");
                outbox.connect(true);
                inbox.put(Input::Link { peer, up: true }.into());
                let error = send(stream, &outbox).await;
                outbox.connect(false);
                inbox.put(Input::Link { peer, up: false }.into());
                tracing::warn!(%peer, %url, %error, "lost the connection to a member");
                pause = PAUSE_MIN;
                told.clear();
            }
            Err(error) => {
                // The same words again and again would bury everything else.
                let words = error.to_string();
                if words != told {
                    tracing::warn!(%peer, %url, error = %words, "cannot connect to a member");
                    told = words;
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
        host.sleep(pause).await;
    }
}

async fn connect(host: &Host, identity: &Identity, peer: NodeId, url: &Url) -> Result<Stream, DialError> {
    let mut stream = host.connect(url).await?;
    write_hello(&mut stream, Hello { cluster: identity.cluster, from: identity.own, to: peer }).await?;
    match read_welcome(&mut stream).await?.verdict {
        Verdict::Taken => Ok(stream),
        refused => Err(DialError::Refused(refused)),
    }
}

/// Sends until the connection breaks; says how.
async fn send(mut stream: Stream, outbox: &Outbox) -> io::Error {
    let (mut from_peer, mut to_peer) = stream.split();
    let mut buffer = BytesMut::new();
    let mut nothing = [0; 1];
    loop {
        // The other end never speaks here: what comes is the end of the connection.
        let frames = tokio::select! {
            frames = outbox.take() => frames,
            read = from_peer.read(&mut nothing) => {
                return match read {
                    Ok(0) => io::Error::other("the member closed it"),
                    Ok(_) => io::Error::other("the member spoke out of turn"),
                    Err(error) => error,
                };
            }
        };
        if let Err(error) = write_frames(&mut to_peer, frames, &mut buffer).await {
            return error;
        }
    }
}
