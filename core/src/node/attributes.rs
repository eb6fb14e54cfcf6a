//! A member publishes its name and client URLs through the log, as etcd's members do.

use super::member::Member;
use super::own_proposal::OwnProposal;
use crate::effect::Outputs;
use crate::proto::etcdserverpb as etcd;
use crate::types::NodeId;

/// What is known of this member's publishing.
#[derive(Default)]
pub(super) struct Attributes {
    /// Published, as far as this member has applied.
    done: bool,
    proposal: OwnProposal,
}

impl Member {
    /// Publishes the name and client URLs if the state does not have them, again if that takes too long.
    pub(super) fn publish_attributes(&mut self, out: &mut Outputs) {
        if self.attributes.done || self.stopping.is_some() {
            return;
        }
        let wanted = self.own_attributes();
        let known = self.state.as_view().members().find(|member| member.id == self.config.node_id.0);
        let Some(known) = known else { return };
        if known.name == wanted.name && known.client_ur_ls == wanted.client_urls {
            self.attributes.done = true;
            return;
        }
        let (_, _, leader) = self.consensus.standing();
        if leader == NodeId(0) || self.is_under_way(self.attributes.proposal) {
            return;
        }
        let entry = etcd::InternalRaftRequest {
            cluster_member_attr_set: Some(etcd::ClusterMemberAttrSetRequest {
                member_id: self.config.node_id.0,
                member_attributes: Some(wanted),
            }),
            ..Default::default()
        };
        self.attributes.proposal = self.propose_own(self.attributes.proposal, entry, out);
    }

    fn own_attributes(&self) -> etcd::MemberAttributes {
        let own = self.config.members.iter().find(|member| member.id == self.config.node_id);
        etcd::MemberAttributes {
            name: own.map(|member| member.name.clone()).unwrap_or_default(),
            client_urls: self.config.client_urls.clone(),
        }
    }
}
