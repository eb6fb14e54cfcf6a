//! A cluster of one member on a disk that says yes to everything, and keeps nothing.

use std::collections::VecDeque;

use detcd_core::api::{Request, Response, Status};
use detcd_core::types::{CallId, ClusterId, NodeId};
use detcd_core::{DiskReply, Effect, Input, Instant, Listing, Member, Node, NodeConfig, Outputs, Role};

/// Calls wait for an answer at most this long, by the member's clock.
const PATIENCE_MS: u64 = 60_000;

/// The member, and what is on its way to it.
pub struct Single {
    node: Node,
    now_ms: u64,
    inbox: VecDeque<Input>,
    out: Outputs,
    calls: u64,
    answer: Option<(CallId, Result<Response, Status>)>,
}

impl Single {
    /// A member that leads already.
    pub fn leading() -> Single {
        let id = NodeId(1);
        let member = Member { id, name: "m1".to_owned(), peer_urls: vec!["http://m1:2380".to_owned()] };
        let config = NodeConfig::with_etcd_defaults(ClusterId(1), id, vec![member], 1);
        let mut out = Outputs::default();
        let node = Node::open(config, Listing::default(), Instant::from_millis(0), &mut out);
        let mut single = Single { node, now_ms: 0, inbox: VecDeque::new(), out, calls: 0, answer: None };
        single.perform();
        single.settle();
        while single.node.status().role != Role::Leader {
            assert!(single.now_ms < PATIENCE_MS, "a member that is alone leads soon");
            single.pass_ms(10);
        }
        // What a leader writes first.
        single.pass_ms(100);
        single
    }

    /// Calls, and gives the answer.
    pub fn ask(&mut self, request: Request) -> Response {
        self.calls += 1;
        let call = CallId(self.calls);
        let deadline = Instant::from_millis(self.now_ms + PATIENCE_MS);
        self.inbox.push_back(Input::Call { call, deadline, request });
        self.settle();
        for _ in 0..PATIENCE_MS {
            if let Some((answered, answer)) = self.answer.take() {
                assert_eq!(answered, call, "one call at a time");
                return answer.expect("nothing refuses it");
            }
            self.pass_ms(1);
        }
        panic!("no answer to call {call}");
    }

    fn pass_ms(&mut self, ms: u64) {
        self.now_ms += ms;
        while self.node.next_wakeup().at <= Instant::from_millis(self.now_ms) {
            self.inbox.push_back(Input::Wakeup);
            self.settle();
        }
    }

    /// Lets the member take everything that is on its way.
    fn settle(&mut self) {
        while let Some(input) = self.inbox.pop_front() {
            self.node.step(Instant::from_millis(self.now_ms), input, &mut self.out);
            self.perform();
        }
    }

    fn perform(&mut self) {
        self.out.notes.clear();
        for effect in self.out.effects.drain(..) {
            match effect {
                Effect::Disk { op, .. } => {
                    self.inbox.push_back(Input::DiskDone { op, result: Ok(DiskReply::Done) });
                }
                Effect::Reply { call, result } => self.answer = Some((call, result)),
                Effect::Discard(_) => {}
                other => panic!("a member that is alone does not need {other:?}"),
            }
        }
    }
}
