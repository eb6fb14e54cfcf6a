//! So many leases that end in the same second that their ends, one entry each, take more than a minute.

use detcd_core::api::{Request, Response};
use detcd_core::proto::etcdserverpb as pb;

use crate::cluster::Cluster;
use crate::put;

const LEASES: i64 = 100_000;

#[test]
fn a_hundred_thousand_leases_that_end_together_hold_up_no_write() {
    for size in [1, 3] {
        let mut cluster = Cluster::new(size, |config| config.checkpoint_entries = 1_000_000);
        let leader = cluster.leader();
        for first in (1..=LEASES).step_by(10_000) {
            let grant = |id| Request::LeaseGrant(pb::LeaseGrantRequest { id, ttl: 60 });
            let calls: Vec<_> = (first..first + 10_000).map(|id| cluster.call(leader, grant(id))).collect();
            cluster.run_ms(100);
            for call in calls {
                assert!(matches!(cluster.answers.remove(&call), Some(Ok(Response::LeaseGrant(_)))));
            }
        }
        cluster.run_ms(59_000);
        // From here on they end, a thousand a second.
        for _ in 0..110 {
            let call = cluster.call(leader, put("k", "v"));
            cluster.run_ms(3);
            assert!(matches!(cluster.answers.remove(&call), Some(Ok(Response::Put(_)))), "a write waits");
            cluster.run_ms(997);
        }
        assert_eq!(cluster.node(leader).view().leases().count(), 0);
    }
}
