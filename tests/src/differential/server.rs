//! One of the two servers: its processes, its clients, its watch streams.

use std::path::PathBuf;
use std::time::Duration;

use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::feed::Feed;
use super::step::{Answer, Refusal};
use crate::cluster::{Cluster, ClusterError, ClusterOptions};
use crate::rpc::kv_client::KvClient;
use crate::rpc::lease_client::LeaseClient;
use crate::rpc::maintenance_client::MaintenanceClient;
use crate::rpc::watch_client::WatchClient;

/// A server that takes longer than this to answer does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// How many requests may wait on a stream; one at a time is sent.
const STREAM_REQUESTS: usize = 4;

/// Why there is no server to ask.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its process does not come up.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// Nobody can connect to it.
    #[error("{url}: {source}")]
    Connect {
        /// Where.
        url: String,
        /// Why not.
        source: tonic::transport::Error,
    },
}

/// A cluster and everything that is open to it.
#[derive(Debug)]
pub(super) struct Server {
    // Ends the processes when the server is dropped.
    _cluster: Cluster,
    members: Vec<Member>,
    /// The lease whose id the server drew; 0 after a grant that was refused.
    pub drawn: i64,
}

/// The clients of one member.
#[derive(Debug)]
struct Member {
    kv: KvClient<Channel>,
    lease: LeaseClient<Channel>,
    maintenance: MaintenanceClient<Channel>,
    watch: WatchClient<Channel>,
    keep_alive: Option<KeepAlive>,
}

#[derive(Debug)]
struct KeepAlive {
    requests: mpsc::Sender<pb::LeaseKeepAliveRequest>,
    responses: Streaming<pb::LeaseKeepAliveResponse>,
}

impl Server {
    /// Starts so many `members` of `program` with further `flags` and connects to them.
    pub async fn start(program: PathBuf, members: usize, flags: Vec<String>) -> Result<Server, ServerError> {
        let cluster = Cluster::start(&ClusterOptions { program, members, flags })?;
        let mut members = Vec::new();
        for url in cluster.endpoints() {
            let failed = |source| ServerError::Connect { url: url.clone(), source };
            let channel = Endpoint::from_shared(url.clone()).map_err(failed)?.connect().await.map_err(failed)?;
            members.push(Member {
                kv: KvClient::new(channel.clone()).max_decoding_message_size(usize::MAX),
                lease: LeaseClient::new(channel.clone()),
                maintenance: MaintenanceClient::new(channel.clone()),
                watch: WatchClient::new(channel).max_decoding_message_size(usize::MAX),
                keep_alive: None,
            });
        }
        Ok(Server { _cluster: cluster, members, drawn: 0 })
    }

    /// Asks the member at `place` for one thing and waits for the answer.
    pub async fn ask(&mut self, place: usize, request: Request) -> Answer {
        let is_grant = matches!(request, Request::LeaseGrant(_));
        let answer = self.members[place].send(request);
        let answer = tokio::time::timeout(ANSWER_WITHIN, answer).await.unwrap_or_else(|_| Err(late()));
        if is_grant {
            self.drawn = if let Ok(Response::LeaseGrant(response)) = &answer { response.id } else { 0 };
        }
        answer
    }

    /// Opens a watch stream to the member at `place`. A server may say nothing on it before it is asked something, so
    /// nothing is waited for.
    pub fn open_watch(&self, place: usize) -> Feed {
        self.members[place].open_watch()
    }
}

impl Member {
    async fn send(&mut self, request: Request) -> Answer {
        let (kv, lease, maintenance) = (&mut self.kv, &mut self.lease, &mut self.maintenance);
        let response = match request {
            Request::Range(request) => Response::Range(kv.range(request).await?.into_inner()),
            Request::Put(request) => Response::Put(kv.put(request).await?.into_inner()),
            Request::DeleteRange(request) => Response::DeleteRange(kv.delete_range(request).await?.into_inner()),
            Request::Txn(request) => Response::Txn(kv.txn(request).await?.into_inner()),
            Request::Compact(request) => Response::Compact(kv.compact(request).await?.into_inner()),
            Request::LeaseGrant(request) => Response::LeaseGrant(lease.lease_grant(request).await?.into_inner()),
            Request::LeaseRevoke(request) => Response::LeaseRevoke(lease.lease_revoke(request).await?.into_inner()),
            Request::LeaseTimeToLive(request) => {
                Response::LeaseTimeToLive(lease.lease_time_to_live(request).await?.into_inner())
            }
            Request::LeaseLeases(request) => Response::LeaseLeases(lease.lease_leases(request).await?.into_inner()),
            Request::LeaseKeepAlive(request) => Response::LeaseKeepAlive(self.renew(request).await?),
            Request::Alarm(request) => Response::Alarm(maintenance.alarm(request).await?.into_inner()),
            Request::HashKv(request) => Response::HashKv(maintenance.hash_kv(request).await?.into_inner()),
            Request::Defragment(request) => Response::Defragment(maintenance.defragment(request).await?.into_inner()),
            Request::MemberList(_) | Request::Status(_) | Request::Hash(_) => {
                unreachable!("no run asks for what is each member's own")
            }
        };
        Ok(response)
    }

    /// Renews a lease on the stream that is kept for it.
    async fn renew(&mut self, request: pb::LeaseKeepAliveRequest) -> Result<pb::LeaseKeepAliveResponse, Refusal> {
        if self.keep_alive.is_none() {
            let (requests, sent) = mpsc::channel(STREAM_REQUESTS);
            requests.send(request).await.expect("the other end is here");
            let responses = self.lease.lease_keep_alive(ReceiverStream::new(sent)).await?.into_inner();
            self.keep_alive = Some(KeepAlive { requests, responses });
        } else if let Some(stream) = &self.keep_alive {
            stream.requests.send(request).await.map_err(|_| ended())?;
        }
        let stream = self.keep_alive.as_mut().expect("it was opened");
        stream.responses.message().await?.ok_or_else(ended)
    }

    fn open_watch(&self) -> Feed {
        let (requests, sent) = mpsc::channel(STREAM_REQUESTS);
        let (told, feed) = mpsc::unbounded_channel();
        let mut client = self.watch.clone();
        let reader = tokio::spawn(async move {
            let mut responses = match client.watch(ReceiverStream::new(sent)).await {
                Ok(responses) => responses.into_inner(),
                Err(status) => {
                    let _ = told.send(Err(Refusal::from(status)));
                    return;
                }
            };
            loop {
                let reply = match responses.message().await {
                    Ok(Some(response)) => Ok(response),
                    Ok(None) => Err(ended()),
                    Err(status) => Err(Refusal::from(status)),
                };
                let over = reply.is_err();
                if told.send(reply).is_err() || over {
                    return;
                }
            }
        });
        Feed::new(requests, feed, reader)
    }
}

fn late() -> Refusal {
    Refusal { code: tonic::Code::DeadlineExceeded, text: format!("no answer within {ANSWER_WITHIN:?}") }
}

fn ended() -> Refusal {
    Refusal { code: tonic::Code::Unavailable, text: "the stream has ended".to_owned() }
}
