//! The cluster on turmoil: a host a member, UDP between them.

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;

use tokio::time::{Instant, interval_at, sleep_until};
use turmoil::net::UdpSocket;

use crate::member::{CAMPAIGN_AT, DELAY_MIN, DELAY_SPREAD, LOAD_AT, Load, Member, Outcome, REST, Sent, TICK};

const PORT: u16 = 2380;
const FRAME_BYTES_MAX: usize = 64 << 10;
/// As many datagrams may wait at a host as could come.
const WAITING_MAX: usize = 1 << 16;

type Shared = Rc<RefCell<Member>>;

fn name(place: usize) -> String {
    format!("m{place}")
}

/// Lets a cluster commit the proposals of `load`.
pub fn run(load: Load) -> Outcome {
    let mut builder = turmoil::Builder::new();
    builder.rng_seed(load.seed).simulation_duration(load.end() + REST).udp_capacity(WAITING_MAX);
    builder.min_message_latency(DELAY_MIN).max_message_latency(DELAY_MIN + DELAY_SPREAD);
    let mut sim = builder.build();
    let members: Vec<Shared> =
        (0..load.members).map(|place| Rc::new(RefCell::new(Member::new(place, &load)))).collect();
    for (place, member) in members.iter().enumerate() {
        let member = Rc::clone(member);
        sim.client(name(place), async move {
            live(place, &member, load).await?;
            Ok(())
        });
    }
    sim.run().expect("every host comes to its end");
    let borrowed: Vec<_> = members.iter().map(|member| member.borrow()).collect();
    Outcome::of(borrowed.iter().map(|member| &**member))
}

async fn live(place: usize, member: &Shared, load: Load) -> std::io::Result<()> {
    let start = Instant::now();
    let socket = UdpSocket::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    let others: Vec<IpAddr> = (0..load.members).map(|place| turmoil::lookup(name(place))).collect();
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let mut ticks = interval_at(start + TICK, TICK);
    let mut turns = interval_at(start + LOAD_AT, load.interval);
    let campaigns = sleep_until(start + CAMPAIGN_AT);
    let ends = sleep_until(start + load.end());
    tokio::pin!(campaigns, ends);
    let (mut to_campaign, mut to_propose) = (place == 0, if place == 0 { load.proposals } else { 0 });
    loop {
        let sent = tokio::select! {
            biased;
            received = socket.recv_from(&mut buffer) => {
                let (length, _) = received?;
                assert!(length < buffer.len(), "a frame is longer than the load explains");
                member.borrow_mut().take(&buffer[..length])
            }
            _ = ticks.tick() => member.borrow_mut().tick(),
            () = &mut campaigns, if to_campaign => {
                to_campaign = false;
                member.borrow_mut().campaign()
            }
            _ = turns.tick(), if to_propose > 0 => {
                to_propose -= 1;
                member.borrow_mut().propose()
            }
            () = &mut ends => return Ok(()),
        };
        send(&socket, &others, sent).await?;
    }
}

async fn send(socket: &UdpSocket, others: &[IpAddr], sent: Vec<Sent>) -> std::io::Result<()> {
    for (to, frame) in sent {
        socket.send_to(&frame, (others[to], PORT)).await?;
    }
    Ok(())
}
