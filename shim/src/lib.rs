//! detcd as a real cluster member.
//!
//! One thread owns a [`detcd_core::Node`] and does nothing but step it and hand out what it asks for; this crate adds
//! bytes, threads, files and sockets around it, and decides nothing that the node could decide.
//!
//! What this crate does *not* know: Raft, revisions, leases, the layout of the data directory's files.

mod calls;
pub mod config;
pub mod disk;
pub mod driver;
mod durations;
pub mod flags;
mod grpc;
pub mod host;
mod http;
pub mod ids;
pub mod inbox;
pub mod log_format;
pub mod member;
mod peers;
#[cfg(test)]
mod played;
mod real_body;
mod serve;
pub mod urls;
pub mod version;

pub use driver::{End, Published};

pub mod rpc {
    //! The gRPC services of the client contract, generated; their messages are [`detcd_core::proto`]'s.
    #![allow(missing_docs, reason = "generated; the .proto files carry the comments")]
    #![allow(clippy::all, reason = "generated")]
    tonic::include_proto!("etcdserverpb");
    tonic::include_proto!("v3lockpb");
    tonic::include_proto!("v3electionpb");
}
