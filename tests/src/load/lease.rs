//! Leases that outlive a run, and the stream that renews one.

use detcd_core::proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use crate::rpc::lease_client::LeaseClient;

/// Long enough that none ends while it is measured: revokes would be paid for by other operations.
const TTL_S: i64 = 24 * 3600;

/// Grants a lease and gives its id.
///
/// # Errors
/// What the server or the connection says.
pub async fn grant(leases: &mut LeaseClient<Channel>) -> Result<i64, Status> {
    let response = leases.lease_grant(pb::LeaseGrantRequest { ttl: TTL_S, id: 0 }).await?.into_inner();
    Ok(response.id)
}

/// One lease and the stream on which it is renewed.
pub struct KeptLease {
    id: i64,
    requests: mpsc::Sender<pb::LeaseKeepAliveRequest>,
    responses: Streaming<pb::LeaseKeepAliveResponse>,
}

impl KeptLease {
    /// Grants a lease on `channel`, opens the stream and renews it once.
    ///
    /// # Errors
    /// What the server or the connection says.
    pub async fn open(channel: Channel) -> Result<KeptLease, Status> {
        let mut leases = LeaseClient::new(channel);
        let id = grant(&mut leases).await?;
        let (requests, outgoing) = mpsc::channel(1);
        // A server may answer the call itself only together with its first response.
        send(&requests, id).await?;
        let responses = leases.lease_keep_alive(ReceiverStream::new(outgoing)).await?.into_inner();
        let mut kept = KeptLease { id, requests, responses };
        kept.receive().await?;
        Ok(kept)
    }

    /// Renews the lease and waits for the answer.
    ///
    /// # Errors
    /// The stream has ended, or the lease.
    pub async fn renew(&mut self) -> Result<(), Status> {
        send(&self.requests, self.id).await?;
        self.receive().await
    }

    async fn receive(&mut self) -> Result<(), Status> {
        match self.responses.message().await? {
            Some(response) if response.ttl > 0 => Ok(()),
            Some(_) => Err(Status::not_found("a lease that was granted is not there")),
            None => Err(Status::unknown("the keepalive stream ended")),
        }
    }
}

async fn send(requests: &mpsc::Sender<pb::LeaseKeepAliveRequest>, id: i64) -> Result<(), Status> {
    let closed = |_| Status::unknown("the keepalive stream takes no request");
    requests.send(pb::LeaseKeepAliveRequest { id }).await.map_err(closed)
}
