//! Members among each other: one streaming connection each way over TCP.
//!
//! Each member dials every other one and only sends on the connection that it dialled; what it receives comes on the
//! connections that it accepted. A connection begins with a handshake that names cluster and both ends; then frames
//! follow, each a length and so many bytes. What cannot be sent is dropped: Raft sends again.

mod inbound;
mod links;
mod outbound;
mod wire;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use detcd_core::types::{ClusterId, NodeId};

pub use inbound::Inbound;
pub use links::Links;
pub use outbound::dial;
pub use wire::FRAME_BYTES_MAX;

use outbound::Outbox;

/// Who this member is, and who else there is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// This member.
    pub own: NodeId,
}

/// The queues to all other members, once it is known who they are; until then there are none.
#[derive(Clone, Default)]
pub struct Outboxes(Arc<OnceLock<HashMap<NodeId, Arc<Outbox>>>>);

impl Outboxes {
    /// There are these members: they get empty queues. Known once, they stay.
    pub fn know(&self, others: impl IntoIterator<Item = NodeId>) {
        self.0.get_or_init(|| others.into_iter().map(|peer| (peer, Arc::default())).collect());
    }

    /// Queues a frame. Never blocks: without a connection, without room, or to a member that is not known, it is lost.
    /// One that is longer than a frame may be is lost too, and that is told: whoever waits for it waits in vain.
    pub fn send(&self, to: NodeId, frame: Bytes) {
        if frame.len() > FRAME_BYTES_MAX {
            let limit = FRAME_BYTES_MAX;
            tracing::error!(peer = %to, bytes = frame.len(), limit, "dropped a message that is too long for a member");
            return;
        }
        if let Some(outbox) = self.0.get().and_then(|queues| queues.get(&to)) {
            outbox.push(frame);
        }
    }

    /// The queue to one member.
    pub fn to(&self, peer: NodeId) -> Option<Arc<Outbox>> {
        self.0.get()?.get(&peer).cloned()
    }
}

#[cfg(test)]
mod tests;
