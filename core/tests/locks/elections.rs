//! Elections (contract, section 1.7).

use bytes::Bytes;
use detcd_core::api::Status;
use detcd_core::locks::{Ask, Campaign, Conversation, Leader, Proclaim, Resign};
use detcd_core::proto::etcdserverpb as pb;
use detcd_core::proto::v3electionpb::{
    CampaignRequest, CampaignResponse, LeaderKey, LeaderRequest, LeaderResponse, ProclaimRequest, ProclaimResponse,
    ResignRequest, ResignResponse,
};
use detcd_core::types::LeaseId;

use super::locking::with_leases;
use super::world::{FIRST_DRAWN, Talk, World};

fn bytes(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

pub fn campaign(name: &str, lease: i64, value: &str) -> Talk<Campaign> {
    Talk::begin(Campaign::new(CampaignRequest { name: bytes(name), lease, value: bytes(value) }))
}

/// The campaign is won at once.
pub fn elected(world: &mut World, name: &str, lease: i64, value: &str) -> CampaignResponse {
    campaign(name, lease, value).go_on(world).expect("nobody is before it").clone().expect("elected")
}

pub fn proclaim(world: &mut World, leader: Option<LeaderKey>, value: &str) -> Result<ProclaimResponse, Status> {
    let mut talk = Talk::begin(Proclaim::new(ProclaimRequest { leader, value: bytes(value) }));
    *talk.go_on(world).expect("it never waits")
}

pub fn resign(world: &mut World, leader: Option<LeaderKey>) -> Result<ResignResponse, Status> {
    *Talk::begin(Resign::new(ResignRequest { leader })).go_on(world).expect("it never waits")
}

fn leader(world: &mut World, name: &str) -> Result<LeaderResponse, Status> {
    Talk::begin(Leader::new(LeaderRequest { name: bytes(name) })).go_on(world).expect("it never waits").clone()
}

fn revision(header: Option<pb::ResponseHeader>) -> i64 {
    header.expect("a header").revision
}

#[test]
fn the_winner_is_told_its_key_and_leads_with_its_value() {
    let mut world = with_leases(&[0x2a]);
    let done = elected(&mut world, "e", 0x2a, "v");
    assert_eq!(revision(done.header), 2);
    let expected = LeaderKey { name: bytes("e"), key: bytes("e/2a"), rev: 2, lease: 0x2a };
    assert_eq!(done.leader, Some(expected));
    world.put("other", "", 0);
    let told = leader(&mut world, "e").expect("somebody leads");
    let kv = told.kv.expect("a key");
    assert_eq!((kv.key, kv.value, kv.lease, kv.create_revision), (bytes("e/2a"), bytes("v"), 0x2a, 2));
    assert_eq!(revision(told.header), 3);
}

#[test]
fn a_candidate_without_a_lease_gets_one_of_a_minute() {
    let mut world = World::new();
    let done = elected(&mut world, "e", 0, "v");
    assert_eq!(done.leader.expect("a key").lease, FIRST_DRAWN);
    assert_eq!(world.view().lease_ttl_s(LeaseId(FIRST_DRAWN)), Some(60));
}

#[test]
fn candidates_are_elected_in_the_order_of_their_keys_and_their_headers_say_when_they_came() {
    let mut world = with_leases(&[1, 2]);
    let first = elected(&mut world, "e", 1, "a");
    let mut second = campaign("e", 2, "b");
    assert!(second.go_on(&mut world).is_none());
    let came = world.view().revision();
    world.put("other", "", 0);
    resign(&mut world, first.leader).expect("resigned");
    let done = second.go_on(&mut world).expect("its turn").clone().expect("elected");
    assert_eq!(revision(done.header), came);
    assert_eq!(done.leader.expect("a key").rev, came);
}

#[test]
fn a_leader_that_runs_again_stays_and_proclaims_what_it_says_now() {
    let mut world = with_leases(&[1]);
    let first = elected(&mut world, "e", 1, "a");
    let before = world.view().revision();
    assert_eq!(elected(&mut world, "e", 1, "a"), first, "nothing new");
    assert_eq!(world.view().revision(), before);
    let again = elected(&mut world, "e", 1, "b");
    assert_eq!(again.leader, first.leader);
    assert_eq!(revision(again.header), before, "that of its entry");
    assert_eq!(leader(&mut world, "e").expect("it leads").kv.expect("a key").value, "b");
}

#[test]
fn a_candidate_that_runs_again_says_something_else_and_waits_on() {
    let mut world = with_leases(&[1, 2]);
    let first = elected(&mut world, "e", 1, "a");
    assert!(campaign("e", 2, "b").go_on(&mut world).is_none());
    let mut again = campaign("e", 2, "c");
    assert!(again.go_on(&mut world).is_none());
    resign(&mut world, first.leader).expect("resigned");
    assert!(again.go_on(&mut world).expect("its turn").is_ok());
    assert_eq!(leader(&mut world, "e").expect("it leads").kv.expect("a key").value, "c");
}

#[test]
fn a_candidate_whose_key_goes_on_the_way_is_not_elected() {
    let mut world = with_leases(&[1, 2]);
    elected(&mut world, "e", 1, "a");
    let mut second = campaign("e", 2, "b");
    assert!(second.go_on(&mut world).is_none());
    let mut again = campaign("e", 2, "c");
    assert!(again.step(&mut world), "it finds its key");
    world.revoke(2);
    world.grant(2);
    assert_eq!(again.go_on(&mut world), Some(&Err(Status::NotElected)));
    assert_eq!(second.go_on(&mut world), Some(&Err(Status::NotElected)), "and so the one that waited");
    assert_eq!(world.keys(), ["e/1"]);
}

#[test]
fn a_proclamation_that_fails_on_the_way_ends_the_candidacy() {
    let mut world = with_leases(&[1, 2]);
    elected(&mut world, "e", 1, "a");
    assert!(campaign("e", 2, "b").go_on(&mut world).is_none());
    let mut again = campaign("e", 2, "c");
    assert!(again.step(&mut world), "it finds its key");
    again.fail(&mut world, false, Status::Timeout);
    assert_eq!(again.go_on(&mut world), Some(&Err(Status::Timeout)));
    assert_eq!(world.keys(), ["e/1"]);
}

#[test]
fn only_the_key_that_was_elected_may_proclaim() {
    let mut world = with_leases(&[1, 2]);
    let first = elected(&mut world, "e", 1, "a").leader;
    let done = proclaim(&mut world, first.clone(), "b").expect("it leads");
    assert_eq!(revision(done.header), world.view().revision());
    let kv = leader(&mut world, "e").expect("it leads").kv.expect("a key");
    assert_eq!((kv.value, kv.lease, kv.version), (bytes("b"), 1, 2));
    resign(&mut world, first.clone()).expect("resigned");
    assert_eq!(proclaim(&mut world, first.clone(), "c"), Err(Status::NotElected));
    // The same lease again is another key.
    elected(&mut world, "e", 1, "d");
    assert_eq!(proclaim(&mut world, first, "e"), Err(Status::NotElected));
    assert_eq!(leader(&mut world, "e").expect("it leads").kv.expect("a key").value, "d");
}

#[test]
fn a_proclamation_without_a_lease_gives_the_key_one_of_a_minute() {
    let mut world = with_leases(&[1]);
    let first = elected(&mut world, "e", 1, "a").leader.expect("a key");
    proclaim(&mut world, Some(LeaderKey { lease: 0, ..first }), "b").expect("it leads");
    let kv = leader(&mut world, "e").expect("it leads").kv.expect("a key");
    assert!(kv.lease >= FIRST_DRAWN, "{kv:?}");
    let mut fails =
        Talk::begin(Proclaim::new(ProclaimRequest { leader: Some(LeaderKey::default()), ..Default::default() }));
    fails.fail(&mut world, false, Status::NoLeader);
    assert_eq!(fails.outcome(), Some(&Err(Status::NoLeader)));
}

#[test]
fn who_resigns_without_leading_is_told_that_all_is_well() {
    let mut world = with_leases(&[1]);
    let first = elected(&mut world, "e", 1, "a").leader;
    assert_eq!(revision(resign(&mut world, first.clone()).expect("resigned").header), 3);
    assert_eq!(world.keys(), [""; 0]);
    let again = elected(&mut world, "e", 1, "b").leader;
    assert_eq!(revision(resign(&mut world, first).expect("all is well").header), 4);
    assert_eq!(world.keys(), ["e/1"]);
    assert_ne!(again, None);
}

#[test]
fn requests_about_no_leader_are_refused() {
    let mut world = with_leases(&[1]);
    assert_eq!(leader(&mut world, "e"), Err(Status::NobodyElected));
    assert_eq!(proclaim(&mut world, None, "v"), Err(Status::LeaderMissing));
    assert_eq!(resign(&mut world, None), Err(Status::LeaderMissing));
    let nameless = Some(LeaderKey { lease: 1, ..LeaderKey::default() });
    assert_eq!(proclaim(&mut world, nameless.clone(), "v"), Err(Status::EmptyKey));
    assert_eq!(resign(&mut world, nameless), Err(Status::EmptyKey));
    assert_eq!(campaign("e", 77, "v").go_on(&mut world), Some(&Err(Status::LeaseNotFound)));
}

#[test]
fn failures_of_the_store_are_passed_on() {
    let mut world = with_leases(&[1]);
    let mut leader = Talk::begin(Leader::new(LeaderRequest::default()));
    leader.fail(&mut world, false, Status::NoLeader);
    assert_eq!(leader.outcome(), Some(&Err(Status::NoLeader)));
    let mut resign = Talk::begin(Resign::new(ResignRequest { leader: Some(LeaderKey::default()) }));
    resign.fail(&mut world, false, Status::Timeout);
    assert_eq!(resign.outcome(), Some(&Err(Status::Timeout)));
    let mut talk = Talk::begin(Leader::new(LeaderRequest::default()));
    assert!(talk.conversation.watched(pb::WatchResponse::default()).is_none(), "it watches nothing");
    assert_eq!(talk.conversation.interrupted(Status::Stopped), Ask::Done(Err(Status::Stopped)));
}
