//! Hosts that do not do what they say: each has to be noticed, or the checkers would notice nothing here.

use detcd::inbox::Answer;
use detcd_core::api::{Request, Response, read};
use detcd_core::proto::etcdserverpb as pb;

use crate::member::{Answered, Asked, Door};

/// What a host does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Its disk says that a sync is done, and forgets at a loss of power what it never wrote.
    SyncForgotten,
    /// Some puts are acknowledged and never handed to the node.
    PutDropped,
    /// Reads are executed on what the node shows when they are asked, and not on the view that comes with the answer.
    ViewTooEarly,
}

impl Lie {
    /// Answers a client as a host with this fault does.
    pub async fn answer(self, door: &Door, asked: Asked) -> Answered {
        match (self, &asked.request) {
            (Lie::PutDropped, Request::Put(put)) if put.lease == 0 && put.value.ends_with(b"7") => {
                let (status, view) = (*door.published.status().borrow(), door.published.view());
                let header = pb::ResponseHeader {
                    cluster_id: view.cluster_id().0,
                    member_id: door.member_id,
                    revision: view.revision() + 1,
                    raft_term: status.term.0,
                };
                Ok(Response::Put(pb::PutResponse { header: Some(header), prev_kv: None }))
            }
            (Lie::ViewTooEarly, _) => {
                let early = door.published.view();
                match door.ask(asked).await? {
                    Answer::Reply(result) => result,
                    Answer::Read { request, header, .. } => read::execute(&early, &request, header),
                }
            }
            _ => door.call(asked).await,
        }
    }
}
