//! Consensus on raft-rs, fenced. The only place that knows raft-rs.
