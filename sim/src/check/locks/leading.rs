//! What election services tell of leaders (contract, section 1.7), who are owners: the key that leads is the one that
//! owns the lock.
//!
//! Rules:
//! * **Leader.** The answer is the leader as it was at the revision of the answer's header, and that was not over
//!   before somebody asked. That nobody leads was so at some time between question and answer.
//! * **Observe.** Each leader that is told led, in this state, at some revision up to that of the header; what is told
//!   first was not over before somebody asked. One leader is told after the other in the order of their elections, and
//!   of each all that it proclaims after the first state that is told, in order. Leaders who came and went before their
//!   predecessor's end was noticed may be left out (etcd's own observers leave them out), and so may what is proclaimed
//!   when a compaction overtakes the observer's watcher, which then looks again.
//! * When everything is quiet, who observes knows the leader.

use std::collections::{BTreeMap, VecDeque};

use detcd_core::proto::mvccpb::KeyValue;
use detcd_core::proto::mvccpb::event::EventType;
use detcd_core::proto::v3electionpb::LeaderResponse;
use detcd_core::types::Revision;

use crate::check::model::show;
use crate::history::{ClientId, Nanos};

/// How many states of leaders are remembered: as many as may be news to somebody.
const STATES_MAX: usize = 10_000;

/// A leader's key, or that there is none, from a revision on.
#[derive(Debug)]
struct State {
    from: Revision,
    at: Nanos,
    leader: Option<KeyValue>,
}

/// Who led when, and who was told so.
#[derive(Debug, Default)]
pub(super) struct Leading {
    /// The keys by their create revisions.
    contenders: BTreeMap<Revision, KeyValue>,
    /// The states in order, the newest last.
    states: VecDeque<State>,
    /// Older states were forgotten.
    is_cut: bool,
    /// When who looks on asked, and the create and the mod revision of what it was told last.
    lookers: BTreeMap<ClientId, (Nanos, Option<(Revision, Revision)>)>,
}

impl Leading {
    /// A key below the lock was written or deleted.
    pub fn changes(&mut self, at: Nanos, revision: Revision, what: EventType, kv: &KeyValue) {
        match what {
            EventType::Put => drop(self.contenders.insert(kv.create_revision, kv.clone())),
            EventType::Delete => self.contenders.retain(|_, contender| contender.key != kv.key),
        }
        let leader = self.contenders.first_key_value().map(|(_, kv)| kv);
        if self.states.back().and_then(|state| state.leader.as_ref()) == leader {
            return;
        }
        self.states.push_back(State { from: revision, at, leader: leader.cloned() });
        if self.states.len() > STATES_MAX {
            self.states.pop_front();
            self.is_cut = true;
        }
    }

    /// Somebody asks for the leader, or to be told of leaders.
    pub fn asks(&mut self, at: Nanos, who: ClientId) {
        self.lookers.insert(who, (at, None));
    }

    /// Who asked is told of the leader, or that there is none.
    ///
    /// # Errors
    /// Why that is wrong.
    pub fn answered(&mut self, at: Nanos, who: ClientId, leader: Option<&LeaderResponse>) -> Result<(), String> {
        let asked = self.lookers.remove(&who).map_or(at, |(asked, _)| asked);
        match leader {
            Some(response) => self.judge_answer(asked, response),
            None => self.judge_vacancy(asked),
        }
    }

    /// Who observes is told of a leader; `compacted` is what is compacted by now.
    ///
    /// # Errors
    /// Why that is wrong.
    pub fn observed(&mut self, who: ClientId, leader: &LeaderResponse, compacted: Revision) -> Result<(), String> {
        let (revision, kv) = parts_of(leader)?;
        let state = self.states.iter().rposition(|state| state.leader.as_ref() == Some(kv));
        match state.map(|place| self.states[place].from) {
            Some(from) if from > revision => {
                return Err(format!("it is told at revision {revision} of {}, who leads from {from} on", describe(kv)));
            }
            None if !self.is_cut => return Err(format!("it is told of {}, who never led", describe(kv))),
            Some(_) | None => {}
        }
        let Some((asked, last)) = self.lookers.get_mut(&who) else { return Ok(()) };
        match (last.replace((kv.create_revision, kv.mod_revision)), *asked) {
            (Some(before), _) => self.judge_missed(before, kv, compacted),
            (None, asked) => self.judge_age(state, asked, kv),
        }
    }

    /// Of what one leader proclaims after what is told, nothing is left out.
    fn judge_missed(&self, before: (Revision, Revision), kv: &KeyValue, compacted: Revision) -> Result<(), String> {
        let this = (kv.create_revision, kv.mod_revision);
        if before >= this {
            return Err(format!("it is told of {} after {} {}", describe(kv), before.0, before.1));
        }
        let is_between = |kv: &&KeyValue| {
            let state = (kv.create_revision, kv.mod_revision);
            kv.create_revision == before.0 && state > before && state < this
        };
        let missed = self.states.iter().filter_map(|state| state.leader.as_ref()).find(is_between);
        match missed.filter(|_| compacted <= before.1) {
            Some(missed) => Err(format!("it is told of {}, and never was of {}", describe(kv), describe(missed))),
            None => Ok(()),
        }
    }

    /// The state at this place did not end before somebody asked: everything that was told to anybody by then is known
    /// to whoever answers.
    fn judge_age(&self, place: Option<usize>, asked: Nanos, kv: &KeyValue) -> Result<(), String> {
        match place.and_then(|place| self.states.get(place + 1)) {
            Some(next) if next.at < asked => {
                let ms = (asked - next.at) / 1_000_000;
                Err(format!("it is told of {}, which was over {ms} ms before it asked", describe(kv)))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn judge_vacancy(&self, asked: Nanos) -> Result<(), String> {
        // A state lasts until the next one begins; before the first one, nobody leads.
        let mut until_now = self.states.iter().rev();
        let mut was_vacant = self.states.front().is_none_or(|first| first.at >= asked);
        while let Some(state) = until_now.next()
            && !was_vacant
        {
            was_vacant = state.leader.is_none();
            if state.at < asked {
                break;
            }
        }
        if was_vacant || self.is_cut {
            Ok(())
        } else {
            Err("it is told that nobody leads, and somebody always did".into())
        }
    }

    fn judge_answer(&self, asked: Nanos, response: &LeaderResponse) -> Result<(), String> {
        let (revision, kv) = parts_of(response)?;
        let place = self.states.iter().rposition(|state| state.from <= revision);
        let leader = place.and_then(|place| self.states[place].leader.as_ref());
        if leader == Some(kv) || (place.is_none() && self.is_cut) {
            return self.judge_age(place, asked, kv);
        }
        let leader = leader.map_or("nobody".into(), describe);
        Err(format!("it is told that {} leads at revision {revision}, where {leader} does", describe(kv)))
    }

    /// Everything is quiet, and it still observes: what is older than `settle` it has to know.
    ///
    /// # Errors
    /// What it does not know.
    pub fn knows(&self, at: Nanos, who: ClientId, settle: Nanos) -> Result<(), String> {
        let Some(State { leader: Some(kv), at: since, .. }) = self.states.back() else { return Ok(()) };
        let told = self.lookers.get(&who).and_then(|(_, told)| *told);
        if told == Some((kv.create_revision, kv.mod_revision)) || at < since + settle {
            return Ok(());
        }
        Err(format!("it has not been told of {}, who has led since {} ms", describe(kv), since / 1_000_000))
    }
}

fn parts_of(response: &LeaderResponse) -> Result<(Revision, &KeyValue), String> {
    let header = response.header.as_ref().ok_or("an answer has no header")?;
    Ok((header.revision, response.kv.as_ref().ok_or("an answer has no key")?))
}

fn describe(kv: &KeyValue) -> String {
    format!("{} of revision {}, written at {}", show(&kv.key), kv.create_revision, kv.mod_revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use detcd_core::proto::etcdserverpb::ResponseHeader;

    const MS: Nanos = 1_000_000;
    const WHO: ClientId = ClientId(7);
    const SETTLE: Nanos = 2_500 * MS;

    fn kv(key: &str, created: Revision, written: Revision) -> KeyValue {
        KeyValue { key: key.to_owned().into(), create_revision: created, mod_revision: written, ..KeyValue::default() }
    }

    /// `a` enters at 2 and proclaims at 4 and 5, `b` enters at 3; `a` resigns at 6, and `b` at 7, each 10 s after the
    /// other.
    fn two_lead() -> Leading {
        let mut leading = Leading::default();
        let puts = [kv("a", 2, 2), kv("b", 3, 3), kv("a", 2, 4), kv("a", 2, 5)];
        for (revision, kv) in (2..).zip(puts) {
            leading.changes(at(revision), revision, EventType::Put, &kv);
        }
        leading.changes(at(6), 6, EventType::Delete, &kv("a", 0, 6));
        leading.changes(at(7), 7, EventType::Delete, &kv("b", 0, 7));
        leading
    }

    fn at(revision: Revision) -> Nanos {
        revision.unsigned_abs() * 10_000 * MS
    }

    fn response(revision: Revision, kv: KeyValue) -> LeaderResponse {
        let header = Some(ResponseHeader { revision, ..ResponseHeader::default() });
        LeaderResponse { header, kv: Some(kv) }
    }

    /// What an observer is told, each at the revision of the header; `compacted` is compacted then.
    fn observed(compacted: Revision, told: &[(Revision, KeyValue)]) -> Result<(), String> {
        let mut leading = two_lead();
        leading.asks(0, WHO);
        told.iter().try_for_each(|(revision, kv)| {
            let response = response(*revision, kv.clone());
            leading.observed(WHO, &response, compacted)
        })
    }

    #[test]
    fn an_answer_is_the_leader_of_its_revision() {
        let told = |revision, kv| {
            let response = response(revision, kv);
            let mut leading = two_lead();
            leading.asks(at(2), WHO);
            leading.answered(at(9), WHO, Some(&response))
        };
        assert_eq!(told(2, kv("a", 2, 2)), Ok(()));
        assert_eq!(told(3, kv("a", 2, 2)), Ok(()), "who enters later does not lead");
        assert_eq!(told(5, kv("a", 2, 5)), Ok(()));
        assert_eq!(told(6, kv("b", 3, 3)), Ok(()));
        for (revision, wrong) in [(5, kv("a", 2, 4)), (6, kv("a", 2, 5)), (3, kv("b", 3, 3)), (7, kv("b", 3, 3))] {
            assert!(told(revision, wrong).expect_err("wrong").contains("it is told that"), "at {revision}");
        }
    }

    #[test]
    fn what_was_over_before_the_question_is_no_answer_and_no_first_word() {
        let told = |asked| {
            let mut leading = two_lead();
            leading.asks(asked, WHO);
            let response = response(5, kv("a", 2, 5));
            (leading.observed(WHO, &response, 0), leading.answered(at(9), WHO, Some(&response)))
        };
        assert_eq!(told(at(6)), (Ok(()), Ok(())), "it may have been so");
        let (observed, answered) = told(at(6) + 2 * MS);
        for error in [observed.expect_err("b leads"), answered.expect_err("b leads")] {
            assert!(error.contains("written at 5, which was over 2 ms before it asked"), "{error}");
        }
    }

    #[test]
    fn that_nobody_leads_was_so_between_question_and_answer() {
        let told = |asked| {
            let mut leading = two_lead();
            leading.asks(asked, WHO);
            leading.answered(at(9), WHO, None)
        };
        assert_eq!((told(at(8)), told(at(3))), (Ok(()), Ok(())), "nobody leads from 7 on");
        let mut leading = two_lead();
        leading.changes(at(8), 8, EventType::Put, &kv("c", 8, 8));
        let mut told = |asked| {
            leading.asks(asked, WHO);
            leading.answered(at(9), WHO, None)
        };
        assert_eq!((told(at(7) + 1), told(0)), (Ok(()), Ok(())), "and did not until 8, nor before 2");
        assert!(told(at(8) + 1).expect_err("c leads").contains("nobody leads, and somebody always did"));
    }

    #[test]
    fn an_observer_is_told_of_all_that_a_leader_proclaims_and_of_later_leaders() {
        let all = [(2, kv("a", 2, 2)), (4, kv("a", 2, 4)), (9, kv("a", 2, 5)), (6, kv("b", 3, 3))];
        assert_eq!(observed(0, &all), Ok(()));
        assert_eq!(observed(0, &all[1..]), Ok(()), "it may come late");
        assert_eq!(observed(0, &all[3..]), Ok(()), "even for the next leader");
        let [first, _, third, next] = all.clone();
        let missed = |compacted| observed(compacted, &[first.clone(), third.clone()]);
        assert!(missed(2).expect_err("4").contains("never was of \"a\" of revision 2, written at 4"));
        assert_eq!(missed(3), Ok(()), "its watcher was overtaken by a compaction");
        assert!(observed(0, &[first, next]).expect_err("4 and 5").contains("never was of"));
    }

    #[test]
    fn an_observer_is_told_of_nobody_too_early_twice_or_in_another_order() {
        let error = |told: &[(Revision, KeyValue)]| observed(0, told).expect_err("wrong");
        assert!(error(&[(5, kv("b", 3, 3))]).contains("leads from 6 on"));
        assert!(error(&[(9, kv("b", 3, 4))]).contains("never led"));
        assert!(error(&[(4, kv("a", 2, 4)), (4, kv("a", 2, 4))]).contains("after 2 4"));
        assert!(error(&[(6, kv("b", 3, 3)), (9, kv("a", 2, 5))]).contains("after 3 3"));
    }

    #[test]
    fn who_observes_while_everything_is_quiet_knows_the_leader() {
        let mut leading = two_lead();
        leading.asks(0, WHO);
        assert_eq!(leading.knows(at(9), WHO, SETTLE), Ok(()), "nobody leads");
        leading.changes(at(9), 8, EventType::Put, &kv("c", 8, 8));
        assert_eq!(leading.knows(at(9) + 2_499 * MS, WHO, SETTLE), Ok(()), "that is news");
        let knows = |leading: &Leading| leading.knows(at(9) + 2_500 * MS, WHO, SETTLE);
        assert!(knows(&leading).expect_err("c leads").contains("has not been told of \"c\""));
        leading.observed(WHO, &response(8, kv("c", 8, 8)), 0).expect("right");
        assert_eq!(knows(&leading), Ok(()));
    }
}
