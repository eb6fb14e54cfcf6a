//! Ids of members and clusters, computed as etcd computes them (contract, section 1.4).

use detcd_core::types::{ClusterId, NodeId};
use sha1::{Digest, Sha1};

/// The id of a founding member: the first eight bytes, big endian, of the SHA-1 of its peer URLs, sorted and joined,
/// and the cluster token.
///
/// The order in which the URLs are given does not matter, and neither does the member's name.
pub fn member_id<'a>(peer_urls: impl IntoIterator<Item = &'a str>, cluster_token: &str) -> NodeId {
    let mut urls: Vec<&str> = peer_urls.into_iter().collect();
    urls.sort_unstable();
    let mut sha = Sha1::new();
    for url in urls {
        sha.update(url.as_bytes());
    }
    sha.update(cluster_token.as_bytes());
    NodeId(first_eight(sha))
}

/// The id of a cluster: the first eight bytes, big endian, of the SHA-1 of its founders' ids, sorted, eight bytes big
/// endian each.
pub fn cluster_id(members: impl IntoIterator<Item = NodeId>) -> ClusterId {
    let mut ids: Vec<NodeId> = members.into_iter().collect();
    ids.sort_unstable();
    let mut sha = Sha1::new();
    for id in ids {
        sha.update(id.0.to_be_bytes());
    }
    ClusterId(first_eight(sha))
}

fn first_eight(sha: Sha1) -> u64 {
    let digest = sha.finalize();
    digest.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    // The expected ids of the first three are those of etcd's own test of its member ids (membership, member_test.go).

    #[test]
    fn member_ids_are_etcds() {
        assert_eq!(member_id(["http://10.0.0.8:2379"], ""), NodeId(14544069596553697298));
        // With the time that MemberAdd mixes in, the token's bytes are followed by the seconds.
        assert_eq!(member_id(["http://10.0.0.8:2379"], "472662245"), NodeId(2448790162483548276));
        assert_eq!(member_id(["http://10.0.0.8:2379"], "etcd472662245"), NodeId(6973882743191604649));
    }

    #[test]
    fn the_order_of_peer_urls_does_not_matter() {
        let expected = NodeId(16552244735972308939);
        assert_eq!(member_id(["http://10.0.0.1:2379", "http://10.0.0.2:2379"], ""), expected);
        assert_eq!(member_id(["http://10.0.0.2:2379", "http://10.0.0.1:2379"], ""), expected);
    }

    #[test]
    fn a_member_with_etcds_defaults_has_the_ids_that_every_etcd_prints() {
        let member = member_id(["http://localhost:2380"], "etcd-cluster");
        assert_eq!(member.to_string(), "8e9e05c52164694d");
        assert_eq!(cluster_id([member]).to_string(), "cdf818194e3a8c32");
    }

    #[test]
    fn the_order_of_members_does_not_matter_and_their_number_does() {
        let [a, b] = [NodeId(1), NodeId(2)];
        assert_eq!(cluster_id([a, b]), cluster_id([b, a]));
        assert_ne!(cluster_id([a, b]), cluster_id([a]));
    }
}
