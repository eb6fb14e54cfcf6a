//! The disk operations of one life of a node, numbered in the order in which they are issued.

use crate::effect::{DiskAction, Effect, Outputs};
use crate::types::DiskOp;

/// Numbers disk actions and keeps them until the node hands them out.
#[derive(Debug, Default)]
pub struct DiskQueue {
    last: u64,
    issued: Vec<(DiskOp, DiskAction)>,
}

impl DiskQueue {
    /// Issues an action and names it; its `DiskDone` will carry the same name.
    pub fn issue(&mut self, action: DiskAction) -> DiskOp {
        self.last += 1;
        let op = DiskOp(self.last);
        self.issued.push((op, action));
        op
    }

    /// Moves everything issued since the last call to `out`, in order.
    pub fn drain(&mut self, out: &mut Outputs) {
        if self.issued.is_empty() {
            return;
        }
        out.effects.extend(self.issued.drain(..).map(|(op, action)| Effect::Disk { op, action }));
    }
}
