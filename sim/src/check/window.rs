//! The newest of a long row of numbered things.

use std::collections::VecDeque;

/// What is known of the newest `limit` numbers. Numbers come about in order; gaps are allowed.
#[derive(Debug)]
pub(super) struct Window<T> {
    limit: usize,
    /// The number of the first place of `known`.
    first: u64,
    known: VecDeque<Option<T>>,
}

impl<T> Window<T> {
    /// A window over the newest `limit` numbers.
    pub(super) fn new(limit: usize) -> Window<T> {
        Window { limit, first: 0, known: VecDeque::new() }
    }

    /// What is known of `number`.
    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.known.get(place)?.as_ref()
    }

    /// The same, to learn more of it.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.known.get_mut(place)?.as_mut()
    }

    /// What is known of `number`, which is `now` if nothing was known before. `None` if it lies before the window.
    pub(super) fn get_or_insert(&mut self, number: u64, now: T) -> Option<&T> {
        if !(self.first..self.end()).contains(&number) {
            self.make_room(number);
        }
        let place = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.known.get_mut(place).map(|known| &*known.get_or_insert(now))
    }

    /// The number after the last place of `known`.
    fn end(&self) -> u64 {
        self.first + self.known.len() as u64
    }

    /// Makes a place for `number`, which has none, unless it lies before the window.
    fn make_room(&mut self, number: u64) {
        if self.known.is_empty() {
            self.first = number;
        }
        while number < self.first && self.known.len() < self.limit {
            self.known.push_front(None);
            self.first -= 1;
        }
        if number.saturating_sub(self.end()) >= self.limit as u64 {
            self.known.clear();
            self.first = number;
        }
        while self.end() <= number {
            self.known.push_back(None);
            if self.known.len() > self.limit {
                self.known.pop_front();
                self.first += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_said_of_a_number_stays_until_newer_numbers_push_it_out() {
        let mut window = Window::new(3);
        assert_eq!(window.get_or_insert(5, 'a'), Some(&'a'));
        assert_eq!(window.get_or_insert(5, 'b'), Some(&'a'));
        assert_eq!(window.get_or_insert(7, 'c'), Some(&'c'));
        assert_eq!((window.get(5), window.get(6), window.get(7)), (Some(&'a'), None, Some(&'c')));
        assert_eq!(window.get_or_insert(8, 'd'), Some(&'d'));
        assert_eq!((window.get(5), window.get(8)), (None, Some(&'d')));
        assert_eq!(window.get_or_insert(5, 'e'), None, "it lies before the window");
    }

    #[test]
    fn a_full_window_takes_no_older_number_and_one_with_room_does() {
        let mut window = Window::new(2);
        window.get_or_insert(9, 'a');
        assert_eq!(window.get_or_insert(8, 'b'), Some(&'b'));
        assert_eq!(window.get_or_insert(7, 'c'), None);
        assert_eq!((window.get(8), window.get(9)), (Some(&'b'), Some(&'a')));
    }

    #[test]
    fn a_leap_forgets_everything_before_it() {
        let mut window = Window::new(4);
        window.get_or_insert(1, 'a');
        assert_eq!(window.get_or_insert(u64::MAX - 1, 'b'), Some(&'b'));
        assert_eq!((window.get(1), window.get(u64::MAX - 1)), (None, Some(&'b')));
    }
}
