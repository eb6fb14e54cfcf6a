//! The versions that detcd reports (contract, sections 0 and 3): clients and Kubernetes parse them.

/// The server's version.
pub const SERVER: &str = "3.7.1";
/// The version of the cluster's protocol.
pub const CLUSTER: &str = "3.7.0";
/// The version of the stored data.
pub const STORAGE: &str = "3.7.0";
