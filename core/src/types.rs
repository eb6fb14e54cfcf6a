//! Identifiers. Newtypes, so that a log index never meets a revision.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $show:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $show, self.0)
            }
        }
    };
}

id!(
    /// A cluster, as etcd computes it (contract, section 1.4).
    ClusterId(u64),
    "{:x}"
);
id!(
    /// A member. Zero is nobody, as in raft-rs.
    NodeId(u64),
    "{:x}"
);
id!(
    /// A Raft term.
    Term(u64),
    "{}"
);
id!(
    /// A position in the Raft log. The first entry is 1.
    LogIndex(u64),
    "{}"
);
id!(
    /// A lease, any i64 but 0, which means "no lease".
    LeaseId(i64),
    "{:x}"
);
id!(
    /// A call that the driver handed in; the driver never uses a number twice in one life of a node.
    CallId(u64),
    "{}"
);
id!(
    /// A watch stream that the driver opened; never used twice in one life of a node.
    StreamId(u64),
    "{}"
);
id!(
    /// A disk operation that the node asked for; counted up from 1 in each life of a node.
    DiskOp(u64),
    "{}"
);

/// A store revision: 1 is the empty store, every transaction that writes adds one (contract, section 1).
pub type Revision = i64;

impl Term {
    /// The term after this one.
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl LogIndex {
    /// The index after this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }
}
