//! Who is told of what happens.

use crate::check::{Checker, Kind, Violation};
use crate::history::Nanos;
use crate::observe::Observed;

/// The checkers of a run, in the order in which they are told.
#[derive(Default)]
pub(super) struct Checkers<'a> {
    all: Vec<Box<dyn Checker + 'a>>,
    /// The places of those who have an interest in each kind of observation.
    interested: [Vec<usize>; Kind::COUNT],
}

impl<'a> Checkers<'a> {
    /// One more that is told what it has an interest in.
    pub fn add(&mut self, checker: Box<dyn Checker + 'a>) {
        for kind in Kind::ALL.into_iter().filter(|kind| checker.interest().includes(*kind)) {
            self.interested[kind as usize].push(self.all.len());
        }
        self.all.push(checker);
    }

    /// Tells those whom it concerns, and keeps the first violation.
    pub fn tell(&mut self, seen: &Observed<'_>, violation: &mut Option<Violation>) {
        for place in &self.interested[Kind::of(&seen.what) as usize] {
            if let Err(found) = self.all[*place].observe(seen) {
                violation.get_or_insert(found);
            }
        }
    }

    /// The run is over: what that proves, checker by checker.
    pub fn finish(&mut self, at: Nanos) -> impl Iterator<Item = Violation> {
        self.all.iter_mut().filter_map(move |checker| checker.finish(at).err())
    }
}
