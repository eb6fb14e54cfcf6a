//! A map of things that come and go about in the order of their numbers.

use std::collections::VecDeque;

/// What things are ordered by.
pub(crate) trait Number: Copy + Ord {
    /// How many places behind that of `first` this one is if all numbers follow each other; any if they never do.
    fn places_behind(self, first: Self) -> usize;
}

impl Number for u64 {
    fn places_behind(self, first: u64) -> usize {
        usize::try_from(self.wrapping_sub(first)).unwrap_or(usize::MAX)
    }
}

/// Times, terms and the like do not follow each other; what goes is often the first.
impl<A: Copy + Ord, B: Copy + Ord> Number for (A, B) {
    fn places_behind(self, _first: (A, B)) -> usize {
        0
    }
}

/// Things by number. It is quick if new numbers are larger than those before, and if what came first goes first;
/// whatever else happens, it takes no more room than twice what is in it, and a search no longer than a binary one. A
/// number that comes late has those after it moved.
#[derive(Debug)]
pub(crate) struct InOrder<T, N = u64> {
    /// By ascending number. What was taken out leaves its place empty; neither the first nor more than half are.
    places: VecDeque<(N, Option<T>)>,
    len: usize,
}

impl<T, N> Default for InOrder<T, N> {
    fn default() -> InOrder<T, N> {
        InOrder { places: VecDeque::new(), len: 0 }
    }
}

impl<T, N: Number> InOrder<T, N> {
    /// Puts `item` in under a number; gives back what was there.
    pub(crate) fn insert(&mut self, number: N, item: T) -> Option<T> {
        let place = match self.places.back() {
            Some((last, _)) if *last >= number => self.find(number),
            _ => Err(self.places.len()),
        };
        let before = match place {
            Ok(place) => self.places[place].1.replace(item),
            Err(place) => {
                self.places.insert(place, (number, Some(item)));
                None
            }
        };
        self.len += usize::from(before.is_none());
        before
    }

    /// What stands under a number.
    pub(crate) fn get(&self, number: N) -> Option<&T> {
        self.places[self.find(number).ok()?].1.as_ref()
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, number: N) -> Option<&mut T> {
        let place = self.find(number).ok()?;
        self.places[place].1.as_mut()
    }

    /// Takes out what stands under a number.
    pub(crate) fn remove(&mut self, number: N) -> Option<T> {
        let place = self.find(number).ok()?;
        let item = self.places[place].1.take()?;
        self.len -= 1;
        while let Some((_, None)) = self.places.front() {
            self.places.pop_front();
        }
        if self.places.len() > 2 * self.len {
            self.places.retain(|(_, item)| item.is_some());
        }
        Some(item)
    }

    /// The lowest number.
    pub(crate) fn first(&self) -> Option<N> {
        self.places.front().map(|(number, _)| *number)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All of them, by ascending number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (N, &T)> {
        self.places.iter().filter_map(|(number, item)| Some((*number, item.as_ref()?)))
    }

    /// Where a number stands, or should.
    fn find(&self, number: N) -> Result<usize, usize> {
        // Most often numbers follow each other without gaps, or with few.
        let guess = self.places.front().map_or(0, |(first, _)| number.places_behind(*first));
        if self.places.get(guess).is_some_and(|(found, _)| *found == number) {
            return Ok(guess);
        }
        self.places.binary_search_by_key(&number, |(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0..4u8, prop_oneof![0..40u64, any::<u64>()]), 0..200)) {
            let (mut found, mut model) = (InOrder::default(), BTreeMap::new());
            for (at, (step, number)) in steps.into_iter().enumerate() {
                match step {
                    // As it is used: ascending, the first goes first.
                    0 => prop_assert_eq!(found.insert(1_000 + at as u64, at), model.insert(1_000 + at as u64, at)),
                    1 => prop_assert_eq!(found.insert(number, at), model.insert(number, at)),
                    2 => prop_assert_eq!(found.remove(number), model.remove(&number)),
                    _ => {
                        let first = model.keys().next().copied().unwrap_or(number);
                        prop_assert_eq!(found.remove(first), model.remove(&first));
                    }
                }
                prop_assert_eq!(found.get(number), model.get(&number));
                prop_assert_eq!(found.get_mut(number), model.get_mut(&number));
                prop_assert_eq!(found.first(), model.keys().next().copied());
                prop_assert_eq!((found.len(), found.is_empty()), (model.len(), model.is_empty()));
                prop_assert!(found.places.len() <= 2 * found.len());
                prop_assert!(found.iter().eq(model.iter().map(|(number, item)| (*number, item))));
            }
        }
    }
}
