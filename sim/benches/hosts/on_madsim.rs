//! The cluster on madsim: a node a member, datagrams between them.

#![expect(clippy::disallowed_types, reason = "madsim's tasks want locks, and its clock has the type of the real one")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use madsim::net::Endpoint;
use madsim::runtime::Runtime;
use madsim::task;
use madsim::time::{Duration, Instant, interval, sleep, sleep_until};

use crate::member::{CAMPAIGN_AT, DELAY_MIN, DELAY_SPREAD, LOAD_AT, Load, Member, Outcome, Sent, TICK};

/// madsim adds a millisecond where a datagram leaves and one where it is handed over.
const OWN_DELAY: Duration = Duration::from_millis(2);
/// It hands over one at a time to each that waits for one; so many wait that none has to queue.
const RECEIVERS: usize = 16;
const FRAME_BYTES_MAX: usize = 64 << 10;
const TAG: u64 = 1;

type Shared = Arc<Mutex<Member>>;

fn address(place: usize) -> SocketAddr {
    (Ipv4Addr::from([10, 0, 0, u8::try_from(place + 1).expect("few members")]), 1).into()
}

/// Lets a cluster commit the proposals of `load`.
pub fn run(load: Load) -> Outcome {
    let mut config = madsim::Config::default();
    config.net.send_latency = DELAY_MIN - OWN_DELAY..DELAY_MIN - OWN_DELAY + DELAY_SPREAD;
    let runtime = Runtime::with_seed_and_config(load.seed, config);
    let members: Vec<Shared> = (0..load.members).map(|place| Arc::new(Mutex::new(Member::new(place, &load)))).collect();
    for (place, member) in members.iter().enumerate() {
        let node = runtime.create_node().ip(address(place).ip()).build();
        node.spawn(live(place, Arc::clone(member), load));
    }
    runtime.block_on(async { sleep(load.end()).await });
    let locked: Vec<_> = members.iter().map(|member| member.lock().expect("no panic")).collect();
    Outcome::of(locked.iter().map(|member| &**member))
}

async fn live(place: usize, member: Shared, load: Load) {
    let start = Instant::now();
    let endpoint = Endpoint::bind(address(place)).await.expect("the address is its own");
    for _ in 0..RECEIVERS {
        task::spawn(receive(endpoint.clone(), Arc::clone(&member)));
    }
    if place == 0 {
        task::spawn(lead(endpoint.clone(), Arc::clone(&member), load, start));
    }
    let mut ticks = interval(TICK);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let sent = member.lock().expect("no panic").tick();
        send(&endpoint, sent);
    }
}

async fn lead(endpoint: Endpoint, member: Shared, load: Load, start: Instant) {
    sleep_until(start + CAMPAIGN_AT).await;
    let sent = member.lock().expect("no panic").campaign();
    send(&endpoint, sent);
    sleep_until(start + LOAD_AT).await;
    let mut turns = interval(load.interval);
    for _ in 0..load.proposals {
        turns.tick().await;
        let sent = member.lock().expect("no panic").propose();
        send(&endpoint, sent);
    }
}

async fn receive(endpoint: Endpoint, member: Shared) {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    while let Ok((length, _)) = endpoint.recv_from(TAG, &mut buffer).await {
        assert!(length < buffer.len(), "a frame is longer than the load explains");
        let sent = member.lock().expect("no panic").take(&buffer[..length]);
        send(&endpoint, sent);
    }
}

/// Each on its own, or each would wait until the one before it has left.
fn send(endpoint: &Endpoint, sent: Vec<Sent>) {
    for (to, frame) in sent {
        let endpoint = endpoint.clone();
        task::spawn(async move {
            endpoint.send_to(address(to), TAG, &frame).await.expect("the network is up");
        });
    }
}
