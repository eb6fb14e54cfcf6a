//! The members of the cluster as clients see them (contract, section 1.4).

use im::{OrdMap, OrdSet};

use super::command::{MemberAction, MemberChange};
use crate::api::Status;
use crate::config::Member;
use crate::digest::Digest;
use crate::proto::etcdserverpb as pb;
use crate::types::NodeId;

/// Who belongs to the cluster, and who never may again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Members {
    members: OrdMap<NodeId, pb::Member>,
    removed: OrdSet<NodeId>,
    contents: Digest,
}

impl Members {
    pub(crate) fn founded_by(founders: &[Member]) -> Members {
        let mut members = Members::default();
        for founder in founders {
            members.set(pb::Member {
                id: founder.id.0,
                name: founder.name.clone(),
                peer_ur_ls: founder.peer_urls.clone(),
                ..pb::Member::default()
            });
        }
        members
    }

    /// Checks a change and makes it; on an error nothing is changed, and the Raft configuration must not be either.
    pub(crate) fn apply(&mut self, change: &MemberChange) -> Result<(), Status> {
        let id = change.node_id;
        if self.removed.contains(&id) {
            return Err(Status::MemberNotFound);
        }
        match &change.action {
            MemberAction::AddVoter(attributes) | MemberAction::AddLearner(attributes) => {
                if self.members.contains_key(&id) {
                    return Err(Status::MemberExists);
                }
                self.check_peer_urls(id, &attributes.peer_urls)?;
                self.set(pb::Member {
                    id: id.0,
                    name: attributes.name.clone(),
                    peer_ur_ls: attributes.peer_urls.clone(),
                    client_ur_ls: attributes.client_urls.clone(),
                    is_learner: matches!(change.action, MemberAction::AddLearner(_)),
                });
            }
            MemberAction::Promote => {
                let member = self.members.get(&id).ok_or(Status::MemberNotFound)?;
                if !member.is_learner {
                    return Err(Status::MemberNotLearner);
                }
                self.set(pb::Member { is_learner: false, ..member.clone() });
            }
            MemberAction::Remove => {
                let member = self.members.remove(&id).ok_or(Status::MemberNotFound)?;
                self.contents = self.contents.without(member_digest(&member)).with(removed_digest(id));
                self.removed.insert(id);
            }
            MemberAction::Update { peer_urls } => {
                let member = self.members.get(&id).ok_or(Status::MemberNotFound)?.clone();
                self.check_peer_urls(id, peer_urls)?;
                self.set(pb::Member { peer_ur_ls: peer_urls.clone(), ..member });
            }
        }
        Ok(())
    }

    /// A member published its name and client URLs. One that is unknown, or was removed, has nothing to publish.
    pub(crate) fn publish(&mut self, id: NodeId, attributes: &pb::MemberAttributes) {
        if let Some(member) = self.members.get(&id) {
            self.set(pb::Member {
                name: attributes.name.clone(),
                client_ur_ls: attributes.client_urls.clone(),
                ..member.clone()
            });
        }
    }

    fn check_peer_urls(&self, id: NodeId, peer_urls: &[String]) -> Result<(), Status> {
        let mut others = self.members.values().filter(|member| member.id != id.0);
        let taken = others.any(|member| member.peer_ur_ls.iter().any(|url| peer_urls.contains(url)));
        if taken { Err(Status::PeerUrlExists) } else { Ok(()) }
    }

    /// Puts a member in, in place of the one with its id.
    pub(crate) fn set(&mut self, member: pb::Member) {
        let added = member_digest(&member);
        if let Some(former) = self.members.insert(NodeId(member.id), member) {
            self.contents = self.contents.without(member_digest(&former));
        }
        self.contents = self.contents.with(added);
    }

    /// Marks an id as never to be used again.
    pub(crate) fn set_removed(&mut self, id: NodeId) {
        if self.removed.insert(id).is_none() {
            self.contents = self.contents.with(removed_digest(id));
        }
    }

    /// All members, by id.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &pb::Member> {
        self.members.values()
    }

    /// All ids that were removed, in order.
    pub(crate) fn removed(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.removed.iter().copied()
    }

    pub(crate) fn digest(&self) -> Digest {
        self.contents
    }

    pub(crate) fn recompute_digest(&self) -> Digest {
        let members = self.members.values().map(member_digest);
        let removed = self.removed.iter().map(|id| removed_digest(*id));
        members.chain(removed).fold(Digest::default(), Digest::with)
    }
}

fn member_digest(member: &pb::Member) -> Digest {
    let mut bytes = b"mem1".to_vec();
    prost::Message::encode(member, &mut bytes).expect("a vector has room");
    Digest::of(&bytes)
}

fn removed_digest(id: NodeId) -> Digest {
    let mut bytes = [0u8; 12];
    bytes[0..4].copy_from_slice(b"rem1");
    bytes[4..12].copy_from_slice(&id.0.to_le_bytes());
    Digest::of(&bytes)
}
