//! A map of which mostly the newest part is asked for.

use std::collections::VecDeque;

/// Values by keys that come about in order. What is asked for is looked for from the newest on: the cost grows with the
/// logarithm of its distance from there. Adding something far from the newest costs as much as there is behind it.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    limit: usize,
    /// By key, without doubles.
    known: VecDeque<(K, V)>,
}

impl<K: Copy + Ord, V> Recent<K, V> {
    /// Keeps the `limit` largest keys.
    pub(super) fn new(limit: usize) -> Recent<K, V> {
        Recent { limit, known: VecDeque::new() }
    }

    /// The largest key and its value.
    pub(super) fn newest(&self) -> Option<&(K, V)> {
        self.known.back()
    }

    /// The value of `key`, which is `now` if it had none. `None` if there is no room for a key so old.
    pub(super) fn get_or_insert(&mut self, key: K, now: V) -> Option<&mut V> {
        if self.newest().is_none_or(|(newest, _)| *newest < key) {
            if self.known.len() == self.limit {
                self.known.pop_front();
            }
            self.known.push_back((key, now));
            return self.known.back_mut().map(|(_, value)| value);
        }
        let mut place = self.place(key);
        if self.known.get(place).is_none_or(|(found, _)| *found != key) {
            if self.known.len() == self.limit {
                place = place.checked_sub(1)?;
                self.known.pop_front();
            }
            self.known.insert(place, (key, now));
        }
        self.known.get_mut(place).map(|(_, value)| value)
    }

    /// The same, with a guess how many keys are larger: if it is right, nothing is looked for.
    pub(super) fn get_or_insert_near(&mut self, key: K, larger: u64, now: V) -> Option<&mut V> {
        let place =
            usize::try_from(larger).ok().and_then(|larger| self.known.len().checked_sub(larger)?.checked_sub(1));
        match place {
            Some(place) if self.known[place].0 == key => self.known.get_mut(place).map(|(_, value)| value),
            _ => self.get_or_insert(key, now),
        }
    }

    /// The value of the largest key that is not after `key`.
    pub(super) fn at_or_before(&self, key: K) -> Option<&V> {
        let place = self.place(key);
        match self.known.get(place) {
            Some((found, value)) if *found == key => Some(value),
            _ => self.known.get(place.checked_sub(1)?).map(|(_, value)| value),
        }
    }

    /// The value of the smallest key that is not before `key`.
    pub(super) fn at_or_after(&self, key: K) -> Option<&V> {
        self.known.get(self.place(key)).map(|(_, value)| value)
    }

    /// Forgets the keys that are not as asked for.
    pub(super) fn retain(&mut self, mut is_kept: impl FnMut(K) -> bool) {
        self.known.retain(|(key, _)| is_kept(*key));
    }

    /// Where the first key stands that is not before `key`.
    fn place(&self, key: K) -> usize {
        let mut end = self.known.len();
        let mut stride = 1;
        // Everything from `end` on is not before the key.
        while let Some(probe) = end.checked_sub(stride) {
            if self.known[probe].0 < key {
                break;
            }
            end = probe;
            stride *= 2;
        }
        let mut start = end.saturating_sub(stride);
        while start < end {
            let middle = start.midpoint(end);
            if self.known[middle].0 < key {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_is_too_old_finds_no_room_and_a_new_one_pushes_out_the_oldest() {
        let mut recent = Recent::new(2);
        assert_eq!(recent.get_or_insert(5, 'a'), Some(&mut 'a'));
        assert_eq!(recent.get_or_insert(7, 'b'), Some(&mut 'b'));
        assert_eq!(recent.get_or_insert(4, 'c'), None);
        assert_eq!(recent.get_or_insert(6, 'd'), Some(&mut 'd'));
        assert_eq!((recent.at_or_after(0), recent.newest()), (Some(&'d'), Some(&(7, 'b'))));
        assert_eq!(recent.get_or_insert(6, 'e'), Some(&mut 'd'), "the first that was said stays");
    }

    proptest! {
        #[test]
        fn it_answers_as_a_map_does(
            keys in prop::collection::vec(0..200u32, 0..120),
            asked in 0..210u32,
            gone in 0..200u32,
        ) {
            let mut recent = Recent::new(usize::MAX);
            let mut map = BTreeMap::new();
            for key in keys {
                let larger = u64::from(key) % 7;
                let theirs = *map.entry(key).or_insert(key * 10);
                prop_assert_eq!(recent.get_or_insert_near(key, larger, key * 10).copied(), Some(theirs));
                prop_assert_eq!(recent.get_or_insert(key, 0).copied(), Some(theirs));
            }
            recent.retain(|key| key != gone);
            map.remove(&gone);
            prop_assert_eq!(recent.newest().copied(), map.last_key_value().map(|(key, value)| (*key, *value)));
            prop_assert_eq!(recent.at_or_before(asked), map.range(..=asked).next_back().map(|(_, value)| value));
            prop_assert_eq!(recent.at_or_after(asked), map.range(asked..).next().map(|(_, value)| value));
        }
    }
}
