//! Members: contract, section 1.4.

use super::super::{MemberAction, MemberAttributes, MemberChange, bootstrap_entries};
use super::*;

fn change(machine: &mut Machine, id: u64, action: MemberAction) -> Result<Vec<u64>, Status> {
    let change = MemberChange { id: 1, node_id: NodeId(id), action };
    machine.apply(Command::ConfChange(change)).result.map(|response| match response {
        Response::MemberList(list) => list.members.iter().map(|member| member.id).collect(),
        other => panic!("{other:?}"),
    })
}

fn at(url: &str) -> MemberAttributes {
    MemberAttributes { peer_urls: vec![url.to_string()], ..MemberAttributes::default() }
}

#[test]
fn genesis_is_the_state_after_the_bootstrap_entries() {
    let founders = [member(2), member(1), member(3)];
    let mut applied = StateMachine::genesis(ClusterId(7), &[]);
    for entry in bootstrap_entries(ClusterId(7), &founders) {
        let command = Command::decode(entry.kind, &entry.data).unwrap();
        applied.apply(entry.index, &command).result.unwrap();
    }
    let genesis = StateMachine::genesis(ClusterId(7), &founders);
    assert_eq!(applied.digest(), genesis.digest());
    assert_eq!(genesis.digest(), genesis.recompute_digest());
    assert_eq!(genesis.view().members().map(|member| member.id).collect::<Vec<_>>(), [1, 2, 3]);
    assert_ne!(genesis.digest(), StateMachine::genesis(ClusterId(8), &founders).digest());
}

#[test]
fn members_join_and_leave_and_never_come_back() {
    let mut machine = Machine::new();
    assert_eq!(change(&mut machine, 4, MemberAction::AddVoter(at("http://x"))), Ok(vec![1, 2, 3, 4]));
    assert_eq!(change(&mut machine, 4, MemberAction::AddVoter(at("http://y"))), Err(Status::MemberExists));
    assert_eq!(change(&mut machine, 5, MemberAction::AddVoter(at("http://x"))), Err(Status::PeerUrlExists));
    assert_eq!(change(&mut machine, 4, MemberAction::Remove), Ok(vec![1, 2, 3]));
    assert_eq!(change(&mut machine, 4, MemberAction::Remove), Err(Status::MemberNotFound));
    assert_eq!(change(&mut machine, 4, MemberAction::AddVoter(at("http://z"))), Err(Status::MemberNotFound));
    assert_eq!(change(&mut machine, 5, MemberAction::AddVoter(at("http://x"))), Ok(vec![1, 2, 3, 5]));
}

#[test]
fn a_learner_is_promoted_once() {
    let mut machine = Machine::new();
    assert_eq!(change(&mut machine, 4, MemberAction::Promote), Err(Status::MemberNotFound));
    change(&mut machine, 4, MemberAction::AddLearner(at("http://x"))).unwrap();
    let is_learner = |machine: &Machine| machine.machine.view().members().any(|member| member.is_learner);
    assert!(is_learner(&machine));
    change(&mut machine, 4, MemberAction::Promote).unwrap();
    assert!(!is_learner(&machine));
    assert_eq!(change(&mut machine, 4, MemberAction::Promote), Err(Status::MemberNotLearner));
}

#[test]
fn peer_urls_are_updated_if_nobody_else_has_them() {
    let mut machine = Machine::new();
    let update = |url: &str| MemberAction::Update { peer_urls: vec![url.to_string()] };
    assert_eq!(change(&mut machine, 1, update("http://m2:2380")), Err(Status::PeerUrlExists));
    assert_eq!(change(&mut machine, 9, update("http://new")), Err(Status::MemberNotFound));
    change(&mut machine, 1, update("http://m1:2380")).unwrap();
    change(&mut machine, 1, update("http://new")).unwrap();
    assert_eq!(machine.machine.view().members().next().unwrap().peer_ur_ls, ["http://new"]);
}

#[test]
fn a_member_publishes_its_name_and_client_urls() {
    let mut machine = Machine::new();
    let attributes = pb::MemberAttributes { name: "new".into(), client_urls: vec!["http://c".into()] };
    for id in [2, 99] {
        let publish = pb::ClusterMemberAttrSetRequest { member_id: id, member_attributes: Some(attributes.clone()) };
        machine
            .request(pb::InternalRaftRequest { cluster_member_attr_set: Some(publish), ..Default::default() })
            .unwrap();
    }
    let Ok(Response::MemberList(list)) = machine.read(&ReadRequest::MemberList) else { panic!() };
    assert_eq!(revision(&list.header), 0, "responses about the cluster leave the revision unset");
    assert_eq!(list.members.len(), 3);
    assert_eq!((list.members[1].name.as_str(), &list.members[1].client_ur_ls[..]), ("new", &["http://c".into()][..]));
    assert_eq!(list.members[1].peer_ur_ls, ["http://m2:2380"]);
}
