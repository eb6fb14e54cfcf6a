//! The cluster on detcd's own kernel: its queue of events and its network.

use bytes::Bytes;
use detcd_core::time::nanos;
use detcd_sim::network::{LinkOdds, Network};
use detcd_sim::queue::Queue;
use detcd_sim::weather::Weather;

use crate::member::{CAMPAIGN_AT, DELAY_MIN, DELAY_SPREAD, LOAD_AT, Load, Member, Outcome, Sent, TICK};

enum Event {
    Arrive { to: usize, frame: Bytes },
    Tick { place: usize },
    Campaign,
    Propose { left: u64 },
}

struct Kernel {
    now: u64,
    queue: Queue<Event>,
    network: Network,
}

impl Kernel {
    fn send(&mut self, from: usize, sent: Vec<Sent>) {
        for (to, frame) in sent {
            let (fate, _) = self.network.fate(from, to, self.now);
            if !fate.lost && !self.network.is_cut(from, to) {
                self.queue.push(self.now + fate.delay_ns, Event::Arrive { to, frame });
            }
        }
    }
}

/// Lets a cluster commit the proposals of `load`.
pub fn run(load: Load) -> Outcome {
    let odds = LinkOdds {
        delay_min_ns: nanos(DELAY_MIN),
        delay_spread_ns: nanos(DELAY_SPREAD),
        tail_permille: 0,
        tail_ns: 0,
        loss_permille: 0,
        duplicate_permille: 0,
    };
    let network = Network::new(Weather::new(load.seed), odds, load.members);
    let mut kernel = Kernel { now: 0, queue: Queue::default(), network };
    let mut members: Vec<Member> = (0..load.members).map(|place| Member::new(place, &load)).collect();
    for place in 0..load.members {
        kernel.queue.push(nanos(TICK), Event::Tick { place });
    }
    kernel.queue.push(nanos(CAMPAIGN_AT), Event::Campaign);
    kernel.queue.push(nanos(LOAD_AT), Event::Propose { left: load.proposals });
    while let Some((at, event)) = kernel.queue.pop()
        && at <= nanos(load.end())
    {
        kernel.now = at;
        let (place, sent) = match event {
            Event::Arrive { to, frame } => (to, members[to].take(&frame)),
            Event::Tick { place } => {
                kernel.queue.push(at + nanos(TICK), Event::Tick { place });
                (place, members[place].tick())
            }
            Event::Campaign => (0, members[0].campaign()),
            Event::Propose { left: 0 } => continue,
            Event::Propose { left } => {
                kernel.queue.push(at + nanos(load.interval), Event::Propose { left: left - 1 });
                (0, members[0].propose())
            }
        };
        kernel.send(place, sent);
    }
    Outcome::of(members.iter())
}
