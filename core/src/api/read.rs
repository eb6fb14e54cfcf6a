//! Executing a read on a view: pure, on whatever thread.

use super::{ReadRequest, Response, Status};
use crate::proto::etcdserverpb::ResponseHeader;
use crate::state_machine::StoreView;

/// Executes `request` on `view`.
///
/// `header` names cluster, member and term; the revision is the view's.
pub fn execute(_view: &StoreView, _request: &ReadRequest, _header: ResponseHeader) -> Result<Response, Status> {
    Err(Status::Stopped)
}
