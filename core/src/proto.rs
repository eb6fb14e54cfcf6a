//! The messages of `core/proto`, generated: etcd's own packages, and ours between members.

#![allow(missing_docs, reason = "generated; the .proto files carry the comments")]
#![allow(clippy::all, reason = "generated")]

pub mod mvccpb {
    include!(concat!(env!("OUT_DIR"), "/mvccpb.rs"));
}

pub mod etcdserverpb {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

pub mod v3lockpb {
    include!(concat!(env!("OUT_DIR"), "/v3lockpb.rs"));
}

pub mod v3electionpb {
    include!(concat!(env!("OUT_DIR"), "/v3electionpb.rs"));
}

pub mod raftpb {
    include!(concat!(env!("OUT_DIR"), "/raftpb.rs"));
}

pub mod detcdpeer {
    include!(concat!(env!("OUT_DIR"), "/detcdpeer.rs"));
}
