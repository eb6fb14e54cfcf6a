//! Messages on their way: each has a name, and arrives, or not, when the script says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use detcd_core::types::NodeId;

use crate::describe::Message;

/// One way between two members.
pub type Link = (NodeId, NodeId);

/// Messages that a command means.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// From whom, or from anybody.
    pub from: Option<NodeId>,
    /// To whom, or to anybody.
    pub to: Option<NodeId>,
    /// The one of this number on its link.
    pub number: Option<u64>,
    /// Of this kind only.
    pub kind: Option<String>,
}

/// A message on its way.
#[derive(Clone)]
pub struct Flight {
    /// From whom to whom.
    pub link: Link,
    /// Its number among those of its link; none while nobody looks.
    number: Option<u64>,
    /// Its kind.
    pub kind: String,
    /// What it says.
    text: String,
    /// As it arrives.
    pub frame: Bytes,
}

impl Flight {
    /// How the transcript names it.
    pub fn name(&self) -> String {
        let (from, to) = self.link;
        format!("{from}>{to}#{}", self.number.map_or("-".to_owned(), |number| number.to_string()))
    }

    /// Its name and kind.
    pub fn title(&self) -> String {
        format!("{} {}", self.name(), self.kind)
    }
}

impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.name(), self.kind, self.text)
    }
}

impl Selector {
    fn means(&self, flight: &Flight) -> bool {
        let (from, to) = flight.link;
        self.from.is_none_or(|id| id == from)
            && self.to.is_none_or(|id| id == to)
            && self.number.is_none_or(|number| flight.number == Some(number))
            && self.kind.as_ref().is_none_or(|kind| *kind == flight.kind)
    }
}

/// What is on its way, in the order in which it was sent, and which ways are cut.
#[derive(Default)]
pub struct Network {
    flights: Vec<Flight>,
    cuts: BTreeSet<Link>,
    numbers: BTreeMap<Link, u64>,
}

impl Network {
    /// A message sets out. Gives how the transcript shows it; over a way that is cut it is lost at once.
    pub fn send(&mut self, link: Link, message: Message, frame: Bytes, looked_at: bool) -> String {
        let Message { kind, text } = message;
        let number = looked_at.then(|| self.next_number(link));
        let flight = Flight { link, number, kind, text, frame };
        if self.cuts.contains(&link) {
            return format!("{flight} (cut)");
        }
        let shown = flight.to_string();
        self.flights.push(flight);
        shown
    }

    fn next_number(&mut self, link: Link) -> u64 {
        let number = self.numbers.entry(link).or_default();
        *number += 1;
        *number
    }

    /// Names what set out while nobody looked and is still on its way.
    pub fn number_all(&mut self) {
        for at in 0..self.flights.len() {
            if self.flights[at].number.is_none() {
                self.flights[at].number = Some(self.next_number(self.flights[at].link));
            }
        }
    }

    /// What is on its way.
    pub fn flights(&self) -> &[Flight] {
        &self.flights
    }

    /// Copies of what `selector` means, oldest first; what there is instead if it means nothing.
    pub fn find(&self, selector: &Selector) -> Result<Vec<Flight>, String> {
        let found: Vec<Flight> = self.flights.iter().filter(|flight| selector.means(flight)).cloned().collect();
        if found.is_empty() {
            let others: Vec<String> = self.flights.iter().map(Flight::title).collect();
            return Err(format!("no such message is on its way; there are: [{}]", others.join(", ")));
        }
        Ok(found)
    }

    /// Takes out what `selector` means, oldest first; what there is instead if it means nothing.
    pub fn take(&mut self, selector: &Selector) -> Result<Vec<Flight>, String> {
        let found = self.find(selector)?;
        self.flights.retain(|flight| !selector.means(flight));
        Ok(found)
    }

    /// The oldest one on one of these ways.
    pub fn take_oldest(&mut self, is_meant: impl Fn(Link) -> bool) -> Option<Flight> {
        let place = self.flights.iter().position(|flight| is_meant(flight.link))?;
        Some(self.flights.remove(place))
    }

    /// Cuts a way; what is on it is lost.
    pub fn cut(&mut self, link: Link) -> Vec<Flight> {
        self.cuts.insert(link);
        let (lost, kept) = std::mem::take(&mut self.flights).into_iter().partition(|flight| flight.link == link);
        self.flights = kept;
        lost
    }

    /// All ways are whole again.
    pub fn heal(&mut self) {
        self.cuts.clear();
    }
}
