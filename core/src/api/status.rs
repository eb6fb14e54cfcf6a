//! Every error that a client can get: etcd's own codes and texts (contract, section 2), all in this file.

use std::fmt;

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "gRPC's own names")]
pub enum Code {
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident => $code:ident, $text:literal;)*) => {
        /// What a client gets instead of a response. Each stands for one code and text of etcd's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Status {
            $($(#[$doc])* $name,)*
        }

        impl Status {
            /// All of them.
            pub const ALL: &'static [Status] = &[$(Status::$name,)*];

            /// The gRPC code.
            pub fn code(self) -> Code {
                match self {
                    $(Status::$name => Code::$code,)*
                }
            }

            /// The text, to the letter: clients compare it.
            pub fn message(self) -> &'static str {
                match self {
                    $(Status::$name => $text,)*
                }
            }
        }
    };
}

statuses! {
    /// A request without a key.
    EmptyKey => InvalidArgument, "etcdserver: key is not provided";
    /// `ignore_value` or `ignore_lease` on an absent key, or an operation without content.
    KeyNotFound => InvalidArgument, "etcdserver: key not found";
    /// `ignore_value` with a value.
    ValueProvided => InvalidArgument, "etcdserver: value is provided";
    /// `ignore_lease` with a lease.
    LeaseProvided => InvalidArgument, "etcdserver: lease is provided";
    /// More operations than `--max-txn-ops`.
    TooManyOps => InvalidArgument, "etcdserver: too many operations in txn request";
    /// One key written twice in one transaction.
    DuplicateKey => InvalidArgument, "etcdserver: duplicate key given in txn request";
    /// A sort order or target that does not exist.
    InvalidSortOption => InvalidArgument, "etcdserver: invalid sort option";
    /// A proposal longer than `--max-request-bytes`.
    RequestTooLarge => InvalidArgument, "etcdserver: request is too large";
    /// A revision that is compacted away.
    Compacted => OutOfRange, "etcdserver: mvcc: required revision has been compacted";
    /// A revision that does not exist yet.
    FutureRevision => OutOfRange, "etcdserver: mvcc: required revision is a future revision";
    /// A lease of more than 9,000,000,000 seconds.
    LeaseTtlTooLarge => OutOfRange, "etcdserver: too large lease TTL";
    /// A lease that does not exist.
    LeaseNotFound => NotFound, "etcdserver: requested lease not found";
    /// A grant of an id that exists.
    LeaseExists => FailedPrecondition, "etcdserver: lease already exists";
    /// A member that does not exist, or that was removed.
    MemberNotFound => NotFound, "etcdserver: member not found";
    /// An addition of a member id that exists.
    MemberExists => FailedPrecondition, "etcdserver: member ID already exist";
    /// A peer URL that another member has.
    PeerUrlExists => FailedPrecondition, "etcdserver: Peer URLs already exists";
    /// A promotion of a member that votes already.
    MemberNotLearner => FailedPrecondition, "etcdserver: can only promote a learner member";
    /// More requests than can wait, or an apply lag.
    TooManyRequests => Unknown, "etcdserver: too many requests";
    /// No room for the log.
    NoSpace => ResourceExhausted, "etcdserver: mvcc: database space exceeded";
    /// A member found its data to differ from the others'.
    Corrupt => DataLoss, "etcdserver: corrupt cluster";
    /// Nobody leads.
    NoLeader => Unavailable, "etcdserver: no leader";
    /// The leader was lost while a read waited for it.
    LeaderChanged => Unavailable, "etcdserver: leader changed";
    /// The member is stopping or not yet serving.
    Stopped => Unavailable, "etcdserver: server stopped";
    /// The outcome is unknown.
    Timeout => Unavailable, "etcdserver: request timed out";
    /// The client's own limit has passed, as etcd's language says it; not an error of the store.
    DeadlineExceeded => DeadlineExceeded, "context deadline exceeded";
    /// The key that waited for a lock is gone, its lease has ended or it was deleted (contract, section 1.7).
    LockKeyLost => Unknown, "mutex: session is expired";
    /// Nobody leads an election.
    NobodyElected => Unknown, "election: no leader";
    /// The caller does not lead an election: its key is gone, or another one by now.
    NotElected => Unknown, "election: not leader";
    /// A request about an election's leader that does not say which.
    LeaderMissing => Unknown, "\"leader\" field must be provided";
    /// The outcome is unknown, and a change of leader is the likely cause.
    TimeoutLeaderFail => Unavailable, "etcdserver: request timed out, possibly due to previous leader failure";
    /// The outcome is unknown, and a broken link is the likely cause.
    TimeoutConnectionLost => Unavailable, "etcdserver: request timed out, possibly due to connection lost";
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Status {}
