//! A member under madsim: the shim's loop, and around it the tasks that bring it frames, calls and watch streams.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use detcd::driver::{Driver, End, Published};
use detcd::inbox::{Answer, Item, Pushed, Waiting};
use detcd_core::api::{Request, Response, Status, read};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::types::{CallId, ClusterId, NodeId, StreamId};
use detcd_core::{Input, Instant, Member, NodeConfig, StreamOp, seed};
use madsim::net::{Endpoint, TcpListener, TcpStream};
use madsim::rand::{Rng, thread_rng};
use madsim::task;
use madsim::time::sleep;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, mpsc};

use crate::body::{KeptDisk, MadsimBody, PEER_TAG, Queue};
use crate::lies::Lie;
use crate::record::{Recorder, Seen, now};

/// How many members there are.
pub const MEMBERS: usize = 3;
/// The datagrams in which clients call.
pub const CALL_TAG: u64 = 2;

const DATAGRAM_PORT: u16 = 2380;
const STREAM_PORT: u16 = 2379;
/// madsim takes a millisecond to hand over a datagram, one at a time for each that waits for one.
const RECEIVERS: usize = 8;
/// The longest frame; limits of the configuration keep it far below.
const FRAME_BYTES_MAX: usize = 1 << 20;
/// How many calls may wait in a member.
const CALLS_MAX: usize = 64;
/// How many bytes of responses the node may push on a stream before some were sent.
const CREDIT_BYTES: u64 = 1 << 20;

/// A client's call as it crosses the network.
#[derive(Debug)]
pub struct Asked {
    /// The tag of the datagram that answers.
    pub reply_tag: u64,
    /// How long the client waits.
    pub patience: Duration,
    /// What is asked.
    pub request: Request,
}

/// The answer to a call as it crosses the network.
pub type Answered = Result<Response, Status>;

/// What of a member outlives its crashes, and what the test knows of it.
pub struct Site {
    /// Its place.
    pub place: usize,
    /// Its disk.
    pub disk: KeptDisk,
    /// How often it was started.
    pub boots: AtomicU64,
    /// The seed of the run.
    pub seed: u64,
    /// Who observes.
    pub recorder: Arc<Recorder>,
    /// How the member spoils what it is asked for.
    pub lie: Option<Lie>,
}

/// Where a member takes datagrams.
pub fn datagrams_of(place: usize) -> SocketAddr {
    (ip(place), DATAGRAM_PORT).into()
}

/// Where a member takes watch streams.
pub fn streams_of(place: usize) -> SocketAddr {
    (ip(place), STREAM_PORT).into()
}

/// The address of a member.
pub fn ip(place: usize) -> std::net::Ipv4Addr {
    [10, 0, 0, u8::try_from(place + 1).expect("few members")].into()
}

fn id(place: usize) -> NodeId {
    NodeId(place as u64 + 1)
}

/// Small limits, so that segments are cut, checkpoints written and snapshots sent within seconds.
fn config(site: &Site, boot: u64) -> NodeConfig {
    let member = |place| Member { id: id(place), name: format!("m{}", place + 1), peer_urls: Vec::new() };
    let members = (0..MEMBERS).map(member).collect();
    let seed = seed::draw(site.seed, &[site.place as u64, boot]);
    NodeConfig {
        heartbeat_interval: Duration::from_millis(50),
        election_timeout: Duration::from_millis(300),
        wal_segment_bytes: 64 << 10,
        wal_mark_interval_bytes: 8 << 10,
        checkpoint_entries: 200,
        checkpoint_chunk_bytes: 4 << 10,
        catchup_entries: 50,
        append_bytes_max: 64 << 10,
        ..NodeConfig::with_etcd_defaults(ClusterId(7), id(site.place), members, seed)
    }
}

/// One life of a member; says how it ended, if it was not killed.
pub async fn live(site: Arc<Site>) -> End {
    let boot = site.boots.fetch_add(1, Ordering::Relaxed) + 1;
    let endpoint = Endpoint::bind(datagrams_of(site.place)).await.expect("the address is the member's own");
    let listener = TcpListener::bind(streams_of(site.place)).await.expect("the address is the member's own");
    let queue = Queue::new();
    let peers: BTreeMap<NodeId, SocketAddr> = (0..MEMBERS).map(|place| (id(place), datagrams_of(place))).collect();
    let body = MadsimBody {
        place: site.place,
        queue: Arc::clone(&queue),
        disk: site.disk.clone(),
        endpoint: endpoint.clone(),
        peers: Arc::new(peers),
        recorder: Arc::clone(&site.recorder),
    };
    site.recorder.see(Seen::Opened(site.place));
    let mut driver = Driver::open(config(&site, boot), site.disk.listing(), body);
    let door = Arc::new(Door {
        queue,
        member_id: id(site.place).0,
        published: driver.published(),
        next_call: AtomicU64::new(1),
        next_stream: AtomicU64::new(1),
        places: Arc::new(Semaphore::new(CALLS_MAX)),
        lie: site.lie,
    });
    for _ in 0..RECEIVERS {
        task::spawn(frames(endpoint.clone(), Arc::clone(&door)));
        task::spawn(calls(endpoint.clone(), Arc::clone(&door)));
    }
    task::spawn(streams(listener, door));
    driver.run().await
}

/// The way from the network to the node.
pub struct Door {
    queue: Arc<Queue>,
    /// The member's id.
    pub member_id: u64,
    /// What the node shows.
    pub published: Arc<Published>,
    next_call: AtomicU64,
    next_stream: AtomicU64,
    places: Arc<Semaphore>,
    lie: Option<Lie>,
}

/// Hands over what other members send.
async fn frames(endpoint: Endpoint, door: Arc<Door>) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while let Ok((length, from)) = endpoint.recv_from(PEER_TAG, &mut buffer).await {
        assert!(length < buffer.len(), "a frame is longer than the limits allow");
        let place = (0..MEMBERS).find(|place| from.ip() == ip(*place)).expect("only members use this tag");
        door.queue.put(Input::Peer { from: id(place), frame: Bytes::copy_from_slice(&buffer[..length]) });
    }
}

/// Hands over what clients ask, each beside the others.
async fn calls(endpoint: Endpoint, door: Arc<Door>) {
    while let Ok((asked, from)) = endpoint.recv_from_raw(CALL_TAG).await {
        let asked = *asked.downcast::<Asked>().expect("only clients use this tag");
        let (endpoint, door) = (endpoint.clone(), Arc::clone(&door));
        task::spawn(async move {
            let reply_tag = asked.reply_tag;
            let answered: Answered = match door.lie {
                Some(lie) => lie.answer(&door, asked).await,
                None => door.call(asked).await,
            };
            // A client that went away does not want it any more.
            let _ = endpoint.send_to_raw(from, reply_tag, Box::new(answered)).await;
        });
    }
}

impl Door {
    /// Asks the node and waits for its answer.
    pub async fn call(&self, asked: Asked) -> Answered {
        let answer = self.ask(asked).await?;
        match answer {
            Answer::Reply(result) => result,
            Answer::Read { request, view, header } => {
                // A read is executed when its thread has time.
                sleep(Duration::from_micros(thread_rng().gen_range(0..20_000))).await;
                read::execute(&view, &request, header)
            }
        }
    }

    /// As [`Door::call`], but leaves a read to be executed.
    pub async fn ask(&self, asked: Asked) -> Result<Answer, Status> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Status::TooManyRequests)?;
        let call = CallId(self.next_call.fetch_add(1, Ordering::Relaxed));
        let (waiting, answered) = Waiting::new(place);
        let deadline = Instant::from_nanos(now()) + asked.patience;
        self.queue.put(Item::Call { call, deadline, request: asked.request, waiting });
        answered.await.map(|(answer, _place)| answer).map_err(|_| Status::Stopped)
    }
}

/// Accepts watch streams.
async fn streams(listener: TcpListener, door: Arc<Door>) {
    while let Ok((connection, _)) = listener.accept().await {
        let door = Arc::clone(&door);
        task::spawn(async move {
            let stream = StreamId(door.next_stream.fetch_add(1, Ordering::Relaxed));
            // A connection that breaks is the client's affair.
            let _ = watch(&door, stream, connection).await;
            door.queue.put(Input::Stream { stream, op: StreamOp::Close });
        });
    }
}

/// One request, and then responses for as long as there is a client.
async fn watch(door: &Door, stream: StreamId, mut connection: TcpStream) -> io::Result<()> {
    let Some(request) = read_message::<pb::WatchRequest>(&mut connection).await? else { return Ok(()) };
    let (pushes, mut pushed) = mpsc::unbounded_channel();
    door.queue.put(Item::Open { stream, pushes });
    let of_stream = |op| door.queue.put(Input::Stream { stream, op });
    of_stream(StreamOp::Credit(CREDIT_BYTES));
    of_stream(StreamOp::Request(request));
    while let Some(Pushed::Batch(batch)) = pushed.recv().await {
        for response in batch {
            write_message(&mut connection, &response).await?;
            of_stream(StreamOp::Credit(response.encoded_len() as u64));
        }
    }
    Ok(())
}

/// Writes a message with its length before it.
pub async fn write_message(connection: &mut TcpStream, message: &impl Message) -> io::Result<()> {
    let bytes = message.encode_to_vec();
    connection.write_u32(u32::try_from(bytes.len()).map_err(io::Error::other)?).await?;
    connection.write_all(&bytes).await?;
    connection.flush().await
}

/// Reads what [`write_message`] wrote; `None` at the end.
pub async fn read_message<M: Message + Default>(connection: &mut TcpStream) -> io::Result<Option<M>> {
    let length = match connection.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    connection.read_exact(&mut bytes).await?;
    M::decode(&bytes[..]).map(Some).map_err(io::Error::other)
}
