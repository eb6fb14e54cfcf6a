//! Locks.

use detcd_core::locks;
use detcd_core::proto::v3lockpb as pb;
use tonic::{Response, Status};

use super::Services;
use crate::rpc::lock_server::Lock;

#[tonic::async_trait]
impl Lock for Services {
    async fn lock(&self, request: tonic::Request<pb::LockRequest>) -> Result<Response<pb::LockResponse>, Status> {
        self.converse(request, |request| locks::Lock::new(&request)).await
    }

    async fn unlock(&self, request: tonic::Request<pb::UnlockRequest>) -> Result<Response<pb::UnlockResponse>, Status> {
        self.converse(request, locks::Unlock::new).await
    }
}
