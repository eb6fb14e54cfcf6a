//! To whom there are links: the members that the node knows, once it has read its data. The flags name the members of
//! a fresh data directory only.

use std::sync::{Arc, OnceLock};

use detcd_core::types::NodeId;

use super::{Identity, Inbound, Outboxes, dial};
use crate::driver::Published;
use crate::host::{Host, Listener, Task};
use crate::inbox::Inbox;
use crate::urls::Url;

/// The links of one member, both ways. To be used when the node takes part, and its store is published.
#[derive(Clone)]
pub struct Links {
    host: Host,
    own: NodeId,
    published: Arc<Published>,
    inbox: Arc<Inbox>,
    outboxes: Outboxes,
    inbound: Arc<OnceLock<Arc<Inbound>>>,
}

impl Links {
    /// The links of the member `own`; its node fills `outboxes`.
    pub fn new(host: Host, own: NodeId, published: Arc<Published>, inbox: Arc<Inbox>, outboxes: Outboxes) -> Links {
        Links { host, own, published, inbox, outboxes, inbound: Arc::default() }
    }

    /// Accepts the others on one port, for as long as the future lives.
    pub async fn accept(self, listener: Listener) {
        let inbound = self.inbound.get_or_init(|| {
            let others = self.others().into_iter().map(|(peer, _)| peer);
            Inbound::new(self.host.clone(), self.identity(), others, Arc::clone(&self.inbox))
        });
        Arc::clone(inbound).serve(listener).await;
    }

    /// Keeps a connection to each of the others, for as long as the future lives.
    pub async fn dial(self) {
        let others = self.others();
        self.outboxes.know(others.iter().map(|(peer, _)| *peer));
        let link = |(peer, urls)| {
            let outbox = self.outboxes.to(peer).expect("each member has its queue");
            self.host.spawn(dial(self.host.clone(), self.identity(), peer, urls, outbox, Arc::clone(&self.inbox)))
        };
        let links: Vec<Task> = others.into_iter().map(link).collect();
        std::future::pending::<()>().await;
        drop(links);
    }

    fn identity(&self) -> Identity {
        Identity { cluster: self.published.view().cluster_id(), own: self.own }
    }

    /// The other members, and where each listens.
    fn others(&self) -> Vec<(NodeId, Vec<Url>)> {
        let view = self.published.view();
        let others = view.members().filter(|member| member.id != self.own.0);
        others
            .map(|member| {
                let urls = member.peer_ur_ls.iter().filter_map(|url| match Url::parse(url) {
                    Ok(parsed) => Some(parsed),
                    Err(error) => {
                        tracing::warn!(peer = %NodeId(member.id), %error, "a member's URL cannot be dialled");
                        None
                    }
                });
                (NodeId(member.id), urls.collect())
            })
            .collect()
    }
}
