//! The Lock and Election services of three real members, over gRPC (contract, section 1.7).

mod as_etcd;
mod client;
mod elections;
mod errors;
mod headers;
mod leaving;
mod locking;
