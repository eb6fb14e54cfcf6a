//! The leader's clock over the replicated leases: deadlines are local, and only ever propose.
