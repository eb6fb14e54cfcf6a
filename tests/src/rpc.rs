//! gRPC clients of etcd's services, generated; the messages are those of [`detcd_core::proto`].

#![allow(missing_docs, reason = "generated; the .proto files carry the comments")]
#![allow(clippy::all, reason = "generated")]

tonic::include_proto!("etcdserverpb");
tonic::include_proto!("v3lockpb");
tonic::include_proto!("v3electionpb");
